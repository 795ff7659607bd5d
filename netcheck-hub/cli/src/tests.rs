use clap::CommandFactory as _;
use netcheck_proto::v1;

use super::*;

fn cell(source: &str, target: &str, kind: v1::ProbeKind, verdict: v1::Verdict) -> v1::MatrixCell {
    let target = v1::Target {
        id: format!("node/{target}"),
        kind: v1::TargetKind::Node.into(),
        name: target.to_owned(),
        ..Default::default()
    };
    let path = v1::Path {
        source_node: source.to_owned(),
        target: Some(target),
        kind: kind.into(),
        family: v1::Family::Ipv4.into(),
        ..Default::default()
    };
    v1::MatrixCell { path: Some(path), verdict: verdict.into(), ..Default::default() }
}

#[test]
fn flags_hold_together() {
    Cli::command().debug_assert();
}

#[test]
fn the_matrix_merges_kinds_and_lists_what_is_lost_where() {
    use v1::{ProbeKind, Verdict};
    let mut bad = cell("n1", "n2", ProbeKind::Udp, Verdict::Unreachable);
    bad.loss = Some(v1::LocatedLoss { summary: "request dropped on n2".to_owned(), ..Default::default() });
    let cells = vec![
        cell("n1", "n2", ProbeKind::Icmp, Verdict::Reachable),
        bad,
        cell("n2", "n1", ProbeKind::Icmp, Verdict::Reachable),
        cell("n2", "n1", ProbeKind::Udp, Verdict::Reachable),
        cell("n1", "n3", ProbeKind::Icmp, Verdict::NoData),
        cell("n2", "n3", ProbeKind::Icmp, Verdict::ExpectedAbsent),
    ];
    let matrix = v1::GetMatrixResponse { cells, ..Default::default() };
    let text = matrix::render(&matrix, Paint::plain(), 80);
    let expected = "\
→ nodes (icmp udp; IPv4)
      n1  n2  n3
 n1  ·   ✗U  ?
 n2  ✓   ·   –
";
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(squeezed(&text).starts_with(&squeezed(expected)), "{text}");
    assert!(text.contains("✗ request dropped on n2\n    udp4   n1 → n2\n"), "{text}");
    assert!(text.contains("6 paths: ✓ reachable 3"), "{text}");
}

#[test]
fn exit_codes_follow_what_the_hub_concludes() {
    use v1::Conclusion::{Reachable, Unmeasured, Unreachable, Unspecified};
    use v1::IncidentState::{Closed, Open};
    for (conclusion, code) in [(Reachable, 0), (Unreachable, 2), (Unmeasured, 1), (Unspecified, 1)] {
        let plain = Conclusion::of(conclusion, 7).exit();
        assert_eq!(plain.0, code, "{conclusion:?}");
        assert_eq!(plain.1.contains("any of 7 paths"), plain.0 == 1, "{plain:?}");
        assert_eq!(Conclusion::of_check(code, 7).exit(), plain);
    }
    assert!(Conclusion::of(Unmeasured, 0).exit().1.contains("none was selected"));
    let open = |verdict: v1::Verdict, state: v1::IncidentState| v1::Incident {
        state: state.into(),
        verdict: verdict.into(),
        ..Default::default()
    };
    for (incidents, code) in [
        (vec![], 0),
        (vec![open(v1::Verdict::Degraded, Open), open(v1::Verdict::Unreachable, Closed)], 0),
        (vec![open(v1::Verdict::Unreachable, Open)], 2),
    ] {
        assert_eq!(Conclusion::of_incidents(&incidents).exit().0, code);
    }
}

#[test]
fn the_report_starts_with_the_verdict_and_the_cause_comes_before_its_evidence() {
    let report = v1::Report {
        headline: "2 of 10 paths are unreachable".to_owned(),
        verdict: v1::Verdict::Unreachable.into(),
        findings: vec![v1::Finding {
            headline: "request dropped on n2 at netfilter forward".to_owned(),
            verdict: v1::Verdict::Unreachable.into(),
            evidence: vec!["the kernel of n2 dropped it".to_owned()],
            ..Default::default()
        }],
        caveats: vec!["n3: hooks are off".to_owned()],
        ..Default::default()
    };
    let text = report::render(&report, Paint::plain());
    let at = |needle: &str| text.find(needle).unwrap_or_else(|| panic!("{needle} in {text}"));
    assert!(text.starts_with("✗ 2 of 10 paths are unreachable, 1 cause\n"));
    assert!(
        at("✗ request dropped") < at("evidence  the kernel of n2")
            && at("the kernel of n2") < at("! n3: hooks")
    );
}

#[test]
fn an_incident_says_its_cause_first_and_how_sure_it_is() {
    let incident = v1::Incident {
        state: v1::IncidentState::Open.into(),
        headline: "n7 answers nobody".to_owned(),
        verdict: v1::Verdict::Unreachable.into(),
        certainty: v1::Certainty::Inferred.into(),
        evidence: vec!["24 of 24 paths to n7 fail, 0 of 380 others".to_owned()],
        ..Default::default()
    };
    let closed = v1::Incident {
        state: v1::IncidentState::Closed.into(),
        headline: "n8 answers nobody".to_owned(),
        ..Default::default()
    };
    let answer =
        v1::ListIncidentsResponse { incidents: vec![incident.clone(), closed], ..Default::default() };
    let text = incidents::render(&answer, Paint::plain());
    let expected = "\
✗ 1 open incident, 0 bad paths

✗ n7 answers nobody
    evidence  24 of 24 paths to n7 fail, 0 of 380 others
    certainty counting suggests it
";
    assert!(text.starts_with(expected), "{text}");
    assert!(text.contains("Closed:\n") && text.contains("n8 answers nobody"), "{text}");
    let none = v1::ListIncidentsResponse::default();
    assert_eq!(incidents::render(&none, Paint::plain()), "✓ no open incident\n");
    let report = v1::Report {
        incidents: vec![incident],
        headline: "24 of 404 paths are unreachable".to_owned(),
        verdict: v1::Verdict::Unreachable.into(),
        ..Default::default()
    };
    let text = report::render(&report, Paint::plain());
    assert!(text.starts_with("✗ 24 of 404 paths are unreachable, 1 cause\n"), "{text}");
    assert!(text.contains("n7 answers nobody"), "{text}");
}

#[test]
fn an_incident_is_three_lines_unless_more_is_asked_for() {
    let incident = v1::Incident {
        headline: "at n2, netfilter input: NETFILTER_DROP (n1 → n2)".to_owned(),
        verdict: v1::Verdict::Unreachable.into(),
        broken: "n1 can't reach n2 (UDP; 2 paths)".to_owned(),
        place: "on n2: rule with handle 7 of chain input in table inet filter [observed]".to_owned(),
        next_step: "on n2: nft -a list chain inet filter input\non n2: ip rule".to_owned(),
        first_seen: Some(prost_types::Timestamp { seconds: 11_565, nanos: 0 }),
        id: "6a0b1c2d-1".to_owned(),
        ..Default::default()
    };
    let finding = |headline: &str, incident: &str| v1::Finding {
        headline: headline.to_owned(),
        incident: incident.to_owned(),
        ..Default::default()
    };
    let mut report = v1::Report {
        incidents: vec![incident],
        findings: vec![finding("known", "a"), finding("n4 → n5: 3 % lost", "")],
        caveats: vec!["n3: hooks are off".to_owned()],
        ..Default::default()
    };
    let text = brief::render(&report, Paint::plain());
    let expected = "
✗ n1 can't reach n2 (UDP; 2 paths), since 1970-01-01 03:12:45 UTC, 6a0b1c2d-1
    where     on n2: rule with handle 7 of chain input in table inet filter [observed]
    next      on n2: nft -a list chain inet filter input
              on n2: ip rule

No incident explains yet:
";
    assert!(text.contains(expected), "{text}");
    assert!(text.contains("n4 → n5: 3 % lost") && !text.contains("known"), "{text}");
    assert!(
        text.ends_with("evidence and paths, 1 remark about the measurement: kubectl netcheck report -v\n"),
        "{text}"
    );
    // An older hub says no such lines.
    report.incidents[0].broken.clear();
    assert_eq!(brief::render(&report, Paint::plain()), report::render(&report, Paint::plain()));
}

#[test]
fn a_path_says_which_packets_pass() {
    let sizes = v1::PacketSizes {
        route_bytes: 1450,
        largest_passed_bytes: 1400,
        smallest_lost_bytes: 1401,
        ..Default::default()
    };
    let mut detail = v1::PathDetail {
        cell: Some(v1::MatrixCell { sizes: Some(sizes.clone()), ..Default::default() }),
        lost_probes: vec![v1::LostProbe {
            summary: "of 1450 bytes timed out".to_owned(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let shown = |detail: &v1::PathDetail| {
        let answer = v1::GetPathResponse { paths: vec![detail.clone()], ..Default::default() };
        path::render(&answer, Paint::plain())
    };
    let text = shown(&detail);
    assert!(text.contains("1400 bytes pass, 1401 don't (the route of the source takes 1450)"), "{text}");
    assert!(text.contains("    #0 of – of 1450 bytes timed out\n"), "{text}");
    let sizes = v1::PacketSizes {
        smallest_lost_bytes: 0,
        icmp_mtu: 1400,
        icmp_mtu_from: "10.0.0.9".to_owned(),
        ..sizes
    };
    detail.cell = Some(v1::MatrixCell { sizes: Some(sizes), ..Default::default() });
    let text = shown(&detail);
    assert!(
        text.contains(
            "up to 1400 bytes pass (the route of the source takes 1450, 10.0.0.9 takes 1400 and says so)"
        ),
        "{text}"
    );
}

#[test]
fn a_path_says_which_source_ports_lose_packets() {
    let ports = v1::SourcePorts {
        ports: 8,
        lost: vec![v1::PortLoss { port: 61_007, sent: 8, lost: 8 }],
        others_sent: 56,
        ..Default::default()
    };
    let cell = v1::MatrixCell {
        ports: Some(ports),
        verdict: v1::Verdict::Degraded.into(),
        path: Some(v1::Path::default()),
        ..Default::default()
    };
    let detail = v1::PathDetail { cell: Some(cell), ..Default::default() };
    let finding = v1::Finding {
        headline: "n1 → n2, UDP: 12 % of probes lost".to_owned(),
        verdict: v1::Verdict::Degraded.into(),
        ..Default::default()
    };
    let answer = v1::GetPathResponse { paths: vec![detail], findings: vec![finding], ..Default::default() };
    let text = path::render(&answer, Paint::plain());
    assert!(text.starts_with("~ n1 → n2, UDP: 12 % of probes lost\n\n~ "), "the hub's finding first: {text}");
    assert!(text.contains("ports     lost from 61007 (8 of 8); 0 of 56 from the 7 others"), "{text}");
}
