//! A receiver of version 2.0 that decodes what it is sent and notes every breach of the specification.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use netcheck_remote_write::message::{Request, STALE, TimeSeries2, decompressed};
use tokio::net::TcpListener;

/// How the next request is answered.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    Take,
    /// 400, nothing is written.
    Refuse,
    /// 503.
    Broken,
    /// 429, and a second to wait.
    TooMany,
}

/// What was seen.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    /// Breaches of the specification.
    pub(crate) faults: Vec<String>,
    /// Samples that were written.
    pub(crate) samples: u64,
    /// Series that ended.
    pub(crate) stale: u64,
    /// How long nothing was sent after 429.
    pub(crate) waited: Duration,
    busy: Option<Instant>,
    newest: BTreeMap<Vec<(String, String)>, i64>,
}

#[derive(Clone, Default)]
struct Shared {
    seen: Arc<Mutex<Seen>>,
    answers: Arc<Mutex<Vec<Answer>>>,
}

pub(crate) struct Receiver {
    pub(crate) url: String,
    shared: Shared,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let shared = Shared::default();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/write", listener.local_addr().unwrap());
        let app = Router::new().route("/write", post(take)).layer(DefaultBodyLimit::max(64 << 20));
        let app = app.with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, shared }
    }

    /// The last one comes first; what comes after all of them is taken.
    pub(crate) fn answer(&self, answers: impl IntoIterator<Item = Answer>) {
        self.shared.answers.lock().unwrap().extend(answers);
    }

    pub(crate) fn seen(&self) -> Seen {
        self.shared.seen.lock().unwrap().clone()
    }
}

async fn take(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let mut seen = shared.seen.lock().unwrap();
    if let Some(since) = seen.busy.take() {
        seen.waited = since.elapsed();
    }
    seen.headers(&headers);
    let request: Request = match decompressed(&body) {
        Ok(request) => request,
        Err(error) => {
            seen.faults.push(error.to_string());
            return StatusCode::BAD_REQUEST.into_response();
        }
    };
    let written = |count: u64| [("x-prometheus-remote-write-samples-written", count.to_string())];
    match shared.answers.lock().unwrap().pop().unwrap_or(Answer::Take) {
        Answer::Take => {
            let before = seen.samples;
            seen.request(&request);
            (StatusCode::OK, written(seen.samples - before)).into_response()
        }
        Answer::Refuse => (StatusCode::BAD_REQUEST, written(0), "out of bounds").into_response(),
        Answer::Broken => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Answer::TooMany => {
            seen.busy = Some(Instant::now());
            (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")]).into_response()
        }
    }
}

impl Seen {
    fn headers(&mut self, headers: &HeaderMap) {
        for (name, expected) in [
            ("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
            ("content-encoding", "snappy"),
            ("x-prometheus-remote-write-version", "2.0.0"),
        ] {
            if headers.get(name).is_none_or(|value| value != expected) {
                self.faults.push(format!("{name}: {:?}", headers.get(name)));
            }
        }
        if headers.get("user-agent").is_none() {
            self.faults.push("no user-agent".to_owned());
        }
    }

    fn request(&mut self, request: &Request) {
        let symbols = &request.symbols;
        if symbols.first().is_none_or(|first| !first.is_empty()) {
            self.faults.push("the first symbol is not empty".to_owned());
        }
        if symbols.iter().collect::<BTreeSet<_>>().len() != symbols.len() {
            self.faults.push("a symbol is there twice".to_owned());
        }
        for series in &request.timeseries {
            if let Err(fault) = self.series(symbols, series) {
                self.faults.push(fault);
            }
        }
    }

    fn series(&mut self, symbols: &[String], series: &TimeSeries2) -> Result<(), String> {
        let text = |at: u32| symbols.get(at as usize).cloned().ok_or_else(|| format!("no symbol {at}"));
        let refs = &series.labels_refs;
        let labels: Result<Vec<(String, String)>, String> = refs
            .chunks(2)
            .map(|pair| Ok((text(pair[0])?, text(*pair.get(1).ok_or("half a label")?)?)))
            .collect();
        let labels = labels?;
        let name = labels.iter().find(|(name, _)| name == "__name__").map(|(_, value)| value.clone());
        let name = name.ok_or("no __name__")?;
        if !labels.windows(2).all(|two| two[0].0 < two[1].0) {
            return Err(format!("labels are not sorted, or twice: {labels:?}"));
        }
        if labels.iter().any(|(name, value)| name.is_empty() || value.is_empty()) {
            return Err(format!("an empty label: {labels:?}"));
        }
        if !labels.contains(&("job".to_owned(), "netcheck-hub".to_owned())) {
            return Err(format!("no extra label: {labels:?}"));
        }
        let [sample] = series.samples[..] else { return Err(format!("{} samples", series.samples.len())) };
        let stale = sample.value.to_bits() == STALE.to_bits();
        // What a series was is not described again when it ends.
        if let Some(metadata) = &series.metadata {
            let described = (metadata.r#type, text(metadata.help_ref)?, text(metadata.unit_ref)?);
            let expected = if name == "netcheck_test_probes_total" {
                (1, "Probes.".to_owned(), String::new())
            } else {
                (2, "A delay.".to_owned(), "seconds".to_owned())
            };
            if described != expected {
                return Err(format!("{name}: {described:?}"));
            }
        } else if !stale {
            return Err(format!("{name}: no metadata"));
        }
        let newest = self.newest.insert(labels, sample.timestamp);
        if newest.is_some_and(|newest| newest >= sample.timestamp) {
            return Err(format!("{name}: {} after {newest:?}", sample.timestamp));
        }
        self.samples += 1;
        self.stale += u64::from(stale);
        Ok(())
    }
}
