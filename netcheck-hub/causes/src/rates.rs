//! Causes that lose a part of their packets, by chance or by source port, or that began lately. In: crossings. Out: the
//! best of them.
//!
//! A cause with one rate explains groups the better, the more alike their shares of losses are. Its score is the binomial
//! log-likelihood of all probes of its pattern that cross it, in nats, less that of mere noise, and less what its groups
//! would gain by a rate of their own each, beyond what chance has it: where they differ, it is not one cause.

use crate::candidates::{Candidate, structure};
use crate::cause::{Component, Pattern};
use crate::class::{Kinds, means, patterns, restrictions};
use crate::crossings::{Crossings, Suspect};
use crate::symptoms::Item;
use crate::topology::Topology;

/// Probes that are lost without a cause.
const NOISE: f64 = 0.01;
/// So many nats more than noise explains a cause must explain.
const WORTH: f64 = 12.0;
/// What each restriction of a pattern must be worth, in nats.
const RESTRICTION: f64 = 3.0;

/// How a cause picks the packets that it loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// By chance, each alike.
    Chance,
    /// By source port: all packets of some, none of others.
    Ports,
}

/// A cause with a rate of losses.
#[derive(Clone, Debug)]
pub(crate) struct Rated {
    pub(crate) candidate: Candidate,
    pub(crate) mode: Mode,
    /// What it explains better than noise, in nats.
    pub(crate) gain: f64,
    /// How improbable what it explains is by its rate, in nats.
    pub(crate) cost: f64,
}

/// What is known of all items, and which of them need a cause still.
#[derive(Clone, Copy)]
pub(crate) struct RateInput<'a> {
    pub(crate) topology: &'a Topology,
    pub(crate) crossings: &'a Crossings,
    pub(crate) items: &'a [Item],
    pub(crate) open: &'a [bool],
    /// Those that a chosen cause may explain, too.
    pub(crate) free: &'a [bool],
    pub(crate) kinds: &'a Kinds,
    /// What each suspect explains at the most, the most first.
    pub(crate) bounds: &'a [(f64, u32)],
    /// How much it counts against a cause that its groups differ in their shares of losses.
    pub(crate) strictness: f64,
}

/// Probes that cross a suspect, of one kind.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    answered: f64,
    lost: f64,
    /// Log-likelihood if each group had a rate of its own.
    own: f64,
    groups: f64,
    /// Log-likelihood if all losses were noise.
    noise: f64,
    /// Some were answered in part.
    wanted: bool,
}

/// How probable so many losses of so many probes are at a rate, in nats.
fn likelihood(answered: f64, lost: f64, rate: f64) -> f64 {
    let part = |count: f64, chance: f64| if count <= 0.0 { 0.0 } else { count * chance.ln() };
    part(lost, rate) + part(answered, 1.0 - rate)
}

fn own(answered: f64, lost: f64) -> f64 {
    likelihood(answered, lost, lost / (answered + lost))
}

/// What one rate explains better than noise.
fn gain(all: Counts, mode: Mode, strictness: f64) -> f64 {
    let probes = all.answered + all.lost;
    if all.lost <= NOISE * probes {
        return 0.0;
    }
    let pooled = own(all.answered, all.lost);
    let misfit = if mode == Mode::Ports { 0.0 } else { (all.own - pooled - all.groups).max(0.0) };
    pooled - all.noise - strictness * misfit
}

/// How improbable an item is if its losses are noise, in nats.
pub(crate) fn surprise(item: &Item) -> f64 {
    -likelihood(f64::from(item.answered), f64::from(item.lost), NOISE)
}

/// What a cause that loses all would explain of these items.
pub(crate) fn worth(candidate: &Candidate, items: &[Item], open: &[bool]) -> f64 {
    let of = candidate.items.iter().map(|&at| at as usize).filter(|&at| open[at]);
    of.map(|at| f64::from(items[at].lost) * -NOISE.ln()).sum()
}

/// What each suspect explains at the most, in nats, the most first.
pub(crate) fn bounds(crossings: &Crossings, items: &[Item]) -> Vec<(f64, u32)> {
    let all = crossings.suspects.iter().enumerate().filter(|(_, suspect)| !suspect.hits.is_empty());
    let of = |suspect: &Suspect| suspect.hits.iter().map(|hit| surprise(&items[hit.item as usize])).sum();
    let mut bounds: Vec<(f64, u32)> =
        all.map(|(at, suspect)| (of(suspect), u32::try_from(at).unwrap_or(u32::MAX))).collect();
    bounds.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
    bounds
}

/// The rated cause that explains the open items best.
pub(crate) fn best(input: &RateInput<'_>) -> Option<Rated> {
    let explained = |suspect: &Suspect| {
        suspect.hits.iter().filter(|hit| !hit.unreported && input.open[hit.item as usize]).count()
    };
    let suspects = &input.crossings.suspects;
    let mut best: Option<Rated> = None;
    for (bound, suspect) in input.bounds {
        if best.as_ref().is_some_and(|best| *bound < best.gain) {
            break;
        }
        let suspect = &suspects[*suspect as usize];
        // What is everywhere loses all.
        if suspect.key.0 == Component::Cluster {
            continue;
        }
        // What loses some of what goes both ways would have been met on both.
        if suspect.one_way != [None; 2] {
            let all = explained(suspect);
            let of_one_way = |at: Option<u32>| at.map_or(0, |at| explained(&suspects[at as usize]));
            let [one, other] = suspect.one_way.map(of_one_way);
            if (one == all) != (other == all) {
                continue;
            }
        }
        for mode in [Mode::Chance, Mode::Ports] {
            if let Some(rated) = of_suspect(input, suspect, mode) {
                best = Some(match best {
                    None => rated,
                    Some(other) => better(other, rated),
                });
            }
        }
    }
    best.filter(|best| best.gain > WORTH)
}

/// The greater gain; where they gain about the same, the more plausible structure.
fn better(one: Rated, other: Rated) -> Rated {
    let alike = (one.gain - other.gain).abs() < 1e-6 && one.mode == other.mode;
    if !alike {
        return if one.gain >= other.gain { one } else { other };
    }
    let (mut kept, dropped) =
        if one.candidate.rank <= other.candidate.rank { (one, other) } else { (other, one) };
    let (this, that) = (&kept.candidate, &dropped.candidate);
    if this.items == that.items && this.unreported == that.unreported && this.pattern == that.pattern {
        let keys = std::iter::once(that.key).chain(that.equals.iter().copied());
        let keys: Vec<_> = keys.filter(|key| *key != this.key && !this.equals.contains(key)).collect();
        kept.candidate.equals.extend(keys);
    }
    kept
}

fn counts(input: &RateInput<'_>, suspect: &Suspect, mode: Mode) -> Vec<Counts> {
    let all = &input.kinds.all;
    let tallies = input.crossings.tallies(suspect.object);
    let mut counts = vec![Counts::default(); all.len()];
    // What is lost where it is met again has passed before: most is lost at once where nearly all is.
    let later = suspect.hits.iter().filter(|hit| !hit.first).count();
    let few_pass = later > 0 && later * 3 < suspect.hits.len();
    let mut last = usize::MAX;
    for hit in &suspect.hits {
        let item = &input.items[hit.item as usize];
        let kind = usize::from(item.kind);
        if hit.may
            || !input.open[hit.item as usize]
            || (mode == Mode::Ports) != (all[kind].ported && item.dead)
        {
            continue;
        }
        let of = &mut counts[kind];
        let (answered, lost) = (f64::from(item.answered), f64::from(item.lost));
        if mode == Mode::Ports {
            of.lost += 1.0;
            of.noise += likelihood(0.0, lost, NOISE);
            of.wanted = true;
            continue;
        }
        let again = item.group == last;
        last = item.group;
        of.lost += lost;
        of.answered += if again { 0.0 } else { answered };
        of.own += if again { 0.0 } else { own(answered, lost) };
        of.noise += likelihood(if again { 0.0 } else { answered }, lost, NOISE);
        of.groups += if again { 0.0 } else { 1.0 };
        of.wanted |= !item.dead || few_pass;
    }
    for ((of, well), kind) in counts.iter_mut().zip(tallies).zip(all) {
        let (answered, stray) = (f64::from(well.answered), f64::from(well.stray));
        if mode == Mode::Chance {
            of.answered += answered;
            of.lost += stray;
            of.noise += likelihood(answered, stray, NOISE);
        } else {
            // Each new flow has a port of its own; all packets of an old one have the same.
            of.answered += if kind.fresh && !kind.ported { answered } else { f64::from(well.groups) };
        }
    }
    counts
}

fn of_suspect(input: &RateInput<'_>, suspect: &Suspect, mode: Mode) -> Option<Rated> {
    let kinds = &input.kinds.all;
    let counts = counts(input, suspect, mode);
    let mut best: Option<(f64, u32, Pattern, f64)> = None;
    for (number, &kind) in kinds.iter().enumerate() {
        if !counts[number].wanted {
            continue;
        }
        patterns(kind, &mut |pattern| {
            let mut all = Counts::default();
            for (of, &kind) in counts.iter().zip(kinds) {
                if means(&pattern, kind) {
                    all.answered += of.answered;
                    all.lost += of.lost;
                    all.own += of.own;
                    all.noise += of.noise;
                    all.groups += of.groups;
                }
            }
            let plain = restrictions(&pattern);
            let gain = gain(all, mode, input.strictness) - RESTRICTION * f64::from(plain);
            if best
                .is_none_or(|(most, least, _, _)| gain > most + 1e-9 || gain > most - 1e-9 && plain < least)
            {
                best = Some((gain, plain, pattern, -own(all.answered, all.lost)));
            }
        });
    }
    let (gain, _, pattern, cost) = best?;
    if mode == Mode::Ports && counts.iter().zip(kinds).all(|(of, kind)| !kind.ported || of.answered == 0.0) {
        return None;
    }
    let mut candidate = Candidate::new(suspect.key, pattern);
    for hit in &suspect.hits {
        let item = &input.items[hit.item as usize];
        let kind = kinds[usize::from(item.kind)];
        let fits = mode == Mode::Chance || item.dead || !kind.ported;
        if input.free[hit.item as usize] && fits && means(&pattern, kind) {
            candidate.take(*hit);
        }
    }
    candidate.rank = structure(input.topology, &candidate);
    let gain = gain - 2.0 * f64::from(candidate.unreported) - f64::from(candidate.rank) * 0.01;
    (gain > 0.0).then_some(Rated { candidate, mode, gain, cost })
}
