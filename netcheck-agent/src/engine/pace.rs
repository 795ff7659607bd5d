//! The loop's ticks, and whether it keeps them. Pure.
//!
//! Times at which probes are due are rounded up to a grid, so that one wake-up serves many of them, for waking with
//! cold caches is what a probe costs most. What can't wait so long (a deadline that is still open means a loss) has a
//! finer grid. Grids are shifted by a hash of the node: agents that share a clock don't all wake at once.

use crate::host::clock::{MILLISECOND_NS, SECOND_NS};

/// Longest tick: what a few probes a second need. It delays no loss, for a path's probes keep their distance and a
/// deadline has the finer grid; a refusal is read a tick later.
const TICK_MAX_NS: u64 = 500 * MILLISECOND_NS;
/// The finer grid.
const URGENT_TICK_NS: u64 = 10 * MILLISECOND_NS;
/// Shortest tick: what thousands of probes a second need, and what keeps bursts small where user space does the
/// timing.
const TICK_MIN_NS: u64 = 5 * MILLISECOND_NS;
/// Probes that one wake-up should serve.
const PROBES_PER_TICK: u64 = 50;
/// Being late by less than this is a scheduler's daily life.
const LATE_NS: u64 = 50 * MILLISECOND_NS;
/// Longest sleep.
const SLEEP_MAX_NS: u64 = SECOND_NS;

/// When there is something to do next.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    /// Probes are due.
    pub(crate) probes_ns: Option<u64>,
    /// Something that should not wait for a whole tick.
    pub(crate) urgent_ns: Option<u64>,
}

/// When the loop wakes, and whether it woke when it should have.
#[derive(Debug)]
pub(crate) struct Pace {
    tick_ns: u64,
    offset_hash: u64,
    late_ns: u64,
    planned_ns: u64,
    /// The turn before was slow.
    slow_turn: bool,
    /// Probes have left since the last tick: their replies will be there at the next one.
    collect: bool,
}

impl Pace {
    pub(crate) const fn new(now_ns: u64, offset_hash: u64, timeout_ns: u64) -> Self {
        let mut pace = Self {
            tick_ns: TICK_MAX_NS,
            offset_hash,
            late_ns: LATE_NS,
            planned_ns: now_ns,
            slow_turn: false,
            collect: false,
        };
        pace.set_timeout(timeout_ns);
        pace
    }

    /// Lateness is suspicious from 50 ms or a tenth of the timeout on, whichever is more.
    pub(crate) const fn set_timeout(&mut self, timeout_ns: u64) {
        let tenth_ns = timeout_ns / 10;
        self.late_ns = if tenth_ns > LATE_NS { tenth_ns } else { LATE_NS };
    }

    /// Sets the tick for a rate of packets per second; `prompt` where user space does the timing.
    pub(crate) fn set_rate(&mut self, rate_pps: u64, prompt: bool) {
        self.tick_ns = if prompt {
            TICK_MIN_NS
        } else {
            (PROBES_PER_TICK * SECOND_NS / rate_pps.max(1)).clamp(TICK_MIN_NS, TICK_MAX_NS)
        };
    }

    /// No tick is longer than the distance of one path's probes: each tick sends one of them.
    pub(crate) fn no_longer_than(&mut self, distance_ns: Option<u64>) {
        let distance_ns = distance_ns.unwrap_or(TICK_MAX_NS);
        self.tick_ns = self.tick_ns.min(distance_ns.max(TICK_MIN_NS));
    }

    /// The loop woke. True: so late that silence until now proves nothing.
    pub(crate) fn woke(&mut self, now_ns: u64) -> bool {
        std::mem::take(&mut self.slow_turn) || self.slow(self.planned_ns, now_ns)
    }

    /// Whether something that should have taken no time took suspiciously long.
    pub(crate) const fn slow(&self, from_ns: u64, to_ns: u64) -> bool {
        to_ns.saturating_sub(from_ns) > self.late_ns
    }

    /// From when on lateness is suspicious.
    pub(crate) const fn late_ns(&self) -> u64 {
        self.late_ns
    }

    /// Probes left in this turn.
    pub(crate) const fn sent(&mut self) {
        self.collect = true;
    }

    /// Until when to sleep: the tick at or after `wanted`, a second at most. With `collecting`, the tick after probes
    /// left is one at which replies are read, even if nothing else is to be done.
    pub(crate) fn sleep_until(&mut self, turn_ns: u64, now_ns: u64, wanted: Wanted, collecting: bool) -> u64 {
        self.slow_turn = self.slow(turn_ns, now_ns);
        let latest_ns = now_ns + SLEEP_MAX_NS;
        let mut until_ns = wanted.probes_ns.unwrap_or(latest_ns).clamp(now_ns, latest_ns);
        if std::mem::take(&mut self.collect) && collecting {
            until_ns = until_ns.min(now_ns + 1);
        }
        let until_ns = self.at_or_after(until_ns, self.tick_ns);
        let urgent_ns = wanted.urgent_ns.map(|urgent_ns| urgent_ns.clamp(now_ns, latest_ns));
        let urgent_ns = urgent_ns.map(|at_ns| self.at_or_after(at_ns, self.tick_ns.min(URGENT_TICK_NS)));
        self.planned_ns = urgent_ns.map_or(until_ns, |urgent_ns| urgent_ns.min(until_ns));
        self.planned_ns
    }

    const fn at_or_after(&self, at_ns: u64, tick_ns: u64) -> u64 {
        let offset_ns = self.offset_hash % tick_ns;
        let into_ns = (at_ns + tick_ns - offset_ns) % tick_ns;
        if into_ns == 0 { at_ns } else { at_ns + tick_ns - into_ns }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = MILLISECOND_NS;

    fn probes(at_ns: u64) -> Wanted {
        Wanted { probes_ns: Some(at_ns), urgent_ns: None }
    }

    proptest! {
        #[test]
        fn sleeps_end_on_the_grid_and_never_early(
            hash: u64, now in SECOND_NS..1 << 60, ahead in 0u64..2 * SECOND_NS, rate in 0u64..100_000,
        ) {
            let mut pace = Pace::new(now, hash, SECOND_NS);
            pace.set_rate(rate, false);
            let until = pace.sleep_until(now, now, probes(now + ahead), false);
            prop_assert!(until >= now + ahead.min(SLEEP_MAX_NS));
            prop_assert!(until < now + ahead + pace.tick_ns);
            let again = pace.sleep_until(until, until + 1, probes(until + 1), false);
            prop_assert_eq!(again, until + pace.tick_ns, "one grid");
            let urgent = Wanted { probes_ns: Some(now + ahead), urgent_ns: Some(now + ahead / 2) };
            let until = pace.sleep_until(now, now, urgent, false);
            prop_assert!((now + ahead / 2..now + ahead / 2 + URGENT_TICK_NS).contains(&until));
        }
    }

    #[test]
    fn ticks_fit_the_rate() {
        let mut pace = Pace::new(0, 0, SECOND_NS);
        for (rate, prompt, tick_ms) in [
            (0, false, 500),
            (100, false, 500),
            (500, false, 100),
            (1000, false, 50),
            (20_000, false, 5),
            (100, true, 5),
        ] {
            pace.set_rate(rate, prompt);
            assert_eq!(pace.tick_ns, tick_ms * MS, "{rate}");
        }
    }

    #[test]
    fn a_tick_is_no_longer_than_what_one_path_needs() {
        let mut pace = Pace::new(0, 0, SECOND_NS);
        for (distance_ms, tick_ms) in [(None, 500), (Some(20), 20), (Some(1), 5), (Some(900), 500)] {
            pace.set_rate(100, false);
            pace.no_longer_than(distance_ms.map(|ms| ms * MS));
            assert_eq!(pace.tick_ns, tick_ms * MS, "{distance_ms:?}");
        }
    }

    #[test]
    fn lateness() {
        let mut pace = Pace::new(0, 0, SECOND_NS);
        let planned = pace.sleep_until(0, 0, probes(500 * MS), false);
        assert!(!pace.woke(planned + 100 * MS), "a tenth of the timeout is tolerated");
        pace.sleep_until(planned, planned, probes(planned), false);
        assert!(pace.woke(planned + 101 * MS));
        pace.set_timeout(100 * MS);
        let now = planned + 200 * MS;
        let planned = pace.sleep_until(now, now + 60 * MS, Wanted::default(), false);
        assert!(pace.woke(planned), "the turn before was slow");
        let planned = pace.sleep_until(planned, planned, Wanted::default(), false);
        assert!(!pace.woke(planned));
    }

    #[test]
    fn replies_are_collected_one_tick_after_sending() {
        let mut pace = Pace::new(0, 0, SECOND_NS);
        pace.sent();
        assert_eq!(pace.sleep_until(MS, MS, Wanted::default(), true), 500 * MS);
        assert_eq!(pace.sleep_until(500 * MS, 500 * MS, Wanted::default(), true), 1500 * MS, "once");
    }
}
