//! Cells → the report: counts, and bad paths grouped by what explains them. Pure.
//!
//! Every bad path is in exactly one finding: that of the place where most of its losses died. Paths without a place
//! go together by target where several sources miss it, else by source.

use std::collections::BTreeMap;

use netcheck_common::domain::Outcome;
use netcheck_proto::v1;

use crate::clock::{timestamp, wire_duration};
use crate::query::{Cell, Range};
use crate::verdict::Verdict;

#[cfg(test)]
mod tests;

/// Lines of evidence in one finding.
const EVIDENCE_LINES: usize = 8;

/// Builds the report of these cells.
#[must_use]
pub fn build(cells: &[Cell], range: &Range, caveats: Vec<String>) -> v1::Report {
    let count = |verdict: Verdict| cells.iter().filter(|cell| cell.verdict == verdict).count() as u64;
    let mut findings: Vec<v1::Finding> = groups(cells).into_values().map(|cells| finding(&cells)).collect();
    findings.sort_by_key(|finding| {
        let unreachable = finding.verdict() == v1::Verdict::Unreachable;
        (std::cmp::Reverse(unreachable), std::cmp::Reverse(finding.paths.len()), finding.headline.clone())
    });
    v1::Report {
        generated_at: Some(timestamp(range.now_ns)),
        range: Some(wire_duration(range.length())),
        paths: cells.len() as u64,
        reachable: count(Verdict::Reachable),
        degraded: count(Verdict::Degraded),
        unreachable: count(Verdict::Unreachable),
        expected_absent: count(Verdict::ExpectedAbsent),
        no_data: count(Verdict::NoData),
        totals: Some(totals(cells)),
        findings,
        caveats,
    }
}

/// What makes paths one finding. Ordered only to be deterministic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    Place {
        node: String,
        interface: String,
        pod: String,
        stage: i32,
        direction: i32,
        reason: String,
        function: String,
        next_node: String,
    },
    Target(String),
    Source(String),
}

fn bad(cell: &Cell) -> bool {
    matches!(cell.verdict, Verdict::Degraded | Verdict::Unreachable)
}

fn target_of(cell: &Cell) -> Option<&v1::Target> {
    cell.cell.path.as_ref().and_then(|path| path.target.as_ref())
}

fn source_of(cell: &Cell) -> &str {
    cell.cell.path.as_ref().map_or("", |path| path.source_node.as_str())
}

fn groups(cells: &[Cell]) -> BTreeMap<Cause, Vec<&Cell>> {
    let mut missed_by: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for cell in cells.iter().filter(|cell| bad(cell) && cell.cell.loss.is_none()) {
        let sources = missed_by.entry(target_of(cell).map_or("", |target| target.id.as_str())).or_default();
        if !sources.contains(&source_of(cell)) {
            sources.push(source_of(cell));
        }
    }
    let mut groups: BTreeMap<Cause, Vec<&Cell>> = BTreeMap::new();
    for cell in cells.iter().filter(|cell| bad(cell)) {
        let location = cell.cell.loss.as_ref().and_then(|loss| loss.location.as_ref());
        let id = target_of(cell).map_or("", |target| target.id.as_str());
        let cause = match location {
            Some(at) => Cause::Place {
                node: at.node.clone(),
                interface: at.interface.clone(),
                pod: at.pod.clone(),
                stage: at.stage,
                direction: at.direction,
                reason: at.reason.clone(),
                function: at.function.clone(),
                next_node: at.next_node.clone(),
            },
            None if missed_by.get(id).is_some_and(|sources| sources.len() > 1) => {
                Cause::Target(id.to_owned())
            }
            None => Cause::Source(source_of(cell).to_owned()),
        };
        groups.entry(cause).or_default().push(cell);
    }
    groups
}

fn finding(cells: &[&Cell]) -> v1::Finding {
    let worst = cells.iter().any(|cell| cell.verdict == Verdict::Unreachable);
    let mut evidence: Vec<String> = Vec::new();
    for line in cells.iter().flat_map(|cell| &cell.evidence) {
        if evidence.len() < EVIDENCE_LINES && !evidence.contains(line) {
            evidence.push(line.clone());
        }
    }
    for why in cells.iter().filter_map(|cell| cell.unlocated.as_ref()) {
        let line = format!("no place: {why}");
        if evidence.len() < EVIDENCE_LINES && !why.is_empty() && !evidence.contains(&line) {
            evidence.push(line);
        }
    }
    let first = cells.iter().filter_map(|cell| cell.lost_ns).map(|(first, _)| first).min();
    let last = cells.iter().filter_map(|cell| cell.lost_ns).map(|(_, last)| last).max();
    let loss = cells.iter().filter_map(|cell| cell.cell.loss.as_ref()).max_by_key(|loss| loss.probes);
    v1::Finding {
        headline: headline(cells),
        verdict: if worst { Verdict::Unreachable } else { Verdict::Degraded }.to_wire().into(),
        loss: loss.map(|loss| v1::LocatedLoss {
            probes: cells.iter().filter_map(|cell| cell.cell.loss.as_ref()).map(|loss| loss.probes).sum(),
            first_seen: first.map(timestamp),
            last_seen: last.map(timestamp),
            ..loss.clone()
        }),
        paths: cells.iter().filter_map(|cell| cell.cell.path.clone()).collect(),
        first_seen: first.map(timestamp),
        last_seen: last.map(timestamp),
        evidence,
    }
}

/// `service default/web:80`, `pod default/web-1`, `n2`.
#[must_use]
pub fn target_name(target: &v1::Target) -> String {
    let full = format!("{}/{}", target.namespace, target.name);
    match target.kind() {
        v1::TargetKind::Service => format!("service {full}:{}", target.port),
        v1::TargetKind::DnsServer => format!("DNS server {full}"),
        v1::TargetKind::Pod => format!("pod {full}"),
        v1::TargetKind::Node | v1::TargetKind::Unspecified => target.name.clone(),
    }
}

fn headline(cells: &[&Cell]) -> String {
    let targets = listed(cells.iter().filter_map(|cell| target_of(cell)).map(target_name));
    let sources = listed(cells.iter().map(|cell| source_of(cell).to_owned()));
    let place = cells.first().and_then(|cell| cell.cell.loss.as_ref());
    let Some(loss) = place else {
        let cannot = if cells.iter().all(|cell| cell.verdict == Verdict::Degraded) {
            "loses probes to"
        } else {
            "cannot reach"
        };
        return format!("{sources} {cannot} {targets}: cause not located");
    };
    let Some(at) = &loss.location else { return loss.summary.clone() };
    let outcomes = |wanted: Outcome| cells.iter().all(|cell| cell.outcome == Some(wanted));
    if outcomes(Outcome::Refused) && at.stage() == v1::Stage::Socket {
        return format!("{targets} {}", loss.summary);
    }
    if outcomes(Outcome::DnsError) {
        return format!("{targets}: {}", loss.summary);
    }
    format!("{} ({sources} → {targets})", loss.summary)
}

/// Up to three names, and how many more there are.
fn listed(names: impl Iterator<Item = String>) -> String {
    let mut all: Vec<String> = names.collect();
    all.sort();
    all.dedup();
    if all.len() <= 3 {
        return all.join(", ");
    }
    format!("{} and {} more", all[..2].join(", "), all.len() - 2)
}

fn totals(cells: &[Cell]) -> v1::PathStats {
    let mut totals = v1::PathStats::default();
    for stats in cells.iter().filter_map(|cell| cell.cell.stats.as_ref()) {
        totals.sent += stats.sent;
        totals.reply += stats.reply;
        totals.timeout += stats.timeout;
        totals.refused += stats.refused;
        totals.unreachable += stats.unreachable;
        totals.dns_error += stats.dns_error;
        totals.send_error += stats.send_error;
        totals.suspect += stats.suspect;
    }
    totals
}
