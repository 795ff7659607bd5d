//! A chosen cause with its arithmetic. In: what was chosen and all groups. Out: the cause.

use std::cmp::Reverse;

use crate::candidates::layer;
use crate::cause::{Cause, Certainty, Component, Heading, Pattern};
use crate::class::{KINDS, Kind, means};
use crate::crossings::Walker;
use crate::explain::Chosen;
use crate::objects::Objects;
use crate::observation::{End, Group, Place};
use crate::rates::Mode;
use crate::scope::{both_ways, shape};
use crate::symptoms::{Item, State};
use crate::topology::Topology;

/// So many alternatives still help a person.
const ALTERNATIVES: usize = 3;

/// Groups of a kind: how many went well, and how many did not.
type Counted = (Kind, [usize; 2]);

/// What was chosen, with its arithmetic: lower layers first, and of one layer what explains more.
pub(crate) fn causes(topology: &Topology, groups: &[Group], chosen: &[Chosen], items: &[Item]) -> Vec<Cause> {
    let crossed = crossing(topology, groups, chosen);
    let mut kinds: Vec<Counted> = Vec::new();
    let mut places = vec![usize::MAX; KINDS];
    for group in groups {
        let kind = Kind::of(&group.class);
        let place = &mut places[kind.number()];
        if *place == usize::MAX {
            *place = kinds.len();
            kinds.push((kind, [0; 2]));
        }
        kinds[*place].1[usize::from(State::of(group) != State::Well)] += 1;
    }
    let mut causes: Vec<Cause> = chosen
        .iter()
        .zip(crossed)
        .map(|(chosen, crossed)| {
            let mut cause = cause(groups, chosen, items, &crossed);
            avoiding(&mut cause, groups, (&kinds, &crossed));
            cause
        })
        .collect();
    causes.sort_by_cached_key(|it| {
        let shape = shape((it.component, it.heading));
        (layer(topology, it.component), Reverse((it.lost, it.crossed)), shape, it.pattern)
    });
    causes
}

/// Counts the groups of a cause's pattern that do not cross it.
fn avoiding(cause: &mut Cause, groups: &[Group], (kinds, crossed): (&[Counted], &[usize])) {
    let mut counts = [0; 2];
    for (_, of) in kinds.iter().filter(|(kind, _)| means(&cause.pattern, *kind)) {
        counts = [counts[0] + of[0], counts[1] + of[1]];
    }
    let mut crossing: Vec<usize> = crossed.iter().chain(&cause.explains).copied().collect();
    crossing.sort_unstable();
    crossing.dedup();
    for group in crossing.into_iter().map(|at| &groups[at]) {
        let of = &mut counts[usize::from(State::of(group) != State::Well)];
        *of = of.saturating_sub(1);
    }
    [cause.avoiding_answered, cause.avoiding_lost] = counts;
}

fn cause(groups: &[Group], chosen: &Chosen, items: &[Item], crossed: &[usize]) -> Cause {
    let candidate = &chosen.candidate;
    let (component, heading) = candidate.key;
    let own: Vec<&Item> = candidate.items.iter().map(|&at| &items[at as usize]).collect();
    let mut explains: Vec<usize> = own.iter().map(|item| item.group).collect();
    explains.sort_unstable();
    explains.dedup();
    let answered = |at: &usize| State::of(&groups[*at]) == State::Well;
    // Of a service's probes the answered ones may be in a group of their own.
    let lately =
        crossed.iter().filter(|at| answered(at)).count() * 20 <= explains.len() && alike(groups, &own);
    let pattern = Pattern {
        by_port: chosen.mode == Some(Mode::Ports),
        partial: chosen.mode == Some(Mode::Chance) && !lately,
        ..candidate.pattern
    };
    let lost: u64 = explains.iter().map(|&at| u64::from(groups[at].lost)).sum();
    let probes = |at: &usize| u64::from(groups[*at].answered) + u64::from(groups[*at].lost);
    let mut all: Vec<usize> = crossed.iter().chain(&explains).copied().collect();
    all.sort_unstable();
    all.dedup();
    let contradictions = if pattern.partial || pattern.by_port {
        Vec::new()
    } else {
        crossed.iter().copied().filter(|&at| State::of(&groups[at]) == State::Well).collect()
    };
    let proven = candidate.proven > 0 && candidate.proven as usize * 2 >= candidate.items.len();
    let lone = candidate.equals.is_empty();
    let certainty =
        if proven && lone && chosen.mode.is_none() { Certainty::Observed } else { Certainty::Inferred };
    let mut alternatives: Vec<(Component, Heading)> = candidate.equals.clone();
    alternatives.truncate(ALTERNATIVES);
    Cause {
        component,
        heading,
        pattern,
        certainty,
        alternatives,
        places: places(groups, &explains),
        lost,
        crossed: all.iter().map(probes).sum(),
        avoiding_answered: 0,
        avoiding_lost: 0,
        explains,
        contradictions,
    }
}

/// For each chosen cause the groups of its pattern that cross it for certain, ascending.
fn crossing(topology: &Topology, groups: &[Group], chosen: &[Chosen]) -> Vec<Vec<usize>> {
    let mut objects = Objects::new(topology);
    let numbers: Vec<u32> =
        chosen.iter().map(|chosen| objects.intern(both_ways(chosen.candidate.key.0))).collect();
    let mut walker = Walker::new(topology, &objects);
    let mut crossed = vec![Vec::new(); chosen.len()];
    for (at, group) in groups.iter().enumerate() {
        walker.walk(group, State::of(group));
        if walker.certain.is_empty() {
            continue;
        }
        for (place, number) in numbers.iter().enumerate() {
            let pattern = &chosen[place].candidate.pattern;
            if walker.certain.contains(number) && means(pattern, Kind::of(&group.class)) {
                crossed[place].push(at);
            }
        }
    }
    crossed
}

/// Whether all groups lost the same share: it began lately then, and loses all since. A few may be off for other reasons.
fn alike(groups: &[Group], items: &[&Item]) -> bool {
    let mut by_group: Vec<(usize, f64)> = Vec::new();
    for item in items {
        match by_group.last_mut() {
            Some((group, lost)) if *group == item.group => *lost += f64::from(item.lost),
            _ => by_group.push((item.group, f64::from(item.lost))),
        }
    }
    let probes = |group: usize| f64::from(groups[group].answered) + f64::from(groups[group].lost);
    let lost: f64 = by_group.iter().map(|(_, lost)| lost).sum();
    let rate = lost / f64::max(by_group.iter().map(|&(group, _)| probes(group)).sum(), 1.0);
    let variance = |probes: f64| f64::max(probes * rate * (1.0 - rate), 1e-9);
    let off = |&(group, lost): &(usize, f64)| (lost - rate * probes(group)).powi(2) / variance(probes(group));
    let mut spread: Vec<f64> = by_group.iter().map(off).collect();
    spread.sort_by(f64::total_cmp);
    spread.truncate(spread.len() - spread.len() / 10);
    let count = f64::from(u32::try_from(spread.len()).unwrap_or(u32::MAX));
    (0.35..0.93).contains(&rate) && spread.len() >= 4 && spread.iter().sum::<f64>() < 0.3 * count
}

/// Places at which kernels reported it, each once.
fn places(groups: &[Group], explains: &[usize]) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    for &at in explains {
        for loss in &groups[at].losses {
            if let End::Dropped(place) = &loss.end
                && !place.says_nothing()
            {
                places.push(place.clone());
            }
        }
    }
    places.sort_unstable();
    places.dedup();
    places
}
