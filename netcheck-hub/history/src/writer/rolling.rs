//! Raw windows become the three tiers; short blocks become long ones.
//!
//! ```text
//! raw, 10 s a block ──10 min──▶ fine, 10 min a block
//!                          └──▶ young minutes and ten minutes ──1 h, 3 h──▶ minute, coarse
//! ```
//!
//! Each step reads what is on the disk and nothing else, and moves its mark with its last transaction. So one that was
//! interrupted is done again, with the same result.

use std::collections::BTreeMap;

use super::WriterTask;
use crate::codec::block::{self, Row, Wanted};
use crate::codec::columns::Zstd;
use crate::keys;
use crate::rollup::{self, Rolled};
use crate::shared::{Marks, Paths, Shared, count};
use crate::store::{Change, Kind, Space, Store, StoreError};
use crate::tier::{BUCKET, DAY, GRACE, GROUP, Tier, floor, seconds};
use crate::window::Window;

/// Groups that are written in one transaction.
const GROUPS: usize = 64;
/// The first byte of the key that says on which day the paths of a group were measured last.
pub(super) const SEEN: u8 = b'l';

impl WriterTask {
    /// Rolls up what is due.
    pub(super) fn roll(&mut self) -> Result<(), StoreError> {
        let due_s = floor(seconds(self.now_ns).saturating_sub(GRACE), BUCKET);
        let mut marks = self.shared.read().marks;
        // A clock that was far ahead has gone back.
        let latest_s = due_s.saturating_add(BUCKET);
        for mark in [&mut marks.rolled_s, &mut marks.minutes_s, &mut marks.coarse_s] {
            if *mark > latest_s {
                *mark = due_s;
            }
        }
        for space in self.spaces(Kind::Raw).into_iter().filter(|space| space.end_s() <= due_s) {
            let groups = self.groups(space, &[])?;
            for groups in groups.chunks(GROUPS) {
                let inner = self.shared.read();
                let store = inner.store.as_ref().ok_or_else(closed)?;
                let mut changes = Vec::new();
                for &group in groups {
                    let rows = read_raw(&self.shared, store, (space, group), &mut self.zstd)?;
                    write_rolled(&rollup::roll(rows), (space.start_s, group), &mut self.zstd, &mut changes);
                }
                self.shared.counters.final_blocks(&changes);
                store.commit(changes)?;
            }
            marks.rolled_s = marks.rolled_s.max(space.end_s());
            self.advance(marks, Some(space))?;
        }
        if marks.rolled_s < due_s {
            marks.rolled_s = due_s;
        }
        if marks != self.shared.read().marks {
            self.advance(marks, None)?;
        }
        Ok(())
    }

    /// Merges short blocks whose time is over.
    pub(super) fn merge(&mut self) -> Result<(), StoreError> {
        for space in self.spaces(Kind::Young) {
            for tier in [Tier::Minute, Tier::Coarse] {
                for start_s in (space.start_s..space.end_s()).step_by(tier.span_s() as usize) {
                    let marks = self.shared.read().marks;
                    let end_s = start_s.saturating_add(tier.span_s());
                    if marks.merged_s(tier) < end_s && end_s <= marks.rolled_s {
                        self.merge_span(tier, space, start_s)?;
                        let mut marks = marks;
                        match tier {
                            Tier::Minute => marks.minutes_s = end_s,
                            _ => marks.coarse_s = end_s,
                        }
                        self.advance(marks, None)?;
                    }
                }
            }
            let marks = self.shared.read().marks;
            if marks.minutes_s.min(marks.coarse_s) >= space.end_s() {
                self.advance(marks, Some(space))?;
            }
        }
        Ok(())
    }

    fn merge_span(&mut self, tier: Tier, space: Space, start_s: u32) -> Result<(), StoreError> {
        let groups = self.groups(space, &[tier.code()])?;
        for groups in groups.chunks(GROUPS) {
            let inner = self.shared.read();
            let store = inner.store.as_ref().ok_or_else(closed)?;
            let mut changes = Vec::new();
            for &group in groups {
                let steps = tier.span_s() / tier.step_s();
                let mut rows: BTreeMap<u8, Vec<Option<Window>>> = BTreeMap::new();
                let (from, to) =
                    (keys::young(tier, group, start_s), keys::young(tier, group, start_s + tier.span_s()));
                store.range(space, &from, &to, &mut |key, bytes| {
                    let first =
                        keys::numbers(&key[1..]).map_or(0, |(_, at_s)| (at_s - start_s) / tier.step_s());
                    let read = block::decode(bytes, Wanted::ALL, &mut self.zstd, |path, step, window| {
                        let row = rows.entry(path).or_insert_with(|| vec![None; steps as usize]);
                        if let Some(slot) = row.get_mut((first + step) as usize) {
                            *slot = Some(window);
                        }
                    });
                    count(&self.shared.counters.unreadable, u64::from(read.is_err()));
                    true
                })?;
                if rows.is_empty() {
                    continue;
                }
                if tier == Tier::Coarse {
                    changes.extend(seen(store, group, rows.keys().copied(), start_s)?);
                }
                let rows: Vec<Row> = rows.into_iter().collect();
                let value = block::encode(tier, steps, &rows, &mut self.zstd);
                let space = Space::at(tier.into(), start_s);
                changes.push(Change { space, key: keys::merged(start_s, group), value: Some(value) });
            }
            self.shared.counters.final_blocks(&changes);
            store.commit(changes)?;
        }
        Ok(())
    }

    fn spaces(&self, kind: Kind) -> Vec<Space> {
        let inner = self.shared.read();
        let spaces = inner.store.iter().flat_map(Store::spaces);
        spaces.filter(|space| space.kind == kind).collect()
    }

    fn groups(&self, space: Space, prefix: &[u8]) -> Result<Vec<u32>, StoreError> {
        let inner = self.shared.read();
        keys::groups(inner.store.as_ref().ok_or_else(closed)?, space, prefix)
    }

    /// Moves marks, and forgets a space that is not read any more because of it, in one for readers.
    fn advance(&self, marks: Marks, done: Option<Space>) -> Result<(), StoreError> {
        let mut inner = self.shared.write();
        let store = inner.store.as_ref().ok_or_else(closed)?;
        store.commit(vec![marks.change()])?;
        let forgotten = done.map_or(Ok(()), |space| store.forget(space));
        inner.marks = marks;
        forgotten
    }
}

pub(super) fn closed() -> StoreError {
    StoreError::Io("not open".into())
}

fn read_raw(
    shared: &Shared,
    store: &Store,
    (space, group): (Space, u32),
    zstd: &mut Zstd,
) -> Result<BTreeMap<u8, Vec<Option<Window>>>, StoreError> {
    let mut rows: BTreeMap<u8, Vec<Option<Window>>> = BTreeMap::new();
    let (from, to) = (keys::raw(group, space.start_s), keys::raw(group, space.end_s()));
    store.range(space, &from, &to, &mut |key, bytes| {
        let at = keys::numbers(key).map_or(0, |(_, at_s)| (at_s - space.start_s) / Tier::Raw.step_s());
        let read = block::decode(bytes, Wanted::ALL, zstd, |path, _, window| {
            let row = rows.entry(path).or_insert_with(|| vec![None; rollup::STEPS]);
            row[at as usize] = Some(window);
        });
        count(&shared.counters.unreadable, u64::from(read.is_err()));
        true
    })?;
    Ok(rows)
}

fn write_rolled(rolled: &Rolled, (start_s, group): (u32, u32), zstd: &mut Zstd, changes: &mut Vec<Change>) {
    for tier in Tier::ROLLED {
        let (rows, space, key) = match tier {
            Tier::Raw | Tier::Fine => (&rolled.fine, Kind::Fine, keys::merged(start_s, group)),
            Tier::Minute => (&rolled.minute, Kind::Young, keys::young(tier, group, start_s)),
            Tier::Coarse => (&rolled.coarse, Kind::Young, keys::young(tier, group, start_s)),
        };
        if !rows.is_empty() {
            let value = block::encode(tier, BUCKET / tier.step_s(), rows, zstd);
            changes.push(Change { space: Space::at(space, start_s), key, value: Some(value) });
        }
    }
}

/// The day on which each path of a group was measured last: 256 numbers of two bytes, days since 1970.
fn seen(
    store: &Store,
    group: u32,
    paths: impl Iterator<Item = u8>,
    at_s: u32,
) -> Result<Option<Change>, StoreError> {
    let key = [&[SEEN][..], &group.to_be_bytes()].concat();
    let before = store.get(Space::STATE, &key)?.unwrap_or_default();
    let mut days = before.clone();
    days.resize(GROUP as usize * 2, 0);
    let day = u16::try_from(at_s / DAY).unwrap_or(u16::MAX).to_le_bytes();
    for path in paths {
        let at = usize::from(path) * 2;
        days[at..at + 2].copy_from_slice(&day);
    }
    // Written once a day, unless paths come.
    Ok((days != before).then_some(Change { space: Space::STATE, key, value: Some(days) }))
}

/// The paths that were measured last before a day, of those that ever were.
pub(super) fn unseen_since(store: &Store, day: u32) -> Result<Vec<u32>, StoreError> {
    let mut unseen = Vec::new();
    store.range(Space::STATE, &[SEEN], &[SEEN + 1], &mut |key, days| {
        let Ok(group) = key[1..].try_into().map(u32::from_be_bytes) else { return true };
        for (at, pair) in (0..).zip(days.chunks_exact(2)) {
            let last = u32::from(u16::from_le_bytes([pair[0], pair[1]]));
            if last != 0 && last < day {
                unseen.push(group * GROUP + at);
            }
        }
        true
    })?;
    unseen.retain(|&path| {
        matches!(store.get(Space::STATE, &Paths::key(crate::path::PathNumber(path))), Ok(Some(_)))
    });
    Ok(unseen)
}
