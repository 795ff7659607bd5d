//! The wire at a node: where packets die that left one end of it and never came to the other.

use std::collections::BTreeSet;

use super::{Candidate, Tallies, Tally};
use crate::incident::cause::{Cause, Suspect, Symbol};

impl Tallies<'_> {
    /// The wire at a node, where at least half of what it would explain is known to have died on a wire with an end
    /// there, and the other ends differ. Not where single links explain it as well: some are dead and most are fine.
    pub(super) fn cable(&self, cause: Cause, node: Symbol, tally: &Tally, strict: bool) -> Option<Candidate> {
        let item = |number: &usize| &self.index.items[*number];
        let covers: Vec<usize> = tally.bad.iter().copied().filter(|at| !item(at).observed).collect();
        let wires = || covers.iter().filter_map(|at| item(at).wire);
        let ends: BTreeSet<Symbol> = wires().map(|(a, b)| if a == node { b } else { a }).collect();
        let dead = |&end: &Symbol| {
            let suspect = Suspect::Link(node.min(end), node.max(end));
            self.all.get(&Cause { suspect, ..cause }).is_some_and(|link| link.full() && link.bad.len() >= 2)
        };
        let all = self.neighbours.get(&node).map_or(0, std::collections::HashSet::len);
        let common = ends.len() * 2 >= all || !(strict && ends.iter().any(dead));
        // One kind of probe alone only where it is hurt as a whole: by chance, any is hurt first.
        let scoped = cause.scope.probe.is_none() || tally.full();
        (common && scoped && ends.len() >= 2 && wires().count() * 2 >= covers.len()).then_some(Candidate {
            cause,
            proven: false,
            covers,
            good: tally.good,
        })
    }
}

/// Which way packets went that died on wires at a node (from where to where each): true where all were for it, false
/// where it had sent all.
pub(in crate::incident) fn one_way_at(
    node: Symbol,
    wires: impl Iterator<Item = (Symbol, Symbol)>,
) -> Option<bool> {
    let ways: BTreeSet<bool> = wires.map(|(_, to)| to == node).collect();
    (ways.len() == 1).then(|| ways.contains(&true))
}
