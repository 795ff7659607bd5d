//! Windows of up to 256 paths over some steps of time, as one value.
//!
//! After the version: the tier, the number of steps, the number of paths, and columns (see [`Column`]), each holding
//! values of one sort, path by path and step by step. A step of a path is a kind, and kinds are run-length coded, so
//! that a path that always replies costs a few bits. Counts are written where they are not "as many replies as before,
//! nothing else". Delays are none, a median, quantiles or exact. Quantiles are bucket numbers: the first as the difference from
//! the window before, each further one from the quantile below it. An exact sketch is the number of its entries, the
//! first bucket as the difference from the sketch of the same sort before, the gaps between buckets, and the counts.

use netcheck_common::sketch::Sketch;
use netcheck_common::window::Steps;

use super::VERSION;
use super::columns::{Zstd, put_columns};
use crate::tier::Tier;
use crate::window::{Fidelity, Window, quantile};
use netcheck_common::varint;

mod decoding;
#[cfg(test)]
mod tests;

pub(crate) use decoding::{Wanted, decode};

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
