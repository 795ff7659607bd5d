//! The session with the hub: one bidirectional stream, taken up again whenever it breaks.
//!
//! In: plans, questions and acknowledgements from the hub; batches from the outbox; the engine's replies. Out:
//! commands to the engine, batches and status to the hub. [`SessionTask`] is the task; a slow or absent hub holds up
//! nothing but the outbox. When told to shut down it goes on until everything in the outbox is acknowledged;
//! cancelling it loses what is not.

pub(crate) mod connect;
mod end;
mod exchange;
mod standing;

use std::sync::Arc;
use std::time::Duration;

use netcheck_proto::v1;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::connect::Connect;
use self::connect::addresses::HubAddresses;
use self::end::SessionEnd;
use self::exchange::Exchange;
use self::standing::{EndLog, Ended, note_end, was_steady};
use crate::engine::{EngineHandle, EngineReply};
use crate::host::usage::Uptime;
use crate::model::status::{EngineStatus, HubState};
use crate::net::backoff::Backoff;
use crate::uplink::buffer::outbox::Outbox;
use crate::uplink::token::TokenFile;

/// TCP and HTTP/2 handshakes, and the wait for the hub's welcome.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Keeps up the session.
pub(crate) struct SessionTask {
    pub(crate) connect: Connect,
    /// Learns which of them were good.
    pub(crate) addresses: Arc<HubAddresses>,
    /// Shown to the hub at the begin of every session.
    pub(crate) token: Option<TokenFile>,
    /// Everything in it but the plan's version and the time.
    pub(crate) hello: v1::Hello,
    pub(crate) engine: EngineHandle,
    pub(crate) replies: mpsc::Receiver<EngineReply>,
    pub(crate) culprits: Culprits,
    pub(crate) status: watch::Receiver<EngineStatus>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) hub: watch::Sender<HubState>,
    pub(crate) uptime: Uptime,
}

/// Whoever looks for what ends probes on this node; where nobody does, the other ends are closed.
pub(crate) struct Culprits {
    pub(crate) questions: mpsc::Sender<v1::CulpritQuestion>,
    pub(crate) answers: mpsc::Receiver<v1::CulpritAnswer>,
}

/// How a session went.
struct Past {
    end: SessionEnd,
    /// How long it lived, from the welcome on; `None` where there was none.
    lived: Option<Duration>,
    /// The hub took something from it.
    useful: bool,
}

impl From<SessionEnd> for Past {
    /// One that did not begin.
    fn from(end: SessionEnd) -> Self {
        Self { end, lived: None, useful: false }
    }
}

impl SessionTask {
    /// Runs until `shutdown` and then until the outbox is done, or a last attempt to reach the hub has failed.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut backoff = Backoff::new();
        let mut log = EndLog::default();
        loop {
            let last = shutdown.is_cancelled();
            let Past { end, lived, useful } = self.session(&shutdown, &log).await.unwrap_or_else(Past::from);
            if let SessionEnd::Done = end {
                return;
            }
            if lived.is_none() {
                self.addresses.failed();
            }
            self.hub.send_modify(|hub| note_end(hub, &end));
            if last || self.outbox.is_done() {
                return;
            }
            if shutdown.is_cancelled() {
                // Once more, at once, for what is left.
                continue;
            }
            let steady = was_steady(&end, lived.unwrap_or_default(), useful);
            if steady {
                backoff.reset();
            }
            let delay = if end.is_contested() { backoff.next_delay() } else { backoff.next_short_delay() };
            log.ended(&end, Ended { welcomed: lived.is_some(), steady, delay });
            tokio::select! {
                () = sleep(delay) => {}
                () = shutdown.cancelled() => {}
            }
        }
    }

    /// One session, to its end.
    async fn session(&mut self, shutdown: &CancellationToken, log: &EndLog) -> Result<Past, SessionEnd> {
        let connected = timeout(CONNECT_TIMEOUT, (self.connect)()).await;
        let channel = connected.map_err(|_elapsed| SessionEnd::Silent)?.map_err(SessionEnd::Connect)?;
        // What the engine answered to a session that is gone concerns nobody any more.
        while self.replies.try_recv().is_ok() {}
        while self.culprits.answers.try_recv().is_ok() {}
        let mut exchange = Exchange::begin(channel, self).await?;
        let welcomed = Instant::now();
        self.hub.send_modify(|hub| hub.welcomed(welcomed));
        self.addresses.succeeded();
        log.begun(exchange.hub_instance());
        let end = exchange.run(self, shutdown).await;
        Ok(Past { end, lived: Some(welcomed.elapsed()), useful: exchange.useful() })
    }
}

#[cfg(test)]
mod tests;
