//! Watches: what is there, and what changes.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use serde_json::{Value, json};

use super::query::{Query, chosen};
use super::{Key, Shared};
use crate::serve::json_body;

/// How long a watch lasts at most (seconds).
const LONGEST: u64 = 300;

/// All that is there, then what comes and goes.
pub(super) fn follow(
    shared: Shared,
    group: String,
    plural: String,
    namespace: String,
    query: Query,
) -> Response {
    let asked = query.get("timeoutSeconds").and_then(|seconds| seconds.parse().ok());
    let lasts = Duration::from_secs(asked.unwrap_or(LONGEST).min(LONGEST));
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<String, Infallible>>(64);
    tokio::spawn(async move {
        let mut over = pin!(tokio::time::sleep(lasts));
        let mut changed = shared.changed.subscribe();
        let mut known: BTreeMap<Key, Value> = BTreeMap::new();
        loop {
            let now: BTreeMap<Key, Value> = {
                let objects = shared.lock();
                let chosen = chosen(&objects, &group, &plural, &namespace, &query);
                chosen.map(|(key, object)| (key.clone(), object.clone())).collect()
            };
            let mut news = Vec::new();
            for (key, object) in &now {
                match known.get(key) {
                    None => news.push(("ADDED", object.clone())),
                    Some(old) if old != object => news.push(("MODIFIED", object.clone())),
                    Some(_) => {}
                }
            }
            news.extend(
                known
                    .iter()
                    .filter(|(key, _)| !now.contains_key(key))
                    .map(|(_, old)| ("DELETED", old.clone())),
            );
            for (what, object) in news {
                if sender.send(Ok(format!("{}\n", json!({"type": what, "object": object})))).await.is_err() {
                    return;
                }
            }
            known = now;
            tokio::select! {
                () = sender.closed() => return,
                changed = changed.changed() => if changed.is_err() { return },
                () = &mut over => return,
            }
        }
    });
    let stream = futures::stream::unfold(receiver, |mut receiver| async {
        let next = receiver.recv().await?;
        Some((next, receiver))
    });
    json_body(Body::from_stream(stream))
}
