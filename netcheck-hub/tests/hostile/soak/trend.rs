//! Whether something grows that goes up and down all the time: the least of each stretch of time, and a line through these.

use std::fmt;
use std::time::Duration;

/// Stretches of time that the second half is cut into.
const BINS: usize = 12;
/// Descriptors that the second half may have more at its end than at its begin: what comes and goes at any time.
pub(super) const DESCRIPTORS: f64 = 40.0;

/// What was seen at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Since the begin.
    pub(super) at: Duration,
    pub(super) rss_mib: f64,
    pub(super) descriptors: f64,
}

/// A stretch of time: its end, and the least and the most of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bin {
    pub(super) at: Duration,
    pub(super) rss_mib: (f64, f64),
    pub(super) descriptors: (f64, f64),
}

/// Cuts samples, which ascend, into so many stretches of as many samples each.
pub(super) fn bins(samples: &[Sample], count: usize) -> Vec<Bin> {
    let each = samples.len().div_ceil(count).max(1);
    let range = |values: &[Sample], of: fn(&Sample) -> f64| {
        values.iter().map(of).fold((f64::MAX, f64::MIN), |(least, most), x| (least.min(x), most.max(x)))
    };
    let bin = |part: &[Sample]| Bin {
        at: part.last().map_or(Duration::ZERO, |last| last.at),
        rss_mib: range(part, |sample| sample.rss_mib),
        descriptors: range(part, |sample| sample.descriptors),
    };
    samples.chunks(each).map(bin).collect()
}

/// How much the least of each grew over the second half.
#[derive(Clone, Copy, Debug)]
pub(super) struct Growth {
    pub(super) rss_mib: f64,
    pub(super) descriptors: f64,
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the second half grew by {:.1} MiB and {:.1} descriptors", self.rss_mib, self.descriptors)
    }
}

impl Growth {
    pub(super) fn of(samples: &[Sample]) -> Self {
        let bins = bins(&samples[samples.len() / 2..], BINS);
        let grown = |of: fn(&Bin) -> f64| {
            let values: Vec<f64> = bins.iter().map(of).collect();
            slope(&values) * values.len().saturating_sub(1) as f64
        };
        Self { rss_mib: grown(|bin| bin.rss_mib.0), descriptors: grown(|bin| bin.descriptors.0) }
    }
}

/// Of the line through these, by least squares, from one to the next.
fn slope(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let (middle, mean) = ((count - 1.0) / 2.0, values.iter().sum::<f64>() / count);
    let off = |(at, value): (usize, &f64)| (at as f64 - middle, value - mean);
    let pairs: Vec<(f64, f64)> = values.iter().enumerate().map(off).collect();
    let square: f64 = pairs.iter().map(|(at, _)| at * at).sum();
    if square == 0.0 { 0.0 } else { pairs.iter().map(|(at, value)| at * value).sum::<f64>() / square }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(rss_mib: impl Fn(f64) -> f64) -> Vec<Sample> {
        let sample =
            |at: u64| Sample { at: Duration::from_secs(at), rss_mib: rss_mib(at as f64), descriptors: 100.0 };
        (0..600).map(sample).collect()
    }

    #[test]
    fn a_leak_is_seen_below_what_comes_and_goes() {
        let peaks = |at: f64| if at % 40.0 < 15.0 { 300.0 } else { 0.0 };
        let flat = Growth::of(&samples(|at| 100.0 + peaks(at)));
        assert!(flat.rss_mib.abs() < 1.0 && flat.descriptors.abs() < 0.1, "{flat}");
        let full = Growth::of(&samples(|at| 100.0 + at.min(250.0) + peaks(at)));
        assert!(full.rss_mib.abs() < 1.0, "what fills in the first half is no leak: {full}");
        let leak = Growth::of(&samples(|at| 100.0 + 0.1 * at + peaks(at)));
        assert!((leak.rss_mib - 27.5).abs() < 5.0, "{leak}");
    }
}
