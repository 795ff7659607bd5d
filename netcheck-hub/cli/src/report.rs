//! The report: one line of verdict, the causes with their evidence, then what may be wrong with the measurement.

use std::collections::BTreeMap;
use std::time::Duration;

use netcheck_proto::v1;
use netcheck_proto::words::target_name;

use crate::style::{Paint, family, kind, short, symbol, time_of_day};

/// Paths of one finding that are listed.
const PATHS: usize = 12;

pub(crate) fn render(report: &v1::Report, paint: Paint) -> String {
    let mut text = verdict(report, paint);
    for incident in &report.incidents {
        text += &crate::incidents::one(incident, paint);
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

/// The line that a report begins with, and what it rests on.
pub(crate) fn verdict(report: &v1::Report, paint: Paint) -> String {
    let verdict = report.verdict();
    let causes = if report.incidents.is_empty() { report.findings.len() } else { report.incidents.len() };
    let causes = match causes {
        0 => String::new(),
        1 => ", 1 cause".to_owned(),
        many => format!(", {many} causes"),
    };
    let head = paint.verdict(verdict, &format!("{} {}{causes}", symbol(verdict), report.headline));
    let totals = report.totals.unwrap_or_default();
    let rest = [
        (report.degraded > 0 && report.unreachable > 0).then(|| format!("{} degraded", report.degraded)),
        Some(format!(
            "{} of {} probes answered in the newest {}",
            totals.reply,
            totals.sent,
            short(report.range.as_ref())
        )),
        Some(time_of_day(report.generated_at.as_ref())),
    ];
    let rest: Vec<String> = rest.into_iter().flatten().collect();
    let coverage =
        report.coverage.as_ref().map(|coverage| format!("{}\n", coverage_line(coverage))).unwrap_or_default();
    format!("{head}\n{}\n{coverage}", paint.dim(&rest.join("; ")))
}

/// `2000 nodes probe 2000000 of their 24000000 paths at a time, each within 10m; 83 % are covered`.
fn coverage_line(coverage: &v1::Coverage) -> String {
    let nodes = if coverage.nodes == 1 {
        "1 node probes".to_owned()
    } else {
        format!("{} nodes probe", coverage.nodes)
    };
    let seconds = |wire: Option<&prost_types::Duration>| {
        let seconds = wire.map_or(0, |wire| u64::try_from(wire.seconds).unwrap_or_default());
        humantime::format_duration(Duration::from_secs(seconds)).to_string()
    };
    let promised = seconds(coverage.promised.as_ref());
    let longer =
        coverage.promised.as_ref().zip(coverage.wanted.as_ref()).is_some_and(|(promised, wanted)| {
            (promised.seconds, promised.nanos) > (wanted.seconds, wanted.nanos)
        });
    let meant = if longer {
        format!(
            " (meant: {}; more --paths-per-node or a longer --cover would do)",
            seconds(coverage.wanted.as_ref())
        )
    } else {
        String::new()
    };
    format!(
        "In turns: {nodes} {} of {} paths at a time, every path within {promised}{meant}; {} % are covered",
        coverage.at_once,
        coverage.paths,
        coverage.covered * 100 / coverage.paths.max(1),
    )
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
