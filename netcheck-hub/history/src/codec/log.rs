//! Everything but windows, as bytes: one value a record. After the version come the fields in the order of their types;
//! texts and bytes after their lengths, lists after their numbers of items, times as nanoseconds since the record's own
//! time, which is in its key.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::columns::Zstd;
use super::{Malformed, VERSION};
use crate::path::PathNumber;
use crate::record::{CheckResult, Drops, Event, IncidentRevision, Limits, Losses, Topic, Verdicts};
use netcheck_common::varint::{self, Cursor};

/// What stands of a path: the hub's number for its verdict, and since when (unix nanoseconds).
pub(crate) type Standing = (u8, i64);

/// A record that has a time and is kept until it is too old.
pub(crate) trait Entry: Sized {
    /// The first byte of its key.
    const KIND: u8;

    /// When, unix nanoseconds.
    fn at_ns(&self) -> i64;

    /// Appends what is not in the key.
    fn write(&self, out: &mut Vec<u8>);

    /// Reads what [`Entry::write`] wrote.
    fn read(at_ns: i64, cursor: &mut Cursor<'_>) -> Result<Self, Malformed>;

    /// The whole value.
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        self.write(&mut out);
        out
    }

    /// Reads the whole value.
    fn decode(at_ns: i64, bytes: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor(bytes);
        match cursor.byte()? {
            VERSION => Self::read(at_ns, &mut cursor),
            version => Err(Malformed::Version(version)),
        }
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    varint::put_bytes(out, text.as_bytes());
}

fn list<T>(
    cursor: &mut Cursor<'_>,
    mut item: impl FnMut(&mut Cursor<'_>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    (0..cursor.number()?).map(|_| item(cursor)).collect()
}

impl Entry for Verdicts {
    const KIND: u8 = b'v';

    fn at_ns(&self) -> i64 {
        self.at_ns
    }

    fn write(&self, out: &mut Vec<u8>) {
        varint::put(out, self.changes.len() as u64);
        let mut before = 0;
        for &(path, verdict) in &self.changes {
            varint::put_signed(out, i64::from(path.0) - before);
            before = i64::from(path.0);
            varint::put(out, verdict.map_or(0, |verdict| u64::from(verdict) + 1));
        }
    }

    fn read(at_ns: i64, cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let mut path = 0_i64;
        let changes = list(cursor, |cursor| {
            path = path.saturating_add(cursor.signed()?);
            let number = u32::try_from(path).map_err(|_| Malformed::Range)?;
            let verdict: u16 = cursor.narrow()?;
            let verdict =
                verdict.checked_sub(1).map(u8::try_from).transpose().map_err(|_| Malformed::Range)?;
            Ok((PathNumber(number), verdict))
        })?;
        Ok(Self { at_ns, changes })
    }
}

impl Entry for IncidentRevision {
    const KIND: u8 = b'i';

    fn at_ns(&self) -> i64 {
        self.at_ns
    }

    fn write(&self, out: &mut Vec<u8>) {
        put_text(out, &self.id);
        varint::put_signed(out, self.first_seen_ns.wrapping_sub(self.at_ns));
        out.push(u8::from(self.closed_ns.is_some()));
        if let Some(closed_ns) = self.closed_ns {
            varint::put_signed(out, closed_ns.wrapping_sub(self.at_ns));
        }
        varint::put(out, self.fields.len() as u64);
        for (name, value) in &self.fields {
            put_text(out, name);
            put_text(out, value);
        }
        varint::put_bytes(out, &self.body);
    }

    fn read(at_ns: i64, cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let id = cursor.text()?;
        let first_seen_ns = at_ns.wrapping_add(cursor.signed()?);
        let closed_ns = match cursor.byte()? {
            0 => None,
            _ => Some(at_ns.wrapping_add(cursor.signed()?)),
        };
        let fields = list(cursor, |cursor| Ok((cursor.text()?, cursor.text()?)))?;
        Ok(Self { id, at_ns, first_seen_ns, closed_ns, fields, body: cursor.bytes()?.to_vec() })
    }
}

impl Entry for Limits {
    const KIND: u8 = b'z';

    fn at_ns(&self) -> i64 {
        self.at_ns
    }

    fn write(&self, out: &mut Vec<u8>) {
        varint::put(out, self.changes.len() as u64);
        for (path, limit) in &self.changes {
            varint::put(out, u64::from(path.0));
            varint::put_bytes(out, limit);
        }
    }

    fn read(at_ns: i64, cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let item = |cursor: &mut Cursor<'_>| Ok((PathNumber(cursor.narrow()?), cursor.bytes()?.to_vec()));
        Ok(Self { at_ns, changes: list(cursor, item)? })
    }
}

/// The first byte of the keys of remarks.
pub(crate) const fn topic_code(topic: Topic) -> u8 {
    match topic {
        Topic::Rotation => b't',
        Topic::Caveats => b'r',
    }
}

impl Entry for Losses {
    const KIND: u8 = b'l';

    fn at_ns(&self) -> i64 {
        self.at_ns
    }

    fn write(&self, out: &mut Vec<u8>) {
        varint::put(out, self.counts.len() as u64);
        for (path, place, count) in &self.counts {
            varint::put(out, u64::from(path.0));
            varint::put_bytes(out, place);
            varint::put(out, *count);
        }
    }

    fn read(at_ns: i64, cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let item = |cursor: &mut Cursor<'_>| {
            Ok((PathNumber(cursor.narrow()?), cursor.bytes()?.to_vec(), cursor.number()?))
        };
        Ok(Self { at_ns, counts: list(cursor, item)? })
    }
}

impl Entry for Drops {
    const KIND: u8 = b'd';

    fn at_ns(&self) -> i64 {
        self.at_ns
    }

    fn write(&self, out: &mut Vec<u8>) {
        put_text(out, &self.node);
        varint::put(out, self.counts.len() as u64);
        for (interface, reason, count) in &self.counts {
            put_text(out, interface);
            put_text(out, reason);
            varint::put(out, *count);
        }
    }

    fn read(at_ns: i64, cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let node = cursor.text()?;
        let item = |cursor: &mut Cursor<'_>| Ok((cursor.text()?, cursor.text()?, cursor.number()?));
        Ok(Self { at_ns, node, counts: list(cursor, item)? })
    }
}

impl Entry for Event {
    const KIND: u8 = b'e';

    fn at_ns(&self) -> i64 {
        self.at_ns
    }

    fn write(&self, out: &mut Vec<u8>) {
        put_text(out, &self.kind);
        put_text(out, &self.subject);
        varint::put_bytes(out, &self.body);
    }

    fn read(at_ns: i64, cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let (kind, subject) = (cursor.text()?, cursor.text()?);
        Ok(Self { at_ns, kind, subject, body: cursor.bytes()?.to_vec() })
    }
}

impl Entry for CheckResult {
    const KIND: u8 = b'c';

    fn at_ns(&self) -> i64 {
        self.at_ns
    }

    fn write(&self, out: &mut Vec<u8>) {
        put_text(out, &self.check);
        varint::put_bytes(out, &self.body);
    }

    fn read(at_ns: i64, cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        Ok(Self { at_ns, check: cursor.text()?, body: cursor.bytes()?.to_vec() })
    }
}

/// The first byte of the key of all limits that stand.
pub(crate) const LIMITS: u8 = b'Z';

/// Of a path: since when, and what it is.
pub(crate) type Limit = (i64, Arc<[u8]>);

/// All limits that stand at one time, as verdicts.
pub(crate) fn encode_limits(at_ns: i64, standing: &BTreeMap<PathNumber, Limit>, zstd: &mut Zstd) -> Vec<u8> {
    let mut column = Vec::new();
    for (path, (since_ns, limit)) in standing {
        varint::put(&mut column, u64::from(path.0));
        varint::put_signed(&mut column, at_ns.wrapping_sub(*since_ns));
        varint::put_bytes(&mut column, limit);
    }
    let mut out = vec![VERSION];
    zstd.put(&mut out, &column);
    out
}

/// Reads it.
pub(crate) fn decode_limits(
    at_ns: i64,
    bytes: &[u8],
    zstd: &mut Zstd,
) -> Result<Vec<(PathNumber, Limit)>, Malformed> {
    let mut cursor = Cursor(bytes);
    match cursor.byte()? {
        VERSION => {}
        version => return Err(Malformed::Version(version)),
    }
    let column = zstd.get(&mut cursor)?;
    let (mut cursor, mut standing) = (Cursor(&column), Vec::new());
    while !cursor.is_empty() {
        let path = PathNumber(cursor.narrow()?);
        let since_ns = at_ns.wrapping_sub(cursor.signed()?);
        standing.push((path, (since_ns, cursor.bytes()?.into())));
    }
    Ok(standing)
}

/// The first byte of the key of a checkpoint.
pub(crate) const CHECKPOINT: u8 = b'V';

/// All verdicts that stand at one time. Paths as differences, verdicts, and for how long each stands, in a compressed
/// column each.
pub(crate) fn encode_checkpoint(
    at_ns: i64,
    standing: impl Iterator<Item = (PathNumber, Standing)>,
    zstd: &mut Zstd,
) -> Vec<u8> {
    let mut columns = [const { Vec::new() }; 3];
    let mut before = 0;
    for (path, (verdict, since_ns)) in standing {
        varint::put(&mut columns[0], u64::from(path.0.wrapping_sub(before)));
        before = path.0;
        columns[1].push(verdict);
        varint::put_signed(&mut columns[2], at_ns.wrapping_sub(since_ns));
    }
    let mut out = vec![VERSION];
    columns.iter().for_each(|column| zstd.put(&mut out, column));
    out
}

/// Reads it, ascending by path.
pub(crate) fn decode_checkpoint(
    at_ns: i64,
    bytes: &[u8],
    zstd: &mut Zstd,
) -> Result<Vec<(PathNumber, Standing)>, Malformed> {
    let mut cursor = Cursor(bytes);
    match cursor.byte()? {
        VERSION => {}
        version => return Err(Malformed::Version(version)),
    }
    let columns = [zstd.get(&mut cursor)?, zstd.get(&mut cursor)?, zstd.get(&mut cursor)?];
    let mut cursors = [Cursor(&columns[0]), Cursor(&columns[1]), Cursor(&columns[2])];
    let (mut path, mut standing) = (0_u32, Vec::new());
    while !cursors[0].is_empty() {
        path = path.wrapping_add(cursors[0].narrow()?);
        standing.push((PathNumber(path), (cursors[1].byte()?, at_ns.wrapping_sub(cursors[2].signed()?))));
    }
    Ok(standing)
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use proptest::prelude::*;

    use super::*;

    fn comes_back<E: Entry + PartialEq + Debug>(entry: &E) -> Result<(), TestCaseError> {
        let bytes = entry.encode();
        prop_assert_eq!(&E::decode(entry.at_ns(), &bytes).unwrap(), entry);
        for len in 0..bytes.len() {
            prop_assert!(E::decode(entry.at_ns(), &bytes[..len]).is_err());
        }
        let newer = [&[VERSION + 1], &bytes[1..]].concat();
        prop_assert_eq!(E::decode(entry.at_ns(), &newer), Err(Malformed::Version(VERSION + 1)));
        Ok(())
    }

    proptest! {
        #[test]
        fn entries_come_back(
            at_ns: i64, first_seen_ns: i64, closed_ns: Option<i64>, id in ".{0,9}", text in ".{0,9}",
            body: Vec<u8>, changes: Vec<(u32, Option<u8>)>,
            counts in prop::collection::vec((any::<u32>(), ".{0,5}", any::<u64>()), 0..9),
        ) {
            let changes = changes.into_iter().map(|(path, verdict)| (PathNumber(path), verdict)).collect();
            comes_back(&Verdicts { at_ns, changes })?;
            let fields = vec![(id.clone(), text.clone()), (text.clone(), String::new())];
            comes_back(&IncidentRevision {
                id: id.clone(), at_ns, first_seen_ns, closed_ns, fields, body: body.clone(),
            })?;
            comes_back(&Event { at_ns, kind: id.clone(), subject: text.clone(), body: body.clone() })?;
            comes_back(&CheckResult { at_ns, check: id.clone(), body })?;
            let drops = counts.iter().map(|(_, name, count)| (name.clone(), text.clone(), *count)).collect();
            comes_back(&Drops { at_ns, node: id, counts: drops })?;
            let losses = counts.into_iter().map(|(path, place, count)| (PathNumber(path), place.into_bytes(), count));
            comes_back(&Losses { at_ns, counts: losses.collect() })?;
            let limits = vec![(PathNumber(7), text.clone().into_bytes()), (PathNumber(0), Vec::new())];
            comes_back(&Limits { at_ns, changes: limits })?;
        }

        #[test]
        fn limits_come_back(at_ns: i64, standing: BTreeMap<u32, (i64, Vec<u8>)>) {
            let standing: BTreeMap<PathNumber, Limit> = standing
                .into_iter()
                .map(|(path, (since_ns, limit))| (PathNumber(path), (since_ns, limit.into())))
                .collect();
            let bytes = encode_limits(at_ns, &standing, &mut Zstd::new());
            let read: BTreeMap<_, _> =
                decode_limits(at_ns, &bytes, &mut Zstd::new()).unwrap().into_iter().collect();
            prop_assert_eq!(read, standing);
        }

        #[test]
        fn checkpoints_come_back(at_ns: i64, standing: BTreeMap<u32, (u8, i64)>) {
            let standing: Vec<_> =
                standing.into_iter().map(|(path, standing)| (PathNumber(path), standing)).collect();
            let bytes = encode_checkpoint(at_ns, standing.iter().copied(), &mut Zstd::new());
            prop_assert_eq!(decode_checkpoint(at_ns, &bytes, &mut Zstd::new()).unwrap(), standing);
        }
    }
}
