//! A mergeable log-bucket sketch of delays.
//!
//! A bucket covers 1/16 of a power of two, so a quantile read from it is at most 3.2 % off. Merging adds counts:
//! it is exact, commutative and associative, so windows can be rolled up in any order. Two sketches of the same
//! samples are equal however they were merged.

/// Sub-buckets per power of two, as a shift.
const SUB_BITS: u32 = 4;
const SUB: u64 = 1 << SUB_BITS;

/// Number of distinct buckets; indices are below it.
pub const BUCKETS: u16 = ((64 - SUB_BITS + 1) << SUB_BITS) as u16;

/// The bucket of a delay in nanoseconds. Delays below 16 ns have a bucket each.
#[must_use]
pub const fn bucket_of(delay_ns: u64) -> u16 {
    if delay_ns < SUB {
        return delay_ns as u16;
    }
    let exponent = 63 - delay_ns.leading_zeros();
    let sub = (delay_ns >> (exponent - SUB_BITS)) & (SUB - 1);
    (((exponent - SUB_BITS + 1) << SUB_BITS) as u64 + sub) as u16
}

/// The smallest delay of a bucket and the smallest of the next one, in nanoseconds.
#[must_use]
pub const fn bucket_bounds(index: u16) -> (u64, u64) {
    let (block, sub) = ((index as u64) >> SUB_BITS, (index as u64) & (SUB - 1));
    if block == 0 {
        return (sub, sub + 1);
    }
    let shift = block as u32 - 1;
    let low = (SUB + sub) << shift;
    (low, low.saturating_add(1 << shift))
}

/// A delay that stands for the whole bucket: its middle, in nanoseconds.
#[must_use]
pub const fn bucket_middle(index: u16) -> u64 {
    let (low, high) = bucket_bounds(index);
    low + (high - low) / 2
}

/// Counts per bucket, ascending by index, no zero counts. An empty sketch holds nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sketch {
    entries: Vec<(u16, u32)>,
}

impl Sketch {
    /// An empty sketch.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// Adds one delay.
    pub fn record(&mut self, delay_ns: u64) {
        self.add(bucket_of(delay_ns), 1);
    }

    /// Adds `count` samples of one bucket. Saturates at `u32::MAX` per bucket.
    pub fn add(&mut self, index: u16, count: u32) {
        if count == 0 {
            return;
        }
        match self.entries.binary_search_by_key(&index, |&(bucket, _)| bucket) {
            Ok(at) => self.entries[at].1 = self.entries[at].1.saturating_add(count),
            Err(at) => self.entries.insert(at, (index, count)),
        }
    }

    /// Adds all of another sketch.
    pub fn merge(&mut self, other: &Self) {
        for &(index, count) in &other.entries {
            self.add(index, count);
        }
    }

    /// Samples in it.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.entries.iter().map(|&(_, count)| u64::from(count)).sum()
    }

    /// Whether it holds no sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// (bucket index, count), ascending by index.
    #[must_use]
    pub fn entries(&self) -> &[(u16, u32)] {
        &self.entries
    }

    /// The delay below or at which a share `q` (0 to 1) of the samples lies, in nanoseconds, as the middle of its
    /// bucket. None where there are no samples. `q` 0 is the smallest bucket, 1 the largest.
    #[must_use]
    pub fn quantile_ns(&self, q: f64) -> Option<u64> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let rank = ((q.clamp(0.0, 1.0) * total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for &(index, count) in &self.entries {
            seen += u64::from(count);
            if seen >= rank {
                return Some(bucket_middle(index));
            }
        }
        None
    }

    /// The mean of the samples, each taken as the middle of its bucket, in nanoseconds. None where there are no samples.
    #[must_use]
    pub fn mean_ns(&self) -> Option<u64> {
        let total = u128::from(self.count());
        let sum: u128 = self
            .entries
            .iter()
            .map(|&(index, count)| u128::from(bucket_middle(index)) * u128::from(count))
            .sum();
        (total > 0).then(|| u64::try_from(sum / total).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_delay_lies_in_its_bucket(delay in any::<u64>()) {
            let index = bucket_of(delay);
            let (low, high) = bucket_bounds(index);
            prop_assert!(index < BUCKETS);
            prop_assert!(low <= delay && (delay < high || high == u64::MAX));
        }

        #[test]
        fn buckets_ascend_and_are_narrow(delay in 16u64..1 << 62) {
            prop_assert!(bucket_of(delay + 1) >= bucket_of(delay));
            let middle = bucket_middle(bucket_of(delay)) as f64;
            prop_assert!((middle - delay as f64).abs() / delay as f64 <= 0.033);
        }

        #[test]
        fn merging_equals_recording_all(a in prop::collection::vec(any::<u64>(), 0..50),
                                        b in prop::collection::vec(any::<u64>(), 0..50)) {
            let sketch = |delays: &[u64]| {
                let mut sketch = Sketch::default();
                delays.iter().for_each(|&delay| sketch.record(delay));
                sketch
            };
            let (mut ab, mut ba) = (sketch(&a), sketch(&b));
            ab.merge(&sketch(&b));
            ba.merge(&sketch(&a));
            let all: Vec<u64> = a.iter().chain(&b).copied().collect();
            prop_assert_eq!(&ab, &sketch(&all));
            prop_assert_eq!(&ab, &ba);
            prop_assert_eq!(ab.count(), all.len() as u64);
        }
    }

    #[test]
    fn quantiles() {
        let mut sketch = Sketch::default();
        assert_eq!(sketch.quantile_ns(0.5), None);
        for delay in 1..=10 {
            sketch.record(delay);
        }
        assert_eq!(sketch.quantile_ns(0.0), Some(1));
        assert_eq!(sketch.quantile_ns(0.5), Some(5));
        assert_eq!(sketch.quantile_ns(1.0), Some(10));
    }
}
