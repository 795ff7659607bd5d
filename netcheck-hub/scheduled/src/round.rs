//! What a round came to: the figures of each target against what is expected of it. Pure.

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::rate::Rate;
use crate::spec::Expect;
use crate::status::{RoundSummary, cut};

mod rate;

/// Names that a summary lists of nodes that are missing.
const NAMES_MAX: usize = 10;

/// What a round came to.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RoundStatus {
    /// It runs.
    Running,
    /// Every target came to what is expected of it, and every node reported.
    Succeeded,
    /// Some target did not.
    Failed,
    /// Nothing failed, and not all was measured: nobody knows.
    Incomplete,
}

impl RoundStatus {
    /// As the status and Events have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Incomplete => "Incomplete",
        }
    }
}

/// What was measured of one target, all its paths together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TargetFigures {
    /// Its id.
    pub target: String,
    /// Paths to it.
    pub paths: u64,
    /// Of those, not reachable.
    pub failed_paths: u64,
    /// Of those, not measured.
    pub not_measured: u64,
    /// Of those, expected to be absent: nothing is expected of them.
    pub absent: u64,
    /// Probes that can be judged.
    pub sent: u64,
    /// Of those, answered.
    pub answered: u64,
    /// Probes that can't be judged, besides.
    pub suspect: u64,
    /// Those that were not, by how they ended; none with 0.
    pub errors: Vec<(&'static str, u64)>,
    /// Round trips; None where nothing was answered.
    pub round_trip: Option<RoundTrip>,
    /// Probes a second, of all nodes together.
    pub probes_per_second: f64,
}

/// Round trips of one target in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundTrip {
    /// The shortest.
    pub min: Duration,
    /// Their sum by their number.
    pub mean: Duration,
    /// The longest.
    pub max: Duration,
    /// Half are shorter.
    pub p50: Duration,
    /// 9 of 10 are shorter.
    pub p90: Duration,
    /// 19 of 20 are shorter.
    pub p95: Duration,
    /// 99 of 100 are shorter.
    pub p99: Duration,
}

/// One target's figures, and why it failed.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetReport {
    /// What was measured.
    pub figures: TargetFigures,
    /// What is not as expected, one line each; none where all is.
    pub failures: Vec<String>,
}

/// What the hub reports of a round when it is over.
#[derive(Clone, Debug, Default)]
pub struct RoundFacts {
    /// From 1.
    pub round: i64,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// By target.
    pub targets: Vec<TargetFigures>,
    /// Nodes that did not report all of their paths, and why.
    pub missing: Vec<(String, String)>,
    /// How many probes a second were sent, where the check asks for a rate.
    pub rate: Option<Rate>,
    /// Open causes, in the hub's words, worst first.
    pub causes: Vec<String>,
    /// It was ended before its time, and why.
    pub ended_early: Option<String>,
}

/// A whole round, judged.
#[derive(Clone, Debug, PartialEq)]
pub struct RoundReport {
    /// From 1.
    pub round: i64,
    /// What it came to.
    pub status: RoundStatus,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// By target; those that failed first.
    pub targets: Vec<TargetReport>,
    /// Nodes that did not report all of their paths, and why.
    pub missing: Vec<(String, String)>,
    /// How many probes a second were sent, where the check asks for a rate.
    pub rate: Option<Rate>,
    /// Open causes, worst first.
    pub causes: Vec<String>,
    /// Why it failed, in a few words; empty where it didn't.
    pub reason: String,
}

impl RoundReport {
    /// Judges a round. Without any expectation every path has to be reachable.
    #[must_use]
    pub fn judge(expect: &Expect, facts: RoundFacts) -> Self {
        let RoundFacts { round, started_at, ended_at, targets, missing, rate, causes, ended_early } = facts;
        let slow = rate.as_ref().and_then(Rate::shortfall);
        let mut targets: Vec<TargetReport> = targets
            .into_iter()
            .map(|figures| TargetReport { failures: failures(expect, &figures), figures })
            .collect();
        targets.sort_by(|a, b| {
            let bad =
                |of: &TargetReport| (of.failures.is_empty(), std::cmp::Reverse(of.figures.failed_paths));
            bad(a).cmp(&bad(b)).then_with(|| a.figures.target.cmp(&b.figures.target))
        });
        let failed = targets.iter().filter(|target| !target.failures.is_empty()).count();
        let unmeasured: u64 = targets.iter().map(|target| target.figures.not_measured).sum();
        let status = if failed > 0 || ended_early.is_some() {
            RoundStatus::Failed
        } else if unmeasured > 0 || !missing.is_empty() || targets.is_empty() || slow.is_some() {
            RoundStatus::Incomplete
        } else {
            RoundStatus::Succeeded
        };
        let reason = match status {
            _ if ended_early.is_some() => ended_early.unwrap_or_default(),
            RoundStatus::Failed => match (causes.first(), &targets[0]) {
                (Some(cause), _) => cause.clone(),
                (None, worst) => format!("{}: {}", worst.figures.target, worst.failures.join(", ")),
            },
            RoundStatus::Incomplete if targets.is_empty() => "no path is selected".to_owned(),
            RoundStatus::Incomplete => match (missing.first(), slow) {
                (Some((node, why)), _) => {
                    format!("{} of the nodes did not report: {node}: {why}", missing.len())
                }
                (None, Some(slow)) if unmeasured == 0 => slow,
                (None, _) => format!("{unmeasured} paths were not measured"),
            },
            RoundStatus::Running | RoundStatus::Succeeded => String::new(),
        };
        Self { round, status, started_at, ended_at, targets, missing, rate, causes, reason: cut(&reason) }
    }

    fn sum(&self, of: impl Fn(&TargetFigures) -> u64) -> u64 {
        self.targets.iter().map(|target| of(&target.figures)).sum()
    }

    /// Targets that did not come to what is expected.
    #[must_use]
    pub fn failed_targets(&self) -> u64 {
        self.targets.iter().filter(|target| !target.failures.is_empty()).count() as u64
    }

    /// One line for people.
    #[must_use]
    pub fn headline(&self) -> String {
        let counts = format!(
            "round {}: {} of {} paths reachable, {} of {} targets as expected",
            self.round,
            self.sum(|target| target.paths - target.failed_paths - target.not_measured - target.absent),
            self.sum(|target| target.paths - target.absent),
            self.targets.len() as u64 - self.failed_targets(),
            self.targets.len()
        );
        if self.reason.is_empty() { counts } else { format!("{counts}: {}", self.reason) }
    }

    /// As much of it as an object has room for.
    #[must_use]
    pub fn summary(&self) -> RoundSummary {
        RoundSummary {
            round: self.round,
            status: self.status,
            started_at: self.started_at.to_string(),
            ended_at: self.ended_at.to_string(),
            paths: self.sum(|target| target.paths),
            failed: self.sum(|target| target.failed_paths),
            not_measured: self.sum(|target| target.not_measured),
            failed_targets: self.failed_targets(),
            targets: self.targets.len() as u64,
            missing: self.missing.iter().take(NAMES_MAX).map(|(node, _)| node.clone()).collect(),
            rate: self.rate.as_ref().and_then(Rate::summary),
            reason: self.reason.clone(),
        }
    }
}

/// What is not as expected of one target. A target all of whose paths are expected to be absent is expected nothing of.
fn failures(expect: &Expect, figures: &TargetFigures) -> Vec<String> {
    let mut failures = Vec::new();
    if *expect == Expect::default() {
        if figures.failed_paths > 0 {
            failures.push(format!("{} of {} paths are not reachable", figures.failed_paths, figures.paths));
        }
        return failures;
    }
    if figures.sent == 0 {
        return failures;
    }
    if let Some(wanted) = expect.success_rate.filter(|wanted| !wanted.is_met(figures.answered, figures.sent))
    {
        failures.push(format!("{} of {} probes answered, expected {wanted}", figures.answered, figures.sent));
    }
    let Some(is) = &figures.round_trip else { return failures };
    for (name, is, wanted) in [("mean", is.mean, expect.mean), ("p99", is.p99, expect.p99)] {
        if let Some(wanted) = wanted.filter(|wanted| is > wanted.0) {
            failures.push(format!("{name} {}, expected {wanted} at most", short(is)));
        }
    }
    failures
}

/// A delay in microseconds at the finest.
fn short(delay: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_micros(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests;
