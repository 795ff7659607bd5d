//! Rounds: complete when every node reported, never mixed with what was measured before; and checks of single paths.

use std::collections::BTreeSet;

use netcheck_common::domain::Outcome;
use netcheck_proto::v1;
use netcheck_proto::v1::check_service_client::CheckServiceClient;
use netcheck_proto::v1::run_check_response::Message;
use netcheck_proto::v1::session_response::Message as ToAgent;

use crate::rig::{DEADLINE, FakeAgent, Rig};
use crate::vantage::{from_pods, present, status};

/// Runs a check while these agents answer, and hands back its cells and its result.
async fn run(
    rig: &Rig,
    agents: &mut [&mut FakeAgent],
    request: v1::RunCheckRequest,
) -> (Vec<v1::MatrixCell>, v1::CheckResult) {
    let mut client = CheckServiceClient::new(rig.channel().await);
    let mut check = client.run_check(request).await.unwrap().into_inner();
    let mut cells = Vec::new();
    loop {
        let message = tokio::time::timeout(DEADLINE, check.message()).await.unwrap().unwrap().unwrap();
        match message.message.unwrap() {
            Message::Progress(progress) => {
                assert!(progress.expected.is_some() && progress.deadline.is_some());
                for agent in &mut *agents {
                    let batch = agent.windows(1, |_| Outcome::Reply);
                    agent.batch(batch).await;
                }
            }
            Message::Cells(some) => cells.extend(some.cells),
            Message::Result(result) => return (cells, result),
        }
    }
}

fn within(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

#[tokio::test]
async fn a_round_is_complete_when_every_node_reported_and_names_who_is_missing() {
    let rig = Rig::start();
    let mut agent = rig.agent("n1").await;
    agent.send(status(present())).await;
    agent.until_plan(|plan| plan.upsert.iter().any(from_pods)).await;
    // What was measured before the check is of no round.
    let stale = agent.windows(3, |_| Outcome::Reply);
    agent.batch(stale).await;
    let request = v1::RunCheckRequest { deadline: within(4), ..Default::default() };
    let (_, result) = run(&rig, &mut [&mut agent], request).await;
    let round = result.round.unwrap();
    assert!(!round.complete && !result.passed);
    let missing: BTreeSet<&str> = round.missing.iter().map(|gap| gap.node.as_str()).collect();
    assert_eq!(missing, BTreeSet::from(["n2", "n3"]), "{:?}", round.missing);
    assert!(
        round.missing.iter().all(|gap| gap.why == "no agent of it ever connected" && gap.parts.len() == 3)
    );
    // From one node alone there is a round of it.
    let sources = vec!["n1".to_owned()];
    let selector = Some(v1::PathSelector { sources, ..Default::default() });
    let request = v1::RunCheckRequest { selector, stream_cells: true, all_cells: true, ..Default::default() };
    let (cells, result) = run(&rig, &mut [&mut agent], request).await;
    let report = result.report.unwrap();
    assert!(result.passed && result.round.unwrap().complete && result.cells.is_empty());
    assert_eq!((cells.len() as u64, report.reachable), (report.paths, report.paths), "each cell once");
}

#[tokio::test]
async fn single_paths_are_probed_and_no_others() {
    let rig = Rig::start();
    let mut agent = rig.agent("n1").await;
    let batch = agent.windows(1, |_| Outcome::Reply);
    agent.batch(batch).await;
    let selector = v1::PathSelector { targets: vec!["n2".to_owned()], ..Default::default() };
    let request = v1::GetMatrixRequest { selector: Some(selector), ..Default::default() };
    let known = rig.reader().await.get_matrix(request).await.unwrap().into_inner().cells;
    let of_n1 = |cell: &&v1::MatrixCell| cell.path.as_ref().is_some_and(|path| path.source_node == "n1");
    let paths: Vec<v1::Path> =
        known.iter().filter(of_n1).filter_map(|cell| cell.path.clone()).take(2).collect();
    assert_eq!(paths.len(), 2);
    let mut client = CheckServiceClient::new(rig.channel().await);
    let request = v1::RunCheckRequest { paths: paths.clone(), all_cells: true, ..Default::default() };
    let mut check = client.run_check(request.clone()).await.unwrap().into_inner();
    let expedited = agent
        .until(|message| match message {
            ToAgent::Expedite(expedite) => Some(expedite.path_ids.len()),
            _ => None,
        })
        .await;
    assert_eq!(expedited, 2);
    let first = check.message().await.unwrap().unwrap().message.unwrap();
    assert!(matches!(first, Message::Progress(progress) if progress.paths_total == 2));
    drop(check);
    let (_, result) = run(&rig, &mut [&mut agent], request).await;
    assert!(result.passed, "{result:?}");
    let shown: Vec<_> = result.cells.iter().filter_map(|cell| cell.path.clone()).collect();
    assert_eq!(shown, paths);
}
