//! What is passed on under another address: node ports, load balancers.

use netcheck_common::domain::{Outcome, ProbeKind};

use super::*;

/// The cluster, its service with a node port and a load balancer.
fn world() -> World {
    let ports = "ports: [{name: http, port: 80, targetPort: 8080, protocol: TCP}]";
    let more = "type: LoadBalancer\n    ports: [{name: http, port: 80, nodePort: 30080, protocol: TCP}]\n  status: \
                {loadBalancer: {ingress: [{ip: 192.0.2.1}]}}";
    World::of(&CLUSTER.replacen(ports, more, 1))
}

const NODE_PORT: &str = "service/default/web:80/node-port/n2";
const BALANCER: &str = "service/default/web:80/load-balancer/192.0.2.1";

fn refused(to: [u8; 4], port: u16) -> Lost {
    let mut lost = timed_out();
    lost.outcome = Outcome::Refused;
    lost.flow = Some(flow([10, 0, 0, 1], 40_000, to, port));
    lost
}

#[test]
fn only_a_kernel_without_a_socket_shows_that_a_node_port_leads_nowhere() {
    let world = world();
    let mut lost = refused([10, 0, 0, 2], 30080);
    let located = world.locate(NODE_PORT, ProbeKind::Tcp, &lost);
    assert_eq!(
        place(&located),
        "unlocated: refused at NodePort 30080 on n2, by n2 (10.0.0.2) or by a backend that it was passed on to"
    );
    let reset = |destination, port| DropRecord {
        flow: Some(flow([10, 0, 0, 1], 40_000, destination, port)),
        ..record("NO_SOCKET", Stage::Socket, Direction::Request)
    };
    // That of a backend, under an address that the sender's packets never had, is of another leg of the way.
    lost.add_drop(fact("n3", 1, reset([10, 244, 3, 2], 8080)));
    assert!(world.locate(NODE_PORT, ProbeKind::Tcp, &lost).location.is_none());
    lost.add_drop(fact("n2", 2, reset([10, 0, 0, 2], 30080)));
    let located = world.locate(NODE_PORT, ProbeKind::Tcp, &lost);
    assert_eq!(place(&located), "n2 cni0 Socket Request observed");
    assert_eq!(
        located.summary,
        "refused by n2 itself: nothing there passes NodePort 30080 on n2 on to service default/web:80"
    );
}

#[test]
fn what_left_under_a_services_own_address_was_not_translated() {
    let world = World::new();
    let service = world.probe("service/default/web:80", ProbeKind::Tcp);
    let std::net::IpAddr::V4(own) = service.address else { panic!("the first address is IPv4") };
    let sent = |outcome, to: [u8; 4]| {
        let mut lost = timed_out();
        lost.outcome = outcome;
        lost.flow = Some(flow([10, 0, 0, 1], 40_000, to, 80));
        lost
    };
    for outcome in [Outcome::Timeout, Outcome::Refused, Outcome::Unreachable] {
        let located = world.locate_with(service, &sent(outcome, own.octets()), Visibility::NoAgent, true);
        assert_eq!(place(&located), "n1 - NetfilterOutput Request inferred", "{outcome:?}");
        assert_eq!(located.location.unwrap().reason, "not translated");
    }
    // A backend was chosen; a kernel says more; it never left.
    let mut dropped = sent(Outcome::Timeout, own.octets());
    dropped.add_drop(fact("n1", 1, record("NETFILTER_DROP", Stage::NetfilterOutput, Direction::Request)));
    let mut inside = sent(Outcome::Timeout, own.octets());
    inside.sample.request_hooks.clear();
    for lost in [sent(Outcome::Timeout, [10, 244, 2, 2]), dropped, inside] {
        let located = world.locate_with(service, &lost, Visibility::NoAgent, true);
        assert!(located.location.is_none_or(|at| at.reason != "not translated"));
    }
}

#[test]
fn a_router_that_knows_no_way_to_a_service_was_sent_it_untranslated() {
    let world = World::new();
    let service = world.probe("service/default/web:80", ProbeKind::Tcp);
    let at = |from: [u8; 4], code: u32, left_for: Option<[u8; 4]>| {
        let mut lost = timed_out();
        lost.outcome = Outcome::Unreachable;
        lost.sample.icmp_error = Some(IcmpError { from: Some(from.into()), kind: 3, code, mtu_bytes: 0 });
        // What a pod sends past its node's hooks under another port.
        (lost.flow, lost.sample.request_hooks) =
            (left_for.map(|to| flow([10, 244, 1, 2], 40_000, to, 80)), vec![veth(false)]);
        let mut input = world.input(service, &lost);
        input.source_pod = Some("default/web-1".to_owned());
        let located = locate(&input, &lost);
        located.location.map(|at| (at.node, at.stage, at.reason))
    };
    let untranslated = Some(("n1".to_owned(), Stage::NetfilterPrerouting, "not translated".to_owned()));
    assert_eq!(at([192, 0, 2, 1], 0, None), untranslated);
    // A filter's word; a node's; of what left for a backend.
    for other in [
        at([192, 0, 2, 1], 13, None),
        at([10, 0, 0, 3], 0, None),
        at([192, 0, 2, 1], 0, Some([10, 244, 2, 2])),
    ] {
        assert_ne!(other, untranslated);
    }
}

#[test]
fn an_answer_under_another_address_shows_who_changed_it() {
    let world = World::new();
    let answered = |target: &str, sent_to: [u8; 4], from: [u8; 4]| {
        let mut lost = timed_out();
        lost.flow = Some(flow([10, 0, 0, 1], 40_000, sent_to, 80));
        let record = record("NO_SOCKET", Stage::Socket, Direction::Reply);
        lost.add_drop(fact(
            "n1",
            1,
            DropRecord { flow: Some(flow(from, 80, [10, 0, 0, 1], 40_000)), ..record },
        ));
        let probe = world.catalog.probes.iter().find(|probe| *probe.target.id == *target).unwrap();
        let located = world.locate_with(probe, &lost, Visibility::NoAgent, true);
        let reason = located.location.as_ref().map_or_else(String::new, |at| at.reason.clone());
        (place(&located), reason)
    };
    let (at, reason) = answered("service/default/web:80", [10, 244, 2, 2], [10, 244, 2, 2]);
    assert_eq!((at.as_str(), reason.as_str()), ("n1 - NetfilterPrerouting Reply inferred", "not translated"));
    let (at, reason) = answered("service/default/web:80", [10, 244, 2, 2], [10, 0, 0, 3]);
    let changed = ("n3 - NetfilterPostrouting Reply inferred", "sent on under its own address");
    assert_eq!((at.as_str(), reason.as_str()), changed);
    let (at, reason) = answered("service/default/web:80", [10, 244, 2, 2], [192, 0, 2, 7]);
    assert_eq!(
        (at.as_str(), reason.as_str()),
        ("n2 - Socket Reply inferred", "answered from another address"),
        "one of its own that nobody knows of"
    );
    // As it was asked; from another address of the very node.
    for from in [[10, 96, 0, 80], [10, 0, 0, 2]] {
        let (_, reason) = answered("service/default/web:80", [10, 244, 2, 2], from);
        let others = [changed.1, "not translated", "answered from another address"];
        assert!(!others.contains(&reason.as_str()), "{from:?}: {reason}");
    }
}

#[test]
fn a_dns_error_behind_a_node_port_is_nobodys_in_particular() {
    let world = world();
    let sample = LostSample { dns_rcode: "SERVFAIL".to_owned(), ..Default::default() };
    let mut lost = Lost::new(sample, Outcome::DnsError, 0, 0);
    lost.flow = Some(flow([10, 0, 0, 1], 40_000, [10, 0, 0, 2], 30080));
    let probe = Probe { kind: ProbeKind::Dns, ..world.probe(NODE_PORT, ProbeKind::Tcp).clone() };
    assert_eq!(
        place(&locate(&world.input(&probe, &lost), &lost)),
        "unlocated: SERVFAIL at NodePort 30080 on n2, from whichever server it was passed on to"
    );
}

#[test]
fn a_rule_on_the_node_that_passes_on_is_named() {
    let world = world();
    let mut lost = timed_out();
    lost.flow = Some(flow([10, 0, 0, 1], 40_000, [10, 0, 0, 2], 30080));
    lost.add_drop(fact("n2", 1, record("NETFILTER_DROP", Stage::NetfilterForward, Direction::Request)));
    assert_eq!(
        place(&world.locate(NODE_PORT, ProbeKind::Tcp, &lost)),
        "n2 cni0 NetfilterForward Request observed"
    );
}

#[test]
fn what_reached_a_node_port_is_not_last_seen_there() {
    let world = world();
    let mut lost = timed_out();
    lost.flow = Some(flow([10, 0, 0, 1], 61_000, [10, 0, 0, 2], 30080));
    lost.answer =
        Some(Answer { arrived: Some(true), last_request_hook: Some(uplink(false)), ..Default::default() });
    let located = world.locate(NODE_PORT, ProbeKind::Tcp, &lost);
    assert_eq!(
        place(&located),
        "unlocated: the request reached n2; where it went from NodePort 30080 on n2 is not known"
    );
    // What did not reach it was lost before.
    lost.answer = Some(Answer { arrived: Some(false), ..Default::default() });
    assert_eq!(place(&world.locate(NODE_PORT, ProbeKind::Tcp, &lost)), "n1 eth0 Wire Request inferred n2");
    // Nor does an answered ping put the blame on a socket of that node.
    lost.answer = None;
    lost.flow = Some(flow([10, 0, 0, 1], 40_000, [10, 0, 0, 2], 30080));
    let probe = world.probe(NODE_PORT, ProbeKind::Tcp);
    let input = LocateInput { echo_answered: true, ..world.input(probe, &lost) };
    assert!(locate(&input, &lost).location.is_none());
}

#[test]
fn a_load_balancer_that_the_own_node_knows_is_its_backend_and_another_is_a_riddle() {
    let world = world();
    let here = world.locate(BALANCER, ProbeKind::Tcp, &refused([10, 244, 3, 2], 8080));
    assert_eq!(here.summary, "refused by backend default/web-3 (10.244.3.2) on n3");
    assert_eq!(place(&here), "n3 - Socket Request inferred", "n1 alone says so");
    let there = world.locate(BALANCER, ProbeKind::Tcp, &refused([192, 0, 2, 1], 80));
    assert_eq!(
        place(&there),
        "unlocated: refused at load balancer 192.0.2.1, by 192.0.2.1 (no node or pod of the cluster) or by a backend \
         that it was passed on to"
    );
    let silent = Lost { outcome: Outcome::Timeout, ..refused([192, 0, 2, 1], 80) };
    let silent = world.locate(BALANCER, ProbeKind::Tcp, &silent);
    assert_eq!(
        place(&silent),
        "unlocated: left n1; 192.0.2.1 is no node or pod of the cluster, and nobody there can be asked"
    );
}

#[test]
fn an_icmp_error_with_the_node_ports_own_address_may_be_anybodys() {
    let world = world();
    let mut lost = refused([10, 0, 0, 2], 30080);
    lost.outcome = Outcome::Unreachable;
    lost.sample.icmp_error =
        Some(IcmpError { from: Some([10, 0, 0, 2].into()), kind: 3, code: 1, mtu_bytes: 0 });
    let located = world.locate(NODE_PORT, ProbeKind::Tcp, &lost);
    assert_eq!(
        place(&located),
        "unlocated: n2 (10.0.0.2) sent ICMP host unreachable, or somebody that it passed the request on to"
    );
    lost.sample.icmp_error.as_mut().unwrap().from = Some([10, 0, 0, 3].into());
    assert!(place(&world.locate(NODE_PORT, ProbeKind::Tcp, &lost)).starts_with("n3 "));
}

#[test]
fn what_carries_its_name_shows_which_backend_refused_it() {
    let world = World::of(
        &CLUSTER
            .replacen("ports: [{name: http, port: 80, targetPort: 8080, protocol: TCP}]", "type: NodePort\n    ports: [{name: http, port: 80, nodePort: 30080, protocol: UDP}]", 1)
            .replacen("name: web, namespace: default}", "name: web, namespace: default, labels: {app.kubernetes.io/name: netcheck, app.kubernetes.io/component: vantage}}", 1),
    );
    let mut lost = timed_out();
    lost.outcome = Outcome::Refused;
    lost.sample.icmp_error =
        Some(IcmpError { from: Some([10, 0, 0, 2].into()), kind: 3, code: 3, mtu_bytes: 0 });
    let located = world.locate(NODE_PORT, ProbeKind::Udp, &lost);
    assert!(place(&located).starts_with("unlocated: refused at NodePort 30080 on n2"), "{located:?}");
    // A hook of the sender's node that saw it once more, on its way from there to a backend.
    lost.flow = Some(flow([10, 0, 0, 2], 40_000, [10, 244, 3, 2], 8080));
    assert!(world.locate(NODE_PORT, ProbeKind::Udp, &lost).location.is_none());
    let named = DropRecord {
        probe: Some(ProbeIdentity { session: 1, path: PathId(0), sequence: 0 }),
        flow: Some(flow([10, 0, 0, 2], 40_000, [10, 244, 3, 2], 8080)),
        ..record("NO_SOCKET", Stage::Socket, Direction::Request)
    };
    lost.add_drop(fact("n3", 1, named));
    for flow in [lost.flow, None] {
        lost.flow = flow;
        let located = world.locate(NODE_PORT, ProbeKind::Udp, &lost);
        assert!(place(&located).starts_with("n3 "), "{located:?}");
        assert_eq!(located.summary, "refused by backend default/web-3 (10.244.3.2) on n3");
    }
}
