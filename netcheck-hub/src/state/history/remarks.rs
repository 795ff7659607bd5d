//! What is said beside the paths → history, every ten seconds where it changed: how many paths wait for their turn and what
//! they were, and what may be wrong with the measurement. And paths that left while they waited.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use netcheck_analysis::plan::{Catalog, PlannedPath, Probe};
use netcheck_common::domain::{PathId, ProbeKind, Vantage};
use netcheck_history::path::{PathIdentity, PathNumber};
use netcheck_history::record::{Left, Record, Remark, Topic};
use netcheck_proto::v1;
use prost::Message as _;

use super::Archive;
use super::recording::{AGAIN_NS, identity};
use super::windows::step_of;
use crate::state::Hub;

/// What was said last.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// In the ten seconds that begin then.
    step_ns: i64,
    turns: Option<Vec<u8>>,
    caveats: Option<Vec<u8>>,
    catalog: Option<Arc<Catalog>>,
    sources: BTreeSet<String>,
    swept: bool,
}

/// By what history distinguishes probes.
type Key = (String, ProbeKind, IpAddr, u16, String);

fn keys(catalog: &Catalog) -> HashSet<Key> {
    catalog.probes.iter().map(key).collect()
}

fn key(probe: &Probe) -> Key {
    (probe.target.id.to_string(), probe.kind, probe.address, probe.port, probe.detail())
}

impl Said {
    /// Who cannot have a turn any more: what is not probed now, and all of nodes that are gone.
    fn left(
        &mut self,
        archive: &Archive,
        catalog: Arc<Catalog>,
        sources: BTreeSet<String>,
    ) -> Vec<PathNumber> {
        let mut left = Vec::new();
        let mut take = |source: &str, probe: &Probe| {
            for vantage in [Vantage::Host, Vantage::Pod] {
                let path = PlannedPath { id: PathId(0), vantage, at: 0, probe: probe.clone() };
                left.extend(archive.writer.known(&identity(source, &path)));
            }
        };
        if let Some(before) = &self.catalog {
            for source in self.sources.difference(&sources) {
                before.probes.iter().for_each(|probe| take(source, probe));
            }
            if !Arc::ptr_eq(before, &catalog) {
                let still = keys(&catalog);
                for probe in before.probes.iter().filter(|probe| !still.contains(&key(probe))) {
                    self.sources.iter().for_each(|source| take(source, probe));
                }
            }
        }
        self.catalog = Some(catalog);
        self.sources = sources;
        left
    }

    /// Who left while the hub was away; looked for once, when agents had the time to come back.
    fn left_meanwhile(&mut self, archive: &Archive) -> Vec<PathNumber> {
        let Some(catalog) = self.catalog.as_ref().filter(|_| !self.swept) else { return Vec::new() };
        self.swept = true;
        let still = keys(catalog);
        let is_there = |path: PathIdentity| {
            let source = self.sources.contains(&path.source);
            source && still.contains(&(path.target, path.kind, path.address, path.port, path.detail))
        };
        let all = archive.reader.paths().unwrap_or_default().into_iter();
        all.filter_map(|(number, path)| (!is_there(path)).then_some(number)).collect()
    }
}

impl Hub {
    /// Says what changed since it was said last.
    pub(super) fn record_remarks(&self, archive: &Archive, now_ns: i64) {
        let state = self.lock();
        let catalog = Arc::clone(&state.catalog);
        let rotates = state.each().any(|(_, agent)| agent.turns.is_some());
        let sources = state.each().map(|(_, agent)| agent.name.to_string()).collect();
        drop(state);
        let mut said = archive.said.lock();
        let mut paths = said.left(archive, catalog, sources);
        if now_ns.saturating_sub(self.started_ns) > AGAIN_NS {
            paths.extend(said.left_meanwhile(archive));
        }
        if !paths.is_empty() {
            archive.record(Record::Left(Left { at_ns: now_ns, paths }));
        }
        if std::mem::replace(&mut said.step_ns, step_of(now_ns)) == step_of(now_ns) {
            return;
        }
        let mut turns = v1::Report { unjudged: self.lock().roster.unjudged(), ..v1::Report::default() };
        if rotates {
            self.add_waiting(&mut turns, now_ns);
        }
        let caveats = v1::Report { caveats: self.caveats(), ..v1::Report::default() };
        archive.remark(&mut said.turns, (Topic::Rotation, turns.encode_to_vec()), now_ns);
        archive.remark(&mut said.caveats, (Topic::Caveats, caveats.encode_to_vec()), now_ns);
    }
}

impl Archive {
    fn remark(&self, last: &mut Option<Vec<u8>>, (topic, body): (Topic, Vec<u8>), at_ns: i64) {
        if last.as_ref() != Some(&body) {
            self.record(Record::Remark(Remark { at_ns, topic, body: body.clone() }));
            *last = Some(body);
        }
    }

    /// The store is a new one.
    pub(super) fn record_remarks_anew(&self) {
        *self.said.lock() = Said::default();
    }

    /// What was said last of a topic by an instant; none where nobody did since the hub was there.
    pub(crate) fn remark_at(&self, topic: Topic, at_ns: i64) -> Option<v1::Report> {
        let (made_ns, body) = self.reader.remark_at(topic, at_ns).ok()??;
        let back_ns = self.back_ns(at_ns);
        v1::Report::decode(&*body).ok().filter(|_| made_ns >= back_ns)
    }

    /// When the hub came back last before an instant; long ago where it never was away.
    pub(crate) fn back_ns(&self, at_ns: i64) -> i64 {
        self.gaps.iter().map(|gap| gap.to_ns).filter(|&to_ns| to_ns <= at_ns).max().unwrap_or(i64::MIN)
    }
}
