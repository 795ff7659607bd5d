//! Keys and values in fjall.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fjall::{Database, Guard, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{Change, KeyValue, Kind, Space, StoreError};

/// Values are 1 to 30 KiB and mostly read once.
const CACHE_BYTES: u64 = 16 << 20;
/// The least that fjall takes.
const JOURNAL_BYTES: u64 = 64 << 20;
/// Of open tables; the hub has connections as well.
const FILES: usize = 200;

/// See [`super::Store`].
pub(crate) struct Disk {
    db: Database,
    spaces: Mutex<BTreeMap<Space, Keyspace>>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Disk").finish()
    }
}

impl Disk {
    /// Opens it, or begins a new one.
    pub(crate) fn open(dir: &Path) -> Result<Self, StoreError> {
        let db = Database::builder(dir)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES)
            .max_cached_files(Some(FILES))
            .worker_threads(1)
            .open()?;
        let mut spaces = BTreeMap::new();
        for name in db.list_keyspace_names() {
            if let Some(space) = Space::parse(&name) {
                spaces.insert(space, db.keyspace(&name, || options(space.kind))?);
            }
        }
        Ok(Self { db, spaces: Mutex::new(spaces) })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Space, Keyspace>> {
        self.spaces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keyspace(&self, space: Space) -> Option<Keyspace> {
        self.lock().get(&space).cloned()
    }

    pub(super) fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncAll));
        let mut spaces = self.lock();
        for Change { space, key, value } in changes {
            let keyspace = match spaces.get(&space) {
                Some(keyspace) => keyspace.clone(),
                None => {
                    let keyspace = self.db.keyspace(&space.to_string(), || options(space.kind))?;
                    spaces.insert(space, keyspace.clone());
                    keyspace
                }
            };
            match value {
                Some(value) => batch.insert(&keyspace, key, value),
                None => batch.remove(&keyspace, key),
            }
        }
        drop(spaces);
        Ok(batch.commit()?)
    }

    pub(super) fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(keyspace) = self.keyspace(space) else { return Ok(None) };
        Ok(keyspace.get(key)?.map(|value| value.to_vec()))
    }

    pub(super) fn range(
        &self,
        space: Space,
        from: &[u8],
        to: &[u8],
        found: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        let Some(keyspace) = self.keyspace(space).filter(|_| from < to) else { return Ok(()) };
        for entry in keyspace.range(from..to) {
            let (key, value) = entry.into_inner()?;
            if !found(&key, &value) {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn last(&self, space: Space, from: &[u8], to: &[u8]) -> Result<Option<KeyValue>, StoreError> {
        let Some(keyspace) = self.keyspace(space).filter(|_| from < to) else { return Ok(None) };
        let last = keyspace.range(from..to).next_back().map(Guard::into_inner).transpose()?;
        Ok(last.map(|(key, value)| (key.to_vec(), value.to_vec())))
    }

    pub(super) fn spaces(&self) -> Vec<Space> {
        self.lock().keys().copied().collect()
    }

    pub(super) fn forget(&self, space: Space) -> Result<(), StoreError> {
        let keyspace = self.lock().remove(&space);
        Ok(keyspace.map_or(Ok(()), |keyspace| self.db.delete_keyspace(keyspace))?)
    }

    pub(super) fn bytes(&self, space: Option<Space>) -> u64 {
        match space {
            Some(space) => self.keyspace(space).map_or(0, |keyspace| keyspace.disk_space()),
            None => self.db.disk_space().unwrap_or(0),
        }
    }
}

/// What is held in memory of a space until it is written as a table. Raw windows are gone after some minutes: with more
/// memory most would never be written twice, but it is memory of the hub.
fn options(kind: Kind) -> KeyspaceCreateOptions {
    let bytes = match kind {
        Kind::Raw => 16 << 20,
        Kind::State | Kind::Log => 4 << 20,
        _ => 8 << 20,
    };
    KeyspaceCreateOptions::default().max_memtable_size(bytes)
}
