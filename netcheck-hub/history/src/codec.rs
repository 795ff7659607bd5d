//! Windows and records as bytes. Pure.
//!
//! Every value begins with [`VERSION`]. Numbers are LEB128, signed ones in zigzag order; see [`block`] for windows and
//! [`log`] for everything else.

use netcheck_common::varint;
use thiserror::Error;

pub(crate) mod block;
pub(crate) mod columns;
pub(crate) mod log;

/// The first byte of every value. A reader that doesn't know it leaves the value alone.
pub(crate) const VERSION: u8 = 1;

/// Bytes that are not what they should be.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// It ends too early.
    #[error("the value ends too early")]
    Short,
    /// A number or text that can't be.
    #[error("the value holds what can't be")]
    Range,
    /// Written by a newer version.
    #[error("the value is of version {0}")]
    Version(u8),
    /// What is compressed can't be read.
    #[error("the value can't be decompressed")]
    Compressed,
}

impl From<varint::Error> for Malformed {
    fn from(error: varint::Error) -> Self {
        match error {
            varint::Error::Short => Self::Short,
            varint::Error::Range => Self::Range,
        }
    }
}
