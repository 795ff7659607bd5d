//! Messages that cost more than their bytes, connections that do not begin, sessions that are another's.

use std::time::Duration;

use netcheck_common::domain::{Outcome, ProbeKind};
use netcheck_hub::serve::accept::Limits;
use netcheck_hub::serve::health;
use netcheck_hub::serve::readers::Readers;
use netcheck_proto::v1;
use netcheck_proto::v1::session_request::Message as FromAgent;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;

use crate::rig::{DEADLINE, FakeAgent, Rig, healthy, hello, is};

#[tokio::test]
async fn what_is_empty_on_the_wire_is_counted_before_it_is_decoded() {
    let rig = Rig::start();
    let mut honest = rig.agent("n1").await;
    let hooks = vec![v1::HookStatus::default(); 500_000];
    let messages = [
        // A few hundred kilobytes each, and a hundred megabytes where they are decoded.
        FromAgent::Batch(v1::SampleBatch {
            sequence: 1,
            lost: vec![v1::LostSample::default(); 100_000],
            ..Default::default()
        }),
        FromAgent::Status(v1::AgentStatus { hooks, ..healthy() }),
    ];
    for (number, message) in messages.into_iter().enumerate() {
        let mut rogue = rig.agent("n3").await;
        rogue.send(message).await;
        let status = rogue.ended().await;
        assert_eq!(status.code(), Code::OutOfRange, "{status}");
        assert_eq!(rig.hub.lock().counters.messages_refused, number as u64 + 1);
    }
    let batch = honest.windows(3, |_| Outcome::Reply);
    honest.batch(batch).await;
    rig.cells("n1", "n2", is(v1::Verdict::Reachable)).await;
}

#[tokio::test]
async fn a_status_is_kept_no_larger_than_it_looks() {
    let rig = Rig::start();
    let agent = rig.agent("n1").await;
    let hooks = vec![v1::HookStatus::default(); 100_000];
    agent.send(FromAgent::Status(v1::AgentStatus { hooks, ..healthy() })).await;
    let kept = |state: &netcheck_hub::state::State| {
        let status = state.agents[0].status.as_ref();
        status.is_some_and(|status| status.hooks.len() == 4096 && status.hooks.capacity() < 8192)
    };
    rig.until("the room of what was cut is given back", kept).await;
}

#[tokio::test]
async fn nobody_says_much_before_he_is_admitted() {
    let rig = Rig::start();
    let large = v1::Hello { kernel_release: "6".repeat(1 << 20), ..hello("n3", "boot-1") };
    let mut rogue = FakeAgent::greet(rig.channel().await, large).await;
    let status = rogue.ended().await;
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    assert!(status.message().contains("before the session is admitted"), "{status}");
}

#[tokio::test]
async fn half_a_preface_is_not_waited_for() {
    let rig = Rig::start();
    let limits = Limits { begin: Duration::from_millis(500), ..Limits::default() };
    let gate = rig.gate(None, limits).await;
    for said in [&b"PRI * HTTP"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"P"] {
        let mut stream = TcpStream::connect(gate.address).await.unwrap();
        stream.write_all(said).await.unwrap();
        let closed = async { while stream.read(&mut [0; 256]).await.is_ok_and(|read| read > 0) {} };
        tokio::time::timeout(DEADLINE, closed).await.expect("the hub hangs up");
    }
    FakeAgent::start(gate.channel().await, hello("n1", "boot-1")).await;
}

#[tokio::test]
async fn a_probe_session_of_another_is_reported_to_both_sides() {
    let rig = Rig::start();
    let rogue = rig.agent("n3").await;
    let same = v1::Hello { probe_session: rogue.hello.probe_session, ..hello("n1", "boot-1") };
    let mut honest = FakeAgent::greet(rig.channel().await, same).await;
    let status = honest.ended().await;
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    assert!(status.message().contains("start anew"), "{status}");
    // As it does.
    let _honest = rig.agent("n1").await;
    let request = v1::GetReportRequest::default();
    let report = rig.reader().await.get_report(request).await.unwrap().into_inner().report.unwrap();
    let names_both = |line: &String| line.contains("n1") && line.contains("the agent of n3 had claimed");
    assert!(report.caveats.iter().any(names_both), "{:?}", report.caveats);
}

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(DEADLINE, read).await.expect("it is answered").unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn health_has_a_door_of_its_own() {
    let rig = Rig::start();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = tokio_util::sync::CancellationToken::new();
    let thread = health::start(std::sync::Arc::clone(&rig.hub), listener, shutdown.clone()).unwrap();
    rig.until("the hub ticks", |_| true).await;
    assert!(get(address, "/healthz").await.starts_with("HTTP/1.0 200 "));
    assert!(get(address, "/readyz").await.ends_with("ok\n"));
    assert!(get(address, "/metrics").await.starts_with("HTTP/1.0 404 "), "nothing else is there");
    shutdown.cancel();
    thread.join().unwrap().unwrap();
}

#[tokio::test]
async fn the_matrix_is_the_same_over_either_way() {
    let rig = Rig::start();
    let mut agents = vec![rig.agent("n1").await, rig.agent("n2").await];
    for agent in &mut agents {
        let lost = agent.paths("node/n3", ProbeKind::Udp);
        let batch = agent
            .windows(3, |path| if lost.contains(&path.path_id) { Outcome::Timeout } else { Outcome::Reply });
        agent.batch(batch).await;
    }
    rig.cells("n1", "n2", is(v1::Verdict::Reachable)).await;
    let over_grpc =
        rig.reader().await.get_matrix(v1::GetMatrixRequest::default()).await.unwrap().into_inner();
    let address = rig.http(Readers::Anybody, None).await;
    let whole = get(address, "/api/v1/matrix").await;
    let body = whole.split_once("\r\n\r\n").unwrap().1;
    let matrix: serde_json::Value =
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
    assert_eq!(matrix["cells"].as_array().unwrap().len(), over_grpc.cells.len());
    assert_eq!(matrix["conclusion"], over_grpc.conclusion().as_str_name());
    assert!(matrix["generatedAt"].is_string() && matrix["range"].is_string(), "{matrix}");
    let nothing = get(address, "/api/v1/matrix?source=n3").await;
    assert!(nothing.contains("\"conclusion\":\"CONCLUSION_UNMEASURED\""), "{nothing}");
}
