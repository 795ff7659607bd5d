//! An incident, a hub that is restarted amid it, and a real Alertmanager: one alert, one resolve.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use netcheck_analysis::model::clock::SECOND_NS;
use netcheck_hub::deliver::{Deliveries, Settings};
use netcheck_hub::state::Hub;
use netcheck_outbound::Endpoint;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::history::{Turned, begin_ns, cut_off, well};

/// Everything here takes a second or two.
const DEADLINE: Duration = Duration::from_secs(60);

/// What Alertmanager sent to whom it notifies: status and label `incident` of each alert.
type Received = Arc<Mutex<Vec<(String, String)>>>;

async fn notified() -> (String, Received) {
    let received = Received::default();
    let take = |State(received): State<Received>, body: String| async move {
        let document: Value = serde_json::from_str(&body).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        for alert in document["alerts"].as_array().unwrap() {
            received.lock().unwrap().push((text(&alert["status"]), text(&alert["labels"]["incident"])));
        }
    };
    let app = Router::new().route("/", post(take)).with_state(Arc::clone(&received));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, received)
}

struct Alertmanager {
    child: Child,
    endpoint: Endpoint,
}

impl Alertmanager {
    fn start(dir: &Path, hook: &str) -> Self {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let config = json!({
            "route": {"receiver": "test", "group_by": ["..."], "group_wait": "0s", "group_interval": "1s"},
            "receivers": [{"name": "test", "webhook_configs": [{"url": hook, "send_resolved": true}]}],
        });
        // JSON is YAML.
        std::fs::write(dir.join("alertmanager.yml"), config.to_string()).unwrap();
        let child = Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", dir.join("alertmanager.yml").display()))
            .arg(format!("--storage.path={}", dir.join("alertmanager").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus-alertmanager starts; `cargo xtask setup` installs it");
        Self { child, endpoint: Endpoint::open(format!("http://127.0.0.1:{port}").parse().unwrap()) }
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A hub's deliveries, as long as it lives.
struct Notifying {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Notifying {
    fn start(hub: &Arc<Hub>, to: &Alertmanager, dir: &Path) -> Self {
        let settings = Settings { alertmanagers: vec![to.endpoint.clone()], ..Settings::default() };
        let deliveries = Deliveries::build(hub, settings, Some(dir), None).unwrap();
        let stop = CancellationToken::new();
        Self { task: tokio::spawn(deliveries.run(stop.clone())), stop }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let waiting = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting)
        .await
        .unwrap_or_else(|_| panic!("{what}: not within {DEADLINE:?}"));
}

fn sent(hub: &Hub) -> u64 {
    hub.lock().deliveries.standings()[0].sent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_is_restarted_amid_an_incident_has_one_alert_and_one_resolve() {
    let dir = tempfile::tempdir().unwrap();
    let (hook, received) = notified().await;
    let alertmanager = Alertmanager::start(dir.path(), &hook);
    let mut hub = Turned::start(Some(dir.path()), begin_ns());
    hub.connect();
    let notifying = Notifying::start(&hub.hub, &alertmanager, dir.path());
    hub.seconds(15, &well);
    hub.seconds(15, &cut_off("n3"));
    let opened = hub.hub.lock().incidents.open();
    let id = opened[0].id.clone();
    assert_eq!(opened.len(), 1);
    until("the alert fires", || !received.lock().unwrap().is_empty()).await;
    hub.written();
    notifying.stop().await;

    // It is away for half a minute.
    let killed_ns = hub.kill();
    let mut hub = Turned::start(Some(dir.path()), killed_ns + 30 * SECOND_NS);
    let notifying = Notifying::start(&hub.hub, &alertmanager, dir.path());
    hub.connect();
    hub.seconds(12, &cut_off("n3"));
    until("it is sent again", || sent(&hub.hub) > 0).await;
    assert_eq!(hub.hub.lock().incidents.open()[0].id, id);
    hub.seconds(40, &well);
    until("it is over", || received.lock().unwrap().len() > 1).await;
    notifying.stop().await;
    hub.kill();
    let all = received.lock().unwrap().clone();
    assert_eq!(all, [("firing".to_owned(), id.clone()), ("resolved".to_owned(), id)]);
}
