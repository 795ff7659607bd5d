//! The pages of metrics as scrapers ask for them. A page is made once for each tick of the hub, whoever asks and however
//! many: the rest of the hub does not wait for it, nor do those who ask of its health.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::header::{ACCEPT, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use tokio::sync::Mutex;

use super::{Snapshot, protobuf, snapshot, text};
use crate::state::Hub;

/// A format of scrapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus's text, 0.0.4: for whoever says nothing.
    Text,
    /// Protobuf, with native histograms.
    Protobuf,
}

impl Format {
    const ALL: [Self; 3] = [Self::OpenMetrics, Self::Text, Self::Protobuf];

    /// What a request's `Accept` wants most.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let accept = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let mut best = (0.0, Self::Text);
        for range in accept.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
            let parameter = |wanted: &str| {
                let found = parameters.iter().find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted));
                found.map(|(_, value)| value.trim().trim_matches('"'))
            };
            let format = match kind.to_ascii_lowercase().as_str() {
                "application/openmetrics-text" => Self::OpenMetrics,
                "text/plain" => Self::Text,
                "application/vnd.google.protobuf"
                    if parameter("proto") == Some("io.prometheus.client.MetricFamily")
                        && parameter("encoding") == Some("delimited") =>
                {
                    Self::Protobuf
                }
                _ => continue,
            };
            let quality = parameter("q").map_or(Some(1.0), |q| q.parse::<f64>().ok()).unwrap_or(0.0);
            if quality > best.0 {
                best = (quality, format);
            }
        }
        best.1
    }

    /// Its `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::Protobuf => protobuf::CONTENT_TYPE,
        }
    }

    fn write(self, snapshot: &Snapshot) -> Bytes {
        match self {
            Self::OpenMetrics => text::write(snapshot, text::Format::OpenMetrics).into(),
            Self::Text => text::write(snapshot, text::Format::Prometheus).into(),
            Self::Protobuf => protobuf::write(snapshot).into(),
        }
    }
}

#[derive(Default)]
struct Cached {
    /// Of which tick; none: of none yet.
    tick_ns: i64,
    snapshot: Arc<Snapshot>,
    pages: [Option<Bytes>; Format::ALL.len()],
}

/// The pages of one hub.
pub struct Pages {
    hub: Arc<Hub>,
    cached: Mutex<Cached>,
}

impl Pages {
    /// None made yet.
    #[must_use]
    pub fn new(hub: Arc<Hub>) -> Self {
        Self { hub, cached: Mutex::default() }
    }

    /// The page of the newest tick. Whoever asks while it is made waits for it.
    pub async fn page(&self, format: Format) -> Option<Bytes> {
        let mut cached = self.cached.lock().await;
        let tick_ns = *self.hub.ticks().borrow();
        // Before the first tick there is nothing to hold a page against.
        if cached.tick_ns != tick_ns || tick_ns == 0 {
            let hub = Arc::clone(&self.hub);
            let made = tokio::task::spawn_blocking(move || snapshot(&hub)).await.ok()?;
            *cached = Cached { tick_ns, snapshot: Arc::new(made), pages: Default::default() };
        }
        if let Some(page) = &cached.pages[format as usize] {
            return Some(page.clone());
        }
        let made = Arc::clone(&cached.snapshot);
        let page = tokio::task::spawn_blocking(move || format.write(&made)).await.ok()?;
        cached.pages[format as usize] = Some(page.clone());
        Some(page)
    }

    /// The answer to a scrape.
    pub async fn answer(&self, headers: &HeaderMap) -> Response {
        let format = Format::of(headers);
        match self.page(format).await {
            Some(page) => ([(CONTENT_TYPE, format.content_type()), (VARY, "Accept")], page).into_response(),
            None => (StatusCode::INTERNAL_SERVER_ERROR, "the page could not be made\n").into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(accept: &str) -> Format {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        Format::of(&headers)
    }

    #[test]
    fn who_asks_gets_what_it_wants_most() {
        // As Prometheus 2.42 asks, with native histograms and without.
        let protobuf =
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        let text =
            "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(of(&format!("{protobuf},{text}")), Format::Protobuf);
        assert_eq!(of(text), Format::OpenMetrics);
        assert_eq!(of("*/*"), Format::Text);
        assert_eq!(of("text/plain;q=0.9, application/openmetrics-text; q=0.3"), Format::Text);
        assert_eq!(of("application/vnd.google.protobuf"), Format::Text);
        assert_eq!(of("text/plain;q=x,application/openmetrics-text;q=0.1"), Format::OpenMetrics);
        assert_eq!(Format::of(&HeaderMap::new()), Format::Text);
    }
}
