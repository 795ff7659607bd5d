//! One cause at several places: wires, rules, loops, routes, trackers.

use std::collections::BTreeSet;

use netcheck_common::domain::{Family, ProbeKind};

use super::world::{World, died, dropped, timeout, to, touches, wire};
use super::{SIX, kinds};
use crate::incident::properties::{no_route, round, to_pods_of};
use crate::incident::{Fact, Symptom, tracker};
use crate::model::incident::IncidentKind;
use crate::model::location::{Certainty, Direction, Stage};
use crate::model::reason::ROUTING_LOOP;
use crate::model::target::TargetKind;
use crate::model::verdict::Verdict;

fn bare(fact: &Fact) -> bool {
    fact.path.probe.target.kind == TargetKind::Node
}

fn v6(fact: &Fact) -> bool {
    fact.family() == Family::V6
}

fn service(fact: &Fact) -> bool {
    fact.path.probe.target.kind == TargetKind::Service
}

/// What the node sends is lost on its wire.
fn from_wire(node: &str) -> impl Fn(&Fact) -> Symptom {
    move |fact| {
        if *fact.source == *node {
            wire(node, to(fact), Direction::Request)
        } else {
            wire(node, &fact.source, Direction::Reply)
        }
    }
}

#[test]
fn a_cable_that_loses_one_family_is_one_cause_though_tunnels_over_the_other_pass() {
    let cut = |fact: &Fact| touches(fact, "n2") && bare(fact) && v6(fact);
    let world = World::plain(&SIX).breaks(cut, from_wire("n2"));
    let causes = world.explain();
    assert_eq!(kinds(&causes), [("cable/n2 (IPv6)", IncidentKind::Node, 30)]);
    let begin = "packets from n2 are lost on the wire there, IPv6 only: ";
    assert!(causes[0].headline.starts_with(begin), "{}", causes[0].headline);
    assert!(causes[0].contradictions.is_empty(), "tunnels are no contradiction");
    assert!(causes[0].evidence[0].starts_with("30 of 30 IPv6 paths over the wire at n2 fail, 0 of "));
    // A service whose backend nobody of the cluster is: it left, and that is all.
    let outside = |fact: &Fact| *fact.source == *"n2" && service(fact) && v6(fact);
    let causes = world.breaks(outside, |_| timeout()).explain();
    assert_eq!(kinds(&causes), [("cable/n2 (IPv6)", IncidentKind::Node, 31)]);
}

#[test]
fn a_rule_explains_nothing_that_was_lost_on_a_wire_to_its_node() {
    let ping = |fact: &Fact, from: &str| {
        *fact.source == *from && to(fact) == "n2" && bare(fact) && fact.path.probe.kind == ProbeKind::Icmp
    };
    let ruled = World::plain(&SIX).breaks(|fact| ping(fact, "n3"), |_| dropped("n2", Direction::Request));
    let both = ruled.clone().breaks(|fact| ping(fact, "n1"), |_| wire("n1", "n2", Direction::Request));
    let rule = ("place/n2/netfilter_input/NETFILTER_DROP", IncidentKind::Place, 2);
    assert_eq!(kinds(&both.explain()), [rule, ("from/n1/node/n2 (ICMP)", IncidentKind::Target, 2)]);
    // Of what nobody saw, it is the likeliest cause there is.
    let unseen = ruled.breaks(|fact| ping(fact, "n1"), |_| timeout());
    assert_eq!(kinds(&unseen.explain()), [(rule.0, rule.1, 4)]);
}

#[test]
fn a_cable_that_loses_some_is_one_cause_and_one_path_of_it_opens_nothing_at_once() {
    let some = |fact: &Fact| {
        let hit = ["n1", "n5"].iter().any(|other| touches(fact, other));
        touches(fact, "n2") && hit && bare(fact) && v6(fact) && fact.path.probe.kind == ProbeKind::Icmp
    };
    let degraded = |mut world: World| {
        for fact in world.facts.iter_mut().filter(|fact| fact.symptom.is_some()) {
            fact.verdict = Verdict::Degraded;
        }
        world
    };
    let world = degraded(World::plain(&SIX).breaks(some, from_wire("n2")));
    assert_eq!(kinds(&world.explain()), [("cable/n2 (IPv6)", IncidentKind::Node, 4)]);
    let one = |fact: &Fact| some(fact) && *fact.source == *"n2" && to(fact) == "n1";
    let lone = degraded(World::plain(&SIX).breaks(one, from_wire("n2")));
    let mut tracker = tracker::IncidentTracker::default();
    for now_ns in 0..4 {
        tracker.update(&lone.explain(), &lone.facts, now_ns);
    }
    assert!(tracker.open().is_empty(), "by chance, it is one path after the other");
    tracker.update(&world.explain(), &world.facts, 4);
    assert_eq!(tracker.open().len(), 1);
}

#[test]
fn two_dead_links_of_a_node_are_not_its_cable() {
    let dead = |fact: &Fact| touches(fact, "n2") && (touches(fact, "n1") || touches(fact, "n5"));
    let causes = World::plain(&SIX).breaks(dead, from_wire("n2")).explain();
    let keys: BTreeSet<&str> = causes.iter().map(|cause| cause.key.as_str()).collect();
    assert_eq!(keys, BTreeSet::from(["link/n2>n1", "link/n2>n5"]));
}

fn between(fact: &Fact, a: &str, b: &str) -> bool {
    let zones = [&*fact.zone, fact.path.probe.target.zone.as_str()];
    zones == [a, b] || zones == [b, a]
}

fn prerouting(node: &str) -> Symptom {
    died(node, Direction::Request, Stage::NetfilterPrerouting, "NETFILTER_DROP", "nft_do_chain")
}

#[test]
fn the_same_rule_on_every_node_between_two_zones_is_one_link_that_is_proven() {
    let zones = ["a", "a", "b", "b", "c"];
    let apart = |fact: &Fact| between(fact, "a", "b");
    let world = World::plain(&zones).breaks(apart, |fact| prerouting(to(fact)));
    let causes = world.explain();
    assert_eq!(kinds(&causes), [("zones/a~b", IncidentKind::Link, 64)]);
    assert_eq!(causes[0].certainty, Certainty::Observed);
    assert!(causes[0].evidence.iter().any(|line| line.contains(", netfilter prerouting")));
    // A service whose backends are all beyond is hurt as well, whichever of them it was.
    let served = |fact: &Fact| *fact.zone == *"a" && service(fact);
    let beyond = |fact: &Fact| Symptom {
        towards_zone: "b".to_owned(),
        ..prerouting(if v6(fact) { "n3" } else { "n4" })
    };
    let causes = world.clone().breaks(served, beyond).explain();
    assert_eq!(kinds(&causes), [("zones/a~b", IncidentKind::Link, 68)]);
    // What one of these nodes drops of others too is not only between these zones.
    let more = |fact: &Fact| *fact.zone == *"c" && to(fact) == "n1";
    let causes = world.breaks(more, |fact| prerouting(to(fact))).explain();
    assert!(causes.iter().all(|cause| cause.kind == IncidentKind::Place), "{:?}", kinds(&causes));
}

#[test]
fn a_rule_for_udp_between_zones_takes_dns_with_it() {
    let zones = ["a", "a", "b", "b"];
    let udp = |fact: &Fact| {
        between(fact, "a", "b") && fact.path.probe.kind == ProbeKind::Udp
            || *fact.zone == *"a" && fact.path.probe.kind == ProbeKind::Dns
    };
    let symptom = |fact: &Fact| match to(fact) {
        "" => Symptom { towards: Some("n4".to_owned()), towards_zone: "b".to_owned(), ..prerouting("n4") },
        node => prerouting(node),
    };
    let causes = World::plain(&zones).breaks(udp, symptom).explain();
    assert_eq!(kinds(&causes), [("zones/a~b (UDP)", IncidentKind::Link, 20)]);
    // The same where nobody knows to which server the questions went: they died of the same rule.
    let anywhere = |fact: &Fact| if to(fact).is_empty() { prerouting("n4") } else { prerouting(to(fact)) };
    let causes = World::plain(&zones).breaks(udp, anywhere).explain();
    assert_eq!(kinds(&causes), [("zones/a~b (UDP)", IncidentKind::Link, 20)]);
    // What went to yet another zone died there of something that is not between these two.
    let zones = ["a", "a", "b", "b", "c"];
    let third = |fact: &Fact| match to(fact) {
        "" => Symptom { towards_zone: "c".to_owned(), ..prerouting("n4") },
        node => prerouting(node),
    };
    let causes = World::plain(&zones).breaks(udp, third).explain();
    assert!(causes.iter().all(|cause| cause.kind == IncidentKind::Place), "{:?}", kinds(&causes));
    // And so did what came from there.
    let from_third = |fact: &Fact| {
        between(fact, "a", "b") && fact.path.probe.kind == ProbeKind::Udp
            || *fact.zone == *"c" && fact.path.probe.kind == ProbeKind::Dns
    };
    let causes = World::plain(&zones).breaks(from_third, anywhere).explain();
    assert!(causes.iter().all(|cause| cause.kind == IncidentKind::Place), "{:?}", kinds(&causes));
}

#[test]
fn one_node_that_drops_what_comes_from_a_zone_is_a_place() {
    let apart = |fact: &Fact| between(fact, "a", "b") && to(fact) == "n3";
    let causes = World::plain(&["a", "a", "b", "b"]).breaks(apart, |_| prerouting("n3")).explain();
    assert_eq!(kinds(&causes), [("place/n3/netfilter_prerouting/NETFILTER_DROP", IncidentKind::Place, 16)]);
}

#[test]
fn what_comes_round_is_one_cause_wherever_it_died() {
    let causes = round(World::plain(&SIX), "n1", "n2", "n3").explain();
    assert_eq!(kinds(&causes), [("loop/n3", IncidentKind::PodNetwork, 4)]);
    assert_eq!(causes[0].certainty, Certainty::Observed);
    let begin = "packets on their way to n3 go round in a circle, seen on n1, n2: ";
    assert!(causes[0].headline.starts_with(begin), "{}", causes[0].headline);
    // What a third node alone says of a reply is of that loop, too.
    let replies = |fact: &Fact| *fact.source == *"n3" && to(fact) == "n2" && !bare(fact) && !service(fact);
    let reply = |_: &Fact| {
        let mut symptom = died("n1", Direction::Reply, Stage::Routing, "IP_INHDR", "ip_forward");
        symptom.at.as_mut().unwrap().certainty = Certainty::Inferred;
        symptom
    };
    let also = round(World::plain(&SIX), "n1", "n2", "n3").breaks(replies, reply).explain();
    assert_eq!(also.len(), 1, "{:?}", kinds(&also));
    let alone = World::plain(&SIX).breaks(replies, reply).explain();
    assert!(alone.iter().all(|cause| !cause.key.starts_with("loop/")), "{:?}", kinds(&alone));
    // A host's own packets are not those of its pods.
    let hosts = |fact: &Fact| *fact.source == *"n1" && to(fact) == "n3" && bare(fact);
    let symptom = |_: &Fact| died("n2", Direction::Request, Stage::Routing, "IP_INHDR", "ip_forward");
    let causes = World::plain(&SIX).breaks(hosts, symptom).explain();
    assert_eq!(kinds(&causes), [("loop/n3", IncidentKind::Node, 6)]);
    // Where no kernel reports that it gave one up, their sender's hooks still see them come back.
    let back = |fact: &Fact| {
        let mut symptom = died(&fact.source, Direction::Request, Stage::Routing, ROUTING_LOOP, "");
        symptom.at.as_mut().unwrap().certainty = Certainty::Inferred;
        symptom
    };
    let causes = World::plain(&SIX).breaks(hosts, back).explain();
    assert_eq!(kinds(&causes), [("loop/n3", IncidentKind::Node, 6)]);
    assert_eq!(causes[0].certainty, Certainty::Inferred);
}

#[test]
fn what_a_policy_refuses_is_one_cause_with_what_finds_no_way_into_its_tunnel() {
    let request = Direction::Request;
    let both = |fact: &Fact| *fact.source == *"n1" && to(fact) == "n2";
    let symptom = |fact: &Fact| match bare(fact) {
        true => died("n1", request, Stage::Send, "EPERM", ""),
        false => died("n1", request, Stage::Routing, "IP_OUTNOROUTES", "vxlan_xmit_one"),
    };
    let causes = World::plain(&SIX).breaks(both, symptom).explain();
    assert_eq!(causes.len(), 1, "{:?}", kinds(&causes));
    assert_eq!(causes[0].kind, IncidentKind::Place);
    // A rule towards another node is another cause.
    let elsewhere = |fact: &Fact| *fact.source == *"n1" && to(fact) == "n4" && bare(fact);
    let refused = |_: &Fact| died("n1", request, Stage::Send, "EPERM", "");
    let causes = World::plain(&SIX).breaks(both, symptom).breaks(elsewhere, refused).explain();
    assert_eq!(causes.len(), 2, "{:?}", kinds(&causes));
}

#[test]
fn a_service_that_fails_at_pods_that_are_cut_off_is_no_incident_of_its_own() {
    let pods = |fact: &Fact| to_pods_of(fact, "n2");
    let met = |_: &Fact| Symptom { backend: Some("default/pod-n2".to_owned()), ..timeout() };
    let causes = World::plain(&SIX).breaks(pods, |_| timeout()).breaks(service, met).explain();
    assert_eq!(causes.len(), 1, "{:?}", kinds(&causes));
    assert_eq!(causes[0].key, "pods/n2");
}

#[test]
fn a_time_to_live_that_ends_at_its_destination_is_no_loop() {
    let to_pods = |fact: &Fact| *fact.source == *"n1" && to(fact) == "n2" && !bare(fact);
    let symptom = |_: &Fact| died("n2", Direction::Request, Stage::Routing, "IP_INHDR", "ip_forward");
    let causes = World::plain(&SIX).breaks(to_pods, symptom).explain();
    assert_eq!(causes.len(), 1, "{:?}", kinds(&causes));
    assert_eq!(causes[0].kind, IncidentKind::Place);
    assert!(!causes[0].headline.contains("circle"), "{}", causes[0].headline);
}

#[test]
fn whose_packets_all_end_at_their_destinations_sends_them_with_too_short_a_life() {
    let v6 = |fact: &Fact| fact.family() == Family::V6;
    let sent =
        |fact: &Fact| *fact.source == *"n3" && to(fact) != "n3" && !bare(fact) && !service(fact) && v6(fact);
    let dns = |fact: &Fact| fact.path.probe.kind == ProbeKind::Dns;
    let symptom = |fact: &Fact| died(to(fact), Direction::Request, Stage::Routing, "IP_INHDR", "ip6_forward");
    let causes = World::plain(&SIX).breaks(|fact| sent(fact) && !dns(fact), symptom).explain();
    assert_eq!(causes.len(), 1, "{:?}", kinds(&causes));
    assert_eq!(causes[0].kind, IncidentKind::Node);
    assert!(causes[0].headline.contains("n3"), "{}", causes[0].headline);
    assert_eq!(causes[0].certainty, Certainty::Observed);
}

#[test]
fn whose_address_another_node_has_sends_nothing_in_a_circle() {
    let between = |fact: &Fact| *fact.source == *"n1" && to(fact) == "n3" && bare(fact);
    let symptom =
        |_: &Fact| died("n3", Direction::Request, Stage::Routing, "IP_LOCAL_SOURCE", "ip_rcv_finish_core");
    let causes = World::plain(&SIX).breaks(between, symptom).explain();
    assert_eq!(causes.len(), 1, "{:?}", kinds(&causes));
    assert_eq!(causes[0].kind, IncidentKind::Place);
}

#[test]
fn a_route_that_leads_nowhere_takes_what_cannot_be_translated_with_it() {
    let causes = no_route(World::plain(&SIX), "n1", "n2").explain();
    assert_eq!(kinds(&causes), [("place/n1/routing/no route", IncidentKind::Place, 4)]);
    // For other backends it is another thing.
    let other = |fact: &Fact| *fact.source == *"n1" && service(fact);
    let elsewhere = |_: &Fact| Symptom {
        towards: Some("n5".to_owned()),
        ..died("n1", Direction::Request, Stage::NetfilterOutput, "NETFILTER_DROP", "nf_hook_slow")
    };
    let causes = no_route(World::plain(&SIX), "n1", "n2").breaks(other, elsewhere).explain();
    assert_eq!(causes.len(), 2, "{:?}", kinds(&causes));
}

#[test]
fn a_route_is_known_by_the_function_that_it_hands_its_packets_to() {
    let pod = |fact: &Fact| fact.path.probe.target.kind == TargetKind::Pod && to(fact) == "n2";
    let symptom = |fact: &Fact| match (*fact.source == *"n1", v6(fact)) {
        (true, _) => died("n2", Direction::Request, Stage::Routing, "EINVAL", ""),
        (_, false) => died("n2", Direction::Request, Stage::Routing, "NOT_SPECIFIED", "ip_error"),
        (_, true) => died("n2", Direction::Request, Stage::Routing, "NOT_SPECIFIED", "dst_discard_out"),
    };
    let causes = World::plain(&SIX).breaks(pod, symptom).explain();
    assert_eq!(kinds(&causes), [("place/n2/routing/no route", IncidentKind::Place, 12)]);
}

#[test]
fn what_tracks_connections_is_one_cause_at_all_stages_and_rules_are_one_each() {
    let world = |function: &'static str| {
        let symptom = move |fact: &Fact| {
            let own = *fact.source == *"n2";
            let stage = if own { Stage::NetfilterOutput } else { Stage::NetfilterPrerouting };
            died("n2", Direction::Request, stage, "NETFILTER_DROP", function)
        };
        let tcp = |fact: &Fact| touches(fact, "n2") && fact.path.probe.kind == ProbeKind::Tcp;
        World::plain(&SIX).breaks(tcp, symptom)
    };
    let causes = world("nf_hook_slow").explain();
    assert_eq!(kinds(&causes), [("place/n2/netfilter/NETFILTER_DROP", IncidentKind::Place, 22)]);
    let rules = world("nft_do_chain").explain();
    assert!(rules.iter().all(|cause| cause.key != causes[0].key), "{:?}", kinds(&rules));
}

#[test]
fn a_backend_that_is_silent_behind_an_open_way_is_to_blame_and_not_the_way() {
    let silent = |_: &Fact| {
        let mut symptom = dropped("n1", Direction::Unknown);
        let at = symptom.at.as_mut().unwrap();
        at.stage = Stage::Egress;
        at.certainty = Certainty::Inferred;
        at.reason.clear();
        (at.interface, at.pod) = ("vethpod".to_owned(), "default/pod-n1".to_owned());
        symptom.summary = crate::words::location::place(at);
        Symptom { towards: Some("n1".to_owned()), backend: Some("default/pod-n1".to_owned()), ..symptom }
    };
    let causes = World::plain(&SIX).breaks(service, silent).explain();
    assert_eq!(kinds(&causes), [("backend/default/pod-n1", IncidentKind::Backend, 12)]);
    // Where nothing gets through to the pod, it is the way.
    let all =
        |fact: &Fact| service(fact) || (fact.path.probe.target.kind == TargetKind::Pod && to(fact) == "n1");
    let causes = World::plain(&SIX).breaks(all, silent).explain();
    assert_eq!(kinds(&causes), [("place/n1/vethpod/egress", IncidentKind::Place, 24)]);
}

#[test]
fn an_incident_that_another_comes_to_explain_is_one_with_it() {
    let degraded = |fact: &Fact| to(fact) == "n2" && *fact.source == *"n1";
    let first = World::plain(&SIX)
        .breaks(degraded, |_| Symptom { lost_ns: Some((1, 2)), ..prerouting("n2") })
        .breaks(|fact| to(fact) == "n5" && *fact.source == *"n4", |_| prerouting("n5"));
    let apart = |fact: &Fact| touches(fact, "n1") || touches(fact, "n4");
    let second = World::plain(&SIX).breaks(apart, |fact| prerouting(to(fact)));
    let mut tracker = tracker::IncidentTracker::default();
    for (now_ns, world) in [&first, &first, &first].into_iter().enumerate() {
        tracker.update(&world.explain(), &world.facts, now_ns as i64);
    }
    let before = tracker.open();
    assert_eq!(before.len(), 2, "two places");
    // All that was known of both is explained by one cause now.
    let mut causes = second.explain();
    let mut one = causes.swap_remove(0);
    one.key = "another".to_owned();
    one.paths = (0..second.facts.len()).filter(|&at| second.facts[at].bad()).collect();
    for now_ns in 3..6 {
        tracker.update(std::slice::from_ref(&one), &second.facts, now_ns);
    }
    let open = tracker.open();
    assert_eq!(open.len(), 1);
    let closed: Vec<_> = tracker.closed().collect();
    assert_eq!(closed.len(), 1);
    assert_eq!(closed[0].merged_into.as_ref(), Some(&open[0].id));
    assert!(closed[0].closed_ns.is_some());
    assert!(before.iter().any(|incident| incident.id == open[0].id), "it goes on");
    let least = before.iter().filter_map(|incident| incident.first_ns).min();
    assert_eq!(open[0].first_ns, least);
}
