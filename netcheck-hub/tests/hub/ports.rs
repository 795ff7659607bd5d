//! Paths that lose the packets of some source ports and no others.

use netcheck_analysis::model::clock::unix_now_ns;
use netcheck_common::domain::{Outcome, ProbeKind};
use netcheck_proto::{convert, v1};

use crate::rig::{Rig, lost};

const SECOND_NS: u64 = 1_000_000_000;

fn ports(path_id: u32, lost: &[u32]) -> v1::PathPorts {
    let lost = lost.iter().map(|&port| v1::PortLoss { port, sent: 8, lost: 8 });
    v1::PathPorts {
        path_id,
        ports: 8,
        lost: lost.collect(),
        others_sent: 48,
        others_lost: 0,
        measured_unix_ns: unix_now_ns(),
        interval: Some(convert::duration_from_ns(8 * SECOND_NS)),
        undecided: false,
    }
}

#[tokio::test]
async fn a_path_that_loses_some_source_ports_is_degraded_and_says_which() {
    let rig = Rig::start();
    let mut source = rig.agent("n1").await;
    let paths = source.paths("node/n2", ProbeKind::Udp);
    let mut batch = source.windows(4, |_| Outcome::Reply);
    batch.lost = paths.iter().map(|&path| lost(path, 6)).collect();
    batch.ports = paths.iter().map(|&path| ports(path, &[61_007])).collect();
    // What makes no sense is refused without the rest.
    batch.ports.push(ports(paths[0], &[61_007; 8]));
    source.batch(batch).await;

    let udp = |cell: &v1::MatrixCell| cell.path.as_ref().unwrap().kind() == v1::ProbeKind::Udp;
    let has_ports = |cell: &v1::MatrixCell| !udp(cell) || cell.ports.is_some();
    for cell in &rig.cells("n1", "node/n2", has_ports).await {
        let expected = if udp(cell) { v1::Verdict::Degraded } else { v1::Verdict::Reachable };
        assert_eq!((cell.verdict(), cell.ports.is_some()), (expected, udp(cell)), "{cell:?}");
    }
    let report = rig.reader().await.get_report(v1::GetReportRequest::default()).await.unwrap();
    let report = report.into_inner().report.unwrap();
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    let headline = &report.findings[0].headline;
    assert!(
        headline.starts_with("n1 → n2, UDP: 1 of 8 source ports loses everything, the others nothing since "),
        "{headline}"
    );
    assert!(headline.contains("lost port 61007"), "{headline}");
    let evidence = &report.findings[0].evidence;
    assert!(evidence.contains(&"source port 61007: 8 of 8 packets lost".to_owned()), "{evidence:?}");

    // Every port is answered again; what was lost before is still in the range, but no pattern any more.
    let mut batch = source.windows(1, |_| Outcome::Reply);
    batch.ports = paths.iter().map(|&path| ports(path, &[])).collect();
    source.batch(batch).await;
    let over = |cell: &v1::MatrixCell| cell.ports.is_none();
    rig.cells("n1", "node/n2", over).await;
}

#[tokio::test]
async fn two_losses_in_a_row_are_no_outage_where_some_ports_are_known_to_lose_everything() {
    let rig = Rig::start();
    let mut source = rig.agent("n1").await;
    let paths = source.paths("node/n2", ProbeKind::Udp);
    assert_eq!(paths.len(), 2, "one of each family");
    let lost =
        |path: &v1::PathSpec| if paths.contains(&path.path_id) { Outcome::Timeout } else { Outcome::Reply };
    let mut batch = source.windows(6, |_| Outcome::Reply);
    batch.windows.truncate(4);
    batch.windows.extend(source.windows(2, lost).windows);
    batch.ports = vec![ports(paths[0], &[61_007, 61_008])];
    source.batch(batch).await;
    let judged = |cell: &v1::MatrixCell| {
        let udp = cell.path.as_ref().unwrap().kind() == v1::ProbeKind::Udp;
        !udp || cell.stats.as_ref().is_some_and(|stats| stats.timeout == 2)
    };
    let cells = rig.cells("n1", "node/n2", judged).await;
    let udp = cells.iter().filter(|cell| cell.path.as_ref().unwrap().kind() == v1::ProbeKind::Udp);
    let verdicts: Vec<_> = udp.map(|cell| (cell.ports.is_some(), cell.verdict())).collect();
    for expected in [(true, v1::Verdict::Degraded), (false, v1::Verdict::Unreachable)] {
        assert!(verdicts.contains(&expected), "{verdicts:?}");
    }
}
