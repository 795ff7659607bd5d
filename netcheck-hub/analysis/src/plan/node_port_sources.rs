//! Who probes what every node has of its own, such as node ports: itself and a few others, so that the number of paths
//! grows with nodes and not with pairs. Pure.
//!
//! The others are one of its own zone and one of each of two further zones, filled up to [`OTHERS`] by any; and of every
//! zone somebody probes somebody of every other zone. Each is chosen by rendezvous hashing (the highest hash of the two
//! names): a node that comes or goes changes the choices that it is part of, and no others.

use std::collections::{BTreeMap, BTreeSet};

use netcheck_common::hash::{fnv1a, splitmix64_finish};

use super::Sources;

/// Others that probe a node, where there are so many.
pub(super) const OTHERS: usize = 3;
/// Zones besides a node's own that these are taken from.
const OTHER_ZONES: usize = 2;

/// A name and its hash.
pub(super) type Hashed<'a> = (&'a str, u64);

/// Who probes each of `targets`, chosen among `sources`; both as (node, zone).
pub(super) fn node_port_sources<'a>(
    targets: impl Iterator<Item = (&'a str, &'a str)>,
    sources: impl Iterator<Item = (&'a str, &'a str)>,
) -> BTreeMap<&'a str, Sources> {
    let mut zones: BTreeMap<Hashed<'a>, Vec<Hashed<'a>>> = BTreeMap::new();
    for (node, zone) in sources {
        zones.entry(hashed(zone)).or_default().push(hashed(node));
    }
    let targets: Vec<(Hashed<'a>, &str)> = targets.map(|(node, zone)| (hashed(node), zone)).collect();
    let mut chosen: BTreeMap<&str, BTreeSet<&str>> = targets
        .iter()
        .map(|&(target, zone)| {
            (target.0, BTreeSet::from([target.0]).union(&others(target, zone, &zones)).copied().collect())
        })
        .collect();
    // Somebody of every zone to somebody of every other.
    let mut inhabited: BTreeMap<&str, Vec<Hashed<'a>>> = BTreeMap::new();
    for &(target, zone) in &targets {
        inhabited.entry(zone).or_default().push(target);
    }
    for (&zone, members) in &zones {
        for targets in inhabited.iter().filter(|(other, _)| **other != zone.0).map(|(_, targets)| targets) {
            let nearest = highest(zone, targets.iter().copied());
            let pair = nearest.and_then(|target| Some((target, highest(target, members.iter().copied())?)));
            if let Some((target, source)) = pair {
                chosen.entry(target.0).or_default().insert(source.0);
            }
        }
    }
    let sources = |(node, sources): (&'a str, BTreeSet<&str>)| {
        (node, sources.into_iter().map(ToOwned::to_owned).collect())
    };
    chosen.into_iter().map(sources).collect()
}

/// The others for one node, by rendezvous hashing: those with the highest hash of both names.
fn others<'a>(
    target: Hashed<'a>,
    zone: &str,
    zones: &BTreeMap<Hashed<'a>, Vec<Hashed<'a>>>,
) -> BTreeSet<&'a str> {
    let others = |members: &[Hashed<'a>], besides: &BTreeSet<&str>| {
        let others =
            members.iter().copied().filter(|other| other.0 != target.0 && !besides.contains(other.0));
        highest(target, others)
    };
    let mut found: BTreeSet<&str> = BTreeSet::new();
    let own = zones.iter().find(|(of, _)| of.0 == zone).and_then(|(_, members)| others(members, &found));
    found.extend(own.map(|own| own.0));
    let mut far: Vec<(u64, &Vec<Hashed<'a>>)> = zones
        .iter()
        .filter(|(of, _)| of.0 != zone)
        .map(|(&of, members)| (mixed(target, of), members))
        .collect();
    far.sort_unstable_by_key(|(rank, _)| std::cmp::Reverse(*rank));
    for (_, members) in far.iter().take(OTHER_ZONES) {
        found.extend(others(members, &found).map(|other| other.0));
    }
    while found.len() < OTHERS {
        let best = zones.values().filter_map(|members| others(members, &found));
        let Some(best) = highest(target, best) else { break };
        found.insert(best.0);
    }
    found
}

pub(super) fn highest<'a>(of: Hashed<'_>, among: impl Iterator<Item = Hashed<'a>>) -> Option<Hashed<'a>> {
    among.max_by_key(|&other| (mixed(of, other), other.0))
}

pub(super) fn hashed(name: &str) -> Hashed<'_> {
    (name, fnv1a(name.as_bytes()))
}

/// The finaliser of splitmix64: every bit of either depends on every bit of both.
pub(super) fn mixed(a: Hashed<'_>, b: Hashed<'_>) -> u64 {
    splitmix64_finish(a.1.rotate_left(32) ^ b.1.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(sizes: &[usize]) -> Vec<(String, String)> {
        let zones = sizes.iter().enumerate();
        zones
            .flat_map(|(zone, &size)| (0..size).map(move |at| (format!("n{zone}-{at}"), format!("z{zone}"))))
            .collect()
    }

    fn chosen(nodes: &[(String, String)]) -> BTreeMap<String, BTreeSet<String>> {
        let pairs = || nodes.iter().map(|(node, zone)| (node.as_str(), zone.as_str()));
        let plain = |(node, sources): (&str, Sources)| match sources {
            Sources::Only(sources) => (node.to_owned(), (*sources).clone()),
            Sources::All | Sources::Rest(_) => unreachable!("a choice is a few"),
        };
        node_port_sources(pairs(), pairs()).into_iter().map(plain).collect()
    }

    proptest! {
        #[test]
        fn everybody_is_probed_by_itself_and_three_others_and_every_pair_of_zones_by_somebody(
            sizes in prop::collection::vec(0usize..9, 1..6),
        ) {
            let nodes = names(&sizes);
            let zone = |node: &str| nodes.iter().find(|(name, _)| name == node).map(|(_, zone)| zone.as_str());
            let chosen = chosen(&nodes);
            prop_assert_eq!(chosen.len(), nodes.len());
            let mut pairs = BTreeSet::new();
            for (target, sources) in &chosen {
                prop_assert!(sources.contains(target));
                prop_assert!(sources.len() > OTHERS.min(nodes.len() - 1));
                pairs.extend(sources.iter().map(|source| (zone(source), zone(target))));
                // One of its own zone, where there is another.
                let near = sources.iter().filter(|source| *source != target && zone(source) == zone(target));
                let neighbours = nodes.iter().filter(|(_, of)| Some(of.as_str()) == zone(target)).count() - 1;
                prop_assert!(near.count() >= neighbours.min(1));
            }
            let inhabited = sizes.iter().filter(|&&size| size > 0).count();
            let between = pairs.iter().filter(|(from, to)| from != to).count();
            prop_assert_eq!(between, inhabited * inhabited.saturating_sub(1));
            let all: usize = chosen.values().map(BTreeSet::len).sum();
            prop_assert!(all <= nodes.len() * (1 + OTHERS) + between);
        }

        #[test]
        fn a_node_that_goes_changes_its_own_choices_alone(
            sizes in prop::collection::vec(3usize..9, 2..5),
            gone in any::<prop::sample::Index>(),
        ) {
            let mut nodes = names(&sizes);
            let before = chosen(&nodes);
            let gone = nodes.remove(gone.index(nodes.len())).0;
            let after = chosen(&nodes);
            let moved = after.iter().filter(|(target, sources)| {
                !before[*target].contains(&gone) && before[*target].difference(sources).next().is_some()
            });
            // Only who represented its zone to another may be another one now.
            prop_assert!(moved.count() <= sizes.len() * 2);
        }
    }

    #[test]
    fn the_load_is_spread() {
        let chosen = chosen(&names(&[100, 100, 100]));
        let mut load: BTreeMap<&String, usize> = BTreeMap::new();
        for source in chosen.values().flatten() {
            *load.entry(source).or_default() += 1;
        }
        assert!(load.values().all(|&load| load <= 14), "{:?}", load.values().max());
    }
}
