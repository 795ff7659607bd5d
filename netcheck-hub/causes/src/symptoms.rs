//! Which groups are symptoms, and what is known of each. In: groups. Out: one item for each kind of loss of a bad group.
//!
//! A single stray loss among answers is none. Of a service whose lost probes' backend is not known, the backends that
//! answered the same source do not come into question; where each probe is a flow of its own and so many were made that
//! all backends must have been met, each of the rest needs an explanation of its own.

use std::cmp::Reverse;
use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::class::{Kind, Kinds};
use crate::evidence::{LossSteps, Steps, View};
use crate::observation::{Group, Target};
use crate::topology::{Endpoint, ServiceIx, Topology};
use crate::way::{Route, Way, backends};

/// More backends than this are not looked at one by one.
const MANY_BACKENDS: usize = 8;

/// How a group went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Answered, but for a stray loss at the most.
    Well,
    /// Some answered, some lost.
    Mixed,
    /// Lost.
    Dead,
}

impl State {
    pub(crate) const fn of(group: &Group) -> Self {
        match (group.answered, group.lost) {
            (_, 0) | (1.., 1) => Self::Well,
            (0, _) => Self::Dead,
            _ => Self::Mixed,
        }
    }
}

/// One kind of loss of a bad group.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// Place of the group.
    pub(crate) group: usize,
    pub(crate) kind: u16,
    pub(crate) answered: u32,
    pub(crate) lost: u32,
    /// Those of the lost ones of which nothing is known: it is taken for likely that they went as the others did.
    pub(crate) vague: u32,
    pub(crate) dead: bool,
    /// It is dead, and none of its probes is in another group.
    pub(crate) sole: bool,
    /// It may have gone one of these ways.
    pub(crate) ways: Vec<(Way, LossSteps)>,
    /// Not all of the ways are known to be crossed: answers do not speak for what is on one of them alone.
    pub(crate) guess: bool,
}

/// Probes of one source to one service that differ in nothing but their backends.
type Family = (Endpoint, ServiceIx, crate::observation::Entry, usize);

#[derive(Debug, Default)]
struct Siblings {
    answered: u32,
    probes: u32,
    /// Backends that answered.
    met: Vec<Endpoint>,
    /// Backends that are known to have been lost probes.
    missed: Vec<Endpoint>,
}

/// All that is lost and needs a cause.
pub(crate) fn items(topology: &Topology, groups: &[Group], kinds: &mut Kinds) -> Vec<Item> {
    let mut bad: Vec<usize> = (0..groups.len()).filter(|&at| State::of(&groups[at]) != State::Well).collect();
    // In an order that does not depend on how things are numbered, as far as there is one.
    bad.sort_by_cached_key(|&at| {
        let group = &groups[at];
        (Kind::of(&group.class), Reverse(group.lost), group.answered, group.losses.len())
    });
    let siblings = siblings(groups, &bad);
    let mut items = Vec::with_capacity(bad.len());
    for at in bad {
        let group = &groups[at];
        let kind = kinds.number(Kind::of(&group.class));
        let item = Item {
            group: at,
            kind,
            answered: group.answered,
            lost: group.lost,
            vague: 0,
            dead: State::of(group) == State::Dead,
            sole: State::of(group) == State::Dead
                && (group.target.endpoint.is_some() || of_nobody(topology, group)),
            ways: Vec::new(),
            guess: false,
        };
        match family(group).and_then(|family| siblings.get(&family)) {
            Some(of) if group.target.endpoint.is_none() => unknown(topology, group, of, &item, &mut items),
            _ => known(topology, group, &item, &mut items),
        }
    }
    items
}

/// Whether a group asks a service for which nobody answers.
fn of_nobody(topology: &Topology, group: &Group) -> bool {
    group.target.service.is_some() && backends(topology, group).is_empty()
}

fn family(group: &Group) -> Option<Family> {
    let Target { service: Some(service), entry, .. } = group.target else { return None };
    Some((group.source, service, entry, Kind::of(&group.class).number()))
}

/// What became of the other probes of sources whose probes met backends that are not known.
fn siblings(groups: &[Group], bad: &[usize]) -> HashMap<Family, Siblings, FixedState> {
    let mut all: HashMap<Family, Siblings, FixedState> = HashMap::default();
    for &at in bad {
        if let (None, Some(family)) = (groups[at].target.endpoint, family(&groups[at])) {
            all.entry(family).or_default();
        }
    }
    if all.is_empty() {
        return all;
    }
    for group in groups {
        let Some(family) = family(group) else { continue };
        if let Some(of) = all.get_mut(&family) {
            of.answered += group.answered;
            of.probes += group.answered + group.lost;
            match (group.target.endpoint, State::of(group)) {
                (Some(backend), State::Well) => of.met.push(backend),
                (Some(backend), _) => of.missed.push(backend),
                (None, _) => {}
            }
        }
    }
    all
}

/// A group whose way is known: an item for each place at which its losses may have been.
fn known(topology: &Topology, group: &Group, item: &Item, items: &mut Vec<Item>) {
    let way = Route::of(topology, group).way(topology);
    for (mut loss_steps, lost, vague) in found_steps(&View { topology, way: &way }, group) {
        let nobody = way.nobody();
        // Who translates to an endpoint that the service no longer has is wrong, whatever else there is. A service that
        // nobody answers for is not answered. A kernel may still have dropped the packets earlier, and say so.
        let stale = if nobody == 0 { way.translations() } else { nobody };
        let reported = loss_steps.proof & !stale & !way.nodes_own();
        if (is_gone(topology, group) || nobody != 0) && reported == 0 {
            // Of what nobody saw it may have been lost earlier.
            let unseen = nobody != 0 && loss_steps.steps.count_ones() as usize == way.steps.len();
            let steps = if unseen { loss_steps.steps } else { stale };
            loss_steps = LossSteps { steps, unreported: steps & !stale, ..LossSteps::default() };
        }
        items.push(Item { lost, vague, ways: vec![(way.clone(), loss_steps)], ..item.clone() });
    }
}

/// Whether a service's probes were sent to an endpoint that the service has no longer.
fn is_gone(topology: &Topology, group: &Group) -> bool {
    let Target { endpoint: Some(endpoint), service: Some(service), .. } = group.target else { return false };
    topology.services.get(service as usize).is_some_and(|service| !service.backends.contains(&endpoint))
}

/// What is known of a group's losses, alike ones together. The lost ones of which nothing is known went the way of the
/// others, where something is known of these.
fn found_steps(view: &View<'_>, group: &Group) -> Vec<(LossSteps, u32, u32)> {
    let mut found_steps: Vec<(LossSteps, u32)> = Vec::new();
    for loss in group.losses.iter().filter(|loss| loss.probes > 0) {
        let Some(loss_steps) = view.loss_steps(loss) else { continue };
        match found_steps.iter_mut().find(|(it, _)| *it == loss_steps) {
            Some((_, probes)) => *probes += loss.probes,
            None => found_steps.push((loss_steps, loss.probes)),
        }
    }
    narrow(&mut found_steps);
    // A single one of many losses may well have been a stray one, and its record a stray record.
    let most = found_steps.iter().map(|(_, probes)| *probes).max().unwrap_or(0);
    found_steps.retain(|(_, probes)| *probes > 1 || most < 3);
    if found_steps.is_empty() {
        let all = u32::try_from(view.way.steps.len().min(64)).unwrap_or(64);
        let steps = Steps::MAX.checked_shr(64 - all).unwrap_or(0);
        return vec![(LossSteps { steps, ..LossSteps::default() }, group.lost, 0)];
    }
    let known: u32 = found_steps.iter().map(|(_, probes)| probes).sum();
    let mut found_steps: Vec<(LossSteps, u32, u32)> =
        found_steps.into_iter().map(|(loss_steps, probes)| (loss_steps, probes, 0)).collect();
    if let Some(largest) = found_steps.iter_mut().max_by_key(|(loss_steps, probes, _)| (*probes, *loss_steps))
    {
        largest.2 = group.lost.saturating_sub(known);
        largest.1 += largest.2;
    }
    found_steps
}

/// What is known of one loss is known of another that is alike as far as it is known: the vaguer one is the same.
fn narrow(found_steps: &mut Vec<(LossSteps, u32)>) {
    found_steps.sort_by_key(|(loss_steps, _)| (loss_steps.steps.count_ones(), *loss_steps));
    let mut kept: Vec<(LossSteps, u32)> = Vec::with_capacity(found_steps.len());
    for (loss_steps, probes) in found_steps.drain(..) {
        match kept.iter_mut().find(|(it, _)| it.steps & !loss_steps.steps == 0) {
            Some((_, of)) => *of += probes,
            None => kept.push((loss_steps, probes)),
        }
    }
    *found_steps = kept;
}

/// A group of a service whose backend is not known.
fn unknown(topology: &Topology, group: &Group, of: &Siblings, item: &Item, items: &mut Vec<Item>) {
    let backends = backends(topology, group);
    let mut open: Vec<Endpoint> = backends.iter().copied().filter(|it| !of.met.contains(it)).collect();
    if !of.missed.is_empty() {
        open.clone_from(&of.missed);
    }
    if open.is_empty() {
        open = backends.to_vec();
    }
    if open.is_empty() {
        known(topology, group, item, items);
        return;
    }
    let ways: Vec<(Way, LossSteps)> =
        open.iter().flat_map(|&backend| one_way(topology, group, backend)).collect();
    let each = of.missed.is_empty()
        && group.class.fresh
        && 1.0 - unmet(backends.len(), 1) < 0.6
        && count(backends.len()).powf(-f64::from(group.lost)) < 1e-3
        && ways.len() <= MANY_BACKENDS
        && item.dead;
    if each {
        let lost = (group.lost / u32::try_from(ways.len()).unwrap_or(1)).max(1);
        items.extend(ways.into_iter().map(|way| Item { lost, ways: vec![way], ..item.clone() }));
    } else {
        items.push(Item { guess: ways.len() > 1, ways, ..item.clone() });
    }
}

fn one_way(topology: &Topology, group: &Group, backend: Endpoint) -> Vec<(Way, LossSteps)> {
    let way = Route::of(topology, group).to(backend).way(topology);
    let found_steps = found_steps(&View { topology, way: &way }, group);
    let most = found_steps.into_iter().max_by_key(|(loss_steps, lost, _)| (*lost, *loss_steps));
    most.map(|(loss_steps, ..)| (way, loss_steps)).into_iter().collect()
}

/// How probable it is that so many probes met one backend never.
pub(crate) fn unmet(backends: usize, probes: u32) -> f64 {
    (1.0 - 1.0 / count(backends)).powf(f64::from(probes))
}

#[expect(clippy::cast_precision_loss, reason = "a service has fewer backends than a double holds")]
fn count(of: usize) -> f64 {
    of.max(1) as f64
}
