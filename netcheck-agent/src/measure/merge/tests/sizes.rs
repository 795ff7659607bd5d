//! Probes that try a size.

use super::*;

fn sized(key: ProbeKey, size_bytes: u16) -> Probe {
    Probe { purpose: Purpose::Size(size_bytes), ..probe(key) }
}

#[test]
fn probes_that_try_a_size_are_no_samples() {
    let mut merge = merge();
    merge.sizes.set(1, 1);
    assert_eq!(merge.sizes.next(PathId(1), 92, 0, || Some(1500)), None, "its time has not come");
    merge.sent(probe(key(1, 1)), 0);
    merge.sent(sized(key(1, 2), 1500), 1);
    merge.sent(sized(key(1, 3), 1400), 2);
    merge.sent(sized(key(1, 4), 1300), 3);
    merge.echo(target(), &header(key(1, 1)), prompt(MS));
    merge.echo(target(), &header(key(1, 3)), prompt(MS));
    let icmp = IcmpSeen { from: "10.0.0.9".parse().unwrap(), kind: 3, code: 4, mtu_bytes: 1200 };
    merge.icmp_error(key(1, 4), target(), Outcome::Unreachable, icmp);
    merge.settle(2 * MS, |_| None, |_| {});
    let early = merge.take_report(1000 * MS, false);
    assert_eq!(early.windows.len(), 1, "no window waits for them");
    let sizes: Vec<_> = early
        .sizes
        .iter()
        .map(|seen| (seen.passed_bytes, seen.router_mtu.map(|router_mtu| router_mtu.0)))
        .collect();
    assert_eq!(sizes, [(1400, None), (1200, Some(1200))]);
    let late = finish(&mut merge, 2000 * MS);
    assert_eq!((early.windows[0].paths[0].reply, early.windows[0].paths[0].sent()), (1, 1));
    let lost: Vec<_> = late.lost.iter().map(|lost| (lost.probe, lost.size_bytes)).collect();
    assert_eq!(lost, [(key(1, 2), 1500)], "what a router reported is not lost");
    assert_eq!((merge.counters.sizes_tried, merge.counters.sizes_lost), (3, 1));
    assert_eq!(merge.counters.total(Outcome::Reply), 1);

    for (sequence, errno) in [(5, Errno::NOBUFS), (6, Errno::MFILE)] {
        merge.sent(sized(key(1, sequence), 1500), 3000 * MS);
        let detail = Detail { errno: Some(errno), ..Detail::default() };
        merge.ended(key(1, sequence), Ending::OwnFault { detail });
    }
    let report = finish(&mut merge, 3001 * MS);
    let lost: Vec<_> = report.lost.iter().map(|lost| lost.probe).collect();
    assert_eq!(lost, [key(1, 5)], "an interface dropped it; the other says nothing of the network");
}
