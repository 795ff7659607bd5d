use super::*;
use netcheck_analysis::model::NodeIx;
use netcheck_analysis::model::clock::SECOND_NS;
use netcheck_common::domain::Outcome;

fn cell(source: &str, target: &str, verdict: Verdict, at: Option<v1::LossLocation>) -> Cell {
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
    let loss = at.map(|at| v1::LocatedLoss {
        summary: format!("lost at {}", at.node),
        location: Some(at),
        probes: 2,
        ..Default::default()
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
            loss,
            ..Default::default()
        },
    }
}

fn at(node: &str) -> Option<v1::LossLocation> {
    Some(v1::LossLocation { node: node.to_owned(), ..Default::default() })
}

fn report(cells: &[Cell]) -> v1::Report {
    build(cells, &Range { from_ns: 0, strict: false, now_ns: 10 * SECOND_NS }, vec!["careful".to_owned()])
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
        Some(v1::LossLocation {
            node: from.to_owned(),
            next_node: "n4".to_owned(),
            stage: v1::Stage::Wire.into(),
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
    let at = |direction: v1::Direction, function: &str| {
        Some(v1::LossLocation {
            node: "n2".to_owned(),
            direction: direction.into(),
            reason: "NETFILTER_DROP".to_owned(),
            function: function.to_owned(),
            ..Default::default()
        })
    };
    let mut request = cell("n1", "n2", Verdict::Unreachable, at(v1::Direction::Request, "a"));
    request.evidence = vec!["dropped at eth0 (1 → 2)".to_owned()];
    let mut reply = cell("n1", "n2", Verdict::Unreachable, at(v1::Direction::Reply, "b"));
    reply.evidence = vec!["dropped at eth0 (2 → 1)".to_owned()];
    for cell in [&mut request, &mut reply] {
        cell.cell.loss.as_mut().unwrap().summary = "request dropped on n2".to_owned();
    }
    let report = report(&[request, reply]);
    assert_eq!(report.findings.len(), 1);
    assert_eq!(
        report.findings[0].headline,
        "n1 → n2, ICMP: 100 % of probes lost: request dropped on n2 (inferred, 4 of 4)"
    );
    assert_eq!(report.findings[0].evidence, ["dropped at eth0 (1 → 2 and 1 other flows)"]);
}
