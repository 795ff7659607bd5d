//! Probes that have a flow of their own.

use super::*;

fn new_flow(key: ProbeKey) -> Probe {
    Probe { purpose: Purpose::NewFlow, slot: 9, ..probe(key) }
}

#[test]
fn new_flows_are_counted_apart_and_asked_again_while_old_ones_are_answered() {
    let mut merge = merge();
    for (probe, answered) in [
        (probe(key(1, 1)), true),
        (new_flow(key(1, 2)), true),
        (probe(key(2, 1)), true),
        (new_flow(key(2, 2)), false),
        (probe(key(3, 1)), false),
        (new_flow(key(3, 2)), false),
    ] {
        merge.sent(probe, 0);
        if answered {
            merge.echo(target(), &header(probe.key), prompt(MS));
        }
    }
    merge.settle(TIMEOUT, |_| None, |_| {});
    assert_eq!(merge.new_flows.take_again(), [PathId(2)], "of path 3 nothing passes");
    for sequence in 3..6 {
        merge.sent(new_flow(key(2, sequence)), TIMEOUT);
    }
    let report = finish(&mut merge, 2 * TIMEOUT);
    let counts: Vec<_> = report.windows.iter().flat_map(|window| &window.paths).collect();
    let counts: Vec<_> =
        counts.iter().map(|of| (of.path.0, of.reply, of.sent(), of.new_reply, of.new_lost)).collect();
    assert_eq!(counts, [(1, 1, 1, 1, 0), (2, 1, 1, 0, 1), (3, 0, 1, 0, 1), (2, 0, 0, 0, 3)]);
    let lost: Vec<_> = report.lost.iter().map(|lost| (lost.probe, lost.new_flows_lost)).collect();
    let expected =
        [(key(2, 2), 1), (key(3, 1), 0), (key(3, 2), 1), (key(2, 3), 2), (key(2, 4), 3), (key(2, 5), 4)];
    assert_eq!(lost, expected);
    assert_eq!((merge.counters.new_flows, merge.counters.new_flows_lost), (6, 5));
    assert_eq!(merge.counters.total(Outcome::Reply) + merge.counters.total(Outcome::Timeout), 3);
    assert!(merge.new_flows.take_again().is_empty());
}

#[test]
fn a_starved_agent_says_nothing_of_new_flows() {
    let mut merge = merge();
    merge.sent(new_flow(key(1, 1)), 0);
    merge.settle(TIMEOUT, |_| Some(StarvationReason::Stolen), |_| {});
    let report = merge.take_report(2 * TIMEOUT, true);
    assert!(report.lost.is_empty() && merge.new_flows.take_again().is_empty());
    assert_eq!(merge.in_flight(), 0);
}
