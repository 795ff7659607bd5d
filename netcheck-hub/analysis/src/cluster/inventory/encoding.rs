//! Bytes of a file → its text, in whatever encoding tools write it: UTF-8, or UTF-16 as PowerShell's `>` has it, with or
//! without a byte order mark, and any of these in gzip (RFC 1952). Pure.

use std::borrow::Cow;
use std::io::Read as _;

use flate2::read::MultiGzDecoder;

const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Where the header of a file in an archive of tar says so (POSIX pax, ustar), and what.
const TAR: (usize, &[u8]) = (257, b"ustar");
/// How files of other packers begin, which are not read.
const PACKED: [(&[u8], &str); 5] = [
    (b"PK\x03\x04", "zip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh", "bzip2"),
    (b"\x04\x22\x4d\x18", "lz4"),
];
const UTF8_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];
/// Most that a packed file may hold, bytes: more than the objects of any cluster, less than what a hub may take.
const UNPACKED_MAX: u64 = 4 << 30;

/// Why bytes are no text.
#[derive(Debug, thiserror::Error)]
pub enum EncodingError {
    /// It begins as gzip and is none.
    #[error("it can't be unpacked")]
    Gzip {
        /// Why.
        source: std::io::Error,
    },
    /// It is packed by something that is not read.
    #[error("it is packed by {packer}: unpack it, or use gzip alone")]
    Packed {
        /// By what.
        packer: &'static str,
    },
    /// UTF-16 with half a character in it.
    #[error("it is no proper UTF-16")]
    Utf16,
}

/// Reads the bytes. What is no UTF-8 stands as U+FFFD: it costs the object that it is in.
///
/// # Errors
/// See [`EncodingError`].
pub(super) fn text(bytes: Vec<u8>) -> Result<String, EncodingError> {
    refuse_packed(&bytes)?;
    let bytes = if bytes.starts_with(&GZIP) { unpacked(&bytes)? } else { bytes };
    refuse_packed(&bytes)?;
    if bytes.starts_with(&GZIP) {
        return Err(EncodingError::Packed { packer: "gzip more than once" });
    }
    let units = |bytes: &[u8], unit: fn([u8; 2]) -> u16| -> Vec<u16> {
        bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect()
    };
    let utf16 = |units: Vec<u16>| String::from_utf16(&units).map_err(|_invalid| EncodingError::Utf16);
    match bytes.as_slice() {
        [0xff, 0xfe, rest @ ..] => utf16(units(rest, u16::from_le_bytes)),
        [0xfe, 0xff, rest @ ..] => utf16(units(rest, u16::from_be_bytes)),
        // Neither YAML nor JSON has a NUL in it: one of the first two bytes shows the order of all.
        [first, 0, ..] if *first != 0 => utf16(units(&bytes, u16::from_le_bytes)),
        [0, second, ..] if *second != 0 => utf16(units(&bytes, u16::from_be_bytes)),
        _ => {
            let plain = bytes.strip_prefix(&UTF8_MARK).unwrap_or(&bytes);
            Ok(match String::from_utf8_lossy(plain) {
                Cow::Owned(mended) => mended,
                Cow::Borrowed(sound) => sound.to_owned(),
            })
        }
    }
}

fn refuse_packed(bytes: &[u8]) -> Result<(), EncodingError> {
    let (at, magic) = TAR;
    let is_tar = bytes.get(at..).is_some_and(|rest| rest.starts_with(magic));
    let known = PACKED.iter().find(|(magic, _)| bytes.starts_with(magic)).map(|(_, packer)| *packer);
    known.or(is_tar.then_some("tar")).map_or(Ok(()), |packer| Err(EncodingError::Packed { packer }))
}

fn unpacked(bytes: &[u8]) -> Result<Vec<u8>, EncodingError> {
    let mut unpacked = Vec::new();
    let mut source = MultiGzDecoder::new(bytes).take(UNPACKED_MAX);
    source.read_to_end(&mut unpacked).map_err(|source| EncodingError::Gzip { source })?;
    if unpacked.len() as u64 == UNPACKED_MAX {
        return Err(EncodingError::Gzip { source: std::io::ErrorKind::FileTooLarge.into() });
    }
    Ok(unpacked)
}
