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
/// The longest that an answer about readiness is held back: kubelets wait no longer than a minute for one.
const READY_WAIT_MAX: Duration = Duration::from_secs(55);

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

/// Query parameter of /readyz.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Readiness {
    /// As in 25s.
    wait: Option<String>,
}

impl Readiness {
    fn wait(&self) -> Result<Duration, BadRequest> {
        match self.wait.as_deref().map(humantime::parse_duration) {
            None => Ok(Duration::ZERO),
            Some(Ok(wait)) => Ok(wait.min(READY_WAIT_MAX)),
            Some(Err(_)) => Err(bad_request("wait: not a duration, as in 25s")),
        }
    }
}

/// Ready: there is a roster to plan from. With `wait`, the answer is held back until it is so, but no longer than that:
/// Kubernetes shows every refusal as a failed probe, and a hub that starts has not failed.
async fn readyz(
    State(hub): State<Arc<Hub>>,
    Query(params): Query<Readiness>,
) -> Result<Response, BadRequest> {
    let mut ticks = hub.ticks();
    let ready = async { while hub.lock().roster_ns == 0 && ticks.changed().await.is_ok() {} };
    // Where the time is up, the answer says what is missing.
    let _elapsed = tokio::time::timeout(params.wait()?, ready).await;
    let state = hub.lock();
    Ok(match (state.roster_ns, &state.inventory_error) {
        (0, _) => (StatusCode::SERVICE_UNAVAILABLE, "no roster yet\n").into_response(),
        (_, None) => "ok\n".into_response(),
        (_, Some(error)) => format!("ok, degraded: {error}\n").into_response(),
    })
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

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;
    use crate::state::Settings;
    use netcheck_analysis::cluster::roster::Roster;

    async fn ask(hub: &Arc<Hub>, path: &str) -> StatusCode {
        let request = Request::get(path).body(Body::empty()).unwrap();
        router(Arc::clone(hub), Readers::Anybody).oneshot(request).await.unwrap().status()
    }

    #[tokio::test]
    async fn readiness_can_be_waited_for() {
        let hub = Hub::new(Settings::every(Duration::from_secs(1)));
        assert_eq!(ask(&hub, "/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(ask(&hub, "/readyz?wait=soon").await, StatusCode::BAD_REQUEST);
        assert_eq!(ask(&hub, "/readyz?wait=20ms").await, StatusCode::SERVICE_UNAVAILABLE);
        let waiting = tokio::spawn({
            let hub = Arc::clone(&hub);
            async move { ask(&hub, "/readyz?wait=50s").await }
        });
        hub.set_roster(Roster::default(), 1);
        hub.tick(2);
        let answer = tokio::time::timeout(Duration::from_secs(20), waiting).await;
        assert_eq!(answer.expect("as soon as there is a roster").unwrap(), StatusCode::OK);
    }

    #[test]
    fn nobody_waits_for_long() {
        for (wait, expected) in [(None, 0), (Some("25s"), 25), (Some("1h"), 55)] {
            let params = Readiness { wait: wait.map(ToOwned::to_owned) };
            assert_eq!(params.wait().unwrap(), Duration::from_secs(expected), "{wait:?}");
        }
    }
}
