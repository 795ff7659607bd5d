//! What became of all deliveries: written by who sends, read by metrics and reports.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What became of what was to be sent to one receiver, since the hub started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// What takes it: `alertmanager`, `webhook`, `kubernetes`, `remote_write`.
    pub receiver: &'static str,
    /// Which one: host and port.
    pub target: String,
    /// What is counted: `notifications`, `samples`.
    pub unit: &'static str,
    /// The receiver said that it has them.
    pub sent: u64,
    /// Attempts that came to nothing and are made again.
    pub retries: u64,
    /// The receiver said that it will never take them.
    pub refused: u64,
    /// Given up before they were sent, for want of room or because they came out of order.
    pub dropped: u64,
    /// Waiting to be sent.
    pub pending: u64,
    /// Bytes of the queue on disk or in memory; 0 where there is none.
    pub queue_bytes: u64,
    /// Why the newest attempt failed; none once one succeeded.
    pub trouble: Option<String>,
    /// Why the receiver refused something lately, until it takes something again.
    pub refusal: Option<String>,
    /// What is amiss with the place where it is kept until it is sent, or was at the start; one line each.
    pub notes: Vec<String>,
    /// When something was given up last.
    pub dropped_at: Option<Instant>,
    /// When something was amiss last.
    pub noted_at: Option<Instant>,
}

/// How long reports show what was given up and of what was amiss, after it happened last. The counts stay.
pub const QUIET: Duration = Duration::from_secs(600);

/// Most lines of one receiver: reports are read by people.
const NOTES: usize = 4;

fn lately(at: Option<Instant>, now: Instant) -> bool {
    at.is_some_and(|at| now.saturating_duration_since(at) <= QUIET)
}

impl Standing {
    /// What a report has to say of it now.
    #[must_use]
    pub fn caveats(&self) -> Vec<String> {
        self.caveats_at(Instant::now())
    }

    /// What a report has to say of it at an instant.
    #[must_use]
    pub fn caveats_at(&self, now: Instant) -> Vec<String> {
        let Self { receiver, target, unit, pending, .. } = self;
        let name = format!("{} {target}", receiver.replace('_', " "));
        let mut lines = Vec::new();
        if let Some(trouble) = &self.trouble {
            lines.push(format!("{name} takes nothing, {pending} {unit} wait: {trouble}"));
        }
        if let Some(refusal) = &self.refusal {
            lines.push(format!("{name} refused {} {unit}, the newest: {refusal}", self.refused));
        }
        if self.dropped > 0 && lately(self.dropped_at, now) {
            lines.push(format!("{} {unit} to {name} were given up since the hub started", self.dropped));
        }
        let notes = self.notes.iter().filter(|_| lately(self.noted_at, now));
        lines.extend(notes.map(|note| format!("{name}: {note}")));
        lines
    }

    /// Adds a note that is not there yet. Those of a time that is over make room.
    pub fn note(&mut self, note: String) {
        let now = Instant::now();
        if !lately(self.noted_at.replace(now), now) {
            self.notes.clear();
        }
        if self.notes.len() < NOTES && !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

/// All receivers. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<Vec<Standing>>>);

impl Board {
    fn lock(&self) -> MutexGuard<'_, Vec<Standing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a receiver.
    #[must_use]
    pub fn enter(&self, receiver: &'static str, target: &str, unit: &'static str) -> Entry {
        let mut all = self.lock();
        all.push(Standing { receiver, target: target.to_owned(), unit, ..Standing::default() });
        Entry { board: self.clone(), at: all.len() - 1 }
    }

    /// All of them as they are now, in the order in which they were added.
    #[must_use]
    pub fn standings(&self) -> Vec<Standing> {
        self.lock().clone()
    }
}

/// One receiver's place on the board, for who sends to it.
#[derive(Clone, Debug)]
pub struct Entry {
    board: Board,
    at: usize,
}

impl Entry {
    /// Changes it. Nothing else may be waited for inside.
    pub fn update(&self, change: impl FnOnce(&mut Standing)) {
        let mut all = self.board.lock();
        let standing = &mut all[self.at];
        let before = standing.dropped;
        change(standing);
        if standing.dropped > before {
            standing.dropped_at = Some(Instant::now());
        }
    }

    /// As it is now.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.board.lock()[self.at].clone()
    }
}
