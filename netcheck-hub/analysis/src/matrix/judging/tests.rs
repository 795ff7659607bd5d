use std::net::Ipv4Addr;
use std::sync::Arc;

use netcheck_common::domain::{PathId, ProbeKind, Vantage};
use proptest::prelude::*;

use super::*;
use crate::model::clock::SECOND_NS;
use crate::plan::{PlannedPath, Probe, Sources};

/// A row of an ordinary path with these windows.
fn row(slots: Vec<Slot>) -> Row {
    let probe = Probe {
        target: Arc::default(),
        kind: ProbeKind::Icmp,
        address: Ipv4Addr::LOCALHOST.into(),
        port: 0,
        question: None,
        sources: Sources::All,
        exchange: None,
    };
    let path = PlannedPath { id: PathId(1), vantage: Vantage::Host, at: 0, probe };
    let mut row = Row::new(Arc::new(path), 0);
    slots.into_iter().for_each(|slot| row.ring.add(slot));
    row
}

const RULES: Rules =
    Rules { interval_ns: SECOND_NS, timeout_ns: SECOND_NS / 2, window_ns: SECOND_NS, exchange_ns: (0, 0) };

/// One slot per letter, one second each, the last one ending at `now`: `r` a reply, `l` a loss, `s` a suspect, `m`
/// one of each, `.` nothing.
fn slots(text: &str, now_ns: i64) -> Vec<Slot> {
    let first = now_ns - text.len() as i64 * SECOND_NS;
    text.chars()
        .enumerate()
        .filter(|&(_, letter)| letter != '.')
        .map(|(at, letter)| Slot {
            start_ns: first + at as i64 * SECOND_NS,
            duration_ns: SECOND_NS,
            reply: u32::from(matches!(letter, 'r' | 'm')),
            failed: [u32::from(matches!(letter, 'l' | 'm')), 0, 0, 0, 0, 0],
            suspect: u32::from(letter == 's'),
            ..Slot::default()
        })
        .collect()
}

fn verdict(text: &str, fresh_lost: u64, backends: usize, absent: bool) -> Verdict {
    let now_ns = 1_000 * SECOND_NS;
    let slots = slots(text, now_ns);
    let fresh_lost_ns = (fresh_lost > 0).then_some(now_ns);
    let view = View { slots: slots.into_iter(), fresh_lost, fresh_lost_ns, backends, absent };
    judge(view, &RULES, now_ns)
}

#[test]
fn table() {
    use Verdict::{Degraded, ExpectedAbsent, NoData, Reachable, Unreachable};
    let rows: &[(&str, u64, usize, bool, Verdict)] = &[
        ("", 0, 1, false, NoData),
        ("ssss", 0, 1, false, NoData),
        ("rrrrrrrrrr", 0, 1, false, Reachable),
        ("rrrsrrrrrs", 0, 1, false, Reachable),
        ("rrrrrlrrrr", 0, 1, false, Degraded),
        ("rrrrrrrrrl", 0, 1, false, Degraded),
        ("rrrrrrrrll", 0, 1, false, Unreachable),
        // A loss that no window holds yet counts.
        ("rrrrrrrrrr", 1, 1, false, Degraded),
        ("rrrrrrrrrl", 1, 1, false, Unreachable),
        ("rrrrrrrrrr", 2, 1, false, Unreachable),
        // Suspect windows do not break a run.
        ("rrrrrrrlsl", 0, 1, false, Unreachable),
        // A mixed window does.
        ("rrrrrrrlml", 0, 1, false, Degraded),
        // Back: one answered window is enough to be no longer unreachable.
        ("lllllllllr", 0, 1, false, Degraded),
        // All that there is was lost, be it one.
        (".........l", 0, 1, false, Unreachable),
        ("llllllllll", 0, 3, false, Unreachable),
        // One bad backend of three.
        ("rrlrrllrll", 0, 3, false, Degraded),
        ("rrllllllll", 0, 3, false, Unreachable),
        // Silence.
        ("rrrrrr....", 0, 1, false, NoData),
        ("rrrrrrr...", 0, 1, false, Reachable),
        ("llllll....", 0, 1, false, NoData),
        // Meant to be away.
        ("llllllllll", 0, 1, true, ExpectedAbsent),
        ("rrrrrrrrrl", 0, 1, true, ExpectedAbsent),
        ("", 0, 1, true, ExpectedAbsent),
        ("rrrrrrrrrr", 0, 1, true, Reachable),
    ];
    for &(text, fresh, backends, absent, expected) in rows {
        assert_eq!(verdict(text, fresh, backends, absent), expected, "{text:?} +{fresh} of {backends}");
    }
}

proptest! {
    #[test]
    fn silence_is_never_reachable_and_losses_never_hide(text in "[rlsm.]{0,12}") {
        let verdict = verdict(&text, 0, 1, false);
        let judged = text.chars().any(|letter| "rlm".contains(letter));
        if !judged {
            prop_assert_eq!(verdict, Verdict::NoData);
        }
        if text.contains(['l', 'm']) {
            prop_assert_ne!(verdict, Verdict::Reachable);
        }
        if verdict == Verdict::Unreachable {
            prop_assert_eq!(text.trim_end_matches(['s', '.']).chars().last(), Some('l'));
        }
    }

    #[test]
    fn what_is_well_at_a_glance_is_well_when_looked_at(text in "r{0,3}[rlsm.]{0,6}[r.]{0,12}", later in 0i64..6) {
        let end_ns = 1_000 * SECOND_NS;
        let slots = slots(&text, end_ns);
        let now_ns = end_ns + later * SECOND_NS;
        let range = Range { from_ns: now_ns - 10 * SECOND_NS, strict: false, now_ns };
        let row = row(slots.clone());
        let within = slots.into_iter().filter(|slot| slot.end_ns() > range.from_ns).collect::<Vec<_>>();
        let view = View { slots: within.into_iter(), fresh_lost: 0, fresh_lost_ns: None, backends: 1, absent: false };
        let judged = judge(view, &RULES, now_ns);
        prop_assert_eq!(judge_row(&row, &RULES, false, &range), judged);
        // And it is seen at a glance, but in the moment when silence begins to count.
        let moment = judged == Verdict::Reachable && is_well(&row, &RULES, &range);
        let stale = now_ns - row.ring.since(i64::MIN).rev().find(|slot| slot.reply > 0).map_or(0, |slot| slot.end_ns());
        prop_assert!(judged != Verdict::Reachable || moment || stale == RULES.stale_ns());
    }
}
