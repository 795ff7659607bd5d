//! A file of blocks: eight bytes that say what it is, then for each block a header with a checksum of its own, and the block.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::cutter::Block;

/// What every file begins with; the last byte is the format's version.
pub(super) const MAGIC: &[u8; 8] = b"NCRWQ\0\0\x01";
/// The length of a header.
pub(super) const HEADER: usize = 24;
/// No block is that long: 2,000 samples have some 200 KiB at most.
const LONGEST: u32 = 64 << 20;

/// What stands before a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) length: u32,
    pub(super) samples: u32,
    pub(super) time_ms: i64,
    checksum: u32,
}

/// Why no block can be read at a place.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The file ends within it.
    #[error("it ends in the middle of a block")]
    CutOff,
    /// Where the next one is can't be known either.
    #[error("it is damaged at byte {0}")]
    Header(u64),
    /// The next one is behind it.
    #[error("a block at byte {0} is damaged")]
    Block(u64),
    /// The disk fails.
    #[error("{0}")]
    Disk(#[from] io::Error),
}

impl Header {
    fn parse(bytes: &[u8; HEADER], at: u64) -> Result<Self, ReadError> {
        let word = |from: usize| u32::from_le_bytes([0, 1, 2, 3].map(|at| bytes[from + at]));
        let time = [0, 1, 2, 3, 4, 5, 6, 7].map(|at| bytes[8 + at]);
        let header =
            Self { length: word(0), samples: word(4), time_ms: i64::from_le_bytes(time), checksum: word(16) };
        let good = crc32fast::hash(&bytes[..20]) == word(20) && header.length <= LONGEST;
        if good { Ok(header) } else { Err(ReadError::Header(at)) }
    }

    /// Where the next one begins, if this one is at `at`.
    pub(super) fn next(&self, at: u64) -> u64 {
        at + HEADER as u64 + u64::from(self.length)
    }
}

/// A block as it is written.
pub(super) fn encode(block: &Block) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + block.bytes.len());
    bytes.extend(u32::try_from(block.bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend(block.samples.to_le_bytes());
    bytes.extend(block.time_ms.to_le_bytes());
    bytes.extend(crc32fast::hash(&block.bytes).to_le_bytes());
    let own = crc32fast::hash(&bytes);
    bytes.extend(own.to_le_bytes());
    bytes.extend(&block.bytes);
    bytes
}

/// The header at this place; none at the end of the file, which has `length` bytes.
pub(super) fn header(file: &File, at: u64, length: u64) -> Result<Option<Header>, ReadError> {
    if at >= length {
        return Ok(None);
    }
    if at + HEADER as u64 > length {
        return Err(ReadError::CutOff);
    }
    let mut bytes = [0; HEADER];
    file.read_exact_at(&mut bytes, at)?;
    let header = Header::parse(&bytes, at)?;
    if header.next(at) > length { Err(ReadError::CutOff) } else { Ok(Some(header)) }
}

/// The block behind this header.
pub(super) fn block(file: &File, at: u64, header: &Header) -> Result<Block, ReadError> {
    let mut bytes = vec![0; header.length as usize];
    file.read_exact_at(&mut bytes, at + HEADER as u64)?;
    if crc32fast::hash(&bytes) != header.checksum {
        return Err(ReadError::Block(at));
    }
    Ok(Block { time_ms: header.time_ms, samples: header.samples, bytes })
}

/// What a file holds, by its headers alone.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Where the last block that can be read ends.
    pub(super) end: u64,
    /// Samples from the place on that was asked for.
    pub(super) samples: u64,
    /// The newest time.
    pub(super) newest_ms: Option<i64>,
    /// Why it ends there, where that is not the end of the file.
    pub(super) trouble: Option<ReadError>,
}

/// Looks through a file. `from`: where the first block is that counts.
///
/// # Errors
/// It is no file of blocks, or can't be read at all.
pub(super) fn scan(path: &Path, from: u64) -> io::Result<Found> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut magic = [0; MAGIC.len()];
    file.read_exact_at(&mut magic, 0)?;
    if &magic != MAGIC {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is another version's, or no file of blocks",
        ));
    }
    let mut found = Found { end: MAGIC.len() as u64, ..Found::default() };
    loop {
        match header(&file, found.end, length) {
            Ok(None) => return Ok(found),
            Ok(Some(header)) => {
                if found.end >= from {
                    found.samples += u64::from(header.samples);
                }
                found.newest_ms = found.newest_ms.max(Some(header.time_ms));
                found.end = header.next(found.end);
            }
            Err(trouble) => {
                found.trouble = Some(trouble);
                return Ok(found);
            }
        }
    }
}
