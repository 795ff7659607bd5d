use super::*;
use netcheck_analysis::model::location::{Direction, Location, Stage};
use netcheck_analysis::wire;

fn cell(source: &str, kind: v1::ProbeKind, family: v1::Family, lost: u64) -> v1::MatrixCell {
    let target = v1::Target {
        id: "pod/default/web".to_owned(),
        kind: v1::TargetKind::Pod.into(),
        namespace: "default".to_owned(),
        name: "web".to_owned(),
        ..Default::default()
    };
    let path = v1::Path {
        source_node: source.to_owned(),
        target: Some(target),
        kind: kind.into(),
        family: family.into(),
        ..Default::default()
    };
    let verdict = if lost > 0 { v1::Verdict::Unreachable } else { v1::Verdict::Reachable };
    v1::MatrixCell {
        path: Some(path),
        verdict: verdict.into(),
        stats: Some(v1::PathStats { sent: 412, reply: 412 - lost, timeout: lost, ..Default::default() }),
        loss: (lost > 0).then(|| wire::located_loss(&loss(lost))),
        since: Some(prost_types::Timestamp { seconds: 12 * 3600 + 4 * 60 + 31, nanos: 0 }),
        ..Default::default()
    }
}

/// Where all that the bad ones lose dies.
fn loss(probes: u64) -> LocatedLoss {
    let location = Location {
        node: "node-a".to_owned(),
        interface: "flannel.1".to_owned(),
        role: InterfaceRole::Tunnel,
        tunnel: "vxlan".to_owned(),
        stage: Stage::NetfilterForward,
        direction: Direction::Request,
        reason: "NETFILTER_DROP".to_owned(),
        function: "nft_do_chain".to_owned(),
        certainty: Certainty::Observed,
        ..Default::default()
    };
    LocatedLoss { summary: words::place(&location), location, probes, first_ns: 0, last_ns: 0 }
}

fn line_with(cells: &[v1::MatrixCell], loss: &LocatedLoss) -> String {
    let bad: Vec<&v1::MatrixCell> = cells.iter().filter(|cell| cell.loss.is_some()).collect();
    line(&bad, cells.iter(), Some(loss), None)
}

fn reported(cells: &[v1::MatrixCell]) -> String {
    line_with(cells, &loss(2))
}

#[test]
fn paths_share_time_place_reason_certainty_and_what_is_fine() {
    use v1::{Family, ProbeKind};
    let mut cells = vec![
        cell("node-c", ProbeKind::Udp, Family::Ipv4, 412),
        cell("node-c", ProbeKind::Icmp, Family::Ipv4, 0),
        cell("node-b", ProbeKind::Tcp, Family::Ipv4, 0),
    ];
    assert_eq!(
        reported(&cells),
        "node-c → pod default/web, pod path over VXLAN, UDP: 100 % of requests lost since 12:04:31 UTC \
         at node-a, interface flannel.1, netfilter forward: NETFILTER_DROP in nft_do_chain \
         (observed, 412 of 412); ICMP on the same path is fine"
    );
    let mut unnamed = loss(412);
    unnamed.location.tunnel.clear();
    let text = line_with(&cells, &unnamed);
    assert!(text.contains(", pod path through a tunnel, UDP: "), "{text}");
    cells.push(cell("node-c", ProbeKind::Udp, Family::Ipv6, 0));
    assert!(reported(&cells).contains("UDP over IPv4: "), "{}", reported(&cells));
    assert!(reported(&cells).ends_with("; ICMP and IPv6 on the same path are fine"), "{}", reported(&cells));
    cells[1].verdict = v1::Verdict::NoData.into();
    cells[3].verdict = v1::Verdict::Degraded.into();
    assert!(
        reported(&cells).ends_with("(observed, 412 of 412)"),
        "silence is not fine: {}",
        reported(&cells)
    );
    cells[0].verdict = v1::Verdict::Degraded.into();
    cells[0].stats.as_mut().unwrap().sent = 824;
    cells[0].stats.as_mut().unwrap().reply = 412;
    assert!(reported(&cells).contains(": 50 % of requests lost"), "{}", reported(&cells));
}

#[test]
fn without_a_place_it_says_why() {
    let mut cells = [cell("n1", v1::ProbeKind::Udp, v1::Family::Ipv4, 2)];
    cells[0].loss = None;
    let bad: Vec<&v1::MatrixCell> = cells.iter().collect();
    assert_eq!(
        line(&bad, cells.iter(), None, Some("nobody on n2 can tell")),
        "n1 → pod default/web, pod path, UDP: 100 % of probes lost since 12:04:31 UTC, \
         not located: nobody on n2 can tell"
    );
    assert!(line(&bad, cells.iter(), None, None).ends_with(", cause not located"));
}

#[test]
fn whoever_said_no_is_named() {
    let cells = [cell("n1", v1::ProbeKind::Tcp, v1::Family::Ipv4, 2)];
    let mut loss = loss(2);
    loss.summary = "refused by backend default/web-3 (10.0.0.3) on n3".to_owned();
    loss.location.role = InterfaceRole::Unknown;
    let text = line_with(&cells, &loss);
    assert!(
        text.ends_with(": refused by backend default/web-3 (10.0.0.3) on n3 (observed, 2 of 2)"),
        "{text}"
    );
}

#[test]
fn source_ports_are_named_where_they_alone_lose_packets() {
    let mut some = cell("node-c", v1::ProbeKind::Udp, v1::Family::Ipv4, 4);
    some.verdict = v1::Verdict::Degraded.into();
    let port = |port| v1::PortLoss { port, sent: 8, lost: 8 };
    some.ports = Some(v1::SourcePorts {
        ports: 8,
        lost: vec![port(61_007), port(61_012)],
        others_sent: 48,
        ..Default::default()
    });
    let text = reported(std::slice::from_ref(&some));
    assert!(
        text.contains(
            "UDP: 2 of 8 source ports lose everything, the others nothing since 12:04:31 UTC, lost ports 61007 \
             and 61012 at node-a, interface flannel.1"
        ),
        "{text}"
    );
    some.verdict = v1::Verdict::Unreachable.into();
    assert!(reported(&[some]).contains("UDP: 100 % of requests lost"), "now nothing passes");
}

#[test]
fn large_packets_are_named_by_their_size() {
    let mut large = cell("node-c", v1::ProbeKind::Icmp, v1::Family::Ipv4, 4);
    large.verdict = v1::Verdict::Degraded.into();
    large.stats = Some(v1::PathStats { sent: 10, reply: 10, ..Default::default() });
    large.sizes =
        Some(v1::PacketSizes { largest_passed_bytes: 1400, smallest_lost_bytes: 1401, ..Default::default() });
    let text = reported(&[large.clone(), cell("node-c", v1::ProbeKind::Udp, v1::Family::Ipv4, 0)]);
    assert!(text.contains("ICMP: packets above 1400 bytes lost since 12:04:31 UTC at node-a"), "{text}");
    assert!(text.contains("4 of 4)") && text.ends_with("UDP on the same path is fine"), "{text}");
    large.stats = Some(v1::PathStats { sent: 10, reply: 9, timeout: 1, ..Default::default() });
    assert!(!reported(&[large]).contains("packets above"), "small ones are lost too");
}
