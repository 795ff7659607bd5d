//! What follows from several paths together: which backend a lost probe met, on which node that is, and what travels inside of
//! tunnels. Pure.

use std::collections::{BTreeSet, HashMap, HashSet};

use netcheck_common::domain::Family;

use super::{Index, Item};
use crate::incident::cause::Symbol;

impl Index {
    /// Where all probes of a service that are known to have met a backend met the same (`known`, by service), the others
    /// did, too.
    pub(super) fn guess_backends(&mut self, known: &HashMap<Symbol, BTreeSet<Symbol>>) {
        let mut guessed = HashSet::new();
        let unknown = |item: &Item| item.bad && item.backend == 0;
        for (number, item) in self.items.iter_mut().enumerate().filter(|(_, item)| unknown(item)) {
            if let Some(known) = known.get(&item.service).filter(|known| known.len() == 1) {
                item.backend = known.iter().copied().next().unwrap_or_default();
                guessed.insert(number);
            }
        }
        self.place_backends(&guessed);
    }

    /// Finds what travels inside of tunnels: what goes to a pod of another node, as itself or in a service's stead. What a
    /// pod sends to another node's own address may leave as it is.
    pub(super) fn wrap(&mut self, outer: Option<Family>) {
        for item in self.items.iter_mut().filter(|item| item.source != item.node) {
            // Who answers in a service's stead may be on the same node, or in its node's network.
            let anywhere = item.service != 0 && !item.to_pod;
            item.wrapped = item.to_pod || (anywhere && item.bad && !item.answered);
            item.on_wire = match outer {
                Some(outer) if item.wrapped => Some(outer),
                // Some of its probes went through a tunnel, and nobody knows which.
                Some(outer) if anywhere && item.family != outer => None,
                Some(_) => Some(item.family),
                None => None,
            };
        }
    }

    /// What met one backend went to that backend's node, wherever it was lost. Where others met it and this may have met
    /// another (`guessed`), the backend's own node is no other's: what others lose on their way there, it loses elsewhere.
    fn place_backends(&mut self, guessed: &HashSet<usize>) {
        let nowhere = |item: &Item| item.bad && item.node == 0 && item.backend != 0;
        let mut nodes: HashMap<Symbol, Symbol> =
            self.items.iter().filter(|item| nowhere(item)).map(|item| (item.backend, 0)).collect();
        if nodes.is_empty() {
            return;
        }
        for item in self.items.iter().filter(|item| item.to_pod && item.node != 0) {
            nodes.entry(item.pod).and_modify(|node| *node = item.node);
        }
        for (number, item) in self.items.iter_mut().enumerate().filter(|(_, item)| nowhere(item)) {
            let node = nodes.get(&item.backend).copied().unwrap_or_default();
            if node != item.source || !guessed.contains(&number) {
                item.node = node;
            }
        }
    }
}
