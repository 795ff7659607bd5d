//! Secondary networks of pods: each is explained for itself. And several addresses of one node.

use netcheck_common::domain::PathId;

use super::world::{World, died, dropped, timeout, to, touches, wire};
use super::{SIX, kinds};
use crate::incident::{Explained, Fact};
use crate::model::incident::IncidentKind;
use crate::model::location::{Direction, Stage};
use crate::model::target::TargetKind;
use crate::model::verdict::Verdict;

const NETWORK: &str = "default/storage";

fn world() -> World {
    World::plain(&SIX).with_vantages().with_network(NETWORK).with_network("default/db")
}

fn on(fact: &Fact) -> bool {
    fact.network() == Some(NETWORK)
}

fn own(fact: &Fact) -> bool {
    fact.network().is_none()
}

fn all_of(world: &World, which: impl Fn(&Fact) -> bool) -> usize {
    world.facts.iter().filter(|fact| which(fact)).count()
}

fn headlines(causes: &[Explained]) -> Vec<&str> {
    causes.iter().map(|cause| cause.headline.as_str()).collect()
}

#[test]
fn a_network_that_fails_at_a_node_is_one_incident_that_names_both() {
    let at_n2 = |fact: &Fact| on(fact) && touches(fact, "n2");
    let whole =
        |fact: &Fact| on(fact) && (touches(fact, "n2") || (*fact.source == *"n2" && to(fact) == "n2"));
    // Its way out, and its bridge: what stays inside of the node passes, or does not.
    for (name, which) in [("way out", &at_n2 as &dyn Fn(&Fact) -> bool), ("bridge", &whole)] {
        let world = world();
        let paths = all_of(&world, which);
        let causes = world.breaks(which, |_| timeout()).explain();
        assert_eq!(causes.len(), 1, "{name}: {:?}", headlines(&causes));
        let cause = &causes[0];
        assert!(cause.headline.starts_with("network default/storage at n2: "), "{name}: {}", cause.headline);
        assert!(cause.key.starts_with("network/default/storage/"), "{}", cause.key);
        assert_eq!((cause.kind, cause.paths.len()), (IncidentKind::PodNetwork, paths), "{name}");
        assert!(cause.contradictions.is_empty(), "{name}: what is well elsewhere says nothing of it");
    }
}

#[test]
fn between_two_nodes_and_everywhere() {
    let link = |fact: &Fact| on(fact) && touches(fact, "n1") && touches(fact, "n2");
    let causes = world().breaks(link, |_| timeout()).explain();
    assert_eq!(headlines(&causes), ["network default/storage: nothing passes between n1 and n2"]);
    assert_eq!(causes[0].kind, IncidentKind::Link);
    let causes = world().breaks(on, |_| timeout()).explain();
    assert_eq!(headlines(&causes), ["network default/storage: every kind of probe fails everywhere"]);
    assert_eq!(causes[0].kind, IncidentKind::PodNetwork);
    // Of two nodes neither is more to blame.
    let two = World::plain(&["a"; 2]).with_vantages().with_network(NETWORK);
    let causes = two.breaks(|fact| on(fact) && *fact.source != *to(fact), |_| timeout()).explain();
    assert_eq!(headlines(&causes), ["network default/storage: nothing passes between n1 and n2"]);
}

#[test]
fn the_clusters_own_network_fails_alone() {
    let pods = |fact: &Fact| own(fact) && to(fact) == "n2" && fact.path.probe.target.kind == TargetKind::Pod;
    let alone = World::plain(&SIX).with_vantages().breaks(pods, |_| timeout()).explain();
    let beside = world().breaks(pods, |_| timeout()).explain();
    assert_eq!(kinds(&alone), kinds(&beside));
    assert_eq!(headlines(&alone), headlines(&beside));
    assert_eq!(alone[0].evidence, beside[0].evidence);
    let both =
        world().breaks(pods, |_| timeout()).breaks(|fact| on(fact) && touches(fact, "n5"), |_| timeout());
    let causes = both.explain();
    assert_eq!(causes.len(), 2, "{:?}", headlines(&causes));
}

#[test]
fn a_dead_node_is_one_incident_on_all_networks() {
    let dead = world().breaks(|fact| touches(fact, "n2"), |_| timeout());
    let paths = all_of(&dead, |fact| touches(fact, "n2"));
    let dead = dead.silent(|fact| *fact.source == *"n2", Verdict::NoData);
    let silent = all_of(&dead, |fact| touches(fact, "n2") && *fact.source == *"n2");
    let causes = dead.explain();
    assert_eq!(kinds(&causes), [("node/n2", IncidentKind::Node, paths - silent)]);
    assert!(causes[0].evidence.iter().any(|line| line.starts_with("also network default/storage")));
}

#[test]
fn what_a_kernel_reports_at_one_place_is_one_incident_on_all_networks() {
    let to_n2 = |fact: &Fact| to(fact) == "n2" && fact.path.probe.target.kind == TargetKind::Pod;
    let place = |_: &Fact| dropped("n2", Direction::Request);
    let causes = world().breaks(to_n2, place).explain();
    assert_eq!(causes.len(), 1, "{:?}", headlines(&causes));
    assert_eq!(causes[0].key, "place/n2/netfilter_input/NETFILTER_DROP");
    // Where it is on the one network alone, its name is.
    let causes = world().breaks(|fact| on(fact) && to_n2(fact), place).explain();
    assert_eq!(causes.len(), 1, "{:?}", headlines(&causes));
    assert_eq!(causes[0].key, "network/default/storage/place/n2/netfilter_input/NETFILTER_DROP");
    assert!(causes[0].headline.starts_with("network default/storage at n2: "), "{}", causes[0].headline);
}

#[test]
fn what_differs_by_where_it_was_seen_is_still_one_incident() {
    let at_n2 = |fact: &Fact| on(fact) && touches(fact, "n2");
    let symptom = |fact: &Fact| match (*fact.source == *"n2", fact.path.id.0 % 3) {
        // Out of its own pods it reaches nothing that would take it; to them, it never arrives.
        (true, 0) => timeout(),
        (true, _) => died("n2", Direction::Request, Stage::Ingress, "NO_TX_TARGET", "br_flood"),
        (false, 0) => died(&fact.source, Direction::Request, Stage::Neighbour, "NEIGH_FAILED", "f"),
        (false, _) => wire(&fact.source, "n2", Direction::Request),
    };
    let causes = world().breaks(at_n2, symptom).explain();
    assert!(
        causes.iter().all(|cause| cause.headline.starts_with("network default/storage at n2: ")),
        "{:?}",
        headlines(&causes)
    );
}

#[test]
fn one_of_several_addresses_of_a_node_is_named() {
    let mut world = World::plain(&SIX);
    for fact in &mut world.facts {
        let mut path = (*fact.path).clone();
        if path.probe.target.kind != TargetKind::Node {
            continue;
        }
        let mut target = (*path.probe.target).clone();
        target.addresses = ["10.0.0.1", "10.9.0.1", "fd00::1"].map(|address| address.parse().unwrap()).into();
        path.probe.target = std::sync::Arc::new(target);
        fact.path = std::sync::Arc::new(path);
    }
    let second: Vec<Fact> = world
        .facts
        .iter()
        .filter(|fact| fact.path.probe.target.kind == TargetKind::Node && fact.path.probe.address.is_ipv4())
        .map(|fact| {
            let mut path = (*fact.path).clone();
            (path.probe.address, path.id) = ("10.9.0.1".parse().unwrap(), PathId(path.id.0 + 50_000));
            Fact { path: std::sync::Arc::new(path), ..fact.clone() }
        })
        .collect();
    world.facts.extend(second);
    let dead = |fact: &Fact| to(fact) == "n2" && fact.path.probe.address.to_string() == "10.9.0.1";
    let causes = world.breaks(dead, |_| timeout()).explain();
    assert_eq!(headlines(&causes), ["n2 at 10.9.0.1 answers nobody: it is silent"]);
    assert_eq!(causes[0].key, "target/node/n2 at 10.9.0.1");
}
