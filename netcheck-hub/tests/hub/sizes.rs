//! Paths that pass small packets and lose large ones.

use netcheck_analysis::model::clock::unix_now_ns;
use netcheck_common::domain::{Outcome, ProbeKind};
use netcheck_proto::{convert, v1};

use crate::rig::{Rig, is, lost};

const SECOND_NS: u64 = 1_000_000_000;

fn size(path_id: u32, passed_bytes: u32, lost_bytes: u32) -> v1::PathSize {
    v1::PathSize {
        path_id,
        route_bytes: 1500,
        passed_bytes,
        lost_bytes,
        measured_unix_ns: unix_now_ns(),
        interval: Some(convert::duration_from_ns(10 * SECOND_NS)),
        ..Default::default()
    }
}

/// A UDP probe's packet of n1's to this address.
fn flow(destination_address: Vec<u8>) -> v1::FlowTuple {
    let n1: std::net::IpAddr =
        if destination_address.len() == 4 { [10, 0, 0, 1].into() } else { "fd00::1".parse().unwrap() };
    v1::FlowTuple {
        kind: v1::ProbeKind::Udp.into(),
        source_address: convert::address_bytes(n1),
        destination_address,
        source_port: 40_000,
        destination_port: 6100,
    }
}

#[tokio::test]
async fn a_size_that_is_lost_is_a_degraded_path_with_a_place_and_unharmed_figures() {
    let rig = Rig::start();
    let (mut source, mut other) = (rig.agent("n1").await, rig.agent("n2").await);
    let paths = source.paths("node/n2", ProbeKind::Udp);
    let drops = paths.iter().map(|&path_id| v1::DropRecord {
        probe_session: source.hello.probe_session,
        path_id,
        sequence: 6,
        observed_unix_ns: unix_now_ns(),
        interface: "cni0".to_owned(),
        stage: v1::Stage::Routing.into(),
        direction: v1::Direction::Request.into(),
        reason: "PKT_TOO_BIG".to_owned(),
        flow: Some(flow(source.plan[&path_id].address.clone())),
        ..Default::default()
    });
    other.batch(v1::SampleBatch { drops: drops.collect(), ..Default::default() }).await;
    let mut batch = source.windows(4, |_| Outcome::Reply);
    let large = |path, sequence| v1::LostSample { packet_bytes: 1500, ..lost(path, sequence) };
    batch.lost = paths.iter().flat_map(|&path| [large(path, 6), large(path, 8)]).collect();
    batch.sizes = paths.iter().map(|&path| size(path, 1400, 1401)).collect();
    // What makes no sense is refused without the rest.
    batch.sizes.push(size(paths[0], 1500, 1400));
    source.batch(batch).await;

    let udp = |cell: &v1::MatrixCell| cell.path.as_ref().unwrap().kind() == v1::ProbeKind::Udp;
    let located = |cell: &v1::MatrixCell| {
        !udp(cell)
            || (cell.verdict() == v1::Verdict::Degraded
                && cell.loss.as_ref().is_some_and(|l| l.location.is_some()))
    };
    let cells = rig.cells("n1", "node/n2", located).await;
    for cell in &cells {
        let stats = cell.stats.as_ref().unwrap();
        assert!(stats.sent > 0 && stats.sent == stats.reply, "large packets are no samples");
        if udp(cell) {
            let at = cell.loss.as_ref().unwrap().location.as_ref().unwrap();
            assert_eq!(
                (at.node.as_str(), at.reason.as_str(), at.interface.as_str()),
                ("n2", "PKT_TOO_BIG", "cni0")
            );
            assert_eq!(cell.sizes.as_ref().unwrap().largest_passed_bytes, 1400);
        } else {
            assert_eq!((cell.verdict(), &cell.sizes), (v1::Verdict::Reachable, &None), "{cell:?}");
        }
    }
    let report = rig.reader().await.get_report(v1::GetReportRequest::default()).await.unwrap();
    let report = report.into_inner().report.unwrap();
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    let headline = &report.findings[0].headline;
    assert!(headline.starts_with("n1 → n2, UDP: packets above 1400 bytes lost since "), "{headline}");
    assert!(headline.contains("n2, interface cni0, routing: PKT_TOO_BIG (observed, 2 of 2)"), "{headline}");
    assert_eq!(report.findings[0].verdict(), v1::Verdict::Degraded);

    // The largest passes again.
    let mut batch = source.windows(1, |_| Outcome::Reply);
    batch.sizes = paths.iter().map(|&path| size(path, 1500, 0)).collect();
    source.batch(batch).await;
    rig.cells("n1", "node/n2", is(v1::Verdict::Reachable)).await;
}
