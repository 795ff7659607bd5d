//! Good-byes: an agent or a vantage that restarts costs no loss, one that is gone does.

use netcheck_analysis::model::clock::{SECOND_NS, unix_now_ns};
use netcheck_common::domain::{Outcome, PathId, ProbeKind};
use netcheck_common::window::PathWindow;
use netcheck_proto::v1::session_request::Message as FromAgent;
use netcheck_proto::v1::session_response::Message as ToAgent;
use netcheck_proto::{columns, v1};

use crate::rig::{DEADLINE, FakeAgent, Rig, healthy, hello, is, lost};

/// What a prober gets whose packets reach the host, but no responder.
fn without_responder(target: &str) -> impl Fn(&v1::PathSpec) -> Outcome {
    move |path| {
        let by_responder = matches!(path.kind(), v1::ProbeKind::Udp | v1::ProbeKind::Tcp);
        if path.target == target && by_responder { Outcome::Refused } else { Outcome::Reply }
    }
}

/// Reports two windows that begin now, with the lost probes of the first path that lost any.
async fn report(agent: &mut FakeAgent, outcome_of: impl Fn(&v1::PathSpec) -> Outcome) {
    let now_ns = unix_now_ns();
    let outcomes: Vec<(u32, Outcome)> =
        agent.plan.values().map(|path| (path.path_id, outcome_of(path))).collect();
    let windows = (0..2).map(|second| {
        let rows: Vec<PathWindow> = outcomes
            .iter()
            .map(|&(path, outcome)| {
                let mut window = PathWindow::empty(PathId(path));
                window.count(outcome);
                window.count(outcome);
                window
            })
            .collect();
        columns::encode(now_ns + second * SECOND_NS / 2, SECOND_NS / 2, &rows)
    });
    let lost = outcomes.iter().filter(|(_, outcome)| *outcome != Outcome::Reply).map(|&(path, _)| {
        v1::LostSample { sent_unix_ns: now_ns, outcome: v1::Outcome::Refused.into(), ..lost(path, 1) }
    });
    let batch = v1::SampleBatch { windows: windows.collect(), lost: lost.collect(), ..Default::default() };
    agent.batch(batch).await;
}

/// Says so, and waits until the hub has heard it.
async fn say(agent: &mut FakeAgent, status: v1::AgentStatus) {
    agent.send(FromAgent::Status(status)).await;
    agent.until(|message| matches!(message, ToAgent::Ack(_)).then_some(())).await;
}

async fn incidents(rig: &Rig) -> Vec<String> {
    let mut ticks = rig.hub.ticks();
    let from = *ticks.borrow();
    let later = ticks.wait_for(|ticked| ticked - from > 3 * SECOND_NS);
    tokio::time::timeout(DEADLINE, later).await.expect("it ticks").unwrap();
    let listed = rig.reader().await.list_incidents(v1::ListIncidentsRequest::default()).await.unwrap();
    listed.into_inner().incidents.into_iter().map(|incident| incident.headline).collect()
}

fn leaving() -> v1::AgentStatus {
    v1::AgentStatus { leaving: true, ..healthy() }
}

#[tokio::test]
async fn an_agent_that_restarts_is_no_loss_and_measured_again_when_it_is_back() {
    let rig = Rig::start();
    let (mut n1, mut n2) = (rig.agent("n1").await, rig.agent("n2").await);
    say(&mut n2, leaving()).await;
    drop(n2);
    report(&mut n1, without_responder("node/n2")).await;
    let of = |kind: ProbeKind| n1.paths("node/n2", kind).len();
    assert!(of(ProbeKind::Udp) > 0 && of(ProbeKind::Icmp) > 0);
    let expected = |cell: &v1::MatrixCell| match cell.path.as_ref().unwrap().kind() {
        v1::ProbeKind::Icmp => cell.verdict() == v1::Verdict::Reachable,
        _ => cell.verdict() == v1::Verdict::ExpectedAbsent,
    };
    rig.cells("n1", "node/n2", expected).await;
    assert_eq!(incidents(&rig).await, Vec::<String>::new());
    let response = rig.reader().await.get_report(v1::GetReportRequest::default()).await.unwrap().into_inner();
    let caveats = response.report.unwrap().caveats;
    assert!(caveats.iter().any(|line| line.starts_with("n2: restarting since ")), "{caveats:?}");
    assert!(rig.hub.lock().counters.excused > 0);

    let _back = FakeAgent::start(rig.channel().await, hello("n2", "boot-2")).await;
    report(&mut n1, |_| Outcome::Reply).await;
    rig.cells("n1", "node/n2", is(v1::Verdict::Reachable)).await;
    assert_eq!(incidents(&rig).await, Vec::<String>::new());
    // From now on its silence is a loss again.
    report(&mut n1, without_responder("node/n2")).await;
    rig.cells("n1", "node/n2", |cell| {
        cell.path.as_ref().unwrap().kind() == v1::ProbeKind::Icmp
            || cell.verdict() == v1::Verdict::Unreachable
    })
    .await;
}

#[tokio::test]
async fn one_that_went_without_a_word_is_a_loss() {
    let rig = Rig::start();
    let (mut n1, n2) = (rig.agent("n1").await, rig.agent("n2").await);
    drop(n2);
    report(&mut n1, without_responder("node/n2")).await;
    rig.cells("n1", "node/n2", |cell| {
        cell.path.as_ref().unwrap().kind() == v1::ProbeKind::Icmp
            || cell.verdict() == v1::Verdict::Unreachable
    })
    .await;
    assert!(!incidents(&rig).await.is_empty());
}

#[tokio::test]
async fn a_vantage_says_good_bye_through_its_agent() {
    let rig = Rig::start();
    let (mut n1, n2) = (rig.agent("n1").await, rig.agent("n2").await);
    let vantage = v1::PodVantage {
        pod: "default/web-2".to_owned(),
        addresses: vec![vec![10, 244, 2, 2]],
        responder_port: 6100,
        ..Default::default()
    };
    let with = |vantage: v1::PodVantage| v1::AgentStatus { vantage: Some(vantage), ..healthy() };
    n2.send(FromAgent::Status(with(vantage.clone()))).await;
    let asks = |path: &v1::PathSpec| path.target == "pod/default/web-2" && path.kind() == v1::ProbeKind::Udp;
    n1.until_plan(|plan| plan.upsert.iter().any(asks)).await;
    let gone = v1::PodVantage { leaving: true, detail: vec!["gone".to_owned()], ..Default::default() };
    n2.send(FromAgent::Status(with(v1::PodVantage { leaving: true, ..vantage.clone() }))).await;
    n2.send(FromAgent::Status(with(gone))).await;
    rig.until("it is gone", |state| state.agents.iter().any(|agent| agent.vantage.missing().is_some())).await;
    report(&mut n1, without_responder("pod/default/web-2")).await;
    let udp = |wanted: v1::Verdict| {
        move |cell: &v1::MatrixCell| {
            cell.path.as_ref().unwrap().kind() != v1::ProbeKind::Udp || cell.verdict() == wanted
        }
    };
    rig.cells("n1", "pod/default/web-2", udp(v1::Verdict::ExpectedAbsent)).await;
    assert_eq!(incidents(&rig).await, Vec::<String>::new());
    n2.send(FromAgent::Status(with(vantage))).await;
    rig.until("it is back", |state| state.agents.iter().all(|agent| agent.vantage.missing().is_none())).await;
    report(&mut n1, |_| Outcome::Reply).await;
    rig.cells("n1", "pod/default/web-2", udp(v1::Verdict::Reachable)).await;
}
