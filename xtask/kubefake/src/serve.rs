//! Connections and routes. In: a listener. Cancelling it breaks every connection.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State as Ext};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, patch, post};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::store::Filter;
use crate::{Resource, Shared, objects, review, watch};

/// Serves until dropped, and its connections with it.
pub(crate) async fn run(listener: TcpListener, router: Router) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { return };
                let service = TowerToHyperService::new(router.clone());
                connections.spawn(async move {
                    let server = axum_server();
                    // A client that hangs up is no concern of the fake's.
                    drop(server.serve_connection_with_upgrades(TokioIo::new(stream), service).await);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

fn axum_server() -> hyper_util::server::conn::auto::Builder<hyper_util::rt::TokioExecutor> {
    hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new()).http1_only()
}

pub(crate) fn router(shared: Shared) -> Router {
    let mut router = Router::new();
    for resource in Resource::ALL {
        let (root, plural) = (resource.root(), resource.plural());
        let all = move |shared, method, query, body| answer(shared, (resource, None), method, query, body);
        router = router.route(&format!("{root}/{plural}"), any(all));
        if resource.is_cluster_wide() {
            let one = move |Path(name): Path<String>, shared, method, query, body| {
                answer(shared, (resource, Some((String::new(), Some(name)))), method, query, body)
            };
            router = router.route(&format!("{root}/{plural}/{{name}}"), any(one));
            let status = move |Path(name): Path<String>, Ext(shared): Ext<Shared>, body: String| async move {
                let refusal = record(&shared, "patch", resource);
                refusal.unwrap_or_else(|| objects::apply_status(&shared, resource, &name, &body))
            };
            router = router.route(&format!("{root}/{plural}/{{name}}/status"), patch(status));
            continue;
        }
        let within = move |Path(namespace): Path<String>, shared, method, query, body| {
            answer(shared, (resource, Some((namespace, None))), method, query, body)
        };
        let one = move |Path((namespace, name)): Path<(String, String)>, shared, method, query, body| {
            answer(shared, (resource, Some((namespace, Some(name)))), method, query, body)
        };
        router = router.route(&format!("{root}/namespaces/{{namespace}}/{plural}"), any(within));
        router = router.route(&format!("{root}/namespaces/{{namespace}}/{plural}/{{name}}"), any(one));
    }
    router
        .route("/apis/authentication.k8s.io/v1/tokenreviews", post(review::review))
        .fallback(|Ext(shared): Ext<Shared>, method: Method, uri: Uri| async move {
            let call = (method.as_str().to_lowercase(), uri.path().to_owned());
            *shared.lock().calls.entry(call).or_default() += 1;
            failure(StatusCode::NOT_FOUND, "NotFound", &format!("the fake does not serve {}", uri.path()))
        })
        .with_state(shared)
}

/// What list and watch may ask.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Asked {
    pub(crate) watch: bool,
    pub(crate) limit: usize,
    #[serde(rename = "continue")]
    pub(crate) continue_: String,
    pub(crate) resource_version: String,
    pub(crate) allow_watch_bookmarks: bool,
    pub(crate) timeout_seconds: Option<u64>,
    pub(crate) field_selector: String,
}

type Scope = Option<(String, Option<String>)>;

async fn answer(
    Ext(shared): Ext<Shared>,
    (resource, scope): (Resource, Scope),
    method: Method,
    Query(asked): Query<Asked>,
    body: String,
) -> Response {
    let (namespace, name) = scope.unwrap_or_default();
    let verb = match (method.as_str(), asked.watch, name.is_some()) {
        ("GET", true, _) => "watch",
        ("GET", false, true) => "get",
        ("GET", false, false) => "list",
        ("POST", ..) => "create",
        ("PUT", ..) => "update",
        ("PATCH", ..) => "patch",
        _ => "delete",
    };
    if let Some(refusal) = record(&shared, verb, resource) {
        return refusal;
    }
    let filter = match Filter::read(&namespace, &asked.field_selector) {
        Ok(filter) => filter,
        Err(why) => return failure(StatusCode::BAD_REQUEST, "BadRequest", &why),
    };
    match (verb, name) {
        ("watch", _) => watch::watch(shared, resource, filter, &asked),
        ("list", _) => objects::list(&shared, resource, &filter, &asked).await,
        ("get", Some(name)) => objects::get(&shared, resource, &namespace, &name),
        ("create", _) => objects::create(&shared, resource, &namespace, &body),
        ("update", Some(name)) => objects::update(&shared, resource, &namespace, &name, &body),
        _ => failure(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "the fake does not do that"),
    }
}

/// Notes the call; the refusal, if it is not allowed.
fn record(shared: &Shared, verb: &str, resource: Resource) -> Option<Response> {
    let mut state = shared.lock();
    *state.calls.entry((verb.to_owned(), resource.qualified())).or_default() += 1;
    if state.faults.misses(resource) {
        // No Status: the API's own router says so.
        return Some((StatusCode::NOT_FOUND, "404 page not found\n").into_response());
    }
    state.faults.denies(verb, resource).then(|| {
        let message = format!(
            "{} is forbidden: User \"system:serviceaccount:netcheck:hub\" cannot {verb} resource \"{}\" \
             in API group \"{}\" at the cluster scope",
            resource.qualified(),
            resource.plural(),
            resource.group()
        );
        failure(StatusCode::FORBIDDEN, "Forbidden", &message)
    })
}

/// A `Status`, as the API has it.
pub(crate) fn status(code: StatusCode, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
           "message": message, "reason": reason, "code": code.as_u16()})
}

pub(crate) fn failure(code: StatusCode, reason: &str, message: &str) -> Response {
    (code, json_body(status(code, reason, message).to_string())).into_response()
}

pub(crate) fn json_body(text: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text.into()).into_response()
}
