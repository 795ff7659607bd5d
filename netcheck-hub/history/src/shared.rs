//! What the writer and its readers have in common.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::codec::{Malformed, VERSION};
use crate::location::Note;
use crate::path::{PathIdentity, PathNumber};
use crate::store::{Change, Kind, Space, Store, StoreError};
use crate::tier::Tier;
use netcheck_common::varint::{self, Cursor};

/// Notes that nobody asked for yet.
const NOTES: usize = 64;

/// How far rolling up has come, unix seconds. What is before is in blocks of the next sort; what is after is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    /// Raw windows before it are rolled up, and none are taken any more.
    pub(crate) rolled_s: u32,
    /// Minutes before it are in their final blocks.
    pub(crate) minutes_s: u32,
    /// So are ten minutes.
    pub(crate) coarse_s: u32,
}

impl Marks {
    pub(crate) const KEY: &[u8] = b"marks";

    /// Until when a tier is in its final blocks.
    pub(crate) const fn merged_s(&self, tier: Tier) -> u32 {
        match tier {
            Tier::Raw | Tier::Fine => self.rolled_s,
            Tier::Minute => self.minutes_s,
            Tier::Coarse => self.coarse_s,
        }
    }

    pub(crate) fn change(&self) -> Change {
        let mut value = vec![VERSION];
        for mark in [self.rolled_s, self.minutes_s, self.coarse_s] {
            varint::put(&mut value, u64::from(mark));
        }
        Change { space: Space::STATE, key: Self::KEY.to_vec(), value: Some(value) }
    }

    pub(crate) fn read(store: &Store) -> Result<Self, StoreError> {
        let Some(value) = store.get(Space::STATE, Self::KEY)? else { return Ok(Self::default()) };
        let read = |cursor: &mut Cursor<'_>| -> Result<Self, Malformed> {
            match cursor.byte()? {
                VERSION => {}
                version => return Err(Malformed::Version(version)),
            }
            Ok(Self { rolled_s: cursor.narrow()?, minutes_s: cursor.narrow()?, coarse_s: cursor.narrow()? })
        };
        read(&mut Cursor(&value)).map_err(|error| StoreError::Damaged(error.to_string()))
    }
}

/// The store and what must change together with it.
#[derive(Debug)]
pub(crate) struct Inner {
    /// None while it can't be opened.
    pub(crate) store: Option<Store>,
    /// How its spaces are to be read.
    pub(crate) marks: Marks,
}

/// The numbers of paths. A path is known by a hash of 128 bits of its identity, so that a million cost some 30 MB.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    numbers: HashMap<u128, PathNumber>,
    /// Given out, not written yet.
    pub(crate) unwritten: Vec<(PathNumber, Vec<u8>)>,
    next: u32,
}

impl Paths {
    /// The first byte of the key of a path.
    pub(crate) const KEY: u8 = b'p';

    pub(crate) fn key(number: PathNumber) -> Vec<u8> {
        [&[Self::KEY][..], &number.0.to_be_bytes()].concat()
    }

    /// Reads all that are stored.
    pub(crate) fn read(store: &Store) -> Result<Self, StoreError> {
        let mut paths = Self::default();
        store.range(Space::STATE, &[Self::KEY], &[Self::KEY + 1], &mut |key, identity| {
            if let Ok(number) = key[1..].try_into().map(u32::from_be_bytes) {
                paths.numbers.insert(hash(identity), PathNumber(number));
                paths.next = paths.next.max(number.saturating_add(1));
            }
            true
        })?;
        Ok(paths)
    }

    /// The number of a path: the one that it has, or the next.
    pub(crate) fn number(&mut self, path: &PathIdentity) -> PathNumber {
        let identity = path.encode();
        let next = PathNumber(self.next);
        let number = *self.numbers.entry(hash(&identity)).or_insert(next);
        if number == next {
            self.next += 1;
            self.unwritten.push((number, identity));
        }
        number
    }

    /// The number of a path that has one.
    pub(crate) fn known(&self, path: &PathIdentity) -> Option<PathNumber> {
        self.numbers.get(&hash(&path.encode())).copied()
    }

    /// Forgets a path that nothing speaks of any more.
    pub(crate) fn forget(&mut self, identity: &[u8]) {
        self.numbers.remove(&hash(identity));
    }

    /// Forgets all, and gives no number out again.
    pub(crate) fn begin_anew(&mut self) {
        self.numbers.clear();
        self.unwritten.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }
}

fn hash(identity: &[u8]) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, identity).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}

/// What was counted since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records that were not taken, as the queue was full.
    pub dropped: u64,
    /// Records that could not be written.
    pub lost: u64,
    /// Windows that came after theirs had been rolled up, or of a time that can't be.
    pub late: u64,
    /// Stores that were set aside.
    pub set_aside: u64,
    /// Values that could not be read.
    pub unreadable: u64,
    /// Transactions of what was gathered.
    pub commits: u64,
    /// Bytes of final blocks of ten seconds, with their keys.
    pub bytes_fine: u64,
    /// The same of a minute.
    pub bytes_minute: u64,
    /// The same of ten minutes.
    pub bytes_coarse: u64,
    /// Writes that failed, whatever came of them.
    pub failed_commits: u64,
    /// Spaces of time that were forgotten for their age.
    pub aged_out: u64,
    /// Spaces of time that were forgotten for want of room.
    pub squeezed_out: u64,
}

/// The same, while they grow.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) dropped: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) late: AtomicU64,
    pub(crate) set_aside: AtomicU64,
    pub(crate) unreadable: AtomicU64,
    pub(crate) commits: AtomicU64,
    pub(crate) bytes_fine: AtomicU64,
    pub(crate) bytes_minute: AtomicU64,
    pub(crate) bytes_coarse: AtomicU64,
    pub(crate) failed_commits: AtomicU64,
    pub(crate) aged_out: AtomicU64,
    pub(crate) squeezed_out: AtomicU64,
}

/// Adds to a counter.
pub(crate) fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

impl Counters {
    /// Counts what of a transaction is for good.
    pub(crate) fn final_blocks(&self, changes: &[Change]) {
        for change in changes {
            let counter = match change.space.kind {
                Kind::Fine => &self.bytes_fine,
                Kind::Minute => &self.bytes_minute,
                Kind::Coarse => &self.bytes_coarse,
                Kind::State | Kind::Raw | Kind::Young | Kind::Log => continue,
            };
            count(counter, (change.key.len() + change.value.as_ref().map_or(0, Vec::len)) as u64);
        }
    }
}

/// See the file.
#[derive(Debug)]
pub(crate) struct Shared {
    inner: RwLock<Inner>,
    paths: Mutex<Paths>,
    notes: Mutex<VecDeque<Note>>,
    pub(crate) counters: Counters,
    /// The last record that is on the disk.
    pub(crate) committed: AtomicU64,
}

impl Shared {
    pub(crate) fn new(store: Store, marks: Marks, paths: Paths) -> Self {
        Self {
            inner: RwLock::new(Inner { store: Some(store), marks }),
            paths: Mutex::new(paths),
            notes: Mutex::default(),
            counters: Counters::default(),
            committed: AtomicU64::new(0),
        }
    }

    /// The store stays as it is while this is held; values may be added.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// To replace the store, or to move marks and forget spaces in one.
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn paths(&self) -> MutexGuard<'_, Paths> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, note: Note) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.len() == NOTES {
            notes.pop_front();
        }
        if matches!(note, Note::SetAside { .. }) {
            count(&self.counters.set_aside, 1);
        }
        notes.push_back(note);
    }

    pub(crate) fn take_notes(&self) -> Vec<Note> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }

    pub(crate) fn counts(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        Counts {
            dropped: load(&counters.dropped),
            lost: load(&counters.lost),
            late: load(&counters.late),
            set_aside: load(&counters.set_aside),
            unreadable: load(&counters.unreadable),
            commits: load(&counters.commits),
            bytes_fine: load(&counters.bytes_fine),
            bytes_minute: load(&counters.bytes_minute),
            bytes_coarse: load(&counters.bytes_coarse),
            failed_commits: load(&counters.failed_commits),
            aged_out: load(&counters.aged_out),
            squeezed_out: load(&counters.squeezed_out),
        }
    }
}
