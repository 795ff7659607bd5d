//! A report → how well it says what one fault broke. Pure.

use std::fmt;

use super::table::{Place, Row};
use crate::cluster::{Finding, Location, Report};

/// How well a fault was located.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grade {
    /// Every place that is named is right, for each kind of probe that it breaks.
    Right,
    /// Some place that is named is not.
    Wrong,
    /// None is wrong, but for some kind of probe none is named.
    Unknown,
    /// Not all kinds of probes were seen to be broken.
    NotDetected,
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Right => "right",
            Self::Wrong => "WRONG",
            Self::Unknown => "unknown",
            Self::NotDetected => "not detected",
        })
    }
}

/// Whether a place that is named is one of those that a row expects; nothing where it names no place.
fn fits(row: &Row, location: &Location) -> Option<bool> {
    if row.places.iter().any(|place| place.holds(location)) {
        return Some(true);
    }
    // A stage left open, or inferred from the hook that saw the packet last ("after arriving at eth0"), is half an
    // answer: wrong only where the node or the direction is.
    let last_seen =
        location.certainty == "inferred" && matches!(location.stage.as_str(), "ingress" | "egress" | "send");
    let open = matches!(location.stage.as_str(), "" | "unspecified") || last_seen;
    let near = row.places.iter().any(|place| {
        one_of(place.nodes, |node| node == location.node)
            && one_of(place.direction, |way| way == location.direction || location.direction.is_empty())
    });
    if open && near { None } else { Some(false) }
}

fn one_of(choices: &str, fits: impl Fn(&str) -> bool) -> bool {
    choices.is_empty() || choices.split('|').any(fits)
}

impl Place {
    fn holds(&self, at: &Location) -> bool {
        one_of(self.nodes, |node| node == at.node)
            && one_of(self.direction, |way| way == at.direction || at.direction.is_empty())
            && one_of(self.stages, |stage| at.stage.starts_with(stage))
            && one_of(self.reasons, |reason| at.reason.starts_with(reason))
            && one_of(self.wire_end, |node| node == at.node || node == at.next_node)
    }
}

/// Whether every kind of probe that the row breaks has a bad path in this family.
pub(crate) fn detected(row: &Row, family: &str, report: &Report) -> bool {
    let paths = || report.findings.iter().flat_map(|finding| &finding.paths);
    if row.kinds.is_empty() {
        return paths().any(|path| path.family == family);
    }
    row.kinds.iter().all(|kind| paths().any(|path| path.family == family && path.kind == *kind))
}

/// The grade in one family, and the findings that are wrong or say nothing.
pub(crate) fn grade(row: &Row, family: &str, report: &Report) -> (Grade, Vec<String>) {
    let here = |finding: &&Finding| finding.paths.iter().any(|path| path.family == family);
    let mut right = Vec::new();
    let (mut wrong, mut open) = (Vec::new(), Vec::new());
    for finding in report.findings.iter().filter(here) {
        match finding.location.as_ref().and_then(|location| fits(row, location)) {
            Some(true) => right.push(finding),
            Some(false) => wrong.push(described(finding)),
            None => open.push(described(finding)),
        }
    }
    let located = |kind: &&str| {
        right
            .iter()
            .flat_map(|finding| &finding.paths)
            .any(|path| path.kind == **kind && path.family == family)
    };
    let grade = if !wrong.is_empty() {
        Grade::Wrong
    } else if !detected(row, family, report) {
        Grade::NotDetected
    } else if row.kinds.iter().all(located) && !(row.kinds.is_empty() && right.is_empty()) {
        Grade::Right
    } else {
        Grade::Unknown
    };
    (grade, wrong.into_iter().chain(open).collect())
}

/// Nothing is broken: any unreachable path is a false alarm.
pub(crate) fn false_alarms(family: &str, report: &Report) -> (Grade, Vec<String>) {
    let lost = |finding: &&Finding| {
        finding.verdict == "unreachable" && finding.paths.iter().any(|path| path.family == family)
    };
    let wrong: Vec<String> = report.findings.iter().filter(lost).map(described).collect();
    (if wrong.is_empty() { Grade::Right } else { Grade::Wrong }, wrong)
}

/// No packet is lost: any loss is a false one.
pub(crate) fn false_losses(family: &str, report: &Report) -> (Grade, Vec<String>) {
    let lost = |finding: &&Finding| finding.paths.iter().any(|path| path.family == family);
    let wrong: Vec<String> = report.findings.iter().filter(lost).map(described).collect();
    (if wrong.is_empty() { Grade::Right } else { Grade::Wrong }, wrong)
}

fn described(finding: &Finding) -> String {
    let evidence = finding.evidence.iter().take(4).map(|line| format!("\n      {line}"));
    let place = finding.location.as_ref().map_or_else(String::new, |at| {
        format!(" [{} {} {} {} {}]", at.node, at.direction, at.stage, at.reason, at.certainty)
    });
    format!("{}{place}{}", finding.headline, evidence.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::super::table::{Deed, ROWS};
    use super::*;
    use serde_json::json;

    fn report(node: &str, stage: &str, kind: &str) -> Report {
        let path = json!({ "sourceNode": "n1", "kind": kind, "family": "FAMILY_IPV4", "target": { "id": "node/n2" } });
        let location = json!({ "node": node, "stage": stage, "direction": "DIRECTION_REQUEST", "reason": "NETFILTER_DROP" });
        let loss = if node.is_empty() { json!({}) } else { json!({ "location": location }) };
        let finding = json!({ "headline": "h", "loss": loss, "paths": [path] });
        Report::read(&json!({ "report": { "findings": [finding] } })).unwrap()
    }

    #[test]
    fn a_place_is_right_wrong_or_open() {
        let row = ROWS.iter().find(|row| row.deed == Deed::Lab("responder-filtered node=n2")).unwrap();
        for (node, stage, kind, expected) in [
            ("n2", "STAGE_NETFILTER_INPUT", "PROBE_KIND_UDP", Grade::Right),
            ("n2", "STAGE_ROUTING", "PROBE_KIND_UDP", Grade::Wrong),
            ("n3", "STAGE_NETFILTER_INPUT", "PROBE_KIND_UDP", Grade::Wrong),
            ("n2", "", "PROBE_KIND_UDP", Grade::Unknown),
            ("n3", "", "PROBE_KIND_UDP", Grade::Wrong),
            ("", "", "PROBE_KIND_UDP", Grade::Unknown),
            ("n2", "STAGE_NETFILTER_INPUT", "PROBE_KIND_TCP", Grade::NotDetected),
        ] {
            let (found, _) = grade(row, "ipv4", &report(node, stage, kind));
            assert_eq!(found, expected, "{node} {stage} {kind}");
        }
        assert_eq!(grade(row, "ipv6", &report("n3", "", "PROBE_KIND_UDP")).0, Grade::NotDetected);
    }

    #[test]
    fn faults_of_the_table_are_faults_of_the_lab() {
        for row in ROWS {
            if let Deed::Lab(text) = row.deed {
                text.parse::<netcheck_netlab::Fault>().unwrap();
                assert!(!row.places.is_empty(), "{text}");
            }
        }
    }
}
