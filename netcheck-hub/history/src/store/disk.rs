//! Keys and values in fjall: a keyspace for each kind, in which keys begin with their period.
//!
//! Not a keyspace for each period: fjall 3.1 writes the list of all that ever were anew whenever one comes or goes, and
//! keeps it, so that a month of them took gigabytes.

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
/// Keys that are removed in one transaction.
const REMOVED: usize = 8192;
/// The first byte of the key, among what stands, that says how much a space holds; its name follows.
const HELD: u8 = b'h';

/// See [`super::Store`].
pub(crate) struct Disk {
    db: Database,
    /// By [`Kind::ALL`].
    keyspaces: Vec<Keyspace>,
    /// Bytes of keys and values that were written to a space. Written with what it counts.
    held: Mutex<BTreeMap<Space, u64>>,
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
        let open = |kind: Kind| db.keyspace(kind.name(), || options(kind));
        let keyspaces = Kind::ALL.into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let disk = Self { db, keyspaces, held: Mutex::default() };
        let mut held = BTreeMap::new();
        disk.range(Space::STATE, &[HELD], &[HELD + 1], &mut |key, bytes| {
            let space = str::from_utf8(&key[1..]).ok().and_then(Space::parse);
            if let (Some(space), Ok(bytes)) = (space, bytes.try_into()) {
                held.insert(space, u64::from_be_bytes(bytes));
            }
            true
        })?;
        *disk.lock() = held;
        Ok(disk)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Space, u64>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keyspace(&self, kind: Kind) -> &Keyspace {
        &self.keyspaces[kind as usize]
    }

    pub(super) fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncAll));
        let mut more: BTreeMap<Space, u64> = BTreeMap::new();
        for Change { space, key, value } in changes {
            let (keyspace, key) = (self.keyspace(space.kind), within(space, &key));
            match value {
                Some(value) => {
                    *more.entry(space).or_default() += (key.len() + value.len()) as u64;
                    batch.insert(keyspace, key, value);
                }
                None => batch.remove(keyspace, key),
            }
        }
        // What stands is written again and again: how much that was says nothing.
        more.remove(&Space::STATE);
        let mut held = self.lock();
        for (space, more) in &mut more {
            *more += held.get(space).copied().unwrap_or(0);
            batch.insert(self.keyspace(Kind::State), held_key(*space), more.to_be_bytes());
        }
        batch.commit()?;
        held.append(&mut more);
        Ok(())
    }

    pub(super) fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.keyspace(space.kind).get(within(space, key))?.map(|value| value.to_vec()))
    }

    pub(super) fn range(
        &self,
        space: Space,
        from: &[u8],
        to: &[u8],
        found: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        if from >= to {
            return Ok(());
        }
        for entry in self.keyspace(space.kind).range(within(space, from)..within(space, to)) {
            let (key, value) = entry.into_inner()?;
            if !found(&key[PERIOD..], &value) {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn last(&self, space: Space, from: &[u8], to: &[u8]) -> Result<Option<KeyValue>, StoreError> {
        if from >= to {
            return Ok(None);
        }
        let mut range = self.keyspace(space.kind).range(within(space, from)..within(space, to));
        let last = range.next_back().map(Guard::into_inner).transpose()?;
        Ok(last.map(|(key, value)| (key[PERIOD..].to_vec(), value.to_vec())))
    }

    pub(super) fn spaces(&self) -> Vec<Space> {
        self.lock().keys().copied().collect()
    }

    /// Removes all keys of a space, and at last that it was there. Interrupted, it is done again.
    pub(super) fn forget(&self, space: Space) -> Result<(), StoreError> {
        let keyspace = self.keyspace(space.kind);
        loop {
            let keys = keyspace.prefix(space.start_s.to_be_bytes()).take(REMOVED).map(Guard::key);
            let keys = keys.collect::<Result<Vec<_>, _>>()?;
            let last = keys.len() < REMOVED;
            let mut batch = self.db.batch().durability(Some(PersistMode::Buffer));
            keys.into_iter().for_each(|key| batch.remove(keyspace, key));
            if last {
                batch.remove(self.keyspace(Kind::State), held_key(space));
            }
            batch.commit()?;
            if last {
                self.lock().remove(&space);
                return Ok(());
            }
        }
    }

    pub(super) fn held(&self, space: Option<Space>) -> u64 {
        let held = self.lock();
        space.map_or_else(|| held.values().sum(), |space| held.get(&space).copied().unwrap_or(0))
    }

    pub(super) fn on_disk(&self) -> u64 {
        self.db.disk_space().unwrap_or(0)
    }
}

/// Bytes of a key that say the period.
const PERIOD: usize = 4;

fn within(space: Space, key: &[u8]) -> Vec<u8> {
    [&space.start_s.to_be_bytes()[..], key].concat()
}

fn held_key(space: Space) -> Vec<u8> {
    within(Space::STATE, &[&[HELD][..], space.to_string().as_bytes()].concat())
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
