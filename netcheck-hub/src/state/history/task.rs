//! Hands over to history, once a second, what was gathered, and has it written. Cancelling it hands over the rest, and
//! waits for the disk; where that takes too long, what was not written is lost.

use std::sync::Arc;
use std::time::Duration;

use netcheck_analysis::matrix::recorded::Recorded;
use netcheck_analysis::model::clock::unix_now_ns;
use netcheck_history::record::{INACTIVE, Record, UNJUDGED, Verdicts, plain};
use tokio_util::sync::CancellationToken;

use super::Archive;
use super::windows::step_of;
use crate::state::Hub;

/// How often.
const PERIOD: Duration = Duration::from_secs(1);

/// Hands over what happened until cancelled.
pub struct HistoryTask {
    /// Whose history this is.
    pub hub: Arc<Hub>,
}

impl HistoryTask {
    /// Runs until cancelled.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut times = tokio::time::interval(PERIOD);
        times.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = times.tick() => {}
            }
            let hub = Arc::clone(&self.hub);
            on_its_own_thread(move || hub.remember(unix_now_ns())).await;
        }
        let hub = self.hub;
        on_its_own_thread(move || hub.remember_all(unix_now_ns())).await;
    }
}

/// It may take some milliseconds, and the last time waits for the disk.
async fn on_its_own_thread(work: impl FnOnce() + Send + 'static) {
    if let Err(failed) = tokio::task::spawn_blocking(work).await
        && failed.is_panic()
    {
        std::panic::resume_unwind(failed.into_panic());
    }
}

impl Hub {
    /// Gives history what happened since it was last given something.
    pub fn remember(&self, now_ns: i64) {
        self.hand_over(false, now_ns);
    }

    /// The hub ends: gives history all that there is, and waits until it is written.
    pub fn remember_all(&self, now_ns: i64) {
        self.hand_over(true, now_ns);
        if let Some(archive) = &self.archive {
            archive.flush(now_ns);
        }
    }

    fn hand_over(&self, all: bool, now_ns: i64) {
        let Some(archive) = &self.archive else { return };
        if archive.take(archive.writer.take_notes()) {
            self.record_anew(archive);
        }
        self.record_windows(archive, all, now_ns);
        let mut state = self.lock();
        let changes = state.recording.take_changes();
        let limits = std::mem::take(&mut state.recording.limits);
        let missing = state.recording.take_missing(now_ns);
        let drops = state.recording.take_drops(step_of(now_ns), all);
        let (present, absences) = (state.present(), state.absences());
        drop(state);
        for verdicts in changes {
            archive.record(Record::Verdicts(verdicts));
        }
        for limits in limits {
            archive.record(Record::Limits(limits));
        }
        if !missing.is_empty() {
            self.record_missing(archive, missing, now_ns);
        }
        for drops in drops {
            archive.record(drops);
        }
        archive.record_changes(present, now_ns);
        archive.record_absent(absences);
        self.record_remarks(archive, now_ns);
        archive.alive(now_ns);
    }

    /// Paths that are not measured any more since before the hub began: others have their turn, or they are gone.
    fn record_missing(
        &self,
        archive: &Archive,
        missing: Vec<(netcheck_history::path::PathNumber, u8)>,
        at_ns: i64,
    ) {
        let mut changes = Vec::with_capacity(missing.len());
        for (path, before) in missing {
            let source = archive.reader.path(path).ok().flatten().map(|path| path.source);
            let state = self.lock();
            let in_turns = source
                .and_then(|source| state.find(&source))
                .is_some_and(|at| state.agent(at).turns.is_some());
            drop(state);
            // Who waits for his first turn since the start is not judged until then.
            changes.push((path, in_turns.then_some(plain(before) | INACTIVE | UNJUDGED)));
        }
        archive.record(Record::Verdicts(Verdicts { at_ns, changes }));
    }

    /// The store is a new one: paths get new numbers, and all that stands is recorded again.
    fn record_anew(&self, archive: &Archive) {
        self.in_pieces(self.indices(), |state, at| {
            for row in state.agents[at.0].rows.iter_mut() {
                row.recorded = Recorded::default();
            }
        });
        archive.note_fact("began", Some(unix_now_ns().to_be_bytes().to_vec()));
        archive.record_incidents_anew();
        archive.record_absences_anew();
        archive.record_remarks_anew();
    }
}
