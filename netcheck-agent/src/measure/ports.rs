//! Which source ports of the UDP probes lose everything on a path whose other ports lose nothing: one of several
//! parallel ways that routers choose by hash (ECMP, LAG), or one receive queue, is dead. Pure: takes `now`, does no I/O.
//!
//! In: "which socket does the next probe leave from", and how probes ended. Out: [`PortsSeen`] for the report, where it
//! says something, and once more when it does not any longer.
//!
//! The probes of a path take turns through a few sockets, so none is sent for this alone. The turns are by chance, or
//! else losses that come and go with time would look like those of a port. After a loss comes a port that was answered
//! last, so that two losses in a row still mean that nothing passes; then, every other time, the port in question.

mod turns;

use std::collections::HashMap;

use arrayvec::ArrayVec;
use netcheck_common::domain::{Family, PathId, Vantage};

use self::turns::{Found, Turns};

/// Sockets have ports of their own by vantage and family.
pub(crate) type Lane = (Vantage, Family);

const fn index((vantage, family): Lane) -> usize {
    vantage as usize * 2 + family as usize
}

/// Sockets of each lane, at most.
pub(crate) const PORTS: usize = 8;
/// Below that, no port can be told from chance by the outcomes that are remembered.
const FEWEST: usize = 4;
/// Flows that this agent may have at the same time: each is an entry in tables of connections on its way.
const FLOWS_MAX: usize = 16_384;

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

/// All paths.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    /// Of the sockets, by lane.
    local: [ArrayVec<u16, PORTS>; 4],
    /// Sockets in use.
    width: usize,
    round_ns: u64,
    paths: HashMap<PathId, Turns>,
    found: Vec<PortsSeen>,
}

impl Ports {
    /// Says which ports the sockets of a vantage have, by family.
    pub(crate) fn open(&mut self, vantage: Vantage, local: [ArrayVec<u16, PORTS>; 2]) {
        for (family, ports) in [Family::V4, Family::V6].into_iter().zip(local) {
            self.local[index((vantage, family))] = ports;
        }
    }

    /// Says how many paths take turns, and how often each is probed.
    pub(crate) fn set(&mut self, paths: usize, round_ns: u64) {
        let room = (FLOWS_MAX / paths.max(1)).min(PORTS);
        let width = if room < FEWEST { 1 } else { room };
        if width != self.width {
            self.paths.clear();
        }
        (self.width, self.round_ns) = (width, round_ns);
    }

    /// Forgets paths that left the plan.
    pub(crate) fn forget(&mut self, gone: &[PathId]) {
        for path in gone {
            self.paths.remove(path);
        }
    }

    /// The socket that the next ordinary probe of a path leaves from.
    pub(crate) fn next(&mut self, path: PathId, lane: Lane) -> u32 {
        let width = self.width.min(self.local[index(lane)].len());
        if width < FEWEST {
            return 0;
        }
        let turns = self.paths.entry(path).or_insert_with(|| Turns::new(path));
        turns.next(width) as u32
    }

    /// A socket whose newest probe of this path was answered, for probes that are to show something else.
    pub(crate) fn passing(&self, path: PathId) -> u32 {
        self.paths.get(&path).map_or(0, |turns| turns.passing() as u32)
    }

    /// An ordinary probe ended: answered, lost, or neither can be said.
    pub(crate) fn ended(&mut self, path: PathId, lane: Lane, slot: u32, answered: Option<bool>, now_ns: u64) {
        let local = &self.local[index(lane)];
        let width = self.width.min(local.len());
        let Some(turns) = self.paths.get_mut(&path).filter(|_| (slot as usize) < width) else { return };
        if !turns.ended(slot as usize, answered, width) {
            return;
        }
        let Found { lost, others_sent, others_lost, undecided } = turns.found(width);
        self.found.push(PortsSeen {
            path,
            ports: width as u8,
            lost: lost.iter().map(|&(slot, sent, lost)| PortLoss { port: local[slot], sent, lost }).collect(),
            others_sent,
            others_lost,
            undecided,
            measured_ns: now_ns,
            interval_ns: self.round_ns.saturating_mul(width as u64),
        });
    }

    /// Takes what is new.
    pub(crate) fn take(&mut self) -> Vec<PortsSeen> {
        std::mem::take(&mut self.found)
    }
}

#[cfg(test)]
mod tests;
