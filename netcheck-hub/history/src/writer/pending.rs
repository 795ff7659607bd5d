//! What was gathered since the last transaction.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::sync::atomic::AtomicU64;

use crate::codec::VERSION;
use crate::codec::block::{self, Wanted};
use crate::codec::columns::Zstd;
use crate::codec::log::{CHECKPOINT, Entry, LIMITS, encode_checkpoint, encode_limits, topic_code};
use crate::keys;
use crate::path::PathNumber;
use crate::record::{Fact, FactKind, INACTIVE, IncidentRevision, Left, Record, Remark, Verdicts, Windows};
use crate::shared::{Paths, count};
use crate::store::{Change, Kind, Space, Store};
use crate::tier::{GROUP, Tier, floor, seconds};
use crate::window::Window;
use crate::writer::stands::Stands;

/// The first byte of the key of an open incident.
pub(crate) const INCIDENT: u8 = b'i';
/// The first byte of the key of a fact; its kind follows.
pub(crate) const FACT: u8 = b'f';
/// About what a window takes up in memory.
const WINDOW_BYTES: usize = 400;

/// The byte of a kind of facts.
pub(crate) const fn fact_code(kind: FactKind) -> u8 {
    match kind {
        FactKind::ExpectedAbsent => b'a',
        FactKind::Hub => b'h',
    }
}

/// One path's window.
#[derive(Clone, Debug)]
struct Given {
    window: Window,
    /// To be added to what is stored; else it replaces that.
    late: bool,
}

/// See the file.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// By begin (unix seconds) and group.
    windows: BTreeMap<(u32, u32), BTreeMap<u8, Given>>,
    changes: Vec<Change>,
    paths: Vec<(PathNumber, Vec<u8>)>,
    bytes: usize,
    records: u64,
    last: Option<u64>,
}

impl Pending {
    /// Takes a record. Returns how many windows came too late.
    pub(crate) fn take(&mut self, number: u64, record: Record, rolled_s: u32, stands: &mut Stands) -> u64 {
        self.records += 1;
        self.last = Some(number);
        match record {
            Record::Windows(windows) => return self.windows(windows, rolled_s),
            Record::Verdicts(changed) => {
                stands.follow(&changed);
                self.entry(number, &changed);
            }
            Record::Left(Left { at_ns, paths }) => {
                let inactive = |path: &PathNumber| {
                    stands.verdicts.get(path).is_some_and(|(verdict, _)| verdict & INACTIVE != 0)
                };
                let changes: Vec<_> = paths.into_iter().filter(inactive).map(|path| (path, None)).collect();
                if !changes.is_empty() {
                    let changed = Verdicts { at_ns, changes };
                    stands.follow(&changed);
                    self.entry(number, &changed);
                }
            }
            Record::Limits(changed) => {
                stands.limit(&changed);
                self.entry(number, &changed);
            }
            Record::Remark(Remark { at_ns, topic, body }) => {
                let key = keys::log(topic_code(topic), at_ns, number);
                let value = [&[VERSION], &body[..]].concat();
                self.change(Space::at(Kind::Log, seconds(at_ns)), key, Some(value));
            }
            Record::Incident(revision) => self.incident(number, &revision),
            Record::Losses(losses) => self.entry(number, &losses),
            Record::Drops(drops) => self.entry(number, &drops),
            Record::Event(event) => self.entry(number, &event),
            Record::Check(result) => self.entry(number, &result),
            Record::Fact(Fact { kind, key, value }) => {
                let key = [&[FACT, fact_code(kind)], key.as_bytes()].concat();
                self.change(Space::STATE, key, value);
            }
        }
        0
    }

    fn windows(&mut self, Windows { start_ns, windows, late }: Windows, rolled_s: u32) -> u64 {
        let start_s = floor(seconds(start_ns), Tier::Raw.step_s());
        if start_s < rolled_s {
            return windows.len() as u64;
        }
        self.bytes += windows.len() * WINDOW_BYTES;
        for (PathNumber(path), window) in windows {
            let group = self.windows.entry((start_s, path / GROUP)).or_default();
            match group.entry((path % GROUP) as u8) {
                btree_map::Entry::Occupied(mut before) if late => before.get_mut().window.merge(&window),
                btree_map::Entry::Occupied(mut before) => drop(before.insert(Given { window, late })),
                btree_map::Entry::Vacant(place) => {
                    place.insert(Given { window, late });
                }
            }
        }
        0
    }

    fn change(&mut self, space: Space, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.bytes += key.len() + value.as_ref().map_or(0, Vec::len);
        self.changes.push(Change { space, key, value });
    }

    fn entry<E: Entry>(&mut self, number: u64, entry: &E) {
        let at_ns = entry.at_ns();
        let space = Space::at(Kind::Log, seconds(at_ns));
        self.change(space, keys::log(E::KIND, at_ns, number), Some(entry.encode()));
    }

    /// An incident is found twice: by its time, and while it is open by its id.
    fn incident(&mut self, number: u64, revision: &IncidentRevision) {
        self.entry(number, revision);
        let value = [&revision.at_ns.to_be_bytes()[..], &revision.encode()].concat();
        let key = [&[INCIDENT], revision.id.as_bytes()].concat();
        self.change(Space::STATE, key, revision.closed_ns.is_none().then_some(value));
    }

    /// Has all verdicts and limits written.
    pub(crate) fn checkpoint(&mut self, now_ns: i64, stands: &mut Stands, zstd: &mut Zstd) {
        stands.tidy();
        let verdicts = stands.verdicts.iter().map(|(&path, &standing)| (path, standing));
        let verdicts = encode_checkpoint(now_ns, verdicts, zstd);
        let limits = encode_limits(now_ns, &stands.limits, zstd);
        let space = Space::at(Kind::Log, seconds(now_ns));
        self.change(space, keys::log(CHECKPOINT, now_ns, 0), Some(verdicts));
        self.change(space, keys::log(LIMITS, now_ns, 0), Some(limits));
    }

    /// Has paths written that were given numbers.
    pub(crate) fn paths(&mut self, paths: &mut Paths) {
        self.paths.append(&mut paths.unwritten);
    }

    /// Takes back what [`Pending::paths`] took.
    pub(crate) fn unwritten_paths(&mut self) -> Vec<(PathNumber, Vec<u8>)> {
        std::mem::take(&mut self.paths)
    }

    /// The transaction. Blocks that are there already are read, and written with what is new.
    pub(crate) fn changes(&self, store: &Store, unreadable: &AtomicU64, zstd: &mut Zstd) -> Vec<Change> {
        let mut changes = self.changes.clone();
        for (number, identity) in &self.paths {
            changes.push(Change {
                space: Space::STATE,
                key: Paths::key(*number),
                value: Some(identity.clone()),
            });
        }
        for (&(start_s, group), windows) in &self.windows {
            let (space, key) = (Space::at(Kind::Raw, start_s), keys::raw(group, start_s));
            let mut rows = BTreeMap::new();
            if let Ok(Some(bytes)) = store.get(space, &key) {
                let read = block::decode(&bytes, Wanted::ALL, zstd, |path, _, window| {
                    rows.insert(path, window);
                });
                count(unreadable, u64::from(read.is_err()));
            }
            for (&path, Given { window, late }) in windows {
                match rows.get_mut(&path).filter(|_| *late) {
                    Some(before) => Window::merge(before, window),
                    None => drop(rows.insert(path, window.clone())),
                }
            }
            let rows: Vec<_> = rows.into_iter().map(|(path, window)| (path, vec![Some(window)])).collect();
            changes.push(Change { space, key, value: Some(block::encode(Tier::Raw, 1, &rows, zstd)) });
        }
        changes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.windows.is_empty() && self.changes.is_empty() && self.paths.is_empty()
    }

    /// About how much memory it takes.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) const fn records(&self) -> u64 {
        self.records
    }

    /// The last record in it.
    pub(crate) const fn last(&self) -> Option<u64> {
        self.last
    }
}
