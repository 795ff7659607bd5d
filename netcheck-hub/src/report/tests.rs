use super::*;
use crate::clock::SECOND_NS;
use crate::hub::NodeIx;

fn cell(source: &str, target: &str, verdict: Verdict, at: Option<v1::LossLocation>) -> Cell {
    let target = v1::Target {
        id: format!("node/{target}"),
        kind: v1::TargetKind::Node.into(),
        name: target.to_owned(),
        ..Default::default()
    };
    let path = v1::Path { source_node: source.to_owned(), target: Some(target), ..Default::default() };
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
        key: (NodeIx(0), 1),
        probeable: true,
        cell: v1::MatrixCell {
            path: Some(path),
            verdict: verdict.to_wire().into(),
            stats: Some(v1::PathStats { sent: 4, reply: 2, timeout: 2, ..Default::default() }),
            loss,
            since: None,
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
    assert_eq!(headlines, ["lost at n3 (n1, n2 → n3)", "lost at n9 (n1 → n2)"]);
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
        ["n1 cannot reach n4, n5: cause not located", "n1, n2 cannot reach n3: cause not located"]
    );
    assert!(report.findings[0].evidence.contains(&"no place: nobody knows".to_owned()));
}
