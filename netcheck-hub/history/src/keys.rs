//! Keys of values that have a time, big-endian, so that they ascend with it.

use crate::store::{Space, Store, StoreError};
use crate::tier::Tier;

/// A value of everything but windows: its sort, its time, and a number that distinguishes it from others of the same time.
pub(crate) fn log(kind: u8, at_ns: i64, number: u64) -> Vec<u8> {
    [&[kind][..], &ordered(at_ns).to_be_bytes(), &number.to_be_bytes()].concat()
}

/// The first key of a sort from a time on.
pub(crate) fn log_from(kind: u8, at_ns: i64) -> Vec<u8> {
    [&[kind][..], &ordered(at_ns).to_be_bytes()].concat()
}

/// The time in a key of [`log`].
pub(crate) fn log_time(key: &[u8]) -> Option<i64> {
    let at = key.get(1..9)?.try_into().ok()?;
    Some((u64::from_be_bytes(at) ^ 1 << 63) as i64)
}

const fn ordered(at_ns: i64) -> u64 {
    at_ns as u64 ^ 1 << 63
}

/// A raw block.
pub(crate) fn raw(group: u32, start_s: u32) -> Vec<u8> {
    [group.to_be_bytes(), start_s.to_be_bytes()].concat()
}

/// A block that waits to be merged.
pub(crate) fn young(tier: Tier, group: u32, start_s: u32) -> Vec<u8> {
    [&[tier.code()][..], &raw(group, start_s)].concat()
}

/// A final block.
pub(crate) fn merged(start_s: u32, group: u32) -> Vec<u8> {
    [start_s.to_be_bytes(), group.to_be_bytes()].concat()
}

/// Both numbers of a key of [`raw`] or [`merged`], or of what follows the tier in one of [`young`].
pub(crate) fn numbers(key: &[u8]) -> Option<(u32, u32)> {
    let (first, second) = key.split_at_checked(4)?;
    Some((u32::from_be_bytes(first.try_into().ok()?), u32::from_be_bytes(second.try_into().ok()?)))
}

/// The groups that have something in a space whose keys are `prefix`, then the group, then more.
pub(crate) fn groups(store: &Store, space: Space, prefix: &[u8]) -> Result<Vec<u32>, StoreError> {
    let end = [prefix, &[u8::MAX; 9]].concat();
    let (mut groups, mut from) = (Vec::new(), prefix.to_vec());
    loop {
        let mut next = None;
        store.range(space, &from, &end, &mut |key, _| {
            next = key.get(prefix.len()..).and_then(numbers).map(|(group, _)| group);
            false
        })?;
        let Some(group) = next else { return Ok(groups) };
        groups.push(group);
        let Some(above) = group.checked_add(1) else { return Ok(groups) };
        from = [prefix, &above.to_be_bytes()].concat();
    }
}
