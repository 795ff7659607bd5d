use std::sync::Arc;

use netcheck_common::domain::{Outcome, ProbeKind, Vantage};

use super::*;
use netcheck_analysis::incident::{Losses, PathOf, Places};
use netcheck_analysis::model::NodeIx;
use netcheck_analysis::model::clock::SECOND_NS;
use netcheck_analysis::model::incident::IncidentKind;
use netcheck_analysis::model::location::Certainty;
use netcheck_analysis::plan::{PlannedPath, Probe, Sources};

fn cell(source: &str, target: &str, verdict: Verdict, at: Option<Location>) -> Cell {
    let target = v1::Target {
        id: format!("node/{target}"),
        kind: v1::TargetKind::Node.into(),
        name: target.to_owned(),
        ..Default::default()
    };
    let path = v1::Path {
        source_node: source.to_owned(),
        target: Some(target),
        kind: v1::ProbeKind::Icmp.into(),
        ..Default::default()
    };
    let loss = at.map(|at| LocatedLoss {
        summary: format!("lost at {}", at.node),
        location: at,
        probes: 2,
        first_ns: 0,
        last_ns: 0,
    });
    Cell {
        verdict,
        outcome: Some(Outcome::Timeout),
        unlocated: loss.is_none().then(|| "nobody knows".to_owned()),
        evidence: vec![format!("seen by {source}")],
        lost_ns: Some((SECOND_NS, 2 * SECOND_NS)),
        towards: None,
        unbacked: None,
        key: (NodeIx(0), 1),
        probeable: true,
        oversize: None,
        by_port: None,
        flows: None,
        cell: v1::MatrixCell {
            path: Some(path),
            verdict: verdict.to_wire().into(),
            stats: Some(v1::PathStats { sent: 4, reply: 2, timeout: 2, ..Default::default() }),
            loss: loss.as_ref().map(wire::located_loss),
            ..Default::default()
        },
        loss,
    }
}

fn at(node: &str) -> Option<Location> {
    Some(Location { node: node.to_owned(), ..Default::default() })
}

fn report(cells: &[Cell]) -> v1::Report {
    build(
        cells,
        &[],
        &Range { from_ns: 0, strict: false, now_ns: 10 * SECOND_NS },
        vec!["careful".to_owned()],
    )
}

#[test]
fn bad_paths_go_together_by_place_worst_first() {
    let report = report(&[
        cell("n1", "n2", Verdict::Degraded, at("n9")),
        cell("n1", "n3", Verdict::Unreachable, at("n3")),
        cell("n2", "n3", Verdict::Unreachable, at("n3")),
        cell("n3", "n1", Verdict::Reachable, None),
        cell("n3", "n2", Verdict::NoData, None),
        cell("n3", "n4", Verdict::ExpectedAbsent, at("n4")),
    ]);
    let counts = (report.paths, report.reachable, report.degraded, report.unreachable);
    assert_eq!(counts, (6, 1, 1, 2));
    assert_eq!((report.expected_absent, report.no_data), (1, 1));
    let headlines: Vec<&str> = report.findings.iter().map(|finding| finding.headline.as_str()).collect();
    assert_eq!(
        headlines,
        [
            "n1, n2 → n3, ICMP: 100 % of probes lost: lost at n3 (inferred, 4 of 4)",
            "n1 → n2, ICMP: 50 % of probes lost: lost at n9 (inferred, 2 of 2)",
        ]
    );
    let worst = &report.findings[0];
    assert_eq!((worst.paths.len(), worst.loss.as_ref().unwrap().probes), (2, 4));
    assert_eq!(worst.evidence, ["seen by n1", "seen by n2"]);
    assert_eq!(report.caveats, ["careful"]);
    assert_eq!(report.totals.unwrap().timeout, 12);
}

#[test]
fn unlocated_paths_go_together_by_target_else_by_source() {
    let report = report(&[
        cell("n1", "n3", Verdict::Unreachable, None),
        cell("n2", "n3", Verdict::Unreachable, None),
        cell("n1", "n4", Verdict::Unreachable, None),
        cell("n1", "n5", Verdict::Unreachable, None),
    ]);
    let headlines: Vec<&str> = report.findings.iter().map(|finding| finding.headline.as_str()).collect();
    assert_eq!(
        headlines,
        [
            "n1 → n4, n5, ICMP: 100 % of probes lost, not located: nobody knows",
            "n1, n2 → n3, ICMP: 100 % of probes lost, not located: nobody knows",
        ]
    );
    assert!(report.findings[0].evidence.contains(&"no place: nobody knows".to_owned()));
}

#[test]
fn one_node_that_nobody_reaches_is_one_finding_with_all_that_goes_the_same_way() {
    let wire = |from: &str| {
        Some(Location {
            node: from.to_owned(),
            next_node: "n4".to_owned(),
            stage: Stage::Wire,
            ..Default::default()
        })
    };
    let mut without = cell("n1", "service", Verdict::Unreachable, None);
    without.towards = Some("n4".to_owned());
    let mut elsewhere = cell("n1", "other", Verdict::Unreachable, None);
    elsewhere.towards = Some("n2".to_owned());
    let report = report(&[
        cell("n1", "n4", Verdict::Unreachable, wire("n1")),
        cell("n2", "n4", Verdict::Unreachable, wire("n2")),
        without,
        elsewhere,
    ]);
    let headlines: Vec<&str> = report.findings.iter().map(|finding| finding.headline.as_str()).collect();
    assert_eq!(
        headlines,
        [
            "n1, n2 → n4, service, ICMP: 100 % of probes lost: lost on the wire between n1, n2 and n4 (inferred, 4 of 6)",
            "n1 → other, ICMP: 100 % of probes lost, not located: nobody knows",
        ]
    );
    assert!(
        report.findings[0]
            .evidence
            .contains(&"1 paths without a place of their own go the same way".to_owned())
    );
}

#[test]
fn both_halves_and_both_families_of_one_cause_are_one_finding() {
    let at = |direction: Direction, function: &str| {
        Some(Location {
            node: "n2".to_owned(),
            direction,
            reason: "NETFILTER_DROP".to_owned(),
            function: function.to_owned(),
            ..Default::default()
        })
    };
    let mut request = cell("n1", "n2", Verdict::Unreachable, at(Direction::Request, "a"));
    request.evidence = vec!["dropped at eth0 (1 → 2)".to_owned()];
    let mut reply = cell("n1", "n2", Verdict::Unreachable, at(Direction::Reply, "b"));
    reply.evidence = vec!["dropped at eth0 (2 → 1)".to_owned()];
    for cell in [&mut request, &mut reply] {
        cell.loss.as_mut().unwrap().summary = "request dropped on n2".to_owned();
    }
    let report = report(&[request, reply]);
    assert_eq!(report.findings.len(), 1);
    assert_eq!(
        report.findings[0].headline,
        "n1 → n2, ICMP: 100 % of probes lost: request dropped on n2 (inferred, 4 of 4)"
    );
    assert_eq!(report.findings[0].evidence, ["dropped at eth0 (1 → 2 and 1 other flows)"]);
}

#[test]
fn findings_show_what_each_incident_explains_and_then_the_rest() {
    let numbered = |number, source: &str, target: &str, location| {
        let mut cell = cell(source, target, Verdict::Unreachable, location);
        cell.key.1 = number;
        cell
    };
    // One location, and two of the three paths that die there are an incident's.
    let cells = [
        numbered(1, "n1", "n3", at("n3")),
        numbered(2, "n2", "n3", at("n3")),
        numbered(3, "n4", "n3", at("n3")),
        numbered(4, "n1", "n2", at("n9")),
        numbered(5, "n2", "n1", at("n9")),
        numbered(6, "n4", "n1", at("n9")),
    ];
    assert_eq!(findings(&cells, &[]).len(), 2);
    let found = findings(&cells, &[incident("a", &[("n1", 1), ("n2", 2)])]);
    let shown: Vec<(usize, &str)> = found
        .iter()
        .map(|finding| (finding.paths.len(), finding.evidence.last().map_or("", String::as_str)))
        .collect();
    assert_eq!(
        shown,
        [
            (2, "explained by incident a: it is broken"),
            (3, "no incident explains it yet"),
            (1, "no incident explains it yet"),
        ]
    );
    // What a kernel drops elsewhere on a path of an incident is no part of it.
    let elsewhere = |node: &str| Location { certainty: Certainty::Observed, ..at(node).unwrap() };
    let mut old = incident("a", &[("n1", 1), ("n2", 2), ("n4", 3)]);
    old.places.add([&elsewhere("n3")].into_iter());
    let cells_then = [numbered(1, "n1", "n3", at("n3")), numbered(2, "n2", "n3", Some(elsewhere("n9")))];
    let found = findings(&cells_then, &[old]);
    let last = |finding: &v1::Finding| finding.evidence.last().cloned().unwrap_or_default();
    assert_eq!(
        found.iter().map(last).collect::<Vec<_>>(),
        ["explained by incident a: it is broken", "no incident explains it yet"]
    );
    // A path that two explain is the first one's.
    let both = [incident("a", &[("n1", 1)]), incident("b", &[("n1", 1), ("n2", 2)])];
    let found = findings(&cells[..2], &both);
    assert_eq!(found.iter().map(|finding| finding.paths.len()).collect::<Vec<_>>(), [1, 1]);
}

/// An open incident that explains these paths: source and number.
fn incident(id: &str, paths: &[(&str, u32)]) -> Incident {
    let path = |&(source, id): &(&str, u32)| PathOf {
        source: source.into(),
        zone: "".into(),
        path: Arc::new(PlannedPath {
            id: PathId(id),
            vantage: Vantage::Host,
            at: 0,
            probe: Probe {
                target: Arc::default(),
                kind: ProbeKind::Icmp,
                address: [10, 0, 0, 1].into(),
                port: 0,
                question: None,
                sources: Sources::All,
                exchange: None,
            },
        }),
    };
    Incident {
        id: id.to_owned(),
        kind: IncidentKind::Node,
        headline: "it is broken".to_owned(),
        what: "it is broken".to_owned(),
        nodes: Vec::new(),
        losses: Losses::default(),
        verdict: Verdict::Unreachable,
        certainty: Certainty::Inferred,
        probe: None,
        family: None,
        paths: paths.iter().map(path).collect(),
        places: Places::default(),
        contradictions: Vec::new(),
        contradicting: 0,
        evidence: Vec::new(),
        first_ns: None,
        last_ns: None,
        opened_ns: Some(SECOND_NS),
        closed_ns: None,
        cause: "node/n3".to_owned(),
        merged_into: None,
        culprits: Vec::new(),
        revision: 1,
    }
}
