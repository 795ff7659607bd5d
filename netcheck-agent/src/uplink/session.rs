//! The session with the hub: one bidirectional stream, taken up again whenever it breaks.
//!
//! In: plans, questions and acknowledgements from the hub; batches from the outbox; the engine's replies. Out:
//! commands to the engine, batches and status to the hub. [`SessionTask`] is the task; a slow or absent hub holds up
//! nothing but the outbox. When told to shut down it goes on until everything in the outbox is acknowledged;
//! cancelling it loses what is not.

pub(crate) mod connect;
mod end;
mod exchange;
pub(crate) mod failover;
mod standing;

use std::sync::Arc;
use std::time::Duration;

use netcheck_proto::v1;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::connect::addresses::HubAddresses;
use self::connect::relays::Relays;
use self::connect::{Connect, Connection};
use self::end::{SessionEnd, cause};
use self::exchange::Exchange;
use self::failover::{Failover, Race};
use self::standing::{EndLog, Ended, note_end, was_steady};
use crate::engine::{EngineHandle, EngineReply};
use crate::host::usage::Uptime;
use crate::model::status::{EngineStatus, HubState};
use crate::net::backoff::Backoff;
use crate::relay::nodes::NodeAddresses;
use crate::uplink::buffer::outbox::Outbox;
use crate::uplink::token::TokenFile;

/// TCP and HTTP/2 handshakes, and the wait for the hub's welcome.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Keeps up the session.
pub(crate) struct SessionTask {
    pub(crate) connect: Connect,
    /// Learns which of them were good.
    pub(crate) addresses: Arc<HubAddresses>,
    /// Who passes the session on while it can't reach the hub; learns of them from the hub.
    pub(crate) relays: Arc<Relays>,
    /// Whose sessions are passed on; learns of them from the plan.
    pub(crate) nodes: Arc<NodeAddresses>,
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
    /// What else is to be said of this agent as a line of what is degraded.
    pub(crate) notice: Notice,
}

/// Looks whether there is something to be said just now.
pub(crate) type Notice = Arc<dyn Fn() -> Option<String> + Send + Sync>;

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
    /// Whether it went through another agent; none where nothing had connected.
    relayed: Option<bool>,
    /// When the hub said something last.
    heard: Option<Instant>,
}

impl Past {
    /// One that did not begin.
    fn unwelcome(end: SessionEnd, relayed: Option<bool>) -> Self {
        Self { end, lived: None, useful: false, relayed, heard: None }
    }

    fn for_failover(&self, now: Instant) -> failover::Past {
        let heard = match self.end {
            // Whatever still comes from there: nothing arrives.
            SessionEnd::Stalled => now.checked_sub(failover::PATIENCE),
            _ if self.end.is_of_hub() => Some(now),
            _ => self.heard,
        };
        failover::Past { relayed: self.relayed, lived: self.lived, heard }
    }
}

impl SessionTask {
    /// Runs until `shutdown` and then until the outbox is done, or a last attempt to reach the hub has failed.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut backoff = Backoff::new();
        let mut failover = Failover::new(Instant::now());
        let mut log = EndLog::default();
        // A connection that was made while the session went another way.
        let mut made = None;
        loop {
            let last = shutdown.is_cancelled();
            let race = failover.race(Instant::now());
            let every = failover.return_every();
            let (past, returned) = self.session((made.take(), race, every), &shutdown, &log).await;
            if let SessionEnd::Done = past.end {
                return;
            }
            if past.lived.is_none() {
                self.addresses.failed();
                self.relays.failed();
            }
            let now = Instant::now();
            let at_once = failover.ended(past.for_failover(now), now);
            let Past { end, lived, useful, .. } = past;
            self.hub.send_modify(|hub| note_end(hub, &end));
            if last || self.outbox.is_done() {
                return;
            }
            if end.is_session_taken() {
                tracing::error!("{end}: this agent starts anew with another one");
                self.hub.send_modify(|hub| hub.session_taken = true);
                return;
            }
            if let Some(connection) = returned {
                failover.returns(now);
                made = Some(connection);
                continue;
            }
            if shutdown.is_cancelled() {
                // Once more, at once, for what is left.
                continue;
            }
            let steady = was_steady(&end, lived.unwrap_or_default(), useful);
            if steady {
                backoff.reset();
            }
            let delay = match (at_once, end.is_contested()) {
                (true, false) => Duration::ZERO,
                (_, true) => backoff.next_delay(),
                (false, false) => backoff.next_short_delay(),
            };
            log.ended(&end, Ended { welcomed: lived.is_some(), steady, delay });
            tokio::select! {
                () = sleep(delay) => {}
                () = shutdown.cancelled() => {}
            }
        }
    }

    /// One session, to its end. With the direct connection that ended it, where one did.
    async fn session(
        &mut self,
        (made, race, return_every): (Option<Connection>, Race, Duration),
        shutdown: &CancellationToken,
        log: &EndLog,
    ) -> (Past, Option<Connection>) {
        let connection = match made {
            Some(connection) => connection,
            None => match self.connect(race).await {
                Ok(connection) => connection,
                Err(end) => return (Past::unwelcome(end, self.connected()), None),
            },
        };
        let way = connection.way.clone();
        let relayed = Some(way.relay().is_some());
        // What the engine answered to a session that is gone concerns nobody any more.
        while self.replies.try_recv().is_ok() {}
        while self.culprits.answers.try_recv().is_ok() {}
        let mut exchange = match Exchange::begin(connection, self).await {
            Ok(exchange) => exchange,
            Err(end) => return (Past::unwelcome(end, relayed), None),
        };
        let welcomed = Instant::now();
        self.hub.send_modify(|hub| hub.welcomed(welcomed, way.clone()));
        self.addresses.succeeded();
        self.relays.succeeded();
        log.begun(exchange.hub_instance(), &way);
        let returning =
            Returning { connect: Arc::clone(&self.connect), hub: self.hub.clone(), every: return_every };
        let mut returned = None;
        let end = tokio::select! {
            end = exchange.run(self, shutdown) => end,
            connection = returning.run(), if relayed == Some(true) => {
                returned = Some(connection);
                SessionEnd::Returned
            }
        };
        let (lived, heard) = (Some(welcomed.elapsed()), Some(exchange.last_heard()));
        (Past { end, lived, useful: exchange.useful(), relayed, heard }, returned)
    }

    async fn connect(&self, race: Race) -> Result<Connection, SessionEnd> {
        let connected = timeout(CONNECT_TIMEOUT, (self.connect)(race)).await;
        connected.map_err(|_elapsed| SessionEnd::Silent)?.map_err(SessionEnd::Connect)
    }

    /// What the newest connection went through, though no session came of it; none where there was no connection.
    fn connected(&self) -> Option<bool> {
        match (self.relays.has_connected(), self.addresses.has_connected()) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        }
    }
}

/// Looks for the direct way while the session goes through another agent.
struct Returning {
    connect: Connect,
    hub: watch::Sender<HubState>,
    every: Duration,
}

impl Returning {
    /// Until there is a direct connection.
    async fn run(self) -> Connection {
        loop {
            sleep(self.every).await;
            let line = match timeout(CONNECT_TIMEOUT, (self.connect)(Race::DIRECT)).await {
                Ok(Ok(connection)) => return connection,
                Ok(Err(error)) => format!("no direct connection: {}", cause(&error)),
                Err(_elapsed) => "a direct connection does not come about in time".to_owned(),
            };
            self.hub.send_modify(|hub| hub.not_direct(line));
        }
    }
}

#[cfg(test)]
mod tests;
