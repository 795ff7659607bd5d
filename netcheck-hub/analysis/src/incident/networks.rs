//! Secondary networks of pods among the causes. Pure.
//!
//! Each is explained for itself, from its own facts alone. What is found then is a cause of its own, which bears the
//! network's name, unless the cluster's own network shows the same one: a place where the same kernel's report puts it,
//! or a node that is cut off as a whole.

use std::collections::BTreeSet;

use super::headline::Headline;
use super::{Explained, Fact};
use crate::model::incident::IncidentKind;
use crate::model::location::Certainty;

/// Networks on which something is wrong, by name.
pub(super) fn with_losses(facts: &[Fact]) -> BTreeSet<&str> {
    facts.iter().filter(|fact| fact.bad()).filter_map(Fact::network).collect()
}

/// Says which network it is, and at which node.
pub(super) fn named(
    described: Explained,
    headline: Headline,
    network: &str,
    node: Option<&str>,
) -> Explained {
    let at = node.map(|node| format!(" at {node}")).unwrap_or_default();
    let kind = match described.kind {
        IncidentKind::Node | IncidentKind::Cluster => IncidentKind::PodNetwork,
        other => other,
    };
    let headline = headline.named(&format!("network {network}{at}"));
    Explained { key: format!("network/{network}/{}", described.key), kind, ..described }.says(&headline)
}

/// Adds the causes that were found on one secondary network to the others, or to what is the same on the cluster's own:
/// the first `own` of them.
pub(super) fn join(all: &mut Vec<Explained>, own: usize, found: Vec<Explained>, facts: &[Fact]) {
    for cause in found {
        let same = place_of(&cause).and_then(|place| all[..own].iter().position(|one| one.key == place));
        match same.or_else(|| cut_off(&all[..own], &cause, facts)) {
            Some(at) => absorb(&mut all[at], cause),
            None => all.push(cause),
        }
    }
}

/// The name of the place that a kernel's report puts it at.
fn place_of(cause: &Explained) -> Option<&str> {
    let observed = cause.certainty == Certainty::Observed;
    let at = cause.key.find("/place/").filter(|_| observed && cause.kind == IncidentKind::Place)?;
    Some(&cause.key[at + 1..])
}

/// The cause for which a node is cut off as a whole on the cluster's own network, where all that a secondary network's
/// cause explains begins or ends there.
fn cut_off(own: &[Explained], cause: &Explained, facts: &[Fact]) -> Option<usize> {
    let first = &facts[*cause.paths.first()?];
    let candidates = [first.path.probe.target.node.as_str(), &first.source];
    let node = candidates.into_iter().find(|node| cause.paths.iter().all(|&at| touches(&facts[at], node)))?;
    let (mut bad, mut all) = (0, 0);
    let judged = |fact: &&Fact| fact.network().is_none() && (fact.bad() || fact.good());
    let across = |fact: &&Fact| touches(fact, node) && *fact.source != *fact.path.probe.target.node;
    for fact in facts.iter().filter(judged).filter(across) {
        all += 1;
        bad += usize::from(fact.bad());
    }
    // As of any node that answers nobody: all but a twentieth, from two others at least.
    if bad < 2 || bad * 20 < all * 19 {
        return None;
    }
    let share = |one: &Explained| one.paths.iter().filter(|&&at| touches(&facts[at], node)).count();
    let most = own.iter().enumerate().max_by_key(|(at, one)| (share(one), std::cmp::Reverse(*at)))?;
    (share(most.1) * 2 > bad).then_some(most.0)
}

fn touches(fact: &Fact, node: &str) -> bool {
    *fact.source == *node || fact.path.probe.target.node == node
}

/// Another network suffers of the same cause.
fn absorb(one: &mut Explained, other: Explained) {
    one.evidence.push(format!("also {}", other.headline));
    one.evidence.extend(other.evidence.into_iter().take(1));
    one.paths.extend(other.paths);
    one.paths.sort_unstable();
    one.contradictions.extend(other.contradictions);
    one.contradictions.sort_unstable();
    one.unreachable |= other.unreachable;
    one.first_ns = one.first_ns.into_iter().chain(other.first_ns).min();
    one.last_ns = one.last_ns.max(other.last_ns);
}
