//! Objects go: at once, or, what ends gracefully, after a while in which they are still there.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value;

use super::{Key, Objects, Shared, answer, key, not_found};
use crate::serve::failure;

/// What takes its time: pods, what makes them, and what they are in.
const GRACEFUL: [&str; 4] = ["pods", "deployments", "daemonsets", "namespaces"];

fn is_going(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// Why nothing can be made in a namespace.
pub(super) fn refuse_new(objects: &Objects, namespace: &str) -> Option<Response> {
    if namespace.is_empty() {
        return None;
    }
    match objects.all.get(&key("v1", "namespaces", "", namespace)) {
        // Every cluster has this one, and Events about what is in no namespace go there.
        None if namespace == "default" => None,
        None => Some(not_found(&format!("namespaces {namespace:?}"))),
        Some(found) if is_going(found) => {
            let message = format!(
                "unable to create new content in namespace {namespace} because it is being terminated"
            );
            Some(failure(StatusCode::FORBIDDEN, "Forbidden", &message))
        }
        Some(_) => None,
    }
}

pub(super) fn delete(shared: &Shared, at: &Key) -> Response {
    let mut objects = shared.lock();
    let grace = objects.grace;
    let Some(found) = objects.all.get_mut(at) else { return not_found(&format!("{} {:?}", at.1, at.3)) };
    if grace.is_zero() || !GRACEFUL.contains(&at.1.as_str()) {
        let gone = found.clone();
        drop(objects);
        remove(shared, at);
        return answer(&gone);
    }
    if is_going(found) && at.1 == "namespaces" {
        return failure(StatusCode::CONFLICT, "Conflict", "it is being terminated already");
    }
    found["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let going = found.clone();
    drop(objects);
    let (shared, at) = (shared.clone(), at.clone());
    tokio::spawn(async move {
        tokio::time::sleep(grace).await;
        remove(&shared, &at);
    });
    answer(&going)
}

/// Takes it away, with what it owns and what is in it.
fn remove(shared: &Shared, at: &Key) {
    let mut objects = shared.lock();
    let Some(gone) = objects.all.remove(at) else { return };
    let uid = gone["metadata"]["uid"].clone();
    let in_it = |other: &Key| at.1 == "namespaces" && other.2 == at.3;
    let owned = |object: &Value| object["metadata"]["ownerReferences"][0]["uid"] == uid && !uid.is_null();
    objects.all.retain(|other, object| !in_it(other) && !owned(object));
    objects.version += 1;
    let version = objects.version;
    drop(objects);
    shared.changed.send_replace(version);
}
