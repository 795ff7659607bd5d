//! Columns of bytes, each compressed for itself: what is alike stands together.

use std::fmt;

use zstd::bulk::{Compressor, Decompressor};

use super::Malformed;
use netcheck_common::varint::{self, Cursor};

/// More than a block of 256 paths can hold; what claims to be larger is malformed.
const LARGEST: usize = 64 << 20;
/// Shorter columns don't gain by it.
const SMALLEST: usize = 24;
/// More than 3 gains less than 2 % here, for twice the time.
const LEVEL: i32 = 3;

/// Compresses and decompresses. Keeps its working memory.
pub(crate) struct Zstd {
    compressor: Compressor<'static>,
    decompressor: Decompressor<'static>,
}

impl fmt::Debug for Zstd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Zstd")
    }
}

impl Zstd {
    pub(crate) fn new() -> Self {
        Self {
            compressor: Compressor::new(LEVEL).expect("the level is one that zstd has"),
            decompressor: Decompressor::new().expect("there is no dictionary to refuse"),
        }
    }

    /// Appends bytes: their length × 2, plus 1 where they are compressed, and what is stored after its length.
    pub(crate) fn put(&mut self, out: &mut Vec<u8>, bytes: &[u8]) {
        let packed = (bytes.len() >= SMALLEST)
            .then(|| self.compressor.compress(bytes).ok())
            .flatten()
            .filter(|packed| packed.len() < bytes.len());
        varint::put(out, (bytes.len() as u64) << 1 | u64::from(packed.is_some()));
        match packed {
            Some(packed) => varint::put_bytes(out, &packed),
            None => out.extend_from_slice(bytes),
        }
    }

    /// Reads what [`Zstd::put`] wrote.
    pub(crate) fn get(&mut self, cursor: &mut Cursor<'_>) -> Result<Vec<u8>, Malformed> {
        let head: usize = cursor.narrow()?;
        let len = head >> 1;
        if head & 1 == 0 {
            return Ok(cursor.take(len)?.to_vec());
        }
        if len > LARGEST {
            return Err(Malformed::Range);
        }
        let bytes = self.decompressor.decompress(cursor.bytes()?, len).map_err(|_| Malformed::Compressed)?;
        if bytes.len() == len { Ok(bytes) } else { Err(Malformed::Compressed) }
    }
}

/// Writes columns: their number, then each that is not empty after its index.
pub(crate) fn put_columns(out: &mut Vec<u8>, columns: &[Vec<u8>], zstd: &mut Zstd) {
    let filled = columns.iter().filter(|column| !column.is_empty()).count();
    varint::put(out, filled as u64);
    for (index, column) in columns.iter().enumerate().filter(|(_, column)| !column.is_empty()) {
        varint::put(out, index as u64);
        zstd.put(out, column);
    }
}

/// Reads `N` columns.
pub(crate) fn get_columns<const N: usize>(
    cursor: &mut Cursor<'_>,
    zstd: &mut Zstd,
) -> Result<[Vec<u8>; N], Malformed> {
    let mut columns = [const { Vec::new() }; N];
    for _ in 0..cursor.number()? {
        let index: usize = cursor.narrow()?;
        *columns.get_mut(index).ok_or(Malformed::Range)? = zstd.get(cursor)?;
    }
    Ok(columns)
}
