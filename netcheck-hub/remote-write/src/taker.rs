//! Takes the hub's samples every so often and puts them into the queue. Cancelling the task leaves what is in the queue.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use netcheck_outbound::Entry;
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::cutter::{Cutter, Labels};
use crate::queue::Queue;
use crate::sample::Source;

/// What taker and sender share.
#[derive(Debug)]
pub(crate) struct Shared {
    queue: Mutex<Queue>,
    pub(crate) entry: Entry,
    /// There is something to be sent.
    pub(crate) pushed: Notify,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows what waits and what was given up.
    pub(crate) fn show(&self, queue: &mut Queue) {
        let (lost, notes) = (queue.take_lost(), queue.take_notes());
        let known = self.entry.standing().notes;
        for note in notes.iter().filter(|note| !known.contains(note)) {
            tracing::warn!("remote write: {note}");
        }
        if lost > 0 {
            tracing::warn!("remote write: {lost} samples were given up");
        }
        self.entry.update(|standing| {
            standing.dropped += lost;
            standing.pending = queue.samples();
            standing.queue_bytes = queue.bytes();
            for note in notes {
                standing.note(note);
            }
        });
    }
}

/// Takes samples.
pub struct TakerTask {
    source: Arc<dyn Source>,
    cutter: Cutter,
    pub(crate) shared: Arc<Shared>,
    every: Duration,
}

impl TakerTask {
    /// `extra`: labels of every series that does not have them itself.
    #[must_use]
    pub fn new(source: Arc<dyn Source>, extra: Labels, queue: Queue, every: Duration, entry: Entry) -> Self {
        let cutter = Cutter::new(extra, queue.newest_ms());
        let shared = Shared { queue: Mutex::new(queue), entry, pushed: Notify::new() };
        shared.show(&mut shared.lock());
        Self { source, cutter, shared: Arc::new(shared), every }
    }

    /// Takes until cancelled.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
            let taken = tokio::task::spawn_blocking(move || {
                self.take(now_ms);
                self
            });
            match taken.await {
                Ok(task) => self = task,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
    }

    /// Takes the samples of this instant (unix milliseconds). May wait for the disk.
    pub fn take(&mut self, now_ms: i64) {
        match self.cutter.cut(&self.source.families(), now_ms) {
            Ok(blocks) => {
                let mut queue = self.shared.lock();
                queue.push(blocks);
                self.shared.show(&mut queue);
            }
            Err(samples) => {
                tracing::warn!(
                    "remote write: the clock is behind the newest samples, {samples} are left out"
                );
                self.shared.entry.update(|standing| {
                    standing.dropped += samples;
                    standing.note(
                        "the clock is or was behind the newest samples: nothing older is sent".to_owned(),
                    );
                });
            }
        }
        self.shared.pushed.notify_one();
    }
}
