//! The greedy cover: the cause that explains most of what is left, again and again. Pure and deterministic.
//!
//! First a cause that a kernel's report proves, then the one that explains more bad paths, then the one that fewer
//! fine paths contradict, then the more particular one. Causes that tie in all of that are all taken: no name
//! decides. First round: only causes all of whose paths are bad (one in twenty may be fine). Second: what loses
//! probes only now and then. What is left after that has nothing in common.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use netcheck_common::domain::ProbeKind;

use super::cause::{Cause, Scope, Suspect};
use super::headline::Headline;
use super::index::{Index, Tunnels};
use super::tally::{Candidate, Tallies};
use super::words::Describe;
use super::{Explained, Fact, Symptom, networks, symptoms};
use crate::model::Pattern;
use crate::model::incident::IncidentKind;
use crate::model::location::Certainty;
use crate::model::target::TargetKind;
use crate::words::patterns::flows_differ;

mod fold;

/// Causes that one evaluation finds at most; what they don't explain is one more, scattered.
pub(super) const CAUSES: usize = 64;
/// Single links and targets that lose probes now and then: more of them are one scattered incident.
const SINGLES: usize = 5;

/// A cause that was chosen.
struct Chosen {
    cause: Cause,
    proven: bool,
    partial: bool,
    bad: BTreeSet<usize>,
    /// What else it explains: what others were chosen for first.
    besides: BTreeSet<usize>,
}

/// Explains all bad paths. The worst cause comes first.
#[must_use]
pub fn explain(facts: &[Fact], tunnels: Tunnels) -> Vec<Explained> {
    let patterns = [Pattern::Any, Pattern::Size, Pattern::Port];
    let on = |network: Option<&str>| -> Vec<Explained> {
        patterns.into_iter().flat_map(|pattern| explain_pattern(facts, pattern, network, tunnels)).collect()
    };
    let mut all = on(None);
    let own = all.len();
    for network in networks::with_losses(facts) {
        networks::join(&mut all, own, on(Some(network)), facts);
    }
    all.sort_by_key(|one| {
        let proven = one.certainty == Certainty::Observed;
        (Reverse(one.unreachable), Reverse(one.paths.len()), Reverse(proven), one.key.clone())
    });
    all
}

/// The facts that speak of one pattern on one network alone.
fn explain_pattern(
    facts: &[Fact],
    pattern: Pattern,
    network: Option<&str>,
    tunnels: Tunnels,
) -> Vec<Explained> {
    let index = Index::of(facts, pattern, network, tunnels);
    let mut left: BTreeSet<usize> =
        index.items.iter().enumerate().filter(|(_, item)| item.bad).map(|(number, _)| number).collect();
    if left.is_empty() {
        return Vec::new();
    }
    let tallies = Tallies::of(&index);
    let mut chosen = Vec::new();
    for strict in [true, false] {
        if !left.is_empty() {
            choose(tallies.candidates(strict), !strict, &mut left, &mut chosen);
        }
    }
    scatter(&mut chosen, left);
    fold::by_who_answered(&mut chosen, facts, &tallies);
    fold::into_silent_pods(&mut chosen, &index);
    fold::at_both_hooks(&mut chosen, facts, &index);
    fold::by_who_sent_too_short(&mut chosen, facts, &index);
    fold::into_shared_reports(&mut chosen, facts, &index);
    let describe = Describe { facts, index: &index, tallies: &tallies };
    let mut by_key: BTreeMap<String, Chosen> = BTreeMap::new();
    for one in chosen {
        match by_key.entry(describe.key(&one.cause)) {
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(one);
            }
            std::collections::btree_map::Entry::Occupied(mut same) => same.get_mut().take(one),
        }
    }
    by_key
        .into_iter()
        .map(|(key, one)| {
            let (described, headline) = described(&describe, key, &one);
            let (described, headline) = match pattern {
                Pattern::Any => of_flows(described, headline, facts),
                Pattern::Size => of_large(described, headline, facts),
                Pattern::Port => of_ports(described, headline, facts),
            };
            match network {
                None => described.says(&headline),
                Some(network) => networks::named(described, headline, network, describe.node_of(&one.cause)),
            }
        })
        .collect()
}

/// Says that new flows fare otherwise than old ones, where most paths that have both say so. Those of services with
/// several backends need not.
fn of_flows(described: Explained, headline: Headline, facts: &[Fact]) -> (Explained, Headline) {
    let both = |at: &usize| {
        let probe = &facts[*at].path.probe;
        (probe.kind.carries_header() && probe.target.backends <= 1).then_some(&facts[*at].symptom)
    };
    let flows = described.paths.iter().filter_map(both);
    let new_denied = |symptom: &Option<Symptom>| Some(symptom.as_ref()?.flows?.new_denied);
    let headline = match flows_differ(&flows.map(new_denied).collect::<Vec<_>>()) {
        None => headline,
        Some(how) => headline.of(how.which, how.fare),
    };
    (described, headline)
}

/// Says that it is about large packets alone.
pub(super) fn of_large(described: Explained, headline: Headline, facts: &[Fact]) -> (Explained, Headline) {
    let bad: Vec<&Fact> = described.paths.iter().map(|&at| &facts[at]).collect();
    let headline = headline.of(&symptoms::sizes(&bad), "are lost, smaller ones pass");
    (Explained { key: format!("mtu/{}", described.key), kind: IncidentKind::Mtu, ..described }, headline)
}

/// Says that it is about single source ports alone.
pub(super) fn of_ports(described: Explained, headline: Headline, facts: &[Fact]) -> (Explained, Headline) {
    let bad: Vec<&Fact> = described.paths.iter().map(|&at| &facts[at]).collect();
    let headline =
        headline.of("UDP packets", &format!("are lost from some source ports: {}", symptoms::ports(&bad)));
    let key = format!("ports/{}", described.key);
    (Explained { key, kind: IncidentKind::SourcePorts, probe: Some(ProbeKind::Udp), ..described }, headline)
}

fn choose(
    mut candidates: Vec<Candidate>,
    partial: bool,
    left: &mut BTreeSet<usize>,
    chosen: &mut Vec<Chosen>,
) {
    while !left.is_empty() && chosen.len() < CAUSES {
        let mut best = None;
        for candidate in &mut candidates {
            candidate.covers.retain(|number| left.contains(number));
            best = best.max(Some(score(candidate)).filter(|_| !candidate.covers.is_empty()));
        }
        let Some(best) = best else { return };
        let taken: Vec<&Candidate> = candidates.iter().filter(|one| score(one) == best).collect();
        for one in taken {
            one.covers.iter().for_each(|number| {
                left.remove(number);
            });
            let bad = one.covers.iter().copied().collect();
            chosen.push(Chosen {
                cause: one.cause,
                proven: one.proven,
                partial,
                bad,
                besides: BTreeSet::new(),
            });
        }
    }
}

type Score = (bool, usize, Reverse<usize>, Reverse<u8>, Reverse<u8>);

fn score(one: &Candidate) -> Score {
    let Cause { suspect, scope } = one.cause;
    (one.proven, one.covers.len(), Reverse(one.good), Reverse(suspect.rank()), Reverse(scope.rank()))
}

impl Chosen {
    /// Another cause that is told in the same words.
    fn take(&mut self, other: Self) {
        self.bad.extend(other.bad);
        self.besides.extend(other.besides);
    }
}

/// Makes one of what has nothing in common.
fn scatter(chosen: &mut Vec<Chosen>, left: BTreeSet<usize>) {
    let single = |one: &Chosen| {
        let small = matches!(
            one.cause.suspect,
            Suspect::Link(..)
                | Suspect::LinkOneWay(..)
                | Suspect::From(..)
                | Suspect::Node(..)
                | Suspect::Cable(_)
        );
        one.partial && small
    };
    let mut bad = left;
    if chosen.iter().filter(|one| single(one)).count() > SINGLES {
        bad.extend(chosen.iter().filter(|one| single(one)).flat_map(|one| one.bad.iter().copied()));
        chosen.retain(|one| !single(one));
    }
    if !bad.is_empty() {
        let cause = Cause { suspect: Suspect::Scattered, scope: Scope::default() };
        chosen.push(Chosen { cause, proven: false, partial: true, bad, besides: BTreeSet::new() });
    }
}

/// A cause, and its line for people in parts.
fn described(describe: &Describe<'_>, key: String, one: &Chosen) -> (Explained, Headline) {
    let items = || one.bad.iter().map(|&number| &describe.index.items[number]);
    let besides = one.besides.iter().map(|&number| describe.index.items[number].fact);
    let own: Vec<usize> = items().map(|item| item.fact).collect();
    let paths: Vec<usize> = own.iter().copied().chain(besides).collect::<BTreeSet<_>>().into_iter().collect();
    let symptoms = || paths.iter().filter_map(|&at| describe.facts[at].symptom.as_ref());
    let contradictions = describe.contradictions(&one.cause, &one.bad);
    let mut targets = own.iter().map(|&at| describe.facts[at].path.probe.target.kind);
    let target = match one.cause.suspect {
        // Not only its pods are out of reach.
        Suspect::Loop(_) => targets.find(|kind| *kind == TargetKind::Node),
        _ => targets.next(),
    };
    let unreachable =
        paths.iter().any(|&at| describe.facts[at].verdict == crate::model::verdict::Verdict::Unreachable);
    // A service that is to blame, and whose own answer was seen, is as sure as a drop that was seen.
    let blamed = matches!(
        one.cause.suspect,
        Suspect::Backend(_) | Suspect::Target(_) | Suspect::Service(_) | Suspect::From(..)
    );
    let answered = blamed
        && symptoms()
            .any(|symptom| symptom.at.as_ref().is_some_and(|at| at.certainty == Certainty::Observed));
    let sure = one.proven || answered;
    let headline = describe.headline(&one.cause, &one.bad, unreachable, one.partial);
    let explained = Explained {
        kind: one.cause.kind(target),
        headline: String::new(),
        what: String::new(),
        nodes: describe.nodes(&one.cause, &one.bad),
        probe: one.cause.scope.probe,
        family: one.cause.scope.family,
        evidence: describe.evidence(&one.cause, &one.bad, &contradictions),
        certainty: if sure { Certainty::Observed } else { Certainty::Inferred },
        waiting: !paths.is_empty()
            && symptoms().count() == paths.len()
            && symptoms().all(|symptom| symptom.waiting),
        unreachable,
        first_ns: symptoms().filter_map(|symptom| symptom.lost_ns).map(|(first, _)| first).min(),
        last_ns: symptoms().filter_map(|symptom| symptom.lost_ns).map(|(_, last)| last).max(),
        key,
        paths,
        contradictions,
    };
    (explained, headline)
}
