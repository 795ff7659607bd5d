//! Sessions, plans and batches.

use std::collections::BTreeSet;
use std::path::Path;

use netcheck_common::domain::{Outcome, ProbeKind};
use netcheck_hub::clock::unix_now_ns;
use netcheck_hub::inventory;
use netcheck_proto::v1;
use netcheck_proto::v1::agent_service_client::AgentServiceClient;
use netcheck_proto::v1::session_request::Message as FromAgent;
use tokio_stream::wrappers::ReceiverStream;

use crate::rig::{CLUSTER, FakeAgent, Rig, hello, is, set_roster};

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
    // The buffer dropped batches 2 to 6: legal, and told.
    let gap = v1::SampleBatch { dropped_batches: 5, dropped_samples: 50, ..Default::default() };
    assert_eq!(agent.batch_as(7, gap).await, 7);
    assert_eq!(agent.batch_as(3, batch.clone()).await, 7, "older than what was applied");
    let cells = rig.cells("n1", "n2", is(v1::Verdict::Reachable)).await;
    assert!(cells.iter().all(|cell| cell.stats.unwrap().sent == 3));
    let nodes = rig.reader().await.list_nodes(v1::ListNodesRequest {}).await.unwrap().into_inner().nodes;
    let told = nodes[0].agent.clone().unwrap();
    assert_eq!((told.duplicate_batches, told.dropped_samples), (2, 50));

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
async fn a_second_session_of_a_node_ends_the_first() {
    let rig = Rig::start();
    let mut old = rig.agent("n1").await;
    let mut new = rig.agent("n1").await;
    assert_eq!(old.ended().await.code(), tonic::Code::Aborted);
    let batch = new.windows(3, |_| Outcome::Reply);
    assert_eq!(new.batch(batch).await, 1);
    assert_eq!(rig.hub.lock().counters.sessions_superseded, 1);
    rig.cells("n1", "n2", is(v1::Verdict::Reachable)).await;
}

#[tokio::test]
async fn of_two_living_agents_of_one_name_the_first_stays_and_the_other_is_told_who_has_it() {
    let rig = Rig::start();
    let (first, other) = (hello("n1", "boot-first"), hello("n1", "boot-other"));
    let mut holder = FakeAgent::start(rig.tcp_channel().await, first.clone()).await;
    for hello in [&other, &first] {
        let newer = FakeAgent::start(rig.tcp_channel().await, hello.clone()).await;
        assert_eq!(holder.ended().await.code(), tonic::Code::Aborted);
        holder = newer;
    }
    let mut refused = FakeAgent::greet(rig.tcp_channel().await, other.clone()).await;
    let status = refused.ended().await;
    assert_eq!(status.code(), tonic::Code::AlreadyExists);
    let peer = rig.hub.lock().agents[0].live.as_ref().unwrap().peer.unwrap().to_string();
    assert!(status.message().contains(&format!("the agent at {peer} has this name since ")), "{status}");
    // The session of the one who has it goes on.
    let batch = holder.windows(3, |_| Outcome::Reply);
    assert_eq!(holder.batch(batch).await, 1);
    rig.cells("n1", "n2", is(v1::Verdict::Reachable)).await;

    let mut reader = rig.reader().await;
    let report =
        reader.get_report(v1::GetReportRequest::default()).await.unwrap().into_inner().report.unwrap();
    let told = format!("two agents claim to be n1: the agent at {peer} has it");
    assert!(report.caveats.iter().any(|line| line.starts_with(&told)), "{:?}", report.caveats);
    let nodes = reader.list_nodes(v1::ListNodesRequest {}).await.unwrap().into_inner().nodes;
    assert!(nodes[0].agent.as_ref().unwrap().contested.starts_with(&told));
    let metrics = netcheck_hub::metrics::render(&rig.hub).unwrap();
    assert!(metrics.contains("netcheck_agent_name_contested{node=\"n1\"} 1"), "{metrics}");
    assert!(metrics.contains("netcheck_hub_sessions_contested_total 1"), "{metrics}");

    // When the one who has it goes, the other one may have it.
    drop(holder);
    rig.until("the holder's session ends", |state| state.agents[0].live.is_none()).await;
    FakeAgent::start(rig.tcp_channel().await, other).await;
}

#[tokio::test]
async fn who_does_not_say_hello_properly_is_refused() {
    let rig = Rig::start();
    let fine = hello("n1", "boot-1");
    let refused = [
        FromAgent::Batch(v1::SampleBatch::default()),
        FromAgent::Hello(v1::Hello { node: String::new(), ..fine.clone() }),
        FromAgent::Hello(v1::Hello { node: "n1\n".to_owned(), ..fine.clone() }),
        FromAgent::Hello(v1::Hello { boot_id: String::new(), ..fine.clone() }),
        FromAgent::Hello(v1::Hello { probe_session: 0, ..fine.clone() }),
        FromAgent::Hello(v1::Hello { responder_port: 70_000, ..fine }),
    ];
    for first in refused {
        let (tx, rx) = tokio::sync::mpsc::channel(1);
        tx.send(v1::SessionRequest { message: Some(first.clone()) }).await.unwrap();
        let mut client = AgentServiceClient::new(rig.channel().await);
        let mut answers = client.session(ReceiverStream::new(rx)).await.unwrap().into_inner();
        let status = answers.message().await.expect_err("refused");
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{first:?}");
    }
    assert_eq!(rig.hub.lock().counters.sessions_refused, 6);
}

#[tokio::test]
async fn a_change_of_the_roster_reaches_the_agents_as_a_delta() {
    let rig = Rig::start();
    let mut agent = rig.agent("n1").await;
    let before = agent.plan.clone();
    let batch = agent.windows(5, |_| Outcome::Reply);
    agent.batch(batch).await;
    set_roster(&rig.hub, &CLUSTER.replace("name: web-3, namespace", "name: web-9, namespace"));
    let delta = agent.until_plan(|delta| delta.base_version > 0).await;
    assert_eq!((delta.upsert.len(), delta.remove.len()), (2, 2));
    let kept = |id: &&u32| before.contains_key(*id);
    assert_eq!(agent.plan.keys().filter(kept).count(), before.len() - 2, "ids stay");
    let new = agent.paths("pod/default/web-9", ProbeKind::Icmp);
    assert!(new.iter().all(|id| !before.contains_key(id)), "no id is given twice");
    rig.cells("n1", "pod/default/web-9", is(v1::Verdict::NoData)).await;
    // What left the plan after it had been measured stays visible for a while.
    rig.cells("n1", "n2", is(v1::Verdict::Reachable)).await;

    // A node that goes NotReady is expected to be away, and its silence is no alarm.
    let not_ready = CLUSTER.replacen(
        "status: \"True\", reason: KubeletReady",
        "status: Unknown, reason: NodeStatusUnknown",
        1,
    );
    set_roster(&rig.hub, &not_ready);
    rig.cells("n2", "node/n1", is(v1::Verdict::ExpectedAbsent)).await;
    let nodes = rig.reader().await.list_nodes(v1::ListNodesRequest {}).await.unwrap().into_inner().nodes;
    assert_eq!(nodes[0].expected_absent, "node n1 is NotReady (NodeStatusUnknown)");
}

/// The cells from n1 to n2, which must be one for each kind and family.
async fn six(rig: &Rig, wanted: impl Fn(&v1::MatrixCell) -> bool) -> Vec<v1::MatrixCell> {
    let cells = rig.cells("n1", "n2", wanted).await;
    let paths = cells.iter().map(|cell| cell.path.as_ref().unwrap());
    let distinct: BTreeSet<(i32, i32)> = paths.map(|path| (path.kind, path.family)).collect();
    assert_eq!((cells.len(), distinct.len()), (6, 6), "{cells:?}");
    cells
}

#[tokio::test]
async fn a_node_that_comes_back_takes_its_cells_over() {
    let rig = Rig::start();
    let mut agent = rig.agent("n1").await;
    let before = agent.plan.clone();
    let batch = agent.windows(5, |_| Outcome::Reply);
    agent.batch(batch).await;
    six(&rig, is(v1::Verdict::Reachable)).await;

    let mut objects = inventory::parse(Path::new("test.yaml"), CLUSTER).unwrap();
    objects.nodes.retain(|node| node.metadata.name.as_deref() != Some("n2"));
    rig.hub.set_roster(objects.roster(), unix_now_ns());
    agent.until_plan(|delta| delta.remove.len() == 6).await;
    set_roster(&rig.hub, CLUSTER);
    agent.until_plan(|delta| delta.upsert.len() == 6).await;
    assert_eq!(agent.plan, before, "the same paths have the same ids");
    let cells = six(&rig, is(v1::Verdict::Reachable)).await;
    assert!(cells.iter().all(|cell| cell.stats.unwrap().sent == 5), "what was measured is still theirs");
}

#[tokio::test]
async fn a_path_that_another_one_replaces_is_not_shown_beside_it() {
    let rig = Rig::start();
    let mut agent = rig.agent("n1").await;
    let before = agent.plan.clone();
    let batch = agent.windows(5, |_| Outcome::Reply);
    agent.batch(batch).await;
    six(&rig, is(v1::Verdict::Reachable)).await;

    let moved = v1::Hello { responder_port: 7000, ..hello("n2", "boot-moved") };
    let other = FakeAgent::start(rig.channel().await, moved).await;
    agent.until_plan(|delta| !delta.upsert.is_empty()).await;
    for cell in six(&rig, |_| true).await {
        let path = cell.path.as_ref().unwrap();
        let measured = path.kind() == v1::ProbeKind::Icmp;
        assert_eq!((path.port, cell.stats.unwrap().sent), if measured { (0, 5) } else { (7000, 0) });
    }
    // And back again.
    drop(other);
    let _back = rig.agent("n2").await;
    agent.until_plan(|delta| !delta.upsert.is_empty()).await;
    assert_eq!(agent.plan, before);
    let cells = six(&rig, is(v1::Verdict::Reachable)).await;
    assert!(cells.iter().all(|cell| cell.stats.unwrap().sent == 5), "{cells:?}");
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
