//! Lists, page by page, and single objects.

use std::io;

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::fault::Faults;
use crate::serve::{Asked, failure, json_body};
use crate::store::Filter;
use crate::{Resource, Shared};

pub(crate) async fn list(shared: &Shared, resource: Resource, filter: &Filter, asked: &Asked) -> Response {
    let delay = shared.lock().faults.slow.get(&resource).copied();
    if let Some(delay) = delay {
        tokio::time::sleep(delay).await;
    }
    let mut state = shared.lock();
    if asked.limit == 0 {
        state.unbounded_lists += 1;
    }
    let continued = asked.continue_.split_once(' ');
    if continued.is_some() && Faults::take(&mut state.faults.expired_pages, resource) {
        return failure(StatusCode::GONE, "Expired", "The provided continue parameter is too old");
    }
    // All pages speak of the state at the first: what changed since comes by the watch that follows.
    let newest = state.store.version.to_string();
    let (version, after) = continued.unwrap_or((&newest, ""));
    let limit = if asked.limit == 0 { usize::MAX } else { asked.limit };
    let (page, last) = state.store.page(resource, filter, after, limit);
    let next = last.map(|last| format!("{version} {last}")).unwrap_or_default();
    let meta = json!({"resourceVersion": version, "continue": next});
    let mut text = format!(
        "{{\"kind\":\"{}List\",\"apiVersion\":\"{}\",\"metadata\":{meta},\"items\":[",
        resource.kind(),
        resource.api_version()
    );
    for (at, stored) in page.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        text.push_str(&stored.json);
    }
    text.push_str("]}");
    if Faults::take(&mut state.faults.cut_lists, resource) {
        let half = text.into_bytes()[..16].to_vec();
        let parts = [Ok(half), Err(io::Error::other("cut"))];
        return json_body(Body::from_stream(futures::stream::iter(parts)));
    }
    json_body(text)
}

pub(crate) fn get(shared: &Shared, resource: Resource, namespace: &str, name: &str) -> Response {
    match shared.lock().store.get(resource, namespace, name) {
        Some(object) => json_body(object.to_string()),
        None => missing(resource, name),
    }
}

fn missing(resource: Resource, name: &str) -> Response {
    failure(StatusCode::NOT_FOUND, "NotFound", &format!("{} \"{name}\" not found", resource.qualified()))
}

fn read(resource: Resource, namespace: &str, body: &str) -> Result<Value, String> {
    let mut object: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
    if !object.is_object() {
        return Err("not an object".to_owned());
    }
    object["kind"] = resource.kind().into();
    object["apiVersion"] = resource.api_version().into();
    object["metadata"]["namespace"] = namespace.into();
    Ok(object)
}

pub(crate) fn create(shared: &Shared, resource: Resource, namespace: &str, body: &str) -> Response {
    let object = match read(resource, namespace, body) {
        Ok(object) => object,
        Err(why) => return failure(StatusCode::BAD_REQUEST, "BadRequest", &why),
    };
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let state = shared.lock();
    if state.store.get(resource, namespace, &name).is_some() {
        let message = format!("{} \"{name}\" already exists", resource.qualified());
        return failure(StatusCode::CONFLICT, "AlreadyExists", &message);
    }
    put(shared, state, object)
}

pub(crate) fn update(
    shared: &Shared,
    resource: Resource,
    namespace: &str,
    name: &str,
    body: &str,
) -> Response {
    let object = match read(resource, namespace, body) {
        Ok(object) => object,
        Err(why) => return failure(StatusCode::BAD_REQUEST, "BadRequest", &why),
    };
    let state = shared.lock();
    let Some(old) = state.store.get(resource, namespace, name) else { return missing(resource, name) };
    let (given, is) = (&object["metadata"]["resourceVersion"], &old["metadata"]["resourceVersion"]);
    if given.is_string() && given != is {
        let message = "the object has been modified; please apply your changes to the latest version";
        return failure(StatusCode::CONFLICT, "Conflict", message);
    }
    put(shared, state, object)
}

/// Server-side apply of a status by the only one who writes it: what is applied is the status.
pub(crate) fn apply_status(shared: &Shared, resource: Resource, name: &str, body: &str) -> Response {
    let applied: Value = match serde_json::from_str(body) {
        Ok(applied) => applied,
        Err(error) => return failure(StatusCode::BAD_REQUEST, "BadRequest", &error.to_string()),
    };
    let named = applied["metadata"]["name"].as_str();
    if applied["kind"] != resource.kind()
        || applied["apiVersion"] != resource.api_version()
        || named != Some(name)
    {
        let message = "an applied object names its kind, its version and itself";
        return failure(StatusCode::BAD_REQUEST, "BadRequest", message);
    }
    let state = shared.lock();
    let Some(mut object) = state.store.get(resource, "", name) else { return missing(resource, name) };
    object["status"] = applied["status"].clone();
    put(shared, state, object)
}

fn put(shared: &Shared, mut state: std::sync::MutexGuard<'_, crate::State>, object: Value) -> Response {
    let put = state.store.apply(object);
    drop(state);
    shared.wake();
    match put {
        Ok(stored) => json_body(stored.json.clone()),
        Err(error) => failure(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", &error.to_string()),
    }
}
