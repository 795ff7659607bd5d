//! What a change of the roster, or of an agent's responder, does to plans and cells.

use std::collections::BTreeSet;
use std::path::Path;

use netcheck_analysis::cluster::inventory;
use netcheck_analysis::model::clock::unix_now_ns;
use netcheck_common::domain::{Outcome, ProbeKind};
use netcheck_proto::v1;
use netcheck_proto::v1::session_response::Message as ToAgent;

use crate::rig::{CLUSTER, FakeAgent, Rig, hello, is, set_roster};

#[tokio::test]
async fn a_change_of_the_roster_reaches_the_agents_as_a_delta() {
    let (rig, mut agent) = measured().await;
    let before = agent.plan.clone();
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

#[tokio::test]
async fn only_an_agent_that_takes_them_is_sent_changes_of_the_address_table() {
    let rig = Rig::start();
    let older = v1::Hello { takes_table_changes: false, ..hello("n2", "boot-older") };
    let mut agents = [rig.agent("n1").await, FakeAgent::start(rig.channel().await, older).await];
    set_roster(&rig.hub, &CLUSTER.replace("10.244.1.2", "10.244.1.99"));
    let mut tables = Vec::new();
    for agent in &mut agents {
        let delta = agent.until_plan(|delta| delta.base_version > 0 && delta.addresses.is_some()).await;
        tables.push(delta.addresses.unwrap());
    }
    let [change, whole] = &tables[..] else { panic!("{tables:?}") };
    assert!(change.change && !whole.change);
    let new = |table: &v1::AddressTable| {
        table.entries.iter().filter(|entry| entry.address == [10, 244, 1, 99]).count()
    };
    assert_eq!((change.entries.len(), new(change), new(whole)), (1, 1, 1));
    let known = agents.each_mut().map(|agent| {
        agent.addresses.entries.sort_by(|a, b| a.address.cmp(&b.address));
        agent.addresses.entries.iter().map(|entry| entry.address.clone()).collect::<Vec<_>>()
    });
    assert_eq!(known[0], known[1], "both know the same in the end");
    assert_eq!(whole.entries.len(), known[1].len());
}

/// The cells from n1 to n2, which must be one for each kind and family.
async fn six(rig: &Rig, wanted: impl Fn(&v1::MatrixCell) -> bool) -> Vec<v1::MatrixCell> {
    let cells = rig.cells("n1", "n2", wanted).await;
    let paths = cells.iter().map(|cell| cell.path.as_ref().unwrap());
    let distinct: BTreeSet<(i32, i32)> = paths.map(|path| (path.kind, path.family)).collect();
    assert_eq!((cells.len(), distinct.len()), (6, 6), "{cells:?}");
    cells
}

/// A hub to which n1 has reported five replies on every path.
async fn measured() -> (Rig, FakeAgent) {
    let rig = Rig::start();
    let mut agent = rig.agent("n1").await;
    let batch = agent.windows(5, |_| Outcome::Reply);
    agent.batch(batch).await;
    six(&rig, is(v1::Verdict::Reachable)).await;
    (rig, agent)
}

#[tokio::test]
async fn a_node_that_comes_back_takes_its_cells_over() {
    let (rig, mut agent) = measured().await;
    let before = agent.plan.clone();

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
    let (rig, mut agent) = measured().await;
    let before = agent.plan.clone();

    let catalog = || std::sync::Arc::clone(&rig.hub.lock().catalog);
    let unmoved = catalog();
    drop(rig.agent("n2").await);
    assert!(std::sync::Arc::ptr_eq(&unmoved, &catalog()), "where it is taken to be: nothing to plan anew");
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
async fn a_large_plan_comes_in_parts() {
    let rig = Rig::start();
    let mut waiting = rig.agent("n2").await;
    let mut objects = inventory::parse(Path::new("test.yaml"), CLUSTER).unwrap();
    let pattern = objects.pods[0].clone();
    for number in 0..6_000u32 {
        let mut pod = pattern.clone();
        pod.metadata.name = Some(format!("{}-{number}", "long".repeat(40)));
        let [.., high, low] = number.to_be_bytes();
        let address = std::net::Ipv4Addr::from([10, 99, high, low]).to_string();
        let status = pod.status.as_mut().unwrap();
        status.pod_ip = Some(address.clone());
        status.pod_ips = Some(vec![k8s_openapi::api::core::v1::PodIP { ip: address }]);
        objects.pods.push(pod);
    }
    rig.hub.set_roster(objects.roster(), unix_now_ns());
    let change = waiting.until_plan(|delta| delta.base_version > 0).await;
    assert_eq!((change.upsert.len(), change.more), (6_000, false));
    let fresh = rig.agent("n1").await;
    for agent in [&waiting, &fresh] {
        assert!((500_000..=1 << 20).contains(&agent.largest_part), "{}", agent.largest_part);
        assert_eq!(agent.addresses.entries.len(), 6_000 + 13);
        let long = agent.plan.values().filter(|path| path.target.contains("longlong")).count();
        assert_eq!(long, 6_000);
    }
    assert_eq!(waiting.plan_version, rig.hub.lock().agents[1].plan.plan().version);
}

#[tokio::test]
async fn a_node_that_comes_back_is_probed_at_once() {
    let rig = Rig::start();
    let mut n1 = rig.agent("n1").await;
    let mut n2 = rig.agent("n2").await;
    let gone = CLUSTER.replacen("    name: n2\n", "    name: n4\n", 1);
    assert_ne!(gone, CLUSTER);
    set_roster(&rig.hub, &gone);
    n1.until_plan(|delta| !delta.remove.is_empty()).await;
    set_roster(&rig.hub, CLUSTER);
    let expedited = |message: &ToAgent| match message {
        ToAgent::Expedite(expedite) => Some(expedite.path_ids.clone()),
        _ => None,
    };
    // First the node that is new, then the one that is back: in that order, and after the plan that has them.
    n1.until(expedited).await;
    let back = n1.until(expedited).await;
    let on_n2 = |id: &u32| {
        let target = n1.plan[id].target.as_str();
        assert!(matches!(target, "node/n2" | "pod/default/web-2"), "{target}");
    };
    back.iter().for_each(on_n2);
    assert_eq!(back.len(), 8, "three kinds to the node, one to its pod, in two families");
    // And the node itself has all of its paths probed.
    let own = n2.until(expedited).await;
    let own = if own.len() == n2.plan.len() { own } else { n2.until(expedited).await };
    assert_eq!(own.len(), n2.plan.len());
}
