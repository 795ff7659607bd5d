//! Alertmanager's API v2: `POST /api/v2/alerts`.
//!
//! An alert that Alertmanager does not hear of again is over when its `endsAt` has come. So open incidents are sent again
//! every minute with an `endsAt` some minutes ahead: a hub that is gone for good leaves no alert behind, and one that is
//! restarted within that time resolves none.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use netcheck_outbound::Client;
use serde::Serialize;

use crate::sent_log::{Event, Message, Style};
use crate::task::{Receiver, SendError, deliver};
use crate::words::{Label, labels, text, time};

/// How often what is open is sent again, as Prometheus does.
pub const EVERY: Duration = Duration::from_secs(60);
/// How many times that an alert outlasts its last repetition.
const HELD: u32 = 5;

/// One Alertmanager.
#[derive(Debug)]
pub struct Alertmanager {
    client: Client,
    labels: Vec<Label>,
    every: Duration,
}

impl Alertmanager {
    /// The client's URL is that of the web page: `http://alertmanager:9093`. `labels` are added to every alert.
    #[must_use]
    pub fn new(client: Client, labels: Vec<Label>, every: Duration) -> Self {
        Self { client, labels, every }
    }
}

impl Receiver for Alertmanager {
    const NAME: &'static str = "alertmanager";
    const BATCH: usize = 64;

    fn style(&self) -> Style {
        Style::Repeated { every: self.every }
    }

    async fn send(&self, messages: &[Message]) -> Result<(), SendError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ns = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
        let body = body(messages, &self.labels, now_ns, self.every * HELD);
        let url = self.client.url().join("api/v2/alerts");
        deliver(self.client.post(&url, &[(CONTENT_TYPE, "application/json")], Bytes::from(body)).await)
    }
}

/// `postableAlert`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Alert<'a> {
    labels: BTreeMap<&'a str, &'a str>,
    annotations: BTreeMap<&'static str, String>,
    starts_at: String,
    ends_at: String,
}

/// The alerts of these incidents. `held`: how long the open ones last if nothing more is heard of them.
///
/// # Panics
/// Never: text and maps of text have a form in JSON.
#[must_use]
pub fn body(messages: &[Message], own: &[Label], now_ns: i64, held: Duration) -> String {
    let alert = |message: &'_ Message| {
        let until_ns = now_ns.saturating_add(i64::try_from(held.as_nanos()).unwrap_or(i64::MAX));
        // An end that has not come by this clock would be none.
        let over = message.event == Event::Closed;
        let ends_ns = message.sent.notice.closed_ns.filter(|_| over).map_or(until_ns, |ns| ns.min(now_ns));
        let starts_ns = message.sent.starts_ns.min(ends_ns);
        (starts_ns, ends_ns)
    };
    let alerts: Vec<Alert<'_>> = messages
        .iter()
        .map(|message| {
            let (starts_ns, ends_ns) = alert(message);
            Alert {
                labels: labels(&message.sent, own),
                annotations: annotations(message),
                starts_at: time(starts_ns),
                ends_at: time(ends_ns),
            }
        })
        .collect();
    serde_json::to_string(&alerts).expect("text has a form in JSON")
}

fn annotations(message: &Message) -> BTreeMap<&'static str, String> {
    let notice = &message.sent.notice;
    let culprits: Vec<String> =
        notice.culprits.iter().map(|culprit| format!("on {}: {}", culprit.node, culprit.object)).collect();
    let mend = notice.culprits.iter().map(|culprit| culprit.mend.as_str()).find(|mend| !mend.is_empty());
    let all = [
        ("summary", notice.headline.clone()),
        ("description", text(notice.evidence.iter().map(String::as_str))),
        ("cause", notice.cause.clone()),
        ("kind", notice.kind.clone()),
        ("broken", notice.broken.clone()),
        ("place", notice.place.clone()),
        ("command", notice.command.clone()),
        ("culprit", text(culprits.iter().map(String::as_str))),
        ("mend", mend.unwrap_or_default().to_owned()),
        ("verdict", notice.verdict.clone()),
        ("certainty", notice.certainty.clone()),
        ("paths", notice.paths.to_string()),
    ];
    all.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}
