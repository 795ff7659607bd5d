//! What the merge hands on: finished windows and what is known of lost probes. Times are CLOCK_MONOTONIC.

use std::net::{IpAddr, SocketAddr};

use arrayvec::ArrayVec;
use netcheck_common::domain::{Outcome, PathId, Sequence};
use netcheck_common::window::PathWindow;

use crate::model::observation::{DropCount, DropSeen, Flow, Hook, ProbeKey};
use crate::model::sample::{Detail, Searched};

/// All windows of one span of time, complete: every probe sent in it has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClosedWindow {
    pub(crate) start_ns: u64,
    pub(crate) duration_ns: u64,
    /// Ascending by path, each path once.
    pub(crate) paths: Vec<PathWindow>,
}

/// A probe that did not end with a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) probe: ProbeKey,
    pub(crate) sent_ns: u64,
    pub(crate) outcome: Outcome,
    pub(crate) suspect: bool,
    /// In the order in which they saw it.
    pub(crate) request_hooks: Vec<Hook>,
    pub(crate) reply_hooks: Vec<Hook>,
    pub(crate) detail: Detail,
    /// As it left the node, after translation.
    pub(crate) flow: Option<Flow>,
    /// As it came to the first hook.
    pub(crate) origin: Option<Flow>,
    /// No kernel hooks watched this probe.
    pub(crate) unwatched: bool,
    /// The whole IP packet, where its size was tried; else 0.
    pub(crate) size_bytes: u16,
    /// Where it had a flow of its own beside the ordinary ones: how many such were lost in a row, it being the last; else 0.
    pub(crate) new_flows_lost: u32,
}

/// What later replies said of a lost probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ArrivalSeen {
    pub(crate) path: PathId,
    pub(crate) sequence: Sequence,
    pub(crate) arrived: bool,
    /// Its own reply came, after the deadline.
    pub(crate) late: bool,
}

/// Source ports that take turns, at most.
pub(crate) const PORTS: usize = 8;

/// What became of the probes of a path that one backend got since the last report of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BackendSeen {
    pub(crate) path: PathId,
    pub(crate) backend: SocketAddr,
    pub(crate) answered: u32,
    pub(crate) lost: u32,
    /// When the newest of either kind left, CLOCK_MONOTONIC; 0 without.
    pub(crate) answered_ns: u64,
    pub(crate) lost_ns: u64,
}

/// Packets from one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PortLoss {
    pub(crate) port: u16,
    pub(crate) sent: u32,
    pub(crate) lost: u32,
}

/// What is known of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortsSeen {
    pub(crate) path: PathId,
    /// Ports that take turns.
    pub(crate) ports: u8,
    /// Those that lose their packets; none where that is over.
    pub(crate) lost: ArrayVec<PortLoss, PORTS>,
    /// Packets from the others.
    pub(crate) others_sent: u32,
    pub(crate) others_lost: u32,
    /// Chance explains it still.
    pub(crate) undecided: bool,
    pub(crate) measured_ns: u64,
    pub(crate) interval_ns: u64,
}

/// What is known of one path. Sizes are of whole IP packets, 0 where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SizesSeen {
    pub(crate) path: PathId,
    /// What the node's own kernel would send at most.
    pub(crate) route_bytes: u16,
    /// The largest that was answered.
    pub(crate) passed_bytes: u16,
    /// The smallest that is lost.
    pub(crate) lost_bytes: u16,
    /// What a router said that it takes.
    pub(crate) router_mtu: Option<(u16, IpAddr)>,
    pub(crate) measured_ns: u64,
    pub(crate) interval_ns: u64,
}

/// Everything since the last report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) windows: Vec<ClosedWindow>,
    pub(crate) lost: Vec<Lost>,
    pub(crate) arrivals: Vec<ArrivalSeen>,
    pub(crate) drops: Vec<DropSeen>,
    /// Packets since the last report, not since the start.
    pub(crate) drop_counts: Vec<DropCount>,
    /// Paths whose sizes were measured anew.
    pub(crate) sizes: Vec<SizesSeen>,
    /// Paths of which some source ports lose everything, or did until now.
    pub(crate) ports: Vec<PortsSeen>,
    /// Who got the probes of paths whose address is translated.
    pub(crate) backends: Vec<BackendSeen>,
    /// How short names were looked up.
    pub(crate) searches: Vec<Searched>,
}

impl Report {
    /// Whether there is nothing to report.
    pub(crate) fn is_empty(&self) -> bool {
        self.windows.is_empty()
            && self.lost.is_empty()
            && self.arrivals.is_empty()
            && self.drops.is_empty()
            && self.drop_counts.is_empty()
            && self.sizes.is_empty()
            && self.ports.is_empty()
            && self.backends.is_empty()
            && self.searches.is_empty()
    }
}
