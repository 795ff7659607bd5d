//! Flows of their own: beside the ordinary ICMP and UDP probes of a path, which go on for ever in the same flows and so
//! live in connection tracking, some leave with an identifier or a source port that no flow had lately. They meet the
//! rules for new connections, as TCP, DNS and HTTP probes do anyway. Pure.
//!
//! In: how both kinds ended. Out: how many new flows were lost in a row, and which paths are to be asked again at once:
//! where the first is lost while the old flows are answered, [`AGAIN`] more follow, each from another port. A way that
//! is dead for one port of `n` (ECMP) loses all of them once in n⁴ times; a rule for new connections always.

use std::collections::HashMap;

use netcheck_common::domain::PathId;

use crate::host::clock::SECOND_NS;

/// New flows that follow at once where one was lost. The hub takes new connections for denied after one more than that.
pub(crate) const AGAIN: u32 = 3;
/// New flows of this agent that connection tracking anywhere holds at the same time, at most: a node's table has room
/// for 131,072 by kube-proxy's default, and as many come from the others.
const HELD_MAX: u64 = 16_384;
/// Where the budget of packets is used up, one of so many ordinary probes has a new flow beside it.
const RAREST: u64 = 10;

/// One path.
#[derive(Clone, Copy, Debug, Default)]
struct Flows {
    /// New flows lost in a row.
    run: u32,
    /// The newest ordinary probe was lost.
    old_lost: bool,
}

/// All paths.
#[derive(Debug, Default)]
pub(crate) struct NewFlows {
    /// Those of which something was lost.
    paths: HashMap<PathId, Flows>,
    again: Vec<PathId>,
}

impl NewFlows {
    /// An ordinary probe ended.
    pub(crate) fn old(&mut self, path: PathId, answered: bool) {
        match self.paths.get_mut(&path) {
            Some(flows) => flows.old_lost = !answered,
            None if answered => {}
            None => drop(self.paths.insert(path, Flows { run: 0, old_lost: true })),
        }
    }

    /// One with a flow of its own was answered.
    pub(crate) fn answered(&mut self, path: PathId) {
        if let Some(flows) = self.paths.get_mut(&path) {
            flows.run = 0;
        }
    }

    /// One with a flow of its own was lost: how many were in a row.
    pub(crate) fn lost(&mut self, path: PathId) -> u32 {
        let flows = self.paths.entry(path).or_default();
        flows.run = flows.run.saturating_add(1);
        if flows.run == 1 && !flows.old_lost {
            self.again.push(path);
        }
        flows.run
    }

    /// Takes the paths that are to be asked again at once.
    pub(crate) fn take_again(&mut self) -> Vec<PathId> {
        std::mem::take(&mut self.again)
    }

    /// Whether there are any.
    pub(crate) const fn has_again(&self) -> bool {
        !self.again.is_empty()
    }

    /// Forgets paths that left the plan; `gone` ascends.
    pub(crate) fn forget(&mut self, gone: &[PathId]) {
        for path in gone {
            self.paths.remove(path);
        }
        self.again.retain(|path| gone.binary_search(path).is_err());
    }
}

/// Which of the ordinary probes have a new flow beside them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cadence {
    /// One of so many; 0: none.
    pub(crate) every: u64,
    round_ns: u64,
}

impl Cadence {
    /// For so many ICMP and UDP paths in a round, of which connection tracking remembers each flow for `timeout_ns`,
    /// where the budget has room for `spare` more packets in a round.
    pub(crate) fn new(paths: u64, round_ns: u64, timeout_ns: u64, spare: u64) -> Self {
        let round_ns = round_ns.max(1);
        let held = u128::from(paths) * u128::from(timeout_ns) / u128::from(round_ns);
        let held = u64::try_from(held).unwrap_or(u64::MAX).div_ceil(HELD_MAX);
        let afforded = paths.div_ceil(spare.max(1)).min(RAREST);
        Self { every: held.max(afforded).max(1), round_ns }
    }

    /// Whether this turn of a path has one. Paths take turns: no round has them all.
    pub(crate) const fn takes(&self, path: PathId, now_ns: u64) -> bool {
        self.every == 1
            || self.every > 1 && (now_ns / self.round_ns + path.0 as u64).is_multiple_of(self.every)
    }

    /// How many a round has.
    pub(crate) const fn packets(&self, paths: u64) -> u64 {
        if self.every == 0 { 0 } else { paths.div_ceil(self.every) }
    }

    /// How long a path waits between two, seconds: 0 where it has none.
    pub(crate) fn distance_s(&self) -> f64 {
        self.every as f64 * self.round_ns as f64 / SECOND_NS as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: PathId = PathId(7);

    #[test]
    fn the_first_loss_is_asked_again_and_only_while_old_flows_are_answered() {
        let mut flows = NewFlows::default();
        flows.old(PATH, true);
        assert_eq!((flows.lost(PATH), flows.take_again()), (1, vec![PATH]));
        assert_eq!((flows.lost(PATH), flows.lost(PATH), flows.take_again()), (2, 3, vec![]));
        flows.answered(PATH);
        flows.old(PATH, false);
        assert_eq!((flows.lost(PATH), flows.take_again()), (1, vec![]), "nothing passes at all");
        flows.old(PATH, true);
        flows.answered(PATH);
        assert_eq!((flows.lost(PATH), flows.has_again()), (1, true));
        flows.forget(&[PATH]);
        assert!(!flows.has_again());
        assert_eq!(flows.lost(PATH), 1, "another path now");
    }

    #[test]
    fn as_many_as_tables_and_budget_have_room_for() {
        for (paths, round_s, spare, every, why) in [
            (400, 1, 1000, 1, "all fit"),
            (400, 1, 200, 2, "half of them fit"),
            (400, 1, 0, 10, "none fits, and still there are some"),
            (1000, 1, 5000, 2, "1,000 a second are 30,000 flows"),
            (1000, 10, 5000, 1, "100 a second are 3,000"),
            (10_000, 1, 0, 19, "300,000 flows"),
            (0, 1, 0, 1, "nothing to send"),
        ] {
            let cadence = Cadence::new(paths, round_s * SECOND_NS, 30 * SECOND_NS, spare);
            assert_eq!(cadence.every, every, "{why}");
            assert_eq!(cadence.packets(paths), paths.div_ceil(every), "{why}");
        }
    }

    #[test]
    fn each_path_has_its_turn() {
        let cadence = Cadence::new(400, SECOND_NS, 30 * SECOND_NS, 200);
        for path in 0..4 {
            let turns = (0..8).filter(|round| cadence.takes(PathId(path), round * SECOND_NS)).count();
            assert_eq!(turns, 4);
        }
        assert!(!Cadence::default().takes(PATH, 0), "before there is a plan");
        assert!((cadence.distance_s() - 2.0).abs() < 1e-9);
    }
}
