//! A check over all pairs of a cluster whose agents are simulated: the real hub, real sessions, the real command line.
//! `cargo xtask bench check` does the same with a thousand nodes.

use std::time::Duration;

use netcheck_proto::v1;
use netcheck_proto::v1::check_service_client::CheckServiceClient;
use netcheck_proto::v1::run_check_response::Message;
use netcheck_simagents::{Fault, Fleet, Options, inventory};
use serde_json::Value;

use crate::hub::{DEADLINE, Hub, channel};

const NODES: u64 = 50;
/// ICMP, UDP and TCP.
const KINDS: u64 = 3;
/// Packets a second that each agent may send. A round of its plan needs more: one for ICMP, one for UDP, three for TCP.
const BUDGET: u32 = 100;
const ROUND_PACKETS: u64 = 5 * (NODES - 1);

/// `kubectl netcheck check`: its exit code, and the result that it saved.
async fn check(hub: &Hub) -> (u8, Value) {
    let url = format!("http://{}", hub.grpc);
    let result = hub.folder().join("result.json");
    let path = result.display().to_string();
    let asked = tokio::task::spawn_blocking(move || {
        let arguments = ["kubectl-netcheck", "check", "--hub", &url, "--result", &path];
        kubectl_netcheck::run(arguments, &kubectl_netcheck::Screen::plain())
    });
    let answer = asked.await.unwrap();
    assert!(result.exists(), "{answer:?}");
    (answer.code, serde_json::from_slice(&std::fs::read(result).unwrap()).unwrap())
}

/// What a check says before it begins.
async fn expected(hub: &Hub) -> v1::CheckProgress {
    let mut client = CheckServiceClient::new(channel(hub.grpc).await);
    let mut stream = client.run_check(v1::RunCheckRequest::default()).await.unwrap().into_inner();
    match stream.message().await.unwrap().unwrap().message.unwrap() {
        Message::Progress(progress) => progress,
        other => panic!("it begins with its progress: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_of_all_pairs_keeps_the_agents_budget_and_finds_what_is_lost() {
    let nodes = inventory::nodes(usize::try_from(NODES).unwrap());
    let flags = ["--interval", "1s", "--size-interval", "0s"];
    let hub = Hub::start(&nodes.to_string(), &flags).await;
    let options = Options { hub: hub.grpc, packets_per_second: BUDGET };
    let fleet = Fleet::start(options, inventory::names(&nodes));
    let paths = KINDS * NODES * (NODES - 1);
    fleet.until(|figures| figures.paths == paths, DEADLINE).await.unwrap();

    // It knows beforehand that agents can't do it any faster. (They say so a moment after they have their plans.)
    let needed = i64::try_from(ROUND_PACKETS / u64::from(BUDGET)).unwrap();
    let first = expected(&hub).await;
    assert_eq!(first.paths_total, paths);
    let mut seconds = first.expected.map_or(0, |expected| expected.seconds);
    let begun = std::time::Instant::now();
    while seconds < needed {
        assert!(begun.elapsed() < DEADLINE, "{seconds} s are not enough for {ROUND_PACKETS} packets");
        tokio::time::sleep(Duration::from_millis(100)).await;
        seconds = expected(&hub).await.expected.map_or(0, |expected| expected.seconds);
    }

    let (code, healthy) = check(&hub).await;
    assert_eq!((code, &healthy["paths"]["total"]), (0, &paths.into()), "{healthy}");
    assert_eq!(healthy["paths"]["reachable"], paths);

    let ill = inventory::node_name(7);
    fleet.set_fault(Fault::LostTo(ill.clone()));
    let (code, faulty) = check(&hub).await;
    let lost = KINDS * (NODES - 1);
    assert_eq!((code, &faulty["failedTotal"]), (2, &lost.into()), "{faulty}");
    let failed = faulty["failed"].as_array().unwrap();
    assert!(failed.iter().all(|path| path.to_string().contains(&format!("node/{ill}"))), "{failed:?}");
    let headline = faulty["causes"][0]["headline"].as_str().unwrap_or_default();
    assert!(headline.contains(&ill), "the cause is named: {faulty}");

    let figures = fleet.figures();
    assert!(figures.probes >= 2 * paths && figures.lost > 0, "{figures:?}");
    assert!(figures.peak_packets > 0 && figures.peak_packets <= u64::from(BUDGET), "{figures:?}");
    assert_eq!((figures.broken, figures.dropped), (0, 0), "{figures:?}");
}
