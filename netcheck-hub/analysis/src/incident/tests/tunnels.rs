//! Clusters whose pods' packets travel inside of others: what the nodes' own network loses, tunnels lose, too.

use netcheck_common::domain::{Family, ProbeKind};
use proptest::prelude::{Just, Strategy};
use proptest::{prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::world::{World, died, explained_over, timeout, to, touches};
use super::{SIX, kinds};
use crate::incident::{Explained, Fact, Symptom};
use crate::model::incident::IncidentKind;
use crate::model::location::{Direction, Stage};
use crate::model::target::TargetKind;

fn is(fact: &Fact, kind: TargetKind) -> bool {
    fact.path.probe.target.kind == kind
}

/// It goes to a pod, as itself or in a service's stead.
fn wrapped(fact: &Fact) -> bool {
    !is(fact, TargetKind::Node)
}

/// It leaves or enters the node. Services that others probe have backends elsewhere as well.
fn crosses(fact: &Fact, node: &str) -> bool {
    touches(fact, node) || (*fact.source == *node && to(fact).is_empty())
}

/// One family of the network between nodes is dead at a node.
fn without(family: Family, node: &str) -> Vec<Fact> {
    let outer = Family::V4;
    let dies = |fact: &Fact| {
        let on_wire = if wrapped(fact) { outer } else { fact.family() };
        crosses(fact, node) && on_wire == family
    };
    World::plain(&SIX).breaks(dies, |_| timeout()).facts
}

/// Nothing is wrapped or unwrapped at a node.
fn no_tunnel(node: &str) -> Vec<Fact> {
    World::plain(&SIX).breaks(|fact| crosses(fact, node) && wrapped(fact), |_| timeout()).facts
}

fn one(causes: &[Explained]) -> &Explained {
    assert_eq!(causes.len(), 1, "{:?}", kinds(causes));
    &causes[0]
}

#[test]
fn a_node_without_the_family_that_tunnels_run_over_is_one_cause() {
    let facts = without(Family::V4, "n2");
    let bad = facts.iter().filter(|fact| fact.bad()).count();
    let causes = explained_over(&facts, Family::V4);
    let cause = one(&causes);
    assert_eq!(kinds(&causes), [("node/n2 (IPv4 on the wire)", IncidentKind::Node, bad)]);
    assert_eq!(cause.headline, "IPv4 between n2 and other nodes is lost, with all that tunnels carry in it");
    assert!(cause.contradictions.is_empty(), "IPv6 between nodes is none");
    // The other family is that of nodes alone.
    let causes = explained_over(&without(Family::V6, "n2"), Family::V4);
    assert_eq!(kinds(&causes), [("node/n2 (IPv6 on the wire)", IncidentKind::Node, 30)]);
}

#[test]
fn a_node_that_wraps_nothing_is_one_cause_and_its_own_address_is_fine() {
    let facts = no_tunnel("n2");
    let bad = facts.iter().filter(|fact| fact.bad()).count();
    let causes = explained_over(&facts, Family::V4);
    let cause = one(&causes);
    assert_eq!(kinds(&causes), [("tunnel/n2", IncidentKind::PodNetwork, bad)]);
    let line = "nothing passes the tunnels of n2: between it and the pods of others";
    assert!(cause.headline.starts_with(line), "{}", cause.headline);
    // Only its pods, of which one is probed by its own node as well.
    let pods = World::plain(&SIX).breaks(|fact| is(fact, TargetKind::Pod) && to(fact) == "n2", |_| timeout());
    let causes = explained_over(&pods.facts, Family::V4);
    assert!(one(&causes).key.starts_with("pods/n2"), "{:?}", kinds(&causes));
}

#[test]
fn a_tunnel_that_leads_nowhere_from_one_node_to_another_is_no_matter_of_a_kind_of_probe() {
    let lost = |fact: &Fact| {
        let between = touches(fact, "n1") && touches(fact, "n2") && wrapped(fact);
        between && fact.path.probe.kind == ProbeKind::Icmp
    };
    let unheard = |fact: &Fact| {
        let half = if *fact.source == *"n1" { Direction::Request } else { Direction::Reply };
        died("n1", half, Stage::Neighbour, "NEIGH_FAILED", "neigh_invalidate")
    };
    let facts = World::plain(&SIX).breaks(lost, unheard).facts;
    // Pings between the nodes themselves are fine.
    let causes = explained_over(&facts, Family::V4);
    assert_eq!(kinds(&causes), [("tunnel/n1>n2", IncidentKind::OneWay, 4)]);
    assert!(causes[0].contradictions.is_empty());
}

#[test]
fn a_zone_without_the_family_that_tunnels_run_over_is_one_cause() {
    let apart = |fact: &Fact| {
        let zones = [&*fact.zone, fact.path.probe.target.zone.as_str()];
        zones == ["a", "b"] || zones == ["b", "a"]
    };
    let dies = |fact: &Fact| apart(fact) && (wrapped(fact) || fact.family() == Family::V4);
    let facts = World::plain(&SIX).breaks(dies, |_| timeout()).facts;
    let causes = explained_over(&facts, Family::V4);
    assert_eq!(one(&causes).key, "zones/a~b (IPv4 on the wire)");
}

#[test]
fn what_others_lose_on_the_way_to_a_backend_its_own_node_loses_elsewhere() {
    let service = |fact: &Fact| is(fact, TargetKind::Service);
    let met = |_: &Fact| Symptom {
        backend: Some("default/pod-n2".to_owned()),
        towards: Some("n2".to_owned()),
        ..timeout()
    };
    // The others' probes of the service are lost where they met the backend that is there.
    let world = World::plain(&SIX)
        .breaks(|fact| *fact.source != *"n2" && service(fact), met)
        .breaks(|fact| crosses(fact, "n2") && wrapped(fact), |_| timeout());
    let causes = explained_over(&world.facts, Family::V4);
    assert_eq!(one(&causes).key, "tunnel/n2");
}

#[test]
fn a_node_that_claims_the_address_of_another_is_one_cause_inside_of_tunnels_too() {
    let at_n3 = |reason, function| died("n3", Direction::Request, Stage::Routing, reason, function);
    let between = |fact: &Fact| {
        let on_wire = if wrapped(fact) { Family::V4 } else { fact.family() };
        touches(fact, "n2") && touches(fact, "n3") && on_wire == Family::V4
    };
    // What it sends to the other goes to itself; an echo of its own kernel answers for the node.
    let answered = |fact: &Fact| fact.path.probe.kind == ProbeKind::Icmp && is(fact, TargetKind::Node);
    let world = World::plain(&SIX)
        .breaks(
            |fact| between(fact) && *fact.source == *"n2",
            |_| at_n3("IP_LOCAL_SOURCE", "ip_rcv_finish_core"),
        )
        .breaks(
            |fact| between(fact) && *fact.source == *"n3" && !answered(fact),
            |fact| if wrapped(fact) { at_n3("NOT_SPECIFIED", "dst_discard") } else { timeout() },
        );
    let causes = explained_over(&world.facts, Family::V4);
    assert_eq!(one(&causes).key, "place/n3/routing/IP_LOCAL_SOURCE");
}

proptest! {
    /// Whichever family tunnels run over, and whatever names nodes have.
    #[test]
    fn what_dies_below_a_tunnel_is_one_cause_of_the_node(
        node in (1..=6usize).prop_map(|at| format!("n{at}")),
        family in prop_oneof![Just(Family::V4), Just(Family::V6)],
    ) {
        let causes = explained_over(&without(family, &node), Family::V4);
        prop_assert_eq!(causes.len(), 1, "{:?}", kinds(&causes));
        prop_assert!(causes[0].key.starts_with(&format!("node/{node} (")), "{}", causes[0].key);
        let causes = explained_over(&no_tunnel(&node), Family::V4);
        prop_assert_eq!(causes.len(), 1, "{:?}", kinds(&causes));
        prop_assert_eq!(&causes[0].key, &format!("tunnel/{node}"));
    }
}
