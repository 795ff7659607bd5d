//! What is counted as sent is there: in a real Prometheus and a real VictoriaMetrics, over their restarts and the hub's, and
//! with a receiver of version 2.0 that holds each request against the specification.
//!
//! The receivers from the packages speak 1.0 only; Prometheus takes a 2.0 request for an empty one and says that all is well.
#![expect(clippy::unwrap_used, reason = "a test that finds something missing has failed")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use netcheck_outbound::{Board, Client, Endpoint, Entry, Standing};
use netcheck_remote_write::queue::Limits;
use netcheck_remote_write::{Family, Kind, Labels, Queue, SenderTask, Series, Source, TakerTask, Wanted};
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

#[path = "receivers/spec.rs"]
mod spec;

/// Everything here takes some seconds.
const DEADLINE: Duration = Duration::from_secs(90);
/// Series of the source: more than one request holds.
const SERIES: usize = 2300;

/// Waits until something is so.
async fn until<T>(what: &str, mut seen: impl AsyncFnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = seen().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting)
        .await
        .unwrap_or_else(|_| panic!("{what}: not within {DEADLINE:?}"))
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn now_ms() -> i64 {
    i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap()
}

/// Counters that rise with every look, and one series that is there every other time.
#[derive(Default)]
struct Counters(Mutex<f64>);

impl Source for Counters {
    fn families(&self) -> Vec<Family> {
        let mut looks = self.0.lock().unwrap();
        *looks += 1.0;
        let series = |name: &str, at: usize| Series {
            name: name.to_owned(),
            labels: vec![("node".to_owned(), format!("n{at}"))],
            value: *looks,
        };
        vec![
            Family {
                name: "netcheck_test_probes".to_owned(),
                kind: Kind::Counter,
                help: "Probes.".to_owned(),
                unit: String::new(),
                series: (0..SERIES).map(|at| series("netcheck_test_probes_total", at)).collect(),
            },
            Family {
                name: "netcheck_test_delay_seconds".to_owned(),
                kind: Kind::Gauge,
                help: "A delay.".to_owned(),
                unit: "seconds".to_owned(),
                series: (0..usize::from(*looks % 2.0 == 0.0))
                    .map(|at| series("netcheck_test_delay_seconds", at))
                    .collect(),
            },
        ]
    }
}

/// One run of the hub.
struct Hub {
    entry: Entry,
    taker: TakerTask,
    stop: CancellationToken,
    sender: JoinHandle<()>,
}

impl Hub {
    fn start(dir: Option<&Path>, url: &str, wanted: Wanted) -> Self {
        let (board, stop) = (Board::default(), CancellationToken::new());
        let entry = board.enter("remote_write", "test", "samples");
        let queue = Queue::open(dir, Limits::default());
        let extra = Labels::from([("job".to_owned(), "netcheck-hub".to_owned())]);
        let source = Arc::new(Counters::default());
        let taker = TakerTask::new(source, extra, queue, DEADLINE, entry.clone());
        let client = Client::new(Endpoint::open(url.parse().unwrap()), Duration::from_secs(5)).unwrap();
        let sender = tokio::spawn(SenderTask::new(client, &taker, wanted).run(stop.clone()));
        Self { entry, taker, stop, sender }
    }

    fn standing(&self) -> Standing {
        self.entry.standing()
    }

    /// Nothing waits any more.
    async fn sent_all(&self) {
        until("all is sent", async || (self.standing().pending == 0).then_some(())).await;
    }

    /// How many samples were sent.
    async fn stop(self) -> u64 {
        self.stop.cancel();
        self.sender.await.unwrap();
        let standing = self.entry.standing();
        assert_eq!((standing.refused, standing.dropped), (0, 0), "{standing:?}");
        standing.sent
    }
}

/// A database from a package.
struct Database {
    child: Child,
    port: u16,
}

impl Database {
    fn prometheus(dir: &Path, port: u16) -> Self {
        std::fs::write(dir.join("prometheus.yml"), "global: {}\n").unwrap();
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("tsdb").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--web.enable-remote-write-receiver");
        Self::start(command, port)
    }

    fn victoria_metrics(dir: &Path, port: u16) -> Self {
        let mut command = Command::new("victoria-metrics");
        command
            .arg(format!("-storageDataPath={}", dir.join("victoria").display()))
            .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
            .args(["-search.latencyOffset=0s", "-search.disableCache", "-retentionPeriod=1y"]);
        Self::start(command, port)
    }

    fn start(mut command: Command, port: u16) -> Self {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self { child: child.expect("the database starts; `cargo xtask setup` installs it"), port }
    }

    fn signal(mut self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        self.child.wait().unwrap();
    }

    /// The value of an expression that has one; none while the database does not answer.
    fn value(&self, expression: &str) -> Option<u64> {
        let url = format!("http://127.0.0.1:{}", self.port);
        let asked = Command::new("promtool").args(["query", "instant", &url, expression]).output().unwrap();
        let text = String::from_utf8(asked.stdout).unwrap();
        // `{} => 4600 @[1700000000]`
        text.split_once("=> ")?.1.split_whitespace().next()?.parse().ok()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Ten minutes of outage by the samples' own clock, then the receiver comes, is restarted, and so is the hub.
async fn nothing_is_lost(start: impl Fn(&Path, u16) -> Database, path: &str, end: Signal) {
    let dir = tempfile::tempdir().unwrap();
    let (port, queue) = (free_port(), dir.path().join("queue"));
    let url = format!("http://127.0.0.1:{port}{path}");
    let mut time_ms = now_ms() - 900_000;
    let mut taken = 0;
    let mut take = |hub: &mut Hub, times: u64| {
        for _ in 0..times {
            time_ms += 15_000;
            hub.taker.take(time_ms);
        }
        taken += times;
    };

    let mut hub = Hub::start(Some(&queue), &url, Wanted::Auto);
    take(&mut hub, 20);
    until("the outage shows", async || hub.standing().trouble).await;
    let mut sent = hub.stop().await;
    assert_eq!(sent, 0);
    // The hub is restarted in the middle of the outage, and keeps what waits.
    let mut hub = Hub::start(Some(&queue), &url, Wanted::Auto);
    take(&mut hub, 20);
    let database = start(dir.path(), port);
    until("some is sent", async || (hub.standing().sent > 0).then_some(())).await;
    database.signal(end);
    take(&mut hub, 5);
    sent += hub.stop().await;
    let mut hub = Hub::start(Some(&queue), &url, Wanted::Auto);
    let database = start(dir.path(), port);
    take(&mut hub, 5);
    hub.sent_all().await;
    sent += hub.stop().await;

    assert_eq!(taken, 50);
    let all = taken * SERIES as u64;
    let expression = "sum(count_over_time(netcheck_test_probes_total{job=\"netcheck-hub\"}[2h]))";
    let found =
        until("all is there", async || database.value(expression).filter(|found| *found >= all)).await;
    assert_eq!(found, all);
    // Samples and the marks of a series' ends were counted, too; some twice where an answer was lost with its process.
    assert!(sent >= all, "{sent}");
    // Values are those of their times: rising within each run of the hub.
    let fell = database.value("sum(resets(netcheck_test_probes_total{node=\"n7\"}[2h]))");
    assert_eq!(fell, Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_is_in_prometheus() {
    // It is killed: what it took is in its log.
    nothing_is_lost(Database::prometheus, "/api/v1/write", Signal::KILL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_is_in_victoria_metrics() {
    // It writes to the disk when it is asked to end, and every few seconds: what it took before it is killed may be lost.
    nothing_is_lost(Database::victoria_metrics, "/api/v1/write", Signal::TERM).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn version_2_0_as_its_specification_has_it() {
    let receiver = spec::Receiver::start().await;
    let mut hub = Hub::start(None, &receiver.url, Wanted::Auto);
    // Last first. A busy receiver is left alone for as long as it asks.
    receiver.answer([spec::Answer::TooMany, spec::Answer::Broken, spec::Answer::Take]);
    for at in 0..4 {
        hub.taker.take(1000 + at * 1000);
    }
    hub.sent_all().await;
    let (seen, standing) = (receiver.seen(), hub.standing());
    assert_eq!(seen.faults, Vec::<String>::new());
    assert_eq!(standing.sent, seen.samples);
    // Every look at the counters, twice the gauge, once its end.
    assert_eq!(seen.samples, 4 * SERIES as u64 + 3);
    assert_eq!((seen.stale, standing.retries), (1, 2));
    assert!(seen.waited >= Duration::from_secs(1), "{:?}", seen.waited);

    // What it refuses for good is counted and does not hold up what comes after it.
    receiver.answer([spec::Answer::Refuse]);
    hub.taker.take(9000);
    hub.sent_all().await;
    let refused = hub.standing();
    assert_eq!(refused.sent + refused.refused, 5 * SERIES as u64 + 4);
    assert_eq!(refused.refused, 2000);
    assert_eq!(receiver.seen().faults, Vec::<String>::new());
    hub.stop.cancel();
    hub.sender.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_disk_the_end_of_the_hub_is_waited_for_a_moment() {
    let receiver = spec::Receiver::start().await;
    receiver.answer([spec::Answer::Broken]);
    let mut hub = Hub::start(None, &receiver.url, Wanted::Auto);
    hub.taker.take(1000);
    until("it is broken", async || hub.standing().trouble).await;
    let sent = hub.stop().await;
    assert_eq!((sent, receiver.seen().samples), (SERIES as u64, SERIES as u64));
}
