//! Which source ports of the UDP probes lose everything on a path whose other ports lose nothing: one of several
//! parallel ways that routers choose by hash (ECMP, LAG), or one receive queue, is dead. Pure: takes `now`, does no I/O.
//!
//! In: "which socket does the next probe leave from", and how probes ended. Out: [`PortsSeen`] for the report, where it
//! says something, and once more when it does not any longer.
//!
//! The probes of a path take turns through a few sockets, so none is sent for this alone. The turns are by chance, or
//! else losses that come and go with time would look like those of a port. After a loss comes a port that was answered
//! last, so that two losses in a row still mean that nothing passes; then, every other time, the port in question.

mod detector;

use std::collections::HashMap;

use arrayvec::ArrayVec;
use netcheck_common::domain::{Family, PathId, Vantage};

use self::detector::{Found, LossDetector};
use crate::model::report::{PORTS, PortLoss, PortsSeen};

/// The sockets of one vantage and family, which have ports of their own.
pub(crate) type SocketGroup = (Vantage, Family);

const fn index((vantage, family): SocketGroup) -> usize {
    vantage as usize * 2 + family as usize
}

/// Below that, no port can be distinguished from chance by the outcomes that are remembered.
const FEWEST: usize = 4;
/// Flows that this agent may have at the same time: each is an entry in tables of connections on its way.
const FLOWS_MAX: usize = 16_384;

/// All paths.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    /// Of the sockets, by vantage and family.
    local: [ArrayVec<u16, PORTS>; 4],
    /// Sockets in use.
    width: usize,
    round_ns: u64,
    paths: HashMap<PathId, LossDetector>,
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
    pub(crate) fn next(&mut self, path: PathId, group: SocketGroup) -> u32 {
        let width = self.width.min(self.local[index(group)].len());
        if width < FEWEST {
            return 0;
        }
        let detector = self.paths.entry(path).or_insert_with(|| LossDetector::new(path));
        detector.next(width) as u32
    }

    /// A socket whose newest probe of this path was answered, for probes that are to show something else.
    pub(crate) fn passing(&self, path: PathId) -> u32 {
        self.paths.get(&path).map_or(0, |detector| detector.passing() as u32)
    }

    /// An ordinary probe ended: answered, lost, or neither can be said.
    pub(crate) fn ended(
        &mut self,
        path: PathId,
        group: SocketGroup,
        slot: u32,
        answered: Option<bool>,
        now_ns: u64,
    ) {
        let local = &self.local[index(group)];
        let width = self.width.min(local.len());
        let Some(detector) = self.paths.get_mut(&path).filter(|_| (slot as usize) < width) else { return };
        if !detector.ended(slot as usize, answered, width) {
            return;
        }
        let Found { lost, others_sent, others_lost, undecided } = detector.found(width);
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
