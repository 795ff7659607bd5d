//! Facts → causes, in the terms of paths. Pure.
//!
//! [`groups`](super::groups) makes of the facts what the explainer takes; here its causes get their paths back, and
//! what no cause explains is one more, scattered.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use netcheck_causes::{Cause, Certainty as Sure, Component, Extent};
use netcheck_common::domain::{Family, ProbeKind};

use super::describe::Describe;
use super::groups::{Grouped, World, groups};
use super::{Explained, Fact};
use crate::model::location::Certainty;
use crate::model::verdict::Verdict;

/// Causes that one evaluation finds at most; what they don't explain is one more, scattered.
const CAUSES: usize = 64;
/// Single links and targets that lose probes now and then: more of them are one scattered incident.
const SINGLES: usize = 5;

/// Explains all bad paths. The worst cause comes first.
#[must_use]
pub fn explain(facts: &[Fact], world: &World) -> Vec<Explained> {
    let grouped = groups(facts, world);
    let mut causes = netcheck_causes::explain(&grouped.topology, &grouped.groups);
    causes.truncate(CAUSES);
    let mut left: BTreeSet<usize> =
        facts.iter().enumerate().filter(|(_, fact)| fact.bad()).map(|(number, _)| number).collect();
    let single = |cause: &&Cause| cause.pattern.partial && is_single(cause.component);
    let many = causes.iter().filter(single).count() > SINGLES;
    let mut all = Vec::new();
    for cause in causes.iter().filter(|cause| !(many && single(cause))) {
        let paths = facts_of(&grouped, &cause.explains);
        for path in &paths {
            left.remove(path);
        }
        all.push(explained(facts, &grouped, cause, paths));
    }
    if !left.is_empty() {
        all.push(scattered(facts, &grouped, left.into_iter().collect()));
    }
    all.sort_by_key(|one| {
        let proven = one.certainty == Certainty::Observed;
        (Reverse(one.unreachable), Reverse(one.paths.len()), Reverse(proven), one.key.clone())
    });
    all
}

/// It is about two nodes or one target alone.
fn is_single(component: Component) -> bool {
    match component {
        Component::Wire { from, to } | Component::Tunnel { from, to } => {
            matches!((from, to), (Extent::Node(_), Extent::Node(_)))
        }
        Component::Stack(_) | Component::Uplink(_) | Component::Server { .. } => true,
        _ => false,
    }
}

/// The facts that these groups are of, ascending, each once.
fn facts_of(grouped: &Grouped, groups: &[usize]) -> Vec<usize> {
    let all: BTreeSet<usize> = groups.iter().map(|&group| grouped.facts[group]).collect();
    all.into_iter().collect()
}

fn explained(facts: &[Fact], grouped: &Grouped, cause: &Cause, paths: Vec<usize>) -> Explained {
    let own: BTreeSet<usize> = paths.iter().copied().collect();
    let contradictions: Vec<usize> =
        facts_of(grouped, &cause.contradictions).into_iter().filter(|path| !own.contains(path)).collect();
    let describe = Describe { facts, topology: &grouped.topology, cause, paths: &paths };
    let certainty = match cause.certainty {
        Sure::Observed => Certainty::Observed,
        Sure::Inferred => Certainty::Inferred,
    };
    let (key, kind, headline) = (describe.key(), describe.kind(), describe.headline());
    let (evidence, probe) = (describe.evidence(&contradictions), describe.probe_kind());
    let family = cause.pattern.family;
    Explained { contradictions, certainty, family, probe, ..frame(facts, key, kind, headline, evidence, paths) }
}

/// What follows from the paths alone.
fn frame(
    facts: &[Fact],
    key: String,
    kind: crate::model::incident::IncidentKind,
    headline: String,
    evidence: Vec<String>,
    paths: Vec<usize>,
) -> Explained {
    let symptoms = || paths.iter().filter_map(|&at| facts[at].symptom.as_ref());
    Explained {
        key,
        kind,
        headline,
        probe: None::<ProbeKind>,
        family: None::<Family>,
        contradictions: Vec::new(),
        evidence,
        certainty: Certainty::Inferred,
        waiting: !paths.is_empty()
            && symptoms().count() == paths.len()
            && symptoms().all(|symptom| symptom.waiting),
        unreachable: paths.iter().any(|&at| facts[at].verdict == Verdict::Unreachable),
        first_ns: symptoms().filter_map(|symptom| symptom.lost_ns).map(|(first, _)| first).min(),
        last_ns: symptoms().filter_map(|symptom| symptom.lost_ns).map(|(_, last)| last).max(),
        paths,
    }
}

fn scattered(facts: &[Fact], grouped: &Grouped, paths: Vec<usize>) -> Explained {
    let (key, kind, headline, evidence) = super::describe::scattered(facts, &grouped.topology, &paths);
    frame(facts, key, kind, headline, evidence, paths)
}
