//! Two small sums: how many replies come without stamps, and what the kernel's drop counters grew by. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::counters::Counters;
use crate::model::observation::DropCount;

/// Replies needed to judge by.
const REPLIES_MIN: u64 = 16;

/// Whether the kernel's stamps can be relied on for timing. They can't where another program hides packets from the
/// hooks, or where a path crosses none.
#[derive(Debug, Default)]
pub(crate) struct StampTrust {
    distrusted: bool,
    stamped: u64,
    unstamped: u64,
}

impl StampTrust {
    pub(crate) const fn trusted(&self) -> bool {
        !self.distrusted
    }

    /// Looks at what came since the last judgement: above a quarter unstamped trust is lost, below a twentieth it
    /// is regained.
    pub(crate) const fn update(&mut self, counters: &Counters) {
        let unstamped = counters.unstamped - self.unstamped;
        let all = counters.stamped - self.stamped + unstamped;
        if all < REPLIES_MIN {
            return;
        }
        self.distrusted = if self.distrusted { unstamped * 20 >= all } else { unstamped * 4 > all };
        (self.stamped, self.unstamped) = (counters.stamped, counters.unstamped);
    }
}

/// Turns totals into growth.
#[derive(Debug, Default)]
pub(crate) struct DropTally {
    seen: HashMap<(u32, u32, Arc<str>, Arc<str>), u64>,
}

impl DropTally {
    /// What grew since the last call. A total that shrank began anew.
    pub(crate) fn since_last(&mut self, totals: &[DropCount]) -> Vec<DropCount> {
        let mut seen = HashMap::with_capacity(totals.len());
        let mut grown = Vec::new();
        for total in totals {
            // An interface may get another name, and one that is only named by it has no number.
            let name = if total.ifindex == 0 { Arc::clone(&total.interface) } else { Arc::from("") };
            let key = (total.netns, total.ifindex, name, Arc::clone(&total.reason));
            let before = self.seen.get(&key).copied().unwrap_or(0);
            let packets = total.packets.checked_sub(before).unwrap_or(total.packets);
            seen.insert(key, total.packets);
            if packets > 0 {
                grown.push(DropCount { packets, ..total.clone() });
            }
        }
        self.seen = seen;
        grown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_is_lost_and_regained() {
        let mut trust = StampTrust::default();
        let mut counters = Counters::default();
        let mut after = |trust: &mut StampTrust, stamped, unstamped| {
            counters.stamped += stamped;
            counters.unstamped += unstamped;
            trust.update(&counters);
            trust.trusted()
        };
        assert!(after(&mut trust, 0, 15), "too few to judge");
        assert!(!after(&mut trust, 10, 0));
        assert!(!after(&mut trust, 90, 10));
        assert!(after(&mut trust, 96, 4));
        assert!(after(&mut trust, 75, 25));
        assert!(!after(&mut trust, 74, 26));
    }

    #[test]
    fn totals_become_growth() {
        let count = |ifindex, packets| DropCount {
            netns: 1,
            ifindex,
            interface: "eth0".into(),
            reason: "NO_SOCKET".into(),
            packets,
        };
        let mut tally = DropTally::default();
        assert_eq!(tally.since_last(&[count(1, 5), count(2, 0)]), [count(1, 5)]);
        assert_eq!(tally.since_last(&[count(1, 5), count(2, 2)]), [count(2, 2)]);
        assert_eq!(tally.since_last(&[count(1, 3), count(2, 9)]), [count(1, 3), count(2, 7)]);
        // What interfaces themselves count has their names alone.
        let named = |interface: &str, packets| DropCount { interface: interface.into(), ..count(0, packets) };
        let totals = [named("eth0", 100), named("lo", 5)];
        assert_eq!(tally.since_last(&totals), totals);
        assert!(tally.since_last(&totals).is_empty());
        tally.since_last(&[count(3, 7)]);
        assert_eq!(
            tally.since_last(&[DropCount { interface: "renamed".into(), ..count(3, 8) }])[0].packets,
            1
        );
    }
}
