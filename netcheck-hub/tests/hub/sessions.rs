//! Sessions, plans and batches.

use netcheck_common::domain::{Outcome, ProbeKind};
use netcheck_proto::v1;
use netcheck_proto::v1::session_request::Message as FromAgent;

use crate::rig::{FakeAgent, Rig, hello, is};

#[tokio::test]
async fn an_agent_is_welcomed_planned_and_its_samples_are_seen() {
    let rig = Rig::start();
    let mut agent = rig.agent("n1").await;
    assert_eq!(agent.welcome.hub_instance, rig.hub.instance);
    assert_eq!(agent.welcome.applied_sequence, 0);
    assert!(agent.welcome.node_id > 0);
    assert_eq!(agent.paths("node/n2", ProbeKind::Udp).len(), 2, "both families");
    assert!(agent.paths("node/n1", ProbeKind::Icmp).is_empty(), "not itself");
    assert_eq!(agent.paths("pod/default/web-1", ProbeKind::Icmp).len(), 2, "its own pods");
    assert_eq!(agent.paths("service/default/web:80", ProbeKind::Tcp).len(), 1);
    assert_eq!(agent.paths("dns/kube-system/kube-dns", ProbeKind::Dns).len(), 1);
    assert_eq!(agent.paths("dns/kube-system/coredns-x", ProbeKind::Dns).len(), 1);
    assert_eq!(agent.addresses.watched_ports, [53, 80, 6100, 8080]);
    let local = |entry: &&v1::AddressEntry| entry.local;
    assert!(agent.addresses.entries.iter().filter(local).all(|entry| entry.node == "n1"));

    let batch = agent.windows(5, |_| Outcome::Reply);
    assert_eq!(agent.batch(batch).await, 1);
    let cells = rig.cells("n1", "n2", is(v1::Verdict::Reachable)).await;
    assert_eq!(cells.len(), 6);
    let stats = cells[0].stats.unwrap();
    assert_eq!((stats.sent, stats.reply), (5, 5));
    assert_eq!(stats.round_trip.unwrap().samples, 5);
    rig.cells("n2", "n1", is(v1::Verdict::NoData)).await;
}

#[tokio::test]
async fn a_batch_counts_once_however_often_it_comes() {
    let rig = Rig::start();
    let mut agent = rig.agent("n1").await;
    let batch = agent.windows(3, |_| Outcome::Reply);
    assert_eq!(agent.batch_as(1, batch.clone()).await, 1);
    assert_eq!(agent.batch_as(1, batch.clone()).await, 1);
    // The buffer dropped batches 2 to 6: legal, and reported.
    let gap = v1::SampleBatch { dropped_batches: 5, dropped_samples: 50, ..Default::default() };
    assert_eq!(agent.batch_as(7, gap).await, 7);
    assert_eq!(agent.batch_as(3, batch.clone()).await, 7, "older than what was applied");
    let cells = rig.cells("n1", "n2", is(v1::Verdict::Reachable)).await;
    assert!(cells.iter().all(|cell| cell.stats.unwrap().sent == 3));
    let nodes = rig.reader().await.list_nodes(v1::ListNodesRequest {}).await.unwrap().into_inner().nodes;
    let of_agent = nodes[0].agent.clone().unwrap();
    assert_eq!((of_agent.duplicate_batches, of_agent.dropped_samples), (2, 50));

    // The same over a new session of the same boot; a new boot begins anew.
    let mut again = rig.agent("n1").await;
    assert_eq!(again.welcome.applied_sequence, 7);
    assert_eq!(again.batch_as(7, batch).await, 7);
    let mut rebooted = FakeAgent::start(rig.channel().await, hello("n1", "boot-22")).await;
    assert_eq!(rebooted.welcome.applied_sequence, 0);
    assert_eq!(rebooted.batch(v1::SampleBatch::default()).await, 1);
}

#[tokio::test]
async fn after_a_restart_of_the_hub_old_batches_still_fit() {
    let before = Rig::start();
    let agent = before.agent("n1").await;
    let (plan, kept) = (agent.plan.clone(), agent.windows(4, |_| Outcome::Reply));
    drop(before);
    let after = Rig::start();
    let mut agent = after.agent("n1").await;
    assert_eq!(agent.plan, plan, "the same roster gives the same ids");
    assert_eq!(agent.batch_as(9, kept.clone()).await, 9);
    assert_eq!(agent.batch_as(9, kept).await, 9);
    let cells = after.cells("n1", "n3", is(v1::Verdict::Reachable)).await;
    assert!(cells.iter().all(|cell| cell.stats.unwrap().sent == 4));
}

#[tokio::test]
async fn nonsense_costs_counters_only() {
    let rig = Rig::start();
    let mut agent = rig.agent("n1").await;
    let ids: Vec<u32> = agent.plan.keys().copied().collect();
    let short =
        v1::WindowBatch { start_unix_ns: 1, duration_ns: 1, path_delta: vec![ids[0]], ..Default::default() };
    let timeless = v1::WindowBatch { start_unix_ns: -5, ..Default::default() };
    let strangers = v1::LostSample { path_id: 4_000_000_000, outcome: 2, ..Default::default() };
    let replied = v1::LostSample { path_id: ids[0], outcome: 1, ..Default::default() };
    let record = v1::DropRecord {
        flow: Some(v1::FlowTuple { source_address: vec![1, 2, 3], ..Default::default() }),
        ..Default::default()
    };
    let arrival = v1::Arrival { path_id: 7, sequence: u32::MAX, arrived: true, ..v1::Arrival::default() };
    let batch = v1::SampleBatch {
        windows: vec![short, timeless],
        lost: vec![strangers, replied],
        drops: vec![record],
        arrivals: vec![arrival],
        ..Default::default()
    };
    assert_eq!(agent.batch(batch).await, 1, "acknowledged, or it would come again for ever");
    agent.send(FromAgent::EvidenceAnswer(v1::EvidenceAnswer { id: 99, ..Default::default() })).await;
    let fine = agent.windows(3, |_| Outcome::Reply);
    assert_eq!(agent.batch(fine).await, 2);
    rig.cells("n1", "n2", is(v1::Verdict::Reachable)).await;
    let counters = rig.hub.lock().counters.clone();
    assert_eq!((counters.parts_refused, counters.unknown_path, counters.answers_unasked), (3, 1, 1));
}

#[tokio::test]
async fn an_agent_that_goes_away_leaves_no_data() {
    let rig = Rig::start();
    let mut agent = rig.agent("n1").await;
    let batch = agent.windows(3, |_| Outcome::Reply);
    agent.batch(batch).await;
    rig.cells("n1", "n2", is(v1::Verdict::Reachable)).await;
    drop(agent);
    rig.cells("n1", "n2", is(v1::Verdict::NoData)).await;
    let report =
        rig.reader().await.get_report(v1::GetReportRequest::default()).await.unwrap().into_inner().report;
    let caveats = report.unwrap().caveats;
    assert!(caveats.iter().any(|line| line.starts_with("no agent connected on n1, n2, n3")), "{caveats:?}");
}
