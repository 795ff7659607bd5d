//! Whether the API answers: what is wrong, by resource, and since when.
//!
//! A watch that begins again after a failure has nothing to say until something changes, so that its success is seen
//! where the answer's head passes: in a layer of the client.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::SystemTime;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, Response};
use tokio::sync::Notify;
use tower::{Layer, Service};

/// One resource's trouble.
#[derive(Clone, Debug)]
struct Trouble {
    since: SystemTime,
    what: String,
}

/// The state of the API as its client sees it.
#[derive(Debug, Default)]
pub struct ApiHealth {
    troubles: Mutex<BTreeMap<String, Trouble>>,
    changed: Notify,
}

impl ApiHealth {
    /// The layer that sees the heads of answers.
    #[must_use]
    pub fn layer(self: &Arc<Self>) -> HealthLayer {
        HealthLayer { health: Arc::clone(self) }
    }

    /// Something is wrong with a resource (plural name). Returns whether that is news.
    pub(super) fn set(&self, resource: &str, what: String) -> bool {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let known = troubles.get(resource);
        let news = known.is_none_or(|known| known.what != what);
        let since = known.map_or_else(SystemTime::now, |known| known.since);
        troubles.insert(resource.to_owned(), Trouble { since, what });
        if news {
            self.changed.notify_one();
        }
        news
    }

    /// A resource is fine. Returns whether it was not.
    pub(super) fn clear(&self, resource: &str) -> bool {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let cleared = troubles.remove(resource).is_some();
        if cleared {
            tracing::info!("the Kubernetes API sends {resource} again");
            self.changed.notify_one();
        }
        cleared
    }

    /// Resolves when something changed since the last time.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What is wrong, in one line, since when.
    pub(super) fn trouble(&self) -> Option<String> {
        let troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let first = troubles.values().min_by_key(|trouble| trouble.since)?;
        let since = humantime::format_rfc3339_seconds(first.since);
        let more = match troubles.len() {
            1 => String::new(),
            several => format!(" (and {} more)", several - 1),
        };
        Some(format!("Kubernetes API, since {since}: {}{more}", first.what))
    }
}

/// Makes [`HealthService`]s.
#[derive(Clone, Debug)]
pub struct HealthLayer {
    health: Arc<ApiHealth>,
}

impl<S> Layer<S> for HealthLayer {
    type Service = HealthService<S>;

    fn layer(&self, inner: S) -> HealthService<S> {
        HealthService { inner, health: Arc::clone(&self.health) }
    }
}

/// A client that notices when a watch begins.
#[derive(Clone, Debug)]
pub struct HealthService<S> {
    inner: S,
    health: Arc<ApiHealth>,
}

impl<S, A, B> Service<Request<A>> for HealthService<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let watched = watched(request.uri()).map(ToOwned::to_owned);
        let health = Arc::clone(&self.health);
        let answering = self.inner.call(request);
        async move {
            let answer = answering.await?;
            if let Some(resource) = watched.filter(|_| answer.status().is_success()) {
                health.clear(&resource);
            }
            Ok(answer)
        }
        .boxed()
    }
}

/// The resource that a request watches.
fn watched(uri: &http::Uri) -> Option<&str> {
    let watch = uri.query()?.split('&').any(|part| part == "watch=true");
    uri.path().rsplit('/').next().filter(|name| watch && !name.is_empty())
}
