//! What is kept of an incident and handed to readers. Pure data.

use std::sync::Arc;

use netcheck_common::domain::{Family, ProbeKind};
use netcheck_proto::v1;

use super::Explained;
use crate::model::incident::IncidentKind;
use crate::model::location::Certainty;
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

/// An incident that is open or was.
#[derive(Clone, Debug)]
pub struct Incident {
    /// Unique, and the same as long as the incident lasts.
    pub id: String,
    /// What it blames.
    pub kind: IncidentKind,
    /// One line for people, cause first.
    pub headline: String,
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
    /// What did it, where agents found it: kept as they said it, for readers alone.
    pub culprits: Vec<v1::Culprit>,
    /// Changes with every change that a reader would want to be told; 0 before it opened.
    pub revision: u64,
}

impl Incident {
    /// Of a cause that was found for the first time. It explains nothing yet.
    pub(super) fn new(cause: &Explained) -> Self {
        Self {
            id: String::new(),
            kind: cause.kind,
            headline: String::new(),
            verdict: Verdict::Reachable,
            certainty: cause.certainty,
            probe: None,
            family: None,
            paths: Vec::new(),
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
