//! Causes over gRPC: found on the hub's tick, given to those who list, watch, scrape, and read the report.

use netcheck_common::domain::Outcome;
use netcheck_hub::serve::http;
use netcheck_hub::serve::readers::Readers;
use netcheck_proto::v1;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::rig::{DEADLINE, FakeAgent, Rig};

fn towards<'a>(node: &'a str, pod: &'a str) -> impl Fn(&v1::PathSpec) -> Outcome + 'a {
    move |path| {
        let hit = path.target == format!("node/{node}") || path.target == format!("pod/default/{pod}");
        if hit { Outcome::Timeout } else { Outcome::Reply }
    }
}

async fn send_outcomes(agents: &mut [FakeAgent], outcome: impl Fn(&v1::PathSpec) -> Outcome) {
    for agent in agents {
        let batch = agent.windows(4, &outcome);
        agent.batch(batch).await;
    }
}

async fn get(rig: &Rig, path: &str) -> String {
    let request = axum::http::Request::get(path).body(axum::body::Body::empty()).unwrap();
    let hub = std::sync::Arc::clone(&rig.hub);
    let router = http::router(hub, Readers::Anybody, CancellationToken::new());
    let response = router.oneshot(request).await.unwrap();
    assert!(response.status().is_success(), "{path}");
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn a_node_that_answers_nobody_is_one_incident_on_every_surface() {
    let rig = Rig::start();
    let mut agents = vec![rig.agent("n1").await, rig.agent("n2").await];
    let mut reader = rig.reader().await;
    let request = v1::WatchIncidentsRequest { changes_only: false };
    let mut watch = reader.watch_incidents(request).await.unwrap().into_inner();
    let first = watch.message().await.unwrap().unwrap();
    assert!(first.initial_done && first.incident.is_none(), "nothing is wrong, nor is anything known");

    send_outcomes(&mut agents, towards("n3", "web-3")).await;
    let message = tokio::time::timeout(DEADLINE, watch.message()).await.expect("it opens");
    let opened = message.unwrap().unwrap().incident.unwrap();
    assert_eq!((opened.kind(), opened.state()), (v1::IncidentKind::Node, v1::IncidentState::Open));
    assert_eq!(opened.headline, "n3 answers nobody");
    assert_eq!((opened.cause.as_str(), opened.verdict()), ("node/n3", v1::Verdict::Unreachable));
    assert!(opened.evidence[0].contains("paths to n3 fail, 0 of "), "{:?}", opened.evidence);
    assert!(opened.paths.iter().all(|path| path.target.as_ref().unwrap().node == "n3"));

    let listed = reader.list_incidents(v1::ListIncidentsRequest::default()).await.unwrap().into_inner();
    let ids: Vec<&str> = listed.incidents.iter().map(|incident| incident.id.as_str()).collect();
    assert_eq!(ids, [opened.id.as_str()]);
    let report = reader.get_report(v1::GetReportRequest::default()).await.unwrap().into_inner();
    let report = report.report.unwrap();
    assert_eq!(report.incidents[0].id, opened.id);
    assert!(!report.findings.is_empty(), "places stay");
    let metrics = get(&rig, "/metrics").await;
    assert!(metrics.contains("netcheck_incidents_open{kind=\"node\"} 1"), "{metrics}");
    assert!(metrics.contains("netcheck_incidents_open{kind=\"link\"} 0"), "{metrics}");
    let json = get(&rig, "/api/v1/incidents?closed=true").await;
    assert!(json.contains("\"INCIDENT_KIND_NODE\"") && json.contains(&opened.id), "{json}");
}

#[tokio::test]
async fn agents_that_are_away_are_a_caveat_and_no_incident() {
    let rig = Rig::start();
    let mut agents = vec![rig.agent("n1").await, rig.agent("n2").await];
    send_outcomes(&mut agents, |_| Outcome::Reply).await;
    agents.pop();
    let mut ticks = rig.hub.ticks();
    let from = *ticks.borrow();
    let seconds = |ticked: &i64| ticked - from > 3 * netcheck_analysis::model::clock::SECOND_NS;
    tokio::time::timeout(DEADLINE, ticks.wait_for(seconds)).await.expect("it ticks").unwrap();
    let report = rig.reader().await.get_report(v1::GetReportRequest::default()).await.unwrap().into_inner();
    let report = report.report.unwrap();
    assert!(report.incidents.is_empty());
    assert!(report.caveats.iter().any(|line| line.starts_with("no agent connected on n2, n3")));
}
