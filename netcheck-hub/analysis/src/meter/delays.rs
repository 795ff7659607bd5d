//! Delays, counted for good: the sketch's buckets with counts that don't overflow. Pure.

use netcheck_common::sketch::{Sketch, bucket_middle, bucket_of};

/// What is shorter is counted as this: half a microsecond.
const SHORTEST: usize = bucket_of(512) as usize;
/// What is longer is counted as this: a minute.
const LONGEST: usize = bucket_of(1 << 36) as usize;
const BUCKETS: usize = LONGEST - SHORTEST + 1;

/// Counts of delays by the sketch's buckets, between half a microsecond and a minute. Nothing until there is one.
#[derive(Clone, Debug, Default)]
pub struct DelayCounts {
    counts: Option<Box<[u64; BUCKETS]>>,
}

impl DelayCounts {
    /// Adds the delays of one window.
    pub fn add(&mut self, sketch: &Sketch) {
        if sketch.is_empty() {
            return;
        }
        let counts = self.counts.get_or_insert_with(|| Box::new([0; BUCKETS]));
        for &(index, count) in sketch.entries() {
            let at = usize::from(index).clamp(SHORTEST, LONGEST) - SHORTEST;
            counts[at] += u64::from(count);
        }
    }

    /// (a delay that stands for the bucket, in nanoseconds, and how many there are), ascending, none that are empty.
    pub fn entries(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let counts = self.counts.iter().flat_map(|counts| counts.iter().enumerate());
        counts
            .filter(|&(_, &count)| count > 0)
            .map(|(at, &count)| (bucket_middle((at + SHORTEST) as u16), count))
    }

    /// How many delays.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.entries().map(|(_, count)| count).sum()
    }
}

/// All delays of a sketch together, within 3 %.
pub(super) fn sum_ns(sketch: &Sketch) -> u64 {
    sketch.entries().iter().map(|&(index, count)| bucket_middle(index).saturating_mul(u64::from(count))).sum()
}
