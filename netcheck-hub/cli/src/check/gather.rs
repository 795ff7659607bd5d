//! Cells and the hub's result → the document. Cells are counted and let go as they come: what is kept is bounded, however
//! large the cluster is.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::SystemTime;

use netcheck_proto::v1;

use super::document::{Cause, Class, Counts, Document, Gap, KIND, Problem, Round, Selection, VERSION};
use super::exceptions::Exceptions;
use super::expect::{Expect, Judge};
use super::formats::csv;
use super::record::PathRecord;
use crate::EXIT_FAILURE;
use crate::EXIT_UNREACHABLE;

/// Failed paths that are kept: about 30 MB.
const FAILED: usize = 100_000;
/// A hub names no more paths of a cause than this.
const NAMED: usize = 1000;
/// Between what is some cluster's and its name, where there are two: `n1 of east`.
pub(crate) const OF: &str = " of ";
/// Details of one problem.
const DETAILS: usize = 20;

/// What becomes of the cells of one check.
pub(crate) struct Gather<'a> {
    selection: Selection,
    expect: Expect,
    judge: Judge,
    exceptions: Exceptions,
    classes: BTreeMap<(bool, i32, String), Class>,
    failed: Vec<PathRecord>,
    failed_total: u64,
    excepted: u64,
    unmeasured: u64,
    /// All other paths, where they are to be printed.
    others: Option<Vec<PathRecord>>,
    /// Rows are written as they come.
    csv: Option<&'a mut dyn Write>,
    started: SystemTime,
}

/// The document, and the paths that are not in it.
pub(crate) struct Gathered {
    pub(crate) document: Document,
    pub(crate) others: Vec<PathRecord>,
}

fn target_class(kind: v1::TargetKind) -> &'static str {
    match kind {
        v1::TargetKind::Node => "nodes",
        v1::TargetKind::Pod => "pods",
        v1::TargetKind::Service => "services",
        v1::TargetKind::DnsServer => "DNS servers",
        v1::TargetKind::Endpoint | v1::TargetKind::Unspecified => "endpoints",
    }
}

fn part_name(part: v1::RoundPart) -> &'static str {
    match part {
        v1::RoundPart::PodToPod => "pod→pod",
        v1::RoundPart::PodToNode => "pod→node",
        v1::RoundPart::PodToService => "pod→service",
        v1::RoundPart::Unspecified => "something",
    }
}

fn part_names(parts: &[i32]) -> Vec<String> {
    let known = parts.iter().map(|&part| v1::RoundPart::try_from(part).unwrap_or_default());
    known.map(|part| part_name(part).to_owned()).collect()
}

fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}

impl<'a> Gather<'a> {
    pub(crate) fn new(selection: Selection, expect: Expect, exceptions: Exceptions) -> Self {
        Self {
            selection,
            expect,
            judge: Judge::new(expect),
            exceptions,
            classes: BTreeMap::new(),
            failed: Vec::new(),
            failed_total: 0,
            excepted: 0,
            unmeasured: 0,
            others: None,
            csv: None,
            started: SystemTime::now(),
        }
    }

    /// Keeps paths that are well, too.
    pub(crate) fn with_others(self) -> Self {
        Self { others: Some(Vec::new()), ..self }
    }

    /// Writes each path as it comes.
    ///
    /// # Errors
    /// If the header can't be written.
    pub(crate) fn with_csv(self, out: &'a mut dyn Write) -> std::io::Result<Self> {
        out.write_all(csv::HEADER.as_bytes())?;
        Ok(Self { csv: Some(out), ..self })
    }

    /// Takes a cell.
    ///
    /// # Errors
    /// If its row can't be written.
    pub(crate) fn take(&mut self, cell: &v1::MatrixCell) -> std::io::Result<()> {
        self.take_despite(cell, None)
    }

    /// The same, of a path that may fail for this reason.
    ///
    /// # Errors
    /// If its row can't be written.
    pub(crate) fn take_despite(&mut self, cell: &v1::MatrixCell, usual: Option<&str>) -> std::io::Result<()> {
        let verdict = cell.verdict();
        let path = cell.path.clone().unwrap_or_default();
        let target = path.target.clone().unwrap_or_default();
        let mut record = PathRecord::of(cell);
        self.classify(&path, &target, verdict, record.p99_ns);
        let bad = self.is_bad(verdict);
        if bad || verdict == v1::Verdict::Degraded {
            let usual = usual.map(ToOwned::to_owned);
            record.excepted = usual.or_else(|| self.exceptions.excuse(&record, &target));
        }
        if record.excepted.is_some() {
            self.excepted += 1;
        } else {
            self.judge.add(cell);
        }
        if let Some(out) = &mut self.csv {
            match out.write_all(csv::row(&record).as_bytes()) {
                // Whoever read has seen enough; the check goes on.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => self.csv = None,
                written => written?,
            }
        }
        if bad && record.excepted.is_none() {
            self.failed_total += 1;
            self.unmeasured += u64::from(verdict == v1::Verdict::NoData);
            if self.failed.len() < FAILED {
                self.failed.push(record);
            }
        } else if let Some(others) = self.others.as_mut().filter(|others| others.len() < FAILED) {
            others.push(record);
        }
        Ok(())
    }

    /// Where a share of lost probes is allowed, it is not the verdict that shows whether that is kept.
    fn is_bad(&self, verdict: v1::Verdict) -> bool {
        match verdict {
            v1::Verdict::Unreachable | v1::Verdict::NoData => true,
            v1::Verdict::Degraded => self.expect.success_ppm.is_none(),
            v1::Verdict::Reachable | v1::Verdict::ExpectedAbsent | v1::Verdict::Unspecified => false,
        }
    }

    fn classify(&mut self, path: &v1::Path, target: &v1::Target, verdict: v1::Verdict, p99_ns: u64) {
        let from_pods = path.vantage() == v1::Vantage::Pod;
        let from = if from_pods { "pods" } else { "nodes" };
        let (kind, from, to) = match path.source_node.split_once(OF) {
            Some((_, cluster)) if !target.peer.is_empty() => {
                let to = target_class(target.peer_kind());
                (target.peer_kind, format!("{from}{OF}{cluster}"), format!("{to}{OF}{}", target.peer))
            }
            _ => (target.kind, from.to_owned(), target_class(target.kind()).to_owned()),
        };
        let key = (from_pods, kind, to.clone());
        let class = self.classes.entry(key).or_insert_with(|| Class { from, to, ..Class::default() });
        class.paths += 1;
        class.slowest_p99_ns = class.slowest_p99_ns.max(p99_ns);
        *match verdict {
            v1::Verdict::Reachable => &mut class.reachable,
            v1::Verdict::Degraded => &mut class.degraded,
            v1::Verdict::Unreachable => &mut class.unreachable,
            v1::Verdict::ExpectedAbsent => &mut class.expected_absent,
            v1::Verdict::NoData | v1::Verdict::Unspecified => &mut class.no_data,
        } += 1;
    }

    /// The reason for which all paths of a cause may fail.
    fn excuse(&self, paths: &[v1::Path]) -> Option<String> {
        let complete = paths.len() < NAMED || self.failed_total == 0;
        let mut reason = None;
        for path in paths {
            let target = path.target.clone().unwrap_or_default();
            let cell = v1::MatrixCell { path: Some(path.clone()), ..Default::default() };
            reason = Some(self.exceptions.reason(&PathRecord::of(&cell), &target)?);
        }
        reason.filter(|_| complete)
    }

    fn cause(&self, headline: &str, verdict: v1::Verdict, paths: &[v1::Path]) -> Cause {
        let excepted = self.excuse(paths);
        Cause {
            headline: headline.to_owned(),
            verdict: crate::style::word(verdict).to_owned(),
            fails: excepted.is_none() && self.is_bad(verdict),
            excepted,
            ..Cause::default()
        }
    }

    fn causes(&self, report: &v1::Report, unexplained: u32) -> Vec<Cause> {
        // Without incidents, none explains anything.
        let unexplained = if report.incidents.is_empty() { usize::MAX } else { unexplained as usize };
        let skip = report.findings.len().saturating_sub(unexplained);
        let unexplained = || report.findings.iter().skip(skip);
        let same = |incident: &v1::Incident, finding: &v1::Finding| places(finding).contains(&incident.cause);
        let incidents = report.incidents.iter().map(|incident| {
            // Paths that began to lose their probes there too late to be counted with the others.
            let also: Vec<&v1::Finding> = unexplained().filter(|finding| same(incident, finding)).collect();
            let paths: Vec<v1::Path> = incident
                .paths
                .iter()
                .chain(also.iter().flat_map(|finding| &finding.paths))
                .cloned()
                .collect();
            let also = also.iter().map(|finding| format!("also: {}", finding.headline));
            Cause {
                incident: incident.id.clone(),
                observed: incident.certainty() == v1::Certainty::Observed,
                evidence: incident.evidence.iter().cloned().chain(also).collect(),
                culprits: incident.culprits.iter().flat_map(crate::incidents::culprit_lines).collect(),
                ..self.cause(&incident.headline, incident.verdict(), &paths)
            }
        });
        let alone = unexplained().filter(|finding| !report.incidents.iter().any(|one| same(one, finding)));
        let findings = alone.map(|finding| {
            let location = finding.loss.as_ref().and_then(|loss| loss.location.as_ref());
            Cause {
                observed: location.is_some_and(|at| at.certainty() == v1::Certainty::Observed),
                evidence: finding.evidence.clone(),
                ..self.cause(&finding.headline, finding.verdict(), &finding.paths)
            }
        });
        let mut causes: Vec<Cause> = incidents.chain(findings).collect();
        causes.sort_by_key(|cause| (!cause.fails, cause.verdict != "unreachable"));
        causes
    }

    fn problems(&mut self, result: &v1::CheckResult, round: &Round) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut add = |name: &str, message: String, details: Vec<String>| {
            problems.push(Problem { name: name.to_owned(), message, details });
        };
        if let Some(first) = round.missing.first() {
            let more = match round.missing.len() - 1 {
                0 => String::new(),
                more => format!(" ({more} more nodes are missing)"),
            };
            let details = round.missing.iter().take(DETAILS).map(Gap::line).collect();
            add("round", format!("the round is not complete: {}{more}", first.line()), details);
        }
        if self.unmeasured > 0 {
            let unmeasured = self.failed.iter().filter(|path| path.verdict == "no data");
            let lines = unmeasured.take(DETAILS).map(|path| {
                format!("{} → {}, {} {}", path.source_name(), path.target_name, path.kind, path.family)
            });
            let s = if self.unmeasured == 1 { " was" } else { "s were" };
            add("no data", format!("{} path{s} not measured", self.unmeasured), lines.collect());
        }
        let unjudged = result.report.as_ref().map_or(0, |report| report.unjudged);
        if unjudged > 0 && self.exceptions.excuse_unjudged().is_none() {
            let s = if unjudged == 1 { "" } else { "s" };
            let message = format!(
                "{unjudged} object{s} that nobody can probe; the caveats name what shares an address or has none"
            );
            add("unjudged", message, Vec::new());
        }
        problems
    }

    /// The end: what the hub says of all cells.
    pub(crate) fn end(mut self, result: &v1::CheckResult) -> Gathered {
        let report = result.report.clone().unwrap_or_default();
        let round = round_of(result);
        let causes = self.causes(&report, result.unexplained);
        let mut problems = self.problems(result, &round);
        let broken = std::mem::replace(&mut self.judge, Judge::new(self.expect)).broken();
        problems.extend(broken.iter().map(|broken| Problem {
            name: "expectation".to_owned(),
            message: broken.line(),
            details: broken.worst.clone(),
        }));
        let everything = self.selection.is_everything();
        let notes = self.exceptions.notes(everything);
        let fails = causes.iter().filter(|cause| cause.fails).count();
        // A path that fails without a cause is one all the same.
        let passed = fails == 0 && problems.is_empty() && self.failed_total == 0;
        let conclusion = report.conclusion();
        let unmeasured = matches!(conclusion, v1::Conclusion::Unmeasured | v1::Conclusion::Unspecified);
        let code = match (unmeasured, passed) {
            (true, _) => EXIT_FAILURE,
            (false, true) => 0,
            (false, false) => EXIT_UNREACHABLE,
        };
        let totals = report.totals.unwrap_or_default();
        let paths = Counts {
            total: report.paths,
            reachable: report.reachable,
            degraded: report.degraded,
            unreachable: report.unreachable,
            expected_absent: report.expected_absent,
            no_data: report.no_data,
            excepted: self.excepted,
            unjudged: report.unjudged,
            not_reached: result.not_reached,
            probes_sent: totals.sent,
            probes_answered: totals.reply,
        };
        let document = Document {
            kind: KIND.to_owned(),
            schema_version: VERSION,
            netcheck: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: time(self.started),
            finished_at: time(SystemTime::now()),
            selection: self.selection,
            passed: passed && !unmeasured,
            exit_code: code,
            headline: report.headline,
            between: Vec::new(),
            paths,
            round,
            causes,
            problems,
            expected: self.expect.to_string(),
            broken,
            notes,
            caveats: report.caveats,
            classes: self.classes.into_values().collect(),
            failed_total: self.failed_total,
            failed: self.failed,
        };
        Gathered { document, others: self.others.unwrap_or_default() }
    }
}

/// The place where a finding's probes died, in the two ways in which incidents name one:
/// `place/n2/netfilter_input/NETFILTER_DROP`, `place/n2/eth0/qdisc/NETFILTER_DROP`.
fn places(finding: &v1::Finding) -> Vec<String> {
    let location = finding.loss.as_ref().and_then(|loss| loss.location.as_ref());
    let Some(at) = location.filter(|at| !at.reason.is_empty()) else { return Vec::new() };
    let stage = at.stage().as_str_name().trim_start_matches("STAGE_").to_lowercase();
    let v1::LossLocation { node, interface, reason, .. } = at;
    vec![format!("place/{node}/{stage}/{reason}"), format!("place/{node}/{interface}/{stage}/{reason}")]
}

fn round_of(result: &v1::CheckResult) -> Round {
    // A hub of before rounds says nothing of them.
    let Some(round) = &result.round else { return Round { complete: true, ..Round::default() } };
    let missing = round.missing.iter().map(|gap| Gap {
        node: gap.node.clone(),
        parts: part_names(&gap.parts),
        paths: gap.paths,
        why: gap.why.clone(),
    });
    Round { complete: round.complete, missing: missing.collect(), absent: part_names(&round.absent) }
}

#[cfg(test)]
pub(crate) mod tests;
