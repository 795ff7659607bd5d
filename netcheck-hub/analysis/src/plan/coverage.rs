//! What is known of paths that are not in turn: the verdict that stood when they were probed last. Pure.

use std::time::Duration;

use crate::model::clock::nanos;
use crate::model::verdict::Verdict;
use crate::plan::rotation::RotationSlot;

mod last_verdicts;

pub use last_verdicts::LastVerdictCache;

/// What a path was when it was probed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastVerdict {
    /// Its verdict then.
    pub verdict: Verdict,
    /// When that was (unix time of the hub, to the second).
    pub measured_ns: i64,
}

/// One node's part in the coverage.
pub struct NodeCoverage<'a> {
    /// Where its rotation stands.
    pub turns: &'a RotationSlot,
    /// How many of its paths are in turn.
    pub in_turn: usize,
    /// All of its paths.
    pub paths: u64,
    /// What the others were.
    pub last_verdicts: &'a LastVerdictCache,
}

/// How far the paths are covered of those nodes that don't probe all of theirs at once.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    pub(crate) nodes: u32,
    pub(crate) paths: u64,
    pub(crate) at_once: u64,
    promised: Duration,
    verdicts: [u64; Verdict::ALL.len()],
    pub(crate) oldest_ns: Option<i64>,
}

impl Coverage {
    /// Adds a node that takes turns. `started_ns`: when the hub began.
    pub fn add(&mut self, node: &NodeCoverage<'_>, started_ns: i64, now_ns: i64) {
        let &NodeCoverage { turns, in_turn, paths, last_verdicts } = node;
        self.nodes += 1;
        self.promised = self.promised.max(turns.cover());
        self.at_once += in_turn as u64;
        let inactive = paths.saturating_sub(in_turn as u64);
        self.paths += in_turn as u64 + inactive;
        let (counts, oldest_ns) = last_verdicts.count(oldest_standing(turns, now_ns), started_ns);
        for (verdict, count) in self.verdicts.iter_mut().zip(counts) {
            *verdict += u64::from(count);
        }
        let known: u64 = counts.iter().map(|&count| u64::from(count)).sum();
        self.verdicts[Verdict::NoData as usize] += inactive.saturating_sub(known);
        self.oldest_ns = self.oldest_ns.into_iter().chain(oldest_ns).min();
    }

    /// How many of the paths that are not in turn had this verdict when they were probed last.
    #[must_use]
    pub fn inactive(&self, verdict: Verdict) -> u64 {
        self.verdicts[verdict as usize]
    }

    /// How long it takes until every path had its turn, on the slowest node.
    #[must_use]
    pub fn promised(&self) -> Duration {
        self.promised
    }
}

/// What a path that is not in turn counts as: what it was, unless that is older than it may be.
#[must_use]
pub fn standing(last_verdict: Option<LastVerdict>, turns: &RotationSlot, now_ns: i64) -> Verdict {
    let oldest_ns = oldest_standing(turns, now_ns);
    last_verdict
        .filter(|last_verdict| last_verdict.measured_ns >= oldest_ns)
        .map_or(Verdict::NoData, |last_verdict| last_verdict.verdict)
}

/// Turns are longer by what is added to the roster, and a path that was probed always may wait for one: up to two rounds.
fn oldest_standing(turns: &RotationSlot, now_ns: i64) -> i64 {
    now_ns.saturating_sub(nanos(turns.cover()).saturating_mul(2))
}

#[cfg(test)]
mod tests {
    use netcheck_common::domain::Vantage;
    use proptest::prelude::*;

    use super::*;
    use crate::model::clock::SECOND_NS;

    const START_NS: i64 = 1_700_000_000 * SECOND_NS;

    proptest! {
        #[test]
        fn what_is_noted_is_found_to_the_second(
            at in 0u32..5000, verdict in 0usize..5, seconds in 0i64..100_000_000, pod: bool,
        ) {
            let vantage = if pod { Vantage::Pod } else { Vantage::Host };
            let last_verdict =
                LastVerdict { verdict: Verdict::ALL[verdict], measured_ns: START_NS + seconds * SECOND_NS };
            let mut last_verdicts = LastVerdictCache::default();
            last_verdicts.note(vantage, at, last_verdict, START_NS);
            prop_assert_eq!(last_verdicts.get(vantage, at, START_NS), Some(last_verdict));
            prop_assert_eq!(last_verdicts.get(vantage, at + 1, START_NS), None);
            prop_assert_eq!(last_verdicts.take(vantage, at, START_NS), Some(last_verdict));
            prop_assert_eq!(last_verdicts.get(vantage, at, START_NS), None);
        }
    }

    #[test]
    fn a_new_catalog_moves_what_is_known() {
        let last_verdict = LastVerdict { verdict: Verdict::Reachable, measured_ns: START_NS };
        let mut last_verdicts = LastVerdictCache::default();
        last_verdicts.note(Vantage::Host, 2, last_verdict, START_NS);
        last_verdicts.follow(&[None, Some(2), Some(0), Some(7)], |_, _| true);
        assert_eq!(last_verdicts.get(Vantage::Host, 1, START_NS), Some(last_verdict));
        assert_eq!((0..9).filter(|&at| last_verdicts.get(Vantage::Host, at, START_NS).is_some()).count(), 1);
    }

    #[test]
    fn what_was_not_probed_for_two_rounds_is_no_data() {
        let turns = RotationSlot { count: 6, length_ns: 10 * SECOND_NS, ..RotationSlot::default() };
        let last_verdict = Some(LastVerdict { verdict: Verdict::Reachable, measured_ns: START_NS });
        assert_eq!(standing(last_verdict, &turns, START_NS + 120 * SECOND_NS), Verdict::Reachable);
        assert_eq!(standing(last_verdict, &turns, START_NS + 121 * SECOND_NS), Verdict::NoData);
        assert_eq!(standing(None, &turns, START_NS), Verdict::NoData);
    }
}
