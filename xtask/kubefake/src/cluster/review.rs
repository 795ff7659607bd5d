//! SelfSubjectAccessReview: what nobody may have is not allowed, and all else is.

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::{Shared, answer};
use crate::serve::failure;

pub(super) async fn access(shared: &Shared, request: Request) -> Response {
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap_or_default();
    let Ok(mut review) = serde_json::from_slice::<Value>(&body) else {
        return failure(StatusCode::BAD_REQUEST, "BadRequest", "not JSON");
    };
    let asked = &review["spec"]["resourceAttributes"];
    let text = |name: &str| asked[name].as_str().unwrap_or_default().to_owned();
    let allowed = !shared.lock().forbidden.contains(&(text("resource"), text("subresource")));
    review["status"] = json!({"allowed": allowed});
    review["metadata"] = json!({});
    (StatusCode::CREATED, answer(&review)).into_response()
}
