//! One receiver's task: looks at what is, sends what is due, keeps what was sent.
//!
//! Cancelling it loses nothing: what was not taken yet is due again after the restart.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use netcheck_outbound::{Answer, Entry, Patience, PostError, Taken};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::notice::Notice;
use crate::sent::SentStore;
use crate::sent_log::{Change, Event, Message, SentLog, Style};

/// How often it looks whether a repetition is due.
const LOOK: Duration = Duration::from_secs(1);
/// The first pause after a failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest one: shorter than an alert is held, so that a receiver that is back hears in time.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Why a receiver did not take something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It is to be tried again.
    #[error("{why}")]
    Later {
        /// Why, for people.
        why: String,
        /// When, where the receiver said so.
        after: Option<Duration>,
    },
    /// It will never be taken.
    #[error("{why}")]
    Never {
        /// Why, for people.
        why: String,
    },
}

/// Who is notified.
pub trait Receiver: Send + Sync + 'static {
    /// What it is, as a label: `alertmanager`.
    const NAME: &'static str;
    /// Messages that it takes at a time.
    const BATCH: usize;

    /// What it wants to be sent.
    fn style(&self) -> Style;

    /// Whether it is sent this incident at all.
    fn wants(&self, _notice: &Notice) -> bool {
        true
    }

    /// Sends it. Called again with the same after [`SendError::Later`], unless something newer is to be sent by then.
    ///
    /// # Errors
    /// See [`SendError`].
    fn send(&self, messages: &[Message]) -> impl Future<Output = Result<(), SendError>> + Send;
}

/// What a request over HTTP came to.
pub(crate) fn deliver(result: Result<Answer, PostError>) -> Result<(), SendError> {
    let answer = result.map_err(|error| SendError::Later { why: error.to_string(), after: None })?;
    match answer.taken(SystemTime::now()) {
        Taken::Yes => Ok(()),
        Taken::Later(after) => Err(SendError::Later { why: answer.line(), after }),
        Taken::Never => Err(SendError::Never { why: answer.line() }),
    }
}

/// Notifies one receiver.
pub struct NotifyTask<R> {
    receiver: R,
    notices: watch::Receiver<Arc<Vec<Notice>>>,
    store: Arc<dyn SentStore>,
    entry: Entry,
    log: SentLog,
    patience: Patience,
    /// Nothing is sent before that.
    not_before: Option<Instant>,
    /// What is to be kept and is not on the disk yet.
    unsaved: Vec<Change>,
}

fn now_ns() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}

impl<R: Receiver> NotifyTask<R> {
    /// Reads what was sent by an earlier run. The newest notices are looked at, never a queue of them.
    pub fn new(
        receiver: R,
        notices: watch::Receiver<Arc<Vec<Notice>>>,
        store: Arc<dyn SentStore>,
        entry: Entry,
    ) -> Self {
        let (kept, notes) = store.load();
        for note in notes {
            tracing::warn!(receiver = R::NAME, "{note}");
            entry.update(|standing| standing.note(note));
        }
        let log = SentLog::new(receiver.style(), kept, now_ns());
        let patience = Patience::new(FIRST_PAUSE, LONGEST_PAUSE);
        Self { receiver, notices, store, entry, log, patience, not_before: None, unsaved: Vec::new() }
    }

    /// Sends until cancelled.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = self.notices.changed() => if changed.is_err() { return },
                _ = looks.tick() => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.turn() => {}
            }
        }
    }

    /// Sends what is due until nothing is, or the receiver does not take it.
    async fn turn(&mut self) {
        loop {
            let notices = self.wanted();
            let changes = self.log.look(&notices, now_ns());
            self.keep(changes).await;
            let due = self.log.due(&notices, now_ns());
            self.show(&due);
            if due.is_empty() || self.not_before.is_some_and(|then| Instant::now() < then) {
                return;
            }
            let batch = &due[..due.len().min(R::BATCH)];
            let batch_size = u64::try_from(batch.len()).unwrap_or(u64::MAX);
            match self.receiver.send(batch).await {
                Ok(()) => self.entry.update(|standing| {
                    standing.sent += batch_size;
                    standing.trouble = None;
                    standing.refusal = None;
                }),
                Err(SendError::Never { why }) => {
                    tracing::warn!(receiver = R::NAME, "refused for good: {why}");
                    self.entry.update(|standing| {
                        standing.refused += batch_size;
                        standing.trouble = None;
                        standing.refusal = Some(why);
                    });
                }
                Err(SendError::Later { why, after }) => {
                    let pause = self.patience.pause(after);
                    self.not_before = Some(Instant::now() + pause);
                    self.fail(why);
                    return;
                }
            }
            self.patience.reset();
            self.not_before = None;
            let changes = self.log.done(batch, now_ns());
            self.keep(changes).await;
        }
    }

    /// The newest notices, as far as they are for this receiver.
    fn wanted(&mut self) -> Arc<Vec<Notice>> {
        let all = Arc::clone(&self.notices.borrow_and_update());
        if all.iter().all(|notice| self.receiver.wants(notice)) {
            return all;
        }
        Arc::new(all.iter().filter(|notice| self.receiver.wants(notice)).cloned().collect())
    }

    fn fail(&self, why: String) {
        let known = self.entry.standing().trouble;
        // Once for each reason: the same failure every few seconds is no news.
        if known.as_ref() != Some(&why) {
            tracing::warn!(receiver = R::NAME, target = self.entry.standing().target, "not taken: {why}");
        }
        self.entry.update(|standing| {
            standing.retries += 1;
            standing.trouble = Some(why);
        });
    }

    fn show(&self, due: &[Message]) {
        let waiting = due.iter().filter(|message| message.event != Event::Repeated).count();
        let dropped = self.log.dropped();
        self.entry.update(|standing| {
            standing.pending = u64::try_from(waiting).unwrap_or(u64::MAX);
            standing.dropped = dropped;
        });
    }

    async fn keep(&mut self, changes: Vec<Change>) {
        self.unsaved.extend(changes);
        if self.unsaved.is_empty() {
            return;
        }
        let (store, changes) = (Arc::clone(&self.store), std::mem::take(&mut self.unsaved));
        let saved = tokio::task::spawn_blocking(move || store.save(&changes)).await;
        let why = match saved {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(receiver = R::NAME, "what was sent can't be kept over a restart: {why}");
        let note = format!("what was sent can't be kept, a restart may send it again: {why}");
        self.entry.update(|standing| standing.note(note));
    }
}
