//! The same rule on several nodes, which all stands between two zones or two nodes.

use std::collections::BTreeSet;

use super::{Tallies, Tally};
use crate::incident::cause::{Cause, Suspect, Symbol};
use crate::incident::index::Item;

impl Tallies<'_> {
    /// What a link explains where kernels of several nodes report drops for one and the same reason, all of which are
    /// between these two zones or nodes, and nothing else passes there: then that it is between them is the cause, and
    /// the places are its evidence. Between zones, some kinds of packets may pass where every pair of nodes is hurt. What
    /// died at these places on its way to nobody knows where is one with the rest.
    pub(super) fn ruled(&self, cause: &Cause, tally: &Tally) -> Option<Vec<usize>> {
        let zones = matches!(cause.suspect, Suspect::Zones(..));
        if !zones && !matches!(cause.suspect, Suspect::Link(..)) {
            return None;
        }
        let item = |at: usize| &self.index.items[at];
        let observed = tally.bad.iter().map(|&at| item(at)).filter(|item| item.observed);
        let places = observed.map(|item| item.place).collect::<Option<BTreeSet<usize>>>()?;
        let place = |&number: &usize| &self.index.places[number];
        let rules: BTreeSet<&str> = places.iter().map(|at| place(at).rule.as_str()).collect();
        let nodes: BTreeSet<Symbol> = places.iter().map(|at| place(at).node).collect();
        let died = || places.iter().flat_map(|&number| self.died[number].iter().copied());
        let elsewhere: Vec<usize> = died().filter(|at| tally.bad.binary_search(at).is_err()).collect();
        let open = |&at: &usize| item(at).may_cross(cause.suspect) && cause.scope.takes(item(at).packets());
        let found = rules.len() == 1
            && nodes.len() >= 2
            && places.iter().all(|at| place(at).specific)
            && elsewhere.iter().all(open)
            && (tally.full() || (zones && tally.ends.len() >= 3 && self.every_pair(cause, tally)));
        found.then(|| {
            let mut covers = tally.bad.clone();
            covers.extend(elsewhere);
            covers.sort_unstable();
            covers
        })
    }

    /// Every pair of nodes whose paths cross it has a bad one.
    fn every_pair(&self, cause: &Cause, tally: &Tally) -> bool {
        let known = |item: &Item| item.node != 0;
        let bad = tally.bad.iter().map(|&at| &self.index.items[at]);
        let bad: BTreeSet<(Symbol, Symbol)> = bad.filter(|item| known(item)).map(Item::ends).collect();
        let crosses = |item: &Item| {
            let mut found = false;
            item.crosses(|suspect| found |= suspect == cause.suspect);
            found && cause.scope.takes(item.packets())
        };
        let items = self.index.items.iter().filter(|item| known(item) && crosses(item));
        items.map(Item::ends).all(|ends| bad.contains(&ends))
    }
}
