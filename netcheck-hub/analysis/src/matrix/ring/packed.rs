//! One window as bytes.
//!
//! | bytes | what |
//! |---|---|
//! | 2 | which counts follow, and how the delays are held; little endian |
//! | 1 to 10 | nanoseconds between the begin of the window before it and its own |
//! | 0 to 10 | its length in nanoseconds, where that is not the ring's |
//! | 0 to 50 | its counts other than 0, in the order of [`Counts`] |
//! | any | its delays |
//! | 1 or 3 | how many bytes that is: one byte below 255, else two of them, little endian, and 255 |
//!
//! Numbers are LEB128. It is read from either end, and what is not asked for is left alone: verdicts need the counts of the
//! newest windows only.

use std::borrow::Cow;

use netcheck_common::domain::Outcome;
use netcheck_common::sketch::Sketch;
use netcheck_common::varint::{self, Cursor};
use netcheck_common::window::Steps;

use crate::matrix::{Delays, HasDelays, Slot};

/// Room for a window of some answered probes.
pub(super) const USUAL_BYTES: usize = 24;
/// Replies, those of new flows, suspects, lost new flows, and failures.
type Counts = [u32; 4 + Outcome::FAILURES.len()];
/// Its length is not the ring's.
const LENGTH: u16 = 1 << 10;
/// There are delays, and all of one sort are in one bucket: its number and 1, or 0 where there are none.
const SAME: u16 = 1 << 11;
/// There are delays in several buckets: of each sort how many, and each bucket's distance and count.
const SPREAD: u16 = 1 << 12;
/// Of exchanges over TCP, as [`SPREAD`], and when the certificate expires.
const STEPS: u16 = 1 << 13;
/// A length that does not fit a byte.
const LONG: u8 = 255;

const _: () = assert!(size_of::<Counts>() / size_of::<u32>() <= 10, "each count has a bit below LENGTH");

/// Delays of a window in the bytes that hold them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Packed<'a> {
    bytes: &'a [u8],
    shape: u16,
    reply: u32,
}

impl HasDelays for Packed<'_> {
    fn delays(&self) -> Option<Cow<'_, Delays>> {
        let any = self.shape & (SAME | SPREAD | STEPS) != 0;
        any.then(|| {
            let mut delays = Delays::default();
            self.add_to(&mut delays);
            Cow::Owned(delays)
        })
    }

    fn add_to(&self, sum: &mut Delays) {
        let cursor = &mut Cursor(self.bytes);
        let Delays { round_trip, network, host, responder, steps } = sum;
        let sketches = [round_trip, network, host, responder];
        if self.shape & SAME != 0 {
            for sketch in sketches {
                if let Some(bucket) = number(cursor).checked_sub(1) {
                    sketch.add(bucket as u16, self.reply);
                }
            }
        } else if self.shape & SPREAD != 0 {
            sketches.into_iter().for_each(|sketch| add_spread(cursor, sketch));
        }
        if self.shape & STEPS != 0 {
            let Steps { dns, connect, tls, first_byte, .. } = &mut **steps.get_or_insert_default();
            [dns, connect, tls, first_byte].into_iter().for_each(|sketch| add_spread(cursor, sketch));
            let not_after = (number(cursor) > 0).then(|| cursor.signed().unwrap_or_default());
            steps.get_or_insert_default().expires(not_after);
        }
    }
}

impl Packed<'_> {
    /// Reads on behind them.
    fn skip(&self, cursor: &mut Cursor<'_>) {
        let numbers = |cursor: &mut Cursor<'_>, count: u64| (0..count).for_each(|_| _ = number(cursor));
        let sketches = |cursor: &mut Cursor<'_>| {
            for _ in 0..4 {
                let buckets = number(cursor);
                numbers(cursor, 2 * buckets);
            }
        };
        if self.shape & SAME != 0 {
            numbers(cursor, 4);
        } else if self.shape & SPREAD != 0 {
            sketches(cursor);
        }
        if self.shape & STEPS != 0 {
            sketches(cursor);
            if number(cursor) > 0 {
                number(cursor);
            }
        }
    }
}

impl Slot<Packed<'_>> {
    /// The same, with its delays read.
    #[must_use]
    pub fn owned(&self) -> Slot {
        let delays = self.delays.delays().map(|delays| Box::new(delays.into_owned()));
        let Self { start_ns, duration_ns, reply, failed, suspect, new_reply, new_lost, .. } = *self;
        Slot { start_ns, duration_ns, reply, failed, suspect, new_reply, new_lost, delays }
    }
}

/// Appends a window behind one that began at `before_ns`.
pub(super) fn put(out: &mut Vec<u8>, slot: &Slot, before_ns: i64, length_ns: i64) {
    let begin = out.len();
    let counts = counts(slot);
    let mut shape = 0;
    for (bit, _) in counts.iter().enumerate().filter(|&(_, &count)| count > 0) {
        shape |= 1 << bit;
    }
    if slot.duration_ns != length_ns {
        shape |= LENGTH;
    }
    let sketches = slot.delays.as_deref().map(|delays| {
        let Delays { round_trip, network, host, responder, .. } = delays;
        [round_trip, network, host, responder]
    });
    shape |= match sketches {
        None => 0,
        Some(all) if all.iter().all(|sketch| is_same(sketch, slot.reply)) => SAME,
        Some(_) => SPREAD,
    };
    let steps = slot.delays.as_deref().and_then(|delays| delays.steps.as_deref());
    if steps.is_some() {
        shape |= STEPS;
    }
    out.extend_from_slice(&shape.to_le_bytes());
    varint::put(out, slot.start_ns.wrapping_sub(before_ns) as u64);
    if shape & LENGTH != 0 {
        varint::put(out, slot.duration_ns as u64);
    }
    counts.iter().filter(|&&count| count > 0).for_each(|&count| varint::put(out, count.into()));
    for sketch in sketches.into_iter().flatten() {
        if shape & SAME != 0 {
            let bucket = sketch.entries().first().map_or(0, |&(bucket, _)| u64::from(bucket) + 1);
            varint::put(out, bucket);
        } else {
            put_spread(out, sketch);
        }
    }
    if let Some(Steps { dns, connect, tls, first_byte, not_after }) = steps {
        [dns, connect, tls, first_byte].into_iter().for_each(|sketch| put_spread(out, sketch));
        varint::put(out, not_after.is_some().into());
        if let Some(not_after) = *not_after {
            varint::put_signed(out, not_after);
        }
    }
    let length = out.len() - begin;
    match u8::try_from(length) {
        Ok(short) if short != LONG => out.push(short),
        // 976 buckets of 7 bytes at most, eight times, are fewer than 65,536.
        _ => {
            out.extend_from_slice(&(length as u16).to_le_bytes());
            out.push(LONG);
        }
    }
}

/// The window whose encoding begins at `begin`, behind one that began at `before_ns`, and where the next one begins.
pub(super) fn at(bytes: &[u8], begin: usize, before_ns: i64, length_ns: i64) -> (usize, Slot<Packed<'_>>) {
    let mut cursor = Cursor(bytes.get(begin..).unwrap_or_default());
    let (since_before_ns, mut slot) = counted(&mut cursor, length_ns);
    slot.start_ns = before_ns.wrapping_add(since_before_ns);
    let held = cursor.0;
    slot.delays.skip(&mut cursor);
    slot.delays.bytes = &held[..held.len() - cursor.0.len()];
    let length = bytes.len() - begin - cursor.0.len();
    (begin + length + if length < LONG.into() { 1 } else { 3 }, slot)
}

/// The window whose encoding ends at `end`, and which begins at `start_ns`: where its encoding begins, how long before it the
/// one before it began, and itself.
pub(super) fn before(
    bytes: &[u8],
    end: usize,
    start_ns: i64,
    length_ns: i64,
) -> (usize, i64, Slot<Packed<'_>>) {
    let (length, tail) = match bytes[..end] {
        [.., low, high, LONG] => (u16::from_le_bytes([low, high]).into(), 3),
        [.., short] => (usize::from(short), 1),
        [] => (0, 0),
    };
    let body_end = end - tail;
    let begin = body_end.saturating_sub(length);
    let mut cursor = Cursor(&bytes[begin..body_end]);
    let (since_before_ns, mut slot) = counted(&mut cursor, length_ns);
    slot.start_ns = start_ns;
    slot.delays.bytes = cursor.0;
    (begin, since_before_ns, slot)
}

/// All but its begin and its delays, and how long before it the one before it began.
fn counted<'a>(cursor: &mut Cursor<'a>, length_ns: i64) -> (i64, Slot<Packed<'a>>) {
    let shape = cursor.take(2).map_or(0, |bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
    let since_before_ns = number(cursor) as i64;
    let duration_ns = if shape & LENGTH == 0 { length_ns } else { number(cursor) as i64 };
    let counts: Counts =
        std::array::from_fn(|bit| if shape & (1 << bit) == 0 { 0 } else { number(cursor) as u32 });
    let [reply, new_reply, suspect, new_lost, failed @ ..] = counts;
    let delays = Packed { bytes: &[], shape, reply };
    (since_before_ns, Slot { start_ns: 0, duration_ns, reply, failed, suspect, new_reply, new_lost, delays })
}

fn counts(slot: &Slot) -> Counts {
    let mut counts = [slot.reply, slot.new_reply, slot.suspect, slot.new_lost, 0, 0, 0, 0, 0, 0];
    counts[4..].copy_from_slice(&slot.failed);
    counts
}

/// All that it holds is in one bucket, as many as replies came; or it holds nothing.
fn is_same(sketch: &Sketch, reply: u32) -> bool {
    match sketch.entries() {
        [] => true,
        &[(_, count)] => count == reply,
        _ => false,
    }
}

fn put_spread(out: &mut Vec<u8>, sketch: &Sketch) {
    varint::put(out, sketch.entries().len() as u64);
    let mut before = 0;
    for &(bucket, count) in sketch.entries() {
        varint::put(out, u64::from(bucket - before));
        varint::put(out, count.into());
        before = bucket;
    }
}

fn add_spread(cursor: &mut Cursor<'_>, sum: &mut Sketch) {
    let mut bucket = 0_u16;
    for _ in 0..number(cursor) {
        bucket = bucket.saturating_add(number(cursor) as u16);
        sum.add(bucket, number(cursor) as u32);
    }
}

/// The next number. The bytes are our own, so that there is one.
#[inline]
fn number(cursor: &mut Cursor<'_>) -> u64 {
    let number = cursor.number();
    debug_assert!(number.is_ok(), "a window ends too early");
    number.unwrap_or_default()
}
