//! The agent's own HTTP: /metrics, /healthz, /readyz and /status.
//!
//! In: requests. Out: what engine, buffer, responder and session say of themselves. Readiness is the agent's own
//! state, and that it has met its hub once: a hub that goes away later makes an agent degraded, never unready. Cancelling
//! the task ends open requests.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use netcheck_doors::{Limits, Slots};
use netcheck_proto::v1;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::admin::metrics::{Snapshot, render};
use crate::host::clock::monotonic_ns;
use crate::host::usage::Uptime;
use crate::model::status::{EngineStatus, HubState};
use crate::relay::LiveRelayCounts;
use crate::responder::LiveCounts;
use crate::uplink::buffer::outbox::Outbox;
use crate::uplink::status::{Parts, StatusDocument, ebpf_word};

/// An engine whose status is older than this does not turn any more.
const STALE: Duration = Duration::from_secs(10);
/// The longest that an answer about readiness is held back: kubelets wait no longer than a minute for one.
const READY_WAIT_MAX: Duration = Duration::from_secs(55);

/// What the endpoints look at.
pub(crate) struct Sources {
    pub(crate) node: String,
    pub(crate) hub_url: String,
    pub(crate) engine: watch::Receiver<EngineStatus>,
    pub(crate) hub: watch::Receiver<HubState>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) responder: Arc<LiveCounts>,
    /// None where this agent passes no sessions on.
    pub(crate) relay: Option<Arc<LiveRelayCounts>>,
    pub(crate) uptime: Uptime,
}

/// The task.
pub(crate) struct HttpTask {
    pub(crate) listener: TcpListener,
    pub(crate) sources: Sources,
}

impl HttpTask {
    /// Serves until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let slots = Slots::new(Limits::of_agent());
        netcheck_doors::http::serve(self.listener, slots, router(self.sources), shutdown).await;
    }
}

fn router(sources: Sources) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthy))
        .route("/readyz", get(ready))
        .route("/status", get(status))
        .with_state(Arc::new(sources))
}

async fn metrics(State(sources): State<Arc<Sources>>) -> Response {
    let relay = sources.relay.as_ref().map(|relay| relay.read());
    let snapshot = Snapshot {
        node: &sources.node,
        engine: &sources.engine.borrow(),
        buffer: sources.outbox.status(),
        hub: &sources.hub.borrow(),
        responder: sources.responder.read(),
        relay: relay.as_ref(),
        uptime: sources.uptime,
    };
    match render(&snapshot) {
        Ok(text) => {
            ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
                .into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Whether the engine turns. Before its first turn there is nothing that could be unwell.
async fn healthy(State(sources): State<Arc<Sources>>) -> (StatusCode, &'static str) {
    if sources.engine.borrow().published.elapsed() > STALE {
        (StatusCode::SERVICE_UNAVAILABLE, "the probe engine stands still\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}

/// Query parameter of /readyz.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Readiness {
    /// As in 50s.
    wait: Option<String>,
}

/// Whether the agent does its work: it has a plan from its hub, or had one, and the engine turns, with the sockets and
/// hooks that it could get. A hub that was met once has no more say, nor has any other node: the plan stays in force
/// without them. With `wait`, the answer is held back until it is yes, but no longer than that: Kubernetes shows every
/// refusal as a failed probe, and an agent whose hub starts at the same time has not failed.
async fn ready(State(sources): State<Arc<Sources>>, Query(params): Query<Readiness>) -> (StatusCode, String) {
    let wait = match params.wait.as_deref().map(humantime::parse_duration) {
        None => Duration::ZERO,
        Some(Ok(wait)) => wait.min(READY_WAIT_MAX),
        Some(Err(_)) => return (StatusCode::BAD_REQUEST, "wait: not a duration, as in 50s\n".to_owned()),
    };
    let (mut hub, mut engine) = (sources.hub.clone(), sources.engine.clone());
    let begun = async {
        let met = hub.wait_for(|hub| hub.sessions > 0).await.is_ok();
        met && engine.wait_for(|engine| engine.counters.turns > 0).await.is_ok()
    };
    // Where the time is up, the answer says what is missing.
    let _elapsed = timeout(wait, begun).await;
    readiness(&sources.engine.borrow(), &sources.hub.borrow())
}

fn readiness(engine: &EngineStatus, hub: &HubState) -> (StatusCode, String) {
    if engine.counters.turns == 0 {
        return (StatusCode::SERVICE_UNAVAILABLE, "the probe engine has not turned yet\n".to_owned());
    }
    if engine.published.elapsed() > STALE {
        return (StatusCode::SERVICE_UNAVAILABLE, "the probe engine stands still\n".to_owned());
    }
    if hub.sessions == 0 {
        let why = match hub.trouble(Instant::now()) {
            "" => "connecting",
            trouble => trouble,
        };
        return (StatusCode::SERVICE_UNAVAILABLE, format!("no session with the hub yet: {why}\n"));
    }
    let hooks = &engine.kernel.hooks;
    let attached = hooks.iter().filter(|hook| hook.state() == v1::HookState::Attached).count();
    let plan = match engine.plan.version {
        0 => "no plan yet".to_owned(),
        version => format!("plan {version} with {} paths", engine.plan.paths),
    };
    let ebpf = ebpf_word(engine.kernel.state);
    (StatusCode::OK, format!("ok: {plan}; ebpf {ebpf}, {attached} of {} hooks\n", hooks.len()))
}

async fn status(State(sources): State<Arc<Sources>>) -> Json<StatusDocument> {
    let parts = Parts {
        engine: &sources.engine.borrow(),
        buffer: sources.outbox.status(),
        hub: &sources.hub.borrow(),
        uptime: sources.uptime,
    };
    let relay = sources.relay.as_ref().map(|relay| relay.read().into());
    let mut document =
        StatusDocument { relay, ..StatusDocument::new(&sources.node, &sources.hub_url, parts) };
    document.degraded.extend(sources.responder.degraded(monotonic_ns()));
    Json(document)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::config::{Http, Status};
    use crate::model::status::Way;
    use crate::uplink::buffer::Limits;

    /// The endpoints of an agent that never met its hub.
    struct Served {
        engine: watch::Sender<EngineStatus>,
        http_addr: SocketAddr,
        shutdown: CancellationToken,
        task: JoinHandle<()>,
        hub: watch::Sender<HubState>,
    }

    impl Served {
        async fn start() -> Self {
            let (engine, engine_seen) = watch::channel(EngineStatus::default());
            let (hub, hub_seen) = watch::channel(HubState::default());
            let sources = Sources {
                node: "n1".into(),
                hub_url: "http://hub/".into(),
                engine: engine_seen,
                hub: hub_seen,
                outbox: Outbox::new(Limits::default()),
                responder: Arc::default(),
                relay: Some(Arc::default()),
                uptime: Uptime::begin(),
            };
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let http_addr = listener.local_addr().unwrap();
            let shutdown = CancellationToken::new();
            let task = tokio::spawn(HttpTask { listener, sources }.run(shutdown.clone()));
            Self { engine, http_addr, shutdown, task, hub }
        }

        async fn get(&self, path: &str) -> String {
            let request = format!("GET {path} HTTP/1.0\r\n\r\n");
            let mut stream = TcpStream::connect(self.http_addr).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        }
    }

    #[tokio::test]
    async fn endpoints_answer() {
        let served = Served::start().await;
        for (path, part) in
            [("/metrics", "netcheck_agent_build_info"), ("/healthz", "200"), ("/nothing", "404")]
        {
            let answer = served.get(path).await;
            assert!(answer.contains(part), "{path}: {answer}");
        }
        let flags = Status { http: Http { http_addr: served.http_addr }, json: false };
        let table =
            tokio::task::spawn_blocking(move || crate::admin::show::show(&flags)).await.unwrap().unwrap();
        assert!(table.contains("n1") && table.contains("not connected yet"), "{table}");
        served.shutdown.cancel();
        served.task.await.unwrap();
    }

    #[tokio::test]
    async fn an_agent_that_never_met_its_hub_is_not_ready_and_says_why() {
        let served = Served::start().await;
        served.engine.send_modify(|engine| engine.counters.turns = 1);
        let answer = served.get("/readyz").await;
        assert!(
            answer.contains("503") && answer.contains("no session with the hub yet: connecting"),
            "{answer}"
        );
        served
            .hub
            .send_modify(|hub| hub.ended("silent", "the hub did not answer".to_owned(), Duration::ZERO));
        let answer = served.get("/readyz?wait=20ms").await;
        assert!(answer.contains("503") && answer.contains("did not answer"), "{answer}");
        assert!(served.get("/readyz?wait=long").await.contains("400"));
        let (answer, ()) = tokio::join!(served.get("/readyz?wait=50s"), async {
            tokio::task::yield_now().await;
            served.hub.send_modify(|hub| hub.welcomed(Instant::now(), Way::Direct(None)));
        });
        assert!(answer.contains("200"), "as soon as it is: {answer}");
    }

    #[tokio::test]
    async fn ready_is_the_agents_own_state() {
        let served = Served::start().await;
        let answer = served.get("/readyz").await;
        assert!(answer.contains("503") && answer.contains("not turned yet"), "{answer}");
        served.engine.send_modify(|engine| engine.counters.turns = 1);
        served.hub.send_modify(|hub| hub.welcomed(Instant::now(), Way::Direct(None)));
        served
            .hub
            .send_modify(|hub| hub.ended("closed", "the hub closed the session".to_owned(), Duration::ZERO));
        let answer = served.get("/readyz").await;
        assert!(
            answer.contains("200") && answer.contains("no plan yet; ebpf unknown, 0 of 0 hooks"),
            "{answer}"
        );
        let hook = |state: v1::HookState| v1::HookStatus { state: state.into(), ..Default::default() };
        served.engine.send_modify(|engine| {
            engine.plan.version = 4;
            engine.plan.paths = 9;
            engine.kernel.state = v1::EbpfState::Partial;
            engine.kernel.hooks = vec![hook(v1::HookState::Attached), hook(v1::HookState::Failed)];
        });
        let answer = served.get("/readyz").await;
        assert!(answer.contains("200"), "something is missing, but it works: {answer}");
        assert!(answer.contains("plan 4 with 9 paths; ebpf partial, 1 of 2 hooks"), "{answer}");
        let long_ago = std::time::Instant::now().checked_sub(STALE + Duration::from_secs(1)).unwrap();
        served.engine.send_modify(|engine| engine.published = long_ago);
        for path in ["/readyz", "/healthz"] {
            let answer = served.get(path).await;
            assert!(answer.contains("503") && answer.contains("stands still"), "{path}: {answer}");
        }
    }
}
