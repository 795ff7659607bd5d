//! Incidents from one evaluation to the next: opened when seen twice, closed when missed for a while, the same one as
//! long as its cause is, or as most of its paths are, the same. What one of them comes to explain of another, wholly,
//! is one with it, and the older of both goes on. Pure; takes `now`.
//!
//! `matching` says which cause of an evaluation is whose; what is here renews, opens and closes. `restored` takes
//! incidents of the process before.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use netcheck_common::domain::PathId;

use super::path_key::PathKey;
use super::{Explained, Fact, Incident, Losses};
use crate::model::clock::SECOND_NS;
use crate::model::culprit::Culprit;
use crate::model::incident::IncidentKind;
use crate::model::location::Certainty;
use crate::model::verdict::Verdict;

mod matching;
mod restored;
#[cfg(test)]
mod tests;

/// Consecutive evaluations that open an incident.
pub const OPEN_AFTER: u32 = 2;
/// The same for a part of what open incidents explain: that an explanation falls in two because a path came back
/// is no news at once.
pub const SPLIT_AFTER: u32 = 10;
/// Consecutive evaluations without it that close an incident.
pub const CLOSE_AFTER: u32 = 5;
/// Evaluations that an incident outlives most of whose paths nobody can judge, as after they were given out anew.
pub const HOLD: u32 = 30;
/// For how long after an incident opened evidence may still come that shows another place of the same. Agents that are cut
/// off answer through others, after some seconds.
pub const LATE_NS: i64 = 30 * SECOND_NS;
/// Closed incidents that are kept.
const CLOSED: usize = 256;
/// Paths that contradict it that are listed.
const CONTRADICTIONS: usize = 64;

#[derive(Clone, Debug)]
struct Entry {
    key: String,
    paths: BTreeSet<PathKey>,
    incident: Incident,
    open: bool,
    seen: u32,
    missed: u32,
    /// Evaluations since it was seen in which nobody could say that it is gone.
    unmeasured: u32,
    /// When it was found, only a part of what open incidents explain.
    part: bool,
    /// What it is now may soon be reported of more paths.
    slow: bool,
    /// It is from before the hub began, and its paths are not all measured again: that it is not found says nothing.
    held: bool,
}

/// All incidents.
#[derive(Debug, Default)]
pub struct IncidentTracker {
    current: Vec<Entry>,
    closed: VecDeque<Incident>,
    opened: u64,
    opened_by_kind: BTreeMap<IncidentKind, u64>,
    revision: u64,
}

impl IncidentTracker {
    /// Takes the causes of one evaluation.
    pub fn update(&mut self, causes: &[Explained], facts: &[Fact], now_ns: i64) {
        let sets: Vec<BTreeSet<PathKey>> = causes.iter().map(|cause| keys(cause, facts)).collect();
        let found = matching::Found { causes, sets: &sets, facts, now_ns };
        let matching::Matched { met, folded, fresh, taken } = found.match_to(&self.current);
        self.hold(&met, facts);
        for (at, (entry, met)) in self.current.iter_mut().zip(&met).enumerate() {
            let Some(number) = met else { continue };
            let also: Vec<&Explained> = folded[at].iter().map(|&part| &causes[part]).collect();
            let mut paths = sets[*number].clone();
            paths.extend(folded[at].iter().flat_map(|&part| sets[part].iter().copied()));
            entry.renew(&causes[*number], &also, &paths, facts);
        }
        self.merge(&taken, now_ns);
        for (number, part) in fresh {
            let mut entry = Entry::new(&causes[number], part);
            entry.renew(&causes[number], &[], &sets[number], facts);
            self.current.push(entry);
        }
        self.turn(now_ns);
    }

    /// Counts what was not seen, but for what nobody could have seen: that a path is not measured yet, after it was given
    /// out anew or after the hub was, does not say that it is fine.
    fn hold(&mut self, met: &[Option<usize>], facts: &[Fact]) {
        let unseen = |&(_, met): &(&mut Entry, &Option<usize>)| met.is_none();
        let mut judged: Option<HashMap<PathKey, bool>> = None;
        for (entry, _) in self.current.iter_mut().zip(met).filter(unseen) {
            let mut unjudged = || {
                let judged = judged.get_or_insert_with(|| {
                    facts
                        .iter()
                        .map(|fact| (PathKey::of_fact(fact), fact.verdict != Verdict::NoData))
                        .collect()
                });
                let known = || entry.paths.iter().filter_map(|path| judged.get(path));
                known().filter(|judged| !**judged).count() * 2 > known().count()
            };
            if entry.held {
                continue;
            }
            if entry.open && entry.unmeasured < HOLD && unjudged() {
                entry.unmeasured += 1;
            } else {
                entry.missed += 1;
            }
        }
    }

    /// Closes what was taken over; whoever took it over has been there since the first of both was.
    fn merge(&mut self, taken: &[(usize, usize)], now_ns: i64) {
        for &(at, into) in taken {
            let first = self.current[at].incident.first_ns;
            let into = &mut self.current[into].incident;
            into.first_ns = earlier(into.first_ns, first);
            let merged_into = Some(into.id.clone());
            self.close(Incident { merged_into, ..self.current[at].incident.clone() }, now_ns);
        }
        let mut gone = taken.iter().map(|&(at, _)| at).collect::<Vec<_>>();
        gone.sort_unstable();
        for at in gone.into_iter().rev() {
            self.current.remove(at);
        }
    }

    fn close(&mut self, incident: Incident, now_ns: i64) {
        self.revision += 1;
        self.closed.push_front(Incident { closed_ns: Some(now_ns), revision: self.revision, ..incident });
        self.closed.truncate(CLOSED);
    }

    /// Opens and closes.
    fn turn(&mut self, now_ns: i64) {
        for entry in &mut self.current {
            let needed = if entry.part || entry.slow { SPLIT_AFTER } else { OPEN_AFTER };
            if !entry.open && entry.missed == 0 && entry.seen >= needed {
                entry.open = true;
                self.opened += 1;
                *self.opened_by_kind.entry(entry.incident.kind).or_default() += 1;
                entry.incident.id = format!("{:x}-{}", now_ns.div_euclid(SECOND_NS), self.opened);
                entry.incident.opened_ns = Some(now_ns);
                entry.incident.revision = 0;
            }
            if entry.incident.revision == 0 {
                self.revision += 1;
                entry.incident.revision = self.revision;
            }
        }
        let (keep, gone): (Vec<Entry>, Vec<Entry>) = std::mem::take(&mut self.current)
            .into_iter()
            .partition(|entry| entry.missed < if entry.open { CLOSE_AFTER } else { 1 });
        self.current = keep;
        for entry in gone.into_iter().filter(|entry| entry.open) {
            self.close(entry.incident, now_ns);
        }
    }

    /// Open incidents, worst first.
    #[must_use]
    pub fn open(&self) -> Vec<Incident> {
        let open = self.current.iter().filter(|entry| entry.open);
        let mut open: Vec<Incident> = open.map(|entry| entry.incident.clone()).collect();
        open.sort_by_key(|incident| {
            let unreachable = incident.verdict == Verdict::Unreachable;
            (!unreachable, std::cmp::Reverse(incident.paths.len()), incident.id.clone())
        });
        open
    }

    /// Open incidents, each with source and number of the paths that it explains.
    pub fn open_paths(
        &self,
    ) -> impl Iterator<Item = (String, impl Iterator<Item = (Arc<str>, PathId)> + '_)> {
        self.current.iter().filter(|entry| entry.open).map(|entry| {
            let paths = entry.incident.paths.iter().map(|of| (Arc::clone(&of.source), of.path.id));
            (entry.incident.id.clone(), paths)
        })
    }

    /// What did it, on the nodes where an open incident is; it replaces what was said before.
    pub fn name_culprits(&mut self, id: &str, culprits: Vec<Culprit>) {
        let mut open = self.current.iter_mut().filter(|entry| entry.open);
        let Some(entry) = open.find(|entry| entry.incident.id == id) else { return };
        // Found again is no news, whenever that was.
        let same = |a: &Culprit, b: &Culprit| {
            Culprit { found_ns: None, text: String::new(), ..a.clone() }
                == Culprit { found_ns: None, text: String::new(), ..b.clone() }
        };
        let old = &entry.incident.culprits;
        let news = old.len() != culprits.len() || !old.iter().zip(&culprits).all(|(a, b)| same(a, b));
        entry.incident.culprits = culprits;
        if news {
            self.revision += 1;
            entry.incident.revision = self.revision;
        }
    }

    /// Closed incidents, newest first.
    pub fn closed(&self) -> impl Iterator<Item = &Incident> {
        self.closed.iter()
    }

    /// How many opened as this kind since the start.
    #[must_use]
    pub fn opened(&self, kind: IncidentKind) -> u64 {
        self.opened_by_kind.get(&kind).copied().unwrap_or(0)
    }

    /// Rises with every change.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// There is nothing to follow.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.current.is_empty()
    }
}

fn earlier(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    a.into_iter().chain(b).min()
}

fn keys(cause: &Explained, facts: &[Fact]) -> BTreeSet<PathKey> {
    cause.paths.iter().map(|&at| PathKey::of_fact(&facts[at])).collect()
}

impl Entry {
    /// `part`: it may be a part of something that is not wholly seen yet.
    fn new(cause: &Explained, part: bool) -> Self {
        Self {
            key: cause.key.clone(),
            paths: BTreeSet::new(),
            incident: Incident::new(cause),
            open: false,
            seen: 0,
            missed: 0,
            unmeasured: 0,
            part,
            slow: false,
            held: false,
        }
    }

    /// Its evidence may still be on its way.
    fn is_young(&self, now_ns: i64) -> bool {
        self.incident.opened_ns.is_none_or(|opened_ns| now_ns.saturating_sub(opened_ns) < LATE_NS)
    }

    /// `also`: causes that explain parts of it now.
    fn renew(&mut self, cause: &Explained, also: &[&Explained], paths: &BTreeSet<PathKey>, facts: &[Fact]) {
        self.seen = self.seen.saturating_add(u32::from(!cause.waiting));
        (self.missed, self.unmeasured, self.held) = (0, 0, false);
        // Packet sizes are tried on one path after the other, and what is lost by chance between nodes shows so: what
        // few paths suggest may soon be reported of many. The report has it at once.
        let between_two = match cause.kind {
            IncidentKind::Link | IncidentKind::OneWay | IncidentKind::Target => true,
            IncidentKind::Node => paths.len() == 1,
            _ => false,
        };
        let lone = between_two && cause.certainty != Certainty::Observed && !cause.unreachable;
        self.slow = lone || cause.kind == IncidentKind::Mtu;
        let unreachable = cause.unreachable || also.iter().any(|part| part.unreachable);
        let verdict = if unreachable { Verdict::Unreachable } else { Verdict::Degraded };
        let was = &mut self.incident;
        if self.key != cause.key || self.paths != *paths || was.verdict != verdict {
            was.revision = 0;
        }
        self.key.clone_from(&cause.key);
        self.paths.clone_from(paths);
        let all = || std::iter::once(cause).chain(also.iter().copied());
        let path_of = |&at: &usize| facts[at].path_of();
        let mut places = std::mem::take(&mut was.places);
        let symptoms = all().flat_map(|one| &one.paths).filter_map(|&at| facts[at].symptom.as_ref());
        places.renew(symptoms.filter_map(|symptom| symptom.at.as_ref()));
        *was = Incident {
            id: std::mem::take(&mut was.id),
            kind: cause.kind,
            headline: cause.headline.clone(),
            what: cause.what.clone(),
            nodes: cause.nodes.clone(),
            losses: Losses::of(facts, all().flat_map(|one| &one.paths).copied()),
            verdict,
            certainty: cause.certainty,
            probe: cause.probe,
            family: cause.family,
            paths: all().flat_map(|one| &one.paths).map(path_of).collect(),
            places,
            contradictions: cause.contradictions.iter().take(CONTRADICTIONS).map(path_of).collect(),
            contradicting: cause.contradictions.len(),
            evidence: cause
                .evidence
                .iter()
                .cloned()
                .chain(also.iter().map(|part| format!("also: {}", part.headline)))
                .collect(),
            first_ns: earlier(was.first_ns, cause.first_ns),
            last_ns: all().filter_map(|one| one.last_ns).max().or(was.last_ns),
            opened_ns: was.opened_ns,
            closed_ns: None,
            cause: cause.key.clone(),
            merged_into: None,
            culprits: std::mem::take(&mut was.culprits),
            revision: was.revision,
        };
    }
}
