//! What reads the values of files that may be damaged: for the fuzz targets of `xtask/fuzz`, and for the inputs that these
//! have found before (`xtask/fuzz/corpus`), which are read again by the tests here.
//!
//! In: any bytes, whose first one says as what the rest is read. Out: nothing; that it returns is what is wanted of it, and
//! that what was read comes back the same once it is written.

use std::fmt::Debug;

use crate::codec::block::{Wanted, decode};
use crate::codec::columns::Zstd;
use crate::codec::log::{Entry, decode_checkpoint, encode_checkpoint};
use crate::record::{CheckResult, Drops, Event, IncidentRevision, Losses, Verdicts};

/// When the records are of: some day in 2023 (unix nanoseconds).
const AT_NS: i64 = 1_700_000_000_000_000_000;

/// Reads one stored value.
pub fn value(bytes: &[u8]) {
    let Some((&kind, bytes)) = bytes.split_first() else { return };
    match kind % 8 {
        0 => entry::<Verdicts>(bytes),
        1 => entry::<IncidentRevision>(bytes),
        2 => entry::<Losses>(bytes),
        3 => entry::<Drops>(bytes),
        4 => entry::<Event>(bytes),
        5 => entry::<CheckResult>(bytes),
        6 => checkpoint(bytes),
        _ => windows(bytes),
    }
}

fn entry<E: Entry + PartialEq + Debug>(bytes: &[u8]) {
    let Ok(read) = E::decode(AT_NS, bytes) else { return };
    assert_eq!(E::decode(AT_NS, &read.encode()).as_ref(), Ok(&read), "it comes back");
}

fn checkpoint(bytes: &[u8]) {
    let Ok(read) = decode_checkpoint(AT_NS, bytes, &mut Zstd::new()) else { return };
    let written = encode_checkpoint(AT_NS, read.iter().copied(), &mut Zstd::new());
    assert_eq!(decode_checkpoint(AT_NS, &written, &mut Zstd::new()), Ok(read), "it comes back");
}

fn windows(bytes: &[u8]) {
    let wanted = [Wanted::ALL, Wanted { path: Some(1), from: 1, to: 5 }];
    for wanted in wanted {
        let _ = decode(bytes, wanted, &mut Zstd::new(), |_path, step, _window| {
            assert!((wanted.from..wanted.to).contains(&step), "only what is wanted");
        });
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_was_found_before_is_read() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../xtask/fuzz/corpus/history");
        let kept: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(!kept.is_empty());
        kept.iter().for_each(|path| super::value(&std::fs::read(path).unwrap()));
    }
}
