//! Agents whose sessions others pass on.

use netcheck_hub::serve::accept::Limits;
use netcheck_proto::v1;
use netcheck_proto::v1::session_response::Message as ToAgent;

use crate::rig::{CLUSTER, FakeAgent, Rig, hello, set_roster};

fn passing_on(node: &str) -> v1::Hello {
    v1::Hello { relay_port: 6102, ..hello(node, "boot") }
}

async fn relays_sent(agent: &mut FakeAgent, wanted: &[&str]) -> v1::Relays {
    agent
        .until(|message| match message {
            ToAgent::Relays(relays) => {
                let nodes: Vec<&str> = relays.relays.iter().map(|relay| relay.node.as_str()).collect();
                (nodes == wanted).then(|| relays.clone())
            }
            _ => None,
        })
        .await
}

async fn agent_of(rig: &Rig, node: &str) -> v1::NodeAgent {
    let nodes = rig.reader().await.list_nodes(v1::ListNodesRequest {}).await.unwrap().into_inner().nodes;
    nodes.into_iter().find(|found| found.name == node).unwrap().agent.unwrap()
}

#[tokio::test]
async fn agents_are_sent_who_passes_their_session_on_and_when_that_changes() {
    let rig = Rig::start();
    let mut n1 = FakeAgent::start(rig.channel().await, passing_on("n1")).await;
    let mut n2 = FakeAgent::start(rig.channel().await, passing_on("n2")).await;
    let relays = relays_sent(&mut n1, &["n2"]).await.relays;
    assert_eq!((relays[0].port, relays[0].addresses.len()), (6102, 2));
    assert_eq!(relays[0].addresses[0], [10, 0, 0, 2]);
    relays_sent(&mut n2, &["n1"]).await;
    // n3 is in the other zone, and goes first.
    let mut n3 = FakeAgent::start(rig.channel().await, passing_on("n3")).await;
    relays_sent(&mut n1, &["n3", "n2"]).await;
    assert_eq!(count_of_relays_sent(&mut n3).await, 2);
    // One that passes nothing on any more.
    let _n3 = FakeAgent::start(rig.channel().await, hello("n3", "boot-2")).await;
    relays_sent(&mut n1, &["n2"]).await;
    // And one whose node is gone.
    let mut without: serde_json::Value = yaml(CLUSTER);
    let gone = |item: &serde_json::Value| item["kind"] == "Node" && item["metadata"]["name"] == "n2";
    without["items"].as_array_mut().unwrap().retain(|item| !gone(item));
    set_roster(&rig.hub, &without.to_string());
    relays_sent(&mut n1, &[]).await;
}

fn yaml(text: &str) -> serde_json::Value {
    serde_saphyr::from_str(text).unwrap()
}

async fn count_of_relays_sent(agent: &mut FakeAgent) -> usize {
    agent
        .until(|message| match message {
            ToAgent::Relays(relays) => Some(relays.relays.len()),
            _ => None,
        })
        .await
}

#[tokio::test]
async fn it_is_reported_who_came_through_whom_and_where_that_can_not_be() {
    let rig = Rig::start();
    let gate = rig.gate(None, Limits::default()).await;
    let relayed = |by: &str| v1::Hello { relayed_by: by.to_owned(), ..hello("n1", "boot") };
    let _direct = FakeAgent::start(gate.channel().await, hello("n1", "boot")).await;
    assert_eq!(agent_of(&rig, "n1").await.relayed_by, "");
    // It comes from loopback, where n2 is not, as far as anybody knows.
    let _first = FakeAgent::start(gate.channel().await, relayed("n2")).await;
    let seen = agent_of(&rig, "n1").await;
    assert_eq!(seen.relayed_by, "n2");
    assert_eq!(seen.relay_doubt, "it says that n2 passes its session on, but it comes from 127.0.0.1");
    let report = rig.reader().await.get_report(v1::GetReportRequest::default()).await.unwrap().into_inner();
    let caveats = report.report.unwrap().caveats;
    assert!(caveats.iter().any(|line| line.contains(&seen.relay_doubt)), "{caveats:?}");
    // Where n2's own session comes from there, it is n2.
    let _n2 = FakeAgent::start(gate.channel().await, hello("n2", "boot")).await;
    let _second = FakeAgent::start(gate.channel().await, relayed("n2")).await;
    let seen = agent_of(&rig, "n1").await;
    assert_eq!((seen.relayed_by.as_str(), seen.relay_doubt.as_str()), ("n2", ""));
    let _third = FakeAgent::start(gate.channel().await, relayed("n9")).await;
    let doubt = agent_of(&rig, "n1").await.relay_doubt;
    assert_eq!(doubt, "it says that n9 passes its session on, which is no node; it comes from 127.0.0.1");
    let _back = FakeAgent::start(gate.channel().await, hello("n1", "boot")).await;
    let seen = agent_of(&rig, "n1").await;
    assert_eq!((seen.relayed_by, seen.relay_doubt), (String::new(), String::new()));
}
