//! How long to wait before the hub is tried again: 1 s × 1.6 each time, ±20 %. At most 12 s, for a hub that was started on
//! another node is to be found at once; 120 s where another agent has this node's place, for each attempt may cost it a
//! session.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

const FIRST: Duration = Duration::from_secs(1);
const FACTOR: f32 = 1.6;
/// Longest delay where the place is contested.
pub(crate) const LONGEST: Duration = Duration::from_secs(120);
/// Longest delay otherwise, before it is spread: all agents lose their hub at the same moment.
const HUB_AWAY: Duration = Duration::from_secs(10);
const JITTER: std::ops::Range<f64> = 0.8..1.2;

/// Growing delays.
#[derive(Debug)]
pub(crate) struct Backoff {
    delays: ExponentialBackoff,
    longest: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self::up_to(LONGEST)
    }

    /// The same, up to another longest delay.
    pub(crate) fn up_to(longest: Duration) -> Self {
        let delays = ExponentialBuilder::default()
            .with_min_delay(FIRST)
            .with_factor(FACTOR)
            .with_max_delay(longest)
            .without_max_times()
            .build();
        Self { delays, longest }
    }

    /// Begins with the shortest delay again.
    pub(crate) fn reset(&mut self) {
        *self = Self::up_to(self.longest);
    }

    /// The next delay.
    pub(crate) fn next_delay(&mut self) -> Duration {
        self.spread(self.longest)
    }

    /// The next delay while the hub is away.
    pub(crate) fn next_short_delay(&mut self) -> Duration {
        self.spread(HUB_AWAY)
    }

    fn spread(&mut self, longest: Duration) -> Duration {
        let delay = self.delays.next().unwrap_or(self.longest).min(longest);
        delay.mul_f64(rand::random_range(JITTER)).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_up_to_two_minutes_and_starts_over() {
        let mut backoff = Backoff::new();
        let mut expected = 1.0f64;
        for _ in 0..40 {
            let delay = backoff.next_delay().as_secs_f64();
            assert!(
                delay >= expected * 0.79 && delay <= expected * 1.21 && delay <= 120.0,
                "{delay} {expected}"
            );
            expected = (expected * 1.6).min(120.0);
        }
        backoff.reset();
        assert!(backoff.next_delay() <= Duration::from_millis(1200));
    }

    #[test]
    fn a_hub_that_is_away_is_tried_every_twelve_seconds_at_least_and_not_by_all_at_once() {
        let mut backoff = Backoff::new();
        let delays: Vec<f64> = (0..40).map(|_| backoff.next_short_delay().as_secs_f64()).collect();
        assert!(delays[0] <= 1.2 && delays.iter().all(|delay| *delay <= 12.0), "{delays:?}");
        let late = &delays[10..];
        assert!(late.iter().all(|delay| *delay >= 7.9), "{late:?}");
        assert!(late.windows(2).any(|pair| (pair[0] - pair[1]).abs() > 0.1), "{late:?}");
    }
}
