use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use netcheck_common::domain::ProbeKind;
use proptest::prelude::*;

use super::*;
use crate::model::target::TargetKind;
use crate::plan::{Probe, Prober, Sources, Target};

const SECOND: i64 = 1_000_000_000;

fn target(kind: TargetKind, name: String, zone: String) -> Arc<Target> {
    Arc::new(Target {
        id: format!("{kind:?}/{name}").into(),
        kind,
        node: name.clone(),
        name,
        zone,
        ..Target::default()
    })
}

fn nodes(count: usize, zones: usize) -> impl Iterator<Item = Arc<Target>> {
    (0..count).map(move |at| target(TargetKind::Node, format!("n{at}"), format!("z{}", at % zones)))
}

fn pods(numbers: impl IntoIterator<Item = u16>) -> impl Iterator<Item = Arc<Target>> {
    numbers.into_iter().map(|at| target(TargetKind::Pod, format!("p{at}"), "z0".to_owned()))
}

/// Three probes of each node, one of each other target.
fn catalog(targets: impl Iterator<Item = Arc<Target>>) -> Catalog {
    let mut probes = Vec::new();
    for target in targets {
        let kinds: &[_] = match target.kind {
            TargetKind::Node => &[ProbeKind::Icmp, ProbeKind::Udp, ProbeKind::Tcp],
            _ => &[ProbeKind::Tcp],
        };
        for &kind in kinds {
            let address = [10, 0, 0, 1].into();
            probes.push(Probe {
                target: Arc::clone(&target),
                kind,
                address,
                port: 0,
                question: None,
                sources: Sources::All,
                exchange: None,
            });
        }
    }
    let mut catalog = Catalog { probes, ..Catalog::default() };
    catalog.sort();
    catalog.grouped(&Catalog::default())
}

/// Nodes in zones, and services.
fn cluster(count: usize, zones: usize, services: usize) -> Catalog {
    let services = (0..services).map(|at| target(TargetKind::Service, format!("s{at}"), String::new()));
    catalog(nodes(count, zones).chain(services))
}

fn share(node: &str, catalog: &Catalog, rotation: &Rotation) -> NodeAssignment {
    NodeAssignment::of(Prober::new(catalog, node.into(), &[[10, 0, 0, 1].into()], None), catalog, rotation)
}

/// A node over time.
struct Node<'a> {
    share: NodeAssignment,
    catalog: &'a Catalog,
    rotation: Rotation,
    turns: Option<RotationSlot>,
}

impl<'a> Node<'a> {
    fn new(node: &str, catalog: &'a Catalog, rotation: Rotation) -> Self {
        Self { share: share(node, catalog, &rotation), catalog, rotation, turns: None }
    }

    fn choose(&mut self, keep: &[u32], now_ns: i64) -> PathSelection {
        let keep = keep.iter().copied();
        let choice = self.rotation.choose(&self.share, self.catalog, self.turns.as_ref(), keep, now_ns);
        self.turns = choice.turns;
        choice
    }

    fn paths(&self, choice: &PathSelection) -> usize {
        self.share.wanted(self.catalog, &choice.picks).len()
    }

    fn target(&self, group: u32) -> &'a Arc<Target> {
        &self.catalog.probes[self.catalog.groups.places(group).start as usize].target
    }

    fn names(&self, choice: &PathSelection) -> BTreeSet<String> {
        choice.picks.iter().map(|&group| self.target(group).name.clone()).collect()
    }
}

fn rotation(paths_per_node: usize) -> Rotation {
    Rotation { paths_per_node, cover: Duration::from_secs(600), interval: Duration::from_secs(1) }
}

#[test]
fn no_more_than_the_hub_holds() {
    let asked = rotation(1000);
    for (held, nodes, expected) in [
        (None, 1000, 1000),
        (Some(1_000_000), 1000, 1000),
        (Some(350_000), 1000, 350),
        (Some(350_000), 3, 1000),
        (Some(350_000), 0, 1000),
        (Some(0), 5000, FEWEST_PATHS),
    ] {
        assert_eq!(asked.within(held, nodes).paths_per_node, expected, "{held:?} for {nodes}");
    }
    assert_eq!(rotation(16).within(Some(0), 5000).paths_per_node, 16, "never more than was asked for");
}

#[test]
fn what_fits_is_probed_all_the_time() {
    let catalog = cluster(10, 2, 5);
    let mut node = Node::new("n", &catalog, rotation(35));
    let choice = node.choose(&[], 0);
    assert_eq!(choice, PathSelection { picks: (0..15).collect(), turns: None });
    assert_eq!(node.paths(&choice), 35);
}

#[test]
fn a_turn_is_as_long_as_the_time_to_cover_all_allows_but_never_short() {
    let catalog = cluster(1000, 3, 10);
    let turns = Node::new("n", &catalog, rotation(500)).choose(&[], 0).turns.unwrap();
    assert!(turns.cover() <= Duration::from_secs(600), "{turns:?}");
    assert!(turns.cover() > Duration::from_secs(590), "{turns:?}");
    let turns = Node::new("n", &catalog, rotation(30)).choose(&[], 0).turns.unwrap();
    assert_eq!(turns.length_ns, 10 * SECOND);
    assert!(turns.cover() > Duration::from_secs(600), "what can't be kept is not promised: {turns:?}");
}

#[test]
fn nodes_do_not_turn_in_step_nor_to_the_same_targets() {
    let catalog = cluster(400, 1, 0);
    let choices: Vec<PathSelection> =
        (0..20).map(|at| Node::new(&format!("n{at}"), &catalog, rotation(120)).choose(&[], 0)).collect();
    let ends: BTreeSet<i64> = choices.iter().filter_map(|choice| Some(choice.turns?.ends_ns)).collect();
    assert!(ends.len() > 15, "{ends:?}");
    let reached: BTreeSet<u32> = choices.into_iter().flat_map(|choice| choice.picks).collect();
    assert!(reached.len() > 300, "twenty nodes reach {} of 400 targets at a time", reached.len());
}

#[test]
fn a_turn_that_is_planned_late_does_not_shift_the_next() {
    let catalog = cluster(400, 1, 0);
    let mut node = Node::new("n", &catalog, rotation(120));
    let first = node.choose(&[], 0).turns.unwrap();
    let second = node.choose(&[], first.ends_ns + SECOND).turns.unwrap();
    assert_eq!(second.ends_ns, first.ends_ns + second.length_ns);
    assert_eq!(second.cursor.from, first.cursor.to);
    // A hub that slept goes on where it was, with a whole turn.
    let woken_ns = second.ends_ns + 10 * second.length_ns;
    let third = node.choose(&[], woken_ns).turns.unwrap();
    assert_eq!(third.cursor.from, second.cursor.to);
    assert!(third.ends_ns >= woken_ns + 10 * SECOND);
}

proptest! {
    #[test]
    fn every_path_has_its_turn_in_the_time_promised(
        count in 1usize..200, zones in 1usize..5, services in 0usize..40, most in 24usize..200,
        start in 0i64..10_000, bad in prop::collection::btree_set(0u32..200, 0..12),
    ) {
        let catalog = cluster(count, zones, services);
        let bad: Vec<u32> = bad.into_iter().filter(|&group| group < catalog.groups.len()).collect();
        let mut node = Node::new("n", &catalog, rotation(most));
        let mut now_ns = start * SECOND;
        let mut seen = BTreeSet::new();
        let turns = node.share.parts.as_ref().map_or(1, |parts| parts.turns);
        for _ in 0..turns {
            let choice = node.choose(&bad, now_ns);
            prop_assert!(node.paths(&choice) <= most, "{} of {most}", node.paths(&choice));
            prop_assert!(choice.picks.is_sorted_by(|a, b| a < b));
            // Every zone, always.
            let reached: BTreeSet<&str> =
                choice.picks.iter().map(|&group| node.target(group).zone.as_str()).collect();
            for zone in 0..zones.min(count).min(most / 6) {
                let name = format!("z{zone}");
                prop_assert!(reached.contains(name.as_str()), "{} is not covered", name);
            }
            if let Some(turns) = choice.turns {
                prop_assert!(turns.ends_ns >= now_ns + 10 * SECOND);
                prop_assert!(turns.ends_ns <= now_ns + turns.length_ns + 10 * SECOND);
                // Nothing changes before its end.
                let late = node.choose(&bad, turns.ends_ns - 1);
                prop_assert_eq!(&late, &choice);
                now_ns = turns.ends_ns;
            }
            seen.extend(choice.picks);
        }
        prop_assert_eq!(seen.len(), catalog.groups.len() as usize);
    }

    #[test]
    fn services_have_half_of_the_plan_at_most(services in 0usize..300, most in 24usize..200) {
        let catalog = cluster(200, 2, services);
        let mut node = Node::new("n", &catalog, rotation(most));
        let choice = node.choose(&[], 0);
        let always = node.share.parts.as_ref().map_or(&[][..], |parts| &parts.always);
        let paths = node.share.wanted(&catalog, always).len();
        prop_assert!(paths <= most / 2);
        // A node of each zone goes before them.
        prop_assert!(services + 6 <= paths || paths + 3 > most / 2, "{paths}");
        prop_assert!(always.iter().all(|group| choice.picks.contains(group)));
    }

    #[test]
    fn what_is_bad_stays_as_far_as_there_is_room(bad in 0u32..400, turn in 0i64..100) {
        let catalog = cluster(400, 2, 0);
        let now_ns = turn * 20 * SECOND;
        let mut node = Node::new("n", &catalog, rotation(120));
        let choice = node.choose(&[bad], now_ns);
        prop_assert!(choice.picks.contains(&bad));
        let everything: Vec<u32> = (0..catalog.groups.len()).collect();
        let all = node.choose(&everything, now_ns);
        prop_assert!(node.paths(&all) <= 120);
    }

    /// A target more or less leaves the order of all others as it is.
    #[test]
    fn the_order_of_two_targets_hangs_on_nothing_else(
        numbers in prop::collection::btree_set(0u16..500, 2..200), gone in any::<prop::sample::Index>(), from: u64,
    ) {
        let name = |catalog: &Catalog, group: u32| {
            catalog.probes[catalog.groups.places(group).start as usize].target.name.clone()
        };
        let walk = |numbers: &BTreeSet<u16>| -> Vec<String> {
            let catalog = catalog(pods(numbers.iter().copied()));
            let order = Order::of("n");
            catalog.groups.walk(&order, &[], from).map(|(_, group)| name(&catalog, group)).collect()
        };
        let all = walk(&numbers);
        prop_assert_eq!(all.len(), numbers.len());
        let mut fewer = numbers.clone();
        let gone = *numbers.iter().nth(gone.index(numbers.len())).unwrap();
        fewer.remove(&gone);
        let rest: Vec<String> = all.into_iter().filter(|name| *name != format!("p{gone}")).collect();
        prop_assert_eq!(walk(&fewer), rest);
    }

    /// The cursor goes around once, in order, from wherever it is; what only some nodes probe is among the others.
    #[test]
    fn a_walk_meets_everything_once(
        numbers in prop::collection::btree_set(0u16..500, 0..200), from: u64, node_specific in prop::collection::vec(any::<bool>(), 200),
    ) {
        let whole = catalog(pods(numbers.iter().copied()));
        let mut probes = whole.probes.clone();
        for (probe, node_specific) in probes.iter_mut().zip(node_specific) {
            if node_specific {
                probe.sources = ["n".to_owned()].into_iter().collect();
            }
        }
        let mixed = Catalog { probes, ..Catalog::default() }.grouped(&Catalog::default());
        let order = Order::of("n");
        let walk: Vec<(u64, u32)> = mixed.groups.walk(&order, mixed.groups.node_specific("n"), from).collect();
        prop_assert!(walk.is_sorted());
        let other: Vec<(u64, u32)> = whole.groups.walk(&order, &[], from).collect();
        prop_assert_eq!(walk, other);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// What is promised while pods come and go, at any moment of a turn: each node has a whole turn before the cursor has been
    /// around all that there ever was.
    #[test]
    fn who_was_there_all_the_time_has_a_whole_turn_while_others_come_and_go(
        count in 40usize..120,
        steps in prop::collection::vec((prop::collection::btree_set(1u16..200, 0..100), 0i64..9), 1..40),
        start in 0i64..1000,
    ) {
        // A pod that stays is the one of its zone, or waits as all others.
        let catalogs: Vec<Catalog> = steps
            .iter()
            .map(|(numbers, _)| catalog(nodes(count, 2).chain(pods([0].into_iter().chain(numbers.iter().copied())))))
            .collect();
        let all: BTreeSet<u16> = steps.iter().flat_map(|(numbers, _)| numbers.iter().copied()).chain([0]).collect();
        let union = catalog(nodes(count, 2).chain(pods(all)));
        let rotation = rotation(60);
        let bound = share("n", &union, &rotation).parts.map_or(1, |parts| parts.turns);
        let mut now_ns = start * SECOND;
        let mut turns: Option<RotationSlot> = None;
        let mut waiting: BTreeSet<String> = (0..count).map(|at| format!("n{at}")).collect();
        let mut through: Option<BTreeSet<String>> = None;
        let mut ended = 0;
        for (catalog, (_, seconds)) in catalogs.iter().zip(&steps).cycle() {
            let mut node = Node { turns, ..Node::new("n", catalog, rotation) };
            let names = node.choose(&[], now_ns);
            let names = { turns = node.turns; node.names(&names) };
            // In this turn since it began.
            through = Some(match through {
                None => names,
                Some(before) => before.intersection(&names).cloned().collect(),
            });
            now_ns += (*seconds).max(1) * SECOND;
            let ends_ns = turns.unwrap().ends_ns;
            if now_ns >= ends_ns {
                now_ns = ends_ns;
                for name in through.take().unwrap_or_default() {
                    waiting.remove(&name);
                }
                ended += 1;
                if ended == bound {
                    break;
                }
            }
        }
        prop_assert!(waiting.is_empty(), "{waiting:?} had none in {bound} turns");
    }
}

#[test]
fn the_load_of_zones_is_spread() {
    let catalog = cluster(300, 3, 0);
    let mut load: BTreeMap<u32, usize> = BTreeMap::new();
    for at in 0..300 {
        let share = share(&format!("n{at}"), &catalog, &rotation(120));
        for group in share.parts.unwrap().always {
            *load.entry(group).or_default() += 1;
        }
    }
    // Three on average.
    assert!(load.values().all(|&load| load <= 14), "{:?}", load.values().max());
}
