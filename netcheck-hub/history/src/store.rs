//! Where keys and values lie: in fjall under the data directory, or in memory where that can't be used.
//!
//! Keys are in spaces, and a space holds one kind of value for one period of time. What is too old goes by whole spaces.

use std::fmt;
use std::io;

use thiserror::Error;

mod disk;
mod memory;

pub(crate) use disk::Disk;
pub(crate) use memory::Memory;

use crate::tier::{BUCKET, DAY, HOUR, Tier, floor};

/// What a space holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// What stands: paths, open incidents, facts, marks. One space, without an end.
    State,
    /// Raw windows.
    Raw,
    /// Minutes and ten minutes that are not merged into their final blocks yet.
    Young,
    /// Final blocks of a tier.
    Fine,
    /// The same.
    Minute,
    /// The same.
    Coarse,
    /// Everything else.
    Log,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] =
        [Self::State, Self::Raw, Self::Young, Self::Fine, Self::Minute, Self::Coarse, Self::Log];

    /// How much time one space covers, seconds.
    pub(crate) const fn period_s(self) -> u32 {
        match self {
            Self::State => u32::MAX,
            Self::Raw => BUCKET,
            Self::Young => 3 * HOUR,
            Self::Fine => 6 * HOUR,
            Self::Minute | Self::Coarse | Self::Log => DAY,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Raw => "raw",
            Self::Young => "young",
            Self::Fine => "fine",
            Self::Minute => "minute",
            Self::Coarse => "coarse",
            Self::Log => "log",
        }
    }
}

impl From<Tier> for Kind {
    fn from(tier: Tier) -> Self {
        match tier {
            Tier::Raw => Self::Raw,
            Tier::Fine => Self::Fine,
            Tier::Minute => Self::Minute,
            Tier::Coarse => Self::Coarse,
        }
    }
}

/// One kind of value for one period of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Space {
    /// What it holds.
    pub(crate) kind: Kind,
    /// Begin of the period, unix seconds.
    pub(crate) start_s: u32,
}

impl Space {
    /// What stands.
    pub(crate) const STATE: Self = Self { kind: Kind::State, start_s: 0 };

    /// The space that holds what is of a time.
    pub(crate) const fn at(kind: Kind, at_s: u32) -> Self {
        Self { kind, start_s: floor(at_s, kind.period_s()) }
    }

    /// End of the period, unix seconds.
    pub(crate) const fn end_s(self) -> u32 {
        self.start_s.saturating_add(self.kind.period_s())
    }

    fn parse(name: &str) -> Option<Self> {
        let (kind, start) = name.split_once('-')?;
        let kind = Kind::ALL.into_iter().find(|known| known.name() == kind)?;
        Some(Self { kind, start_s: start.parse().ok()? })
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:010}", self.kind.name(), self.start_s)
    }
}

/// A value to be written, or a key to be removed.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) space: Space,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Option<Vec<u8>>,
}

/// Why the store does not do what it should.
#[derive(Debug, Error)]
pub(crate) enum StoreError {
    /// No space left.
    #[error("the disk is full: {0}")]
    Full(String),
    /// Nothing can be written there.
    #[error("the directory can't be written: {0}")]
    ReadOnly(String),
    /// Another process has it.
    #[error("another process uses it")]
    Locked,
    /// It is not what it was when it was written, or was never history.
    #[error("damaged: {0}")]
    Damaged(String),
    /// A newer version wrote it.
    #[error("written by a newer version: {0}")]
    Newer(String),
    /// The disk or the operating system says no.
    #[error("{0}")]
    Io(String),
}

impl StoreError {
    fn of_io(error: &io::Error, text: String) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::WriteZero => {
                Self::Full(text)
            }
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Self::ReadOnly(text),
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::InvalidData
            | io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::InvalidInput => Self::Damaged(text),
            _ => Self::Io(text),
        }
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        Self::of_io(&error, error.to_string())
    }
}

impl From<fjall::Error> for StoreError {
    fn from(error: fjall::Error) -> Self {
        let text = error.to_string();
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(this) = source {
            if let Some(io) = this.downcast_ref::<io::Error>() {
                return Self::of_io(io, text);
            }
            source = this.source();
        }
        match error {
            fjall::Error::Locked => Self::Locked,
            // What failed before is reported by the next opening.
            fjall::Error::Poisoned => Self::Io(text),
            fjall::Error::InvalidVersion(Some(_)) => Self::Newer(text),
            _ => Self::Damaged(text),
        }
    }
}

/// A key and its value.
pub(crate) type KeyValue = (Vec<u8>, Vec<u8>);

/// A store that is open.
#[derive(Debug)]
pub(crate) enum Store {
    /// Under the data directory.
    Disk(Disk),
    /// Until the process ends.
    Memory(Memory),
}

impl Store {
    /// Writes all or nothing. What was written is on the disk when it returns.
    pub(crate) fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        match self {
            Self::Disk(disk) => disk.commit(changes),
            Self::Memory(memory) => {
                memory.commit(changes);
                Ok(())
            }
        }
    }

    /// A value.
    pub(crate) fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self {
            Self::Disk(disk) => disk.get(space, key),
            Self::Memory(memory) => Ok(memory.get(space, key)),
        }
    }

    /// Values with `from` ≤ key < `to`, ascending, until `found` says no.
    pub(crate) fn range(
        &self,
        space: Space,
        from: &[u8],
        to: &[u8],
        found: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        match self {
            Self::Disk(disk) => disk.range(space, from, to, found),
            Self::Memory(memory) => {
                memory.range(space, from, to, found);
                Ok(())
            }
        }
    }

    /// The value with the largest key that is `from` ≤ key < `to`.
    pub(crate) fn last(&self, space: Space, from: &[u8], to: &[u8]) -> Result<Option<KeyValue>, StoreError> {
        match self {
            Self::Disk(disk) => disk.last(space, from, to),
            Self::Memory(memory) => Ok(memory.last(space, from, to)),
        }
    }

    /// Spaces that hold something, ascending.
    pub(crate) fn spaces(&self) -> Vec<Space> {
        match self {
            Self::Disk(disk) => disk.spaces(),
            Self::Memory(memory) => memory.spaces(),
        }
    }

    /// Forgets all of a space.
    pub(crate) fn forget(&self, space: Space) -> Result<(), StoreError> {
        match self {
            Self::Disk(disk) => disk.forget(space),
            Self::Memory(memory) => {
                memory.forget(space);
                Ok(())
            }
        }
    }

    /// Bytes of keys and values: of one space, or of all.
    pub(crate) fn held(&self, space: Option<Space>) -> u64 {
        match self {
            Self::Disk(disk) => disk.held(space),
            Self::Memory(memory) => memory.held(space),
        }
    }

    /// What it takes up, with what the store needs for itself and what it has not cleared away yet.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Disk(disk) => disk.on_disk(),
            Self::Memory(memory) => memory.held(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_spaces_come_back() {
        for kind in Kind::ALL {
            let space = Space::at(kind, 1_700_000_123);
            assert_eq!(Space::parse(&space.to_string()), Some(space));
            assert!(space.start_s <= 1_700_000_123 && 1_700_000_123 < space.end_s());
        }
        assert_eq!(Space::parse("fine-"), None);
        assert_eq!(Space::parse("other-0000000001"), None);
    }
}
