//! What an earlier hub knew → this one: verdicts keep their times, incidents their ids, and what is expected to be absent
//! stays so.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use netcheck_analysis::incident::PathOf;
use netcheck_analysis::matrix::Row;
use netcheck_analysis::model::clock::SECOND_NS;
use netcheck_analysis::model::verdict::Verdict;
use netcheck_common::domain::{ProbeKind, Vantage};
use netcheck_history::reader::State as Standing;
use netcheck_history::record::{FactKind, INACTIVE};
use netcheck_proto::v1;
use prost::Message as _;

use super::Archive;
use super::Recording;
use crate::state::{Hub, State};
use netcheck_analysis::wire;

/// How long an incident waits for its paths to be measured again. Then it is judged by those that are.
const HELD_NS: i64 = 90 * SECOND_NS;

/// A path as people know it: what is the same before and after a restart.
type Known<'a> = (Vantage, &'a str, ProbeKind, IpAddr, u16);

fn known(row: &Row) -> Known<'_> {
    let probe = &row.path.probe;
    (row.path.vantage, &probe.target.id, probe.kind, probe.address, probe.port)
}

impl State {
    /// Takes over what stood.
    pub(in crate::state) fn restore(&mut self, archive: &Arc<Archive>, standing: Standing, now_ns: i64) {
        let before = standing.verdicts.into_iter().filter(|(_, (verdict, _))| verdict & INACTIVE == 0);
        let before: HashMap<u32, (u8, i64)> = before.map(|(path, verdict)| (path.0, verdict)).collect();
        self.recording = Recording::to(archive, before, now_ns);
        for fact in standing.facts.iter().filter(|fact| fact.kind == FactKind::ExpectedAbsent) {
            self.restore_absence(&fact.key, fact.value.as_deref().unwrap_or_default());
        }
        for revision in standing.incidents {
            let wire = v1::Incident::decode(&*revision.body).ok();
            match wire.and_then(|wire| wire::read_incident(&wire, |_| 0)) {
                Some(incident) => self.incidents.restore(incident),
                None => {
                    tracing::warn!(id = %revision.id, "an open incident of history can't be read and is left out");
                }
            }
        }
    }

    /// The rows of these paths, and whether all that are in the plan are judged.
    fn found(&self, paths: &[PathOf]) -> (Vec<PathOf>, bool) {
        let mut rows: HashMap<&str, HashMap<Known<'_>, &Row>> = HashMap::new();
        let (mut found, mut judged) = (Vec::with_capacity(paths.len()), true);
        for of in paths {
            let Some(at) = self.find(&of.source) else { continue };
            let rows = rows
                .entry(&of.source)
                .or_insert_with(|| self.agent(at).rows.shown().map(|row| (known(row), row)).collect());
            let probe = &of.path.probe;
            let wanted = (of.path.vantage, &*probe.target.id, probe.kind, probe.address, probe.port);
            match rows.get(&wanted) {
                Some(row) => {
                    judged &= row.verdict != Verdict::NoData;
                    found.push(PathOf { path: Arc::clone(&row.path), ..of.clone() });
                }
                // It is shown as it was recorded.
                None => found.push(of.clone()),
            }
        }
        (found, judged && !rows.values().all(HashMap::is_empty))
    }
}

impl Hub {
    /// Incidents of before the start whose paths are measured again are judged as any other.
    pub(in crate::state) fn release_incidents(&self, now_ns: i64) {
        if self.archive.is_none() {
            return;
        }
        let mut state = self.lock();
        let held: Vec<(String, Vec<PathOf>)> =
            state.incidents.held().map(|(id, paths)| (id.to_owned(), paths.to_vec())).collect();
        let late = now_ns.saturating_sub(self.started_ns) > HELD_NS;
        for (id, paths) in held {
            let (paths, judged) = state.found(&paths);
            state.incidents.rename(&id, paths);
            if judged || late {
                state.incidents.release(&id);
            }
        }
    }
}
