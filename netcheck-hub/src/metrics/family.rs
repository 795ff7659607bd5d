//! Metrics as plain data: names, labels, values. What scrapes and remote writes are made of. Pure.

use std::borrow::Cow;

use netcheck_analysis::meter::DelayCounts;

/// Classic buckets (upper bounds, seconds) of delays by zones and by service.
pub const FINE: &[f64] = &[0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5];
/// The same by node, and of shares, of which there are more.
pub const COARSE: &[f64] = &[0.0005, 0.001, 0.005, 0.025, 0.1];
/// Of native histograms: buckets per power of two, as its logarithm.
pub const SCHEMA: i32 = 3;

/// All metrics as of one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// When, unix nanoseconds of the hub.
    pub at_ns: i64,
    /// Each name once.
    pub families: Vec<Family>,
}

impl Snapshot {
    /// How many series a scrape of the classic formats has.
    #[must_use]
    pub fn series(&self) -> usize {
        self.families.iter().flat_map(|family| &family.series).map(|series| series.value.series()).sum()
    }
}

/// One name with all of its series.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// With `netcheck_` before, without a counter's `_total` behind.
    pub name: String,
    /// One sentence.
    pub help: &'static str,
    /// Of which type.
    pub kind: Kind,
    /// No labels twice.
    pub series: Vec<Series>,
}

impl Family {
    /// The name of its series; a histogram's have `_bucket`, `_sum` and `_count` behind it, a summary's the last two.
    #[must_use]
    pub fn series_name(&self) -> Cow<'_, str> {
        match self.kind {
            Kind::Counter => Cow::Owned(format!("{}_total", self.name)),
            Kind::Gauge | Kind::Histogram | Kind::Summary => Cow::Borrowed(&self.name),
        }
    }
}

/// Types of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Rises only, and begins with the hub.
    Counter,
    /// Any value.
    Gauge,
    /// Delays, in classic and native buckets.
    Histogram,
    /// Delays, their number and sum.
    Summary,
}

/// Labels, in the order in which they are shown: names and values.
pub type Labels = Vec<(&'static str, String)>;

/// One series.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What distinguishes it from the others of its family.
    pub labels: Labels,
    /// What it is now.
    pub value: Value,
    /// Of counters and histograms: where to read on.
    pub exemplar: Option<Exemplar>,
}

impl Series {
    /// One without an exemplar.
    #[must_use]
    pub fn new(labels: Labels, value: Value) -> Self {
        Self { labels, value, exemplar: None }
    }
}

/// What a series is at one moment.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of a counter or a gauge.
    Number(f64),
    /// Of a histogram.
    Histogram(Histogram),
    /// Of a summary: how many, and all together.
    Summary {
        /// How many.
        count: u64,
        /// In seconds.
        sum: f64,
    },
}

impl Value {
    fn series(&self) -> usize {
        match self {
            Self::Number(_) => 1,
            // With the last bucket, the sum and the count.
            Self::Histogram(histogram) => histogram.buckets.len() + 3,
            Self::Summary { .. } => 2,
        }
    }
}

/// A probe of an open incident: of counters one that was lost, of histograms a slow one that was answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// The incident's id: its label is `incident`.
    pub incident: String,
    /// 1 of a counter; its round trip in seconds.
    pub value: f64,
    /// When the incident's newest probe was lost, or the window of the slow one ended, unix nanoseconds.
    pub at_ns: i64,
}

/// Delays since the hub's start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// How many.
    pub count: u64,
    /// All together, seconds: within 3 %.
    pub sum: f64,
    /// Upper bounds in seconds, ascending, and how many delays are not longer; without the last one, of all.
    pub buckets: Vec<(f64, u64)>,
    /// The same in exponential buckets.
    pub native: Native,
}

impl Histogram {
    /// The place of the first bucket that holds a delay; behind the last: none but that of all.
    #[must_use]
    pub fn place(&self, seconds: f64) -> usize {
        self.buckets.iter().take_while(|(bound, _)| *bound < seconds).count()
    }

    /// Of counted delays. A delay stands at the middle of the sketch's bucket that has it, which is within 3 % of it.
    #[must_use]
    pub fn of(delays: &DelayCounts, bounds: &[f64]) -> Self {
        let mut histogram =
            Self { buckets: bounds.iter().map(|&bound| (bound, 0)).collect(), ..Self::default() };
        for (delay_ns, count) in delays.entries() {
            let seconds = delay_ns as f64 / 1e9;
            histogram.count += count;
            histogram.sum += seconds * count as f64;
            for (_, within) in histogram.buckets.iter_mut().filter(|(bound, _)| seconds <= *bound) {
                *within += count;
            }
            histogram.native.add(seconds, count);
        }
        histogram
    }
}

/// Buckets of a native histogram of [`SCHEMA`]: that with index i is above 2^((i - 1) / 8) and up to 2^(i / 8) seconds.
/// There is no bucket for zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Native {
    /// Ascending by index, none that is empty.
    pub buckets: Vec<(i32, u64)>,
}

impl Native {
    /// Takes delays in ascending order.
    fn add(&mut self, seconds: f64, count: u64) {
        let index = (seconds.log2() * f64::from(1 << SCHEMA)).ceil() as i32;
        match self.buckets.last_mut() {
            Some((last, sum)) if *last == index => *sum += count,
            _ => self.buckets.push((index, count)),
        }
    }

    /// Runs of neighbouring buckets, as protobuf has them: how far each begins behind the end of the one before (the first:
    /// behind index 0), and its length.
    #[must_use]
    pub fn spans(&self) -> Vec<(i32, u32)> {
        let mut spans: Vec<(i32, u32)> = Vec::new();
        let mut next = 0;
        for &(index, _) in &self.buckets {
            match spans.last_mut() {
                Some((_, length)) if index == next => *length += 1,
                _ => spans.push((index - next, 1)),
            }
            next = index + 1;
        }
        spans
    }

    /// Counts, each as the difference to the one before.
    #[must_use]
    pub fn deltas(&self) -> Vec<i64> {
        let before = std::iter::once(0).chain(self.buckets.iter().map(|&(_, count)| count.cast_signed()));
        self.buckets.iter().zip(before).map(|(&(_, count), before)| count.cast_signed() - before).collect()
    }
}

#[cfg(test)]
mod tests {
    use netcheck_common::sketch::Sketch;
    use proptest::prelude::*;

    use super::*;

    fn counted(delays_ns: &[u64]) -> DelayCounts {
        let mut sketch = Sketch::new();
        delays_ns.iter().for_each(|&delay| sketch.record(delay));
        let mut counts = DelayCounts::default();
        counts.add(&sketch);
        counts
    }

    #[test]
    fn a_histogram_of_three_delays() {
        let histogram = Histogram::of(&counted(&[400_000, 400_000, 30_000_000]), COARSE);
        assert_eq!(histogram.count, 3);
        assert_eq!(histogram.buckets, [(0.0005, 2), (0.001, 2), (0.005, 2), (0.025, 2), (0.1, 3)]);
        assert!((histogram.sum - 0.0308).abs() < 0.001, "{}", histogram.sum);
        // 0.4 ms is above 2^(-91/8) and below 2^(-90/8), 30 ms above 2^(-41/8) and below 2^(-40/8).
        assert_eq!(histogram.native.buckets, [(-90, 2), (-40, 1)]);
        assert_eq!(histogram.native.spans(), [(-90, 1), (49, 1)]);
        assert_eq!(histogram.native.deltas(), [2, -1]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_in_buckets(delays in prop::collection::vec(0u64..200_000_000_000, 0..80)) {
            let histogram = Histogram::of(&counted(&delays), FINE);
            prop_assert_eq!(histogram.count, delays.len() as u64);
            prop_assert!(histogram.buckets.windows(2).all(|two| two[0].1 <= two[1].1));
            let native: u64 = histogram.native.buckets.iter().map(|&(_, count)| count).sum();
            prop_assert_eq!(native, histogram.count);
            // Spans and deltas give the very buckets back.
            let (mut index, mut count, mut deltas) = (0, 0, histogram.native.deltas().into_iter());
            let mut back = Vec::new();
            for (offset, length) in histogram.native.spans() {
                index += offset;
                for _ in 0..length {
                    count += deltas.next().unwrap();
                    back.push((index, count as u64));
                    index += 1;
                }
            }
            prop_assert_eq!(back, histogram.native.buckets);
        }
    }
}
