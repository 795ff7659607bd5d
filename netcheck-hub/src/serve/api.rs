//! `/api/v1`: every read call of gRPC as JSON, the watches as server-sent events, the document of both, and the paths of
//! k8snet-checker ([`k8snet`]).
//!
//! A query becomes the very request of the gRPC call, by [`netcheck_proto::api`], and is answered by the same code: what is
//! wrong with it is the same here and there.

use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Json, Response};
use axum::routing::{get, post};
use futures::{Stream, StreamExt as _};
use netcheck_proto::api::{DOCUMENT, OPERATIONS, Operation, request};
use netcheck_proto::json;
use netcheck_proto::v1;
use netcheck_proto::v1::check_service_server::CheckService as _;
use netcheck_proto::v1::reachability_service_server::ReachabilityService as _;
use prost::Message;
use prost_types::Timestamp;
use serde_json::json;
use tonic::{Code, Request, Status};

use crate::serve::check::Checks;
use crate::serve::reachability::Reachability;

pub mod k8snet;
mod matrix;

type Asked = Result<Query<Vec<(String, String)>>, QueryRejection>;
type Messages = Pin<Box<dyn Stream<Item = Result<Vec<u8>, Status>> + Send>>;

/// The calls that are answered once, for readers.
pub fn calls(service: Arc<Reachability>) -> Router {
    routes(service, false)
}

/// The watches, for readers.
pub fn watches(service: Arc<Reachability>) -> Router {
    routes(service, true)
}

fn of_checks(call: &str) -> &'static Operation {
    OPERATIONS.iter().find(|operation| operation.call == call).expect("the contract has this call")
}

/// What scheduled checks came to, for readers.
pub fn scheduled(checks: Arc<Checks>) -> Router {
    let operation = of_checks("ListScheduledChecks");
    let answer = move |State(checks): State<Arc<Checks>>, asked: Asked| async move {
        let listed = async {
            let request = read(&request_of(operation, asked)?)?;
            let listed = checks.list_scheduled_checks(request).await?.into_inner();
            Ok(Json(as_json(operation, &listed.encode_to_vec())?).into_response())
        };
        listed.await.unwrap_or_else(|status: Status| refused(&status))
    };
    Router::new().route(operation.path, get(answer)).with_state(checks)
}

/// Checks on demand, for readers: the answer is the result. When who asked goes away, the check is over.
pub fn checks(checks: Arc<Checks>) -> Router {
    let operation = of_checks("RunCheck");
    let answer = move |State(checks): State<Arc<Checks>>, asked: Asked| async move {
        let done = async {
            let result = result_of(&checks, read(&request_of(operation, asked)?)?).await?;
            Ok(Json(as_json(operation, &result.encode_to_vec())?).into_response())
        };
        done.await.unwrap_or_else(|status: Status| refused(&status))
    };
    Router::new().route(operation.path, post(answer)).with_state(checks)
}

async fn result_of(
    checks: &Checks,
    request: Request<v1::RunCheckRequest>,
) -> Result<v1::CheckResult, Status> {
    let mut stream = checks.run_check(request).await?.into_inner();
    while let Some(message) = stream.next().await {
        if let Some(v1::run_check_response::Message::Result(result)) = message?.message {
            return Ok(result);
        }
    }
    Err(Status::unavailable("the check ended without a result"))
}

fn routes(service: Arc<Reachability>, watches: bool) -> Router {
    let mut router = Router::new();
    let own = |operation: &&Operation| operation.watches() == watches && !operation.is_of_checks();
    for operation in OPERATIONS.iter().filter(own) {
        let answer = move |State(service): State<Arc<Reachability>>, asked: Asked| async move {
            answer(operation, &service, asked).await.unwrap_or_else(|status| refused(&status))
        };
        router = router.route(operation.path, get(answer));
    }
    router.with_state(service)
}

/// What the calls are; for everybody.
pub async fn document() -> Response {
    Json(&*DOCUMENT).into_response()
}

fn request_of(operation: &Operation, asked: Asked) -> Result<Vec<u8>, Status> {
    let Query(query) = asked.map_err(|error| Status::invalid_argument(error.body_text()))?;
    let now = Timestamp::from(SystemTime::now());
    request::of(operation, &query, now).map_err(|error| Status::invalid_argument(error.to_string()))
}

async fn answer(
    operation: &'static Operation,
    service: &Reachability,
    asked: Asked,
) -> Result<Response, Status> {
    let request = request_of(operation, asked)?;
    if operation.call == "GetMatrix"
        && let Some(body) = matrix::of_now(service.hub(), &request)?
    {
        return Ok(([(CONTENT_TYPE, "application/json")], body).into_response());
    }
    if !operation.watches() {
        let bytes = call(service, operation.call, &request).await?;
        return Ok(Json(as_json(operation, &bytes)?).into_response());
    }
    let events = watch(service, operation.call, &request).await?.map(move |message| {
        let said = message.and_then(|bytes| as_json(operation, &bytes));
        Ok::<_, std::convert::Infallible>(match said {
            Ok(said) => Event::default().data(said.to_string()),
            Err(status) => Event::default().event("error").data(status.message().replace(['\r', '\n'], " ")),
        })
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

fn as_json(operation: &Operation, bytes: &[u8]) -> Result<serde_json::Value, Status> {
    json::answer(operation, bytes).map_err(|error| Status::internal(error.to_string()))
}

fn read<M: Message + Default>(bytes: &[u8]) -> Result<Request<M>, Status> {
    let message = M::decode(bytes).map_err(|error| Status::invalid_argument(error.to_string()))?;
    Ok(Request::new(message))
}

/// One answer.
async fn call(service: &Reachability, call: &str, request: &[u8]) -> Result<Vec<u8>, Status> {
    macro_rules! answer {
        ($call:ident) => {
            service.$call(read(request)?).await?.into_inner().encode_to_vec()
        };
    }
    Ok(match call {
        "ListNodes" => answer!(list_nodes),
        "ListTargets" => answer!(list_targets),
        "GetVersion" => answer!(get_version),
        "GetMatrix" => answer!(get_matrix),
        "GetPath" => answer!(get_path),
        "GetReport" => answer!(get_report),
        "ListIncidents" => answer!(list_incidents),
        "GetPathHistory" => answer!(get_path_history),
        "ListEvents" => answer!(list_events),
        other => return Err(Status::unimplemented(format!("{other} is no call by HTTP"))),
    })
}

/// One answer that goes on.
async fn watch(service: &Reachability, call: &str, request: &[u8]) -> Result<Messages, Status> {
    macro_rules! follow {
        ($call:ident) => {{
            let stream = service.$call(read(request)?).await?.into_inner();
            Box::pin(stream.map(|message| message.map(|message| message.encode_to_vec())))
        }};
    }
    Ok(match call {
        "WatchMatrix" => follow!(watch_matrix),
        "WatchIncidents" => follow!(watch_incidents),
        other => return Err(Status::unimplemented(format!("{other} is no call by HTTP"))),
    })
}

/// The same refusal as by gRPC.
fn refused(status: &Status) -> Response {
    let (code, name) = match status.code() {
        Code::InvalidArgument => (StatusCode::BAD_REQUEST, "INVALID_ARGUMENT"),
        // It is the selection that has to change.
        Code::ResourceExhausted => (StatusCode::BAD_REQUEST, "RESOURCE_EXHAUSTED"),
        Code::NotFound => (StatusCode::NOT_FOUND, "NOT_FOUND"),
        Code::FailedPrecondition => (StatusCode::CONFLICT, "FAILED_PRECONDITION"),
        Code::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL"),
    };
    (code, Json(json!({"code": name, "message": status.message()}))).into_response()
}
