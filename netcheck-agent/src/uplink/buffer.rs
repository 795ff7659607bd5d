//! Batches that the hub has not acknowledged yet. Bounded: what does not fit pushes out the oldest, and is counted.
//!
//! [`Buffer`] is pure; [`outbox`] shares it between the task that fills it and the session that empties it.

pub(crate) mod outbox;

use std::collections::VecDeque;

use netcheck_proto::v1;
use prost::Message as _;

/// How a batch in memory compares to its encoded length: columns are 4-byte numbers where the wire has mostly one.
const MEMORY_FACTOR: usize = 4;

/// What a buffer may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// In memory, roughly.
    pub(crate) bytes: usize,
    pub(crate) batches: usize,
}

impl Default for Limits {
    /// About an hour of a small cluster's one-second windows.
    fn default() -> Self {
        Self { bytes: 16 << 20, batches: 4096 }
    }
}

#[derive(Debug)]
struct Buffered {
    batch: v1::SampleBatch,
    cost: usize,
    samples: u64,
}

/// Pushed out after it was handed to a session that has not acknowledged it: perhaps the hub has it.
#[derive(Clone, Copy, Debug)]
struct Doubtful {
    sequence: u64,
    samples: u64,
    /// Earlier losses that it reported.
    reported: Losses,
}

/// Losses, reported or to be reported.
#[derive(Clone, Copy, Debug, Default)]
struct Losses {
    batches: u64,
    samples: u64,
}

impl Losses {
    const fn add(&mut self, batches: u64, samples: u64) {
        self.batches += batches;
        self.samples += samples;
    }
}

/// How full it is, and what was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BufferStatus {
    pub(crate) batches: u64,
    pub(crate) bytes: u64,
    pub(crate) dropped_batches: u64,
    pub(crate) dropped_samples: u64,
}

/// The buffer. Sequences start at 1.
#[derive(Debug)]
pub(crate) struct Buffer {
    limits: Limits,
    held: VecDeque<Buffered>,
    bytes: usize,
    last_sequence: u64,
    /// Of this session: sequences up to here have been handed out.
    handed_out: u64,
    /// Of any session.
    ever_handed_out: u64,
    doubtful: Vec<Doubtful>,
    /// Lost for good, and not reported to the hub yet.
    unreported: Losses,
    dropped: Losses,
}

impl Buffer {
    pub(crate) const fn new(limits: Limits) -> Self {
        Self {
            limits,
            held: VecDeque::new(),
            bytes: 0,
            last_sequence: 0,
            handed_out: 0,
            ever_handed_out: 0,
            doubtful: Vec::new(),
            unreported: Losses { batches: 0, samples: 0 },
            dropped: Losses { batches: 0, samples: 0 },
        }
    }

    /// Takes a batch in, and gives it its sequence.
    pub(crate) fn push(&mut self, mut batch: v1::SampleBatch) {
        self.last_sequence += 1;
        batch.sequence = self.last_sequence;
        let cost = batch.encoded_len() * MEMORY_FACTOR + size_of::<Buffered>();
        let samples = samples(&batch);
        self.bytes += cost;
        self.held.push_back(Buffered { batch, cost, samples });
        while self.bytes > self.limits.bytes || self.held.len() > self.limits.batches {
            let Some(oldest) = self.held.pop_front() else { break };
            self.bytes -= oldest.cost;
            self.dropped.add(1, oldest.samples);
            let sequence = oldest.batch.sequence;
            let reported =
                Losses { batches: oldest.batch.dropped_batches, samples: oldest.batch.dropped_samples };
            let doubtful = Doubtful { sequence, samples: oldest.samples, reported };
            if sequence <= self.handed_out {
                self.doubtful.push(doubtful);
            } else {
                self.lost_for_good(doubtful);
            }
        }
    }

    /// A session begins; the hub has applied everything up to `applied`. What is left will be handed out again.
    pub(crate) fn resume(&mut self, applied: u64) {
        self.acked(applied);
        for doubtful in std::mem::take(&mut self.doubtful) {
            self.lost_for_good(doubtful);
        }
        self.handed_out = 0;
    }

    /// The hub has applied everything up to `sequence`.
    pub(crate) fn acked(&mut self, sequence: u64) {
        while self.held.front().is_some_and(|held| held.batch.sequence <= sequence) {
            let Some(held) = self.held.pop_front() else { break };
            self.bytes -= held.cost;
        }
        for arrived in self.doubtful.extract_if(.., |doubtful| doubtful.sequence <= sequence) {
            self.dropped.batches -= 1;
            self.dropped.samples -= arrived.samples;
        }
    }

    /// The next batch to send in this session. What had to be dropped rides on the first batch that no hub can have
    /// seen yet, and only on that: reported once, however often it is sent.
    pub(crate) fn next(&mut self) -> Option<v1::SampleBatch> {
        let first = self.held.front()?.batch.sequence;
        let index = (self.handed_out + 1).saturating_sub(first) as usize;
        let held = self.held.get_mut(index)?;
        self.handed_out = held.batch.sequence;
        if self.handed_out > self.ever_handed_out {
            self.ever_handed_out = self.handed_out;
            let unreported = std::mem::take(&mut self.unreported);
            held.batch.dropped_batches = unreported.batches;
            held.batch.dropped_samples = unreported.samples;
        }
        Some(held.batch.clone())
    }

    /// Whether [`Buffer::next`] has one.
    pub(crate) fn has_next(&self) -> bool {
        self.held.back().is_some_and(|held| held.batch.sequence > self.handed_out)
    }

    /// Whether everything was acknowledged.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    pub(crate) fn status(&self) -> BufferStatus {
        BufferStatus {
            batches: self.held.len() as u64,
            bytes: self.bytes as u64,
            dropped_batches: self.dropped.batches,
            dropped_samples: self.dropped.samples,
        }
    }

    /// With it goes what it would have reported of earlier losses: that is still to be reported.
    const fn lost_for_good(&mut self, lost: Doubtful) {
        self.unreported.add(1 + lost.reported.batches, lost.samples + lost.reported.samples);
    }
}

/// Probes that a batch reports.
fn samples(batch: &v1::SampleBatch) -> u64 {
    let of = |window: &v1::WindowBatch| {
        let judged: u64 = window.sent.iter().map(|&sent| u64::from(sent)).sum();
        judged + window.suspect.iter().map(|suspect| u64::from(suspect.count)).sum::<u64>()
    };
    batch.windows.iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn batch(samples: u32) -> v1::SampleBatch {
        let window = v1::WindowBatch { path_delta: vec![1], sent: vec![samples], ..Default::default() };
        v1::SampleBatch { windows: vec![window], ..Default::default() }
    }

    fn buffer(batches: usize) -> Buffer {
        Buffer::new(Limits { bytes: usize::MAX, batches })
    }

    fn sequences(buffer: &mut Buffer) -> Vec<u64> {
        std::iter::from_fn(|| buffer.next()).map(|batch| batch.sequence).collect()
    }

    #[test]
    fn at_least_once_until_acknowledged() {
        let mut buffer = buffer(10);
        (0..4).for_each(|_| buffer.push(batch(1)));
        assert_eq!(sequences(&mut buffer), [1, 2, 3, 4]);
        assert!(!buffer.has_next());
        buffer.acked(2);
        buffer.resume(3);
        assert!(buffer.has_next());
        assert_eq!(sequences(&mut buffer), [4]);
        buffer.push(batch(1));
        assert_eq!(sequences(&mut buffer), [5]);
        buffer.resume(0);
        assert_eq!(sequences(&mut buffer), [4, 5], "a hub that forgot gets all that is left");
        buffer.acked(u64::MAX);
        assert!(buffer.is_empty());
        assert_eq!(buffer.status(), BufferStatus::default());
    }

    #[test]
    fn what_is_pushed_out_is_reported_once() {
        let mut buffer = buffer(2);
        (1..=5).for_each(|samples| buffer.push(batch(samples)));
        let first = buffer.next().unwrap();
        assert_eq!((first.sequence, first.dropped_batches, first.dropped_samples), (4, 3, 6));
        assert_eq!(buffer.next().unwrap().dropped_batches, 0);
        buffer.resume(0);
        let again = buffer.next().unwrap();
        assert_eq!((again.sequence, again.dropped_batches), (4, 3), "the same batch says the same again");
        buffer.push(batch(6));
        assert_eq!(buffer.next().unwrap().sequence, 5);
        assert_eq!(buffer.next().unwrap().dropped_batches, 0, "perhaps the hub has number 4");
        buffer.resume(3);
        buffer.push(batch(7));
        assert_eq!(buffer.next().unwrap().sequence, 6);
        let next = buffer.next().unwrap();
        let lost = 1 + 3 + 1;
        assert_eq!((next.sequence, next.dropped_batches, next.dropped_samples), (7, lost, 4 + 6 + 5));
        assert_eq!(buffer.status().dropped_batches, 5);
    }

    #[test]
    fn a_batch_that_was_applied_is_not_lost_even_if_pushed_out() {
        let mut buffer = buffer(1);
        buffer.push(batch(7));
        buffer.next().unwrap();
        buffer.push(batch(1));
        assert_eq!(buffer.status().dropped_samples, 7);
        buffer.resume(1);
        assert_eq!(buffer.status().dropped_samples, 0);
        assert_eq!(buffer.next().unwrap().dropped_batches, 0);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut buffer = Buffer::new(Limits { bytes: 2000, batches: usize::MAX });
        (0..1000).for_each(|_| buffer.push(batch(1)));
        let status = buffer.status();
        assert!(
            status.bytes <= 2000 && status.batches > 1 && status.dropped_batches + status.batches == 1000
        );
    }

    /// A hub that applies each sequence once.
    #[derive(Default)]
    struct Hub {
        applied: u64,
        samples: u64,
        reported: u64,
    }

    impl Hub {
        fn take(&mut self, buffer: &mut Buffer) {
            if let Some(batch) = buffer.next()
                && batch.sequence > self.applied
            {
                self.applied = batch.sequence;
                self.samples += samples(&batch);
                self.reported += batch.dropped_samples;
            }
        }
    }

    proptest! {
        /// However sessions come and go: what the hub applied and what was reported to it as lost is all that there was.
        #[test]
        fn every_sample_is_applied_or_reported_as_lost(
            steps in prop::collection::vec((0u8..6, 1u32..9), 1..200), limit in 1usize..6,
        ) {
            let mut buffer = buffer(limit);
            let mut hub = Hub::default();
            let mut made = 0;
            for (step, count) in steps {
                match step {
                    0 | 1 => {
                        made += u64::from(count);
                        buffer.push(batch(count));
                    }
                    2 | 3 => hub.take(&mut buffer),
                    4 => buffer.acked(hub.applied),
                    _ => {
                        // What was on its way when the session broke is lost.
                        buffer.next();
                        buffer.resume(hub.applied);
                    }
                }
            }
            buffer.resume(hub.applied);
            buffer.push(batch(1));
            while buffer.has_next() {
                hub.take(&mut buffer);
            }
            prop_assert_eq!(hub.samples + hub.reported, made + 1);
            prop_assert_eq!(buffer.status().dropped_samples, hub.reported);
        }
    }
}
