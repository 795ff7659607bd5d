use std::sync::Arc;

use netcheck_common::domain::{ProbeKind, Vantage};
use proptest::prelude::*;

use super::*;
use crate::plan::{Probe, Sources, Target};

const SECOND: i64 = 1_000_000_000;

fn target(kind: v1::TargetKind, name: String, zone: String) -> Arc<Target> {
    Arc::new(Target {
        id: format!("{}/{name}", kind.as_str_name()).into(),
        kind,
        namespace: String::new(),
        node: name.clone(),
        name,
        zone,
        addresses: Vec::new(),
        port: 0,
        at: None,
        backends: 1,
        absent: None,
        unbacked: None,
    })
}

/// Nodes in zones, three probes each; services, one each.
fn probes(nodes: usize, zones: usize, services: usize) -> Vec<Probe> {
    let nodes =
        (0..nodes).map(|at| target(v1::TargetKind::Node, format!("n{at}"), format!("z{}", at % zones)));
    let services = (0..services).map(|at| target(v1::TargetKind::Service, format!("s{at}"), String::new()));
    let mut probes = Vec::new();
    for target in nodes.chain(services) {
        let kinds: &[_] = match target.kind {
            v1::TargetKind::Node => &[ProbeKind::Icmp, ProbeKind::Udp, ProbeKind::Tcp],
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
    probes
}

fn wanted(probes: &[Probe]) -> Vec<Wanted<'_>> {
    let one = |(at, probe)| Wanted { vantage: Vantage::Host, at, probe };
    (0u32..).zip(probes).map(one).collect()
}

fn rotation(paths_per_node: usize) -> Rotation {
    Rotation { paths_per_node, cover: Duration::from_secs(600), interval: Duration::from_secs(1) }
}

fn never(_: &Wanted<'_>) -> bool {
    false
}

#[test]
fn what_fits_is_probed_all_the_time() {
    let probes = probes(10, 2, 5);
    let choice = choose("n", &wanted(&probes), never, &rotation(35), 0);
    assert_eq!(choice, Choice { picks: (0..35).collect(), turns: None });
}

#[test]
fn a_turn_is_as_long_as_the_time_to_cover_all_allows_but_never_short() {
    let probes = probes(1000, 3, 10);
    let turns = choose("n", &wanted(&probes), never, &rotation(500), 0).turns.unwrap();
    assert!(turns.cover() <= Duration::from_secs(600), "{turns:?}");
    assert!(turns.cover() > Duration::from_secs(590), "{turns:?}");
    let turns = choose("n", &wanted(&probes), never, &rotation(30), 0).turns.unwrap();
    assert_eq!(turns.length_ns, 10 * SECOND);
    assert!(turns.cover() > Duration::from_secs(600), "what can't be kept is not promised: {turns:?}");
}

#[test]
fn nodes_do_not_turn_in_step_nor_to_the_same_targets() {
    let probes = probes(400, 1, 0);
    let wanted = wanted(&probes);
    let choices: Vec<Choice> =
        (0..20).map(|at| choose(&format!("n{at}"), &wanted, never, &rotation(120), 0)).collect();
    let ends: BTreeSet<i64> = choices.iter().filter_map(|choice| Some(choice.turns?.ends_ns)).collect();
    assert!(ends.len() > 15, "{ends:?}");
    let reached: BTreeSet<usize> = choices.into_iter().flat_map(|choice| choice.picks).collect();
    assert!(reached.len() > 900, "twenty nodes reach {} of 1,200 probes at a time", reached.len());
}

proptest! {
    #[test]
    fn every_path_has_its_turn_in_the_time_promised(
        nodes in 1usize..200, zones in 1usize..5, services in 0usize..40, most in 24usize..200,
        start in 0i64..10_000, bad in prop::collection::btree_set(0u32..600, 0..12),
    ) {
        let probes = probes(nodes, zones, services);
        let wanted = wanted(&probes);
        let keep = |path: &Wanted<'_>| bad.contains(&path.at);
        let mut now_ns = start * SECOND;
        let mut seen = BTreeSet::new();
        let first = choose("n", &wanted, keep, &rotation(most), now_ns);
        let turns = first.turns.map_or(1, |turns| turns.count);
        for _ in 0..turns {
            let choice = choose("n", &wanted, keep, &rotation(most), now_ns);
            prop_assert!(choice.picks.len() <= most, "{} of {most}", choice.picks.len());
            prop_assert!(choice.picks.is_sorted());
            // Every zone, always.
            let reached: BTreeSet<&str> =
                choice.picks.iter().map(|&at| wanted[at].probe.target.zone.as_str()).collect();
            for zone in 0..zones.min(nodes).min(most / 6) {
                let name = format!("z{zone}");
                prop_assert!(reached.contains(name.as_str()), "{} is not covered", name);
            }
            // A target is probed in all ways or in none.
            let targets: BTreeSet<&str> = choice.picks.iter().map(|&at| &*wanted[at].probe.target.id).collect();
            let whole = wanted.iter().filter(|path| targets.contains(&*path.probe.target.id)).count();
            prop_assert_eq!(whole, choice.picks.len());
            if let Some(turns) = choice.turns {
                prop_assert!(turns.ends_ns > now_ns && turns.ends_ns <= now_ns + turns.length_ns);
                // Nothing changes before its end.
                let late = choose("n", &wanted, keep, &rotation(most), turns.ends_ns - 1);
                prop_assert_eq!(&late, &choice);
                now_ns = turns.ends_ns;
            }
            seen.extend(choice.picks);
        }
        prop_assert_eq!(seen.len(), wanted.len());
    }

    #[test]
    fn what_is_bad_stays_as_far_as_there_is_room(bad in 0u32..1200, turn in 0i64..100) {
        let probes = probes(400, 2, 0);
        let wanted = wanted(&probes);
        let now_ns = turn * 20 * SECOND;
        let choice = choose("n", &wanted, |path| path.at == bad, &rotation(120), now_ns);
        prop_assert!(choice.picks.contains(&(bad as usize)));
        let all = choose("n", &wanted, |_| true, &rotation(120), now_ns);
        prop_assert!(all.picks.len() <= 120);
    }
}
