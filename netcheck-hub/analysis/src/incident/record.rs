//! What is kept of an incident and handed to readers. Pure data.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use netcheck_common::domain::{Family, ProbeKind};

use super::{Explained, Fact, place};
use crate::model::culprit::Culprit;
use crate::model::incident::IncidentKind;
use crate::model::location::{Certainty, Location};
use crate::model::verdict::Verdict;
use crate::plan::PlannedPath;

/// A path as of one evaluation.
#[derive(Clone, Debug)]
pub struct PathOf {
    /// The node that probes.
    pub source: Arc<str>,
    /// Its zone; empty without.
    pub zone: Arc<str>,
    /// What it probes.
    pub path: Arc<PlannedPath>,
}

/// Places that are kept of one incident; of more, any may be its.
const PLACES: usize = 256;

/// Where the probes of one incident die.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    names: BTreeSet<String>,
    nodes: BTreeSet<String>,
    /// Where most of its paths lose theirs now, what a kernel reported first.
    most: Option<Location>,
}

impl Places {
    /// Takes in more.
    pub fn add<'a>(&mut self, locations: impl Iterator<Item = &'a Location>) {
        let locations: HashSet<&'a Location> = locations.collect();
        for at in locations {
            if self.names.len() > PLACES {
                return;
            }
            self.names.insert(place::name(at).0);
            self.nodes.extend([&at.node, &at.next_node].into_iter().filter(|name| !name.is_empty()).cloned());
        }
    }

    /// Takes what is known now: one location for each path that has one.
    pub(super) fn renew<'a>(&mut self, locations: impl Iterator<Item = &'a Location>) {
        let mut counts: HashMap<&'a Location, usize> = HashMap::new();
        locations.for_each(|at| *counts.entry(at).or_default() += 1);
        let most = counts
            .iter()
            .max_by_key(|&(at, count)| (at.certainty == Certainty::Observed, *count, std::cmp::Reverse(*at)));
        self.most = most.map(|(at, _)| (*at).clone());
        self.add(counts.into_keys());
    }

    /// Where most of its paths lose their probes now, what a kernel reported first; none where nobody knows.
    #[must_use]
    pub const fn most(&self) -> Option<&Location> {
        self.most.as_ref()
    }

    /// It is one of these, or may be: what a kernel reported by its name, what was concluded by its nodes.
    #[must_use]
    pub fn hold(&self, at: &Location) -> bool {
        let open = self.names.is_empty() || self.names.len() > PLACES;
        let concluded = at.certainty == Certainty::Inferred;
        let node = |name: &String| self.nodes.contains(name);
        open || self.names.contains(&place::name(at).0)
            || (concluded && (node(&at.node) || node(&at.next_node)))
    }

    /// One of these is one of those, or may be.
    pub(super) fn meets(&self, other: &Self) -> bool {
        let open = |places: &Self| places.names.is_empty() || places.names.len() > PLACES;
        open(self) || open(other) || !self.names.is_disjoint(&other.names)
    }
}

/// How the paths of one incident fare. All zero where that is not known, as of one that a hub before this one found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Paths of which nothing is answered.
    pub dead: usize,
    /// Probes lost on all of them.
    pub lost: u64,
    /// Probes answered on all of them since each began to lose some.
    pub answered: u64,
    /// Where large packets alone are lost: length of the smallest of them, bytes of IP.
    pub too_large: Option<u16>,
}

impl Losses {
    /// Of the paths with these places in the facts.
    pub(super) fn of(facts: &[Fact], paths: impl Iterator<Item = usize>) -> Self {
        let mut all = Self::default();
        for fact in paths.map(|at| &facts[at]) {
            all.dead += usize::from(fact.verdict == Verdict::Unreachable);
            let Some(symptom) = &fact.symptom else { continue };
            all.lost += symptom.lost;
            all.answered += u64::from(fact.answered);
            let too_large = symptom.oversize.map(|(_, lost)| lost);
            all.too_large = all.too_large.into_iter().chain(too_large).min();
        }
        all
    }
}

/// An incident that is open or was.
#[derive(Clone, Debug)]
pub struct Incident {
    /// Unique, and the same as long as the incident lasts.
    pub id: String,
    /// What it blames.
    pub kind: IncidentKind,
    /// One line for people, cause first, then where most of its packets die.
    pub headline: String,
    /// The headline without that place.
    pub what: String,
    /// Nodes at which to look, where there are such.
    pub nodes: Vec<String>,
    /// How its paths fare.
    pub losses: Losses,
    /// The worst verdict of its paths.
    pub verdict: Verdict,
    /// Whether a kernel's report proves the cause, or only counting suggests it.
    pub certainty: Certainty,
    /// Only this kind of probe.
    pub probe: Option<ProbeKind>,
    /// Only this family.
    pub family: Option<Family>,
    /// Bad paths that it explains.
    pub paths: Vec<PathOf>,
    /// Where its probes were seen to die, as long as it lasts.
    pub places: Places,
    /// The first of the paths that cross the same cause and are fine.
    pub contradictions: Vec<PathOf>,
    /// How many there are of these.
    pub contradicting: usize,
    /// The arithmetic first, then facts, one line each.
    pub evidence: Vec<String>,
    /// When the first probe that it explains was lost, unix nanoseconds.
    pub first_ns: Option<i64>,
    /// The same of the newest.
    pub last_ns: Option<i64>,
    /// When it opened, unix nanoseconds.
    pub opened_ns: Option<i64>,
    /// When it closed; none while it is open.
    pub closed_ns: Option<i64>,
    /// Names the cause; two incidents at different times can have the same.
    pub cause: String,
    /// Closed because another incident explains all of it: that one's id.
    pub merged_into: Option<String>,
    /// What did it, where agents found it.
    pub culprits: Vec<Culprit>,
    /// Changes with every change that a reader would want to see; 0 before it opened.
    pub revision: u64,
}

impl Incident {
    /// Of a cause that was found for the first time. It explains nothing yet.
    pub(super) fn new(cause: &Explained) -> Self {
        Self {
            id: String::new(),
            kind: cause.kind,
            headline: String::new(),
            what: String::new(),
            nodes: Vec::new(),
            losses: Losses::default(),
            verdict: Verdict::Reachable,
            certainty: cause.certainty,
            probe: None,
            family: None,
            paths: Vec::new(),
            places: Places::default(),
            contradictions: Vec::new(),
            contradicting: 0,
            evidence: Vec::new(),
            first_ns: None,
            last_ns: None,
            opened_ns: None,
            closed_ns: None,
            cause: String::new(),
            merged_into: None,
            culprits: Vec::new(),
            revision: 0,
        }
    }
}
