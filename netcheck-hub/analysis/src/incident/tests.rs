use std::collections::BTreeSet;

use super::*;
use crate::model::clock::SECOND_NS;

mod large;
mod networks;
mod ports;
mod services;
mod shared;
mod tunnels;
mod vantage;
pub(super) mod world;

use crate::model::incident::IncidentKind;
use crate::model::location::{Certainty, Direction, Location, Stage};
use crate::model::target::TargetKind;
use world::{World, dropped, timeout, to, touches, wire};

fn kinds(causes: &[Explained]) -> Vec<(&str, IncidentKind, usize)> {
    causes.iter().map(|cause| (cause.key.as_str(), cause.kind, cause.paths.len())).collect()
}

const SIX: [&str; 6] = ["a", "a", "a", "b", "b", "b"];

#[test]
fn nothing_wrong_is_no_incident_and_neither_is_what_nobody_measured() {
    let world = World::plain(&SIX);
    assert!(world.explain().is_empty());
    for verdict in [Verdict::NoData, Verdict::ExpectedAbsent] {
        assert!(world.clone().silent(|fact| touches(fact, "n2"), verdict).explain().is_empty());
    }
    let mut once = world;
    once.facts[0].verdict = Verdict::Degraded;
    once.facts[0].symptom = Some(Symptom { lost: 1, ..timeout() });
    assert!(once.explain().is_empty(), "one lost probe is noise");
}

#[test]
fn a_dead_node_of_a_hundred_is_one_incident() {
    let zones: Vec<&str> = (0..100).map(|at| ["a", "b", "c"][at % 3]).collect();
    let world = World::plain(&zones)
        .breaks(|fact| to(fact) == "n7", |_| timeout())
        .silent(|fact| *fact.source == *"n7", Verdict::NoData);
    let causes = world.explain();
    assert_eq!(kinds(&causes), [("node/n7", IncidentKind::Node, 99 * 8)]);
    assert_eq!(causes[0].headline, "n7 answers nobody");
    assert!(
        causes[0].evidence[0].starts_with("792 of 792 paths to n7 fail, 0 of "),
        "{:?}",
        causes[0].evidence
    );
    assert_eq!((causes[0].contradictions.len(), causes[0].certainty), (0, Certainty::Inferred));
}

#[test]
fn neighbours_that_do_not_find_a_dead_node_are_no_causes_of_their_own() {
    let symptom = |fact: &Fact| {
        let mut symptom = dropped(&fact.source, Direction::Request);
        let at = symptom.at.as_mut().unwrap();
        at.stage = Stage::Neighbour;
        at.reason = "NEIGH_FAILED".to_owned();
        symptom
    };
    let world = World::plain(&SIX)
        .breaks(|fact| to(fact) == "n2", symptom)
        .silent(|fact| *fact.source == *"n2", Verdict::NoData);
    assert_eq!(kinds(&world.explain()), [("node/n2", IncidentKind::Node, 40)]);
}

#[test]
fn zones_over_udp_only() {
    let between = |fact: &Fact| {
        let zone = &fact.path.probe.target.zone;
        !zone.is_empty() && *zone != *fact.zone && fact.path.probe.kind == ProbeKind::Udp
    };
    let causes = World::plain(&SIX).breaks(between, |_| timeout()).explain();
    assert_eq!(kinds(&causes), [("zones/a~b (UDP)", IncidentKind::Link, 36)]);
    assert_eq!(causes[0].headline, "nothing passes between zone a and zone b, UDP only");
    assert!(causes[0].evidence[0].starts_with("36 of 36 UDP paths between zones a and b fail, 0 of "));
    assert_eq!((causes[0].probe, causes[0].family), (Some(ProbeKind::Udp), None));
}

#[test]
fn one_direction_of_a_link() {
    let way = |fact: &Fact| {
        let direction = if *fact.source == *"n1" { Direction::Request } else { Direction::Reply };
        wire("n1", "n2", direction)
    };
    let between = |fact: &Fact| touches(fact, "n1") && touches(fact, "n2");
    let causes = World::plain(&SIX).breaks(between, way).explain();
    assert_eq!(kinds(&causes), [("link/n1>n2", IncidentKind::OneWay, 16)]);
    assert_eq!(causes[0].headline, "packets from n1 to n2 are lost, those back are not");
    let both = |_: &Fact| timeout();
    let causes = World::plain(&SIX).breaks(between, both).explain();
    assert_eq!(kinds(&causes), [("link/n1~n2", IncidentKind::Link, 16)]);
}

#[test]
fn one_backend_of_three_refuses() {
    let refused = |fact: &Fact| Symptom {
        // One source's probes are not known to have met anybody.
        backend: (*fact.source != *"n3").then(|| "default/web-2".to_owned()),
        outcome: Some(Outcome::Refused),
        summary: "refused by backend default/web-2".to_owned(),
        ..timeout()
    };
    let service = |fact: &Fact| fact.path.probe.target.kind == TargetKind::Service;
    let mut world = World::plain(&SIX).breaks(service, refused);
    for fact in world.facts.iter_mut().filter(|fact| service(fact)) {
        fact.verdict = Verdict::Degraded;
    }
    let causes = world.explain();
    assert_eq!(kinds(&causes), [("backend/default/web-2", IncidentKind::Backend, 12)]);
    assert_eq!(causes[0].headline, "default/web-2 refuses: it fails its share of service default/web:80");
    assert!(!causes[0].unreachable);

    let all =
        World::plain(&SIX).breaks(service, |_| Symptom { outcome: Some(Outcome::Refused), ..timeout() });
    assert_eq!(kinds(&all.explain()), [("target/service/default/web:80", IncidentKind::Service, 12)]);
}

#[test]
fn a_dns_server_that_answers_servfail() {
    let symptom = |_: &Fact| {
        let at = Location {
            node: "n3".to_owned(),
            stage: Stage::Application,
            reason: "SERVFAIL".to_owned(),
            certainty: Certainty::Observed,
            ..Default::default()
        };
        let summary = "SERVFAIL from pod default/dns-1".to_owned();
        Symptom { at: Some(at), summary, outcome: Some(Outcome::DnsError), ..timeout() }
    };
    let dns = |fact: &Fact| fact.path.probe.kind == ProbeKind::Dns;
    let causes = World::plain(&SIX).breaks(dns, symptom).explain();
    assert_eq!(kinds(&causes), [("target/dns/default/dns", IncidentKind::DnsServer, 12)]);
    assert_eq!(causes[0].headline, "DNS server default/dns answers everybody with SERVFAIL");
    assert_eq!(causes[0].certainty, Certainty::Observed);
}

#[test]
fn one_family_or_one_protocol_only() {
    let causes = World::plain(&SIX).breaks(|fact| fact.family() == Family::V6, |_| timeout()).explain();
    assert_eq!(causes.iter().map(|cause| cause.kind).collect::<Vec<_>>(), [IncidentKind::Family]);
    assert_eq!(causes[0].headline, "IPv6 fails everywhere");
    let causes =
        World::plain(&SIX).breaks(|fact| fact.path.probe.kind == ProbeKind::Udp, |_| timeout()).explain();
    assert_eq!(kinds(&causes), [("everywhere (UDP)", IncidentKind::Protocol, 60)]);
}

#[test]
fn the_pods_of_a_node_while_the_node_is_fine() {
    let pods = |fact: &Fact| to(fact) == "n2" && fact.path.probe.target.kind == TargetKind::Pod;
    let causes = World::plain(&SIX).breaks(pods, |_| timeout()).explain();
    assert_eq!(kinds(&causes), [("pods/n2", IncidentKind::PodNetwork, 12)]);
}

#[test]
fn an_observed_drop_explains_what_dies_there_and_outranks_counting() {
    let symptom = |fact: &Fact| {
        let direction = if *fact.source == *"n2" { Direction::Reply } else { Direction::Request };
        // Not every path has its place yet.
        if *fact.source == *"n5" { timeout() } else { dropped("n2", direction) }
    };
    let udp = |fact: &Fact| touches(fact, "n2") && fact.path.probe.kind == ProbeKind::Udp;
    let causes = World::plain(&SIX).breaks(udp, symptom).explain();
    assert_eq!(causes.len(), 1, "{:?}", kinds(&causes));
    assert_eq!((causes[0].kind, causes[0].paths.len()), (IncidentKind::Place, 20));
    assert_eq!(causes[0].certainty, Certainty::Observed);
    assert!(
        causes[0].headline.contains("dropped at n2, interface eth0, netfilter input"),
        "{}",
        causes[0].headline
    );
    assert!(causes[0].evidence.iter().any(|line| line.starts_with("2 of 20 paths have no place")));
}

#[test]
fn two_independent_causes_are_two_incidents() {
    let dns = |fact: &Fact| fact.path.probe.kind == ProbeKind::Dns && *fact.source != *"n7";
    let dead = |fact: &Fact| touches(fact, "n2");
    let causes = World::plain(&SIX).breaks(dead, |_| timeout()).breaks(dns, |_| timeout()).explain();
    let found: BTreeSet<IncidentKind> = causes.iter().map(|cause| cause.kind).collect();
    assert_eq!(found, BTreeSet::from([IncidentKind::Node, IncidentKind::DnsServer]), "{:?}", kinds(&causes));
    assert_eq!(causes[0].headline, "n2 answers nobody and reaches nobody");
}

#[test]
fn incidents_open_after_two_evaluations_stay_themselves_and_close_after_five() {
    let fine = World::plain(&SIX);
    let part = fine.clone().breaks(|fact| to(fact) == "n2" && *fact.source == *"n1", |_| timeout());
    let dead = fine.clone().breaks(|fact| touches(fact, "n2"), |_| timeout());
    let mut tracker = IncidentTracker::default();
    let mut now_ns = 0;
    let mut see = |world: &World| {
        now_ns += SECOND_NS;
        tracker.update(&world.explain(), &world.facts, now_ns);
        (tracker.open(), tracker.closed().count())
    };
    assert!(see(&part).0.is_empty(), "once is not enough");
    assert!(see(&fine).0.is_empty());
    assert!(see(&part).0.is_empty(), "the count starts anew");
    let opened = see(&part).0;
    assert_eq!(opened.len(), 1);
    // More symptoms of the same: another reading, the same incident.
    let grown = see(&dead).0;
    assert_eq!(grown.len(), 1);
    assert_eq!((&grown[0].id, grown[0].kind), (&opened[0].id, IncidentKind::Node));
    assert_eq!(grown[0].opened_ns, opened[0].opened_ns);
    for _ in 1..tracker::CLOSE_AFTER {
        assert_eq!(see(&fine).0.len(), 1, "not closed at once");
    }
    let (open, closed) = see(&fine);
    assert_eq!((open.len(), closed), (0, 1));
    // The same cause again is a new incident.
    see(&dead);
    let again = see(&dead).0;
    assert_ne!(again[0].id, opened[0].id);
}

#[test]
fn no_incident_opens_while_all_its_evidence_is_on_its_way() {
    let fine = World::plain(&SIX);
    let of = |waiting| move |_: &Fact| Symptom { waiting, ..timeout() };
    let young = fine.clone().breaks(|fact| touches(fact, "n2"), of(true));
    let old = fine.breaks(|fact| touches(fact, "n2"), of(false));
    let mut tracker = IncidentTracker::default();
    for (now_ns, (world, expected)) in
        [(&young, 0), (&young, 0), (&young, 0), (&old, 0), (&old, 1), (&young, 1)].into_iter().enumerate()
    {
        tracker.update(&world.explain(), &world.facts, now_ns as i64);
        assert_eq!(tracker.open().len(), expected, "evaluation {now_ns}");
    }
}

#[test]
fn a_node_whose_uplink_is_down_is_one_incident_seen_from_both_sides() {
    let symptom = |fact: &Fact| {
        if *fact.source != *"n2" {
            return wire(&fact.source, "n2", Direction::Request);
        }
        let mut symptom = dropped("n2", Direction::Request);
        let at = symptom.at.as_mut().unwrap();
        at.stage = Stage::Routing;
        at.reason = "ENETUNREACH".to_owned();
        symptom.summary = crate::words::location::place(at);
        symptom
    };
    let causes = World::plain(&SIX).breaks(|fact| touches(fact, "n2"), symptom).explain();
    assert_eq!((causes.len(), causes[0].paths.len()), (1, 84), "{:?}", kinds(&causes));
    assert_eq!(causes[0].certainty, Certainty::Observed);
    assert!(causes[0].headline.contains("at n2, interface eth0, routing"), "{}", causes[0].headline);
}

#[test]
fn many_paths_with_nothing_in_common_are_one_scattered_incident_and_the_work_is_bounded() {
    let zones: Vec<&str> = (0..40).map(|at| ["a", "b", "c"][at % 3]).collect();
    let some = |fact: &Fact| {
        let mixed = u64::from(fact.path.id.0) * 31 + fact.source.bytes().map(u64::from).sum::<u64>() * 17;
        mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 59 == 0
    };
    let causes = World::plain(&zones).breaks(some, |_| timeout()).explain();
    let scattered = |cause: &&Explained| cause.kind == IncidentKind::Scattered;
    assert_eq!(causes.iter().filter(scattered).count(), 1, "{:?}", kinds(&causes));
    assert!(causes.len() <= cover::CAUSES + 1);
}

#[test]
fn a_rule_is_one_cause_for_all_interfaces_and_a_queue_is_not() {
    let through = |stage: Stage| {
        move |fact: &Fact| {
            let mut symptom = dropped("n2", Direction::Request);
            let at = symptom.at.as_mut().unwrap();
            at.stage = stage;
            at.interface = if *fact.source == *"n1" { "eth0" } else { "flannel.1" }.to_owned();
            symptom.summary = crate::words::location::place(at);
            symptom
        }
    };
    let to_n2 = |fact: &Fact| to(fact) == "n2";
    let rule = World::plain(&SIX).breaks(to_n2, through(Stage::NetfilterForward)).explain();
    assert_eq!(kinds(&rule), [("place/n2/netfilter_forward/NETFILTER_DROP", IncidentKind::Place, 42)]);
    let pods = |fact: &Fact| to_n2(fact) && fact.path.probe.target.kind == TargetKind::Pod;
    let queue = World::plain(&SIX).breaks(pods, through(Stage::Qdisc)).explain();
    let keys: BTreeSet<&str> = queue.iter().map(|cause| cause.key.as_str()).collect();
    assert_eq!(
        keys,
        BTreeSet::from(["place/n2/eth0/qdisc/NETFILTER_DROP", "place/n2/flannel.1/qdisc/NETFILTER_DROP"])
    );
}

#[test]
fn a_dead_route_is_one_cause_whatever_it_is_called_and_wherever_its_victims_were_seen_last() {
    let symptom = |fact: &Fact| {
        let mut symptom = dropped("n3", Direction::Reply);
        let at = symptom.at.as_mut().unwrap();
        match (fact.path.probe.target.kind, fact.path.probe.kind) {
            // Its own senders; what it passes on; what nobody reported.
            (TargetKind::Node, ProbeKind::Udp) => {
                at.stage = Stage::Routing;
                at.reason = "EINVAL".to_owned();
            }
            (TargetKind::Node, ProbeKind::Icmp) => {
                at.stage = Stage::Routing;
                at.reason = "IP_OUTNOROUTES".to_owned();
            }
            (TargetKind::Node, _) => {
                at.stage = Stage::Send;
                at.reason = "EHOSTUNREACH".to_owned();
            }
            _ => {
                at.stage = Stage::Ingress;
                at.certainty = Certainty::Inferred;
                at.reason.clear();
            }
        }
        symptom.summary = crate::words::location::place(at);
        symptom
    };
    let between = |fact: &Fact| touches(fact, "n1") && touches(fact, "n3");
    let causes = World::plain(&SIX).breaks(between, symptom).explain();
    assert_eq!(kinds(&causes), [("place/n3/routing/no route", IncidentKind::Place, 16)]);
    assert_eq!(causes[0].certainty, Certainty::Observed);
}

#[test]
fn a_backend_whose_address_nobody_has_is_the_cause_and_not_the_bridge_that_asked_for_it() {
    let unanswered = |_: &Fact| {
        let mut symptom = dropped("n1", Direction::Request);
        let at = symptom.at.as_mut().unwrap();
        at.stage = Stage::Neighbour;
        at.reason = "NEIGH_FAILED".to_owned();
        symptom.summary = crate::words::location::place(at);
        symptom.backend = Some("default/web-n1".to_owned());
        symptom.towards = Some("n1".to_owned());
        symptom
    };
    let service = |fact: &Fact| fact.path.probe.target.kind == TargetKind::Service;
    let causes = World::plain(&SIX).breaks(service, unanswered).explain();
    assert_eq!(kinds(&causes), [("backend/default/web-n1", IncidentKind::Backend, 12)]);
}

#[test]
fn a_service_that_nobody_is_behind_is_one_incident_wherever_it_is_refused() {
    let refused = |fact: &Fact| {
        let mut symptom = dropped(&fact.source, Direction::Request);
        symptom.at.as_mut().unwrap().stage = Stage::NetfilterOutput;
        symptom.outcome = Some(Outcome::Refused);
        symptom
    };
    let service = |fact: &Fact| fact.path.probe.target.kind == TargetKind::Service;
    let mut world = World::plain(&SIX).breaks(service, refused);
    for fact in world.facts.iter_mut().filter(|fact| service(fact)) {
        let mut path = (*fact.path).clone();
        let mut target = (*path.probe.target).clone();
        target.unbacked = Some("service default/web has no ready endpoints".to_owned());
        path.probe.target = Arc::new(target);
        fact.path = Arc::new(path);
    }
    let causes = world.explain();
    assert_eq!(kinds(&causes), [("target/service/default/web:80", IncidentKind::Service, 12)]);
    assert_eq!(causes[0].headline, "service default/web has no ready endpoints");
}
