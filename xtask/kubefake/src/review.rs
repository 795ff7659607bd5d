//! TokenReview: which tokens are good, for whom, and whose they are.

use std::collections::BTreeMap;

use axum::extract::State as Ext;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use crate::Shared;
use crate::serve::{failure, json_body};

/// What a token is good for.
#[derive(Clone, Debug, Default)]
pub struct Token {
    /// `system:serviceaccount:NAMESPACE:NAME`.
    pub user: String,
    /// For whom it was made.
    pub audiences: Vec<String>,
    /// Its time is over.
    pub expired: bool,
    /// As in `authentication.kubernetes.io/node-name`.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Token {
    /// The projected token of an agent's pod, audience `netcheck-hub`. Without a node: as before Kubernetes 1.30.
    #[must_use]
    pub fn of_pod(namespace: &str, account: &str, pod: &str, node: Option<&str>) -> Self {
        let mut extra =
            BTreeMap::from([("authentication.kubernetes.io/pod-name".to_owned(), vec![pod.to_owned()])]);
        if let Some(node) = node {
            extra.insert("authentication.kubernetes.io/node-name".to_owned(), vec![node.to_owned()]);
        }
        Self {
            user: format!("system:serviceaccount:{namespace}:{account}"),
            audiences: vec!["netcheck-hub".to_owned()],
            expired: false,
            extra,
        }
    }
}

pub(crate) async fn review(Ext(shared): Ext<Shared>, body: String) -> Response {
    let Ok(asked) = serde_json::from_str::<Value>(&body) else {
        return failure(StatusCode::BAD_REQUEST, "BadRequest", "not JSON");
    };
    let takes = shared.lock().faults.review_takes;
    tokio::time::sleep(takes).await;
    let mut state = shared.lock();
    let resource = "authentication.k8s.io/tokenreviews".to_owned();
    *state.calls.entry(("create".to_owned(), resource)).or_default() += 1;
    if state.faults.review_down {
        return failure(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "etcd is away");
    }
    let secret = asked["spec"]["token"].as_str().unwrap_or_default();
    let wanted: Vec<&str> = asked["spec"]["audiences"]
        .as_array()
        .map_or_else(Vec::new, |audiences| audiences.iter().filter_map(Value::as_str).collect());
    let status = match state.tokens.get(secret) {
        None => refused("invalid bearer token"),
        Some(token) if token.expired => refused("invalid bearer token, token has expired"),
        Some(token) => {
            let good: Vec<&String> =
                token.audiences.iter().filter(|audience| wanted.contains(&audience.as_str())).collect();
            if good.is_empty() {
                let message = format!(
                    "invalid bearer token, token audiences {:?} is invalid for the target audiences {wanted:?}",
                    token.audiences
                );
                refused(&message)
            } else {
                json!({"authenticated": true, "audiences": good,
                       "user": {"username": token.user, "extra": token.extra}})
            }
        }
    };
    let answer = json!({"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1",
                        "metadata": {}, "spec": asked["spec"], "status": status});
    (StatusCode::CREATED, json_body(answer.to_string())).into_response()
}

fn refused(error: &str) -> Value {
    json!({"authenticated": false, "user": {}, "error": error})
}
