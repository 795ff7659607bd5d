//! Counts of verdicts, by number of faults and by kind of fault.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::ops::{Range, RangeInclusive};
use std::time::{Duration, Instant};

use netcheck_causes::Cause;

use crate::case::Case;
use crate::judge::{Judgement, Verdict, judge};

/// So many seeds of failures are kept for each kind.
const SEEDS: usize = 8;

/// Verdicts of one row.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// By verdict, in its order.
    pub verdicts: [u32; 4],
    /// Causes that were called observed and are false.
    pub observed_and_false: u32,
    /// The first seeds that were not exact, and how many faults were drawn for them.
    pub failed: Vec<(u64, usize)>,
}

impl Row {
    fn add(&mut self, verdict: Verdict, case: &Case, judgement: &Judgement) {
        self.verdicts[verdict as usize] += 1;
        self.observed_and_false += u32::try_from(judgement.observed_and_false).unwrap_or(u32::MAX);
        let failed = verdict != Verdict::Exact || judgement.observed_and_false > 0;
        if failed && self.failed.len() < SEEDS {
            self.failed.push((case.seed, case.drawn));
        }
    }

    /// How many of a hundred are exact.
    #[must_use]
    pub fn exact(&self) -> f64 {
        let all: u32 = self.verdicts.iter().sum();
        if all == 0 { 100.0 } else { f64::from(self.verdicts[0]) * 100.0 / f64::from(all) }
    }
}

/// Verdicts of many cases.
#[derive(Clone, Debug, Default)]
pub struct Scores {
    /// By number of faults.
    pub by_count: BTreeMap<usize, Row>,
    /// By kind of fault; of several faults each is in the row of its kind: exact if it was named, missed if not.
    pub by_kind: BTreeMap<&'static str, Row>,
    /// Time that answers took, all and the longest.
    pub took: (Duration, Duration),
}

impl Scores {
    /// Draws a case for each seed and number of faults, has it explained, and judges the answer.
    pub fn measure(
        seeds: Range<u64>,
        faults: RangeInclusive<usize>,
        explain: impl Fn(&Case) -> Vec<Cause>,
    ) -> Self {
        let mut scores = Self::default();
        for seed in seeds {
            for count in faults.clone() {
                let case = Case::draw(seed, count);
                let begun = Instant::now();
                let answer = explain(&case);
                let took = begun.elapsed();
                scores.add(&case, &judge(&case, &answer), took);
            }
        }
        scores
    }

    /// Counts a case.
    pub fn add(&mut self, case: &Case, judgement: &Judgement, took: Duration) {
        self.by_count.entry(case.truth.len()).or_default().add(judgement.verdict, case, judgement);
        self.took = (self.took.0 + took, self.took.1.max(took));
        for (fault, named) in case.truth.iter().zip(&judgement.named) {
            let verdict = match (case.truth.len(), named) {
                (1, _) => judgement.verdict,
                (_, true) => Verdict::Exact,
                (_, false) => Verdict::Missed,
            };
            self.by_kind.entry(fault.kind).or_default().add(verdict, case, judgement);
        }
    }
}

impl Display for Scores {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{:<24} {:>7} {:>6} {:>8} {:>6} {:>6} {:>14}  seeds/faults",
            "", "exact %", "exact", "superset", "wrong", "missed", "observed+false"
        )?;
        let counts = self.by_count.iter().map(|(count, row)| (format!("{count} faults"), row));
        let kinds = self.by_kind.iter().map(|(kind, row)| ((*kind).to_owned(), row));
        for (name, row) in counts.chain(kinds) {
            let [exact, superset, wrong, missed] = row.verdicts;
            let (share, observed) = (row.exact(), row.observed_and_false);
            let failed = row
                .failed
                .iter()
                .map(|(seed, drawn)| format!("{seed}/{drawn}"))
                .collect::<Vec<_>>()
                .join(" ");
            writeln!(
                out,
                "{name:<24} {share:>7.1} {exact:>6} {superset:>8} {wrong:>6} {missed:>6} {observed:>14}  {failed}"
            )?;
        }
        writeln!(out, "answers took {:?} in all, {:?} at the most", self.took.0, self.took.1)
    }
}
