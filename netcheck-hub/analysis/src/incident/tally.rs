//! How many paths cross each suspect, how many of them are bad, and which suspects that makes eligible.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::cause::{Cause, Scope, Side, Suspect, Symbol};
use super::index::{Index, Item};

mod places;
mod rules;
mod wire;

pub(super) use wire::one_way_at;

/// Paths that cross one cause.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Bad ones, as numbers of items.
    pub bad: Vec<usize>,
    /// Fine ones.
    pub good: usize,
    sources: BTreeSet<Symbol>,
    ends: BTreeSet<Symbol>,
}

impl Tally {
    /// All but a twentieth of its paths are bad.
    #[must_use]
    pub fn full(&self) -> bool {
        self.bad.len() * 20 >= (self.bad.len() + self.good) * 19
    }

    fn half(&self) -> bool {
        self.bad.len() >= self.good
    }

    fn others(&self, node: Symbol) -> usize {
        self.ends.iter().filter(|&&end| end != node).count()
    }
}

/// A cause that is eligible, and what it would explain.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// It.
    pub cause: Cause,
    /// A kernel's report proves it.
    pub proven: bool,
    /// Bad items that it explains, ascending.
    pub covers: Vec<usize>,
    /// Paths that cross it and are fine.
    pub good: usize,
}

/// The tallies of all causes that any bad path crosses.
pub struct Tallies<'a> {
    pub(super) index: &'a Index,
    all: HashMap<Cause, Tally>,
    /// By cause without direction: those of its bad items that died in each direction.
    directed: BTreeMap<Cause, (usize, usize)>,
    /// By place: the bad items that a kernel reported there, ascending.
    died: Vec<Vec<usize>>,
    /// By node: the other nodes that paths lead to or from which cross no tunnel.
    neighbours: HashMap<Symbol, HashSet<Symbol>>,
    /// By pod: bad items that go to it as such, and that no kernel reported.
    direct: HashMap<Symbol, Vec<usize>>,
}

impl<'a> Tallies<'a> {
    /// Counts.
    #[must_use]
    pub fn of(index: &'a Index) -> Self {
        let mut all: HashMap<Cause, Tally> = HashMap::new();
        let mut directed: BTreeMap<Cause, (usize, usize)> = BTreeMap::new();
        for (number, item) in index.items.iter().enumerate().filter(|(_, item)| item.bad) {
            for scope in Scope::around(item.packets()) {
                item.crosses(|suspect| {
                    if !scope.fits(suspect) {
                        return;
                    }
                    let tally = all.entry(Cause { suspect, scope }).or_default();
                    tally.bad.push(number);
                    tally.sources.insert(item.source);
                    let far = if item.node == 0 { item.target } else { item.node };
                    tally.ends.extend([item.source, far]);
                });
                for suspect in item.one_way().into_iter().flatten().filter(|one| scope.fits(*one)) {
                    directed.entry(Cause { suspect, scope }).or_default().0 += 1;
                }
            }
        }
        for item in index.items.iter().filter(|item| !item.bad) {
            for scope in Scope::around(item.packets()) {
                item.crosses(|suspect| {
                    if let Some(tally) = all.get_mut(&Cause { suspect, scope }) {
                        tally.good += 1;
                    }
                });
            }
        }
        let mut died = vec![Vec::new(); index.places.len()];
        let mut neighbours: HashMap<Symbol, HashSet<Symbol>> = HashMap::new();
        let mut direct: HashMap<Symbol, Vec<usize>> = HashMap::new();
        for (number, item) in index.items.iter().enumerate() {
            if let Some(place) = item.place.filter(|_| item.observed) {
                died[place].push(number);
            }
            if item.bad && !item.observed && item.to_pod {
                direct.entry(item.pod).or_default().push(number);
            }
            if item.bare && item.source != item.node {
                neighbours.entry(item.source).or_default().insert(item.node);
                neighbours.entry(item.node).or_default().insert(item.source);
            }
        }
        Self { index, all, directed, died, neighbours, direct }
    }

    /// The tally of a cause.
    #[must_use]
    pub fn get(&self, cause: &Cause) -> Option<&Tally> {
        let suspect = cause.suspect.undirected().unwrap_or(cause.suspect);
        self.all.get(&Cause { suspect, ..*cause })
    }

    /// Whether a cause may be blamed. `strict`: only where (nearly) all paths that cross it are bad.
    fn eligible(&self, cause: &Cause, tally: &Tally, strict: bool) -> bool {
        let side = |side| {
            let Suspect::Node(node, _) = cause.suspect else { return false };
            let half = self.all.get(&Cause { suspect: Suspect::Node(node, side), ..*cause });
            half.is_some_and(Tally::full)
        };
        let enough = if strict { tally.full() } else { tally.half() };
        match cause.suspect {
            Suspect::Node(node, Side::Both) if strict => {
                side(Side::In) && side(Side::Out) && tally.others(node) >= 2
            }
            Suspect::Node(node, _) if strict => tally.full() && tally.others(node) >= 2,
            Suspect::Node(node, side) => side == Side::Both && tally.others(node) >= 3,
            // While most is not known, what is known is no sample.
            Suspect::Everywhere | Suspect::AllPods => {
                enough
                    && tally.sources.len() >= 2
                    && tally.ends.len() >= 3
                    && self.index.unjudged <= self.index.items.len()
            }
            Suspect::Zones(..) | Suspect::PodsOut(_) => enough && tally.ends.len() >= 3,
            Suspect::TunnelEnd(node) => enough && strict && tally.others(node) >= 2,
            // Of two nodes, neither is more to blame than the other.
            Suspect::Pods(node) if self.index.network.is_some() => enough && tally.others(node) >= 2,
            Suspect::Pods(_) | Suspect::Target(_) | Suspect::Service(_) => enough && tally.sources.len() >= 2,
            // What a node loses as well is not its pods' alone: then others explain as much, and more of it.
            Suspect::PodsTo(_) => enough && strict && tally.sources.len() >= 2,
            // One path is not all that is between two nodes.
            Suspect::Link(..) => !strict || (tally.full() && tally.bad.len() >= 2),
            Suspect::Backend(_) => !strict || tally.full(),
            Suspect::From(..) => !strict,
            Suspect::Place(_)
            | Suspect::LinkOneWay(..)
            | Suspect::ZonesOneWay(..)
            | Suspect::Cable(_)
            | Suspect::Loop(_)
            | Suspect::Scattered => false,
        }
    }

    /// Everything that may be blamed, in an order in which of those with one name always the same comes first.
    #[must_use]
    pub fn candidates(&self, strict: bool) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        if strict {
            candidates.extend(self.places());
            candidates.extend(self.loops());
        }
        for (cause, tally) in &self.all {
            if let Suspect::Cable(node) = cause.suspect {
                candidates.extend(self.cable(*cause, node, tally, strict));
            } else if let Some(covers) = self.ruled(cause, tally).filter(|_| strict) {
                candidates.push(Candidate { cause: *cause, proven: true, covers, good: tally.good });
            } else if self.eligible(cause, tally, strict) {
                candidates.extend(self.candidate(*cause, tally));
            }
        }
        for (cause, (there, _)) in &self.directed {
            let Some(suspect) = cause.suspect.undirected() else { continue };
            let undirected = Cause { suspect, ..*cause };
            let back = match cause.suspect {
                Suspect::LinkOneWay(a, b) => Suspect::LinkOneWay(b, a),
                Suspect::ZonesOneWay(a, b) => Suspect::ZonesOneWay(b, a),
                other => other,
            };
            let back = self.directed.contains_key(&Cause { suspect: back, ..*cause });
            let Some(tally) = self.all.get(&undirected) else { continue };
            // Both directions of asking must be hurt: else it is a path that fails, not a direction of packets.
            if !back && there * 2 >= tally.bad.len() && self.eligible(&undirected, tally, strict) {
                candidates.extend(self.candidate(*cause, tally));
            }
        }
        candidates.sort_by_key(|candidate| candidate.cause);
        candidates
    }

    fn candidate(&self, cause: Cause, tally: &Tally) -> Option<Candidate> {
        let item = |number: &usize| &self.index.items[*number];
        let place_node = |item: &Item| item.place.map(|place| self.index.places[place].node);
        let (covers, proven): (Vec<usize>, bool) = match cause.suspect {
            // What a kernel reports elsewhere is not this node's doing.
            Suspect::Node(node, _) => {
                let own = |item: &Item| !item.observed || place_node(item) == Some(node);
                let covers: Vec<usize> = tally.bad.iter().copied().filter(|at| own(item(at))).collect();
                let proven = covers.iter().any(|at| item(at).observed);
                (covers, proven)
            }
            Suspect::TunnelEnd(node) => {
                let own =
                    |item: &Item| !item.observed || (item.untranslatable && place_node(item) == Some(node));
                (tally.bad.iter().copied().filter(|at| own(item(at))).collect(), false)
            }
            // The same rule on every node is one cause.
            Suspect::Everywhere if cause.scope != Scope::default() => {
                let nodes: HashSet<_> =
                    tally.bad.iter().map(item).filter(|item| item.observed).filter_map(place_node).collect();
                (tally.bad.clone(), nodes.len() >= 2)
            }
            Suspect::Backend(backend) => {
                let mut covers: Vec<usize> =
                    tally.bad.iter().copied().filter(|at| !item(at).observed).collect();
                covers.extend(self.asked_directly(backend, &covers));
                covers.sort_unstable();
                (covers, false)
            }
            _ => (tally.bad.iter().copied().filter(|at| !item(at).observed).collect(), false),
        };
        (!covers.is_empty()).then_some(Candidate { cause, proven, covers, good: tally.good })
    }
}
