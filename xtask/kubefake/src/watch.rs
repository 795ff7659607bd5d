//! Watches: one stream per request, resumed from a version, with bookmarks, until its time is up or it is cut.

use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;
use tokio::sync::watch as changes;
use tokio::time::Instant;

use crate::fault::Faults;
use crate::serve::{Asked, failure, json_body, status};
use crate::store::{Change, Filter};
use crate::{Resource, Shared, State};

/// How long a watch lasts whose client does not say. The real one takes 30 to 60 minutes.
const LONGEST: Duration = Duration::from_secs(1800);

struct Watch {
    shared: Shared,
    changed: changes::Receiver<u64>,
    resource: Resource,
    filter: Filter,
    version: u64,
    bookmarks: bool,
    deadline: Instant,
    /// Counts of faults when it began, or when they were last acted on.
    seen: Seen,
    over: bool,
}

#[derive(Clone, Copy)]
struct Seen {
    cuts: u64,
    garbage: u64,
    bookmarks: u64,
}

impl Seen {
    fn of(faults: &Faults, resource: Resource) -> Self {
        let count = |counts: &std::collections::BTreeMap<Resource, u64>| counts.get(&resource).copied();
        Self {
            cuts: count(&faults.cuts).unwrap_or(0),
            garbage: faults.garbage.get(&resource).map_or(0, |(count, _)| *count),
            bookmarks: count(&faults.bookmarks).unwrap_or(0),
        }
    }
}

pub(crate) fn watch(shared: Shared, resource: Resource, filter: Filter, asked: &Asked) -> Response {
    let mut state = shared.lock();
    if Faults::take(&mut state.faults.gone_starts, resource) {
        return failure(StatusCode::GONE, "Expired", "too old resource version");
    }
    let version = asked.resource_version.parse().unwrap_or(state.store.version);
    let seen = Seen::of(&state.faults, resource);
    drop(state);
    let lasts = asked.timeout_seconds.map_or(LONGEST, Duration::from_secs);
    let watch = Watch {
        changed: shared.changed.subscribe(),
        shared,
        resource,
        filter,
        version,
        bookmarks: asked.allow_watch_bookmarks,
        deadline: Instant::now() + lasts,
        seen,
        over: false,
    };
    let lines = futures::stream::unfold(watch, |mut watch| async {
        let said = watch.next().await?;
        Some((said, watch))
    });
    json_body(Body::from_stream(lines))
}

impl Watch {
    /// The next lines; none when it is over.
    async fn next(&mut self) -> Option<io::Result<String>> {
        if self.over {
            return None;
        }
        loop {
            self.changed.borrow_and_update();
            if let Some(said) = self.say() {
                return Some(said);
            }
            tokio::select! {
                () = tokio::time::sleep_until(self.deadline) => {
                    self.over = true;
                    return self.bookmarks.then(|| Ok(self.bookmark()));
                }
                changed = self.changed.changed() => changed.ok()?,
            }
        }
    }

    fn say(&mut self) -> Option<io::Result<String>> {
        let shared = self.shared.clone();
        let mut state = shared.lock();
        let now = Seen::of(&state.faults, self.resource);
        if now.cuts != self.seen.cuts {
            self.over = true;
            return Some(Err(io::Error::other("cut")));
        }
        if now.garbage != self.seen.garbage {
            self.seen.garbage = now.garbage;
            return state.faults.garbage.get(&self.resource).map(|(_, line)| Ok(format!("{line}\n")));
        }
        let mut text = self.changes(&state);
        if now.bookmarks != self.seen.bookmarks {
            self.seen.bookmarks = now.bookmarks;
            if self.bookmarks {
                self.version = state.store.version;
                state.bookmarks += 1;
                text.push_str(&self.bookmark());
            }
        }
        (!text.is_empty()).then_some(Ok(text))
    }

    fn changes(&mut self, state: &State) -> String {
        if state.faults.held.contains(&self.resource) {
            return String::new();
        }
        let Some(mut changes) = state.store.since(self.resource, self.version) else {
            self.over = true;
            let message = format!("too old resource version: {} ({})", self.version, state.store.compacted);
            let gone = status(StatusCode::GONE, "Expired", &message);
            return format!("{}\n", json!({"type": "ERROR", "object": gone}));
        };
        if let Some(last) = changes.last() {
            self.version = last.version;
        }
        if state.faults.reversed.contains(&self.resource) {
            changes.reverse();
        }
        changes.iter().filter_map(|change| self.line(change)).collect()
    }

    /// What a change is to somebody who sees only what the filter matches.
    fn line(&self, change: &Change) -> Option<String> {
        let before = change.before.as_ref().is_some_and(|before| self.filter.matches(before));
        let now = !change.deleted && self.filter.matches(&change.now);
        let kind = match (before, now) {
            (false, false) => return None,
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
        };
        Some(format!("{{\"type\":\"{kind}\",\"object\":{}}}\n", change.now.json))
    }

    fn bookmark(&self) -> String {
        let (kind, api_version) = (self.resource.kind(), self.resource.api_version());
        let meta = json!({"resourceVersion": self.version.to_string()});
        let object = json!({"kind": kind, "apiVersion": api_version, "metadata": meta});
        format!("{}\n", json!({"type": "BOOKMARK", "object": object}))
    }
}
