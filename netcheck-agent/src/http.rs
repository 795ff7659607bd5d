//! The agent's own HTTP: /metrics, /healthz, /readyz and /status.
//!
//! In: requests. Out: what engine, buffer, responder and session say of themselves. Readiness is the agent's own
//! state only: a hub that is away makes an agent degraded, never unready. Cancelling the task ends open requests.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::buffer::outbox::Outbox;
use crate::engine::EngineStatus;
use crate::metrics::{Snapshot, render};
use crate::responder::LiveCounts;
use crate::session::HubState;
use crate::status::StatusDocument;
use crate::usage::Uptime;

/// An engine whose status is older than this does not turn any more.
const STALE: Duration = Duration::from_secs(10);

/// What the endpoints look at.
pub(crate) struct Sources {
    pub(crate) node: String,
    pub(crate) hub_url: String,
    pub(crate) engine: watch::Receiver<EngineStatus>,
    pub(crate) hub: watch::Receiver<HubState>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) responder: Arc<LiveCounts>,
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
        let router = router(self.sources);
        let served = axum::serve(self.listener, router).with_graceful_shutdown(shutdown.cancelled_owned());
        if let Err(error) = served.await {
            tracing::warn!(%error, "http");
        }
    }
}

fn router(sources: Sources) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthy))
        .route("/readyz", get(healthy))
        .route("/status", get(status))
        .with_state(Arc::new(sources))
}

async fn metrics(State(sources): State<Arc<Sources>>) -> Response {
    let snapshot = Snapshot {
        node: &sources.node,
        engine: &sources.engine.borrow(),
        buffer: sources.outbox.status(),
        hub: &sources.hub.borrow(),
        responder: sources.responder.read(),
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

async fn status(State(sources): State<Arc<Sources>>) -> Json<StatusDocument> {
    Json(StatusDocument::new(
        &sources.node,
        &sources.hub_url,
        &sources.engine.borrow(),
        sources.outbox.status(),
        sources.hub.borrow().clone(),
        sources.uptime,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Limits;

    #[tokio::test]
    async fn endpoints_answer() {
        let (_engine, engine) = watch::channel(EngineStatus::default());
        let (_hub, hub) = watch::channel(HubState::default());
        let sources = Sources {
            node: "n1".into(),
            hub_url: "http://hub/".into(),
            engine,
            hub,
            outbox: Outbox::new(Limits::default()),
            responder: Arc::default(),
            uptime: Uptime::begin(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http_addr = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(HttpTask { listener, sources }.run(shutdown.clone()));
        let get = |path: &'static str| async move {
            let request = format!("GET {path} HTTP/1.0\r\n\r\n");
            let mut stream = tokio::net::TcpStream::connect(http_addr).await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await.unwrap();
            answer
        };
        for (path, part) in [
            ("/metrics", "netcheck_agent_build_info"),
            ("/healthz", "200"),
            ("/readyz", "200"),
            ("/nothing", "404"),
        ] {
            let answer = get(path).await;
            assert!(answer.contains(part), "{path}: {answer}");
        }
        let flags = crate::config::Status { http: crate::config::Http { http_addr }, json: false };
        let table = tokio::task::spawn_blocking(move || crate::status::show(&flags)).await.unwrap().unwrap();
        assert!(table.contains("n1") && table.contains("not connected yet"), "{table}");
        shutdown.cancel();
        task.await.unwrap();
    }
}
