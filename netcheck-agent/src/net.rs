//! What the agent asks of the network stack: batches of packets, its own addresses, counters of interfaces,
//! name servers, and when to try again.

pub(crate) mod backoff;
pub(crate) mod interface_drops;
pub(crate) mod mmsg;
pub(crate) mod own_addresses;
pub(crate) mod resolv;
pub(crate) mod socket;
pub(crate) mod stalled;
