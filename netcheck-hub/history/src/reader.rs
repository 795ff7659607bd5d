//! Questions to history. Any number at the same time; none waits for a transaction.
//!
//! What can't be read is left out, and its number given with the answer and counted: a part of an answer is better than
//! none, but it says that it is a part.

use std::sync::Arc;

use thiserror::Error;

use crate::codec::Malformed;
use crate::path::{PathIdentity, PathNumber};
use crate::shared::{Paths, Shared, count};
use crate::store::{Kind, Space, Store, StoreError};
use crate::tier::{Tier, nanos};

mod log;
mod windows;

pub(crate) use log::last_stands;
pub use log::{StandingLimits, Standings, State};
pub use windows::{PathAt, Point, Series, Snapshot};

/// There is no answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ReadError {
    /// The store is closed while it can't be used.
    #[error("history can't be read at the moment")]
    Closed,
    /// The store or its disk says no.
    #[error("history can't be read: {0}")]
    Store(String),
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

/// How far something reaches back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Windows of a tier; none: everything but windows.
    pub tier: Option<Tier>,
    /// Begin of the oldest, unix nanoseconds, to some hours.
    pub oldest_ns: i64,
    /// Bytes of its keys and values.
    pub bytes: u64,
}

/// Asks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(crate) shared: Arc<Shared>,
}

/// What could not be read of an answer.
#[derive(Debug, Default)]
struct Unread(u64);

impl Unread {
    fn note<T>(&mut self, read: Result<T, Malformed>) -> Option<T> {
        self.0 += u64::from(read.is_err());
        read.ok()
    }

    fn note_store(&mut self, read: Result<(), StoreError>) -> Result<(), StoreError> {
        match read {
            Err(StoreError::Damaged(_)) => self.0 += 1,
            read => return read,
        }
        Ok(())
    }

    fn total(self, shared: &Shared) -> u64 {
        count(&shared.counters.unreadable, self.0);
        self.0
    }
}

impl Reader {
    /// Which path has a number; none where it was never given out, or nothing speaks of it any more.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn path(&self, number: PathNumber) -> Result<Option<PathIdentity>, ReadError> {
        let unwritten = self.shared.paths().unwritten.iter().find(|(this, _)| *this == number).cloned();
        let identity = match unwritten {
            Some((_, identity)) => Some(identity),
            None => self.with(|store| Ok(store.get(Space::STATE, &Paths::key(number))?))?,
        };
        Ok(identity.and_then(|identity| PathIdentity::decode(&identity).ok()))
    }

    /// All paths that history speaks of, ascending by number.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn paths(&self) -> Result<Vec<(PathNumber, PathIdentity)>, ReadError> {
        let mut paths = Vec::with_capacity(self.shared.paths().len());
        self.with(|store| {
            store.range(Space::STATE, &[Paths::KEY], &[Paths::KEY + 1], &mut |key, identity| {
                let number = key[1..].try_into().map(u32::from_be_bytes);
                if let (Ok(number), Ok(path)) = (number, PathIdentity::decode(identity)) {
                    paths.push((PathNumber(number), path));
                }
                true
            })?;
            Ok(())
        })?;
        Ok(paths)
    }

    /// What reaches back how far, the finest windows first; nothing of what there is none of.
    #[must_use]
    pub fn reaches_back(&self) -> Vec<Reach> {
        let inner = self.shared.read();
        let Some(store) = &inner.store else { return Vec::new() };
        let spaces = store.spaces();
        let reach = |tier: Option<Tier>| {
            let kind = tier.map_or(Kind::Log, Kind::from);
            let young = matches!(tier, Some(Tier::Minute | Tier::Coarse));
            let of = |space: &&Space| space.kind == kind || young && space.kind == Kind::Young;
            let oldest = spaces.iter().filter(of).map(|space| space.start_s).min()?;
            let bytes =
                spaces.iter().filter(|space| space.kind == kind).map(|space| store.held(Some(*space))).sum();
            Some(Reach { tier, oldest_ns: nanos(oldest), bytes })
        };
        let tiers = [Some(Tier::Raw), Some(Tier::Fine), Some(Tier::Minute), Some(Tier::Coarse), None];
        tiers.into_iter().filter_map(reach).collect()
    }

    /// What history takes up on the disk, with what the store needs for itself, bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shared.read().store.as_ref().map_or(0, Store::bytes)
    }

    /// Whether it ends with the process.
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        matches!(self.shared.read().store, Some(Store::Memory(_)))
    }

    fn with<T>(&self, ask: impl FnOnce(&Store) -> Result<T, ReadError>) -> Result<T, ReadError> {
        ask(self.shared.read().store.as_ref().ok_or(ReadError::Closed)?)
    }
}
