//! What one place explains, one loop, and one backend that is also asked directly.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use netcheck_common::domain::{Family, ProbeKind};

use super::{Candidate, Tallies};
use crate::incident::cause::{Cause, Scope, Suspect, Symbol};
use crate::incident::index::{Index, Item, Place};

/// What is known of the packets that one cause is known to have killed.
#[derive(Default)]
struct Victims {
    what: HashSet<(ProbeKind, Family)>,
    ends: HashSet<(Symbol, Symbol)>,
    pods: HashSet<Symbol>,
}

impl Victims {
    fn of(index: &Index, numbers: &[usize]) -> Self {
        let mut victims = Self::default();
        for item in numbers.iter().map(|&number| &index.items[number]) {
            victims.what.insert((item.probe, item.family));
            victims.ends.insert(item.ends());
            if item.pod != 0 {
                victims.pods.insert(item.pod);
            }
        }
        victims
    }

    /// Packets of this kind died of it.
    fn alike(&self, item: &Item) -> bool {
        self.what.contains(&(item.probe, item.family))
    }

    fn of_family(&self, family: Family) -> bool {
        self.what.iter().any(|&(_, of)| of == family)
    }

    /// Packets between the same ends died of it, or on their way to the same pod.
    fn akin(&self, item: &Item) -> bool {
        self.ends.contains(&item.ends()) || self.pods.contains(&item.pod)
    }
}

impl Tallies<'_> {
    /// A place explains what dies there, and what ends at its node, is of the same kind and has no place of its own.
    pub(super) fn places(&self) -> Vec<Candidate> {
        let index = self.index;
        let mut at: Vec<Vec<usize>> = vec![Vec::new(); index.places.len()];
        let mut near: HashMap<Symbol, Vec<usize>> = HashMap::new();
        let mut fine: HashMap<Symbol, usize> = HashMap::new();
        for (number, item) in index.items.iter().enumerate() {
            if let Some(place) = item.place {
                at[place].push(number);
            }
            if item.bad && (!item.observed || item.untranslatable || item.refused) {
                for node in BTreeSet::from([item.source, item.node]) {
                    near.entry(node).or_default().push(number);
                }
            }
            if !item.bad && item.to_pod {
                *fine.entry(item.pod).or_default() += 1;
            }
        }
        let candidate = |(number, mut covers): (usize, Vec<usize>)| {
            let place = &index.places[number];
            let proven = !self.died[number].is_empty();
            if proven && place.claims_address {
                covers.extend(self.between_namesakes(place, &covers));
                covers.sort_unstable();
                covers.dedup();
            } else if place.specific {
                let victims = Victims::of(index, &covers);
                let here = if proven { Some(&place.node) } else { None };
                // A node that neither sends nor answers them passes them on: then it is met by what is between the same ends.
                let between = victims.ends.iter().filter(|(a, b)| ![*a, *b].contains(&place.node));
                let nodes: BTreeSet<&Symbol> = here.into_iter().chain(between.map(|(a, _)| a)).collect();
                let same = |at: &&usize| {
                    let item = &index.items[**at];
                    (proven && self.dies_of(place, &victims, item)) || self.passes(place, &victims, item)
                };
                covers.extend(nodes.into_iter().filter_map(|node| near.get(node)).flatten().filter(same));
                covers.sort_unstable();
                covers.dedup();
            }
            // Where a pod was the last to see it and others get through to that pod, the way there is open.
            let good = if proven { 0 } else { fine.get(&place.pod).copied().unwrap_or_default() };
            let cause = Cause { suspect: Suspect::Place(number), scope: Scope::default() };
            Candidate { cause, proven, covers, good }
        };
        at.into_iter().enumerate().map(candidate).collect()
    }

    /// What dies between a node and those of which it has an address: it never sends to them, but to itself, inside of tunnels
    /// as well, and takes nothing from them.
    fn between_namesakes(&self, place: &Place, covers: &[usize]) -> Vec<usize> {
        let items = || covers.iter().map(|&at| &self.index.items[at]);
        let families: HashSet<Family> = items().map(|item| item.on_wire.unwrap_or(item.family)).collect();
        let ends: HashSet<(Symbol, Symbol)> =
            items().filter(|item| item.source != item.node && item.node != 0).map(Item::ends).collect();
        let between = |item: &Item| {
            let known = item.node != 0 && ends.contains(&item.ends());
            let perhaps = item.node == 0 && ends.iter().any(|&(a, b)| [a, b].contains(&item.source));
            item.bad
                && (known || perhaps)
                && families.contains(&item.on_wire.unwrap_or(item.family))
                && item.place.is_none_or(|at| !item.observed || self.index.places[at].node == place.node)
        };
        let all = self.index.items.iter().enumerate().filter(|(_, item)| between(item));
        all.map(|(number, _)| number).collect()
    }

    /// Whether what is known to die at a place explains this one, which ends at its node.
    fn dies_of(&self, place: &Place, victims: &Victims, item: &Item) -> bool {
        let reaches = !place.one_pod || item.pod == place.pod;
        // What left one node and never came to the next was seen by neither of them to die.
        let between = item.wire.is_some() && !place.on_interface;
        let Some(last) = item.place else {
            return !item.observed && !between && reaches && victims.alike(item);
        };
        // What wraps packets finds no route where a policy forbids to send to the other end; senders are refused.
        let silent = item.last_seen || (place.no_route && (item.untranslatable || item.refused));
        // Routes take all kinds of packets alike.
        let alike = victims.alike(item) || (place.no_route && victims.of_family(item.family));
        silent && reaches && self.index.places[last].node == place.node && victims.akin(item) && alike
    }

    /// Whether what is known to die at a place behind the sender's node explains this one, which that node's hooks lost sight of:
    /// what pods send may leave under the node's own address and another port, which no hook knows.
    fn passes(&self, place: &Place, victims: &Victims, item: &Item) -> bool {
        let Some(last) = item.place.filter(|_| item.last_seen && !item.observed) else { return false };
        self.index.places[last].node == item.source
            && place.node != item.source
            && victims.ends.contains(&item.ends())
            && victims.alike(item)
    }

    /// What comes round on its way to a node dies wherever its time to live ends, or where its own sender sees it
    /// again. That is one cause, and explains what was seen last in the circle as well.
    pub(super) fn loops(&self) -> Vec<Candidate> {
        let index = self.index;
        let mut circles: BTreeMap<Symbol, (Vec<usize>, HashSet<Symbol>)> = BTreeMap::new();
        for (number, item) in index.items.iter().enumerate() {
            if let Some((to, at)) = item.looped {
                let (covers, nodes) = circles.entry(to).or_default();
                covers.push(number);
                nodes.insert(at);
            }
        }
        let candidate = |(to, (mut covers, nodes)): (Symbol, (Vec<usize>, HashSet<Symbol>))| {
            let victims = Victims::of(index, &covers);
            let in_circle = |item: &Item| match item.place {
                _ if item.strayed.is_some_and(|(of, at)| of == to && nodes.contains(&at)) => true,
                None => victims.akin(item),
                Some(last) => item.last_seen && nodes.contains(&index.places[last].node),
            };
            let same = |item: &Item| {
                item.bad && !item.observed && (item.source == to || item.node == to) && in_circle(item)
            };
            let others = index.items.iter().enumerate().filter(|(_, item)| same(item));
            covers.extend(others.map(|(number, _)| number));
            covers.sort_unstable();
            covers.dedup();
            let proven = covers.iter().any(|&number| index.items[number].observed);
            let cause = Cause { suspect: Suspect::Loop(to), scope: Scope::default() };
            Candidate { cause, proven, covers, good: 0 }
        };
        circles.into_iter().map(candidate).collect()
    }

    /// Bad paths to a backend itself with probes of the kinds that it fails in its service's stead.
    pub(super) fn asked_directly(&self, backend: Symbol, covers: &[usize]) -> Vec<usize> {
        let victims = Victims::of(self.index, covers);
        let same = |at: &&usize| victims.alike(&self.index.items[**at]);
        self.direct.get(&backend).into_iter().flatten().filter(same).copied().collect()
    }
}
