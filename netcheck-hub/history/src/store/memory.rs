//! Keys and values in memory, where no disk can be used.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Change, KeyValue, Space};

type Values = BTreeMap<Vec<u8>, Vec<u8>>;

/// See [`super::Store`].
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<BTreeMap<Space, Values>>);

impl Memory {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Space, Values>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn commit(&self, changes: Vec<Change>) {
        let mut spaces = self.lock();
        for Change { space, key, value } in changes {
            let values = spaces.entry(space).or_default();
            match value {
                Some(value) => drop(values.insert(key, value)),
                None => drop(values.remove(&key)),
            }
        }
    }

    pub(super) fn get(&self, space: Space, key: &[u8]) -> Option<Vec<u8>> {
        self.lock().get(&space)?.get(key).cloned()
    }

    pub(super) fn range(
        &self,
        space: Space,
        from: &[u8],
        to: &[u8],
        found: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) {
        // Copied, so that what is called may come back.
        let values: Vec<_> = match self.lock().get(&space) {
            Some(values) if from < to => values
                .range::<[u8], _>((Included(from), Excluded(to)))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            _ => return,
        };
        let _ = values.iter().all(|(key, value)| found(key, value));
    }

    pub(super) fn last(&self, space: Space, from: &[u8], to: &[u8]) -> Option<KeyValue> {
        let spaces = self.lock();
        let values = spaces.get(&space).filter(|_| from < to)?;
        let (key, value) = values.range::<[u8], _>((Included(from), Excluded(to))).next_back()?;
        Some((key.clone(), value.clone()))
    }

    pub(super) fn spaces(&self) -> Vec<Space> {
        self.lock().keys().copied().collect()
    }

    pub(super) fn forget(&self, space: Space) {
        self.lock().remove(&space);
    }

    pub(super) fn held(&self, space: Option<Space>) -> u64 {
        /// What a map's entry costs beside its contents, about.
        const ENTRY: usize = 64;
        let spaces = self.lock();
        let spaces = spaces.iter().filter(|(this, _)| space.is_none_or(|space| space == **this));
        let values = spaces.flat_map(|(_, values)| values);
        values.map(|(key, value)| (key.len() + value.len() + ENTRY) as u64).sum()
    }
}
