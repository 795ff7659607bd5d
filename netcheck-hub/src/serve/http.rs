//! The HTTP side: health, metrics, and the answers of the gRPC services as JSON.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::metrics::pages::Pages;
use crate::serve::accept::Connection;
use crate::serve::api;
use crate::serve::check::Checks;
use crate::serve::inflight::{InFlight, turns};
use crate::serve::reachability::Reachability;
use crate::serve::readers::{Readers, gate};
use crate::state::Hub;

/// Ticks that may be missed before the hub counts as stuck.
const STUCK_NS: i64 = 10 * netcheck_analysis::model::clock::SECOND_NS;
/// The longest that an answer about readiness is held back: kubelets wait no longer than a minute for one.
const READY_WAIT_MAX: Duration = Duration::from_secs(55);

/// The routes. Health, metrics and the document are everybody's, the rest is for readers. Watches end when `shutdown` is
/// cancelled.
pub fn router(hub: Arc<Hub>, readers: Readers, shutdown: CancellationToken) -> Router {
    let checks = Arc::new(Checks::new(Arc::clone(&hub), shutdown.clone()));
    let service = Arc::new(Reachability::new(Arc::clone(&hub), shutdown));
    let turns = middleware::from_fn_with_state(InFlight::new(Arc::clone(&hub)), turns);
    let calls = api::calls(Arc::clone(&service))
        .merge(api::scheduled(Arc::clone(&checks)))
        .merge(api::k8snet::routes(Arc::clone(&hub)))
        .route_layer(turns);
    // Watches and checks last: their turns would never end.
    let gate = middleware::from_fn_with_state((Arc::clone(&hub), readers), gate);
    let read = calls.merge(api::watches(service)).merge(api::checks(checks)).route_layer(gate);
    let open = Router::new()
        .route("/api/v1/health", get(api::k8snet::health))
        .route("/api/v1/openapi.json", get(api::document))
        .route("/metrics", get(scrape).with_state(Arc::new(Pages::new(Arc::clone(&hub)))));
    health(hub).merge(open).merge(read)
}

/// Health alone.
pub(crate) fn health(hub: Arc<Hub>) -> Router {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).with_state(hub)
}

/// Connections that were accepted, limited and maybe encrypted by an [`AcceptTask`](crate::serve::accept::AcceptTask).
pub struct Accepted {
    /// From it.
    pub connections: mpsc::Receiver<io::Result<Connection>>,
    /// Where it listens.
    pub address: SocketAddr,
}

/// Serves until `shutdown` is cancelled and the connections have drained.
///
/// # Errors
/// None: a connection that fails ends alone.
pub async fn serve(
    hub: Arc<Hub>,
    readers: Readers,
    mut accepted: Accepted,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let router = router(hub, readers, shutdown.clone());
    let mut connections = JoinSet::new();
    loop {
        let connection = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            connection = accepted.connections.recv() => connection,
        };
        match connection {
            Some(Ok(connection)) => {
                let io = connection.into_guarded();
                let served = netcheck_doors::http::connection(io, router.clone(), shutdown.clone());
                connections.spawn(served);
            }
            Some(Err(error)) => tracing::debug!("a connection failed: {error}"),
            // Nobody accepts any more: the hub is shutting down.
            None => break,
        }
    }
    while connections.join_next().await.is_some() {}
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

async fn scrape(State(pages): State<Arc<Pages>>, headers: HeaderMap) -> Response {
    pages.answer(&headers).await
}

type BadRequest = (StatusCode, String);

fn bad_request(why: &str) -> BadRequest {
    (StatusCode::BAD_REQUEST, format!("{why}\n"))
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
        router(Arc::clone(hub), Readers::Anybody, CancellationToken::new())
            .oneshot(request)
            .await
            .unwrap()
            .status()
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
