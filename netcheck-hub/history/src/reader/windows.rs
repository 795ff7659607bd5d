//! Windows: of one path over a time, of all paths at a time.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::{ReadError, Reader, Unread};
use crate::codec::block::{self, Wanted};
use crate::codec::columns::Zstd;
use crate::keys;
use crate::path::PathNumber;
use crate::shared::Inner;
use crate::store::{Kind, Space, Store};
use crate::tier::{BUCKET, GROUP, Tier, floor, nanos, seconds};
use crate::window::{Delays, Fidelity, Window, rescaled};

/// One step of a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// Begin, unix nanoseconds.
    pub start_ns: i64,
    /// Length: what was asked for, or more where only coarser windows reach back so far.
    pub length: Duration,
    /// What was measured.
    pub window: Window,
}

/// One path over a time. Where nothing was measured there is no point.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series {
    /// Ascending.
    pub points: Vec<Point>,
    /// Blocks that could not be read: what is missing may have been measured.
    pub unreadable: u64,
}

/// One path at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathAt {
    /// What was measured in the time before; none where nothing was.
    pub window: Option<Window>,
    /// The hub's number for the verdict that stood, and since when (unix nanoseconds).
    pub verdict: Option<(u8, i64)>,
}

/// All paths at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Begin of the windows, unix nanoseconds: the range asked for, widened to whole steps of what is kept.
    pub from_ns: i64,
    /// Their end, likewise.
    pub to_ns: i64,
    /// Of what was kept then.
    pub step: Duration,
    /// Those that were measured or had a verdict.
    pub paths: BTreeMap<PathNumber, PathAt>,
    /// Blocks that could not be read: what is missing may have been measured.
    pub unreadable: u64,
}

impl Reader {
    /// What was measured on a path from a time on until before another, in steps of at least `step`. Delays of windows
    /// that did not keep their own are those of the ten minutes around.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn series(
        &self,
        path: PathNumber,
        from_ns: i64,
        to_ns: i64,
        step: Duration,
    ) -> Result<Series, ReadError> {
        let step_s = u32::try_from(step.as_secs()).unwrap_or(u32::MAX).max(1).div_ceil(10).saturating_mul(10);
        let tier = Tier::ROLLED.into_iter().rev().find(|tier| tier.step_s() <= step_s).unwrap_or(Tier::Fine);
        let (from_s, to_s) = (seconds(from_ns), seconds(to_ns.saturating_add(999_999_999)));
        let inner = self.shared.read();
        let mut read = Read::new(&inner, Some(path))?;
        let mut points: BTreeMap<(u32, u32), Window> = BTreeMap::new();
        for (tier, from_s, to_s) in read.parts(tier, from_s, to_s) {
            let length_s = step_s.max(tier.step_s());
            for ((_, start_s), window) in read.filled(tier, from_s, to_s)? {
                let start_s = floor(start_s, length_s);
                points.entry((start_s, length_s)).and_modify(|point| point.merge(&window)).or_insert(window);
            }
        }
        let point = |((start_s, length_s), window)| Point {
            start_ns: nanos(start_s),
            length: Duration::from_secs(u64::from(length_s)),
            window,
        };
        let points = points.into_iter().map(point).collect();
        Ok(Series { points, unreadable: read.unread.total(&self.shared) })
    }

    /// What a matrix of that time shows: the windows of the `range` before it, merged, and the verdict that stood, of
    /// all paths. The windows are whole steps that ended by then: up to a step less than the range, or more. A long range
    /// is read from longer windows.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn snapshot_at(&self, at_ns: i64, range: Duration) -> Result<Snapshot, ReadError> {
        let verdicts = self.verdicts_at(at_ns)?;
        let inner = self.shared.read();
        let mut read = Read::new(&inner, None)?;
        let range_s = u32::try_from(range.as_secs()).unwrap_or(u32::MAX);
        let wanted = Tier::ROLLED.into_iter().rev().find(|tier| tier.step_s() <= range_s / STEPS);
        let tier = read.finest(seconds(at_ns).saturating_sub(range_s)).max(wanted.unwrap_or(Tier::Fine));
        // A range that is shorter than a step is the last step.
        let to_s = floor(seconds(at_ns), tier.step_s());
        let begin_s = floor(to_s.saturating_sub(range_s.max(1)), tier.step_s());
        let mut paths: BTreeMap<PathNumber, PathAt> = verdicts
            .into_iter()
            .map(|(path, verdict)| (path, PathAt { window: None, verdict: Some(verdict) }))
            .collect();
        for (tier, from_s, to_s) in read.parts(tier, begin_s, to_s) {
            for ((path, _), window) in read.merged(tier, from_s, to_s)? {
                match &mut paths.entry(PathNumber(path)).or_default().window {
                    Some(before) => before.merge(&window),
                    none @ None => *none = Some(window),
                }
            }
        }
        Ok(Snapshot {
            from_ns: nanos(begin_s),
            to_ns: nanos(to_s),
            step: Duration::from_secs(u64::from(tier.step_s())),
            paths,
            unreadable: read.unread.total(&self.shared),
        })
    }
}

/// A range of more steps than this is read from the next longer windows.
const STEPS: u32 = 30;

/// By path and begin (unix seconds).
type Found = Vec<((u32, u32), Window)>;

/// Reads group and begin (unix seconds) from a key.
type GroupAndBegin<'a> = &'a dyn Fn(&[u8]) -> Option<(u32, u32)>;

/// One question.
struct Read<'a> {
    inner: &'a Inner,
    store: &'a Store,
    spaces: Vec<Space>,
    /// All, where none.
    path: Option<PathNumber>,
    zstd: Zstd,
    unread: Unread,
}

impl<'a> Read<'a> {
    fn new(inner: &'a Inner, path: Option<PathNumber>) -> Result<Self, ReadError> {
        let store = inner.store.as_ref().ok_or(ReadError::Closed)?;
        let spaces = store.spaces();
        Ok(Self { inner, store, spaces, path, zstd: Zstd::new(), unread: Unread::default() })
    }

    /// Begin of the oldest space that a tier has.
    fn oldest_s(&self, tier: Tier) -> Option<u32> {
        let young = matches!(tier, Tier::Minute | Tier::Coarse);
        let of = |space: &&Space| space.kind == Kind::from(tier) || young && space.kind == Kind::Young;
        self.spaces.iter().filter(of).map(|space| space.start_s).min()
    }

    /// The finest tier that reaches back to a time; where none does, the one that reaches back furthest.
    fn finest(&self, from_s: u32) -> Tier {
        if from_s >= self.inner.marks.rolled_s {
            return Tier::Fine;
        }
        let reach = |tier| Some((self.oldest_s(tier)?.max(from_s), tier));
        Tier::ROLLED.into_iter().filter_map(reach).min().map_or(Tier::Fine, |(_, tier)| tier)
    }

    /// Which tier answers for which part of a time, the oldest first: the wanted one as far as it reaches back, coarser
    /// ones before, and what is not rolled up yet at the end.
    fn parts(&self, tier: Tier, from_s: u32, to_s: u32) -> Vec<(Tier, u32, u32)> {
        let rolled_s = self.inner.marks.rolled_s;
        let mut parts = vec![(Tier::Raw, rolled_s.max(from_s), to_s)];
        let mut end_s = rolled_s.min(to_s);
        for tier in Tier::ROLLED.into_iter().filter(|&this| this >= tier) {
            let last = tier == Tier::Coarse;
            let Some(oldest_s) = self.oldest_s(tier).or(last.then_some(0)) else { continue };
            let begin_s = oldest_s.max(from_s).min(end_s);
            parts.push((tier, begin_s, end_s));
            end_s = begin_s;
        }
        parts.reverse();
        parts.retain(|&(_, from_s, to_s)| from_s < to_s);
        parts
    }

    /// Windows that overlap a time, with the delays that they lack.
    fn filled(&mut self, tier: Tier, from_s: u32, to_s: u32) -> Result<Found, ReadError> {
        let mut found = self.windows(tier, from_s, to_s)?;
        let lacking = found.iter().filter(|(_, window)| lacks(window)).map(|&((_, start_s), _)| start_s);
        let (first, last) = (lacking.clone().min(), lacking.max());
        if let (Some(first), Some(last)) = (first, last) {
            let around: HashMap<_, _> =
                self.windows(Tier::Coarse, floor(first, BUCKET), last + 1)?.into_iter().collect();
            for ((path, start_s), window) in found.iter_mut().filter(|(_, window)| lacks(window)) {
                if let Some(around) = around.get(&(*path, floor(*start_s, BUCKET))) {
                    fill(window, around);
                }
            }
        }
        Ok(found)
    }

    /// Windows that overlap a time, in no order, and not one by one: those of ten seconds that lack their delays are
    /// merged before they are filled.
    fn merged(&mut self, tier: Tier, from_s: u32, to_s: u32) -> Result<Found, ReadError> {
        if tier != Tier::Fine {
            return self.filled(tier, from_s, to_s);
        }
        let (lacking, mut found): (Found, Found) =
            self.windows(tier, from_s, to_s)?.into_iter().partition(|(_, window)| lacks(window));
        let mut sums: HashMap<(u32, u32), Window> = HashMap::new();
        for ((path, start_s), window) in lacking {
            sums.entry((path, floor(start_s, BUCKET))).or_default().merge(&window);
        }
        for (at, around) in self.windows(Tier::Coarse, floor(from_s, BUCKET), to_s)? {
            if let Some(mut window) = sums.remove(&at) {
                fill(&mut window, &around);
                found.push((at, window));
            }
        }
        found.extend(sums);
        Ok(found)
    }

    fn windows(&mut self, tier: Tier, from_s: u32, to_s: u32) -> Result<Found, ReadError> {
        let mut found = Vec::new();
        let merged_s = self.inner.marks.merged_s(tier);
        // A window that holds the begin is wanted whole.
        let from_s = floor(from_s, tier.step_s());
        match tier {
            Tier::Raw => self.by_group(Kind::Raw, tier, (from_s, to_s), &mut found)?,
            Tier::Fine => self.by_time(tier, (from_s, to_s), &mut found)?,
            Tier::Minute | Tier::Coarse => {
                self.by_time(tier, (from_s, to_s.min(merged_s)), &mut found)?;
                self.by_group(Kind::Young, tier, (from_s.max(merged_s), to_s), &mut found)?;
            }
        }
        Ok(found)
    }

    /// Final blocks: their keys ascend by time, then by group.
    fn by_time(
        &mut self,
        tier: Tier,
        (from_s, to_s): (u32, u32),
        found: &mut Found,
    ) -> Result<(), ReadError> {
        let span_s = tier.span_s();
        let spaces: Vec<Space> = self.overlapping(tier.into(), from_s, to_s).collect();
        for space in spaces {
            let first = floor(from_s.max(space.start_s), span_s);
            for start_s in (first..to_s.min(space.end_s())).step_by(span_s as usize) {
                let (from, to) = match self.path {
                    Some(path) => {
                        (keys::merged(start_s, path.0 / GROUP), keys::merged(start_s, path.0 / GROUP + 1))
                    }
                    None => (keys::merged(start_s, 0), keys::merged(start_s.saturating_add(1), 0)),
                };
                let group_of = |key: &[u8]| keys::numbers(key).map(|(_, group)| (group, start_s));
                self.blocks((space, tier), (&from, &to), (from_s, to_s), &group_of, found)?;
            }
        }
        Ok(())
    }

    /// Blocks that wait: their keys ascend by group, then by time.
    fn by_group(
        &mut self,
        kind: Kind,
        tier: Tier,
        (from_s, to_s): (u32, u32),
        found: &mut Found,
    ) -> Result<(), ReadError> {
        let prefix: &[u8] = if kind == Kind::Young { &[tier.code()] } else { &[] };
        let spaces: Vec<Space> = self.overlapping(kind, from_s, to_s).collect();
        for space in spaces {
            let groups = match self.path {
                Some(path) => vec![path.0 / GROUP],
                None => keys::groups(self.store, space, prefix)?,
            };
            // A block may have begun before the time that is asked for.
            let length_s = if kind == Kind::Young { BUCKET } else { tier.step_s() };
            for group in groups {
                let key = |at_s| [prefix, &keys::raw(group, at_s)].concat();
                let (from, to) = (key(floor(from_s, length_s)), key(to_s));
                let at = |key: &[u8]| keys::numbers(&key[prefix.len()..]);
                self.blocks((space, tier), (&from, &to), (from_s, to_s), &at, found)?;
            }
        }
        Ok(())
    }

    fn overlapping(&self, kind: Kind, from_s: u32, to_s: u32) -> impl Iterator<Item = Space> {
        let of = move |space: &&Space| space.kind == kind && space.start_s < to_s && from_s < space.end_s();
        self.spaces.iter().filter(of).copied()
    }

    /// Reads the blocks of a range of keys. `at` reads group and begin from a key.
    fn blocks(
        &mut self,
        (space, tier): (Space, Tier),
        (from, to): (&[u8], &[u8]),
        (from_s, to_s): (u32, u32),
        at: GroupAndBegin<'_>,
        found: &mut Found,
    ) -> Result<(), ReadError> {
        let step_s = tier.step_s();
        let path = self.path.map(|path| (path.0 % GROUP) as u8);
        let (zstd, unread) = (&mut self.zstd, &mut self.unread);
        let read = self.store.range(space, from, to, &mut |key, bytes| {
            let Some((group, start_s)) = at(key) else { return true };
            let wanted = Wanted {
                path,
                from: from_s.saturating_sub(start_s) / step_s,
                to: to_s.saturating_sub(start_s).div_ceil(step_s),
            };
            let read = block::decode(bytes, wanted, zstd, |path, step, window| {
                let path = group * GROUP + u32::from(path);
                found.push(((path, start_s.saturating_add(step * step_s)), window));
            });
            unread.note(read);
            true
        });
        Ok(self.unread.note_store(read)?)
    }
}

/// Whether a window does not hold all sorts of delays that were measured.
fn lacks(window: &Window) -> bool {
    matches!(window.fidelity, Fidelity::Coarser | Fidelity::Median)
}

/// Gives a window the delays that it lacks, as many as it has replies, distributed as in the ten minutes around.
fn fill(window: &mut Window, around: &Window) {
    let Some(theirs) = &around.delays else { return };
    let share = |samples: u64| {
        (u128::from(samples) * u128::from(window.reply)).div_ceil(u128::from(around.reply.max(1))) as u64
    };
    let mut delays = window.delays.take().unwrap_or_default();
    let Delays { steps, .. } = &**theirs;
    for (mine, theirs) in delays.sketches_mut().into_iter().zip(theirs.sketches()) {
        if mine.is_empty() && !theirs.is_empty() {
            *mine = rescaled(theirs, share(theirs.count()));
        }
    }
    if let (None, Some(theirs)) = (&delays.steps, steps) {
        let mut steps = theirs.clone();
        for sketch in [&mut steps.dns, &mut steps.connect, &mut steps.tls, &mut steps.first_byte] {
            if !sketch.is_empty() {
                *sketch = rescaled(sketch, share(sketch.count()));
            }
        }
        delays.steps = Some(steps);
    }
    window.delays = Some(delays);
    window.fidelity = Fidelity::Coarser;
}
