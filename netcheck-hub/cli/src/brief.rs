//! The report for somebody who was woken by it: three lines for each incident, and what no incident explains yet. The rest is
//! `report -v`.

use netcheck_proto::v1;

use crate::report;
use crate::style::{Paint, symbol, time_of_day};

/// Findings that no incident explains that are shown.
const UNEXPLAINED: usize = 8;

/// Without incidents, and of a hub that does not say them in three lines, it is the whole report.
pub(crate) fn render(report: &v1::Report, paint: Paint) -> String {
    let incidents = &report.incidents;
    if incidents.is_empty() || incidents.iter().any(|incident| incident.broken.is_empty()) {
        return report::render(report, paint);
    }
    let mut text = report::verdict(report, paint);
    for incident in incidents {
        text += &one(incident, paint);
    }
    let unexplained = || report.findings.iter().filter(|finding| finding.incident.is_empty());
    let count = unexplained().count();
    if count > 0 {
        text += &format!("\n{}\n", paint.bold("No incident explains yet:"));
    }
    for finding in unexplained().take(UNEXPLAINED) {
        let verdict = finding.verdict();
        text += &format!("{} {}\n", paint.verdict(verdict, symbol(verdict)), finding.headline);
    }
    let mut rest = Vec::new();
    if count > UNEXPLAINED {
        rest.push(format!("{} more like these", count - UNEXPLAINED));
    }
    if !report.findings.is_empty() {
        rest.push("evidence and paths".to_owned());
    }
    match report.caveats.len() {
        0 => {}
        1 => rest.push("1 remark about the measurement".to_owned()),
        many => rest.push(format!("{many} remarks about the measurement")),
    }
    if !rest.is_empty() {
        text += &paint.dim(&format!("\n{}: kubectl netcheck report -v\n", rest.join(", ")));
    }
    text
}

fn one(incident: &v1::Incident, paint: Paint) -> String {
    let verdict = incident.verdict();
    let mut rest = String::new();
    if incident.first_seen.is_some() {
        rest += &format!(", since {}", time_of_day(incident.first_seen.as_ref()));
    }
    if !incident.id.is_empty() {
        rest += &format!(", {}", incident.id);
    }
    let mut text = format!(
        "\n{} {}{}\n    {:<9} {}\n",
        paint.verdict(verdict, symbol(verdict)),
        paint.bold(&incident.broken),
        paint.dim(&rest),
        "where",
        incident.place,
    );
    // Each command has a line of its own, to be pasted.
    for (at, step) in incident.next_step.lines().enumerate() {
        text += &format!("    {:<9} {step}\n", if at == 0 { "next" } else { "" });
    }
    text
}
