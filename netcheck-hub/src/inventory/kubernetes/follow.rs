//! One kind of object: list, watch, and take up again whatever breaks.

use backon::{BackoffBuilder as _, ExponentialBuilder};
use futures::StreamExt as _;
use kube::runtime::watcher::{self, Error, watcher};
use kube::{Api, Client};

use super::object::{Kept, Watched};
use super::{Access, ApiHealth, Shared};

/// Objects of one answer to list, which is what the hub holds of them at most before it trims them.
const PAGE: u32 = 500;

/// What is to be done about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remedy {
    /// The watcher goes on where it was.
    Resume,
    /// An event may have been lost, or the state is too old: list anew.
    Relist,
}

/// Follows one kind for ever.
pub(super) async fn follow<K: Kept>(client: &Client, access: &Access, shared: &Shared, health: &ApiHealth) {
    let resource = K::plural();
    let backoff = || {
        ExponentialBuilder::new()
            .with_min_delay(access.pause)
            .with_max_delay(access.longest_pause)
            .with_jitter()
            .without_max_times()
            .build()
    };
    let mut pauses = backoff();
    loop {
        let mut config =
            watcher::Config::default().timeout(access.watch.as_secs().max(1) as u32).page_size(PAGE);
        config.field_selector = K::FIELDS.map(ToOwned::to_owned);
        let mut events = watcher(Api::<Watched<K>>::all(client.clone()), config).boxed();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    // A list that begins proves nothing yet.
                    if !matches!(event, watcher::Event::Init | watcher::Event::InitApply(_)) {
                        pauses = backoff();
                    }
                    if shared.lock().take(event) {
                        shared.changed.notify_one();
                    }
                }
                Err(error) if K::MAY_BE_MISSING && is_missing(&error) => {
                    if shared.lock().miss::<K>() {
                        tracing::info!("the Kubernetes API has no {resource}: looked for again now and then");
                        shared.changed.notify_one();
                    }
                    // What was wrong before is not, any more.
                    health.clear(&resource);
                    tokio::time::sleep(access.missing).await;
                    break;
                }
                Err(error) => {
                    let remedy = report(&resource, &error, health);
                    tokio::time::sleep(pauses.next().unwrap_or(access.longest_pause)).await;
                    if remedy == Remedy::Relist {
                        break;
                    }
                }
            }
        }
    }
}

/// Whether the API has no such kind.
fn is_missing(error: &Error) -> bool {
    match error {
        Error::InitialListFailed(cause) | Error::WatchStartFailed(cause) => code(cause) == Some(404),
        _ => false,
    }
}

/// Notes what went wrong, and says what to do about it.
fn report(resource: &str, error: &Error, health: &ApiHealth) -> Remedy {
    let (verb, cause, remedy) = match error {
        Error::InitialListFailed(cause) => ("list", cause, Remedy::Resume),
        Error::WatchStartFailed(cause) if code(cause) == Some(410) => {
            tracing::debug!("watch of {resource}: too old, listing anew");
            return Remedy::Relist;
        }
        Error::WatchStartFailed(cause) => ("watch", cause, Remedy::Resume),
        // A line that is no event: whatever it would have reported is lost. kube takes any JSON for a status.
        Error::WatchFailed(kube::Error::SerdeError(_) | kube::Error::Api(_)) => {
            note(
                health,
                resource,
                &format!("cannot watch {resource}: the API said something that is no event"),
            );
            return Remedy::Relist;
        }
        Error::WatchFailed(cause) => {
            // Connections end: only if the next one fails, too, something is wrong.
            tracing::debug!("watch of {resource} broke: {}", innermost(cause));
            return Remedy::Resume;
        }
        Error::WatchError(status) if status.code == 410 => {
            tracing::debug!("watch of {resource}: {}, listing anew", status.message);
            // The watcher does that by itself.
            return Remedy::Resume;
        }
        Error::WatchError(status) => {
            note(health, resource, &format!("cannot watch {resource}: {}", status.message));
            return Remedy::Relist;
        }
        Error::NoResourceVersion => {
            note(health, resource, &format!("cannot watch {resource}: an object without a resourceVersion"));
            return Remedy::Relist;
        }
    };
    let what = match cause {
        kube::Error::Api(status) if status.code == 403 => {
            format!(
                "not allowed to {verb} {resource}: the hub's role needs the verb {verb} on {resource} ({})",
                status.message
            )
        }
        kube::Error::Api(status) => format!("cannot {verb} {resource}: {} ({})", status.message, status.code),
        other => format!("cannot {verb} {resource}: {}", innermost(other)),
    };
    note(health, resource, &what);
    remedy
}

fn note(health: &ApiHealth, resource: &str, what: &str) {
    if health.set(resource, what.to_owned()) {
        tracing::error!("Kubernetes API: {what}");
    }
}

fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// The end of the chain of causes says what happened; the rest says through how many hands it went.
pub(crate) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}
