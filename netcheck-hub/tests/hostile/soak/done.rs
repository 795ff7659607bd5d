//! What is done in a run, and how long it took; as it is printed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use netcheck_simagents::Figures;

use super::trend::{self, Sample};
use super::{ASKS, READERS, SPEED, period};

/// The hub's own counts that tell why somebody was not served.
pub(super) const COUNTED: [&str; 8] = [
    "netcheck_hub_connections_evicted_total",
    "netcheck_hub_connections_refused_total",
    "netcheck_hub_readers_turned_away_total",
    "netcheck_hub_sessions_contested_total",
    "netcheck_hub_sessions_refused_total",
    "netcheck_hub_sessions_silent_total",
    "netcheck_hub_sessions_superseded_total",
    "netcheck_hub_messages_refused_total",
];

pub(super) fn one(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Questions of one kind that were answered, and how long that took.
#[derive(Default)]
pub(super) struct Timed {
    answered: AtomicU64,
    total_us: AtomicU64,
    worst_us: AtomicU64,
}

impl Timed {
    /// Asks, and counts the answer; what is refused counts for nothing here.
    pub(super) async fn of<T, E>(&self, asked: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let begun = Instant::now();
        let answer = asked.await?;
        let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.total_us.fetch_add(took, Ordering::Relaxed);
        self.worst_us.fetch_max(took, Ordering::Relaxed);
        one(&self.answered);
        Ok(answer)
    }
}

impl std::fmt::Display for Timed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mean = of(&self.total_us) as f64 / 1e3 / of(&self.answered).max(1) as f64;
        write!(out, "{} ({mean:.0} ms each, {} at worst)", of(&self.answered), of(&self.worst_us) / 1000)
    }
}

/// What was done, each counted.
#[derive(Default)]
pub(super) struct Done {
    pub(super) reconnects: AtomicU64,
    pub(super) restarts: AtomicU64,
    pub(super) leaves: AtomicU64,
    pub(super) pods: AtomicU64,
    pub(super) matrices: Timed,
    pub(super) reports: Timed,
    pub(super) histories: Timed,
    pub(super) events: Timed,
    pub(super) connections: Timed,
    pub(super) watches: AtomicU64,
    pub(super) scrapes: AtomicU64,
    pub(super) attacks: AtomicU64,
    /// Rounds of readers' questions.
    pub(super) rounds: AtomicU64,
    /// Sessions that broke, as they were last counted.
    pub(super) broken: AtomicU64,
    /// Questions that were not answered.
    pub(super) refused: AtomicU64,
}

pub(super) fn table(samples: &[Sample], done: &Done, figures: &Figures, lasts: Duration) {
    println!(
        "{:>12} {:>9} {:>9} {:>9} {:>9}",
        "simulated h", "least MiB", "most MiB", "least fds", "most fds"
    );
    for bin in trend::bins(samples, 10) {
        let hours = bin.at.as_secs_f64() * f64::from(SPEED) / 3600.0;
        println!(
            "{hours:>12.1} {:>9.0} {:>9.0} {:>9.0} {:>9.0}",
            bin.rss_mib.0, bin.rss_mib.1, bin.descriptors.0, bin.descriptors.1
        );
    }
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "{:.1} simulated hours: {} batches, {} sessions ({} reconnects, {} restarts, {} left and came back, {} broken), \
         {} pods replaced",
        lasts.as_secs_f64() * f64::from(SPEED) / 3600.0,
        figures.batches,
        figures.opened,
        of(&done.reconnects),
        of(&done.restarts),
        of(&done.leaves),
        figures.broken,
        of(&done.pods),
    );
    let planned = f64::from(READERS) * lasts.as_secs_f64() / period(ASKS).as_secs_f64();
    println!(
        "{} of {planned:.0} rounds of questions at the most; connections: {}",
        of(&done.rounds),
        done.connections
    );
    println!(
        "{} matrices, {} reports, {} histories, {} lists of events, {} watches, {} scrapes, {} refused; {} attacks",
        done.matrices,
        done.reports,
        done.histories,
        done.events,
        of(&done.watches),
        of(&done.scrapes),
        of(&done.refused),
        of(&done.attacks),
    );
}
