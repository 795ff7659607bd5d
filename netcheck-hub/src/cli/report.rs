//! The report: one line of verdict, the causes with their evidence, then what may be wrong with the measurement.

use std::collections::BTreeMap;

use netcheck_proto::v1;

use super::style::{Paint, family, kind, short, symbol, time_of_day};
use crate::report::target_name;

/// Paths of one finding that are listed.
const PATHS: usize = 12;

pub(super) fn render(report: &v1::Report, paint: Paint) -> String {
    let mut text = verdict(report, paint);
    for incident in &report.incidents {
        text += &super::incidents::one(incident, paint);
    }
    if !report.incidents.is_empty() && !report.findings.is_empty() {
        text += &format!("\n{}\n", paint.bold("Bad paths by place:"));
    }
    for finding in &report.findings {
        text += &one(finding, paint);
    }
    if !report.caveats.is_empty() {
        text += &format!("\n{}\n", paint.bold("About the measurement:"));
        for caveat in &report.caveats {
            text += &format!("  ! {caveat}\n");
        }
    }
    text
}

fn verdict(report: &v1::Report, paint: Paint) -> String {
    let measured = report.reachable + report.degraded + report.unreachable;
    let (verdict, line) = if report.unreachable > 0 {
        let line = format!("{} of {} paths are unreachable", report.unreachable, report.paths);
        (v1::Verdict::Unreachable, line)
    } else if report.paths == 0 {
        (v1::Verdict::NoData, "there is nothing to probe".to_owned())
    } else if measured == 0 {
        (v1::Verdict::NoData, format!("nothing is measured on any of {} paths", report.paths))
    } else if report.degraded > 0 {
        (v1::Verdict::Degraded, format!("{} of {} paths lose probes", report.degraded, report.paths))
    } else {
        (v1::Verdict::Reachable, format!("all {measured} measured paths are reachable"))
    };
    let causes = if report.incidents.is_empty() { report.findings.len() } else { report.incidents.len() };
    let causes = match causes {
        0 => String::new(),
        1 => ", 1 cause".to_owned(),
        many => format!(", {many} causes"),
    };
    let head = paint.verdict(verdict, &format!("{} {line}{causes}", symbol(verdict)));
    let totals = report.totals.unwrap_or_default();
    let rest = [
        (report.degraded > 0 && report.unreachable > 0).then(|| format!("{} degraded", report.degraded)),
        (report.no_data > 0 && measured > 0).then(|| format!("{} without data", report.no_data)),
        (report.expected_absent > 0).then(|| format!("{} expected to be absent", report.expected_absent)),
        Some(format!(
            "{} of {} probes answered in the newest {}",
            totals.reply,
            totals.sent,
            short(report.range.as_ref())
        )),
        Some(time_of_day(report.generated_at.as_ref())),
    ];
    let rest: Vec<String> = rest.into_iter().flatten().collect();
    format!("{head}\n{}\n", paint.dim(&rest.join("; ")))
}

/// Whether a headline says all of a summary, but for which half of the exchange it was.
fn said(headline: &str, summary: &str) -> bool {
    headline.contains(summary.split_once(' ').map_or(summary, |(_, rest)| rest))
}

fn one(finding: &v1::Finding, paint: Paint) -> String {
    let verdict = finding.verdict();
    let mut text =
        format!("\n{} {}\n", paint.verdict(verdict, symbol(verdict)), paint.bold(&finding.headline));
    if let Some(loss) = &finding.loss
        && !said(&finding.headline, &loss.summary)
    {
        text += &format!("    where     {}\n", loss.summary);
    }
    for (at, line) in finding.evidence.iter().enumerate() {
        text += &format!("    {:<9} {line}\n", if at == 0 { "evidence" } else { "" });
    }
    let mut paths: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for path in &finding.paths {
        let target = path.target.as_ref().map(target_name).unwrap_or_default();
        let what = format!("{}{}", kind(path.kind()), family(path.family()));
        paths.entry((path.source_node.clone(), target)).or_default().push(what);
    }
    for (at, ((source, target), whats)) in paths.iter().take(PATHS).enumerate() {
        let label = if at == 0 { "paths" } else { "" };
        text += &format!("    {label:<9} {source} → {target} ({})\n", whats.join(" "));
    }
    if paths.len() > PATHS {
        text += &format!("    {:<9} and {} more\n", "", paths.len() - PATHS);
    }
    let seen = format!(
        "{} to {}",
        time_of_day(finding.first_seen.as_ref()),
        time_of_day(finding.last_seen.as_ref())
    );
    if finding.first_seen.is_some() {
        text += &paint.dim(&format!("    {:<9} {seen}\n", "lost"));
    }
    text
}
