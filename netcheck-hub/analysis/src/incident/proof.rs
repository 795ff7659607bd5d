//! What speaks for a cause and what against it: the arithmetic, the places, the facts, the paths that are fine.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use netcheck_common::domain::Vantage;

use super::cause::{Cause, Scope, Side, Suspect};
use super::index::Item;
use super::words::Describe;
use crate::words::names::probe_name;
use crate::words::names::{source_name, target_name};

/// Facts under one cause.
const FACTS: usize = 6;
/// Fine paths that are named.
const NAMED: usize = 3;

fn scoped(scope: Scope, item: &Item) -> bool {
    scope.takes(item.probe, item.family)
}

impl Describe<'_> {
    /// Facts of paths that cross a cause and are fine, as places in the facts.
    #[must_use]
    pub fn contradictions(&self, cause: &Cause, bad: &BTreeSet<usize>) -> Vec<usize> {
        let items = || bad.iter().map(|&number| &self.index.items[number]);
        let what: HashSet<_> = items().map(|item| (item.probe, item.family)).collect();
        let suspect = cause.suspect.undirected().unwrap_or(cause.suspect);
        let sides = |node| (items().any(|item| item.source == node), items().any(|item| item.node == node));
        let place = match suspect {
            Suspect::Place(place) => {
                let node = self.index.places[place].node;
                Some((node, sides(node)))
            }
            _ => None,
        };
        let crosses = |item: &Item| match place {
            Some((node, (out, into))) => {
                what.contains(&(item.probe, item.family))
                    && ((out && item.source == node) || (into && item.node == node))
            }
            None => {
                let mut found = false;
                item.crosses(|crossed| found |= crossed == suspect);
                found && scoped(cause.scope, item)
            }
        };
        let fine = self.index.items.iter().filter(|item| !item.bad && crosses(item));
        fine.map(|item| item.fact).collect()
    }

    /// The places where its probes died and how many paths each explains, most first, those that were seen before
    /// those that were concluded.
    fn places(&self, bad: &BTreeSet<usize>) -> Vec<(usize, String)> {
        let mut places: BTreeMap<&str, (bool, usize)> = BTreeMap::new();
        for number in bad {
            let item = &self.index.items[*number];
            let Some(symptom) = &self.fact(*number).symptom else { continue };
            if symptom.at.is_some() {
                let known = places.entry(&symptom.summary).or_default();
                known.0 |= item.observed;
                known.1 += 1;
            }
        }
        let mut places: Vec<(bool, usize, &str)> =
            places.into_iter().map(|(place, (observed, count))| (observed, count, place)).collect();
        places.sort_by_key(|&(observed, count, place)| (!observed, std::cmp::Reverse(count), place));
        places.into_iter().map(|(_, count, place)| (count, place.to_owned())).collect()
    }

    pub(super) fn place(&self, bad: &BTreeSet<usize>) -> Option<String> {
        self.places(bad).into_iter().next().map(|(_, place)| place)
    }

    /// The arithmetic first, then facts.
    #[must_use]
    pub fn evidence(&self, cause: &Cause, bad: &BTreeSet<usize>, contradictions: &[usize]) -> Vec<String> {
        let mut lines = vec![self.arithmetic(cause, bad, contradictions)];
        let located: Vec<(usize, String)> = self.places(bad);
        let mut facts: Vec<String> =
            located.iter().map(|(count, place)| format!("{count} of {} paths: {place}", bad.len())).collect();
        let without = bad.len() - located.iter().map(|(count, _)| count).sum::<usize>();
        let mut told: Vec<&String> = Vec::new();
        for symptom in bad.iter().filter_map(|&at| self.fact(at).symptom.as_ref()) {
            told.extend(symptom.evidence.iter());
        }
        told.sort();
        told.dedup();
        facts.truncate(FACTS / 2);
        let room = FACTS - facts.len();
        facts.extend(told.into_iter().take(room).cloned());
        lines.extend(facts);
        if without > 0 && !located.is_empty() {
            lines.push(format!("{without} of {} paths have no place of their own", bad.len()));
        }
        if !contradictions.is_empty() {
            let name = |&at: &usize| {
                let fact = &self.facts[at];
                let target = target_name(&fact.path.probe.target.to_wire());
                let source = source_name(&fact.source, fact.path.vantage == Vantage::Pod);
                format!("{source} → {target} ({})", probe_name(fact.path.probe.kind))
            };
            let named: Vec<String> = contradictions.iter().take(NAMED).map(name).collect();
            lines.push(format!(
                "against it: {} paths cross it and are fine, as {}",
                contradictions.len(),
                named.join(", ")
            ));
        }
        lines
    }

    /// How many of the paths that cross it are bad, and how many of the others.
    fn arithmetic(&self, cause: &Cause, bad: &BTreeSet<usize>, contradictions: &[usize]) -> String {
        let name = |symbol| self.index.name(symbol);
        // Bad paths that cross it count even where another cause, which a kernel's report proves, explains them.
        let crossing = self.tallies.get(cause).map_or(bad.len(), |tally| tally.bad.len());
        let crossing = crossing.max(bad.len());
        let judged = crossing + contradictions.len();
        let all_bad = self.index.items.iter().filter(|item| item.bad).count();
        let others = self.index.items.len().saturating_sub(judged);
        let scope = cause.scope.name();
        let probes = if scope.is_empty() { "paths".to_owned() } else { format!("{scope} paths") };
        let which = match cause.suspect {
            Suspect::Place(place) => {
                format!("{probes} through {} of these kinds", name(self.index.places[place].node))
            }
            Suspect::LinkOneWay(a, b) | Suspect::Link(a, b) => {
                let [a, b] = self.pair(a, b);
                format!("{probes} between {a} and {b}")
            }
            Suspect::ZonesOneWay(a, b) | Suspect::Zones(a, b) => {
                let [a, b] = self.pair(a, b);
                format!("{probes} between zones {a} and {b}")
            }
            Suspect::Backend(backend) => format!("{probes} known to have met {}", name(backend)),
            Suspect::Target(target) => format!("{probes} to {}", name(target)),
            Suspect::Service(service) => format!("{probes} to service {}", name(service)),
            Suspect::Pods(node) => format!("{probes} of pods on {}", name(node)),
            Suspect::PodsOut(node) => format!("{probes} from pods on {}", name(node)),
            Suspect::PodsTo(target) => format!("{probes} from pods to {}", name(target)),
            Suspect::AllPods => format!("{probes} from pods"),
            Suspect::Node(node, Side::In) => format!("{probes} to {}", name(node)),
            Suspect::Node(node, Side::Out) => format!("{probes} from {}", name(node)),
            Suspect::Node(node, Side::Both) => format!("{probes} to and from {}", name(node)),
            Suspect::Cable(node) => format!("{probes} over the wire at {}", name(node)),
            Suspect::Loop(node) => format!("{probes} to or from {} that were seen to come round", name(node)),
            Suspect::Everywhere => format!("{probes} in the cluster"),
            Suspect::From(source, target) => format!("{probes} from {} to {}", name(source), name(target)),
            Suspect::Scattered => probes,
        };
        format!(
            "{crossing} of {judged} {which} fail, {} of {others} others",
            all_bad.saturating_sub(crossing).min(others)
        )
    }
}
