//! What requests do to objects: list, get, make, change, delete.

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::query::{chosen, query_of};
use super::watch::follow;
use super::{Key, Shared, answer, controllers, events, key, not_found, removal};
use crate::serve::failure;

/// Answers a request for objects of a kind, or for one of them, or for a part of one.
pub(super) async fn act(
    shared: &Shared,
    request: Request,
    at: Key,
    (kind, part): (&str, Option<&str>),
) -> Response {
    let (group, plural, namespace, name) = at.clone();
    let query = query_of(&request);
    let method = request.method().clone();
    let patch =
        request.headers().get(header::CONTENT_TYPE).map(|kind| kind.as_bytes().to_vec()).unwrap_or_default();
    let Ok(body) = axum::body::to_bytes(request.into_body(), 16 << 20).await else {
        return failure(StatusCode::BAD_REQUEST, "BadRequest", "no body");
    };
    match (&method, name.is_empty()) {
        (&Method::GET, _) if query.get("watch").is_some_and(|watch| watch == "true" || watch == "1") => {
            follow(shared.clone(), group, plural, namespace, query)
        }
        (&Method::GET, true) => {
            let objects = shared.lock();
            let items: Vec<&Value> =
                chosen(&objects, &group, &plural, &namespace, &query).map(|(_, value)| value).collect();
            answer(&json!({
                "apiVersion": group, "kind": format!("{kind}List"),
                "metadata": {"resourceVersion": objects.version.to_string()}, "items": items,
            }))
        }
        (&Method::GET, false) => match shared.lock().all.get(&at) {
            Some(object) => answer(object),
            None => not_found(&format!("{plural} {name:?}")),
        },
        (&Method::POST, true) => create(shared, &group, &plural, &namespace, &body),
        (&Method::PUT | &Method::PATCH, false) => {
            let applied = patch.starts_with(b"application/apply-patch");
            let Ok(change) = serde_json::from_slice::<Value>(&body) else {
                return failure(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    "UnsupportedMediaType",
                    "JSON is all it reads",
                );
            };
            let old = shared.lock().all.get(&at).cloned();
            match old {
                // Whoever writes a status changes nothing else.
                Some(mut object) if part == Some("status") => {
                    object["status"] = change["status"].clone();
                    answer(&shared.put(at, object))
                }
                Some(mut object) if method == Method::PATCH && !applied => {
                    merge(&mut object, &change);
                    answer(&shared.put(at, object))
                }
                Some(old) => {
                    let mut object = change;
                    object["metadata"]["uid"] = old["metadata"]["uid"].clone();
                    let object = controllers::ready(&shared.lock(), object);
                    answer(&shared.put(at, object))
                }
                // What is applied and is not there is made.
                None if applied && query.contains_key("fieldManager") => {
                    create(shared, &group, &plural, &namespace, &body)
                }
                None => not_found(&format!("{plural} {name:?}")),
            }
        }
        (&Method::DELETE, _) => removal::delete(shared, &at),
        _ => failure(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "the fake does not do that"),
    }
}

fn create(shared: &Shared, group: &str, plural: &str, namespace: &str, body: &Bytes) -> Response {
    let Ok(mut object) = serde_json::from_slice::<Value>(body) else {
        return failure(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", "JSON is all it reads");
    };
    if plural == events::PLURAL {
        events::in_core_words(&mut object);
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let at = key(group, plural, namespace, &name);
    if shared.lock().all.contains_key(&at) {
        return failure(StatusCode::CONFLICT, "AlreadyExists", &format!("{plural} {name:?} already exists"));
    }
    if let Some(refusal) = removal::refuse_new(&shared.lock(), namespace) {
        return refusal;
    }
    object["metadata"]["namespace"] = if namespace.is_empty() { Value::Null } else { namespace.into() };
    object["metadata"]["uid"] = format!("{plural}-{namespace}-{name}").into();
    object["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
    object["metadata"]["generation"] = 1.into();
    let object = controllers::ready(&shared.lock(), object);
    let object = shared.put(at, object);
    controllers::make_pods(shared, &object);
    (StatusCode::CREATED, answer(&object)).into_response()
}

/// RFC 7386. A strategic merge patch of what kubectl changes here comes to the same.
fn merge(object: &mut Value, change: &Value) {
    let Value::Object(change) = change else {
        *object = change.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    for (name, value) in change {
        match (value, object.as_object_mut()) {
            (Value::Null, Some(fields)) => drop(fields.remove(name)),
            (value, _) => merge(&mut object[name.as_str()], value),
        }
    }
}
