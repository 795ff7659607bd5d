//! From ten seconds to a minute to ten minutes, and which delays are kept on the way. Pure.
//!
//! Counts are added, nothing else. Delays are kept where they say something: a window of ten seconds or a minute keeps
//! its quantiles where its median or its slowest sample is far from what was usual in the ten minutes around it. Where
//! it is not, a minute keeps its median and ten seconds nothing. Ten minutes keep quantiles always.

use std::collections::BTreeMap;

use netcheck_common::sketch::{Sketch, bucket_middle};

use crate::codec::block::Row;
use crate::tier::{BUCKET, Tier};
use crate::window::{Fidelity, Window, quantile};

/// Steps of ten seconds in what is rolled up at once.
pub(crate) const STEPS: usize = (BUCKET / Tier::Raw.step_s()) as usize;

/// A median is unusual from half an octave off: by a factor of 1.4.
const MEDIAN_BUCKETS: u16 = 8;
/// And nobody cares for less than this.
const MEDIAN_NS: u64 = 100_000;
/// A sample is unusual from an octave above the 99th percentile of the ten minutes.
const SLOWEST_BUCKETS: u16 = 16;
/// And from this far above it.
const SLOWEST_NS: u64 = 1_000_000;

/// Ten minutes of the paths of a group.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rolled {
    /// Sixty windows a path.
    pub(crate) fine: Vec<Row>,
    /// Ten.
    pub(crate) minute: Vec<Row>,
    /// One.
    pub(crate) coarse: Vec<Row>,
}

/// Rolls up: [`STEPS`] raw windows of each path.
pub(crate) fn roll(paths: BTreeMap<u8, Vec<Option<Window>>>) -> Rolled {
    let mut rolled = Rolled::default();
    for (path, mut fine) in paths {
        let Some(mut all) = merged(&fine) else { continue };
        let mut minutes: Vec<_> =
            fine.chunks((Tier::Minute.step_s() / Tier::Raw.step_s()) as usize).map(merged).collect();
        let usual = Usual::of(&all);
        for window in minutes.iter_mut().flatten() {
            let unusual = usual.is_exceeded(window);
            window.fidelity = if unusual { Fidelity::Quantiles } else { Fidelity::Median };
        }
        for window in fine.iter_mut().flatten() {
            let unusual = usual.is_exceeded(window);
            window.fidelity = if unusual { Fidelity::Quantiles } else { Fidelity::Coarser };
        }
        all.fidelity = Fidelity::Quantiles;
        rolled.fine.push((path, fine));
        rolled.minute.push((path, minutes));
        rolled.coarse.push((path, vec![Some(all)]));
    }
    rolled
}

fn merged(windows: &[Option<Window>]) -> Option<Window> {
    let mut windows = windows.iter().flatten();
    let mut all = windows.next()?.clone();
    windows.for_each(|window| all.merge(window));
    Some(all)
}

/// What is usual of one path in ten minutes: buckets of round trips.
struct Usual {
    median: Option<u16>,
    slow: Option<u16>,
}

impl Usual {
    fn of(all: &Window) -> Self {
        let of = |share| all.delays.as_ref().and_then(|delays| quantile(&delays.round_trip, share));
        Self { median: of(0.5), slow: of(0.99) }
    }

    fn is_exceeded(&self, window: &Window) -> bool {
        let (Some(delays), Some(median), Some(slow)) = (&window.delays, self.median, self.slow) else {
            return false;
        };
        let of = |sketch: &Sketch, share| quantile(sketch, share).unwrap_or(median);
        let (here, slowest) = (of(&delays.round_trip, 0.5), of(&delays.round_trip, 1.0));
        far(here, median, MEDIAN_BUCKETS, MEDIAN_NS)
            || slowest > slow && far(slowest, slow, SLOWEST_BUCKETS, SLOWEST_NS)
    }
}

fn far(one: u16, other: u16, buckets: u16, delay_ns: u64) -> bool {
    one.abs_diff(other) >= buckets && bucket_middle(one).abs_diff(bucket_middle(other)) >= delay_ns
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::window::Delays;

    fn windows() -> impl Strategy<Value = Vec<Option<Window>>> {
        let delay = prop_oneof![8 => 180_000_u64..220_000, 1 => 1_000_u64..50_000_000];
        let window = (prop::collection::vec(delay, 0..6), any::<[u8; 6]>(), any::<u8>());
        let window = window.prop_map(|(delays, failed, suspect)| {
            let mut round_trip = Sketch::new();
            delays.iter().for_each(|&delay| round_trip.record(delay));
            Window {
                reply: delays.len() as u32,
                failed: failed.map(u32::from),
                suspect: suspect.into(),
                delays: (!delays.is_empty()).then(|| Box::new(Delays { round_trip, ..Delays::default() })),
                fidelity: Fidelity::Exact,
            }
        });
        prop::collection::vec(prop::option::weighted(0.9, window), STEPS)
    }

    /// Adds by hand what a tier's window should hold.
    fn sums(windows: &[Option<Window>]) -> Option<(u64, [u64; 6], u64)> {
        let present: Vec<_> = windows.iter().flatten().collect();
        let sum =
            |of: &dyn Fn(&Window) -> u32| present.iter().map(|window| u64::from(of(window))).sum::<u64>();
        let failed = std::array::from_fn(|at| sum(&|window| window.failed[at]));
        (!present.is_empty()).then(|| (sum(&|window| window.reply), failed, sum(&|window| window.suspect)))
    }

    proptest! {
        #[test]
        fn counts_add_up_in_every_tier(windows in windows()) {
            let rolled = roll(BTreeMap::from([(3, windows.clone())]));
            for (rows, steps) in [(&rolled.fine, 1), (&rolled.minute, 6), (&rolled.coarse, 60)] {
                let model: Vec<_> = windows.chunks(steps).map(sums).collect();
                if rows.is_empty() {
                    prop_assert!(windows.iter().all(Option::is_none));
                    continue;
                }
                let found: Vec<_> = rows[0].1.chunks(1).map(sums).collect();
                prop_assert_eq!(found, model);
            }
        }

        #[test]
        fn what_was_slow_is_kept(windows in windows(), at in 0..STEPS) {
            let mut windows = windows;
            let mut round_trip = Sketch::new();
            round_trip.record(900_000_000);
            let slow = Window {
                reply: 1,
                delays: Some(Box::new(Delays { round_trip, ..Delays::default() })),
                ..Window::default()
            };
            windows[at] = Some(slow);
            // One slow sample among a hundred or more is above what is usual.
            prop_assume!(windows.iter().flatten().map(|window| window.reply).sum::<u32>() > 100);
            let rolled = roll(BTreeMap::from([(3, windows)]));
            let fidelity = |window: &Option<Window>| window.as_ref().unwrap().fidelity;
            prop_assert_eq!(fidelity(&rolled.fine[0].1[at]), Fidelity::Quantiles);
            prop_assert_eq!(fidelity(&rolled.minute[0].1[at / 6]), Fidelity::Quantiles);
        }
    }
}
