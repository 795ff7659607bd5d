//! Answers that nobody waits for any more.

use super::*;

#[test]
fn a_handshake_that_is_answered_too_late_is_reported_unless_the_answer_may_have_been_sent_again() {
    for (at_ms, expected) in [(1600, true), (1999, true), (2000, false)] {
        let mut merge = Merge::new(SESSION, TIMEOUT / 2, 1000 * MS, 0);
        merge.sent(Probe { kind: ProbeKind::Tcp, ..probe(key(1, 1)) }, 1000 * MS);
        merge.settle(1000 * MS + TIMEOUT / 2, |_| None, |_| {});
        let Observation::Stamp(mut late) = stamp(key(1, 1), Direction::Reply, at_ms * MS) else {
            unreachable!()
        };
        late.flow.kind = ProbeKind::Tcp;
        merge.observe(Observation::Stamp(late));
        let report = merge.take_report(20_000 * MS, false);
        assert_eq!(report.lost.len(), 1);
        assert_eq!(report.arrivals.iter().any(|seen| seen.late), expected, "{at_ms} ms");
    }
}
