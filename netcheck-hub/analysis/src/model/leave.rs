//! Responders whose process said good-bye: what is sent to them until they are back is no loss, for it was announced. Pure.
//!
//! In: what agents say of themselves and of their vantages. Out: which paths are expected to be silent, and which losses
//! count for nothing. One that does not come back in time is late, and from then on alarms as any other does.

use std::collections::HashMap;
use std::net::IpAddr;

use netcheck_common::domain::ProbeKind;

use crate::model::clock::{SECOND_NS, time_of_day};

/// How long a restart or an upgrade may take.
pub const LATE_NS: i64 = 60 * SECOND_NS;
/// Clocks of nodes are mapped to the hub's with an error of about a message's delay, and who is back may need a moment.
const MARGIN_NS: i64 = SECOND_NS;
/// Windows with the first replies come a little after the responder: until then nothing is known of its paths.
const SETTLE_NS: i64 = 3 * SECOND_NS;

/// One good-bye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Leave {
    from_ns: i64,
    back_ns: Option<i64>,
}

impl Leave {
    /// Until when probes that are sent there count for nothing.
    fn until_ns(self) -> i64 {
        let late_ns = self.from_ns.saturating_add(LATE_NS);
        self.back_ns.map_or(late_ns, |back_ns| late_ns.min(back_ns.saturating_add(MARGIN_NS)))
    }
}

/// Where responders are that said good-bye: all times are the hub's own.
#[derive(Debug, Default)]
pub struct Leaves {
    by_address: HashMap<(IpAddr, u16), Leave>,
}

impl Leaves {
    /// The responder at this port of these addresses is about to go. Said again, it does not get more time.
    pub fn say(&mut self, addresses: &[IpAddr], port: u16, now_ns: i64) {
        for &address in addresses {
            let fresh = Leave { from_ns: now_ns, back_ns: None };
            let leave = self.by_address.entry((address, port)).or_insert(fresh);
            if leave.back_ns.is_some() {
                *leave = fresh;
            }
        }
    }

    /// Whoever has these addresses is there again.
    pub fn back(&mut self, addresses: &[IpAddr], now_ns: i64) {
        let of = |((address, _), _): &(&(IpAddr, u16), &mut Leave)| addresses.contains(address);
        for (_, leave) in self.by_address.iter_mut().filter(of) {
            leave.back_ns.get_or_insert(now_ns);
        }
    }

    /// Whether a probe of this kind that was sent then found nobody, as had been said.
    #[must_use]
    pub fn excuses(&self, kind: ProbeKind, to: (IpAddr, u16), sent_ns: i64) -> bool {
        self.of(kind, to).is_some_and(|leave| {
            (leave.from_ns.saturating_sub(MARGIN_NS)..=leave.until_ns()).contains(&sent_ns)
        })
    }

    /// Whether some probe of such a window may have found nobody so.
    #[must_use]
    pub fn excuses_window(&self, kind: ProbeKind, to: (IpAddr, u16), (start_ns, end_ns): (i64, i64)) -> bool {
        self.of(kind, to).is_some_and(|leave| {
            end_ns >= leave.from_ns.saturating_sub(MARGIN_NS) && start_ns <= leave.until_ns()
        })
    }

    /// Whether such a path is expected to be silent now.
    #[must_use]
    pub fn is_away(&self, kind: ProbeKind, to: (IpAddr, u16), now_ns: i64) -> bool {
        self.of(kind, to).is_some_and(|leave| leave.is_away(now_ns))
    }

    /// Since when the responder of one of these addresses is away, and until when it is not late: for people.
    #[must_use]
    pub fn line(&self, addresses: &[IpAddr], now_ns: i64) -> Option<String> {
        let of = |(address, _): &(IpAddr, u16)| addresses.contains(address);
        let mut away = self.by_address.iter().filter(|(to, leave)| of(to) && leave.back_ns.is_none());
        let (_, leave) = away.find(|(_, leave)| leave.is_away(now_ns))?;
        Some(format!(
            "restarting since {}: its responder is expected to be silent until {} at the latest",
            time_of_day(leave.from_ns),
            time_of_day(leave.until_ns())
        ))
    }

    /// All of them: where, since when, and since when its responder is back (unix nanoseconds).
    pub fn all(&self) -> impl Iterator<Item = ((IpAddr, u16), i64, Option<i64>)> + '_ {
        self.by_address.iter().map(|(&to, leave)| (to, leave.from_ns, leave.back_ns))
    }

    /// Takes over one that was said before the hub began.
    pub fn restore(&mut self, to: (IpAddr, u16), from_ns: i64, back_ns: Option<i64>) {
        self.by_address.entry(to).or_insert(Leave { from_ns, back_ns });
    }

    /// Forgets what no sample that is kept can speak of.
    pub fn expire(&mut self, oldest_ns: i64) {
        self.by_address.retain(|_, leave| leave.until_ns() >= oldest_ns);
    }

    /// ICMP is answered by the kernel, whoever is away; UDP and TCP by the responder.
    fn of(&self, kind: ProbeKind, to: (IpAddr, u16)) -> Option<Leave> {
        let answered = matches!(kind, ProbeKind::Udp | ProbeKind::Tcp);
        self.by_address.get(&to).copied().filter(|_| answered)
    }
}

impl Leave {
    fn is_away(self, now_ns: i64) -> bool {
        let late_ns = self.from_ns.saturating_add(LATE_NS);
        let until_ns = self.back_ns.map_or(late_ns, |back_ns| late_ns.min(back_ns.saturating_add(SETTLE_NS)));
        (self.from_ns..until_ns).contains(&now_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: i64 = 1_000 * SECOND_NS;

    fn to(host: u8) -> (IpAddr, u16) {
        ([10, 0, 0, host].into(), 6100)
    }

    fn left() -> Leaves {
        let mut leaves = Leaves::default();
        leaves.say(&[to(1).0, to(2).0], 6100, FROM);
        leaves
    }

    /// Seconds since the good-bye at which a probe is excused.
    fn excused(leaves: &Leaves, host: u8) -> Vec<i64> {
        let seconds = [-5, 0, 10, 19, 30, 59, 65, 90];
        let at = |second: &i64| leaves.excuses(ProbeKind::Udp, to(host), FROM + second * SECOND_NS);
        seconds.into_iter().filter(at).collect()
    }

    #[test]
    fn what_was_announced_is_no_loss_until_it_is_late() {
        let leaves = left();
        assert_eq!(excused(&leaves, 1), [0, 10, 19, 30, 59]);
        assert_eq!(excused(&leaves, 2), excused(&leaves, 1));
        assert_eq!(excused(&leaves, 3), Vec::<i64>::new());
        let sent_ns = FROM + SECOND_NS;
        assert!(leaves.excuses(ProbeKind::Tcp, to(1), sent_ns));
        assert!(!leaves.excuses(ProbeKind::Icmp, to(1), sent_ns), "the kernel answers these");
        assert!(!leaves.excuses(ProbeKind::Udp, (to(1).0, 53), sent_ns), "another server of that host");
        assert!(leaves.is_away(ProbeKind::Udp, to(1), FROM + 59 * SECOND_NS));
        assert!(!leaves.is_away(ProbeKind::Udp, to(1), FROM + LATE_NS), "late");
    }

    #[test]
    fn who_is_back_is_measured_again() {
        let mut leaves = left();
        leaves.back(&[to(1).0], FROM + 20 * SECOND_NS);
        leaves.back(&[to(1).0], FROM + 50 * SECOND_NS);
        assert_eq!(excused(&leaves, 1), [0, 10, 19]);
        assert_eq!(excused(&leaves, 2).last(), Some(&59), "it is not the one that came back");
        assert!(
            leaves.is_away(ProbeKind::Udp, to(1), FROM + 22 * SECOND_NS),
            "the first windows are on their way"
        );
        assert!(!leaves.is_away(ProbeKind::Udp, to(1), FROM + 23 * SECOND_NS));
        assert_eq!(leaves.line(&[to(1).0], FROM + 21 * SECOND_NS), None);
        assert!(
            leaves.line(&[to(2).0], FROM + 21 * SECOND_NS).unwrap().contains("restarting since 00:16:40")
        );
    }

    #[test]
    fn a_good_bye_that_is_repeated_gains_no_time_and_one_after_a_return_counts_anew() {
        let mut leaves = left();
        leaves.say(&[to(1).0], 6100, FROM + 30 * SECOND_NS);
        assert_eq!(excused(&leaves, 1).last(), Some(&59));
        leaves.back(&[to(1).0], FROM + 35 * SECOND_NS);
        leaves.say(&[to(1).0], 6100, FROM + 60 * SECOND_NS);
        assert_eq!(excused(&leaves, 1), [59, 65, 90]);
    }

    #[test]
    fn a_window_counts_for_nothing_that_reaches_into_an_absence() {
        let mut leaves = left();
        leaves.back(&[to(1).0], FROM + 20 * SECOND_NS);
        let excused = |from: i64, to_second: i64| {
            let window = (FROM + from * SECOND_NS, FROM + to_second * SECOND_NS);
            leaves.excuses_window(ProbeKind::Tcp, to(1), window)
        };
        assert!(!excused(-9, -2) && !excused(22, 23));
        assert!(excused(-2, 0) && excused(5, 6) && excused(20, 25));
    }

    #[test]
    fn old_ones_are_forgotten() {
        let mut leaves = left();
        leaves.expire(FROM + LATE_NS);
        assert_eq!(leaves.by_address.len(), 2);
        leaves.expire(FROM + LATE_NS + 1);
        assert_eq!(leaves.by_address.len(), 0);
    }
}
