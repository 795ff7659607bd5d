//! Passing on the sessions of agents that can't reach the hub: bytes from a connection of another node to the hub's address
//! and back, and to no other address.
//!
//! In: TCP connections of other nodes' agents. Out: connections to the hub, and counts. TLS and token are between that
//! agent and the hub: the relay sees what any router on the way would see. A relay passes on only while its own session
//! reaches the hub directly, and dials the very address that this session reached: so no chain of relays comes about.
//! [`accept`] has the task; [`admission`] decides, and does no I/O.

pub(crate) mod accept;
pub(crate) mod admission;
pub(crate) mod greeting;
pub(crate) mod nodes;
mod pipe;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::relay::admission::Refusal;

/// What a relay counted since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RelayCounts {
    /// Sessions that are passed on now.
    pub(crate) open: u64,
    /// Sessions that were passed on.
    pub(crate) sessions: u64,
    /// Bytes to the hub.
    pub(crate) to_hub_bytes: u64,
    /// Bytes from the hub.
    pub(crate) from_hub_bytes: u64,
    /// Connections that were not passed on, by a word for the reason.
    pub(crate) refused: BTreeMap<&'static str, u64>,
}

/// The same, as its tasks count.
#[derive(Debug, Default)]
pub(crate) struct LiveRelayCounts {
    open: AtomicU64,
    sessions: AtomicU64,
    to_hub_bytes: AtomicU64,
    from_hub_bytes: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
}

impl LiveRelayCounts {
    pub(crate) fn read(&self) -> RelayCounts {
        let refused = Refusal::ALL.iter().zip(&self.refused);
        RelayCounts {
            open: self.open.load(Ordering::Relaxed),
            sessions: self.sessions.load(Ordering::Relaxed),
            to_hub_bytes: self.to_hub_bytes.load(Ordering::Relaxed),
            from_hub_bytes: self.from_hub_bytes.load(Ordering::Relaxed),
            refused: refused.map(|(why, count)| (why.word(), count.load(Ordering::Relaxed))).collect(),
        }
    }

    fn refuse(&self, why: Refusal) {
        if let Some((_, count)) = Refusal::ALL.iter().zip(&self.refused).find(|(one, _)| **one == why) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}
