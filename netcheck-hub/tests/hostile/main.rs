//! A real hub over loopback: many simulated agents ([`large`]), for long ([`soak`]); and attacks, what they cost, and what they change. `cargo xtask
//! test hostile` runs these and shows the figures.
//!
//! Each attacker has an address of its own (127.0.0.2 and so on), as pods have. Throughout, a kubelet asks for the hub's health,
//! and two honest agents report; one of them lost a probe whose place is known.
#![expect(clippy::unwrap_used, reason = "a test that finds something missing has failed")]

mod attacks;
mod honest;
mod hub;
mod large;
mod soak;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use netcheck_proto::v1;
use netcheck_proto::v1::reachability_service_client::ReachabilityServiceClient;

use honest::Honest;
use hub::{DEADLINE, Hub, Kubelet, channel};

const CLUSTER: &str = include_str!("../hub/cluster.yaml");
/// What the chart gives the hub (`hub.resources.limits.memory`), in MiB.
const MEMORY_LIMIT_MIB: u64 = 2048;
/// How long a kubelet waits for its answer (`timeoutSeconds` of the probe is 5).
const HEALTH_LIMIT: Duration = Duration::from_secs(1);

impl Hub {
    /// The cells of what the honest agents measured: verdict, and place of what was lost.
    async fn reported(&self) -> Vec<String> {
        let mut reader = ReachabilityServiceClient::new(channel(self.grpc).await);
        let selector =
            v1::PathSelector { sources: vec!["n1".to_owned(), "n2".to_owned()], ..Default::default() };
        // Longer than all of this takes, so that the lost probe stays among what is reported.
        let range = Some(prost_types::Duration { seconds: 600, nanos: 0 });
        let request = v1::GetMatrixRequest { selector: Some(selector), range, ..Default::default() };
        let cells = reader.get_matrix(request).await.unwrap().into_inner().cells;
        let line = |cell: v1::MatrixCell| {
            let path = cell.path.clone().unwrap_or_default();
            let at = cell.loss.clone().and_then(|loss| loss.location);
            let at = at.map(|at| (at.node.clone(), at.stage(), at.reason.clone(), at.certainty()));
            let target = path.target.clone().unwrap_or_default().id;
            format!(
                "{} → {target} {:?} {:?}: {:?} {at:?}",
                path.source_node,
                path.kind(),
                path.family(),
                cell.verdict()
            )
        };
        let mut lines: Vec<String> = cells.into_iter().map(line).collect();
        lines.sort();
        lines
    }

    /// What is reported now and was not before.
    async fn changed(&self, before: &[String]) -> Vec<String> {
        self.reported().await.into_iter().filter(|line| !before.contains(line)).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a while: `cargo xtask test hostile`"]
async fn attacks_change_no_verdict_and_take_nothing_down() {
    let hub = Hub::start(CLUSTER, &["--interval", "1s"]).await;
    let (mut n1, mut n2) = (Honest::start(hub.grpc, "n1").await, Honest::start(hub.grpc, "n2").await);
    honest::lose_one(&mut n1, &mut n2).await;
    let begun = Instant::now();
    let mut reported = hub.reported().await;
    while !reported.iter().any(|line| line.contains("NETFILTER_DROP") && line.contains("Observed")) {
        assert!(begun.elapsed() < DEADLINE, "the loss is located: {reported:#?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
        reported = hub.reported().await;
    }
    let kubelet = Kubelet::start(hub.health);
    println!("{:<42} {:>8} {:>12} {:>9} {:>9}", "attack", "RSS MiB", "health ms", "sessions", "changed");
    println!("{:<42} {:>8}", "(idle)", hub.rss_mib());
    for (name, attack) in attacks::all() {
        let mut most = hub.rss_mib();
        let mut running = tokio::spawn(attack(hub.grpc, hub.http, n1.identity()));
        let begun = Instant::now();
        let held = loop {
            most = most.max(hub.rss_mib());
            tokio::select! {
                held = &mut running => break held.unwrap(),
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
            }
            assert!(begun.elapsed() < 4 * DEADLINE, "{name} ends");
        };
        // The honest ones go on while what the attack holds is still held.
        n1.report().await;
        n2.report().await;
        let begun = Instant::now();
        let mut changed = hub.changed(&reported).await;
        while !changed.is_empty() && begun.elapsed() < Duration::from_secs(5) {
            tokio::time::sleep(Duration::from_millis(200)).await;
            changed = hub.changed(&reported).await;
        }
        most = most.max(hub.rss_mib());
        let (worst, failed) = (kubelet.worst(), kubelet.failed.load(Ordering::Relaxed));
        let kept = [&n1, &n2].into_iter().filter(|honest| honest.is_alive()).count();
        println!("{name:<42} {most:>8} {:>12} {kept:>7}/2 {:>9}", worst.as_millis(), changed.len());
        assert!(changed.is_empty(), "{name}: {changed:#?}");
        assert_eq!((kept, failed), (2, 0), "{name}: sessions kept, health unanswered");
        assert!(worst < HEALTH_LIMIT, "{name}: health took {worst:?}");
        assert!(most < MEMORY_LIMIT_MIB, "{name}: {most} MiB");
        drop(held);
    }
    kubelet.task.abort();
}
