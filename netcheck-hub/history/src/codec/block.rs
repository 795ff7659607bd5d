//! Windows of up to 256 paths over some steps of time, as one value.
//!
//! After the version: the tier, the number of steps, the number of paths, and columns (see [`Column`]), each holding
//! values of one sort, path by path and step by step. A step of a path is a kind, and kinds are run-length coded, so
//! that a path that always replies costs a few bits. Counts are written where they are not "as many replies as before,
//! nothing else". Delays are none, a median, quantiles or exact. Quantiles are bucket numbers: the first as the difference from
//! the window before, each further one from the quantile below it. An exact sketch is the number of its entries, the
//! first bucket as the difference from the sketch of the same sort before, the gaps between buckets, and the counts.

use netcheck_common::sketch::{BUCKETS, Sketch};
use netcheck_common::window::Steps;

use super::columns::{Zstd, get_columns, put_columns};
use super::varint::{self, Cursor};
use super::{Malformed, VERSION};
use crate::tier::Tier;
use crate::window::{Delays, Fidelity, Window, from_quantiles, quantile};

/// Sorts of sketches: round trip, network, host, responder, and the four steps of exchanges.
const SORTS: usize = 8;

/// What a column holds; those of sketches follow, one of each kind for every sort.
#[derive(Clone, Copy)]
#[repr(usize)]
enum Column {
    /// Numbers of the paths within their group, as differences.
    Path,
    /// Kinds of windows and how many in a row.
    Shape,
    /// Irregular counts: replies, a mask of what else there is, and these.
    Count,
    /// Samples of a thinned sketch less the replies.
    Samples,
    /// Entries of exact sketches.
    Entries,
    /// First buckets of exact sketches.
    First,
    /// Gaps between buckets less one.
    Gaps,
    /// Counts in buckets less one.
    Buckets,
    /// When certificates expire.
    Expiry,
    /// First quantiles, one column for each sort.
    Quantile,
}

const FURTHER: usize = Column::Quantile as usize + SORTS;
/// The round trip has up to three quantiles above the first, the others one.
const COLUMNS: usize = FURTHER + SORTS + 2;

/// Kinds of windows: bits.
const NONE: u8 = 0x80;
const EXACT: u8 = 0x01;
const THINNED: u8 = 0x02;
const IRREGULAR: u8 = 0x04;
const STEPS: u8 = 0x08;
const MEDIAN: u8 = 0x10;

/// The quantiles of a round trip.
pub(crate) const ROUND_TRIP: &[f64] = &[0.5, 0.9, 0.99, 1.0];
/// The quantiles of a share of it, and of a step of an exchange.
pub(crate) const SHARE: &[f64] = &[0.5, 0.99];

/// The windows of one path, one for each step; none where nothing was measured.
pub(crate) type Row = (u8, Vec<Option<Window>>);

/// A block as bytes. `rows` ascend by path and all have `steps` windows.
pub(crate) fn encode(tier: Tier, steps: u32, rows: &[Row], zstd: &mut Zstd) -> Vec<u8> {
    let mut encoder = Encoder {
        columns: [const { Vec::new() }; COLUMNS],
        reply: 0,
        quantiles: [0; SORTS],
        firsts: [0; SORTS],
    };
    let mut before = 0;
    for (path, windows) in rows {
        encoder.columns[Column::Path as usize].push(path.wrapping_sub(before));
        before = *path;
        encoder.row(windows);
    }
    let mut out = vec![VERSION, tier.code()];
    varint::put(&mut out, u64::from(steps));
    varint::put(&mut out, rows.len() as u64);
    put_columns(&mut out, &encoder.columns, zstd);
    out
}

struct Encoder {
    columns: [Vec<u8>; COLUMNS],
    reply: u32,
    quantiles: [u16; SORTS],
    firsts: [u16; SORTS],
}

impl Encoder {
    fn put(&mut self, column: usize, value: u64) {
        varint::put(&mut self.columns[column], value);
    }

    fn row(&mut self, windows: &[Option<Window>]) {
        let (mut kind, mut run) = (NONE, 0);
        for window in windows {
            let this = window.as_ref().map_or(NONE, |window| self.window(window));
            if this != kind && run > 0 {
                self.run(kind, run);
                run = 0;
            }
            kind = this;
            run += 1;
        }
        if run > 0 {
            self.run(kind, run);
        }
    }

    fn run(&mut self, kind: u8, run: u64) {
        self.columns[Column::Shape as usize].push(kind);
        self.put(Column::Shape as usize, run);
    }

    fn window(&mut self, window: &Window) -> u8 {
        let mut kind = 0;
        let regular = Window { reply: self.reply, ..Window::default() };
        if window.counts() != regular {
            kind |= IRREGULAR;
            self.counts(window);
        }
        self.reply = window.reply;
        match (&window.delays, window.fidelity) {
            (None, _) | (_, Fidelity::Coarser) => {}
            (Some(delays), Fidelity::Exact) => {
                kind |= EXACT;
                delays.sketches().into_iter().enumerate().for_each(|(sort, sketch)| self.exact(sort, sketch));
                if let Some(steps) = &delays.steps {
                    kind |= STEPS;
                    of_steps(steps).into_iter().zip(4..).for_each(|(sketch, sort)| self.exact(sort, sketch));
                    self.expiry(steps.not_after);
                }
            }
            (Some(delays), Fidelity::Median) => {
                kind |= MEDIAN;
                self.thinned(0, &delays.round_trip, window.reply, &ROUND_TRIP[..1]);
            }
            (Some(delays), Fidelity::Quantiles) => {
                kind |= THINNED;
                for (sort, sketch) in delays.sketches().into_iter().enumerate() {
                    self.thinned(sort, sketch, window.reply, shares(sort));
                }
                if let Some(steps) = &delays.steps {
                    kind |= STEPS;
                    for (sketch, sort) in of_steps(steps).into_iter().zip(4..) {
                        self.thinned(sort, sketch, window.reply, SHARE);
                    }
                    self.expiry(steps.not_after);
                }
            }
        }
        kind
    }

    fn counts(&mut self, window: &Window) {
        let column = Column::Count as usize;
        self.put(column, u64::from(window.reply));
        let others = window.failed.into_iter().chain([window.suspect]);
        let mask = others.clone().enumerate().map(|(bit, count)| u64::from(count > 0) << bit).sum();
        self.put(column, mask);
        others.filter(|&count| count > 0).for_each(|count| self.put(column, u64::from(count)));
    }

    fn exact(&mut self, sort: usize, sketch: &Sketch) {
        self.put(Column::Entries as usize, sketch.entries().len() as u64);
        let mut before = None;
        for &(bucket, count) in sketch.entries() {
            match before {
                None => {
                    let change = i64::from(bucket) - i64::from(self.firsts[sort]);
                    varint::put_signed(&mut self.columns[Column::First as usize], change);
                    self.firsts[sort] = bucket;
                }
                Some(before) => self.put(Column::Gaps as usize, u64::from(bucket - before - 1)),
            }
            before = Some(bucket);
            self.put(Column::Buckets as usize, u64::from(count - 1));
        }
    }

    fn thinned(&mut self, sort: usize, sketch: &Sketch, reply: u32, shares: &[f64]) {
        let samples = sketch.count() as i64 - i64::from(reply);
        varint::put_signed(&mut self.columns[Column::Samples as usize], samples);
        let mut below = None;
        for (at, &share) in shares.iter().enumerate() {
            let Some(bucket) = quantile(sketch, share) else { return };
            match below {
                None => {
                    let change = i64::from(bucket) - i64::from(self.quantiles[sort]);
                    varint::put_signed(&mut self.columns[Column::Quantile as usize + sort], change);
                    self.quantiles[sort] = bucket;
                }
                Some(below) => self.put(further(sort, at), u64::from(bucket - below)),
            }
            below = Some(bucket);
        }
    }

    fn expiry(&mut self, not_after: Option<i64>) {
        let column = &mut self.columns[Column::Expiry as usize];
        varint::put(column, u64::from(not_after.is_some()));
        if let Some(not_after) = not_after {
            varint::put_signed(column, not_after);
        }
    }
}

const fn of_steps(steps: &Steps) -> [&Sketch; 4] {
    [&steps.dns, &steps.connect, &steps.tls, &steps.first_byte]
}

const fn shares(sort: usize) -> &'static [f64] {
    if sort == 0 { ROUND_TRIP } else { SHARE }
}

/// The column of a quantile above the first.
const fn further(sort: usize, at: usize) -> usize {
    if sort == 0 { FURTHER + at - 1 } else { FURTHER + 2 + sort }
}

/// Which windows of a block are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// One path of the group, or all.
    pub(crate) path: Option<u8>,
    /// The first step.
    pub(crate) from: u32,
    /// The step after the last.
    pub(crate) to: u32,
}

impl Wanted {
    /// All of a block.
    pub(crate) const ALL: Self = Self { path: None, from: 0, to: u32::MAX };
}

/// Reads a block: calls `found` with path, step and window of what is wanted, ascending. Returns the block's steps.
pub(crate) fn decode(
    bytes: &[u8],
    wanted: Wanted,
    zstd: &mut Zstd,
    mut found: impl FnMut(u8, u32, Window),
) -> Result<u32, Malformed> {
    let mut cursor = Cursor(bytes);
    match cursor.byte()? {
        VERSION => {}
        version => return Err(Malformed::Version(version)),
    }
    let code = cursor.byte()?;
    let tiers = [Tier::Raw, Tier::Fine, Tier::Minute, Tier::Coarse];
    let tier = tiers.into_iter().find(|tier| tier.code() == code).ok_or(Malformed::Range)?;
    let (steps, rows): (u32, usize) = (cursor.narrow()?, cursor.narrow()?);
    let columns: [Vec<u8>; COLUMNS] = get_columns(&mut cursor, zstd)?;
    let mut decoder = Decoder {
        tier,
        columns: std::array::from_fn(|at| Cursor(&columns[at])),
        reply: 0,
        quantiles: [0; SORTS],
        firsts: [0; SORTS],
    };
    let mut path = 0_u8;
    for _ in 0..rows {
        path = path.wrapping_add(decoder.columns[Column::Path as usize].byte()?);
        // What comes after the only path that is wanted need not be read.
        if wanted.path.is_some_and(|only| path > only) {
            break;
        }
        let here = wanted.path.is_none_or(|only| path == only);
        let mut step = 0;
        while step < steps {
            let kind = decoder.columns[Column::Shape as usize].byte()?;
            let run: u32 = decoder.columns[Column::Shape as usize].narrow()?;
            let end = step.checked_add(run).filter(|&end| run > 0 && end <= steps).ok_or(Malformed::Range)?;
            for at in step..end {
                match kind {
                    NONE => break,
                    _ if here && (wanted.from..wanted.to).contains(&at) => {
                        found(path, at, decoder.window(kind)?);
                    }
                    _ => decoder.skip(kind)?,
                }
            }
            step = end;
        }
    }
    Ok(steps)
}

struct Decoder<'a> {
    tier: Tier,
    columns: [Cursor<'a>; COLUMNS],
    reply: u32,
    quantiles: [u16; SORTS],
    firsts: [u16; SORTS],
}

impl Decoder<'_> {
    fn window(&mut self, kind: u8) -> Result<Window, Malformed> {
        let mut window = Window::default();
        self.counts(kind, &mut window)?;
        if kind & (EXACT | THINNED | MEDIAN) == 0 {
            if self.tier != Tier::Raw && window.reply > 0 {
                window.fidelity = Fidelity::Coarser;
            }
            return Ok(window);
        }
        let mut delays = Delays::default();
        if kind & MEDIAN != 0 {
            delays.round_trip = self.thinned(0, &ROUND_TRIP[..1])?;
        } else {
            for (sort, sketch) in delays.sketches_mut().into_iter().enumerate() {
                *sketch =
                    if kind & EXACT != 0 { self.exact(sort)? } else { self.thinned(sort, shares(sort))? };
            }
        }
        if kind & STEPS != 0 {
            let mut steps = Box::<Steps>::default();
            let sketches = [&mut steps.dns, &mut steps.connect, &mut steps.tls, &mut steps.first_byte];
            for (sketch, sort) in sketches.into_iter().zip(4..) {
                *sketch = if kind & EXACT != 0 { self.exact(sort)? } else { self.thinned(sort, SHARE)? };
            }
            steps.not_after = self.expiry()?;
            delays.steps = Some(steps);
        }
        window.delays = Some(Box::new(delays));
        window.fidelity = match kind & (EXACT | MEDIAN) {
            0 => Fidelity::Quantiles,
            MEDIAN => Fidelity::Median,
            _ => Fidelity::Exact,
        };
        Ok(window)
    }

    /// Reads a window that nobody wants: later ones are told by their difference from it.
    fn skip(&mut self, kind: u8) -> Result<(), Malformed> {
        self.counts(kind, &mut Window::default())?;
        let sorts = if kind & STEPS != 0 { SORTS } else { 4 };
        if kind & EXACT != 0 {
            (0..sorts).try_for_each(|sort| self.skip_exact(sort))?;
        } else if kind & THINNED != 0 {
            (0..sorts).try_for_each(|sort| self.quantiles(sort, shares(sort), |_, _| ()).map(drop))?;
        } else if kind & MEDIAN != 0 {
            self.quantiles(0, &ROUND_TRIP[..1], |_, _| ())?;
        }
        if kind & STEPS != 0 {
            self.expiry()?;
        }
        Ok(())
    }

    fn counts(&mut self, kind: u8, window: &mut Window) -> Result<(), Malformed> {
        window.reply = self.reply;
        if kind & IRREGULAR != 0 {
            let column = &mut self.columns[Column::Count as usize];
            window.reply = column.narrow()?;
            let mask = column.number()?;
            let others = window.failed.iter_mut().chain([&mut window.suspect]);
            for (bit, count) in others.enumerate() {
                if mask >> bit & 1 != 0 {
                    *count = column.narrow()?;
                }
            }
            self.reply = window.reply;
        }
        Ok(())
    }

    fn exact(&mut self, sort: usize) -> Result<Sketch, Malformed> {
        let mut sketch = Sketch::new();
        let entries = self.columns[Column::Entries as usize].number()?;
        let mut bucket = 0;
        for at in 0..entries {
            bucket = self.bucket(sort, at, bucket)?;
            let count: u32 = self.columns[Column::Buckets as usize].narrow()?;
            sketch.add(bucket, count.checked_add(1).ok_or(Malformed::Range)?);
        }
        Ok(sketch)
    }

    fn skip_exact(&mut self, sort: usize) -> Result<(), Malformed> {
        let mut bucket = 0;
        for at in 0..self.columns[Column::Entries as usize].number()? {
            bucket = self.bucket(sort, at, bucket)?;
            self.columns[Column::Buckets as usize].number()?;
        }
        Ok(())
    }

    fn bucket(&mut self, sort: usize, at: u64, before: u16) -> Result<u16, Malformed> {
        if at > 0 {
            let gap: u16 = self.columns[Column::Gaps as usize].narrow()?;
            return valid(i64::from(before) + i64::from(gap) + 1);
        }
        let change = self.columns[Column::First as usize].signed()?;
        self.firsts[sort] = valid(i64::from(self.firsts[sort]).saturating_add(change))?;
        Ok(self.firsts[sort])
    }

    fn thinned(&mut self, sort: usize, shares: &[f64]) -> Result<Sketch, Malformed> {
        let mut quantiles = [(0.0, 0); 4];
        let samples = self.quantiles(sort, shares, |at, bucket| quantiles[at] = (shares[at], bucket))?;
        let held = if samples == 0 { 0 } else { shares.len() };
        Ok(from_quantiles(quantiles[..held].iter().copied(), samples))
    }

    /// Reads the quantiles of one sketch. Returns its samples.
    #[inline]
    fn quantiles(
        &mut self,
        sort: usize,
        shares: &[f64],
        mut found: impl FnMut(usize, u16),
    ) -> Result<u64, Malformed> {
        let change = self.columns[Column::Samples as usize].signed()?;
        let samples = i64::from(self.reply).checked_add(change).ok_or(Malformed::Range)?;
        if samples <= 0 {
            return Ok(0);
        }
        let change = self.columns[Column::Quantile as usize + sort].signed()?;
        let mut bucket = valid(i64::from(self.quantiles[sort]).saturating_add(change))?;
        self.quantiles[sort] = bucket;
        found(0, bucket);
        for at in 1..shares.len() {
            let above: u16 = self.columns[further(sort, at)].narrow()?;
            bucket = valid(i64::from(bucket) + i64::from(above))?;
            found(at, bucket);
        }
        Ok(samples as u64)
    }

    fn expiry(&mut self) -> Result<Option<i64>, Malformed> {
        let column = &mut self.columns[Column::Expiry as usize];
        Ok(if column.number()? == 0 { None } else { Some(column.signed()?) })
    }
}

fn valid(bucket: i64) -> Result<u16, Malformed> {
    u16::try_from(bucket).ok().filter(|&bucket| bucket < BUCKETS).ok_or(Malformed::Range)
}

#[cfg(test)]
mod tests;
