//! From groups to causes, step by step.

use crate::candidates::{self, Candidate};
use crate::cause::Cause;
use crate::class::Kinds;
use crate::crossings::Crossings;
use crate::observation::Group;
use crate::polish;
use crate::rates::{self, Mode, RateInput, Rated};
use crate::report;
use crate::search;
use crate::symptoms::{self, Item};
use crate::topology::Topology;

/// The fewest causes that explain what was lost. Empty where nothing was, but for a stray loss here and there.
#[must_use]
pub fn explain(topology: &Topology, groups: &[Group]) -> Vec<Cause> {
    let mut kinds = Kinds::new();
    let items = symptoms::items(topology, groups, &mut kinds);
    if items.is_empty() {
        return Vec::new();
    }
    let crossings = Crossings::new(topology, groups, &items, &mut kinds);
    let certain = candidates::certain(topology, &crossings, &items, &kinds);
    let facts = Facts {
        topology,
        crossings: &crossings,
        items: &items,
        kinds: &kinds,
        certain: &certain,
        bounds: rates::bounds(&crossings, &items),
    };
    let chosen = polish::polish(topology, (&crossings, &items, &kinds), facts.best());
    report::causes(topology, groups, &chosen, &items)
}

/// A cause that was chosen.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    pub(crate) candidate: Candidate,
    /// How it picks what it loses; none if it loses all, as far as anybody can tell.
    pub(crate) mode: Option<Mode>,
    /// How improbable what it explains is by it, in nats.
    pub(crate) cost: f64,
}

/// What a further cause must be worth, in nats.
const CAUSE: f64 = 14.0;

/// More items than this are looked at in one way alone.
const MANY: usize = 2_000;

/// All that is known, and the causes that come into question if they lose all.
struct Facts<'a> {
    topology: &'a Topology,
    crossings: &'a Crossings,
    items: &'a [Item],
    kinds: &'a Kinds,
    certain: &'a [Candidate],
    bounds: Vec<(f64, u32)>,
}

impl Facts<'_> {
    /// Of several ways to choose the one whose causes make what happened the most probable.
    fn best(&self) -> Vec<Chosen> {
        let all = [(false, 1.5), (true, 6.0), (false, 6.0), (true, 1.5)];
        // Many items show by themselves what is one cause.
        let ways = if self.items.len() > MANY { &all[..1] } else { &all[..] };
        let mut best: Option<(f64, Vec<Chosen>)> = None;
        for &(whole_first, strictness) in ways {
            let chosen = self.choose(whole_first, strictness);
            let cost = self.cost(&chosen);
            let plain = chosen.iter().all(|it| it.mode.is_none());
            if best.as_ref().is_none_or(|(least, _)| cost < least - 1e-6) {
                best = Some((cost, chosen));
            }
            // Nothing is lost in part: the other ways come to the same.
            if plain && !whole_first && !self.items.iter().any(|item| !item.dead) {
                break;
            }
        }
        best.map(|(_, chosen)| chosen).unwrap_or_default()
    }

    fn choose(&self, whole_first: bool, strictness: f64) -> Vec<Chosen> {
        let mut open = vec![true; self.items.len()];
        let mut rated_open = open.clone();
        if whole_first {
            for chosen in self.whole(&open) {
                for &item in &chosen.candidate.items {
                    rated_open[item as usize] = false;
                }
            }
        }
        let mut chosen = self.rated(&rated_open, &mut open, strictness);
        chosen.extend(self.whole(&open));
        chosen
    }

    /// How improbable what happened is if these are the causes, in nats.
    fn cost(&self, chosen: &[Chosen]) -> f64 {
        let mut explained = vec![false; self.items.len()];
        let mut cost = 0.0;
        for chosen in chosen {
            for &item in &chosen.candidate.items {
                explained[item as usize] = true;
            }
            let candidate = &chosen.candidate;
            let odd = 20.0 * f64::from(candidate.odd) / f64::max(1.0, candidate.items.len() as f64);
            cost += CAUSE + chosen.cost + odd + 0.02 * f64::from(candidate.rank);
        }
        let left = self.items.iter().zip(explained).filter(|(_, explained)| !explained);
        cost + left.map(|(item, _)| rates::surprise(item)).sum::<f64>()
    }

    /// Causes that lose a part of their packets, the greatest first, as long as no cause that loses all explains more.
    fn rated(&self, rated_open: &[bool], open: &mut [bool], strictness: f64) -> Vec<Chosen> {
        let mut chosen = Vec::new();
        let mut left = rated_open.to_vec();
        while left.contains(&true) {
            let input = RateInput {
                topology: self.topology,
                crossings: self.crossings,
                items: self.items,
                open: &left,
                free: open,
                kinds: self.kinds,
                bounds: &self.bounds,
                strictness,
            };
            let Some(best) = rates::best(&input) else { break };
            let whole = self.greatest(&left);
            match whole {
                Some((worth, whole)) if worth > best.gain => {
                    for &item in &whole.items {
                        left[item as usize] = false;
                    }
                }
                _ => {
                    for &item in &best.candidate.items {
                        left[item as usize] = false;
                        open[item as usize] = false;
                    }
                    let Rated { candidate, mode, cost, .. } = best;
                    chosen.push(Chosen { candidate, mode: Some(mode), cost });
                }
            }
        }
        chosen
    }

    /// The cause that explains the most if it loses all.
    fn greatest(&self, left: &[bool]) -> Option<(f64, &Candidate)> {
        let mut best: Option<(f64, &Candidate)> = None;
        for candidate in self.certain {
            if best.is_some_and(|(worth, _)| candidate.worth < worth) {
                break;
            }
            let worth = rates::worth(candidate, self.items, left);
            let better = |(most, other): (f64, &Candidate)| {
                worth > most || worth >= most && candidate.rank < other.rank
            };
            if best.is_none_or(better) {
                best = Some((worth, candidate));
            }
        }
        best
    }

    /// The fewest causes that lose all of their packets, for what is left.
    fn whole(&self, open: &[bool]) -> Vec<Chosen> {
        let mut numbers = vec![u32::MAX; self.items.len()];
        let mut count = 0;
        for (at, number) in numbers.iter_mut().enumerate() {
            if open[at] && (self.items[at].dead || self.items[at].guess) {
                *number = count;
                count += 1;
            }
        }
        let mut places = Vec::new();
        let mut reduced: Vec<Candidate> = Vec::new();
        for (at, candidate) in self.certain.iter().enumerate() {
            let items = candidate.items.iter().map(|&item| numbers[item as usize]);
            let items: Vec<u32> = items.filter(|&it| it != u32::MAX).collect();
            if !items.is_empty() {
                places.push(at);
                reduced.push(Candidate { items, equals: Vec::new(), ..*candidate });
            }
        }
        let chosen = search::cover(&reduced, count as usize);
        let chosen = search::refine(&reduced, chosen);
        let whole = |at: usize| Chosen { candidate: self.certain[places[at]].clone(), mode: None, cost: 0.0 };
        chosen.into_iter().map(whole).collect()
    }
}
