//! What all agents of a fleet did, in numbers.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

const SECOND_NS: u64 = 1_000_000_000;

/// What all agents did since the fleet began, but for the two peaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Agents that are there, connected or not.
    pub agents: u64,
    /// Sessions that stand now.
    pub sessions: u64,
    /// Agents that have paths to probe now.
    pub probing: u64,
    /// Paths of all plans together, now.
    pub paths: u64,
    /// Sessions that were opened.
    pub opened: u64,
    /// Sessions that could not be opened, or ended without having been asked to.
    pub broken: u64,
    /// Probes that left.
    pub probes: u64,
    /// Of these, the lost ones.
    pub lost: u64,
    /// Batches that were sent.
    pub batches: u64,
    /// Batches that were dropped because the hub did not take them in time.
    pub dropped: u64,
    /// Most packets of one agent within one second (any second, both ends included), since the peaks were taken last.
    pub peak_packets: u64,
    /// The same of probes.
    pub peak_probes: u64,
}

/// The same, while it is counted.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) agents: AtomicU64,
    pub(crate) sessions: AtomicU64,
    pub(crate) probing: AtomicU64,
    pub(crate) paths: AtomicU64,
    pub(crate) opened: AtomicU64,
    pub(crate) broken: AtomicU64,
    pub(crate) probes: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) peak_packets: AtomicU64,
    pub(crate) peak_probes: AtomicU64,
}

/// Adds to one of them.
pub(crate) fn add(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Ordering::Relaxed);
}

/// Takes off one of them.
pub(crate) fn sub(counter: &AtomicU64, number: u64) {
    counter.fetch_sub(number, Ordering::Relaxed);
}

impl Counters {
    /// How it stands. The peaks begin anew.
    pub(crate) fn take(&self) -> Figures {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Figures {
            agents: of(&self.agents),
            sessions: of(&self.sessions),
            probing: of(&self.probing),
            paths: of(&self.paths),
            opened: of(&self.opened),
            broken: of(&self.broken),
            probes: of(&self.probes),
            lost: of(&self.lost),
            batches: of(&self.batches),
            dropped: of(&self.dropped),
            peak_packets: self.peak_packets.swap(0, Ordering::Relaxed),
            peak_probes: self.peak_probes.swap(0, Ordering::Relaxed),
        }
    }
}

/// What one agent sent within the last second. It is counted apart from the schedule, whose promise it is held against.
#[derive(Debug, Default)]
pub(crate) struct LastSecond {
    /// (when, packets, probes).
    sent: VecDeque<(u64, u64, u64)>,
    packets: u64,
    probes: u64,
}

impl LastSecond {
    /// Adds what left at a moment of the monotonic clock, and says what left within the second that ends with it.
    pub(crate) fn add(&mut self, now_ns: u64, packets: u64, probes: u64) -> (u64, u64) {
        self.sent.push_back((now_ns, packets, probes));
        self.packets += packets;
        self.probes += probes;
        while let Some(&(at_ns, packets, probes)) = self.sent.front()
            && at_ns + SECOND_NS < now_ns
        {
            self.sent.pop_front();
            self.packets -= packets;
            self.probes -= probes;
        }
        (self.packets, self.probes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_second_has_both_of_its_ends() {
        let mut last = LastSecond::default();
        assert_eq!(last.add(0, 3, 1), (3, 1));
        assert_eq!(last.add(SECOND_NS, 5, 2), (8, 3));
        assert_eq!(last.add(SECOND_NS + 1, 1, 1), (6, 3));
        assert_eq!(last.add(9 * SECOND_NS, 0, 0), (0, 0));
    }

    #[test]
    fn peaks_begin_anew_and_sums_go_on() {
        let counters = Counters::default();
        add(&counters.probes, 7);
        counters.peak_packets.fetch_max(40, Ordering::Relaxed);
        assert_eq!((counters.take().peak_packets, counters.take().peak_packets), (40, 0));
        assert_eq!(counters.take().probes, 7);
    }
}
