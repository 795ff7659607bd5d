//! What holds whatever breaks.

use std::collections::BTreeSet;

use proptest::prelude::{Just, Strategy, any, prop};
use proptest::test_runner::Config;
use proptest::{prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::tests::world::{World, died, dropped, explained, timeout, to, touches, wire};
use super::*;
use crate::model::incident::IncidentKind;
use crate::model::location::{Direction, Stage};
use crate::model::target::TargetKind;

const ZONES: [&str; 5] = ["a", "a", "b", "b", "c"];

/// Something that breaks.
#[derive(Clone, Debug)]
enum Fault {
    Node(usize),
    Link(usize, usize),
    /// The cable, for IPv6 outside of tunnels.
    Cable(usize),
    /// A rule on every node between zones a and b.
    Rules,
    Udp,
    Some(Vec<bool>),
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        (0..5usize).prop_map(Fault::Node),
        (0..5usize, 0..5usize).prop_map(|(a, b)| Fault::Link(a, b)),
        (0..5usize).prop_map(Fault::Cable),
        Just(Fault::Rules),
        Just(Fault::Udp),
        prop::collection::vec(prop::bool::weighted(0.1), 256).prop_map(Fault::Some),
    ]
}

fn world(faults: &[Fault], name: impl Fn(usize) -> String) -> World {
    let mut world = World::new(&ZONES, &name);
    for fault in faults {
        world = match fault {
            Fault::Node(at) => world.breaks(|fact| touches(fact, &name(*at)), |_| timeout()),
            Fault::Link(a, b) => {
                let both = |fact: &Fact| touches(fact, &name(*a)) && touches(fact, &name(*b));
                world.breaks(|fact| a != b && both(fact), |_| timeout())
            }
            Fault::Cable(at) => cut(world, &name(*at)),
            Fault::Rules => world.breaks(zones_apart, rule),
            Fault::Udp => world.breaks(|fact| fact.path.probe.kind == ProbeKind::Udp, |_| timeout()),
            Fault::Some(which) => {
                for (fact, _) in world.facts.iter_mut().zip(which).filter(|(_, bad)| **bad) {
                    (fact.verdict, fact.symptom) = (Verdict::Unreachable, Some(timeout()));
                }
                world
            }
        };
    }
    world
}

/// Nothing that a node sends over IPv6 outside of tunnels arrives.
fn cut(world: World, node: &str) -> World {
    let bare = |fact: &Fact| {
        let host = fact.path.probe.target.kind == TargetKind::Node;
        touches(fact, node) && host && fact.family() == Family::V6
    };
    world.breaks(bare, |fact| {
        if *fact.source == *node {
            wire(node, to(fact), Direction::Request)
        } else {
            wire(node, &fact.source, Direction::Reply)
        }
    })
}

fn zones_apart(fact: &Fact) -> bool {
    let zones = [&*fact.zone, fact.path.probe.target.zone.as_str()];
    zones == ["a", "b"] || zones == ["b", "a"]
}

/// The kernel of the destination drops it.
fn rule(fact: &Fact) -> Symptom {
    dropped(to(fact), Direction::Request)
}

fn names(at: usize) -> String {
    format!("n{at}")
}

/// The same nodes, in another order of names.
fn others(at: usize) -> String {
    format!("worker-{}", ["x", "c", "q", "a", "m"][at])
}

/// What is found but for names: kinds and numbers of paths.
fn shape(facts: &[Fact]) -> Vec<(IncidentKind, usize, usize, bool)> {
    let mut shape: Vec<_> = explained(facts)
        .iter()
        .map(|cause| (cause.kind, cause.paths.len(), cause.contradictions.len(), cause.unreachable))
        .collect();
    shape.sort();
    shape
}

proptest! {
    #![proptest_config(Config::with_cases(96))]

    #[test]
    fn every_bad_path_is_explained_and_no_other(faults in prop::collection::vec(fault(), 0..4)) {
        let world = world(&faults, names);
        let bad: BTreeSet<usize> = (0..world.facts.len()).filter(|&at| world.facts[at].bad()).collect();
        let explained: BTreeSet<usize> =
            explained(&world.facts).into_iter().flat_map(|cause| cause.paths).collect();
        prop_assert_eq!(bad, explained);
    }

    #[test]
    fn a_healthy_path_never_opens_an_incident(
        faults in prop::collection::vec(fault(), 0..4),
        healed in any::<prop::sample::Index>(),
    ) {
        // A path that was not judged before turns out to be fine.
        let mut world = world(&faults, names);
        let at = healed.index(world.facts.len());
        (world.facts[at].verdict, world.facts[at].symptom) = (Verdict::NoData, None);
        let mut tracker = IncidentTracker::default();
        let causes = explained(&world.facts);
        for now_ns in 0..3 {
            tracker.update(&causes, &world.facts, now_ns);
        }
        let before: BTreeSet<String> = tracker.open().into_iter().map(|incident| incident.id).collect();
        world.facts[at].verdict = Verdict::Reachable;
        let causes = explained(&world.facts);
        for now_ns in 3..20 {
            tracker.update(&causes, &world.facts, now_ns);
        }
        for incident in tracker.open() {
            prop_assert!(before.contains(&incident.id), "{:?}", incident.headline);
        }
    }

    #[test]
    fn names_change_nothing_but_names(faults in prop::collection::vec(fault(), 0..4)) {
        prop_assert_eq!(shape(&world(&faults, names).facts), shape(&world(&faults, others).facts));
    }

    #[test]
    fn order_changes_nothing(faults in prop::collection::vec(fault(), 0..4), seed in any::<u64>()) {
        let world = world(&faults, names);
        let mut shuffled = world.facts.clone();
        shuffled.sort_by_key(|fact| {
            let mixed = u64::from(fact.path.id.0) ^ (u64::from(fact.source.as_bytes()[1]) << 8);
            (mixed ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31)
        });
        let described = |facts: &[Fact]| {
            let causes = explained(facts);
            let all: Vec<_> = causes.into_iter().map(|cause| (cause.key, cause.headline, cause.paths.len())).collect();
            all
        };
        prop_assert_eq!(described(&world.facts), described(&shuffled));
    }

    /// Of what one cause breaks some paths are known to fail, the others are not measured yet; then more are known.
    #[test]
    fn more_symptoms_of_one_cause_are_still_one_incident(
        cause in single(),
        first in prop::collection::vec(prop::bool::weighted(0.5), 256),
        more in prop::collection::vec(prop::bool::weighted(0.5), 256),
    ) {
        let stage = |known: &dyn Fn(usize) -> bool| {
            let mut world = cause.world();
            for (at, fact) in world.facts.iter_mut().enumerate() {
                if fact.bad() && !known(at) {
                    (fact.verdict, fact.symptom) = (Verdict::NoData, None);
                }
            }
            world
        };
        let small = stage(&|at| first[at % 256]);
        let large = stage(&|at| first[at % 256] || more[at % 256]);
        let mut tracker = IncidentTracker::default();
        let mut ids = BTreeSet::new();
        for (now_ns, world) in [&small, &small, &large, &large, &large].into_iter().enumerate() {
            tracker.update(&explained(&world.facts), &world.facts, now_ns as i64);
            ids.extend(tracker.open().into_iter().map(|incident| incident.id));
        }
        let headlines = tracker.open().iter().map(|one| one.headline.clone()).collect::<Vec<_>>();
        prop_assert!(ids.len() <= 1, "{headlines:?}");
        prop_assert!(explained(&small.facts).len() <= 1);
        prop_assert!(explained(&large.facts).len() <= 1);
    }
}

/// One cause, and how what it breaks looks.
#[derive(Clone, Copy, Debug)]
enum Single {
    /// Nobody is answered.
    DeadNode,
    /// Requests to a node die in its filter, and its replies.
    Filter,
    /// Nothing passes between two nodes.
    Link,
    /// One protocol between two zones.
    Zones,
    /// The same rule on all nodes of two zones.
    Rules,
    /// What a node sends over IPv6 outside of tunnels.
    Cable,
    /// What is for the pods of a node comes round between two others.
    Loop,
    /// A node's full table of connections.
    Tracker,
    /// A node has no route to the pods of another.
    DeadRoute,
    /// All pods of a node.
    Pods,
    /// A backend that every source meets.
    Backend,
}

fn single() -> impl Strategy<Value = Single> {
    use Single::{Backend, Cable, DeadNode, DeadRoute, Filter, Link, Loop, Pods, Rules, Tracker, Zones};
    prop::sample::select(vec![
        DeadNode, Filter, Link, Zones, Rules, Cable, Loop, Tracker, DeadRoute, Pods, Backend,
    ])
}

impl Single {
    fn world(self) -> World {
        let world = World::new(&ZONES, names);
        match self {
            Self::DeadNode => world
                .breaks(|fact| touches(fact, "n2") && to(fact) == "n2", |_| timeout())
                .silent(|fact| *fact.source == *"n2", Verdict::NoData),
            Self::Filter => world.breaks(
                |fact| touches(fact, "n2"),
                |fact| {
                    let request = to(fact) == "n2";
                    dropped("n2", if request { Direction::Request } else { Direction::Reply })
                },
            ),
            Self::Link => world.breaks(|fact| touches(fact, "n0") && touches(fact, "n2"), |_| timeout()),
            Self::Zones => world
                .breaks(|fact| zones_apart(fact) && fact.path.probe.kind == ProbeKind::Udp, |_| timeout()),
            Self::Rules => world.breaks(zones_apart, rule),
            Self::Cable => cut(world, "n2"),
            Self::Loop => round(world, "n0", "n1", "n2"),
            Self::Tracker => world.breaks(
                |fact| touches(fact, "n2"),
                |fact| {
                    let own = *fact.source == *"n2";
                    let stage = if own { Stage::NetfilterOutput } else { Stage::NetfilterPrerouting };
                    died("n2", Direction::Request, stage, "NETFILTER_DROP", "nf_hook_slow")
                },
            ),
            // Each family has routes of its own.
            Self::DeadRoute => no_route(world, "n0", "n2")
                .silent(|fact| fact.bad() && fact.family() == Family::V6, Verdict::Reachable),
            Self::Pods => {
                let pods = |fact: &Fact| fact.path.probe.target.kind == TargetKind::Pod && to(fact) == "n2";
                world.breaks(pods, |_| timeout())
            }
            Self::Backend => {
                let service = |fact: &Fact| fact.path.probe.target.kind == TargetKind::Service;
                world.breaks(service, |_| Symptom { backend: Some("default/web-1".to_owned()), ..timeout() })
            }
        }
    }
}

pub(super) fn to_pods_of(fact: &Fact, node: &str) -> bool {
    fact.path.probe.target.kind == TargetKind::Pod && to(fact) == node
}

/// Two nodes send what is for the pods of another to each other.
pub(super) fn round(world: World, a: &str, b: &str, pods: &str) -> World {
    let request = Direction::Request;
    world.breaks(
        |fact| to_pods_of(fact, pods) && (*fact.source == *a || *fact.source == *b),
        |fact| match fact.family() {
            Family::V4 => {
                died(&fact.source, request, Stage::Routing, "IP_LOCAL_SOURCE", "ip_rcv_finish_core")
            }
            Family::V6 => died(a, request, Stage::Routing, "IP_INHDR", "ip6_forward"),
        },
    )
}

/// The senders of a node learn that there is no route to another's pods; to a service, only a drop shows it.
pub(super) fn no_route(world: World, node: &str, pods: &str) -> World {
    let request = Direction::Request;
    let service = |fact: &Fact| fact.path.probe.target.kind == TargetKind::Service;
    world.breaks(
        |fact| *fact.source == *node && (to_pods_of(fact, pods) || service(fact)),
        |fact| match service(fact) {
            false => died(node, request, Stage::Routing, "EINVAL", ""),
            true => Symptom {
                towards: Some(pods.to_owned()),
                ..died(node, request, Stage::NetfilterOutput, "NETFILTER_DROP", "nf_hook_slow")
            },
        },
    )
}

/// What breaks on a secondary network of pods between some nodes.
fn on_network(world: World, pairs: &[(usize, usize)]) -> World {
    let hit = |fact: &Fact| {
        let between = |a: &str, b: &str| touches(fact, a) && touches(fact, b);
        fact.network().is_some() && pairs.iter().any(|&(a, b)| a != b && between(&names(a), &names(b)))
    };
    world.breaks(hit, |_| timeout())
}

fn described(facts: &[Fact], of_network: bool) -> Vec<(String, String, Vec<String>, usize)> {
    let causes = explained(facts).into_iter().filter(|cause| cause.key.starts_with("network/") == of_network);
    causes.map(|cause| (cause.key, cause.headline, cause.evidence, cause.contradictions.len())).collect()
}

proptest! {
    #![proptest_config(Config::with_cases(48))]

    /// Whatever is well or broken on one network, what is said of the other stays the same.
    #[test]
    fn networks_say_nothing_of_each_other(
        faults in prop::collection::vec(fault(), 0..3),
        pairs in prop::collection::vec((0..5usize, 0..5usize), 0..4),
    ) {
        let own = World::new(&ZONES, names);
        let secondary = own.clone().with_network("a/b");
        let broken = on_network(secondary.clone(), &pairs);
        // Alone: the secondary network's facts without the others, and the others without them.
        let only_further: Vec<Fact> =
            broken.facts.iter().filter(|fact| fact.network().is_some()).cloned().collect();
        prop_assert_eq!(described(&broken.facts, true), described(&only_further, true));
        prop_assert!(described(&broken.facts, false).is_empty());
        let impaired = world(&faults, names).facts;
        let mut beside = impaired.clone();
        beside.extend(secondary.facts.iter().filter(|fact| fact.network().is_some()).cloned());
        prop_assert_eq!(described(&impaired, false), described(&beside, false));
        prop_assert!(described(&beside, true).is_empty());
    }

    #[test]
    fn every_bad_path_of_every_network_is_explained_once(
        faults in prop::collection::vec(fault(), 0..3),
        pairs in prop::collection::vec((0..5usize, 0..5usize), 0..4),
    ) {
        let mut facts = world(&faults, names).facts;
        let secondary = on_network(World::new(&ZONES, names).with_network("a/b"), &pairs);
        facts.extend(secondary.facts.into_iter().filter(|fact| fact.network().is_some()));
        let bad: Vec<usize> = (0..facts.len()).filter(|&at| facts[at].bad()).collect();
        let mut explained: Vec<usize> = explained(&facts).into_iter().flat_map(|cause| cause.paths).collect();
        explained.sort_unstable();
        explained.dedup();
        prop_assert_eq!(bad, explained);
    }
}
