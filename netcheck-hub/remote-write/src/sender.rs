//! Sends what is in the queue, oldest first, one block at a time.
//!
//! Cancelled, it goes on for a moment as long as the receiver takes what it is sent: what is only in memory would be lost.
//! What is on disk is sent after the restart.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use netcheck_outbound::{Client, Patience};
use tokio_util::sync::CancellationToken;

use crate::message::{WriteRequest, compressed, decompressed};
use crate::queue::Head;
use crate::taker::{Shared, TakerTask};
use crate::version::{Negotiation, Verdict, Version, Wanted};

const VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-write-version");
/// The first pause after a failure, and the longest one: as Prometheus sends.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long it goes on after the end was asked for: less than the hub has for its own.
const DRAIN: Duration = Duration::from_secs(3);

/// Sends.
pub struct SenderTask {
    client: Client,
    shared: Arc<Shared>,
    negotiation: Negotiation,
    patience: Patience,
}

impl SenderTask {
    /// Sends what that one takes.
    #[must_use]
    pub fn new(client: Client, taker: &TakerTask, wanted: Wanted) -> Self {
        let patience = Patience::new(FIRST_PAUSE, LONGEST_PAUSE);
        let shared = Arc::clone(&taker.shared);
        Self { client, shared, negotiation: Negotiation::new(wanted), patience }
    }

    /// Sends until cancelled, and a moment longer.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let pushed = Arc::clone(&self.shared);
            let pause = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                pause = self.send_all() => pause,
            };
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = async { match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => pushed.pushed.notified().await,
                } } => {}
            }
        }
        // Where the receiver is away, or slow, it stays.
        drop(tokio::time::timeout(DRAIN, self.send_all()).await);
    }

    /// Sends until the queue is empty, or how long to wait before the next attempt.
    async fn send_all(&mut self) -> Option<Duration> {
        while let Some(head) = self.head().await {
            if let Some(pause) = self.send(head).await {
                return Some(pause);
            }
        }
        None
    }

    /// The disk is waited for on a thread that may.
    async fn head(&self) -> Option<Head> {
        let shared = Arc::clone(&self.shared);
        let head = tokio::task::spawn_blocking(move || {
            let mut queue = shared.lock();
            let head = queue.head();
            shared.show(&mut queue);
            head
        });
        head.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    async fn done(&self, number: u64) {
        let shared = Arc::clone(&self.shared);
        let done = tokio::task::spawn_blocking(move || {
            let mut queue = shared.lock();
            queue.done(number);
            shared.show(&mut queue);
        });
        done.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    }

    /// Sends one block, until it is done or to be tried again later.
    async fn send(&mut self, head: Head) -> Option<Duration> {
        let samples = u64::from(head.block.samples);
        loop {
            let version = self.negotiation.version();
            let Ok(body) = body(version, &head.block.bytes) else {
                // Its checksum is right, so it was written like that: by a hub that is broken.
                self.shared.entry.update(|standing| standing.dropped += samples);
                self.done(head.number).await;
                return None;
            };
            let headers = [
                (CONTENT_TYPE, version.content_type()),
                (CONTENT_ENCODING, "snappy"),
                (VERSION, version.header()),
            ];
            let verdict = match self.client.post(self.client.url(), &headers, body).await {
                Ok(answer) => self.negotiation.judge(&answer, samples, SystemTime::now()),
                Err(error) => Verdict::Later { why: error.to_string(), after: None },
            };
            match verdict {
                Verdict::Other => tracing::info!("remote write: the receiver speaks version 1.0"),
                Verdict::Later { why, after } => {
                    self.fail(why);
                    return Some(self.patience.pause(after));
                }
                Verdict::Done { written, refused } => {
                    self.patience.reset();
                    self.report(written, samples - written, refused);
                    self.done(head.number).await;
                    return None;
                }
            }
        }
    }

    fn fail(&self, why: String) {
        if self.shared.entry.standing().trouble.as_ref() != Some(&why) {
            tracing::warn!("remote write: {why}; trying again");
        }
        self.shared.entry.update(|standing| {
            standing.retries += 1;
            standing.trouble = Some(why);
        });
    }

    fn report(&self, written: u64, refused: u64, why: Option<String>) {
        if let Some(why) =
            why.as_ref().filter(|why| self.shared.entry.standing().refusal.as_ref() != Some(*why))
        {
            tracing::warn!("remote write: {refused} samples were refused for good: {why}");
        }
        self.shared.entry.update(|standing| {
            standing.sent += written;
            standing.refused += refused;
            standing.trouble = None;
            standing.refusal = why;
        });
    }
}

/// A block in the words of a version.
fn body(version: Version, block: &[u8]) -> Result<Bytes, crate::message::DecodeError> {
    match version {
        Version::One => Ok(Bytes::copy_from_slice(block)),
        Version::Two => Ok(compressed(&decompressed::<WriteRequest>(block)?.to_v2()).into()),
    }
}
