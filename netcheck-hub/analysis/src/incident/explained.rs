//! Facts → causes. Pure.
//!
//! Two ways to the causes, and the fewer causes win. [`cover`] counts paths against suspects; it names what it
//! finds by the location that kernels reported. Where it needs more than one cause, or one that loses all and that fine paths
//! contradict, probes are counted against the components that they crossed (crate `netcheck-causes`, by
//! [`groups`](super::groups)): overlay, underlay and services are layers there, so that what a lower one loses needs no cause
//! above it. Its answer is taken where it explains every bad path by fewer causes, or by as many without the contradictions:
//! never by causes that more fine paths contradict than may have come back already.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::describe::Describe;
use super::groups::{Grouped, World, groups};
use super::index::Tunnels;
use super::{Explained, Fact, cover, networks};
use crate::model::location::{Certainty, Stage};
use crate::model::verdict::Verdict;
use netcheck_causes::{Cause, Certainty as Sure, PodNetwork};

/// Explains all bad paths. The worst cause comes first.
#[must_use]
pub fn explain(facts: &[Fact], world: &World) -> Vec<Explained> {
    let tunnels = Tunnels { wrap: world.pod_network == PodNetwork::Overlay, outer: world.outer };
    let by_paths = cover::explain(facts, tunnels);
    let contradicted = by_paths.iter().any(|one| is_contradicted(one, facts));
    if by_paths.len() < 2 && !contradicted {
        return by_paths;
    }
    let most = by_paths.len() - usize::from(!contradicted);
    match by_components(facts, world) {
        Some(others) if others.len() <= most && others.len() >= full_queues(facts) => others,
        _ => by_paths,
    }
}

/// Whether a cause that nothing but counting suggests loses all of some paths, and nothing of too many others that cross it.
fn is_contradicted(one: &Explained, facts: &[Fact]) -> bool {
    one.certainty == Certainty::Inferred
        && too_many(one)
        && one.paths.iter().all(|&at| facts[at].verdict == Verdict::Unreachable)
}

/// One in twenty may have come back already.
const fn too_many(one: &Explained) -> bool {
    one.contradictions.len() * 20 > one.paths.len()
}

/// Queues that kernels reported to drop packets. Components know none of a node's queues from another, and each is a cause
/// of its own.
fn full_queues(facts: &[Fact]) -> usize {
    let symptoms = facts.iter().filter(|fact| fact.bad()).filter_map(|fact| fact.symptom.as_ref());
    let locations = symptoms.filter_map(|symptom| symptom.at.as_ref());
    let queues = locations.filter(|at| at.stage == Stage::Qdisc && at.certainty == Certainty::Observed);
    queues.map(|at| (&at.node, &at.interface)).collect::<BTreeSet<_>>().len()
}

/// The causes by the components that probes crossed; none where some bad path is left, or a path that is fine contradicts
/// one of them.
fn by_components(facts: &[Fact], world: &World) -> Option<Vec<Explained>> {
    let grouped = groups(facts, world);
    let causes = netcheck_causes::explain(&grouped.topology, &grouped.groups);
    let mut left: BTreeSet<usize> =
        facts.iter().enumerate().filter(|(_, fact)| fact.bad()).map(|(number, _)| number).collect();
    let mut all = Vec::with_capacity(causes.len());
    for cause in &causes {
        let paths = facts_of(&grouped, &cause.explains);
        for path in &paths {
            left.remove(path);
        }
        if cause.pattern.partial && !loses_alike(facts, &grouped, cause, &paths) {
            return None;
        }
        let described = explained(facts, &grouped, cause, &paths);
        if too_many(&described) {
            return None;
        }
        all.push(described);
    }
    all.sort_by_key(|one| {
        let proven = one.certainty == Certainty::Observed;
        (Reverse(one.unreachable), Reverse(one.paths.len()), Reverse(proven), one.key.clone())
    });
    drop_redundant(&mut all);
    left.is_empty().then_some(all)
}

/// What loses a part of its packets by chance loses of most paths that cross it; and where it loses less than half of its
/// packets, no path loses all. Else it is a name for several things.
fn loses_alike(facts: &[Fact], grouped: &Grouped, cause: &Cause, paths: &[usize]) -> bool {
    let probes = |&group: &usize| {
        let group = &grouped.groups[group];
        u64::from(group.answered) + u64::from(group.lost)
    };
    let of_losing: u64 = cause.explains.iter().map(probes).sum();
    let mostly = cause.lost * 2 >= cause.crossed;
    cause.crossed <= of_losing * 2
        && (mostly || paths.iter().all(|&at| facts[at].verdict != Verdict::Unreachable))
}

/// Takes out causes all of whose paths others explain, the least first, but for what kernels reported.
fn drop_redundant(all: &mut Vec<Explained>) {
    for at in (0..all.len()).rev() {
        let others: BTreeSet<usize> = all
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != at)
            .flat_map(|(_, other)| other.paths.iter().copied())
            .collect();
        let redundant = all[at].paths.iter().all(|path| others.contains(path));
        if redundant && all[at].certainty != Certainty::Observed {
            all.remove(at);
        }
    }
}

/// The facts that these groups are of, ascending, each once.
fn facts_of(grouped: &Grouped, groups: &[usize]) -> Vec<usize> {
    let all: BTreeSet<usize> = groups.iter().map(|&group| grouped.facts[group]).collect();
    all.into_iter().collect()
}

fn explained(facts: &[Fact], grouped: &Grouped, cause: &Cause, paths: &[usize]) -> Explained {
    let own: BTreeSet<usize> = paths.iter().copied().collect();
    let contradictions: Vec<usize> =
        facts_of(grouped, &cause.contradictions).into_iter().filter(|path| !own.contains(path)).collect();
    let describe = Describe { facts, topology: &grouped.topology, cause, paths };
    let symptoms = || paths.iter().filter_map(|&at| facts[at].symptom.as_ref());
    let described = Explained {
        key: describe.key(),
        kind: describe.kind(),
        headline: String::new(),
        what: String::new(),
        nodes: describe.nodes(),
        probe: describe.probe_kind(),
        family: cause.pattern.family,
        evidence: describe.evidence(&contradictions),
        contradictions,
        certainty: match cause.certainty {
            Sure::Observed => Certainty::Observed,
            Sure::Inferred => Certainty::Inferred,
        },
        waiting: !paths.is_empty()
            && symptoms().count() == paths.len()
            && symptoms().all(|symptom| symptom.waiting),
        unreachable: paths.iter().any(|&at| facts[at].verdict == Verdict::Unreachable),
        first_ns: symptoms().filter_map(|symptom| symptom.lost_ns).map(|(first, _)| first).min(),
        last_ns: symptoms().filter_map(|symptom| symptom.lost_ns).map(|(_, last)| last).max(),
        paths: paths.to_vec(),
    };
    let headline = describe.headline();
    let (described, headline) = match (cause.pattern.full_size, cause.pattern.by_port) {
        (true, _) => cover::of_large(described, headline, facts),
        (false, true) => cover::of_ports(described, headline, facts),
        (false, false) => (described, headline),
    };
    match describe.network() {
        Some(network) => networks::named(described, headline, network, describe.node_name()),
        None => described.says(&headline),
    }
}
