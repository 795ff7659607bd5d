//! Causes that lose a part of their packets, or that began lately. In: crossings. Out: the best of them, one after the
//! other.
//!
//! A cause that loses packets at one rate explains groups the better, the more alike their shares of losses are:
//! the score is the binomial log-likelihood of all probes of its pattern that cross it, in nats, less that of mere noise.

use crate::candidates::{Candidate, structure};
use crate::class::{Kinds, means, patterns};
use crate::crossings::{Crossings, Suspect};
use crate::symptoms::Item;
use crate::topology::Topology;

/// Probes that are lost without a cause.
const NOISE: f64 = 0.01;
/// So many nats more than noise explains a cause must explain.
pub(crate) const WORTH: f64 = 12.0;

/// A cause with a rate of losses.
#[derive(Clone, Debug)]
pub(crate) struct Rated {
    pub(crate) candidate: Candidate,
    /// What it explains better than noise, in nats.
    pub(crate) gain: f64,
}

/// How probable so many losses of so many probes are at a rate, in nats.
fn likelihood(answered: f64, lost: f64, rate: f64) -> f64 {
    let part = |count: f64, chance: f64| if count == 0.0 { 0.0 } else { count * chance.ln() };
    part(lost, rate) + part(answered, 1.0 - rate)
}

/// What one rate explains better than noise.
fn gain(answered: f64, lost: f64) -> f64 {
    if lost <= NOISE * (answered + lost) {
        return 0.0;
    }
    likelihood(answered, lost, lost / (answered + lost)) - likelihood(answered, lost, NOISE)
}

/// What a cause that loses all would explain of these items.
pub(crate) fn worth(candidate: &Candidate, items: &[Item], open: &[bool]) -> f64 {
    let of = candidate.items.iter().map(|&at| at as usize).filter(|&at| open[at]);
    of.map(|at| f64::from(items[at].lost) * -NOISE.ln()).sum()
}

/// The rated cause that explains the open items best; at least one of them was answered in part, or differs by port.
pub(crate) fn best(
    topology: &Topology,
    crossings: &Crossings,
    (items, open): (&[Item], &[bool]),
    kinds: &Kinds,
) -> Option<Rated> {
    let mut best: Option<Rated> = None;
    let explained = |suspect: &Suspect| suspect.hits.iter().filter(|hit| open[hit.item as usize]).count();
    for suspect in &crossings.suspects {
        // What loses some of what goes both ways would have been met on both.
        let of_one_way = |at: Option<u32>| at.map_or(0, |at| explained(&crossings.suspects[at as usize]));
        if suspect.one_way != [None; 2] {
            let all = explained(suspect);
            let [one, other] = suspect.one_way.map(of_one_way);
            if (one == all) != (other == all) {
                continue;
            }
        }
        for rated in of_suspect(topology, crossings, (suspect, items, open), kinds) {
            best = Some(match best {
                None => rated,
                Some(other) => better(other, rated),
            });
        }
    }
    best.filter(|best| best.gain > WORTH)
}

/// The greater gain; where they gain about the same, the more plausible structure.
fn better(one: Rated, other: Rated) -> Rated {
    let alike = (one.gain - other.gain).abs() < 1e-6;
    if alike && one.candidate.items == other.candidate.items {
        let (mut kept, dropped) =
            if one.candidate.rank <= other.candidate.rank { (one, other) } else { (other, one) };
        let same = kept.candidate.doubted == dropped.candidate.doubted;
        if same && kept.candidate.pattern == dropped.candidate.pattern && kept.candidate.key != dropped.candidate.key {
            kept.candidate.equals.push(dropped.candidate.key);
        }
        return kept;
    }
    let first = (one.gain, other.candidate.rank) > (other.gain, one.candidate.rank);
    if if alike { one.candidate.rank <= other.candidate.rank } else { first } { one } else { other }
}

fn of_suspect(
    topology: &Topology,
    crossings: &Crossings,
    (suspect, items, open): (&Suspect, &[Item], &[bool]),
    kinds: &Kinds,
) -> Vec<Rated> {
    let mut seen = vec![(0.0, 0.0, false); kinds.all.len()];
    let mut last = usize::MAX;
    for hit in &suspect.hits {
        let item = &items[hit.item as usize];
        if !open[hit.item as usize] {
            continue;
        }
        let of = &mut seen[usize::from(item.kind)];
        of.1 += f64::from(item.lost);
        if item.group != last {
            of.0 += f64::from(item.answered);
            last = item.group;
        }
        of.2 |= !item.dead || kinds.all[usize::from(item.kind)].ported;
    }
    if !seen.iter().any(|of| of.2) {
        return Vec::new();
    }
    let well = crossings.tallies(suspect.object);
    let mut best: Option<(f64, u32, crate::Pattern)> = None;
    for (number, &kind) in kinds.all.iter().enumerate() {
        if !seen[number].2 {
            continue;
        }
        patterns(kind, &mut |pattern| {
            let (mut answered, mut lost) = (0.0, 0.0);
            for (at, &kind) in kinds.all.iter().enumerate() {
                if means(&pattern, kind) {
                    answered += seen[at].0 + f64::from(well[at].answered);
                    lost += seen[at].1 + f64::from(well[at].stray);
                }
            }
            let plain = crate::class::restrictions(&pattern);
            let gain = gain(answered, lost) - 3.0 * f64::from(plain);
            if best.is_none_or(|(most, least, _)| gain > most + 1e-9 || gain > most - 1e-9 && plain < least) {
                best = Some((gain, plain, pattern));
            }
        });
    }
    let Some((gain, _, pattern)) = best else { return Vec::new() };
    let mut candidate = Candidate::new(suspect.key, pattern);
    for hit in &suspect.hits {
        let item = &items[hit.item as usize];
        if open[hit.item as usize] && means(&pattern, kinds.all[usize::from(item.kind)]) {
            candidate.take(*hit);
        }
    }
    candidate.rank = structure(topology, &candidate);
    let gain = gain - 2.0 * f64::from(candidate.doubted) - f64::from(candidate.rank) * 0.01;
    vec![Rated { candidate, gain }]
}
