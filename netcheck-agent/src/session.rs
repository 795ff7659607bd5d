//! The session with the hub: one bidirectional stream, taken up again whenever it breaks.
//!
//! In: plans, questions and acknowledgements from the hub; batches from the outbox; the engine's replies. Out:
//! commands to the engine, batches and status to the hub. [`SessionTask`] is the task; a slow or absent hub holds up
//! nothing but the outbox. When told to shut down it goes on until everything in the outbox is acknowledged;
//! cancelling it loses what is not.

mod backoff;
pub(crate) mod connect;
mod exchange;

use std::sync::Arc;
use std::time::Duration;

use netcheck_proto::v1;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::backoff::Backoff;
use self::connect::{Connect, ConnectError};
use self::exchange::Exchange;
use crate::buffer::outbox::Outbox;
use crate::engine::{EngineHandle, EngineReply, EngineStatus};
use crate::plan::PlanGap;
use crate::token::{TokenError, TokenFile};
use crate::usage::Uptime;

/// TCP and HTTP/2 handshakes, and the wait for the hub's welcome.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionEnd {
    /// No connection.
    #[error("can't connect: {}", cause(.0))]
    Connect(#[source] ConnectError),
    /// There is no token to show.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The hub ended it. tonic's own timeouts show as `Cancelled` here.
    #[error("the hub ended the session: {code:?}: {}", message)]
    Refused {
        /// gRPC status.
        code: tonic::Code,
        /// What the hub said.
        message: String,
    },
    /// The hub closed the stream without an error.
    #[error("the hub closed the session")]
    Closed,
    /// The hub did not speak in time.
    #[error("the hub did not answer within {CONNECT_TIMEOUT:?}")]
    Silent,
    /// The hub spoke out of turn.
    #[error("the hub began with something else than a welcome")]
    NoWelcome,
    /// A plan that builds on one that is not held here: a new session begins with a full one.
    #[error(transparent)]
    Gap(#[from] PlanGap),
    /// The engine's thread is gone.
    #[error("the probe engine has ended")]
    Engine,
    /// Everything is acknowledged, and nothing will come any more.
    #[error("done")]
    Done,
}

/// tonic says "transport error"; the reason is at the end of the chain.
fn cause(error: &ConnectError) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

impl From<tonic::Status> for SessionEnd {
    fn from(status: tonic::Status) -> Self {
        Self::Refused { code: status.code(), message: status.message().to_owned() }
    }
}

/// How things stand with the hub.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HubState {
    pub(crate) connected: bool,
    /// Sessions that got a welcome.
    pub(crate) sessions: u64,
    /// Why the last one ended or did not begin; empty while connected.
    pub(crate) trouble: String,
}

/// Keeps up the session.
pub(crate) struct SessionTask {
    pub(crate) connect: Connect,
    /// Shown to the hub at the begin of every session.
    pub(crate) token: Option<TokenFile>,
    /// Everything in it but the plan's version and the time.
    pub(crate) hello: v1::Hello,
    pub(crate) engine: EngineHandle,
    pub(crate) replies: mpsc::Receiver<EngineReply>,
    pub(crate) status: watch::Receiver<EngineStatus>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) hub: watch::Sender<HubState>,
    pub(crate) uptime: Uptime,
}

impl SessionTask {
    /// Runs until `shutdown` and then until the outbox is done, or a last attempt to reach the hub has failed.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut backoff = Backoff::new();
        loop {
            let last = shutdown.is_cancelled();
            let (end, healthy) = self.session(&shutdown).await;
            if let SessionEnd::Done = end {
                return;
            }
            if healthy {
                backoff.reset();
            }
            let delay = backoff.next_delay();
            tracing::warn!(retry_in_ms = delay.as_millis() as u64, "{end}");
            self.hub.send_modify(|hub| {
                hub.connected = false;
                hub.trouble = end.to_string();
            });
            if last || self.outbox.is_done() {
                return;
            }
            tokio::select! {
                () = sleep(delay) => {}
                () = shutdown.cancelled() => {}
            }
        }
    }

    /// One session: why it ended, and whether it had been a healthy one.
    async fn session(&mut self, shutdown: &CancellationToken) -> (SessionEnd, bool) {
        let channel = match timeout(CONNECT_TIMEOUT, (self.connect)()).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return (SessionEnd::Connect(error), false),
            Err(_elapsed) => return (SessionEnd::Silent, false),
        };
        // What the engine answered to a session that is gone concerns nobody any more.
        while self.replies.try_recv().is_ok() {}
        let mut exchange = match Exchange::begin(channel, self).await {
            Ok(exchange) => exchange,
            Err(end) => return (end, false),
        };
        self.hub.send_modify(|hub| {
            hub.connected = true;
            hub.sessions += 1;
            hub.trouble.clear();
        });
        tracing::info!(hub = exchange.hub_instance(), "session with the hub");
        let end = exchange.run(self, shutdown).await;
        (end, exchange.healthy())
    }
}

#[cfg(test)]
mod tests;
