//! The netcheck agent: probes from one node, and what that node's kernel saw of them.
//!
//! In the order of the data: `uplink` takes the `plan` from the hub, the `engine` sends what is due through the
//! probers (`probe`), `measure` joins what sockets and the `kernel` saw, and the uplink keeps the reports until
//! the hub has them. Beside that stand the `responder`, which other agents probe, and the pod `vantage`, whose sockets
//! are in another network namespace.
//!
//! A folder imports from those above it in the list below, never from one that stands further down.

// What was observed, what is reported and counted: plain data.
pub mod model;

// Clocks, starvation, rights and usage of this process.
mod host;

// Socket options, batches of packets, addresses and name servers of the node.
mod net;

// What the hub wants probed, what may be probed, and when.
mod plan;

// Sockets of a pod's network namespace, handed over by a process in it.
mod vantage;

// What other agents probe: UDP echo and TCP accept.
mod relay;
mod responder;

// Samples, windows, sizes, source ports and backends out of observations; without I/O.
mod measure;

// The probers, one for each kind of probe, and the exchanges that are more than one packet.
mod probe;

// The kernel programs: loaded, attached, their events decoded.
#[cfg(feature = "ebpf")]
pub mod kernel;

// Which object of this node drops probes: asked by the hub, answered within seconds.
#[cfg(feature = "ebpf")]
pub mod culprit;

// The loop that sends what is due and takes in what comes back.
mod engine;

// Reports on their way to the hub, and the session with it.
mod uplink;

// The flags.
pub mod config;

// Metrics, health and status, shown on the node.
mod admin;

// The agent's tasks, put together.
mod app;

// The pod vantage's tasks, put together.
mod vantage_app;

// What reads bytes of others, for whoever tries bytes on it.
#[cfg(any(test, feature = "fuzz"))]
pub mod foreign;

pub use admin::show::show as show_status;
pub use app::{cleanup, run};
pub use vantage_app::run as run_vantage;
