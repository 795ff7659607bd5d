//! Notifications as they arrive: at a real Alertmanager, over restarts of who sends and of who receives, and at a real
//! HTTP server.
#![expect(clippy::unwrap_used, reason = "a test that finds something missing has failed")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use netcheck_notify::alertmanager::Alertmanager;
use netcheck_notify::webhook::Webhook;
use netcheck_notify::{FileStore, Notice, NotifyTask};
use netcheck_outbound::{Board, Client, Credentials, Endpoint, Standing, Url};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Everything here takes a second or two.
const DEADLINE: Duration = Duration::from_secs(60);

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

/// What a server was sent, and how it answers next.
#[derive(Clone, Default)]
struct Inbox {
    documents: Arc<Mutex<Vec<(HeaderMap, Value)>>>,
    answers: Arc<Mutex<Vec<u16>>>,
}

impl Inbox {
    /// All that was taken.
    fn documents(&self) -> Vec<Value> {
        self.documents.lock().unwrap().iter().map(|(_, document)| document.clone()).collect()
    }
}

async fn take(State(inbox): State<Inbox>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if let Some(status) = inbox.answers.lock().unwrap().pop() {
        return StatusCode::from_u16(status).unwrap();
    }
    inbox.documents.lock().unwrap().push((headers, serde_json::from_slice(&body).unwrap()));
    StatusCode::OK
}

async fn serve() -> (Inbox, Url, JoinHandle<()>) {
    let inbox = Inbox::default();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap()).parse().unwrap();
    let app = Router::new().route("/hook", post(take)).with_state(inbox.clone());
    (inbox, url, tokio::spawn(async move { axum::serve(listener, app).await.unwrap() }))
}

/// A real Alertmanager that notifies a webhook of groups of one alert.
struct RealAlertmanager {
    child: Child,
}

impl RealAlertmanager {
    fn start(dir: &Path, port: u16, hook: &Url) -> Self {
        let config = json!({
            "route": {"receiver": "test", "group_by": ["..."], "group_wait": "0s", "group_interval": "1s",
                      "repeat_interval": "1h"},
            "receivers": [{"name": "test", "webhook_configs": [{"url": hook.to_string(), "send_resolved": true}]}],
        });
        // JSON is YAML.
        std::fs::write(dir.join("config.yml"), config.to_string()).unwrap();
        let child = Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", dir.join("config.yml").display()))
            .arg(format!("--storage.path={}", dir.join("alertmanager").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus-alertmanager starts; `cargo xtask setup` installs it");
        Self { child }
    }

    /// As systemd and the kubelet end it. It writes down whom it sent what.
    fn stop(mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for RealAlertmanager {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A hub's sender, as long as the hub lives.
struct Sender {
    notices: watch::Sender<Arc<Vec<Notice>>>,
    board: Board,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Sender {
    fn start(dir: &Path, endpoint: Endpoint, to_alertmanager: bool) -> Self {
        let (notices, watching) = watch::channel(Arc::default());
        let (board, stop) = (Board::default(), CancellationToken::new());
        let store = Arc::new(FileStore::new(&dir.join("notify"), &endpoint.url.to_string()));
        let entry = board.enter("test", endpoint.url.host(), "notifications");
        let client = Client::new(endpoint, Duration::from_secs(5)).unwrap();
        let task = if to_alertmanager {
            let every = Duration::from_secs(1);
            let receiver = Alertmanager::new(client, vec!["cluster=test".parse().unwrap()], every);
            tokio::spawn(NotifyTask::new(receiver, watching, store, entry).run(stop.clone()))
        } else {
            let receiver = Webhook::new(client, Vec::new());
            tokio::spawn(NotifyTask::new(receiver, watching, store, entry).run(stop.clone()))
        };
        Self { notices, board, stop, task }
    }

    fn are(&self, notices: &[Notice]) {
        self.notices.send_replace(Arc::new(notices.to_vec()));
    }

    fn standing(&self) -> Standing {
        self.board.standings().remove(0)
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

fn now_ns() -> i64 {
    i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos()).unwrap()
}

fn incident() -> Notice {
    Notice {
        id: "6a0b1c2d-1".to_owned(),
        kind: "node".to_owned(),
        verdict: "unreachable".to_owned(),
        certainty: "inferred".to_owned(),
        headline: "n2 answers nobody".to_owned(),
        cause: "node/n2".to_owned(),
        place: "n2".to_owned(),
        command: "kubectl netcheck incidents".to_owned(),
        evidence: vec!["24 of 24 paths to n2 fail, 0 of 380 others".to_owned()],
        first_seen_ns: now_ns() - 2_000_000_000,
        opened_ns: now_ns(),
        ..Notice::default()
    }
}

/// Status and labels of each alert of each notification, in the order of arrival.
fn received(inbox: &Inbox) -> Vec<(String, Value)> {
    let documents = inbox.documents();
    let alerts = documents.iter().flat_map(|document| document["alerts"].as_array().unwrap().clone());
    alerts.map(|alert| (alert["status"].as_str().unwrap().to_owned(), alert["labels"].clone())).collect()
}

#[tokio::test]
async fn one_incident_is_one_alert_and_one_resolve() {
    let dir = tempfile::tempdir().unwrap();
    let (inbox, hook, server) = serve().await;
    let port = free_port();
    let endpoint = Endpoint::open(format!("http://127.0.0.1:{port}").parse().unwrap());

    // The incident is there before its receiver is.
    let sender = Sender::start(dir.path(), endpoint.clone(), true);
    sender.are(&[incident()]);
    until("the failure shows", async || sender.standing().trouble).await;
    assert_eq!(sender.standing().pending, 1);
    let alertmanager = RealAlertmanager::start(dir.path(), port, &hook);
    until("the alert fires", async || (received(&inbox).len() == 1).then_some(())).await;
    assert_eq!((sender.standing().trouble, sender.standing().pending), (None, 0));

    // Its cause is found out meanwhile: the same alert, other annotations.
    let cause = "place/n2/netfilter_input".to_owned();
    let place = Notice { kind: "place".to_owned(), cause, ..incident() };
    let found = Notice { headline: "at n2, netfilter input: NETFILTER_DROP".to_owned(), ..place };
    let sent = sender.standing().sent;
    sender.are(std::slice::from_ref(&found));
    until("it is sent and repeated", async || (sender.standing().sent >= sent + 2).then_some(())).await;

    // Both are restarted, one after the other, and the hub does not know of the incident at first.
    sender.stop().await;
    let sender = Sender::start(dir.path(), endpoint, true);
    until("the hub sends it again", async || (sender.standing().sent >= 1).then_some(())).await;
    alertmanager.stop();
    let alertmanager = RealAlertmanager::start(dir.path(), port, &hook);
    sender.are(std::slice::from_ref(&found));
    let sent = sender.standing().sent;
    until("Alertmanager hears of it again", async || (sender.standing().sent >= sent + 2).then_some(()))
        .await;

    // Other incidents are other alerts, and when theirs have come and gone, nothing is still on its way.
    let other = Notice { id: "6a0b1c2d-2".to_owned(), cause: "node/n3".to_owned(), ..incident() };
    sender.are(&[found.clone(), other.clone()]);
    until("the other one fires", async || (received(&inbox).len() == 2).then_some(())).await;
    let over = |notice: &Notice| Notice { closed_ns: Some(now_ns()), ..notice.clone() };
    sender.are(&[found.clone(), over(&other)]);
    until("the other one is over", async || (received(&inbox).len() == 3).then_some(())).await;
    sender.are(&[over(&found), over(&other)]);
    until("all is over", async || (received(&inbox).len() == 4).then_some(())).await;
    sender.stop().await;
    alertmanager.stop();
    server.abort();

    let received = received(&inbox);
    let labels = |id: &str| {
        json!({"alertname": "NetcheckNetworkIncident", "cluster": "test", "incident": id, "kind": "node",
               "severity": "critical"})
    };
    let (one, two) = (labels("6a0b1c2d-1"), labels("6a0b1c2d-2"));
    let expected = [("firing", &one), ("firing", &two), ("resolved", &two), ("resolved", &one)];
    assert_eq!(received, expected.map(|(status, labels)| (status.to_owned(), labels.clone())));
    let last = inbox.documents().pop().unwrap();
    let annotations = &last["alerts"][0]["annotations"];
    assert_eq!(annotations["summary"], "at n2, netfilter input: NETFILTER_DROP");
    assert_eq!(annotations["command"], "kubectl netcheck incidents");
}

#[tokio::test]
async fn a_webhook_hears_of_every_change_once() {
    let dir = tempfile::tempdir().unwrap();
    let (inbox, hook, server) = serve().await;
    std::fs::write(dir.path().join("token"), "let me in\n").unwrap();
    let credentials = Credentials::Bearer { file: dir.path().join("token") };
    let endpoint = Endpoint { url: hook, credentials, ca: None };
    let heard = |count: usize| {
        let inbox = inbox.clone();
        async move || (inbox.documents().len() == count).then_some(())
    };

    let sender = Sender::start(dir.path(), endpoint.clone(), false);
    // Last first: two attempts fail, and one is refused for good.
    *inbox.answers.lock().unwrap() = vec![429, 500];
    sender.are(&[incident()]);
    until("it opens", heard(1)).await;
    assert!(sender.standing().retries >= 2, "{:?}", sender.standing());
    // More of the same is no news; it is sent with what comes next.
    sender.are(&[Notice { paths: 9, ..incident() }]);
    inbox.answers.lock().unwrap().push(400);
    let worse = Notice { paths: 9, cause: "node/n2 (UDP)".to_owned(), ..incident() };
    sender.are(std::slice::from_ref(&worse));
    until("it is refused", async || (sender.standing().refused == 1).then_some(())).await;
    assert!(sender.standing().caveats()[0].contains("refused 1 notifications, the newest: 400"));
    sender.stop().await;

    // The hub is another process, and knows the incident from its own memory.
    let sender = Sender::start(dir.path(), endpoint, false);
    let place = Notice { cause: "place/n2".to_owned(), ..worse };
    sender.are(std::slice::from_ref(&place));
    until("it changes", heard(2)).await;
    sender.are(&[Notice { closed_ns: Some(now_ns()), ..place }]);
    until("it closes", heard(3)).await;
    sender.stop().await;
    server.abort();

    let documents = inbox.documents();
    let seen: Vec<Value> = documents
        .iter()
        .map(|document| json!([document["event"], document["id"], document["incident"]["paths"]]))
        .collect();
    let expected = [
        json!(["opened", "6a0b1c2d-1/1", 0]),
        json!(["changed", "6a0b1c2d-1/3", 9]),
        json!(["closed", "6a0b1c2d-1/4", 9]),
    ];
    assert_eq!(seen, expected);
    assert!(documents.iter().all(|document| document["schema"] == "netcheck.io/notification/v1"));
    let headers = inbox.documents.lock().unwrap();
    assert!(headers.iter().all(|(headers, _)| headers["authorization"] == "Bearer let me in"));
}
