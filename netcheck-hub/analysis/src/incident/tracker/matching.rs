//! Which cause of an evaluation is which incident's. Pure.
//!
//! By name first. Then by paths: another reading of the same symptoms is the same incident. Evidence that comes late names
//! another place for what opened without it; the incident follows most of its paths there, and what is left of its old
//! name is a part of it.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::{Entry, Explained, Fact, PathKey};
use crate::incident::record::Places;
use crate::model::incident::IncidentKind;
use crate::model::location::Certainty;

/// The causes of one evaluation.
pub(super) struct Found<'a> {
    pub(super) causes: &'a [Explained],
    /// The paths that each explains.
    pub(super) sets: &'a [BTreeSet<PathKey>],
    pub(super) facts: &'a [Fact],
    pub(super) now_ns: i64,
}

/// Whose they are.
pub(super) struct Matched {
    /// By entry: its cause.
    pub(super) met: Vec<Option<usize>>,
    /// By entry: causes that are parts of it.
    pub(super) folded: Vec<Vec<usize>>,
    /// Causes that are nobody's yet, and whether each may be a part of what is open.
    pub(super) fresh: Vec<(usize, bool)>,
    /// Open entries that are gone, each with the open entry that explains now what of it is still bad.
    pub(super) taken: Vec<(usize, usize)>,
}

impl Found<'_> {
    pub(super) fn match_to(&self, current: &[Entry]) -> Matched {
        let mut met: Vec<Option<usize>> = vec![None; current.len()];
        let mut fresh = Vec::new();
        for (number, cause) in self.causes.iter().enumerate() {
            match current.iter().position(|entry| entry.key == cause.key) {
                Some(at) => met[at] = Some(number),
                None => fresh.push(number),
            }
        }
        self.follow(current, &mut met, &mut fresh);
        let mut new = Vec::new();
        for number in fresh {
            let free = current.iter().enumerate().filter(|&(at, _)| met[at].is_none());
            let heir = free
                .filter(|(_, entry)| !self.is_elsewhere(entry, number))
                .filter_map(|(at, entry)| Some((entry.open, self.majority(entry, number)?, Reverse(at))))
                .max();
            match heir {
                Some((_, _, Reverse(at))) => met[at] = Some(number),
                None => new.push(number),
            }
        }
        // What an open incident already explains stays with it: that an explanation falls in parts because a path
        // came back, or turned out to be fine, is no news.
        let mut folded: Vec<Vec<usize>> = vec![Vec::new(); current.len()];
        let mut kept = Vec::new();
        for number in new {
            let open = (0..current.len()).filter(|&at| current[at].open && met[at].is_some());
            let home = open.map(|at| (self.shared(&current[at], number), Reverse(at))).max();
            let part = self.part_of_open(current, number);
            // Where those that explained it are named by nothing any more, it goes on as the one that has most of it.
            let left = (0..current.len()).filter(|&at| current[at].open && met[at].is_none());
            let heir = left.map(|at| (self.shared(&current[at], number), Reverse(at))).max();
            match (part, home, heir) {
                (Part::Whole, Some((1.., Reverse(at))), _) => folded[at].push(number),
                (Part::Whole, _, Some((1.., Reverse(at)))) => met[at] = Some(number),
                (part, ..) => kept.push((number, part != Part::None)),
            }
        }
        let taken = self.taken_over(current, &mut met);
        Matched { met, folded, fresh: kept, taken }
    }

    fn shared(&self, entry: &Entry, number: usize) -> usize {
        entry.paths.intersection(&self.sets[number]).count()
    }

    /// How many paths they share, where that is most of the one's or of the other's.
    fn majority(&self, entry: &Entry, number: usize) -> Option<usize> {
        let shared = self.shared(entry, number);
        (shared * 2 > entry.paths.len().min(self.sets[number].len())).then_some(shared)
    }

    /// Young incidents that nothing proved follow a cause that is proven, where each has most of the other's paths. What
    /// keeps the incident's old name is nobody's then.
    fn follow(&self, current: &[Entry], met: &mut [Option<usize>], fresh: &mut [usize]) {
        let open = |entry: &Entry| {
            entry.open && entry.is_young(self.now_ns) && entry.incident.certainty == Certainty::Inferred
        };
        for (at, entry) in current.iter().enumerate().filter(|(_, entry)| open(entry)) {
            let Some(old) = met[at] else { continue };
            if self.causes[old].certainty == Certainty::Observed {
                continue;
            }
            let most = |number: usize| {
                let shared = self.shared(entry, number);
                let both = shared * 2 > entry.paths.len() && shared * 2 > self.sets[number].len();
                (both && shared > self.shared(entry, old)).then_some(shared)
            };
            let proven = (0..fresh.len())
                .filter(|&place| self.causes[fresh[place]].certainty == Certainty::Observed)
                .filter_map(|place| Some((most(fresh[place])?, Reverse(place))))
                .max();
            if let Some((_, Reverse(place))) = proven {
                met[at] = Some(std::mem::replace(&mut fresh[place], old));
            }
        }
    }

    /// A kernel reports this cause where the incident, all of whose evidence is in, has none: another thing has happened to
    /// the same paths.
    fn is_elsewhere(&self, entry: &Entry, number: usize) -> bool {
        let cause = &self.causes[number];
        let proven = |kind: IncidentKind, certainty: Certainty| {
            kind == IncidentKind::Place && certainty == Certainty::Observed
        };
        if !entry.open
            || entry.is_young(self.now_ns)
            || !proven(cause.kind, cause.certainty)
            || !proven(entry.incident.kind, entry.incident.certainty)
        {
            return false;
        }
        let symptoms = cause.paths.iter().filter_map(|&at| self.facts[at].symptom.as_ref());
        let mut places = Places::default();
        places.add(symptoms.filter_map(|symptom| symptom.at.as_ref()));
        !places.meets(&entry.incident.places)
    }

    /// How much of a cause open incidents already explain.
    fn part_of_open(&self, current: &[Entry], number: usize) -> Part {
        let open: Vec<&Entry> =
            current.iter().filter(|entry| entry.open && !self.is_elsewhere(entry, number)).collect();
        if open.is_empty() {
            return Part::None;
        }
        let paths = &self.sets[number];
        let known = |path: &&PathKey, young: bool| {
            open.iter().any(|entry| (!young || entry.is_young(self.now_ns)) && entry.paths.contains(path))
        };
        if paths.iter().all(|path| known(&path, false)) {
            Part::Whole
        } else if paths.iter().filter(|path| known(path, true)).count() * 2 > paths.len() {
            Part::Most
        } else {
            Part::None
        }
    }

    /// Open entries whose cause was not found any more, each with the entry that explains now what of it is still bad. The
    /// older of both goes on, with that cause.
    fn taken_over(&self, current: &[Entry], met: &mut [Option<usize>]) -> Vec<(usize, usize)> {
        let bad: BTreeSet<&PathKey> = self.sets.iter().flatten().collect();
        let mut taken: Vec<(usize, usize)> = Vec::new();
        for at in (0..current.len()).filter(|&at| current[at].open) {
            if met[at].is_some() || taken.iter().any(|&(gone, _)| gone == at) {
                continue;
            }
            let paths = &current[at].paths;
            let left: Vec<&PathKey> = paths.iter().filter(|path| bad.contains(path)).collect();
            let explains = |number: usize| {
                !self.is_elsewhere(&current[at], number)
                    && left.iter().all(|path| self.sets[number].contains(path))
            };
            let other = (0..met.len()).find(|&other| met[other].is_some_and(explains));
            let Some(other) = other.filter(|_| left.len() * 2 > paths.len()) else { continue };
            let opened_ns = |at: usize| (current[at].incident.opened_ns, at);
            if !current[other].open {
                met.swap(at, other);
            } else if opened_ns(at) < opened_ns(other) {
                met.swap(at, other);
                // What had been taken over by that one is this one's.
                taken.iter_mut().filter(|(_, into)| *into == other).for_each(|(_, into)| *into = at);
                taken.push((other, at));
            } else {
                taken.push((at, other));
            }
        }
        taken
    }
}

/// How much of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    None,
    /// Of incidents whose evidence may still be on its way.
    Most,
    Whole,
}
