//! The fewest causes. In: candidates. Out: those of them that together explain all items that can be explained, as few as
//! there may be, and the most plausible ones of as many.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::candidates::Candidate;

/// What a further cause costs. More than any difference of ranks: fewer causes come first.
const CAUSE: u64 = 10_000;
/// Items looked at in the exact search before what was found so far is taken.
const STEPS: usize = 2_000_000;
/// So many of the largest candidates of an item come into question for it.
const OF_ITEM: u32 = 12;

/// Places of the chosen candidates, ascending.
pub(crate) fn cover(candidates: &[Candidate], items: usize) -> Vec<usize> {
    let mut of_item: Vec<Vec<u32>> = vec![Vec::new(); items];
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by_key(|&at| (usize::MAX - candidates[at].items.len(), candidates[at].rank, at));
    let mut seen = vec![0; items];
    let mut usable = Vec::new();
    for at in order {
        let candidate = &candidates[at];
        if candidate.items.iter().all(|&item| seen[item as usize] >= OF_ITEM) {
            continue;
        }
        usable.push(at);
        for &item in &candidate.items {
            seen[item as usize] += 1;
            of_item[item as usize].push(u32::try_from(at).unwrap_or(u32::MAX));
        }
    }
    let mut search = Search {
        candidates,
        usable,
        of_item,
        covered: vec![0; items],
        chosen: Vec::new(),
        best: Vec::new(),
        best_cost: u64::MAX,
        left: STEPS,
    };
    search.greedy();
    search.descend(0);
    let mut best = search.best;
    best.sort_unstable();
    best
}

/// For each chosen one the most plausible of those that explain what it alone explains: least extent, no further.
pub(crate) fn refine(candidates: &[Candidate], mut chosen: Vec<usize>) -> Vec<usize> {
    for place in 0..chosen.len() {
        let mut others = std::collections::HashSet::new();
        for (at, &other) in chosen.iter().enumerate() {
            if at != place {
                others.extend(candidates[other].items.iter().copied());
            }
        }
        let current = &candidates[chosen[place]];
        let alone: Vec<u32> = current.items.iter().copied().filter(|item| !others.contains(item)).collect();
        if alone.is_empty() || alone.len() == current.items.len() {
            continue;
        }
        let fits = |candidate: &Candidate| {
            candidate.items.len() <= current.items.len()
                && alone.iter().all(|item| candidate.items.binary_search(item).is_ok())
        };
        let best = (0..candidates.len()).filter(|&at| fits(&candidates[at])).min_by_key(|&at| {
            let candidate = &candidates[at];
            (candidate.odd * 2 > current.odd * 2 + 1, candidate.plain_rank(), at)
        });
        chosen[place] = best.unwrap_or(chosen[place]);
    }
    chosen
}

struct Search<'a> {
    candidates: &'a [Candidate],
    /// Those that come into question.
    usable: Vec<usize>,
    /// Candidates that explain an item.
    of_item: Vec<Vec<u32>>,
    /// By how many chosen ones an item is explained.
    covered: Vec<u32>,
    chosen: Vec<usize>,
    best: Vec<usize>,
    best_cost: u64,
    left: usize,
}

impl Search<'_> {
    fn cost(&self, at: usize) -> u64 {
        let candidate = &self.candidates[at];
        // What is implausible for most of what it explains stands behind two causes that are plausible.
        let odd = 3 * CAUSE / 2 * u64::from(candidate.odd) / (candidate.items.len() as u64).max(1);
        CAUSE + odd + u64::from(candidate.rank)
    }

    fn choose(&mut self, at: usize) {
        for &item in &self.candidates[at].items {
            self.covered[item as usize] += 1;
        }
        self.chosen.push(at);
    }

    fn undo(&mut self) {
        if let Some(at) = self.chosen.pop() {
            for &item in &self.candidates[at].items {
                self.covered[item as usize] -= 1;
            }
        }
    }

    fn new_items(&self, at: usize) -> usize {
        self.candidates[at].items.iter().filter(|&&item| self.covered[item as usize] == 0).count()
    }

    /// The most for its cost, again and again; then what is not needed is left out.
    fn greedy(&mut self) {
        // What a candidate explains anew only becomes less: it is looked at again when it is the first.
        let key = |new: usize, place: usize| {
            let at = self.usable[place];
            (new, Reverse(self.candidates[at].rank), Reverse(place))
        };
        let mut queue: BinaryHeap<_> = (0..self.usable.len())
            .map(|place| key(self.candidates[self.usable[place]].items.len(), place))
            .collect();
        while let Some((new, rank, Reverse(place))) = queue.pop() {
            let now = self.new_items(self.usable[place]);
            if now == 0 {
                continue;
            }
            if now < new {
                queue.push((now, rank, Reverse(place)));
            } else {
                self.choose(self.usable[place]);
            }
        }
        let needed = self.without_idle();
        self.best_cost = needed.iter().map(|&at| self.cost(at)).sum();
        self.best = needed;
        while !self.chosen.is_empty() {
            self.undo();
        }
    }

    /// The chosen ones, without those whose items others explain as well.
    fn without_idle(&self) -> Vec<usize> {
        let mut counts = self.covered.clone();
        let mut needed = Vec::new();
        for &at in self.chosen.iter().rev() {
            let items = &self.candidates[at].items;
            if items.iter().all(|&item| counts[item as usize] > 1) {
                for &item in items {
                    counts[item as usize] -= 1;
                }
            } else {
                needed.push(at);
            }
        }
        needed
    }

    /// Branches on the item with the fewest explanations.
    fn descend(&mut self, cost: u64) {
        if self.left == 0 {
            return;
        }
        self.left = self.left.saturating_sub(self.covered.len());
        let open =
            (0..self.covered.len()).filter(|&item| self.covered[item] == 0 && !self.of_item[item].is_empty());
        let Some(item) = open.min_by_key(|&item| (self.of_item[item].len(), item)) else {
            if cost < self.best_cost {
                self.best_cost = cost;
                self.best = self.chosen.clone();
            }
            return;
        };
        let mut options: Vec<(usize, usize)> =
            self.of_item[item].iter().map(|&at| (self.new_items(at as usize), at as usize)).collect();
        let work: usize = options.iter().map(|&(_, at)| self.candidates[at].items.len()).sum();
        self.left = self.left.saturating_sub(work);
        options.sort_by_key(|&(new, at)| (usize::MAX - new, self.candidates[at].rank, at));
        for (_, at) in options {
            let with = cost + self.cost(at);
            if with < self.best_cost {
                self.choose(at);
                self.descend(with);
                self.undo();
            }
        }
    }
}
