//! Incidents → history: each when it opens, when what it blames or (unless they are many) what it explains changes, and
//! when it closes; else every ten seconds at most, where something else of it changed.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher as _};

use netcheck_analysis::incident::Incident;
use netcheck_history::record::{IncidentRevision, Record};
use netcheck_proto::v1;
use prost::Message as _;

use super::Archive;
use super::windows::STEP_NS;
use crate::state::Hub;
use netcheck_analysis::wire;

/// Paths of an incident that are kept; more are counted.
const PATHS: usize = 2000;
/// One of so many paths is recorded whenever these change; each change of a larger one would be much to write.
const SMALL: usize = 256;

/// What was recorded of incidents.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    /// Of the tracker.
    revision: u64,
    at_ns: i64,
    open: BTreeMap<String, Last>,
}

/// How an open incident was recorded last.
#[derive(Debug)]
struct Last {
    at_ns: i64,
    revision: u64,
    /// Of what it blames.
    blamed: u64,
    /// Of all but when its newest probe was lost.
    whole: u64,
}

fn digest(parts: &impl std::hash::Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish()
}

/// As it is kept.
fn body(incident: &Incident) -> v1::Incident {
    let mut wire = wire::incident(incident);
    if wire.paths.len() > PATHS {
        wire.path_count = wire.paths.len() as u64;
        wire.paths.truncate(PATHS);
    }
    wire
}

impl Hub {
    /// Records what is new of incidents. With every evaluation.
    pub(in crate::state) fn record_incidents(&self, now_ns: i64) {
        let Some(archive) = &self.archive else { return };
        let mut recorded = archive.recorded.lock();
        let due = now_ns.saturating_sub(recorded.at_ns) >= STEP_NS;
        let state = self.lock();
        let revision = state.incidents.revision();
        if revision == recorded.revision && (!due || recorded.open.is_empty()) {
            return;
        }
        let open = state.incidents.open();
        let seen = recorded.revision;
        let closed: Vec<Incident> =
            state.incidents.closed().take_while(|incident| incident.revision > seen).cloned().collect();
        drop(state);
        recorded.revision = revision;
        if due {
            recorded.at_ns = now_ns;
        }
        for incident in closed.iter().rev() {
            recorded.open.remove(&incident.id);
            archive.record_incident(incident, &body(incident), now_ns);
        }
        for incident in &open {
            let wire = body(incident);
            let blamed = digest(&(&incident.cause, wire.kind, wire.verdict, wire.certainty));
            let whole = v1::Incident { last_seen: None, ..wire.clone() };
            let whole = digest(&whole.encode_to_vec());
            let last = recorded.open.get(&incident.id);
            let small = incident.paths.len() <= SMALL;
            let news = last.is_none_or(|last| {
                small && last.revision != incident.revision
                    || last.blamed != blamed
                    || last.whole != whole && now_ns.saturating_sub(last.at_ns) >= STEP_NS
            });
            if news {
                archive.record_incident(incident, &wire, now_ns);
                recorded.open.insert(
                    incident.id.clone(),
                    Last { at_ns: now_ns, revision: incident.revision, blamed, whole },
                );
            }
        }
    }
}

impl Archive {
    fn record_incident(&self, incident: &Incident, wire: &v1::Incident, now_ns: i64) {
        let first_ns = incident.first_ns.into_iter().chain(incident.opened_ns).min();
        self.record(Record::Incident(IncidentRevision {
            id: incident.id.clone(),
            at_ns: now_ns,
            first_seen_ns: first_ns.unwrap_or(now_ns),
            closed_ns: incident.closed_ns,
            fields: vec![("cause".to_owned(), incident.cause.clone())],
            body: wire.encode_to_vec(),
        }));
    }

    /// The store was set aside: all is recorded anew.
    pub(super) fn record_incidents_anew(&self) {
        self.recorded.lock().open.clear();
        self.recorded.lock().revision = 0;
    }
}
