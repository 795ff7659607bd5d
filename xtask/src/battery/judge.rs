//! A report → how well it says what one fault broke. Pure.

use std::collections::BTreeSet;
use std::fmt;

use super::table::{Place, Row};
use super::tracker;
use crate::cluster::{Finding, Incident, Location, Report};

/// How well a fault was located, or its incident described. Of several, the worst counts; the order is from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Grade {
    /// Every finding names the right place, for each kind of probe that the fault breaks; the one incident is right.
    Right,
    /// The row does not say what must come.
    NotStated,
    /// Nothing that is said is wrong, but some finding names no place, no stage or no direction.
    Unknown,
    /// Not all kinds of probes were seen to be broken; no incident opened.
    NotDetected,
    /// Some place that is named is not right; more than the one incident, or another.
    Wrong,
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Right => "right",
            Self::NotStated => "not stated",
            Self::Unknown => "unknown",
            Self::NotDetected => "not detected",
            Self::Wrong => "WRONG",
        })
    }
}

/// How a place that is named fits those that a row expects.
fn fits(row: &Row, location: Option<&Location>) -> Grade {
    let Some(at) = location else { return Grade::Unknown };
    if row.places.iter().any(|place| place.holds(at)) {
        return Grade::Right;
    }
    // Only what is left open may be missing: the stage, or which half of the exchange it was. A place that was
    // concluded from the hook that saw the packet last ("after arriving at eth0") leaves the stage open, too.
    let last_seen = at.certainty == "inferred" && matches!(at.stage.as_str(), "ingress" | "egress" | "send");
    let open_stage = matches!(at.stage.as_str(), "" | "unspecified") || last_seen;
    let open_way = matches!(at.direction.as_str(), "" | "unspecified");
    let near = row.places.iter().any(|place| {
        let way = one_of(place.direction, |way| way == at.direction) || open_way;
        if open_stage {
            // The wire ends at a node, and who saw the packet there last names that node.
            let node = one_of(place.nodes, |node| node == at.node);
            return way && node && one_of(place.wire_end, |node| node == at.node);
        }
        open_way && place.holds(&Location { direction: place.direction.to_owned(), ..at.clone() })
    });
    if near { Grade::Unknown } else { Grade::Wrong }
}

fn one_of(choices: &str, fits: impl Fn(&str) -> bool) -> bool {
    choices.is_empty() || choices.split('|').any(fits)
}

impl Place {
    fn holds(&self, at: &Location) -> bool {
        one_of(self.nodes, |node| node == at.node)
            && one_of(self.direction, |way| way == at.direction)
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

/// The report that a row is judged by: the last one, but for what is lost by chance, which may have left its range.
pub(crate) fn judged<'a>(row: &Row, showing: Option<&'a Report>, last: &'a Report) -> &'a Report {
    let by_chance = row.kinds.is_empty();
    showing.filter(|_| by_chance).unwrap_or(last)
}

/// Takes out of a report what is not the row's fault and true all the same: what connection tracking dropped on one of the
/// nodes on which, by its own count, it dropped something meanwhile. Hands back what that was.
pub(crate) fn excuse(row: &Row, report: &mut Report, clashes: &BTreeSet<String>) -> Vec<String> {
    let clash = |at: &Location| tracker::is_its(at) && clashes.contains(&at.node);
    let excused = |finding: &mut Finding| {
        let at = finding.location.as_ref();
        at.is_some_and(clash) && fits(row, at) == Grade::Wrong
    };
    let taken = report.findings.extract_if(.., excused);
    taken
        .map(|finding| format!("true, by connection tracking's own count: {}", described(&finding)))
        .collect()
}

/// The grade in one family, and the findings that are wrong or leave something open.
pub(crate) fn grade(row: &Row, family: &str, report: &Report) -> (Grade, Vec<String>) {
    let here = |finding: &&Finding| finding.paths.iter().any(|path| path.family == family);
    let mut grade = if detected(row, family, report) { Grade::Right } else { Grade::NotDetected };
    let mut notes = Vec::new();
    for finding in report.findings.iter().filter(here) {
        let fits = fits(row, finding.location.as_ref());
        if fits != Grade::Right {
            notes.push(format!("{fits}: {}", described(finding)));
        }
        grade = grade.max(fits);
    }
    (grade, notes)
}

/// The grade of the incidents that a fault opened, and those that are wrong. Those that closed meanwhile count, too, but
/// for those that became one with another.
pub(crate) fn incident(row: &Row, incidents: &[Incident]) -> (Grade, Vec<String>) {
    let (maybe, wanted) = match row.incident.strip_prefix("maybe ") {
        Some(wanted) => (true, wanted),
        None => (row.incident == "none", row.incident),
    };
    let summary_of = |one: &Incident| {
        let facts = one.evidence.iter().take(3).map(|line| format!("\n      {line}"));
        let state = match (one.open, one.merged_into.as_str()) {
            (true, _) => "",
            (false, "") => "closed ",
            (false, _) => "merged ",
        };
        format!("{state}incident {} {}: {}{}", one.kind, one.cause, one.headline, facts.collect::<String>())
    };
    let all = || incidents.iter().map(summary_of).collect::<Vec<_>>();
    let goes_on = |one: &&Incident| !incidents.iter().any(|other| other.id == one.merged_into);
    let merged = || incidents.iter().filter(|one| !goes_on(one)).map(summary_of).collect::<Vec<_>>();
    if wanted.is_empty() {
        return (Grade::NotStated, all());
    }
    match incidents.iter().filter(goes_on).collect::<Vec<_>>().as_slice() {
        [] if maybe => (Grade::Right, Vec::new()),
        [] => (Grade::NotDetected, Vec::new()),
        all if each_once(wanted, all) => (Grade::Right, merged()),
        // What comes and goes by chance may open twice.
        many if maybe && many.iter().all(|one| is_of(wanted, one)) => (Grade::Right, Vec::new()),
        _ => (Grade::Wrong, all()),
    }
}

/// Whether each of the wanted incidents is open once, and no other is there.
fn each_once(wanted: &str, incidents: &[&Incident]) -> bool {
    let wanted: Vec<&str> = wanted.split(" + ").collect();
    let once = |wanted: &&str| incidents.iter().filter(|one| one.open && is_of(wanted, one)).count() == 1;
    wanted.len() == incidents.len() && wanted.iter().all(once)
}

/// Whether the kind is the first word and each other word is a part of the cause's name. What the name has in
/// brackets narrows it down, and must have been expected; a word with `?` behind it may be missing.
fn is_of(wanted: &str, incident: &Incident) -> bool {
    let mut words = wanted.split(' ');
    let kind = words.next().unwrap_or_default();
    let words: Vec<&str> = words.collect();
    let (name, only) = incident.cause.split_once(" (").unwrap_or((&incident.cause, ""));
    let only: Vec<&str> = only
        .trim_end_matches(')')
        .split(' ')
        .filter(|word| !matches!(*word, "" | "over" | "on" | "the" | "wire"))
        .collect();
    let has = |part: &str| name.split('/').any(|of| of == part) || only.contains(&part);
    one_of(kind, |kind| kind == incident.kind)
        && words.iter().all(|word| word.ends_with('?') || one_of(word, has))
        && only.iter().all(|part| words.iter().any(|word| word.trim_end_matches('?') == *part))
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
    use super::super::table::{FaultAction, RowSet};
    use super::*;
    use serde_json::json;

    fn default_rows() -> &'static [Row] {
        RowSet::Default.rows()
    }

    fn report(node: &str, stage: &str, kind: &str) -> Report {
        let path = json!({ "sourceNode": "n1", "kind": kind, "family": "FAMILY_IPV4", "target": { "id": "node/n2" } });
        let location = json!({ "node": node, "stage": stage, "direction": "DIRECTION_REQUEST", "reason": "NETFILTER_DROP" });
        let loss = if node.is_empty() { json!({}) } else { json!({ "location": location }) };
        let finding = json!({ "headline": "h", "loss": loss, "paths": [path] });
        Report::read(&json!({ "report": { "findings": [finding] } })).unwrap()
    }

    #[test]
    fn a_place_is_right_wrong_or_open() {
        let row = default_rows()
            .iter()
            .find(|row| row.action == FaultAction::Lab("responder-filtered node=n2"))
            .unwrap();
        for (node, stage, kind, expected) in [
            ("n2", "STAGE_NETFILTER_INPUT", "PROBE_KIND_UDP", Grade::Right),
            ("n2", "STAGE_ROUTING", "PROBE_KIND_UDP", Grade::Wrong),
            ("n3", "STAGE_NETFILTER_INPUT", "PROBE_KIND_UDP", Grade::Wrong),
            ("n2", "", "PROBE_KIND_UDP", Grade::Unknown),
            ("n3", "", "PROBE_KIND_UDP", Grade::Wrong),
            ("", "", "PROBE_KIND_UDP", Grade::Unknown),
            ("n2", "STAGE_NETFILTER_INPUT", "PROBE_KIND_TCP", Grade::NotDetected),
            ("n2", "STAGE_ROUTING", "PROBE_KIND_TCP", Grade::Wrong),
        ] {
            let (found, _) = grade(row, "ipv4", &report(node, stage, kind));
            assert_eq!(found, expected, "{node} {stage} {kind}");
        }
        assert_eq!(grade(row, "ipv6", &report("n3", "", "PROBE_KIND_UDP")).0, Grade::NotDetected);
    }

    #[test]
    fn what_connection_tracking_counts_itself_is_true() {
        let row = default_rows()
            .iter()
            .find(|row| row.action == FaultAction::Lab("responder-filtered node=n2"))
            .unwrap();
        let located_at = |node: &str, function: &str| {
            let mut report = report(node, "STAGE_NETFILTER_INPUT", "PROBE_KIND_UDP");
            let at = report.findings[0].location.as_mut().unwrap();
            (at.certainty, at.function) = ("observed".to_owned(), function.to_owned());
            report
        };
        let clashes = BTreeSet::from(["n2".to_owned(), "n3".to_owned()]);
        for (node, function, expected) in [
            // It is not the fault either, which was not seen then.
            ("n3", "nf_hook_slow", Grade::NotDetected),
            ("n3", "nft_do_chain", Grade::Wrong),
            ("n4", "nf_hook_slow", Grade::Wrong),
            ("n2", "nf_hook_slow", Grade::Right),
        ] {
            let mut report = located_at(node, function);
            let excused = excuse(row, &mut report, &clashes).len();
            assert_eq!(grade(row, "ipv4", &report).0, expected, "{node} {function}");
            assert_eq!(excused, usize::from(expected == Grade::NotDetected));
        }
    }

    #[test]
    fn what_was_only_concluded_from_the_last_sight_or_without_a_direction_is_half_an_answer() {
        let row = default_rows()
            .iter()
            .find(|row| row.action == FaultAction::Lab("responder-filtered node=n2"))
            .unwrap();
        let right = Location {
            node: "n2".to_owned(),
            stage: "netfilter_input".to_owned(),
            direction: "request".to_owned(),
            reason: "NETFILTER_DROP".to_owned(),
            certainty: "observed".to_owned(),
            ..Location::default()
        };
        let ingress = |certainty: &str| Location {
            stage: "ingress".to_owned(),
            certainty: certainty.to_owned(),
            reason: String::new(),
            ..right.clone()
        };
        assert_eq!(fits(row, Some(&right)), Grade::Right);
        assert_eq!(fits(row, Some(&ingress("inferred"))), Grade::Unknown);
        assert_eq!(fits(row, Some(&ingress("observed"))), Grade::Wrong);
        assert_eq!(fits(row, Some(&Location { direction: String::new(), ..right.clone() })), Grade::Unknown);
        assert_eq!(
            fits(row, Some(&Location { direction: "reply".to_owned(), ..right.clone() })),
            Grade::Wrong
        );
        let elsewhere = Location { direction: String::new(), stage: "wire".to_owned(), ..right.clone() };
        assert_eq!(fits(row, Some(&elsewhere)), Grade::Wrong);
        assert_eq!(fits(row, None), Grade::Unknown);
    }

    #[test]
    fn only_what_is_lost_by_chance_may_be_gone_when_it_is_judged() {
        let row =
            |fault: &str| default_rows().iter().find(|row| row.action.text().starts_with(fault)).unwrap();
        let (seldom, always) =
            (row("request-loss from=n1 to=n2 at=destination percent=1"), row("responder-filtered"));
        let (showing, last) = (report("n2", "netfilter_input", "PROBE_KIND_UDP"), Report::default());
        let grade_of = |row: &Row| grade(row, "ipv4", judged(row, Some(&showing), &last)).0;
        assert_eq!((grade_of(seldom), grade_of(always)), (Grade::Right, Grade::NotDetected));
        assert_eq!(grade(seldom, "ipv4", judged(seldom, None, &last)).0, Grade::NotDetected);
    }

    #[test]
    fn exactly_the_one_incident_must_be_open() {
        let of = |cause: &str, kind: &str| Incident {
            id: cause.to_owned(),
            kind: kind.to_owned(),
            open: true,
            cause: cause.to_owned(),
            merged_into: String::new(),
            headline: String::new(),
            evidence: Vec::new(),
            culprits: Vec::new(),
        };
        let place = of("place/n2/netfilter_input/NETFILTER_DROP", "place");
        let other = of("place/n2/routing/EINVAL", "place");
        let zones = of("zones/a~b (UDP over IPv6)", "link");
        let row = |incident| Row { incident, ..default_rows()[0] };
        let closed = Incident { open: false, ..place.clone() };
        let merged = Incident { merged_into: place.id.clone(), open: false, ..other.clone() };
        for (wanted, found, expected) in [
            ("place n2 netfilter_input", vec![place.clone()], Grade::Right),
            ("place n2 routing|netfilter_input", vec![place.clone()], Grade::Right),
            ("place n2 netfilter_input", vec![closed.clone()], Grade::Wrong),
            ("place n2 netfilter_input", vec![place.clone(), other.clone()], Grade::Wrong),
            ("place n2 netfilter_input", vec![place.clone(), closed.clone()], Grade::Wrong),
            ("place n2 netfilter_input", vec![place.clone(), merged.clone()], Grade::Right),
            ("place n2 netfilter_input", vec![merged], Grade::Wrong),
            ("place n3 netfilter_input", vec![place.clone()], Grade::Wrong),
            ("node n2 netfilter_input", vec![place.clone()], Grade::Wrong),
            ("place n2", vec![], Grade::NotDetected),
            ("none", vec![], Grade::Right),
            ("none", vec![place.clone()], Grade::Wrong),
            ("maybe place n2", vec![], Grade::Right),
            ("maybe place n2", vec![place.clone(), closed.clone()], Grade::Right),
            ("maybe place n2 routing", vec![place.clone()], Grade::Wrong),
            ("link a~b UDP IPv6", vec![zones.clone()], Grade::Right),
            ("link a~b UDP", vec![zones.clone()], Grade::Wrong),
            ("link a~b", vec![zones.clone()], Grade::Wrong),
            ("link a~b UDP IPv6? IPv4?", vec![zones.clone()], Grade::Right),
            ("link a~b UDP? IPv4?", vec![zones.clone()], Grade::Wrong),
            ("place n2 routing + place n2 netfilter_input", vec![place.clone(), other.clone()], Grade::Right),
            ("place n2 routing + place n2 netfilter_input", vec![place.clone()], Grade::Wrong),
            ("place n2 routing + link a~b UDP IPv6", vec![place.clone(), other.clone()], Grade::Wrong),
            ("", vec![place.clone()], Grade::NotStated),
        ] {
            assert_eq!(incident(&row(wanted), &found).0, expected, "{wanted} {found:?}");
        }
    }

    #[test]
    fn faults_of_the_table_are_faults_of_the_lab() {
        let sets = [RowSet::Default, RowSet::KubeProxy, RowSet::New, RowSet::Culprits];
        for row in sets.iter().flat_map(|set| set.rows()) {
            if let FaultAction::Lab(text) = row.action {
                text.parse::<netcheck_netlab::Fault>().unwrap();
                assert!(!row.places.is_empty(), "{text}");
            }
        }
    }
}
