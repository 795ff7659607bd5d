//! Readers that wait: watches and checks. And what every gRPC tool asks first.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures::StreamExt as _;
use netcheck_common::domain::Outcome;
use netcheck_hub::serve::check::Checks;
use netcheck_hub::state::{Hub, Settings};
use netcheck_proto::v1;
use netcheck_proto::v1::check_service_client::CheckServiceClient;
use netcheck_proto::v1::check_service_server::CheckService as _;
use netcheck_proto::v1::run_check_response::Message;
use netcheck_proto::v1::session_response::Message as ToAgent;
use tokio_util::sync::CancellationToken;
use tonic::Request;
use tonic_health::pb::health_client::HealthClient;

use crate::rig::{CLUSTER, DEADLINE, Rig, set_roster};

#[tokio::test]
async fn a_watch_sends_all_cells_then_changes() {
    let rig = Rig::start();
    let mut agent = rig.agent("n1").await;
    let batch = agent.windows(2, |_| Outcome::Reply);
    agent.batch(batch).await;
    let selector = v1::PathSelector {
        sources: vec!["n1".to_owned()],
        targets: vec!["n2".to_owned()],
        ..Default::default()
    };
    let request = v1::WatchMatrixRequest { selector: Some(selector), ..Default::default() };
    let mut watch = rig.reader().await.watch_matrix(request).await.unwrap().into_inner();
    for _ in 0..6 {
        let first = watch.message().await.unwrap().unwrap();
        assert_eq!(first.cell.unwrap().verdict(), v1::Verdict::Reachable);
    }
    assert!(watch.message().await.unwrap().unwrap().initial_done);
    let lost = agent.windows(3, |_| Outcome::Timeout);
    agent.batch(lost).await;
    let change = tokio::time::timeout(DEADLINE, watch.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(change.previous(), v1::Verdict::Reachable);
    let verdict = change.cell.unwrap().verdict();
    assert!(matches!(verdict, v1::Verdict::Degraded | v1::Verdict::Unreachable), "{verdict:?}");
}

#[tokio::test]
async fn a_check_probes_now_and_says_what_came_of_it() {
    let rig = Rig::start();
    let mut agent = rig.agent("n1").await;
    let stale = agent.windows(3, |_| Outcome::Reply);
    agent.batch(stale).await;
    let selector = v1::PathSelector {
        sources: vec!["n1".to_owned()],
        targets: vec!["n2".to_owned()],
        ..Default::default()
    };
    let request = v1::RunCheckRequest { selector: Some(selector), rounds: 1, ..Default::default() };
    let mut client = CheckServiceClient::new(rig.channel().await);
    let mut check = client.run_check(request).await.unwrap().into_inner();
    let expedited = agent
        .until(|message| match message {
            ToAgent::Expedite(expedite) => Some(expedite.path_ids.len()),
            _ => None,
        })
        .await;
    assert_eq!(expedited, 6, "what was measured before the check does not count");
    let mut progress = 0;
    let result = loop {
        let message = tokio::time::timeout(DEADLINE, check.message()).await.unwrap().unwrap().unwrap();
        match message.message.unwrap() {
            Message::Progress(state) => {
                assert_eq!(state.paths_total, 6);
                progress += 1;
                let batch =
                    agent.windows(1, |path| if path.port == 0 { Outcome::Reply } else { Outcome::Refused });
                agent.batch(batch).await;
            }
            Message::Result(result) => break result,
            Message::Cells(_) => panic!("they were to come with the result"),
        }
    };
    assert!(progress > 0);
    assert!(!result.passed);
    assert_eq!(result.cells.len(), 4, "ICMP is fine");
    let report = result.report.unwrap();
    assert_eq!((report.paths, report.reachable, report.unreachable), (6, 2, 4));
    assert!(check.message().await.unwrap().is_none(), "exactly one result");
}

#[tokio::test]
async fn a_check_that_nobody_answers_ends_at_its_deadline_with_what_it_has() {
    let rig = Rig::start();
    let deadline = Some(prost_types::Duration { seconds: 0, nanos: 300_000_000 });
    let request = v1::RunCheckRequest { deadline, ..Default::default() };
    let mut client = CheckServiceClient::new(rig.channel().await);
    let messages: Vec<_> = client.run_check(request).await.unwrap().into_inner().collect().await;
    let last = messages.into_iter().next_back().unwrap().unwrap().message.unwrap();
    let Message::Result(result) = last else { panic!("the last message is the result") };
    let report = result.report.unwrap();
    assert!(!result.passed && report.paths > 0 && report.no_data == report.paths);
}

/// The runtime of this test has one thread: a look that waited there would keep it from all else, as from the pings of the
/// reader's own connection.
#[tokio::test]
async fn a_check_looks_apart_from_the_tasks_of_connections() {
    let hub = Hub::new(Settings::every(Duration::from_secs(1)));
    set_roster(&hub, CLUSTER);
    let checks = Checks::new(Arc::clone(&hub), CancellationToken::new());
    let request = Request::new(v1::RunCheckRequest::default());
    let mut stream = checks.run_check(request).await.unwrap().into_inner();
    let ((taken, is_taken), (release, released)) = (mpsc::channel(), mpsc::channel());
    let holder = std::thread::spawn(move || {
        let _state = hub.lock();
        taken.send(()).unwrap();
        released.recv_timeout(DEADLINE).is_ok()
    });
    is_taken.recv().unwrap();
    let look = tokio::spawn(async move { stream.next().await });
    // It begins to look, which takes as long as the state is held.
    tokio::task::yield_now().await;
    let in_time = release.send(()).is_ok();
    assert!(holder.join().unwrap() && in_time, "the look kept the runtime until the state was free");
    // No agent is there, so that nothing is waited for.
    let first = look.await.unwrap().unwrap().unwrap().message;
    assert!(
        matches!(first, Some(Message::Result(_))),
        "a check that nobody can take part in has its result at once"
    );
}

#[tokio::test]
async fn health_and_both_reflections_answer() {
    let rig = Rig::start();
    let mut health = HealthClient::new(rig.channel().await);
    let service = "netcheck.v1.AgentService".to_owned();
    let status = health.check(tonic_health::pb::HealthCheckRequest { service }).await.unwrap().into_inner();
    assert_eq!(status.status(), tonic_health::pb::health_check_response::ServingStatus::Serving);

    macro_rules! services {
        ($version:ident) => {{
            use tonic_reflection::pb::$version as pb;
            let mut client = pb::server_reflection_client::ServerReflectionClient::new(rig.channel().await);
            let request = pb::ServerReflectionRequest {
                message_request: Some(pb::server_reflection_request::MessageRequest::ListServices(
                    String::new(),
                )),
                ..Default::default()
            };
            let stream = futures::stream::iter([request]);
            let mut answers = client.server_reflection_info(stream).await.unwrap().into_inner();
            let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
            let pb::server_reflection_response::MessageResponse::ListServicesResponse(list) = answer else {
                panic!("not a list of services")
            };
            list.service.into_iter().map(|service| service.name).collect::<Vec<_>>()
        }};
    }
    for services in [services!(v1), services!(v1alpha)] {
        for name in ["AgentService", "CheckService", "ReachabilityService"] {
            assert!(services.contains(&format!("netcheck.v1.{name}")), "{services:?}");
        }
    }
}
