//! From bytes to windows.

use netcheck_common::sketch::{BUCKETS, Sketch};
use netcheck_common::window::Steps;

use super::{
    COLUMNS, Column, EXACT, IRREGULAR, MEDIAN, NONE, ROUND_TRIP, SHARE, SORTS, STEPS, THINNED, further,
    shares,
};
use crate::codec::columns::{Zstd, get_columns};
use crate::codec::{Malformed, VERSION};
use crate::tier::Tier;
use crate::window::{Delays, Fidelity, Window, from_quantiles};
use netcheck_common::varint::Cursor;

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

    /// Reads a window that nobody wants: later ones are stored as their difference from it.
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
