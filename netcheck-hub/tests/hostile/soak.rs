//! A hub for twelve hours in nine minutes: agents that come and go, pods that change, readers that come and go, and attacks,
//! eighty times as fast as in a real cluster. Afterwards neither memory nor descriptors may have grown.
//! `cargo xtask test soak-hub` runs it and shows the figures.
//!
//! The hub's clock can't be moved, so the rate is raised. Whatever could leave something behind happens as often as in twelve
//! hours ([`period`]): batches as of thirteen nodes that report once a second, sessions, restarts, pods, questions, scrapes.
//! Retention is at its shortest, so that what is kept for a while is forgotten eighteen times. What depends on hours
//! alone, as what a day of history is rolled up to, is not seen here.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use netcheck_proto::v1;
use netcheck_proto::v1::reachability_service_client::ReachabilityServiceClient;
use netcheck_simagents::{Fleet, Options, inventory};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;
use tonic::transport::Channel;

use crate::attacks;
use crate::honest::Identity;
use crate::hub::{DEADLINE, Hub, Kubelet, ask, try_channel};
use done::{COUNTED, Done, Timed, one, table};
use trend::{Growth, Sample};

mod done;
mod trend;

/// How many times as fast as in a real cluster things happen.
const SPEED: u32 = 80;
/// Readers that ask.
const READERS: u32 = 2;
/// How long each of them waits between two rounds of questions (seconds, of a real cluster).
const ASKS: u32 = 30;
/// Agents, of which each reports ten times a second.
const NODES: usize = 100;
const PODS: usize = 40;
/// Pods that are replaced at a time.
const REPLACED: usize = 4;
const FLAGS: [&str; 14] = [
    "--interval",
    "1s",
    "--window",
    "100ms",
    "--timeout",
    "300ms",
    "--size-interval",
    "0s",
    "--expire",
    "30s",
    "--paths-per-node",
    "60",
    "--cover",
    "1m",
];
/// What agents may send.
const BUDGET: u32 = 1_000;
/// How long a hub that is left alone may take until it has let go of connections.
const QUIET: Duration = Duration::from_secs(20);
/// Descriptors that may be open more than at the begin, when all have gone.
const LEFT_OPEN: u64 = 8;

/// How long it is, in the run, from one to the next of what in a real cluster happens once in so many seconds.
fn period(real_seconds: u32) -> Duration {
    Duration::from_secs(u64::from(real_seconds)) / SPEED
}

/// Threads of its own, as what is on other machines has: what attackers do costs the honest none of theirs.
struct Apart(Option<Runtime>);

impl Apart {
    fn new(threads: usize) -> Self {
        let mut threaded = tokio::runtime::Builder::new_multi_thread();
        Self(Some(threaded.worker_threads(threads).enable_all().build().unwrap()))
    }

    fn spawn<F: Future<Output: Send> + Send + 'static>(&self, task: F) -> JoinHandle<F::Output> {
        self.0.as_ref().unwrap().spawn(task)
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        // Its threads are not waited for, which no task may.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// What all tasks of a run have.
struct Run {
    hub: Hub,
    over: AtomicBool,
    done: Done,
    /// Why the newest question was not answered.
    refusal: Mutex<String>,
}

impl Run {
    fn is_running(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// A reader with a connection of its own; none, and counted, where the hub refused it.
    async fn reader(&self) -> Option<ReachabilityServiceClient<Channel>> {
        match self.done.connections.of(try_channel(self.hub.grpc)).await {
            Ok(channel) => Some(ReachabilityServiceClient::new(channel).max_decoding_message_size(256 << 20)),
            Err(error) => {
                self.count(&self.done.refused, Err::<(), _>(tonic::Status::unavailable(error.to_string())));
                None
            }
        }
    }

    fn count<T>(&self, counter: &AtomicU64, answer: Result<T, tonic::Status>) {
        match answer {
            Ok(_) => one(counter),
            Err(status) => self.refuse(&status),
        }
    }

    async fn ask<T>(&self, timed: &Timed, asked: impl Future<Output = Result<T, tonic::Status>>) {
        if let Err(status) = timed.of(asked).await {
            self.refuse(&status);
        }
    }

    fn refuse(&self, status: &tonic::Status) {
        one(&self.done.refused);
        *self.refusal.lock().unwrap() = format!("{:?}: {}", status.code(), status.message());
    }
}

fn cluster(first_pod: usize) -> Value {
    let nodes = (0..NODES).map(inventory::node);
    let pods = (first_pod..first_pod + PODS).map(|pod| inventory::pod(pod, pod % NODES));
    inventory::list(&nodes.chain(pods).collect::<Vec<_>>())
}

/// Each agent loses its session once in a quarter of an hour, crashes once in three hours, and leaves once in four.
async fn agents(run: Arc<Run>, mut rng: StdRng) -> Fleet {
    let options = Options { hub: run.hub.grpc, packets_per_second: BUDGET };
    let mut fleet = Fleet::start(options, (0..NODES).map(inventory::node_name));
    let mut away: Vec<String> = Vec::new();
    let each = u32::try_from(NODES).unwrap();
    let mut round = 0_u64;
    while run.is_running() {
        sleep(period(900) / each).await;
        round += 1;
        run.done.broken.store(fleet.broken().values().sum(), Ordering::Relaxed);
        let node = inventory::node_name(rng.random_range(0..NODES));
        if round.is_multiple_of(16) {
            // Whoever left before comes back.
            away.drain(..).for_each(|node| fleet.join(node));
            if fleet.leave(&node).await {
                one(&run.done.leaves);
                away.push(node);
            }
        } else if round.is_multiple_of(12) {
            if fleet.restart(&node).await {
                one(&run.done.restarts);
            }
        } else if fleet.reconnect(&node).await {
            one(&run.done.reconnects);
        }
    }
    away.drain(..).for_each(|node| fleet.join(node));
    fleet
}

/// A pod is replaced every forty seconds.
async fn pods(run: Arc<Run>) {
    let mut first = 0;
    while run.is_running() {
        sleep(period(40 * u32::try_from(REPLACED).unwrap())).await;
        first += REPLACED;
        run.hub.set_inventory(&cluster(first).to_string());
        run.done.pods.fetch_add(REPLACED as u64, Ordering::Relaxed);
    }
}

/// Somebody asks for the matrix, the report, a path's history and events, each about twice a minute, by a new connection.
async fn readers(run: Arc<Run>, mut rng: StdRng) {
    while run.is_running() {
        sleep(period(ASKS)).await;
        let Some(mut reader) = run.reader().await else { continue };
        let done = &run.done;
        let sources = vec![inventory::node_name(rng.random_range(0..NODES))];
        let some = v1::PathSelector { sources: sources.clone(), ..Default::default() };
        let selector = rng.random_bool(0.7).then(|| some.clone());
        let matrix = v1::GetMatrixRequest { selector, ..Default::default() };
        run.ask(&done.matrices, reader.get_matrix(matrix)).await;
        run.ask(&done.reports, reader.get_report(v1::GetReportRequest::default())).await;
        let history = v1::GetPathHistoryRequest {
            selector: Some(v1::PathSelector { kinds: vec![v1::ProbeKind::Icmp.into()], ..some }),
            together: true,
            ..Default::default()
        };
        run.ask(&done.histories, reader.get_path_history(history)).await;
        run.ask(&done.events, reader.list_events(v1::ListEventsRequest::default())).await;
        one(&done.rounds);
    }
}

/// Somebody watches, and goes away after a while.
async fn watchers(run: Arc<Run>, mut rng: StdRng) {
    while run.is_running() {
        let Some(mut reader) = run.reader().await else {
            sleep(period(10)).await;
            continue;
        };
        let sources = vec![inventory::node_name(rng.random_range(0..NODES))];
        let selector = Some(v1::PathSelector { sources, ..Default::default() });
        let request = v1::WatchMatrixRequest { selector, ..Default::default() };
        let watch = reader.watch_matrix(request).await;
        let lasts = period(rng.random_range(10..240));
        let watched = async {
            let mut stream = watch?.into_inner();
            while stream.message().await?.is_some() {}
            Ok::<(), tonic::Status>(())
        };
        let ended = tokio::time::timeout(lasts, watched).await.unwrap_or(Ok(()));
        run.count(&run.done.watches, ended);
    }
}

/// A Prometheus that scrapes every fifteen seconds.
async fn scrapes(run: Arc<Run>) {
    while run.is_running() {
        sleep(period(15)).await;
        let fine = ask(run.hub.http, "/metrics").await.is_some_and(|answer| answer.contains(" 200 "));
        one(if fine { &run.done.scrapes } else { &run.done.refused });
    }
}

/// An attack at random, a pause, and the next one. What it held is let go of in the pause.
async fn hostile(run: Arc<Run>, mut rng: StdRng) {
    let identity = Identity { session: rng.random(), path: 1 };
    while run.is_running() {
        sleep(period(120)).await;
        let mut all = attacks::all();
        let (name, attack) = all.swap_remove(rng.random_range(0..all.len()));
        let (begun, broken) = (Instant::now(), run.done.broken.load(Ordering::Relaxed));
        let mut attacked = Box::pin(attack(run.hub.grpc, run.hub.http, identity));
        // One that is at work when all ends is broken off.
        let held = loop {
            tokio::select! {
                held = &mut attacked => break Some(held),
                () = sleep(Duration::from_millis(100)) => if !run.is_running() { break None },
            }
        };
        if held.is_some() {
            one(&run.done.attacks);
        }
        drop(held);
        if std::env::var_os("NETCHECK_SOAK_ATTACKS").is_some() {
            let broken = run.done.broken.load(Ordering::Relaxed) - broken;
            let (took, rss) = (begun.elapsed().as_secs_f64(), run.hub.rss_mib());
            println!("{name}: {took:.1} s, {rss} MiB, {broken} sessions broke");
        }
    }
}

/// Raises it all, lets it run that long, and judges. `allowed_mib`: how much the second half may have grown.
async fn soak(lasts: Duration, allowed_mib: f64) {
    let seed = std::env::var("NETCHECK_SOAK_SEED").ok().and_then(|seed| seed.parse().ok());
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed: u64 = seed.unwrap_or(since.as_secs());
    println!("seed {seed} (NETCHECK_SOAK_SEED={seed})");
    let history = tempfile::tempdir().unwrap();
    let folder = history.path().display().to_string();
    let flags: Vec<&str> =
        FLAGS.into_iter().chain(["--data-dir", &folder, "--retain-bytes", "64MiB"]).collect();
    let hub = Hub::start(&cluster(0).to_string(), &flags).await;
    let descriptors = hub.descriptors();
    let kubelet = Kubelet::start(hub.health);
    let run =
        Arc::new(Run { hub, over: AtomicBool::new(false), done: Done::default(), refusal: Mutex::default() });
    let rng = |stream: u64| StdRng::seed_from_u64(seed ^ (stream << 32));
    let (honest, rogue) = (Apart::new(2), Apart::new(1));
    let agents = honest.spawn(agents(Arc::clone(&run), rng(1)));
    let mut others = JoinSet::new();
    others.spawn(pods(Arc::clone(&run)));
    for stream in 2..u64::from(2 + READERS) {
        others.spawn(readers(Arc::clone(&run), rng(stream)));
        others.spawn(watchers(Arc::clone(&run), rng(stream + 10)));
    }
    others.spawn(scrapes(Arc::clone(&run)));
    let attackers = rogue.spawn(hostile(Arc::clone(&run), rng(20)));

    let (begun, mut samples) = (Instant::now(), Vec::new());
    while begun.elapsed() < lasts {
        sleep(Duration::from_millis(250)).await;
        let (at, hub) = (begun.elapsed(), &run.hub);
        samples.push(Sample { at, rss_mib: hub.rss_mib() as f64, descriptors: hub.descriptors() as f64 });
    }
    run.over.store(true, Ordering::Relaxed);
    let fleet = agents.await.unwrap();
    attackers.await.unwrap();
    while let Some(ended) = others.join_next().await {
        ended.unwrap();
    }
    // After all that everybody is still served, and nothing was said to be broken that is not.
    let figures = fleet.until_probing(DEADLINE).await.unwrap();
    let unanswered = kubelet.failed.load(Ordering::Relaxed);
    kubelet.task.abort();
    let broken = fleet.broken();
    let metrics = ask(run.hub.http, "/metrics").await.unwrap_or_default();
    drop(fleet);
    let mut open = run.hub.descriptors();
    let quiet = Instant::now();
    while open > descriptors + LEFT_OPEN && quiet.elapsed() < QUIET {
        sleep(Duration::from_millis(200)).await;
        open = run.hub.descriptors();
    }
    let growth = Growth::of(&samples);
    table(&samples, &run.done, &figures, lasts);
    broken.iter().for_each(|(why, times)| println!("{times} sessions broke: {why}"));
    let counts = metrics.lines().filter(|line| COUNTED.iter().any(|name| line.starts_with(name)));
    counts.for_each(|line| println!("{line}"));
    println!("the newest refusal: {:?}", run.refusal.lock().unwrap());
    println!("{growth}; allowed: {allowed_mib} MiB, {} descriptors", trend::DESCRIPTORS);
    println!(
        "descriptors: {descriptors} before, {open} after all had gone; health unanswered {unanswered} times"
    );
    assert_eq!(unanswered, 0, "health was not answered");
    assert!(open <= descriptors + LEFT_OPEN, "{open} descriptors stay open, {descriptors} were before");
    assert!(growth.rss_mib <= allowed_mib, "memory grows: {growth}");
    assert!(growth.descriptors <= trend::DESCRIPTORS, "descriptors grow: {growth}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_is_used_and_attacked_lets_go_of_what_it_held() {
    // Shorter than what is kept: memory may still fill, but not run away.
    soak(Duration::from_secs(15), 200.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes ten minutes: `cargo xtask test soak-hub`"]
async fn twelve_hours_leave_nothing_behind() {
    let seconds = std::env::var("NETCHECK_SOAK_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    soak(Duration::from_secs(seconds.unwrap_or(540)), 24.0).await;
}
