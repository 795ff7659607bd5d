//! What stands: verdicts and limits as they were recorded last. The writer keeps it, readers follow it up to a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::codec::log::{Limit, Standing};
use crate::path::PathNumber;
use crate::record::{Limits, Verdicts, plain};

/// See the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stands {
    pub(crate) verdicts: BTreeMap<PathNumber, Standing>,
    pub(crate) limits: BTreeMap<PathNumber, Limit>,
    /// Most paths have the same limits: each is held once.
    alike: BTreeSet<Arc<[u8]>>,
}

impl Stands {
    pub(crate) const fn new(
        verdicts: BTreeMap<PathNumber, Standing>,
        limits: BTreeMap<PathNumber, Limit>,
    ) -> Self {
        Self { verdicts, limits, alike: BTreeSet::new() }
    }

    /// Verdicts after a change. A verdict that is recorded again keeps its time.
    pub(crate) fn follow(&mut self, changed: &Verdicts) {
        for &(path, verdict) in &changed.changes {
            let Some(verdict) = verdict else {
                self.verdicts.remove(&path);
                continue;
            };
            let standing = self.verdicts.entry(path).or_insert((verdict, changed.at_ns));
            if plain(standing.0) == plain(verdict) {
                standing.0 = verdict;
            } else {
                *standing = (verdict, changed.at_ns);
            }
        }
    }

    /// Limits after a change.
    pub(crate) fn limit(&mut self, changed: &Limits) {
        for (path, limit) in &changed.changes {
            if limit.is_empty() {
                self.limits.remove(path);
                continue;
            }
            let held = self.alike.get(limit.as_slice()).cloned().unwrap_or_else(|| {
                let new: Arc<[u8]> = limit.as_slice().into();
                self.alike.insert(Arc::clone(&new));
                new
            });
            self.limits.insert(*path, (changed.at_ns, held));
        }
    }

    /// Lets go of limits of paths that are gone.
    pub(crate) fn tidy(&mut self) {
        let Self { verdicts, limits, alike } = self;
        limits.retain(|path, _| verdicts.contains_key(path));
        alike.retain(|limit| Arc::strong_count(limit) > 1);
    }
}
