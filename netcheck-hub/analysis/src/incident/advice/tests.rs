use std::sync::Arc;

use netcheck_common::domain::Outcome;

use super::forms::{commands, pasteable};
use super::*;
use crate::incident::tests::world::{World, died, timeout, to, touches, wire};
use crate::incident::{Explained, Fact, IncidentTracker, Symptom};
use crate::model::culprit::CulpritKind;

fn opened(causes: &[Explained], facts: &[Fact]) -> Incident {
    let mut tracker = IncidentTracker::default();
    for now_ns in 0..12 {
        tracker.update(causes, facts, now_ns);
    }
    tracker.open().remove(0)
}

fn incident(world: &World) -> Incident {
    opened(&world.explain(), &world.facts)
}

/// The lines, after each command was looked at.
fn lines(incident: &Incident) -> Advice {
    let shown = advice(incident);
    for line in shown.next.lines() {
        let command =
            line.strip_prefix("on ").and_then(|rest| rest.split_once(": ")).map_or(line, |(_, it)| it);
        assert_eq!(commands(line), [command], "one command, behind its node or alone");
        pasteable(command);
    }
    assert!(shown.place.contains("[observed]") || shown.place.contains("[inferred]"), "{}", shown.place);
    shown
}

fn world() -> World {
    World::plain(&["a", "a", "b", "b"])
}

fn on_n2(stage: Stage, reason: &str, function: &str) -> Incident {
    let symptom = |_: &Fact| died("n2", Direction::Request, stage, reason, function);
    incident(&world().breaks(|fact| to(fact) == "n2" && touches(fact, "n2"), symptom))
}

#[test]
fn a_place_says_who_is_hurt_where_and_what_shows_more() {
    let mut incident = on_n2(Stage::NetfilterInput, "NETFILTER_DROP", "");
    let shown = lines(&incident);
    assert_eq!(shown.broken, "n1, n3, n4 can't reach n2, pod default/pod-n2 (ICMP, UDP, TCP; 24 paths)");
    assert_eq!(shown.place, "at n2, interface eth0, netfilter input: NETFILTER_DROP [observed]");
    assert!(
        shown.next.starts_with("on n2: nft list ruleset; iptables-legacy-save 2>/dev/null"),
        "{}",
        shown.next
    );
    // The object, where one was found.
    incident.culprits = vec![
        Culprit { kind: CulpritKind::Untold, node: "n1".to_owned(), ..Default::default() },
        Culprit {
            kind: CulpritKind::FilterRule,
            node: "n2".to_owned(),
            object: "rule with handle 7 of chain input".to_owned(),
            owner: "Calico".to_owned(),
            see: "nft -a list chain inet filter input".to_owned(),
            certainty: Some(Certainty::Observed),
            ..Default::default()
        },
    ];
    let shown = lines(&incident);
    assert_eq!(shown.place, "on n2: rule with handle 7 of chain input, looks like Calico's [observed]");
    assert_eq!(shown.next, "on n2: nft -a list chain inet filter input");
}

#[test]
fn every_stage_has_commands_for_the_node_and_the_interface() {
    let next =
        |stage, reason: &str| lines(&Incident { kind: IncidentKind::Place, ..on_n2(stage, reason, "") }).next;
    for (stage, reason, expected) in [
        (Stage::BridgeForward, "NETFILTER_DROP", "on n2: nft list ruleset bridge"),
        (Stage::NetdevIngress, "NETFILTER_DROP", "on n2: nft list ruleset netdev; nft list ruleset inet"),
        (Stage::Routing, "IP_RPFILTER", "on n2: ip rule; ip -6 rule; ip route show table all"),
        (Stage::Send, "EPERM", "on n2: nft list ruleset; ip xfrm policy"),
        (Stage::Qdisc, "QDISC_DROP", "on n2: tc -s qdisc show dev eth0"),
        (Stage::Egress, "TC_EGRESS", "on n2: ip -s link show eth0; bpftool net show dev eth0"),
        (Stage::Socket, "NO_SOCKET", "on n2: ss -lntup"),
    ] {
        assert_eq!(next(stage, reason), expected);
    }
    // Whoever sent it to another's hardware address is the one to look at.
    let shown = next(Stage::Ingress, "OTHERHOST");
    assert_eq!(shown, "on n1: ip neigh show 10.0.0.1");
    let mut at = on_n2(Stage::Egress, "", "").places.most().unwrap().clone();
    at.interface = "e;reboot".to_owned();
    pasteable(&look_at(&at, None));
}

#[test]
fn what_happens_in_a_pod_is_looked_at_in_kubernetes() {
    let symptom = |_: &Fact| {
        let mut symptom = died("n2", Direction::Request, Stage::Socket, "SOCKET_RCVBUFF", "");
        symptom.at.as_mut().unwrap().pod = "default/pod-n2".to_owned();
        symptom
    };
    let pods = |fact: &Fact| to(fact) == "n2" && fact.path.probe.target.kind == TargetKind::Pod;
    let shown = lines(&incident(&world().breaks(pods, symptom)));
    assert_eq!(shown.next, "kubectl -n default describe pod pod-n2\nkubectl -n default logs pod-n2");
    // One backend of a service, which its own pod shows.
    let refused = |_: &Fact| Symptom {
        backend: Some("default/web-2".to_owned()),
        outcome: Some(Outcome::Refused),
        ..timeout()
    };
    let mut broken = world().breaks(|fact| fact.path.probe.target.kind == TargetKind::Service, refused);
    for fact in broken.facts.iter_mut().filter(|fact| fact.verdict == Verdict::Unreachable) {
        fact.verdict = Verdict::Degraded;
    }
    let shown = lines(&incident(&broken));
    assert!(shown.place.starts_with("default/web-2 refuses: it fails its share of service default/web:80"));
    assert_eq!(
        shown.broken,
        "n1, n2 and 2 more lose 50 % of probes to service default/web:80 (TCP; 8 paths)"
    );
    assert_eq!(shown.next, "kubectl -n default describe pod web-2\nkubectl -n default logs web-2");
    for (cause, pod) in [
        ("backend/default/web-2 (10.0.0.1)", Some("default/web-2")),
        ("backend/default/web-2/default/web:80", Some("default/web-2")),
        ("backend/10.0.0.1", None),
    ] {
        assert_eq!(backend(cause), pod);
    }
}

#[test]
fn a_node_is_named_with_the_arithmetic_that_blames_it() {
    let shown = lines(&incident(&world().breaks(|fact| touches(fact, "n2"), |_| timeout())));
    assert!(shown.broken.starts_with("n2 answers nobody and reaches nobody ("), "{}", shown.broken);
    let begin = "no kernel reported a drop; 52 of 52 paths to and from n2 fail, 0 of ";
    assert!(shown.place.starts_with(begin) && shown.place.ends_with(" [inferred]"), "{}", shown.place);
    assert_eq!(shown.next, "kubectl get node n2 -o wide\non n2: ip -s link; ip route; ip -6 route");
    let between = |fact: &Fact| touches(fact, "n1") && touches(fact, "n3");
    let lost = |fact: &Fact| wire(&fact.source, to(fact), Direction::Request);
    let link = incident(&world().breaks(between, lost));
    let shown = lines(&link);
    assert!(shown.broken.ends_with(" paths)") && shown.broken.contains("n1"), "{}", shown.broken);
    assert_eq!(shown.next, format!("kubectl netcheck explain {}", link.id));
}

#[test]
fn what_comes_round_is_looked_at_where_it_comes_round() {
    let mut found = incident(&world().breaks(|fact| to(fact) == "n3" && touches(fact, "n3"), |_| timeout()));
    "loop/n3".clone_into(&mut found.cause);
    found.kind = IncidentKind::Node;
    found.nodes = vec!["n1".to_owned(), "n2".to_owned()];
    assert_eq!(lines(&found).next, "on n1: ip route get 10.0.0.1\non n2: ip route get 10.0.0.1");
}

#[test]
fn each_kind_of_cause_has_a_next_step() {
    let found = incident(&world().breaks(|fact| touches(fact, "n2"), |_| timeout()));
    for kind in IncidentKind::ALL {
        for nodes in [vec![], vec!["n2".to_owned()], vec!["n1".to_owned(), "n2".to_owned()]] {
            for target in [
                TargetKind::Node,
                TargetKind::Pod,
                TargetKind::Service,
                TargetKind::DnsServer,
                TargetKind::Endpoint,
            ] {
                let mut one = Incident { kind, nodes: nodes.clone(), ..found.clone() };
                one.losses.too_large = Some(1401);
                let mut path = (*one.paths[0].path).clone();
                let of =
                    Target { kind: target, namespace: "default".to_owned(), ..(*path.probe.target).clone() };
                path.probe.target = Arc::new(of);
                one.paths[0].path = Arc::new(path);
                let next = lines(&one).next;
                assert!(!next.is_empty(), "{kind:?}");
                let first = &one.paths[0];
                for node in next.lines().filter_map(|line| line.strip_prefix("on ")?.split_once(": ")) {
                    let known = [&*first.source, &first.path.probe.target.name, "n1", "n2"];
                    assert!(known.contains(&node.0), "{kind:?}: {next}");
                }
            }
        }
    }
    let large = Incident { kind: IncidentKind::Mtu, ..found };
    let mut large = Incident { nodes: vec!["n2".to_owned()], ..large };
    large.losses.too_large = Some(1401);
    let shown = lines(&large).next;
    assert!(shown.contains(": ping -c 3 -M do -s 1373 10.0.0.1\non n2: ip -d link"), "{shown}");
}

#[test]
fn some_paths_may_be_dead_and_others_lossy() {
    let mut found = on_n2(Stage::NetfilterInput, "NETFILTER_DROP", "");
    found.losses.dead = 3;
    let shown = lines(&found).broken;
    assert!(shown.ends_with("(ICMP, UDP, TCP; 3 of 24 paths; the others lose probes)"), "{shown}");
    (found.losses.dead, found.verdict) = (0, Verdict::Degraded);
    (found.losses.lost, found.losses.answered) = (28, 72);
    assert!(lines(&found).broken.starts_with("n1, n3, n4 lose 28 % of probes to n2"));
    (found.losses.lost, found.losses.answered) = (1, 999);
    assert!(lines(&found).broken.starts_with("n1, n3, n4 lose less than 1 % of probes to n2"));
}

#[test]
fn of_a_dns_cache_its_own_node_is_asked() {
    let found = incident(&world().breaks(|fact| touches(fact, "n2"), |_| timeout()));
    let mut found = Incident { kind: IncidentKind::DnsServer, ..found };
    let mut path = (*found.paths[0].path).clone();
    let of = Target {
        kind: TargetKind::DnsServer,
        namespace: "node-local".to_owned(),
        name: "169.254.20.10".to_owned(),
        ..(*path.probe.target).clone()
    };
    (path.probe.target, path.probe.port) = (Arc::new(of), 53);
    let source = found.paths[0].source.to_string();
    found.paths[0].path = Arc::new(path);
    assert_eq!(lines(&found).next, format!("on {source}: ss -lnup sport = :53"));
}
