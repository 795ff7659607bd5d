//! The report as lines of a log, for who reads it with `kubectl logs`: short, worst first. Pure.

use std::time::Duration;

use netcheck_proto::v1;

use netcheck_analysis::incident::Incident;
use netcheck_analysis::model::clock::{duration, time_of_day};

/// Incidents, findings and warnings that are named in one report; of more, how many there are.
const NAMED: usize = 5;

/// What stands, in some lines; the first is the whole in short.
#[must_use]
pub fn lines(report: &v1::Report) -> Vec<String> {
    let mut lines = vec![format!("report: {}", report.headline)];
    let incidents = report.incidents.iter().map(|incident| {
        let since = incident.first_seen.as_ref().or(incident.opened_at.as_ref());
        let since = since.map(|at| format!(", since {}", netcheck_proto::words::time_of_day(at)));
        let paths = incident.paths.len();
        format!(
            "incident {}: {} ({paths} {}{})",
            incident.id,
            incident.headline,
            if paths == 1 { "path" } else { "paths" },
            since.unwrap_or_default()
        )
    });
    named(&mut lines, "incidents", incidents);
    // What an incident explains is said with it.
    if report.incidents.is_empty() {
        let findings = report.findings.iter().map(|finding| format!("finding: {}", finding.headline));
        named(&mut lines, "findings", findings);
    }
    named(&mut lines, "warnings", report.caveats.iter().map(|caveat| format!("warning: {caveat}")));
    lines
}

fn named(lines: &mut Vec<String>, what: &str, all: impl ExactSizeIterator<Item = String>) {
    let more = all.len().saturating_sub(NAMED);
    lines.extend(all.take(NAMED));
    if more > 0 {
        lines.push(format!("and {more} more {what}"));
    }
}

/// An incident that was not there when the log was written last.
#[must_use]
pub fn opened(incident: &Incident) -> String {
    let first = incident.first_ns.map(|first_ns| format!(", first loss {}", time_of_day(first_ns)));
    format!("incident {} opened: {}{}", incident.id, incident.headline, first.unwrap_or_default())
}

/// One that is over.
#[must_use]
pub fn closed(incident: &Incident) -> String {
    if let Some(other) = &incident.merged_into {
        return format!("incident {} is one with incident {other}: {}", incident.id, incident.headline);
    }
    let lasted =
        incident.opened_ns.zip(incident.closed_ns).map(|(opened_ns, closed_ns)| closed_ns - opened_ns);
    let lasted = lasted.map(|lasted_ns| Duration::from_secs(duration(lasted_ns).as_secs()));
    let lasted = lasted.map(|lasted| format!(" after {}", humantime::format_duration(lasted)));
    format!("incident {} closed{}: {}", incident.id, lasted.unwrap_or_default(), incident.headline)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_whatever_there_is() {
        let incident = |number: usize| v1::Incident {
            id: format!("65-{number}"),
            headline: "n3 answers nobody".to_owned(),
            paths: vec![v1::Path::default(); number],
            first_seen: Some(prost_types::Timestamp { seconds: 43_200, nanos: 0 }),
            ..Default::default()
        };
        let finding = v1::Finding { headline: "lost at n3".to_owned(), ..Default::default() };
        let mut report = v1::Report {
            headline: "132 of 176 paths reachable, 44 unreachable".to_owned(),
            findings: vec![finding],
            caveats: (0..7).map(|number| format!("agent n{number} is away")).collect(),
            ..Default::default()
        };
        let healthy = lines(&report);
        assert_eq!(healthy[0], "report: 132 of 176 paths reachable, 44 unreachable");
        assert_eq!(healthy[1..3], ["finding: lost at n3", "warning: agent n0 is away"]);
        assert_eq!(healthy.last().unwrap(), "and 2 more warnings");
        report.incidents = (1..=30).map(incident).collect();
        let shown = lines(&report);
        assert_eq!(shown[1], "incident 65-1: n3 answers nobody (1 path, since 12:00:00 UTC)");
        assert_eq!(shown[6], "and 25 more incidents");
        assert!(shown.len() <= 1 + 3 * (NAMED + 1), "{shown:#?}");
        assert!(!shown.iter().any(|line| line.starts_with("finding")));
    }
}
