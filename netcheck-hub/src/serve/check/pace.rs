//! How fast agents probe what a check waits for: what the estimate of its length rests on. Pure.

use std::time::Duration;

use netcheck_common::schedule::DEFAULT_PPS;

/// How fast an agent probes, as its budget of packets lets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pace {
    /// From one probe of a path to the next.
    pub(super) round: Duration,
    /// Until each path that is waited for was probed once, out of turn.
    pub(super) first: Duration,
}

impl Pace {
    /// Of an agent that still has to send so many packets. `round`: as it says itself, the plan's interval or, where its
    /// budget is too small for that, more.
    pub(super) fn of(packets: u64, round: Duration, interval: Duration) -> Self {
        // Rounds are stretched to what the budget needs. Where they are not, the budget is not known, but takes no longer.
        let first = if round > interval {
            round
        } else {
            Duration::from_secs_f64(packets as f64 / f64::from(DEFAULT_PPS)).min(round)
        };
        Self { round, first }
    }

    /// The slower of each.
    pub(super) fn max(self, other: Self) -> Self {
        Self { round: self.round.max(other.round), first: self.first.max(other.first) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_probe_takes_longer_with_more_paths_and_a_smaller_budget() {
        let (second, ten) = (Duration::from_secs(1), Duration::from_secs(10));
        // 2,000 packets at 1,000 a second.
        assert_eq!(Pace::of(2_000, ten, ten), Pace { round: ten, first: 2 * second });
        // More than fits an interval would have stretched the agent's rounds.
        assert_eq!(Pace::of(5_000, second, second).first, second);
        // 100 packets a second were allowed: a round of 245 of them takes 2.45 s, whatever is left of it.
        let stretched = Duration::from_millis(2_450);
        assert_eq!(Pace::of(1, stretched, second), Pace { round: stretched, first: stretched });
    }
}
