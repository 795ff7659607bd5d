//! Scheduled checks as readers get them.

use std::sync::Arc;

use jiff::Timestamp;
use netcheck_proto::v1;
use netcheck_scheduled::round::{Rate, RoundReport, RoundStatus, RoundTrip, TargetReport};

use crate::state::scheduled::{Board, Scheduled};
use netcheck_analysis::model::clock::wire_duration;

/// All checks, or one with its targets. None: there is none of that name.
pub(super) fn list(board: &Board, name: &str) -> Option<v1::ListScheduledChecksResponse> {
    let (mut checks, trouble) = board.all();
    if !name.is_empty() {
        checks.retain(|(known, _)| known == name);
        if checks.is_empty() && trouble.is_none() {
            return None;
        }
    }
    let checks = checks.iter().map(|(known, check)| wire(known, check, !name.is_empty())).collect();
    Some(v1::ListScheduledChecksResponse { checks, trouble: trouble.unwrap_or_default() })
}

fn at(timestamp: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: timestamp.as_second(), nanos: timestamp.subsec_nanosecond() }
}

fn wire(name: &str, check: &Scheduled, whole: bool) -> v1::ScheduledCheck {
    v1::ScheduledCheck {
        name: name.to_owned(),
        schedule: check.schedule.clone(),
        expected_rounds: check.wanted,
        done_rounds: check.done,
        finished: check.wanted >= 0 && check.done >= check.wanted,
        next_round_at: check.next.map(at),
        running: check.running,
        invalid: check.invalid.clone().unwrap_or_default(),
        rounds: check.rounds.iter().map(|report| round(report, whole)).collect(),
    }
}

fn round(report: &Arc<RoundReport>, whole: bool) -> v1::ScheduledRound {
    let summary = report.summary();
    let status = match report.status {
        RoundStatus::Succeeded => v1::RoundStatus::Succeeded,
        RoundStatus::Failed => v1::RoundStatus::Failed,
        RoundStatus::Incomplete => v1::RoundStatus::Incomplete,
        RoundStatus::Running => v1::RoundStatus::Unspecified,
    };
    v1::ScheduledRound {
        round: report.round,
        status: status.into(),
        started_at: Some(at(report.started_at)),
        ended_at: Some(at(report.ended_at)),
        headline: report.headline(),
        paths: summary.paths,
        failed: summary.failed,
        not_measured: summary.not_measured,
        causes: report.causes.clone(),
        missing: report.missing.iter().map(|(node, why)| format!("{node}: {why}")).collect(),
        targets_total: summary.targets,
        targets_failed: summary.failed_targets,
        rate: report.rate.as_ref().and_then(rate),
        targets: report.targets.iter().filter(|_| whole).map(target).collect(),
    }
}

fn rate(rate: &Rate) -> Option<v1::RoundRate> {
    let (lowest, mean) = rate.figures()?;
    let line =
        |(node, sent): (&str, f64)| format!("{node}: asked for {} per second, had {sent:.1}", rate.asked);
    let short = rate.short().into_iter().map(line).collect();
    Some(v1::RoundRate { asked: rate.asked, lowest, mean, short })
}

fn target(TargetReport { figures, failures }: &TargetReport) -> v1::TargetResult {
    v1::TargetResult {
        target: figures.target.clone(),
        paths: figures.paths,
        failed_paths: figures.failed_paths,
        not_measured: figures.not_measured,
        sent: figures.sent,
        answered: figures.answered,
        errors: figures.errors.iter().map(|&(name, count)| (name.to_owned(), count)).collect(),
        round_trip: figures.round_trip.as_ref().map(round_trip),
        probes_per_second: figures.probes_per_second,
        failures: failures.clone(),
        suspect: figures.suspect,
    }
}

fn round_trip(of: &RoundTrip) -> v1::RoundTrip {
    v1::RoundTrip {
        min: Some(wire_duration(of.min)),
        mean: Some(wire_duration(of.mean)),
        max: Some(wire_duration(of.max)),
        p50: Some(wire_duration(of.p50)),
        p90: Some(wire_duration(of.p90)),
        p95: Some(wire_duration(of.p95)),
        p99: Some(wire_duration(of.p99)),
    }
}
