//! What speaks for a cause and what against it: the arithmetic, the places, the facts, the paths that are fine.

use std::collections::{BTreeSet, HashSet};

use super::cause::{Cause, Side, Suspect};
use super::index::Item;
use super::words::Describe;
use super::{Fact, symptoms};

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
                found && cause.scope.takes(item.packets())
            }
        };
        let fine = self.index.items.iter().filter(|item| !item.bad && crosses(item));
        fine.map(|item| item.fact).collect()
    }

    pub(super) fn place(&self, bad: &BTreeSet<usize>) -> Option<String> {
        symptoms::locations(&self.of(bad)).into_iter().next().map(|(_, place)| place)
    }

    /// The arithmetic first, then facts.
    #[must_use]
    pub fn evidence(&self, cause: &Cause, bad: &BTreeSet<usize>, contradictions: &[usize]) -> Vec<String> {
        let fine: Vec<&Fact> = contradictions.iter().map(|&at| &self.facts[at]).collect();
        symptoms::evidence(vec![self.arithmetic(cause, bad, contradictions)], &self.of(bad), &fine)
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
            Suspect::TunnelEnd(node) => format!("{probes} through the tunnels of {}", name(node)),
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
