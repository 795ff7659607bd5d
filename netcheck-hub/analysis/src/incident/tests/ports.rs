//! Paths that lose the packets of some source ports.

use netcheck_common::domain::ProbeKind;

use super::world::{World, dropped, timeout, to, touches, wire};
use super::{SIX, kinds};
use crate::incident::{Fact, IncidentTracker, Symptom};
use crate::model::incident::IncidentKind;
use crate::model::location::{Certainty, Direction};
use crate::model::ports::PortLosses;
use crate::model::target::TargetKind;
use crate::model::verdict::Verdict;

fn udp(fact: &Fact) -> bool {
    fact.path.probe.kind == ProbeKind::Udp
}

fn found() -> PortLosses {
    PortLosses { ports: 8, lost: vec![(61_007, 8, 8)], others: (56, 0) }
}

/// The UDP paths that are selected lose one port each: of them nothing else is reported. All others are fine.
fn world(broken: impl Fn(&Fact) -> bool, symptom: impl Fn(&Fact) -> Symptom) -> World {
    let mut world = World::plain(&SIX);
    let fine: Vec<Fact> = world
        .facts
        .iter()
        .filter(|fact| udp(fact) && !broken(fact))
        .map(|fact| Fact { by_port: true, ..fact.clone() })
        .collect();
    for fact in world.facts.iter_mut().filter(|fact| udp(fact) && broken(fact)) {
        fact.by_port = true;
        fact.verdict = Verdict::Degraded;
        fact.symptom = Some(Symptom { by_port: Some(found()), ..symptom(fact) });
    }
    world.facts.extend(fine);
    world
}

#[test]
fn a_dead_way_between_two_nodes_is_a_cause_of_its_own() {
    let broken = |fact: &Fact| *fact.source == *"n1" && to(fact) == "n3";
    let causes = world(broken, |_| wire("n1", "n3", Direction::Request)).explain();
    assert_eq!(kinds(&causes), [("ports/from/n1/node/n3", IncidentKind::SourcePorts, 2)]);
    assert_eq!(
        causes[0].headline,
        "UDP packets from n1 to n3 are lost from some source ports: 1 of 8 source ports loses everything, the others \
         nothing, as when one of several parallel ways is dead: request lost on the wire between n1 and n3 [inferred]"
    );
    assert!(!causes[0].unreachable);
}

#[test]
fn a_place_that_drops_some_ports_is_proven_and_another_fault_is_another_cause() {
    let mut world = world(|fact| to(fact) == "n2", |_| dropped("n2", Direction::Request));
    let pods = |fact: &Fact| to(fact) == "n5" && fact.path.probe.target.kind == TargetKind::Pod;
    world = world.breaks(pods, |_| timeout());
    let mut found: Vec<_> = world.explain().iter().map(|cause| (cause.kind, cause.certainty)).collect();
    found.sort_unstable();
    let expected =
        [(IncidentKind::PodNetwork, Certainty::Inferred), (IncidentKind::SourcePorts, Certainty::Observed)];
    assert_eq!(found, expected);
}

#[test]
fn losses_that_turn_out_to_be_those_of_a_port_are_the_same_incident() {
    let broken = |fact: &Fact| udp(fact) && touches(fact, "n1") && touches(fact, "n3");
    let mut early = World::plain(&SIX).breaks(broken, |_| wire("n1", "n3", Direction::Request));
    for fact in early.facts.iter_mut().filter(|fact| broken(fact)) {
        fact.verdict = Verdict::Degraded;
    }
    let later = world(broken, |_| wire("n1", "n3", Direction::Request));
    // One path is reported before the others.
    let mut between = later.clone();
    for fact in between.facts.iter_mut().filter(|fact| broken(fact) && *fact.source == *"n3") {
        fact.by_port = false;
    }
    let mut tracker = IncidentTracker::default();
    for (now_ns, world) in [&early, &early, &between, &between, &later, &later].into_iter().enumerate() {
        tracker.update(&world.explain(), &world.facts, now_ns as i64);
    }
    let open = tracker.open();
    assert_eq!((open.len(), tracker.closed().count()), (1, 0), "{open:?}");
    assert_eq!(open[0].kind, IncidentKind::SourcePorts);
    assert_eq!(open[0].paths.len(), 4);
}
