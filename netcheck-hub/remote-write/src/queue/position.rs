//! Where the head is, over restarts: one small file that is replaced as a whole.

use std::fs;
use std::io;
use std::path::Path;

const FORMAT: &str = "netcheck-remote-write 1";

/// Why a position is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum PositionError {
    #[error("{source}")]
    Read { source: io::Error },
    #[error("it is damaged, or another version's")]
    Damaged,
}

/// Where the head is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// The segment that it is in.
    pub(super) segment: u64,
    /// Where in it, in bytes.
    pub(super) offset: u64,
    /// The time of the newest block that was pushed, unix milliseconds.
    pub(super) newest_ms: i64,
}

impl Position {
    fn text(self) -> String {
        let body = format!("{FORMAT}\n{} {} {}", self.segment, self.offset, self.newest_ms);
        format!("{body} {:08x}\n", crc32fast::hash(body.as_bytes()))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.strip_prefix(FORMAT)?.split_whitespace();
        let position = Self {
            segment: words.next()?.parse().ok()?,
            offset: words.next()?.parse().ok()?,
            newest_ms: words.next()?.parse().ok()?,
        };
        (position.text() == text).then_some(position)
    }

    /// None where there is none yet.
    ///
    /// # Errors
    /// There is one that is of no use: why.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, PositionError> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(PositionError::Read { source }),
        };
        let text = str::from_utf8(&text).map_err(|_| PositionError::Damaged)?;
        Self::parse(text).map(Some).ok_or(PositionError::Damaged)
    }

    pub(super) fn write(self, path: &Path) -> io::Result<()> {
        let new = path.with_extension("new");
        fs::write(&new, self.text())?;
        fs::rename(&new, path)
    }
}
