//! The generic webhook: one `POST` of one JSON document for each event. Its shape is documented in docs/operations.md.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use netcheck_outbound::Client;
use serde::Serialize;

use crate::notice::{Culprit, Object};
use crate::sent_log::{Event, Message, Style};
use crate::task::{Receiver, SendError, deliver};
use crate::words::{Label, labels, time};

/// Names the document's shape. Fields may be added under the same name; whoever reads ignores what it does not know.
pub const SCHEMA: &str = "netcheck.io/notification/v1";

/// One webhook.
#[derive(Debug)]
pub struct Webhook {
    client: Client,
    labels: Vec<Label>,
}

impl Webhook {
    /// The client's URL is posted to as it is.
    #[must_use]
    pub fn new(client: Client, labels: Vec<Label>) -> Self {
        Self { client, labels }
    }
}

impl Receiver for Webhook {
    const NAME: &'static str = "webhook";
    const BATCH: usize = 1;

    fn style(&self) -> Style {
        Style::Once
    }

    async fn send(&self, messages: &[Message]) -> Result<(), SendError> {
        for message in messages {
            let body = Bytes::from(body(message, &self.labels));
            let headers = [(CONTENT_TYPE, "application/json")];
            deliver(self.client.post(self.client.url(), &headers, body).await)?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    id: String,
    event: &'static str,
    labels: BTreeMap<&'a str, &'a str>,
    incident: Incident<'a>,
}

#[derive(Serialize)]
struct Incident<'a> {
    id: &'a str,
    kind: &'a str,
    verdict: &'a str,
    certainty: &'a str,
    headline: &'a str,
    cause: &'a str,
    broken: &'a str,
    place: &'a str,
    command: &'a str,
    culprits: &'a [Culprit],
    evidence: &'a [String],
    paths: u64,
    sources: &'a [String],
    targets: &'a [String],
    blames: Option<&'a Object>,
    first_seen: String,
    last_seen: String,
    opened_at: String,
    closed_at: Option<String>,
    merged_into: Option<&'a str>,
}

/// The document.
///
/// # Panics
/// Never: text and maps of text have a form in JSON.
#[must_use]
pub fn body(message: &Message, own: &[Label]) -> String {
    let notice = &message.sent.notice;
    let document = Document {
        schema: SCHEMA,
        id: message.id(),
        event: match message.event {
            Event::Opened => "opened",
            Event::Changed | Event::Repeated => "changed",
            Event::Closed => "closed",
        },
        labels: labels(&message.sent, own),
        incident: Incident {
            id: &notice.id,
            kind: &notice.kind,
            verdict: &notice.verdict,
            certainty: &notice.certainty,
            headline: &notice.headline,
            cause: &notice.cause,
            broken: &notice.broken,
            place: &notice.place,
            command: &notice.command,
            culprits: &notice.culprits,
            evidence: &notice.evidence,
            paths: notice.paths,
            sources: &notice.sources,
            targets: &notice.targets,
            blames: notice.blames.as_ref(),
            first_seen: time(notice.first_seen_ns),
            last_seen: time(notice.last_seen_ns),
            opened_at: time(notice.opened_ns),
            closed_at: notice.closed_ns.map(time),
            merged_into: notice.merged_into.as_deref(),
        },
    };
    serde_json::to_string(&document).expect("text has a form in JSON")
}
