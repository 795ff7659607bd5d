//! The report in the hub's log: every so often, and when an incident opens or closes.
//!
//! One task. It looks at the incidents with every tick of the hub; a report is made on a thread for such work, and not more
//! often than each `PAUSE`, so that a cluster that falls apart does not fill the log. Cancelled, it stops between two
//! lines.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::state::Hub;
use crate::view::report::log;
use netcheck_analysis::incident::Incident;

/// Between two reports at least.
const PAUSE: Duration = Duration::from_secs(10);

/// Writes reports.
pub struct ReportLogTask {
    /// Of this hub.
    pub hub: Arc<Hub>,
    /// How often where nothing happens; zero: nothing is written, whatever happens.
    pub interval: Duration,
}

/// What was logged last.
#[derive(Default)]
struct Logged {
    revision: u64,
    open: BTreeSet<String>,
}

impl Logged {
    /// Lines of what opened and closed since, in that order.
    fn news(&mut self, hub: &Hub) -> Vec<String> {
        let state = hub.lock();
        let revision = state.incidents.revision();
        if revision == self.revision {
            return Vec::new();
        }
        let seen = std::mem::replace(&mut self.revision, revision);
        let open = state.incidents.open();
        let closed: Vec<Incident> =
            state.incidents.closed().take_while(|incident| incident.revision > seen).cloned().collect();
        drop(state);
        let opened = open.iter().filter(|incident| !self.open.contains(&incident.id));
        let mut lines: Vec<String> = opened.map(log::opened).collect();
        lines.extend(closed.iter().rev().map(log::closed));
        self.open = open.into_iter().map(|incident| incident.id).collect();
        lines
    }
}

impl ReportLogTask {
    /// Runs until it is cancelled.
    pub async fn run(self, shutdown: CancellationToken) {
        if self.interval.is_zero() {
            return shutdown.cancelled().await;
        }
        let mut logged = Logged::default();
        let mut ticks = self.hub.ticks();
        // The first one when there is something to report.
        let mut due = tokio::time::interval_at(Instant::now() + self.interval, self.interval);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut wanted, mut next) = (false, Instant::now());
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = due.tick() => wanted = true,
                ticked = ticks.changed() => if ticked.is_err() { return },
            }
            for line in logged.news(&self.hub) {
                tracing::info!("{line}");
                wanted = true;
            }
            if wanted && Instant::now() >= next {
                (wanted, next) = (false, Instant::now() + PAUSE);
                self.write().await;
            }
        }
    }

    async fn write(&self) {
        let hub = Arc::clone(&self.hub);
        let made = tokio::task::spawn_blocking(move || log::lines(&hub.report(&hub.range(None))));
        let Ok(lines) = made.await else {
            tracing::error!("the report for the log could not be made");
            return;
        };
        for line in lines {
            tracing::info!("{line}");
        }
    }
}
