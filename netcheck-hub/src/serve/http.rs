//! The HTTP side: health, metrics, and the answers of the gRPC services as JSON.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use axum::serve::Listener;
use netcheck_proto::{json, v1};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::serve::accept::Connection;
use crate::serve::metrics;
use crate::serve::readers::{Readers, gate};
use crate::state::Hub;
use netcheck_analysis::matrix::range::Range;
use netcheck_analysis::model::clock::wire_duration;
use netcheck_analysis::plan::selector::Selector;

/// Ticks that may be missed before the hub counts as stuck.
const STUCK_NS: i64 = 10 * netcheck_analysis::model::clock::SECOND_NS;

/// The routes. Health and metrics are everybody's, the rest is for readers.
pub fn router(hub: Arc<Hub>, readers: Readers) -> Router {
    let read = Router::new()
        .route("/api/v1/report", get(report))
        .route("/api/v1/incidents", get(incidents))
        .route("/api/v1/matrix", get(matrix))
        .route("/api/v1/nodes", get(nodes))
        .route_layer(middleware::from_fn_with_state((Arc::clone(&hub), readers), gate));
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .merge(read)
        .with_state(hub)
}

/// Connections that were accepted, limited and maybe encrypted by an [`AcceptTask`](crate::serve::accept::AcceptTask).
pub struct Accepted {
    /// From it.
    pub connections: mpsc::Receiver<io::Result<Connection>>,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Listener for Accepted {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            match self.connections.recv().await {
                Some(Ok(connection)) => {
                    let peer = connection.peer();
                    return (connection, peer);
                }
                Some(Err(error)) => tracing::debug!("a connection failed: {error}"),
                // The hub is shutting down: the server is told so by its own signal.
                None => std::future::pending::<()>().await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// Serves until `shutdown` is cancelled and the connections have drained.
///
/// # Errors
/// The server's own.
pub async fn serve(
    hub: Arc<Hub>,
    readers: Readers,
    accepted: Accepted,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    axum::serve(accepted, router(hub, readers)).with_graceful_shutdown(shutdown.cancelled_owned()).await?;
    Ok(())
}

/// Alive: the hub's own clock ticks. Agents and inventory don't matter here: a restart would not mend them.
async fn healthz(State(hub): State<Arc<Hub>>) -> Response {
    let ticked_ns = *hub.ticks().borrow();
    let since_ns = netcheck_analysis::model::clock::unix_now_ns() - ticked_ns.max(hub.started_ns);
    if since_ns > STUCK_NS {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("no tick for {} s\n", since_ns / netcheck_analysis::model::clock::SECOND_NS),
        )
            .into_response();
    }
    "ok\n".into_response()
}

/// Ready: there is a roster to plan from.
async fn readyz(State(hub): State<Arc<Hub>>) -> Response {
    let state = hub.lock();
    match (state.roster_ns, &state.inventory_error) {
        (0, _) => (StatusCode::SERVICE_UNAVAILABLE, "no roster yet\n").into_response(),
        (_, None) => "ok\n".into_response(),
        (_, Some(error)) => format!("ok, degraded: {error}\n").into_response(),
    }
}

async fn scrape(State(hub): State<Arc<Hub>>) -> Response {
    match metrics::render(&hub) {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

type BadRequest = (StatusCode, String);

fn bad_request(why: &str) -> BadRequest {
    (StatusCode::BAD_REQUEST, format!("{why}\n"))
}

/// Query parameters that select samples and paths. All optional.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    /// As in 30s.
    range: Option<String>,
    /// Comma-separated.
    source: Option<String>,
    /// Comma-separated.
    target: Option<String>,
}

impl Params {
    fn range(&self, hub: &Hub) -> Result<Range, BadRequest> {
        let wire = match self.range.as_deref().map(humantime::parse_duration) {
            None => None,
            Some(Ok(length)) if length > Duration::ZERO => Some(wire_duration(length)),
            Some(_) => {
                return Err(bad_request("range: not a duration, as in 30s"));
            }
        };
        Ok(hub.range(wire.as_ref()))
    }

    fn selector(&self) -> Result<Selector, BadRequest> {
        let list = |text: &Option<String>| {
            text.iter()
                .flat_map(|text| text.split(','))
                .filter(|part| !part.is_empty())
                .map(ToOwned::to_owned)
                .collect()
        };
        let wire = v1::PathSelector {
            sources: list(&self.source),
            targets: list(&self.target),
            ..Default::default()
        };
        Selector::read(Some(wire)).map_err(|error| bad_request(&error.to_string()))
    }
}

async fn report(State(hub): State<Arc<Hub>>, Query(params): Query<Params>) -> Result<Response, BadRequest> {
    let report = hub.report(&params.range(&hub)?);
    Ok(Json(json::value(&v1::GetReportResponse { report: Some(report) })).into_response())
}

async fn matrix(State(hub): State<Arc<Hub>>, Query(params): Query<Params>) -> Result<Response, BadRequest> {
    let selector = params.selector()?;
    hub.fits(&selector).map_err(|error| bad_request(&error.to_string()))?;
    let matrix = hub.matrix(&selector, &params.range(&hub)?);
    Ok(Json(json::value(&matrix)).into_response())
}

/// Query parameters of the incidents.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Incidents {
    /// Closed ones, too.
    #[serde(default)]
    closed: bool,
}

async fn incidents(State(hub): State<Arc<Hub>>, Query(params): Query<Incidents>) -> Response {
    Json(json::value(&hub.incidents(params.closed))).into_response()
}

async fn nodes(State(hub): State<Arc<Hub>>) -> Response {
    Json(json::value(&v1::ListNodesResponse { nodes: hub.nodes() })).into_response()
}
