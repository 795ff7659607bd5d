//! Figures of many rounds or samples as few, and what was aimed at beside them. Pure.

use serde_json::{Value, json};

/// The value below or at which a share `q` (0 to 1) of the others lies; NaN where there are none. `sorted` ascends.
pub(super) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}

/// Median and the middle half of many rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    /// How many.
    pub(super) rounds: usize,
    pub(super) median: f64,
    /// First and third quartile.
    pub(super) quarters: [f64; 2],
}

impl Spread {
    pub(super) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self {
            rounds: values.len(),
            median: quantile(&values, 0.5),
            quarters: [quantile(&values, 0.25), quantile(&values, 0.75)],
        }
    }

    pub(super) fn to_json(self) -> Value {
        json!({"rounds": self.rounds, "median": self.median, "quartiles": self.quarters})
    }
}

/// The tail of many samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tail {
    pub(super) samples: usize,
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
}

impl Tail {
    pub(super) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |q| quantile(&values, q);
        Self { samples: values.len(), p50: at(0.5), p99: at(0.99), p999: at(0.999) }
    }

    pub(super) fn to_json(self) -> Value {
        json!({"samples": self.samples, "p50": self.p50, "p99": self.p99, "p99.9": self.p999})
    }
}

/// A limit that a figure should keep, and the figure.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Goal {
    /// What was measured, with its unit.
    pub(super) what: String,
    pub(super) figure: f64,
    /// The figure is to be at most this, or at least.
    pub(super) aim: Aim,
}

/// Which side of a figure is good.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Aim {
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    pub(super) fn new(what: impl Into<String>, figure: f64, aim: Aim) -> Self {
        Self { what: what.into(), figure, aim }
    }

    /// A figure that could not be measured misses every goal.
    pub(super) fn met(&self) -> bool {
        match self.aim {
            Aim::AtMost(most) => self.figure <= most,
            Aim::AtLeast(least) => self.figure >= least,
        }
    }

    pub(super) fn line(&self) -> String {
        let (sign, limit) = match self.aim {
            Aim::AtMost(most) => ('≤', most),
            Aim::AtLeast(least) => ('≥', least),
        };
        let met = if self.met() { "met" } else { "missed" };
        format!("{met:<6}  {}: {} (goal {sign} {})", self.what, short(self.figure), short(limit))
    }

    pub(super) fn to_json(&self) -> Value {
        let (at_most, at_least) = match self.aim {
            Aim::AtMost(most) => (Some(most), None),
            Aim::AtLeast(least) => (None, Some(least)),
        };
        json!({"what": self.what, "figure": self.figure, "at_most": at_most, "at_least": at_least, "met": self.met()})
    }
}

/// Three digits, more where they stand before the point.
pub(super) fn short(figure: f64) -> String {
    let before_point = figure.abs().max(1e-6).log10().floor() as i32 + 1;
    format!("{figure:.*}", usize::try_from(3 - before_point).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::{Aim, Goal, Spread, Tail, quantile, short};

    #[test]
    fn quantiles_are_values_that_were_there() {
        let values: Vec<f64> = (1..=1000).map(f64::from).collect();
        let tail = Tail::of(values.iter().rev().copied().collect());
        assert_eq!(tail, Tail { samples: 1000, p50: 500.0, p99: 990.0, p999: 999.0 });
        let spread = Spread::of(vec![4.0, 1.0, 3.0, 2.0]);
        assert_eq!(spread, Spread { rounds: 4, median: 2.0, quarters: [1.0, 3.0] });
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn a_goal_without_a_figure_is_missed() {
        for (figure, aim, met) in [
            (1.0, Aim::AtMost(1.0), true),
            (1.1, Aim::AtMost(1.0), false),
            (1.0, Aim::AtLeast(1.0), true),
            (0.9, Aim::AtLeast(1.0), false),
            (f64::NAN, Aim::AtMost(1.0), false),
            (f64::NAN, Aim::AtLeast(1.0), false),
        ] {
            assert_eq!(Goal::new("x", figure, aim).met(), met, "{figure} {aim:?}");
        }
        assert_eq!(Goal::new("x", 0.991, Aim::AtLeast(0.98)).line(), "met     x: 0.991 (goal ≥ 0.980)");
    }

    #[test]
    fn three_digits() {
        let shown = [0.0023, 0.5, 3.456, 98.76, 12345.6].map(short);
        assert_eq!(shown, ["0.00230", "0.500", "3.46", "98.8", "12346"]);
    }
}
