//! What comes before or after the loss that it belongs to.

use super::*;

#[test]
fn waiting_records_are_found_by_probe_and_by_flow_and_bounded() {
    let mut drops = PendingDrops::default();
    let own = DropRecord {
        probe: Some(ProbeIdentity { session: 9, path: PathId(1), sequence: 7 }),
        ..Default::default()
    };
    drops.add(Arc::new(fact("n2", 0, own)), 0);
    let mut lost = timed_out();
    assert_eq!(drops.of(9, &lost).len(), 1);
    assert!(drops.of(8, &lost).is_empty(), "another agent's");
    lost.flow = Some(flow([10, 0, 0, 1], 4000, [10, 244, 3, 2], 8080));
    let seconds = |second: i64, flow| {
        let record = DropRecord { flow: Some(flow), ..Default::default() };
        Arc::new(fact("n3", second * SECOND_NS, record))
    };
    // The reply, before its translation back; and what is not of this probe: too late, or of another port.
    drops.add(seconds(101, flow([10, 244, 3, 2], 8080, [10, 0, 0, 1], 4000)), 0);
    drops.add(seconds(120, flow([10, 0, 0, 1], 4000, [10, 244, 3, 2], 8080)), 0);
    drops.add(seconds(101, flow([10, 0, 0, 1], 4001, [10, 244, 3, 2], 8080)), 0);
    assert_eq!(drops.of(9, &lost).len(), 2);
    drops.expire(31 * SECOND_NS);
    assert!(drops.is_empty() && drops.of(9, &lost).is_empty());
    for sequence in 0..70_000 {
        let record = DropRecord {
            probe: Some(ProbeIdentity { session: 9, path: PathId(1), sequence }),
            ..Default::default()
        };
        drops.add(Arc::new(fact("n2", 0, record)), 0);
    }
    assert_eq!((drops.len() as u64, drops.evicted), (65_536, 70_000 - 65_536));
    lost.sample.sequence = 69_999;
    lost.flow = None;
    assert_eq!(drops.of(9, &lost).len(), 1);
}

#[test]
fn records_that_come_late_find_the_paths_of_their_flow_whoever_has_its_address() {
    let mut flows = LostFlows::default();
    let (path, other) = ((NodeIx(1), PathId(7)), (NodeIx(2), PathId(7)));
    // A tunnel's address, which no roster knows.
    let client = |port| flow([10, 244, 1, 0], port, [10, 244, 3, 2], 8080);
    flows.add(&client(4000), path, 0);
    flows.add(&client(4001), other, 20 * SECOND_NS);
    let reply = flow([10, 244, 3, 2], 8080, [10, 244, 1, 0], 4000);
    assert_eq!((flows.of(&client(4000)), flows.of(&reply)), (vec![path], vec![path]));
    assert_eq!((flows.of(&client(4001)), flows.of(&client(4002))), (vec![other], vec![]));
    flows.expire(31 * SECOND_NS);
    assert_eq!((flows.of(&client(4000)), flows.of(&client(4001))), (vec![], vec![other]));
    for port in (1..=60_000).chain(1..=10_000) {
        flows.add(&client(port), path, 40 * SECOND_NS);
    }
    assert_eq!(flows.of(&client(4001)), [path], "bounded: the oldest went first");
}
