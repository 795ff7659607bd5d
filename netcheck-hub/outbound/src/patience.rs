//! How long to wait before the next attempt.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

/// Pauses that double, with jitter, until something succeeds.
#[derive(Debug)]
pub struct Patience {
    first: Duration,
    longest: Duration,
    pauses: Option<ExponentialBackoff>,
}

impl Patience {
    /// The first pause and the longest one.
    #[must_use]
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, pauses: None }
    }

    /// The next pause; no shorter than what the receiver asked for.
    pub fn pause(&mut self, asked: Option<Duration>) -> Duration {
        let (first, longest) = (self.first, self.longest);
        let pauses = self.pauses.get_or_insert_with(|| {
            let builder = ExponentialBuilder::default().with_min_delay(first).with_max_delay(longest);
            builder.with_jitter().without_max_times().build()
        });
        let pause = pauses.next().unwrap_or(longest).min(longest);
        asked.map_or(pause, |asked| asked.max(pause))
    }

    /// Something succeeded.
    pub fn reset(&mut self) {
        self.pauses = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound_and_begin_anew() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(2));
        let mut patience = Patience::new(first, longest);
        let pauses: Vec<Duration> = (0..40).map(|_| patience.pause(None)).collect();
        assert!(pauses[0] >= first && pauses[0] < first * 3, "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= longest), "{pauses:?}");
        assert!(pauses[20..].iter().all(|pause| *pause >= longest / 2), "{pauses:?}");
        patience.reset();
        assert!(patience.pause(None) < first * 3);
        assert_eq!(patience.pause(Some(Duration::from_secs(9))), Duration::from_secs(9));
    }
}
