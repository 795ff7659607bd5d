//! Who an agent is: names, introductions, and what stays of it when it is gone.

use std::path::Path;

use netcheck_analysis::cluster::inventory;
use netcheck_analysis::matrix::range::Range;
use netcheck_analysis::model::clock::{SECOND_NS, unix_now_ns};
use netcheck_analysis::plan::selector::Selector;
use netcheck_common::domain::Outcome;
use netcheck_hub::state::State;
use netcheck_proto::v1;
use netcheck_proto::v1::agent_service_client::AgentServiceClient;
use netcheck_proto::v1::session_request::Message as FromAgent;
use tokio_stream::wrappers::ReceiverStream;

use crate::rig::{CLUSTER, DEADLINE, FakeAgent, Rig, healthy, hello, is};

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
async fn of_two_living_agents_of_one_name_the_first_stays_and_the_other_is_shown_who_has_it() {
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
    let caveat = format!("two agents claim to be n1: the agent at {peer} has it");
    assert!(report.caveats.iter().any(|line| line.starts_with(&caveat)), "{:?}", report.caveats);
    let nodes = reader.list_nodes(v1::ListNodesRequest {}).await.unwrap().into_inner().nodes;
    assert!(nodes[0].agent.as_ref().unwrap().contested.starts_with(&caveat));
    let metrics = netcheck_hub::metrics::render(&rig.hub);
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
async fn what_an_agent_says_of_itself_reaches_readers_as_bounded_lines() {
    let rig = Rig::start();
    let version = format!("\x1b]0;owned\x07{}", "9".repeat(10_000));
    let agent = FakeAgent::start(
        rig.channel().await,
        v1::Hello {
            agent_version: version,
            kernel_release: "6.18\n! fake line".to_owned(),
            ..hello("n1", "boot-1")
        },
    )
    .await;
    let degraded = (0..1000).map(|line| format!("{line}\x1b[2J{}", "x".repeat(1000))).collect();
    agent.send(FromAgent::Status(v1::AgentStatus { degraded, ..healthy() })).await;
    let arrived =
        |state: &State| state.agents[0].status.as_ref().is_some_and(|status| !status.degraded.is_empty());
    rig.until("the status arrives", arrived).await;
    let nodes = rig.hub.nodes();
    let of_agent = nodes[0].agent.as_ref().unwrap();
    assert!(
        of_agent.version.chars().count() < 200 && of_agent.version.ends_with('…'),
        "{}",
        of_agent.version
    );
    assert_eq!(of_agent.kernel_release, "6.18?! fake line");
    let lines = &of_agent.status.as_ref().unwrap().degraded;
    assert!(lines.len() < 50 && lines.last().unwrap().contains("more lines"), "{}", lines.len());
    let caveats = rig.hub.lock().caveats();
    let shown = [&of_agent.version, &of_agent.kernel_release].into_iter().chain(lines).chain(&caveats);
    for line in shown {
        assert!(line.chars().count() < 300 && !line.chars().any(char::is_control), "{line:?}");
    }
}

#[tokio::test]
async fn agents_of_nodes_that_are_gone_are_forgotten_in_time() {
    let rig = Rig::start();
    // Not the same of both, which would be one warning.
    let dropped = |samples| v1::SampleBatch { dropped_samples: samples, ..Default::default() };
    let (mut leaving, mut stranger) = (rig.agent("n3").await, rig.agent("n9").await);
    leaving.batch(dropped(50)).await;
    stranger.batch(dropped(51)).await;
    let measured = leaving.windows(3, |_| Outcome::Reply);
    leaving.batch(measured).await;
    rig.cells("n3", "n1", is(v1::Verdict::Reachable)).await;
    drop((leaving, stranger));
    let away = |state: &State| state.agents.iter().all(|agent| agent.live.is_none());
    rig.until("both sessions end", away).await;
    let mut objects = inventory::parse(Path::new("test.yaml"), CLUSTER).unwrap();
    objects.nodes.retain(|node| node.metadata.name.as_deref() != Some("n3"));
    let now_ns = unix_now_ns();
    rig.hub.set_roster(objects.roster(), now_ns);

    let named = |name: &str| {
        let caveats = rig.hub.lock().caveats();
        let warned = caveats.iter().filter(|line| line.starts_with(&format!("{name}: "))).count();
        let listed = rig.hub.nodes().iter().filter(|node| node.name == name).count();
        let cells = rig.hub.cells(&Selector::default(), &Range::newest(DEADLINE, unix_now_ns()));
        let rows = cells.iter().filter(|cell| cell.cell.path.as_ref().unwrap().source_node == name).count();
        let metrics = netcheck_hub::metrics::render(&rig.hub);
        (warned, listed, rows > 0, metrics.contains(&format!("agent_connected{{node=\"{name}\"}}")))
    };
    rig.hub.tick(now_ns + 2 * SECOND_NS);
    assert_eq!(named("n3"), (1, 1, true, true));
    assert_eq!(named("n9"), (1, 1, false, true));
    rig.hub.tick(now_ns + (rig.hub.settings.expire.as_secs() as i64 + 5) * SECOND_NS);
    assert_eq!(named("n3"), (0, 0, false, false));
    assert_eq!(named("n9"), (0, 0, false, false));

    // Their places are taken by whoever comes next, who begins with nothing.
    let places = rig.hub.lock().agents.len();
    let (n3, other) = (rig.agent("n3").await, rig.agent("other").await);
    assert_eq!((n3.welcome.applied_sequence, other.welcome.applied_sequence), (0, 0));
    assert_eq!(rig.hub.lock().agents.len(), places);
}
