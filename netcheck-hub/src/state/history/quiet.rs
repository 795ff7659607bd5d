//! What went wrong with history is reported for a while after it went wrong last. Metrics keep the counts. Pure.

use netcheck_analysis::model::clock::nanos;
use netcheck_history::Counts;
use netcheck_outbound::QUIET;

/// What is reported of each count.
const LINES: [&str; 4] = [
    "records of history were dropped: the disk was too slow for its queue",
    "records of history could not be written",
    "windows came too late for history",
    "values of history could not be read",
];

const fn of(counts: &Counts) -> [u64; LINES.len()] {
    [counts.dropped, counts.lost, counts.late, counts.unreadable]
}

/// When each count grew last.
#[derive(Debug, Default)]
pub(super) struct Grown {
    counts: [u64; LINES.len()],
    at_ns: [i64; LINES.len()],
    now_ns: i64,
}

impl Grown {
    /// Looks what grew: about once a second.
    pub(super) fn look(&mut self, counts: &Counts, now_ns: i64) {
        self.now_ns = now_ns;
        for ((before, at_ns), now) in self.counts.iter_mut().zip(&mut self.at_ns).zip(of(counts)) {
            if now != std::mem::replace(before, now) {
                *at_ns = now_ns;
            }
        }
    }

    /// What is to be reported, with all that was counted since the hub began.
    pub(super) fn lines(&self, counts: &Counts) -> Vec<String> {
        let mut lines = Vec::new();
        for (at, (count, what)) in of(counts).into_iter().zip(LINES).enumerate() {
            let lately = self.now_ns.saturating_sub(self.at_ns[at]) <= nanos(QUIET);
            if count > 0 && (lately || count != self.counts[at]) {
                lines.push(format!("{count} {what}"));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use netcheck_analysis::model::clock::SECOND_NS;

    use super::*;

    #[test]
    fn reported_until_it_was_quiet_for_ten_minutes() {
        let start_ns = 1_800_000_000 * SECOND_NS;
        let mut grown = Grown::default();
        let mut counts = Counts::default();
        let mut at = |counts: &Counts, second: i64| {
            grown.look(counts, start_ns + second * SECOND_NS);
            grown.lines(counts)
        };
        assert_eq!(at(&counts, 0), Vec::<String>::new());
        counts.lost = 7;
        let said = ["7 records of history could not be written"];
        assert_eq!(at(&counts, 1), said);
        assert_eq!(at(&counts, 601), said);
        assert_eq!(at(&counts, 602), Vec::<String>::new());
        counts.lost = 8;
        assert_eq!(at(&counts, 700), ["8 records of history could not be written"], "with all before");
        assert_eq!(at(&counts, 1301), Vec::<String>::new());
    }
}
