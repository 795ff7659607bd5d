//! Paths that lose only large packets.

use netcheck_common::domain::ProbeKind;

use super::world::{World, dropped, to, touches, wire};
use super::{SIX, kinds};
use crate::incident::{Fact, Symptom};
use crate::model::incident::IncidentKind;
use crate::model::location::{Certainty, Direction};

fn tried(fact: &Fact) -> bool {
    matches!(fact.path.probe.kind, ProbeKind::Icmp | ProbeKind::Udp)
}

/// Every ICMP and UDP path is also tried with large packets, and all is well.
fn world() -> World {
    let mut world = World::plain(&SIX);
    let large: Vec<Fact> = world
        .facts
        .iter()
        .filter(|fact| tried(fact))
        .map(|fact| Fact { large: true, ..fact.clone() })
        .collect();
    world.facts.extend(large);
    world
}

fn oversize(symptom: Symptom) -> Symptom {
    Symptom { oversize: Some((1400, 1401)), ..symptom }
}

#[test]
fn large_packets_have_causes_of_their_own() {
    assert!(world().explain().is_empty());
    let broken = |fact: &Fact| fact.large && touches(fact, "n2");
    let causes =
        world().breaks(broken, |fact| oversize(wire(&fact.source, to(fact), Direction::Request))).explain();
    let paths = world().facts.iter().filter(|fact| broken(fact)).count();
    assert_eq!(kinds(&causes), [("mtu/node/n2", IncidentKind::Mtu, paths)]);
    assert!(
        causes[0]
            .headline
            .starts_with("packets above 1400 bytes to and from n2 are lost, smaller ones pass: "),
        "{}",
        causes[0].headline
    );
    assert!(
        causes[0].contradictions.is_empty(),
        "small packets and those without sizes say nothing against it"
    );
}

#[test]
fn a_place_that_drops_large_packets_is_proven_and_another_fault_is_another_cause() {
    let symptom = |fact: &Fact| {
        if fact.large { oversize(dropped("n2", Direction::Request)) } else { dropped("n5", Direction::Reply) }
    };
    let causes = world()
        .breaks(|fact| if fact.large { to(fact) == "n2" } else { to(fact) == "n5" && tried(fact) }, symptom)
        .explain();
    let mut found: Vec<_> = causes.iter().map(|cause| (cause.kind, cause.certainty)).collect();
    found.sort_unstable();
    let observed = Certainty::Observed;
    assert_eq!(found, [(IncidentKind::Place, observed), (IncidentKind::Mtu, observed)]);
}
