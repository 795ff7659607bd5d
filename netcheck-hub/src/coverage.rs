//! What is known of paths that are not in turn: the verdict that stood when they were probed last, four bytes each.
//! Pure.
//!
//! Times are whole seconds since the hub's start.

use std::time::Duration;

use netcheck_common::domain::Vantage;
use netcheck_proto::v1;

use crate::clock::{SECOND_NS, nanos, timestamp, wire_duration};
use crate::plan::Wanted;
use crate::plan::rotation::Turns;
use crate::verdict::Verdict;

/// What a path was when it was probed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rested {
    /// Its verdict then.
    pub verdict: Verdict,
    /// When that was (unix time of the hub, to the second).
    pub measured_ns: i64,
}

/// The paths of one node that are not in turn.
#[derive(Debug, Default)]
pub struct Ledger {
    /// By vantage, then by place in the catalog. 0: never.
    seen: [Vec<u32>; 2],
}

const VERDICT_BITS: u32 = 3;

impl Ledger {
    fn plane(vantage: Vantage) -> usize {
        match vantage {
            Vantage::Host => 0,
            Vantage::Pod => 1,
        }
    }

    /// Notes what a path was when it left the plan.
    pub fn note(&mut self, vantage: Vantage, at: u32, rested: Rested, started_ns: i64) {
        let plane = &mut self.seen[Self::plane(vantage)];
        if plane.len() <= at as usize {
            plane.resize(at as usize + 1, 0);
        }
        let seconds =
            (rested.measured_ns.saturating_sub(started_ns) / SECOND_NS).clamp(0, (1 << 29) - 2) as u32 + 1;
        plane[at as usize] = seconds << VERDICT_BITS | rested.verdict as u32;
    }

    /// What it was.
    #[must_use]
    pub fn get(&self, vantage: Vantage, at: u32, started_ns: i64) -> Option<Rested> {
        let &entry = self.seen[Self::plane(vantage)].get(at as usize).filter(|&&entry| entry != 0)?;
        let verdict = *Verdict::ALL.get((entry & ((1 << VERDICT_BITS) - 1)) as usize)?;
        let seconds = i64::from((entry >> VERDICT_BITS) - 1);
        Some(Rested { verdict, measured_ns: started_ns + seconds * SECOND_NS })
    }

    /// Takes it out: the path is in turn again.
    pub fn take(&mut self, vantage: Vantage, at: u32, started_ns: i64) -> Option<Rested> {
        let rested = self.get(vantage, at, started_ns)?;
        self.seen[Self::plane(vantage)][at as usize] = 0;
        Some(rested)
    }

    /// Follows a new catalog: `was[at]` is where the path at `at` was before.
    pub fn follow(&mut self, was: &[Option<u32>]) {
        for plane in &mut self.seen {
            if !plane.is_empty() {
                let moved = |at: &Option<u32>| at.and_then(|at| plane.get(at as usize).copied()).unwrap_or(0);
                *plane = was.iter().map(moved).collect();
            }
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.seen = Default::default();
    }
}

/// How far the paths are covered of those nodes that don't probe all of theirs at once.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    nodes: u32,
    paths: u64,
    at_once: u64,
    promised: Duration,
    verdicts: [u64; Verdict::ALL.len()],
    oldest_ns: Option<i64>,
}

impl Coverage {
    /// Adds a node's paths that are not in turn, with what they were.
    pub fn add(
        &mut self,
        turns: &Turns,
        in_turn: usize,
        resting: impl Iterator<Item = Option<Rested>>,
        now_ns: i64,
    ) {
        self.nodes += 1;
        self.promised = self.promised.max(turns.cover());
        self.paths += in_turn as u64;
        self.at_once += in_turn as u64;
        for rested in resting {
            self.paths += 1;
            let verdict = standing(rested, turns, now_ns);
            self.verdicts[verdict as usize] += 1;
            if let Some(rested) = rested.filter(|_| verdict != Verdict::NoData) {
                self.oldest_ns =
                    Some(self.oldest_ns.map_or(rested.measured_ns, |old| old.min(rested.measured_ns)));
            }
        }
    }

    /// How many of the paths that are not in turn were that when they were probed last.
    #[must_use]
    pub fn resting(&self, verdict: Verdict) -> u64 {
        self.verdicts[verdict as usize]
    }

    /// How long it takes until every path had its turn, on the slowest node.
    #[must_use]
    pub fn promised(&self) -> Duration {
        self.promised
    }

    /// The wire form; none where all paths are probed all the time.
    #[must_use]
    pub fn to_wire(&self, wanted: Duration) -> Option<v1::Coverage> {
        (self.nodes > 0).then(|| v1::Coverage {
            nodes: self.nodes,
            paths: self.paths,
            at_once: self.at_once,
            covered: self.paths - self.resting(Verdict::NoData),
            promised: Some(wire_duration(self.promised)),
            wanted: Some(wire_duration(wanted)),
            oldest_measured_at: self.oldest_ns.map(timestamp),
        })
    }
}

/// What a path that is not in turn counts as: what it was, unless that is older than it may be.
#[must_use]
pub fn standing(rested: Option<Rested>, turns: &Turns, now_ns: i64) -> Verdict {
    // Turns are cut anew when the roster changes, so a path may wait for up to two rounds.
    let oldest_ns = now_ns.saturating_sub(nanos(turns.cover()).saturating_mul(2));
    rested.filter(|rested| rested.measured_ns >= oldest_ns).map_or(Verdict::NoData, |rested| rested.verdict)
}

/// The paths of a node that are wanted and not among those of its plan, by vantage and place in the catalog.
pub(crate) fn resting<'a, 'b>(
    wanted: &'b [Wanted<'a>],
    in_turn: &'b std::collections::HashSet<(Vantage, u32)>,
) -> impl Iterator<Item = &'b Wanted<'a>> {
    wanted.iter().filter(|path| !in_turn.contains(&(path.vantage, path.at)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START_NS: i64 = 1_700_000_000 * SECOND_NS;

    proptest! {
        #[test]
        fn what_is_noted_is_found_to_the_second(
            at in 0u32..5000, verdict in 0usize..5, seconds in 0i64..100_000_000, pod: bool,
        ) {
            let vantage = if pod { Vantage::Pod } else { Vantage::Host };
            let rested =
                Rested { verdict: Verdict::ALL[verdict], measured_ns: START_NS + seconds * SECOND_NS };
            let mut ledger = Ledger::default();
            ledger.note(vantage, at, rested, START_NS);
            prop_assert_eq!(ledger.get(vantage, at, START_NS), Some(rested));
            prop_assert_eq!(ledger.get(vantage, at + 1, START_NS), None);
            prop_assert_eq!(ledger.take(vantage, at, START_NS), Some(rested));
            prop_assert_eq!(ledger.get(vantage, at, START_NS), None);
        }
    }

    #[test]
    fn a_new_catalog_moves_what_is_known() {
        let rested = Rested { verdict: Verdict::Reachable, measured_ns: START_NS };
        let mut ledger = Ledger::default();
        ledger.note(Vantage::Host, 2, rested, START_NS);
        ledger.follow(&[None, Some(2), Some(0), Some(7)]);
        assert_eq!(ledger.get(Vantage::Host, 1, START_NS), Some(rested));
        assert_eq!((0..9).filter(|&at| ledger.get(Vantage::Host, at, START_NS).is_some()).count(), 1);
    }

    #[test]
    fn what_was_not_probed_for_two_rounds_is_no_data() {
        let turns = Turns { count: 6, length_ns: 10 * SECOND_NS, ends_ns: 0 };
        let rested = Some(Rested { verdict: Verdict::Reachable, measured_ns: START_NS });
        assert_eq!(standing(rested, &turns, START_NS + 120 * SECOND_NS), Verdict::Reachable);
        assert_eq!(standing(rested, &turns, START_NS + 121 * SECOND_NS), Verdict::NoData);
        assert_eq!(standing(None, &turns, START_NS), Verdict::NoData);
    }
}
