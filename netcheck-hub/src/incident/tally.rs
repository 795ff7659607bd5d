//! How many paths cross each suspect, how many of them are bad, and which suspects that makes eligible.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::cause::{Cause, Scope, Side, Suspect, Symbol};
use super::index::{Index, Item, Place};

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
    index: &'a Index,
    all: HashMap<Cause, Tally>,
    /// By cause without direction: those of its bad items that died in each direction.
    directed: BTreeMap<Cause, (usize, usize)>,
}

impl<'a> Tallies<'a> {
    /// Counts.
    #[must_use]
    pub fn of(index: &'a Index) -> Self {
        let mut all: HashMap<Cause, Tally> = HashMap::new();
        let mut directed: BTreeMap<Cause, (usize, usize)> = BTreeMap::new();
        for (number, item) in index.items.iter().enumerate().filter(|(_, item)| item.bad) {
            for scope in Scope::around(item.probe, item.family) {
                item.crosses(|suspect| {
                    let tally = all.entry(Cause { suspect, scope }).or_default();
                    tally.bad.push(number);
                    tally.sources.insert(item.source);
                    let far = if item.node == 0 { item.target } else { item.node };
                    tally.ends.extend([item.source, far]);
                });
                for suspect in item.one_way().into_iter().flatten() {
                    directed.entry(Cause { suspect, scope }).or_default().0 += 1;
                }
            }
        }
        for item in index.items.iter().filter(|item| !item.bad) {
            for scope in Scope::around(item.probe, item.family) {
                item.crosses(|suspect| {
                    if let Some(tally) = all.get_mut(&Cause { suspect, scope }) {
                        tally.good += 1;
                    }
                });
            }
        }
        Self { index, all, directed }
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
            Suspect::Everywhere => enough && tally.sources.len() >= 2 && tally.ends.len() >= 3,
            Suspect::Zones(..) => enough && tally.ends.len() >= 3,
            Suspect::Pods(_) | Suspect::Target(_) | Suspect::Service(_) => enough && tally.sources.len() >= 2,
            Suspect::Link(..) | Suspect::Backend(_) => !strict || tally.full(),
            Suspect::From(..) => !strict,
            Suspect::Place(_) | Suspect::LinkOneWay(..) | Suspect::ZonesOneWay(..) | Suspect::Scattered => {
                false
            }
        }
    }

    /// Everything that may be blamed, in no particular order.
    #[must_use]
    pub fn candidates(&self, strict: bool) -> Vec<Candidate> {
        let mut candidates = if strict { self.places() } else { Vec::new() };
        for (cause, tally) in &self.all {
            if self.eligible(cause, tally, strict) {
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
            // The same rule on every node is one cause.
            Suspect::Everywhere if cause.scope != Scope::default() => {
                let nodes: HashSet<_> =
                    tally.bad.iter().map(item).filter(|item| item.observed).filter_map(place_node).collect();
                (tally.bad.clone(), nodes.len() >= 2)
            }
            _ => (tally.bad.iter().copied().filter(|at| !item(at).observed).collect(), false),
        };
        (!covers.is_empty()).then_some(Candidate { cause, proven, covers, good: tally.good })
    }

    /// A place explains what dies there, and what ends at its node, is of the same kind and has no place of its own.
    fn places(&self) -> Vec<Candidate> {
        let index = self.index;
        let mut at: Vec<(Vec<usize>, HashSet<_>, bool)> = vec![Default::default(); index.places.len()];
        for (number, item) in index.items.iter().enumerate() {
            if let Some(place) = item.place {
                at[place].0.push(number);
                at[place].1.insert((item.probe, item.family));
                at[place].2 |= item.observed;
            }
        }
        let mut near: HashMap<Symbol, Vec<usize>> = HashMap::new();
        for (number, item) in index.items.iter().enumerate().filter(|(_, item)| item.bad && !item.observed) {
            for node in BTreeSet::from([item.source, item.node]) {
                near.entry(node).or_default().push(number);
            }
        }
        let ends = |item: &Item| BTreeSet::from([item.source, item.node]);
        let candidate = |(place, (mut covers, what, observed)): (usize, (Vec<usize>, HashSet<_>, bool))| {
            let Place { node, specific, .. } = index.places[place];
            if observed && specific {
                let pairs: HashSet<_> = covers.iter().map(|&at| ends(&index.items[at])).collect();
                let same = |at: &&usize| {
                    let item = &index.items[**at];
                    let open = match item.place {
                        None => true,
                        Some(last) => {
                            item.last_seen && index.places[last].node == node && pairs.contains(&ends(item))
                        }
                    };
                    open && what.contains(&(item.probe, item.family))
                };
                covers.extend(near.get(&node).into_iter().flatten().filter(same));
                covers.sort_unstable();
                covers.dedup();
            }
            let cause = Cause { suspect: Suspect::Place(place), scope: Scope::default() };
            Candidate { cause, proven: observed, covers, good: 0 }
        };
        at.into_iter().enumerate().map(candidate).collect()
    }
}
