//! Which of a row's windows and lost probes a reader asks for. Pure.

use std::time::Duration;

use crate::evidence::Lost;
use crate::matrix::flows::Flows;
use crate::matrix::{Row, Windows};
use crate::model::clock::nanos;

/// Which samples a reader asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Windows that end later count.
    pub from_ns: i64,
    /// Only windows that begin at or after `from_ns`: for checks, which want fresh samples.
    pub strict: bool,
    /// The reader's present.
    pub now_ns: i64,
}

impl Range {
    /// The newest `length`.
    #[must_use]
    pub fn newest(length: Duration, now_ns: i64) -> Self {
        Self { from_ns: now_ns.saturating_sub(nanos(length)), strict: false, now_ns }
    }

    /// Its length.
    #[must_use]
    pub fn length(&self) -> Duration {
        crate::model::clock::duration(self.now_ns - self.from_ns)
    }

    /// The windows of a row in it, oldest first.
    #[must_use]
    pub fn slots<'a>(&self, row: &'a Row) -> Windows<'a> {
        if self.strict { row.ring.started_since(self.from_ns) } else { row.ring.since(self.from_ns) }
    }

    /// The lost probes of a row in it, newest first; new flows only where they show that new connections are denied, or
    /// which backends of a service fail.
    pub fn lost<'a>(&self, row: &'a Row) -> impl Iterator<Item = &'a Lost> + Clone + use<'a> {
        // As far back as the oldest window that counts.
        let from_ns = self.slots(row).next().map_or(self.from_ns, |slot| slot.start_ns.min(self.from_ns));
        let newest = row.lost.iter().rev().take_while(move |lost| lost.sent_ns >= from_ns);
        let new_flows =
            row.balanced() || row.lost.back().and_then(|_| Flows::new_denied(row, self.now_ns)).is_some();
        newest.filter(move |lost| !lost.tries_size() && (new_flows || !lost.is_new_flow()))
    }

    /// The lost probes that show what is lost for its source port, newest first: as long as what they show stands.
    pub fn by_port<'a>(&self, row: &'a Row) -> impl Iterator<Item = &'a Lost> + Clone + use<'a> {
        let now_ns = self.now_ns;
        let ports = row.by_port(now_ns);
        row.lost.iter().rev().filter(move |lost| ports.is_some_and(|ports| ports.shown_by(lost, now_ns)))
    }

    /// The lost probes that show what is lost for its size, newest first. They are rarer than others, so it is not
    /// the range that counts but whether what they show still stands.
    pub fn oversize<'a>(&self, row: &'a Row) -> impl Iterator<Item = &'a Lost> + Clone + use<'a> {
        let now_ns = self.now_ns;
        let sizes = row.has_size_loss(now_ns);
        row.lost.iter().rev().filter(move |lost| sizes.is_some_and(|sizes| sizes.shown_by(lost, now_ns)))
    }
}
