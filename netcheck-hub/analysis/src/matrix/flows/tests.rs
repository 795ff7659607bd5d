use netcheck_common::domain::Outcome;

use super::*;
use crate::model::evidence::LostSample;

/// Since when in milliseconds, how many were lost and how many answered; none where nothing differs.
type Figures = Option<(i64, u64, u64)>;

/// The windows, the lost new flows, what they say, and why.
type Row = (&'static str, &'static [(i64, u32)], Figures, &'static str);

/// A second each, of two letters: what became of the ordinary probe and of the new flow. `r` a reply, `l` a loss, `.`
/// nothing.
fn ring(text: &str) -> Ring {
    let mut ring = Ring::default();
    for (second, pair) in text.split_whitespace().enumerate() {
        let (old, new) = (&pair[..1], &pair[1..]);
        ring.add(Slot {
            start_ns: second as i64 * SECOND_NS,
            duration_ns: SECOND_NS,
            reply: u32::from(old == "r"),
            failed: [u32::from(old == "l"), 0, 0, 0, 0, 0],
            new_reply: u32::from(new == "r"),
            new_lost: u32::from(new == "l"),
            ..Slot::default()
        });
    }
    ring
}

/// Lost new flows: when they were sent in milliseconds, and how many were lost in a row by then. 0: an ordinary probe.
fn lost(all: &[(i64, u32)]) -> VecDeque<Lost> {
    let lost = all.iter().map(|&(sent_ms, new_flows_lost)| {
        let sample = LostSample { new_flows_lost, ..Default::default() };
        Lost::new(sample, Outcome::Timeout, sent_ms * 1_000_000, sent_ms * 1_000_000)
    });
    lost.collect()
}

fn denied(text: &str, all: &[(i64, u32)]) -> Option<Flows> {
    let ring = ring(text);
    let now_ns = ring.newest().map_or(0, |slot| slot.end_ns());
    Flows::new_among(&lost(all), &ring, now_ns, 0)
}

#[test]
fn new_connections_are_denied_once_four_in_a_row_are_lost_and_old_ones_go_on() {
    const BURST: [(i64, u32); 4] = [(2100, 1), (2600, 2), (2600, 3), (2600, 4)];
    let rows: &[Row] = &[
        ("rr rr rl", &BURST, Some((2100, 4, 1)), "as soon as the fourth is lost"),
        ("rr rr", &BURST, Some((2100, 4, 0)), "before the window is closed"),
        ("rr rr rl", &[(2100, 1), (2600, 2), (2600, 3)], None, "chance may be a dead port's"),
        (
            "rr rr rl rl",
            &[(2100, 1), (2600, 2), (2600, 3), (2600, 4), (3100, 5)],
            Some((2100, 5, 2)),
            "while it lasts",
        ),
        ("rr rr rl rr", &BURST, None, "one was answered since"),
        ("rr rr ll", &BURST, None, "nothing passes at all"),
        (
            "rr rr",
            &[(2099, 0), (2100, 1), (2600, 2), (2600, 3), (2600, 4)],
            None,
            "nor by what no window holds yet",
        ),
        (
            "rr rr rl rl rl rl rl ll",
            &[(2100, 1), (2600, 2), (2600, 3), (2600, 4)],
            Some((2100, 4, 5)),
            "one in six",
        ),
        (
            "rr rr rl",
            &[(1500, 1), (2100, 1), (2600, 2), (2600, 3), (2600, 4)],
            Some((2100, 4, 1)),
            "the newest run alone",
        ),
    ];
    for &(text, all, expected, why) in rows {
        let found = denied(text, all).map(|flows| (flows.since_ns / 1_000_000, flows.lost, flows.answered));
        assert_eq!(found, expected, "{why}");
    }
}

#[test]
fn what_the_newest_showed_is_forgotten() {
    let all = lost(&[(100, 4)]);
    let stands = |now_s: i64| Flows::new_among(&all, &Ring::default(), now_s * SECOND_NS, 0).is_some();
    assert!(stands(60) && !stands(61));
}

#[test]
fn old_ones_are_lost_where_new_ones_pass_without_exception() {
    let rows: &[(&str, Figures)] = &[
        ("rr rr lr lr", Some((2, 2, 2))),
        ("rr lr lr lr", Some((1, 3, 3))),
        ("rr rr lr", None),
        ("rr ll lr lr", None),
        ("rr l. l.", None),
        ("rr rr .r .r", None),
        ("rr lr lr rr", None),
    ];
    for &(text, expected) in rows {
        let found = Flows::old_among(&ring(text));
        let found = found.map(|flows| (flows.since_ns / SECOND_NS, flows.lost, flows.answered));
        assert_eq!(found, expected, "{text}");
    }
}
