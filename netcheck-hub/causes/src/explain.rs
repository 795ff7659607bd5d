//! From groups to causes, step by step.

use crate::candidates::{self, Candidate};
use crate::cause::Cause;
use crate::class::Kinds;
use crate::crossings::Crossings;
use crate::observation::Group;
use crate::rates::{self, Mode};
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
    let mut open = vec![true; items.len()];
    let mut chosen = rated(topology, &crossings, (&items, &mut open, &certain), &kinds);
    chosen.extend(whole(&certain, &items, &open));
    chosen.into_iter().map(|chosen| report::cause(topology, groups, &chosen, &items)).collect()
}

/// A cause that was chosen.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    pub(crate) candidate: Candidate,
    /// How it picks what it loses; none if it loses all, as far as anybody can tell.
    pub(crate) mode: Option<Mode>,
}

/// Causes that lose a part of their packets, the greatest first, as long as no cause that loses all explains more.
fn rated(
    topology: &Topology,
    crossings: &Crossings,
    (items, open, certain): (&[Item], &mut [bool], &[Candidate]),
    kinds: &Kinds,
) -> Vec<Chosen> {
    let mut chosen = Vec::new();
    let mut left = open.to_vec();
    while left.contains(&true) {
        let scene = rates::Scene { topology, crossings, items, open: &left, kinds };
        let Some(best) = rates::best(&scene) else { break };
        let whole = certain.iter().map(|it| (rates::worth(it, items, &left), it));
        let whole = whole.max_by(|one, other| one.0.total_cmp(&other.0).then(other.1.rank.cmp(&one.1.rank)));
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
                chosen.push(Chosen { candidate: best.candidate, mode: Some(best.mode) });
            }
        }
    }
    chosen
}

/// The fewest causes that lose all of their packets, for what is left.
fn whole(certain: &[Candidate], items: &[Item], open: &[bool]) -> Vec<Chosen> {
    let mut numbers = vec![u32::MAX; items.len()];
    let mut count = 0;
    for (at, number) in numbers.iter_mut().enumerate() {
        if open[at] && (items[at].dead || items[at].guess) {
            *number = count;
            count += 1;
        }
    }
    let reduced: Vec<Candidate> = certain
        .iter()
        .map(|candidate| {
            let items = candidate.items.iter().map(|&item| numbers[item as usize]);
            Candidate { items: items.filter(|&it| it != u32::MAX).collect(), ..candidate.clone() }
        })
        .collect();
    let chosen = search::cover(&reduced, count as usize);
    let chosen = search::refine(&reduced, chosen);
    chosen.into_iter().map(|at| Chosen { candidate: certain[at].clone(), mode: None }).collect()
}
