//! Two hubs' results → one, in which each names its cluster. Pure.

use netcheck_proto::v1;

/// One result of both. What is only about targets that `usual` takes is no cause.
pub(super) fn merge(
    results: [v1::CheckResult; 2],
    names: &[String; 2],
    usual: impl Fn(&v1::Target) -> bool,
) -> v1::CheckResult {
    let mut merged = v1::CheckResult::default();
    let mut report = v1::Report::default();
    let mut totals = v1::PathStats::default();
    let mut conclusions = Vec::new();
    let only_usual = |paths: &[v1::Path]| {
        !paths.is_empty() && paths.iter().all(|path| path.target.as_ref().is_some_and(&usual))
    };
    for (result, name) in results.into_iter().zip(names) {
        let own = result.report.unwrap_or_default();
        if own.paths > 0 {
            conclusions.push(own.conclusion());
        }
        report.paths += own.paths;
        report.reachable += own.reachable;
        report.degraded += own.degraded;
        report.unreachable += own.unreachable;
        report.expected_absent += own.expected_absent;
        report.no_data += own.no_data;
        let sums = own.totals.unwrap_or_default();
        totals.sent += sums.sent;
        totals.reply += sums.reply;
        merged.not_reached += result.not_reached;
        report.caveats.extend(own.caveats.into_iter().map(|line| format!("{name}: {line}")));
        // Findings that incidents explain are evidence of these, and not shown again.
        let unexplained = match own.incidents.len() {
            0 => own.findings.len(),
            _ => result.unexplained as usize,
        };
        let skip = own.findings.len().saturating_sub(unexplained);
        let findings = own.findings.into_iter().skip(skip).filter(|finding| !only_usual(&finding.paths));
        let findings: Vec<v1::Finding> = findings
            .map(|finding| v1::Finding { headline: format!("{name}: {}", finding.headline), ..finding })
            .collect();
        merged.unexplained += u32::try_from(findings.len()).unwrap_or(u32::MAX);
        report.findings.extend(findings);
        let incidents = own.incidents.into_iter().filter(|incident| !only_usual(&incident.paths));
        report.incidents.extend(
            incidents.map(|one| v1::Incident { headline: format!("{name}: {}", one.headline), ..one }),
        );
    }
    report.totals = Some(totals);
    let any = |wanted: v1::Conclusion| conclusions.contains(&wanted);
    let conclusion = if any(v1::Conclusion::Unreachable) {
        v1::Conclusion::Unreachable
    } else if any(v1::Conclusion::Reachable) {
        v1::Conclusion::Reachable
    } else {
        v1::Conclusion::Unmeasured
    };
    report.conclusion = conclusion.into();
    merged.report = Some(report);
    merged
}
