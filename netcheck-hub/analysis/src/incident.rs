//! Bad paths → the smallest set of causes that explains them. Pure.
//!
//! In: one [`Fact`] per path, as of one moment. Out: [`Explained`], one per cause, by [`explain`]; [`IncidentTracker`] follows
//! them from evaluation to evaluation, so that an incident opens, stays itself while its symptoms grow, and closes.
//! Each secondary network of pods is explained for itself (`networks`): that one is well says nothing of another.
//! The state makes the facts; `explained` has two ways to the causes: by paths and suspects (all that follows here), and by
//! the components that probes crossed ([`groups`], and the crate `netcheck-causes`); [`index`] numbers what they name, [`place`] says what a place is
//! called, [`tally`] counts the paths that cross each suspect, [`cover`] chooses, [`words`] says it, [`proof`] shows the
//! arithmetic.
//!
//! Only paths that are judged count: `expected_absent` and `no_data` are neither a symptom nor a contradiction, nor
//! is a single lost probe.

use std::net::IpAddr;
use std::sync::Arc;

use netcheck_common::domain::{Family, Outcome, ProbeKind};

use crate::cluster::roster::Owner;
use crate::matrix::flows::Flows;
use crate::model::Pattern;
use crate::model::incident::IncidentKind;
use crate::model::location::{Certainty, Location};
use crate::model::ports::PortLosses;
use crate::model::verdict::Verdict;
use crate::plan::PlannedPath;

pub mod advice;
pub mod cause;
pub mod cover;
mod describe;
mod end;
mod explained;
pub mod groups;
mod headline;
pub mod index;
mod networks;
pub mod path_key;
pub mod place;
pub mod proof;
mod record;
mod symptoms;
pub mod tally;
pub mod tracker;
pub mod words;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use headline::Headline;

pub use explained::explain;
pub use record::{Incident, Losses, PathOf, Places};
pub use tracker::IncidentTracker;

/// One path as of one evaluation.
#[derive(Clone, Debug)]
pub struct Fact {
    /// The node that probes.
    pub source: Arc<str>,
    /// Its zone; empty without.
    pub zone: Arc<str>,
    /// What it probes.
    pub path: Arc<PlannedPath>,
    /// What can be said of it.
    pub verdict: Verdict,
    /// Where it is bad: how.
    pub symptom: Option<Symptom>,
    /// It speaks of the largest packets of the path alone: another fact speaks of all others. Each kind is explained
    /// for itself.
    pub large: bool,
    /// It speaks of single source ports of the path: that some lose their packets, or that none does. These are
    /// explained for themselves.
    pub by_port: bool,
    /// The pod that it is sent from, `namespace/name`; none from the node itself, or where nobody knows it.
    pub source_pod: Option<Arc<str>>,
    /// Probes that were answered as they should be: of a bad path since its first loss, none of one that is dead.
    pub answered: u32,
    /// Of these, the addresses that answered in a service's stead, where that is known, and how many.
    pub met: Vec<(IpAddr, u32)>,
}

/// Lost probes of one path that ended alike.
#[derive(Clone, Debug)]
pub struct Ending {
    /// How many.
    pub probes: u32,
    /// How.
    pub outcome: Outcome,
    /// Where, where that is known.
    pub at: Option<Location>,
    /// Whom they went to in a service's stead, where that is known.
    pub met: Option<Owner>,
}

/// What is known of a bad path's losses.
#[derive(Clone, Debug, Default)]
pub struct Symptom {
    /// Probes lost in the range.
    pub lost: u64,
    /// The newest of them, alike ones together.
    pub endings: Vec<Ending>,
    /// The only node that its lost probes went to, where there is one.
    pub towards: Option<String>,
    /// The only zone that they went to, where there is one.
    pub towards_zone: String,
    /// Of a service or DNS server: the only backend that its lost probes went to (pod name, else address).
    pub backend: Option<String>,
    /// Where most of them died.
    pub at: Option<Location>,
    /// The same for people; without a place: why there is none.
    pub summary: String,
    /// What it rests on.
    pub evidence: Vec<String>,
    /// When the oldest and newest loss were sent, unix nanoseconds.
    pub lost_ns: Option<(i64, i64)>,
    /// No loss has all its evidence yet: what it looks like now may be another thing in a moment.
    pub waiting: bool,
    /// How the newest ended.
    pub outcome: Option<Outcome>,
    /// Where only large packets are lost: the largest that passes, and the smallest that does not.
    pub oversize: Option<(u16, u16)>,
    /// Where only packets from some source ports are lost: which.
    pub by_port: Option<PortLosses>,
    /// Where new flows fare otherwise than old ones.
    pub flows: Option<Flows>,
}

impl Fact {
    /// It says that something is wrong.
    #[must_use]
    pub fn bad(&self) -> bool {
        match self.verdict {
            Verdict::Unreachable => true,
            Verdict::Degraded => {
                self.symptom.as_ref().is_some_and(|symptom| symptom.lost >= crate::model::verdict::RUN)
            }
            Verdict::Reachable | Verdict::ExpectedAbsent | Verdict::NoData => false,
        }
    }

    /// What it speaks of.
    #[must_use]
    pub const fn pattern(&self) -> Pattern {
        match (self.by_port, self.large) {
            (true, _) => Pattern::Port,
            (false, true) => Pattern::Size,
            (false, false) => Pattern::Any,
        }
    }

    /// The secondary network of pods that it stays in; none: the cluster's own.
    #[must_use]
    pub fn network(&self) -> Option<&str> {
        self.path.probe.target.network()
    }

    /// It says that something is fine.
    #[must_use]
    pub fn good(&self) -> bool {
        self.verdict == Verdict::Reachable
    }

    /// Its path, as incidents keep it.
    #[must_use]
    pub fn path_of(&self) -> PathOf {
        let Self { source, zone, path, .. } = self;
        PathOf { source: Arc::clone(source), zone: Arc::clone(zone), path: Arc::clone(path) }
    }

    /// The family of its packets.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.path.probe.address)
    }
}

/// One cause and what it explains, as of one evaluation.
#[derive(Clone, Debug)]
pub struct Explained {
    /// Names the cause, the same in every evaluation.
    pub key: String,
    /// What kind of thing it is.
    pub kind: IncidentKind,
    /// One line, cause first, then where most of its packets die.
    pub headline: String,
    /// The headline without that place.
    pub what: String,
    /// Nodes at which to look, where there are such.
    pub nodes: Vec<String>,
    /// Only this kind of probe.
    pub probe: Option<ProbeKind>,
    /// Only this family.
    pub family: Option<Family>,
    /// Places in the facts of the bad paths that it explains, ascending.
    pub paths: Vec<usize>,
    /// The same of paths that cross it and are fine.
    pub contradictions: Vec<usize>,
    /// The arithmetic first, then facts, one line each.
    pub evidence: Vec<String>,
    /// Whether a kernel's report proves it, or only counting suggests it.
    pub certainty: Certainty,
    /// The evidence of all its paths is still on its way: too early to open an incident.
    pub waiting: bool,
    /// Some path is unreachable, not only degraded.
    pub unreachable: bool,
    /// When its oldest loss in the range was sent, unix nanoseconds.
    pub first_ns: Option<i64>,
    /// The same of its newest.
    pub last_ns: Option<i64>,
}

impl Explained {
    /// With its line for people.
    fn says(self, headline: &Headline) -> Self {
        Self { headline: headline.whole(), what: headline.what.clone(), ..self }
    }
}
