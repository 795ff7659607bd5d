//! Cells and incidents → the report: counts, and bad paths as the evidence of incidents. Pure.
//!
//! Incidents say what is wrong. Findings show what each of them explains: its paths, by the location where they lose
//! their probes. What no incident explains yet is shown last, in the same way.
//!
//! Every bad path is in exactly one finding: that of the location where most of its losses died. Of those that one
//! incident explains, paths without a location go with those that are lost on the wire between the same nodes, else
//! together by target where several sources miss it, else by source. So do those that none explains.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use netcheck_common::domain::PathId;
use netcheck_proto::v1;

use crate::state::Hub;
use crate::state::cells::Cell;
use netcheck_analysis::evidence::LocatedLoss;
use netcheck_analysis::incident::Incident;
use netcheck_analysis::matrix::range::Range;
use netcheck_analysis::model::Pattern;
use netcheck_analysis::model::clock::{timestamp, wire_duration};
use netcheck_analysis::model::location::{Direction, Location, Stage};
use netcheck_analysis::model::reason::DropReason;
use netcheck_analysis::model::verdict::Verdict;
use netcheck_analysis::plan::coverage::Coverage;
use netcheck_analysis::wire;
use netcheck_analysis::words::names::{listed, source_name};

pub mod conclusion;
pub mod line;
pub mod log;
#[cfg(test)]
mod tests;

/// How the line of evidence begins that names the incident of a finding.
const EXPLAINED: &str = "explained by incident ";
/// Lines of evidence in one finding.
const EVIDENCE_LINES: usize = 8;

/// Builds the report of these cells, while these incidents are open.
#[must_use]
pub fn build(cells: &[Cell], incidents: &[Incident], range: &Range, caveats: Vec<String>) -> v1::Report {
    let count = |verdict: Verdict| cells.iter().filter(|cell| cell.verdict == verdict).count() as u64;
    let mut report = v1::Report {
        generated_at: Some(timestamp(range.now_ns)),
        range: Some(wire_duration(range.length())),
        paths: cells.len() as u64,
        reachable: count(Verdict::Reachable),
        degraded: count(Verdict::Degraded),
        unreachable: count(Verdict::Unreachable),
        expected_absent: count(Verdict::ExpectedAbsent),
        no_data: count(Verdict::NoData),
        totals: Some(totals(cells)),
        findings: findings(cells, incidents),
        incidents: incidents.iter().map(wire::incident).collect(),
        caveats,
        ..Default::default()
    };
    conclusion::conclude(&mut report);
    report
}

/// The bad ones of these cells: what incidents explain, then what none explains yet; of each the worst first.
#[must_use]
pub fn findings(cells: &[Cell], incidents: &[Incident]) -> Vec<v1::Finding> {
    let mut findings: Vec<(bool, v1::Finding)> = Vec::new();
    for (incident, bad) in by_incident(cells, incidents) {
        let explained = incident.map(|at| &incidents[at]);
        let why = explained.map(|one| format!("{EXPLAINED}{}: {}", one.id, one.headline));
        let why = why.or_else(|| (!incidents.is_empty()).then(|| "no incident explains it yet".to_owned()));
        for ((cause, _), group) in groups(&bad) {
            let mut finding = finding(&cause, &group, cells);
            finding.evidence.extend(why.clone());
            finding.incident = explained.map(|one| one.id.clone()).unwrap_or_default();
            findings.push((incident.is_none(), finding));
        }
    }
    findings.sort_by_key(|(unexplained, finding)| {
        let reachable = finding.verdict() != v1::Verdict::Unreachable;
        (*unexplained, reachable, Reverse(finding.paths.len()), finding.headline.clone())
    });
    findings.into_iter().map(|(_, finding)| finding).collect()
}

/// Bad cells by the incident that explains their path, as its place in the list; none: no incident does. Where most losses of
/// a path are somewhere that is none of the incident's places, it lost them otherwise. A path that several explain is the
/// first one's.
fn by_incident<'a>(cells: &'a [Cell], incidents: &[Incident]) -> BTreeMap<Option<usize>, Vec<&'a Cell>> {
    let mut explained: HashMap<(&str, PathId), Vec<usize>> = HashMap::new();
    for (at, incident) in incidents.iter().enumerate() {
        for of in &incident.paths {
            explained.entry((&of.source, of.path.id)).or_default().push(at);
        }
    }
    let mut by_incident: BTreeMap<Option<usize>, Vec<&'a Cell>> = BTreeMap::new();
    for cell in cells.iter().filter(|cell| bad(cell)) {
        let of_path = explained.get(&(source_of(cell), PathId(cell.key.1)));
        let holds = |at: &usize| place_of(cell).is_none_or(|place| incidents[*at].places.hold(place));
        let incident = of_path.and_then(|all| all.iter().copied().find(holds));
        by_incident.entry(incident).or_default().push(cell);
    }
    by_incident
}

/// Counts the paths that are not in turn with what they were when they were probed last.
pub fn add_inactive(report: &mut v1::Report, coverage: &Coverage, wanted: Duration) {
    let mut all = 0;
    for (verdict, count) in [
        (Verdict::Reachable, &mut report.reachable),
        (Verdict::Degraded, &mut report.degraded),
        (Verdict::Unreachable, &mut report.unreachable),
        (Verdict::ExpectedAbsent, &mut report.expected_absent),
        (Verdict::NoData, &mut report.no_data),
    ] {
        *count += coverage.inactive(verdict);
        all += coverage.inactive(verdict);
    }
    report.paths += all;
    report.coverage = coverage.to_wire(wanted);
    conclusion::conclude(report);
}

impl Hub {
    /// The same alone: a report of the paths that are not in turn.
    pub(crate) fn add_waiting(&self, report: &mut v1::Report, now_ns: i64) {
        add_inactive(report, &self.coverage(now_ns), self.settings.rotation.cover);
    }
}

/// What makes paths one finding. Ordered only to be deterministic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    /// Requests or replies, for either half dies of one cause where the reason is the same.
    Place {
        node: String,
        interface: String,
        pod: String,
        stage: Stage,
        direction: Direction,
        reason: String,
        function: String,
        next_node: String,
    },
    /// Several nodes' packets get lost on the wire towards one, on the cluster's own network or on a secondary one.
    Towards {
        node: String,
        network: String,
    },
    Target(String),
    Source(String),
}

impl Cause {
    fn of(at: &Location) -> Self {
        // A reason that says something is the same cause whichever half it hits, and in either family's function.
        let specific = !DropReason::of(&at.reason).says_nothing();
        Self::Place {
            node: at.node.clone(),
            interface: at.interface.clone(),
            pod: at.pod.clone(),
            stage: at.stage,
            direction: if specific { Direction::Unknown } else { at.direction },
            reason: at.reason.clone(),
            function: if specific { String::new() } else { at.function.clone() },
            next_node: at.next_node.clone(),
        }
    }
}

fn bad(cell: &Cell) -> bool {
    matches!(cell.verdict, Verdict::Degraded | Verdict::Unreachable)
}

fn target_of(cell: &Cell) -> Option<&v1::Target> {
    cell.cell.path.as_ref().and_then(|path| path.target.as_ref())
}

/// The secondary network of pods that its path stays in; empty: the cluster's own.
fn network_of(cell: &Cell) -> &str {
    target_of(cell).map_or("", |target| target.network.as_str())
}

fn from_pod(cell: &Cell) -> bool {
    cell.cell.path.as_ref().is_some_and(|path| path.vantage() == v1::Vantage::Pod)
}

fn source_of(cell: &Cell) -> &str {
    cell.cell.path.as_ref().map_or("", |path| path.source_node.as_str())
}

fn place_of(cell: &Cell) -> Option<&Location> {
    cell.loss.as_ref().map(|loss| &loss.location)
}

/// Where it was lost on the wire: the node that it came from, and the one that it did not reach.
fn wire_of(cell: &Cell) -> Option<(&str, &str)> {
    let at = place_of(cell).filter(|at| at.stage == Stage::Wire)?;
    Some((&at.node, &at.next_node))
}

/// Bad paths by cause; those that lose only packets of some sizes, or from some source ports, apart from those that lose
/// any.
fn groups<'a>(bad: &[&'a Cell]) -> BTreeMap<(Cause, Pattern), Vec<&'a Cell>> {
    let bad = || bad.iter().copied();
    let mut missed_by: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for cell in bad().filter(|cell| cell.loss.is_none()) {
        let id = target_of(cell).map_or("", |target| target.id.as_str());
        missed_by.entry(id).or_default().insert(source_of(cell));
    }
    let mut cut_off: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for (cell, (from, to)) in bad().filter_map(|cell| Some((cell, wire_of(cell)?))) {
        cut_off.entry((to, network_of(cell))).or_default().insert(from);
    }
    let cause = |at: &Location, network: &str| {
        let sources = cut_off.get(&(at.next_node.as_str(), network));
        let towards = at.stage == Stage::Wire && sources.is_some_and(|sources| sources.len() > 1);
        if towards {
            Cause::Towards { node: at.next_node.clone(), network: network.to_owned() }
        } else {
            Cause::of(at)
        }
    };
    let mut groups: BTreeMap<(Cause, Pattern), Vec<&'a Cell>> = BTreeMap::new();
    for cell in bad() {
        let id = target_of(cell).map_or("", |target| target.id.as_str());
        // A path without a place whose way is one on which all else is lost on the wire.
        let same_way = || {
            let way = (source_of(cell), cell.towards.as_deref()?);
            let same = |other: &&Cell| wire_of(other) == Some(way) && network_of(other) == network_of(cell);
            bad().find(same).and_then(place_of)
        };
        let cause = match place_of(cell).or_else(same_way) {
            // Each source's own kernel refuses what nobody is behind.
            _ if cell.unbacked.is_some() => Cause::Target(id.to_owned()),
            Some(at) => cause(at, network_of(cell)),
            None if missed_by.get(id).is_some_and(|sources| sources.len() > 1) => {
                Cause::Target(id.to_owned())
            }
            None => {
                let network = network_of(cell);
                let on = if network.is_empty() { "" } else { " on network " };
                Cause::Source(format!("{}{on}{network}", source_name(source_of(cell), from_pod(cell))))
            }
        };
        groups.entry((cause, cell.pattern())).or_default().push(cell);
    }
    groups
}

/// The cell of a finding whose place stands for all: that with the most losses there.
fn describe<'a>(cells: &[&'a Cell]) -> Option<(&'a Cell, &'a LocatedLoss)> {
    let located = cells.iter().filter_map(|cell| Some((*cell, cell.loss.as_ref()?)));
    located.max_by_key(|(_, loss)| loss.probes)
}

fn finding(cause: &Cause, cells: &[&Cell], all: &[Cell]) -> v1::Finding {
    let worst = cells.iter().any(|cell| cell.verdict == Verdict::Unreachable);
    let first = cells.iter().filter_map(|cell| cell.lost_ns).map(|(first, _)| first).min();
    let last = cells.iter().filter_map(|cell| cell.lost_ns).map(|(_, last)| last).max();
    v1::Finding {
        headline: headline(cause, cells, all),
        verdict: if worst { Verdict::Unreachable } else { Verdict::Degraded }.to_wire().into(),
        loss: describe(cells).map(|(_, loss)| v1::LocatedLoss {
            probes: cells.iter().filter_map(|cell| cell.loss.as_ref()).map(|loss| loss.probes).sum(),
            first_seen: first.map(timestamp),
            last_seen: last.map(timestamp),
            ..wire::located_loss(loss)
        }),
        paths: cells.iter().filter_map(|cell| cell.cell.path.clone()).collect(),
        first_seen: first.map(timestamp),
        last_seen: last.map(timestamp),
        evidence: evidence(cells),
        incident: String::new(),
    }
}

/// The facts of all paths. Those that differ only in the packet's addresses, which stand at the end in brackets, are
/// one line.
fn evidence(cells: &[&Cell]) -> Vec<String> {
    let mut lines: Vec<(&str, &str, BTreeSet<&str>)> = Vec::new();
    let located = cells.iter().any(|cell| cell.loss.is_some());
    for cell in cells.iter().filter(|cell| !located || cell.loss.is_some()) {
        for line in &cell.evidence {
            let (fact, packet) = match line.rfind(" (") {
                Some(at) if line[at..].contains('→') => line.split_at(at),
                _ => (line.as_str(), ""),
            };
            match lines.iter_mut().find(|(known, ..)| *known == fact) {
                Some((_, _, packets)) => {
                    packets.insert(packet);
                }
                None => lines.push((fact, packet, BTreeSet::from([packet]))),
            }
        }
    }
    let mut evidence: Vec<String> = lines
        .into_iter()
        .map(|(fact, packet, packets)| match packets.len() {
            0 | 1 => format!("{fact}{packet}"),
            many => format!("{fact}{} and {} other flows", packet.trim_end_matches(')'), many - 1) + ")",
        })
        .collect();
    if located {
        let without = cells.iter().filter(|cell| cell.loss.is_none()).count();
        if without > 0 {
            evidence.push(format!("{without} paths without a place of their own go the same way"));
        }
    } else {
        let why: BTreeSet<&String> = cells.iter().filter_map(|cell| cell.unlocated.as_ref()).collect();
        evidence.extend(why.into_iter().filter(|why| !why.is_empty()).map(|why| format!("no place: {why}")));
    }
    if evidence.len() > EVIDENCE_LINES {
        let more = evidence.len() - (EVIDENCE_LINES - 1);
        evidence.truncate(EVIDENCE_LINES - 1);
        evidence.push(format!("and {more} more facts like these"));
    }
    evidence
}

fn headline(cause: &Cause, cells: &[&Cell], all: &[Cell]) -> String {
    let bad: Vec<&v1::MatrixCell> = cells.iter().map(|cell| &cell.cell).collect();
    let every = all.iter().map(|cell| &cell.cell);
    let loss = describe(cells).map(|(_, loss)| loss);
    let why: BTreeSet<&str> = cells.iter().filter_map(|cell| cell.unlocated.as_deref()).collect();
    // Several reasons are in the evidence.
    let why = why.first().copied().filter(|_| why.len() == 1);
    if let Some(nobody) = cells.iter().find_map(|cell| cell.unbacked.as_deref()) {
        let bare = loss.map(|loss| LocatedLoss { summary: String::new(), ..loss.clone() });
        let why = why.map(|why| why.trim_start_matches(nobody).trim_start_matches(": "));
        return format!("{nobody}: {}", line::line(&bad, every, bare.as_ref(), why));
    }
    if let (Cause::Towards { node, .. }, Some(loss)) = (cause, loss) {
        // Several uplinks: none stands for all.
        let from = listed(cells.iter().filter_map(|cell| wire_of(cell)).map(|(from, _)| from.to_owned()));
        let summary = format!("lost on the wire between {from} and {node}");
        return line::line(&bad, every, Some(&LocatedLoss { summary, ..loss.clone() }), why);
    }
    line::line(&bad, every, loss, why)
}

fn totals(cells: &[Cell]) -> v1::PathStats {
    let mut totals = v1::PathStats::default();
    cells.iter().filter_map(|cell| cell.cell.stats.as_ref()).for_each(|stats| add(&mut totals, stats));
    totals
}

fn add(totals: &mut v1::PathStats, stats: &v1::PathStats) {
    totals.sent += stats.sent;
    totals.reply += stats.reply;
    totals.timeout += stats.timeout;
    totals.refused += stats.refused;
    totals.unreachable += stats.unreachable;
    totals.dns_error += stats.dns_error;
    totals.send_error += stats.send_error;
    totals.http_error += stats.http_error;
    totals.suspect += stats.suspect;
}

/// How many of the findings, which are the last of them, no incident explains.
#[must_use]
pub fn unexplained(findings: &[v1::Finding]) -> u32 {
    let explained = |finding: &&v1::Finding| finding.evidence.iter().any(|line| line.starts_with(EXPLAINED));
    findings.iter().filter(|finding| !explained(finding)).count() as u32
}

/// Paths by verdict, and the sums of their probes, where not all cells are at hand.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    by_verdict: [u64; Verdict::ALL.len()],
    totals: v1::PathStats,
}

impl Counts {
    /// Adds a path.
    pub fn add(&mut self, verdict: Verdict, stats: Option<&v1::PathStats>) {
        self.by_verdict[verdict as usize] += 1;
        if let Some(stats) = stats {
            add(&mut self.totals, stats);
        }
    }
}

/// Puts these counts into a report that was built of some of the cells.
pub fn count(report: &mut v1::Report, counts: &Counts) {
    let of = |verdict: Verdict| counts.by_verdict[verdict as usize];
    report.paths = counts.by_verdict.iter().sum();
    report.reachable = of(Verdict::Reachable);
    report.degraded = of(Verdict::Degraded);
    report.unreachable = of(Verdict::Unreachable);
    report.expected_absent = of(Verdict::ExpectedAbsent);
    report.no_data = of(Verdict::NoData);
    report.totals = Some(counts.totals);
    conclusion::conclude(report);
}
