//! What is recorded in history from under the state's lock: gathered here, handed over by the history's task.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use netcheck_analysis::matrix::Row;
use netcheck_analysis::matrix::recorded::Recorded;
use netcheck_analysis::model::clock::SECOND_NS;
use netcheck_analysis::model::verdict::Verdict;
use netcheck_analysis::plan::PlannedPath;
use netcheck_history::path::{PathIdentity, PathNumber};
use netcheck_history::record::{Drops, INACTIVE, Limits, Record, Verdicts, plain};
use netcheck_proto::v1;

use super::{Archive, MOST_PATHS, code};

/// How long after its start the hub waits for a path to be measured again: until then it says nothing of it. Agents come
/// back within 15 s, those of large clusters one after the other.
pub(super) const AGAIN_NS: i64 = 90 * SECOND_NS;
/// Interfaces and reasons of one node that are kept apart.
const DROPS: usize = 512;

/// Interface and reason.
type Dropped = BTreeMap<(String, String), u64>;

/// See the file.
#[derive(Debug, Default)]
pub struct Recording {
    pub(super) archive: Option<Arc<Archive>>,
    /// Ascending.
    changes: Vec<Verdicts>,
    /// Ascending.
    pub(super) limits: Vec<Limits>,
    /// What stood before the hub began, of paths that were not judged since: verdict and since when.
    before: HashMap<u32, (u8, i64)>,
    /// Until when it may come back.
    until_ns: i64,
    drops: HashMap<Arc<str>, Dropped>,
    /// Of the ten seconds that begin then.
    drops_ns: i64,
}

/// What makes a path the same in history.
pub(super) fn identity(source: &str, path: &PlannedPath) -> PathIdentity {
    let probe = &path.probe;
    PathIdentity {
        source: source.to_owned(),
        vantage: path.vantage,
        target: probe.target.id.to_string(),
        kind: probe.kind,
        address: probe.address,
        port: probe.port,
        detail: probe.detail(),
    }
}

impl Archive {
    /// The number of a row's path; none where there are too many.
    pub(super) fn number(&self, source: &str, row: &mut Row) -> Option<PathNumber> {
        if row.recorded.number.is_none() {
            if self.writer.paths() >= MOST_PATHS {
                self.unnumbered.fetch_max(1, Ordering::Relaxed);
                return None;
            }
            row.recorded.number = Some(self.writer.path(&identity(source, &row.path)).0);
        }
        row.recorded.number.map(PathNumber)
    }
}

impl Recording {
    /// To this archive, of a hub that begins now; `before` is what stood.
    pub(super) fn to(archive: &Arc<Archive>, before: HashMap<u32, (u8, i64)>, now_ns: i64) -> Self {
        let archive = Some(Arc::clone(archive));
        Self { archive, before, until_ns: now_ns.saturating_add(AGAIN_NS), ..Self::default() }
    }

    /// A row was judged. Its verdict keeps the time since which it stood before the hub began, where it is the same.
    pub(in crate::state) fn judged(&mut self, source: &str, row: &mut Row, now_ns: i64) {
        let Some(archive) = &self.archive else { return };
        // With every tick for every path: mostly there is nothing to record.
        let shown = !row.replaced && !row.inactive;
        if shown && row.recorded.verdict == Some(code(row.verdict)) {
            return;
        }
        let Some(PathNumber(number)) = archive.number(source, row) else { return };
        if let Some(&(before, since_ns)) = self.before.get(&number) {
            if row.verdict == Verdict::NoData && now_ns < self.until_ns {
                return;
            }
            self.before.remove(&number);
            if plain(before) == code(row.verdict) {
                row.since_ns = row.since_ns.min(since_ns);
            }
        }
        let verdict = match row.recorded.verdict {
            _ if row.replaced => None,
            recorded if row.inactive => recorded.map(|recorded| recorded | INACTIVE),
            _ => Some(code(row.verdict)),
        };
        if row.recorded.verdict != verdict {
            row.recorded.verdict = verdict;
            self.changed(PathNumber(number), verdict, now_ns);
        }
    }

    /// Rows are forgotten.
    pub(in crate::state) fn gone(&mut self, gone: Vec<Recorded>, now_ns: i64) {
        for recorded in gone.into_iter().filter(|recorded| recorded.verdict.is_some()) {
            if let Some(number) = recorded.number {
                self.changed(PathNumber(number), None, now_ns);
            }
        }
    }

    fn changed(&mut self, path: PathNumber, verdict: Option<u8>, at_ns: i64) {
        match self.changes.last_mut() {
            Some(last) if last.at_ns == at_ns => last.changes.push((path, verdict)),
            _ => self.changes.push(Verdicts { at_ns, changes: vec![(path, verdict)] }),
        }
    }

    /// A node's kernel dropped packets.
    pub(in crate::state) fn dropped(&mut self, node: &Arc<str>, counter: &v1::DropCounter) {
        if self.archive.is_none() || counter.packets == 0 {
            return;
        }
        let drops = self.drops.entry(Arc::clone(node)).or_default();
        let mut key = (counter.interface.clone(), counter.reason.clone());
        if drops.len() >= DROPS && !drops.contains_key(&key) {
            key = (String::new(), "other".to_owned());
        }
        let count = drops.entry(key).or_default();
        *count = count.saturating_add(counter.packets);
    }

    /// Changes of verdicts since this was last asked.
    pub(super) fn take_changes(&mut self) -> Vec<Verdicts> {
        std::mem::take(&mut self.changes)
    }

    /// Where all is recorded.
    pub(super) const fn archive(&self) -> Option<&Arc<Archive>> {
        self.archive.as_ref()
    }

    /// What kernels dropped in ten seconds that are over, or in these as well: they begin at `step_ns`.
    pub(super) fn take_drops(&mut self, step_ns: i64, all: bool) -> Vec<Record> {
        let at_ns = if self.drops_ns == 0 { step_ns } else { self.drops_ns };
        if at_ns == step_ns && !all {
            self.drops_ns = step_ns;
            return Vec::new();
        }
        self.drops_ns = step_ns;
        let drops = self.drops.drain().map(|(node, counts)| {
            let counts = counts.into_iter().map(|((interface, reason), count)| (interface, reason, count));
            Record::Drops(Drops { at_ns, node: node.to_string(), counts: counts.collect() })
        });
        drops.collect()
    }

    /// What stood before the hub began and did not come back in time.
    pub(super) fn take_missing(&mut self, now_ns: i64) -> Vec<(PathNumber, u8)> {
        if self.before.is_empty() || now_ns < self.until_ns {
            return Vec::new();
        }
        let missing = std::mem::take(&mut self.before);
        missing.into_iter().map(|(number, (verdict, _))| (PathNumber(number), verdict)).collect()
    }
}
