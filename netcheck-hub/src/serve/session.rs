//! `AgentService.Session`: one stream per agent.
//!
//! No task of its own: the response stream is the session. It reads what the agent sends and yields what the hub has
//! to say; when the transport drops it, at whatever point, the session is over and `SessionGuard` takes it off the books.
//! While the agent does not read, nothing more is read of it either.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use netcheck_proto::v1::agent_service_server::AgentService;
use netcheck_proto::v1::session_request::Message as FromAgent;
use netcheck_proto::v1::session_response::Message as ToAgent;
use netcheck_proto::{parts, v1};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status, Streaming};

use self::opening::Opening;
use self::standing::Standing;
use crate::serve::accept::Caller;
use crate::serve::identity::Identity;
use crate::serve::opened::Admitted;
use crate::state::Hub;
use netcheck_analysis::model::NodeIx;
use netcheck_analysis::model::clock::unix_now_ns;
use netcheck_analysis::plan::Plan;
use netcheck_analysis::plan::relays::RelayTable;

mod heard;
mod opening;
mod standing;

/// The service.
pub struct Sessions {
    hub: Arc<Hub>,
    identity: Arc<Identity>,
    shutdown: CancellationToken,
}

impl Sessions {
    /// Sessions end when `shutdown` is cancelled.
    #[must_use]
    pub fn new(hub: Arc<Hub>, identity: Arc<Identity>, shutdown: CancellationToken) -> Self {
        Self { hub, identity, shutdown }
    }
}

/// The token of a request (RFC 6750 §2.1).
fn bearer(metadata: &MetadataMap) -> Option<String> {
    let (scheme, token) = metadata.get("authorization")?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

type Answers = Pin<Box<dyn Stream<Item = Result<v1::SessionResponse, Status>> + Send>>;

#[tonic::async_trait]
impl AgentService for Sessions {
    type SessionStream = Answers;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Answers>, Status> {
        // The answer starts at once: an agent may wait for the headers before it speaks.
        let caller = request.extensions().get::<Caller>().cloned();
        let admitted = request.extensions().get::<Admitted>().cloned().unwrap_or_default();
        let opening = Opening {
            hub: Arc::clone(&self.hub),
            identity: Arc::clone(&self.identity),
            bearer: bearer(request.metadata()),
            shutdown: self.shutdown.clone(),
            peer: caller.as_ref().map(|caller| caller.peer).or(request.remote_addr()),
            caller,
            admitted,
            claims: None,
            inbound: request.into_inner(),
        };
        let stream = futures::stream::unfold(State::Opening(Box::new(opening)), State::step);
        Ok(Response::new(Box::pin(stream)))
    }
}

enum State {
    Opening(Box<Opening>),
    Open(Box<Session>),
    Over,
}

type Item = Result<v1::SessionResponse, Status>;

impl State {
    async fn step(self) -> Option<(Item, Self)> {
        let opened = match self {
            Self::Opening(opening) => opening.open().await,
            Self::Open(session) => Ok(session),
            Self::Over => return None,
        };
        let next = match opened {
            Ok(session) => session.next().await,
            Err(status) => Err(status),
        };
        match next {
            Ok(Some((message, session))) => {
                Some((Ok(v1::SessionResponse { message: Some(message) }), Self::Open(session)))
            }
            Ok(None) => None,
            Err(status) => Some((Err(status), Self::Over)),
        }
    }
}

fn shutting_down() -> Status {
    Status::unavailable("the hub is shutting down")
}

/// Takes the session off the books when it ends, however it ends.
pub(crate) struct SessionGuard {
    pub(crate) hub: Arc<Hub>,
    pub(crate) node: NodeIx,
    pub(crate) name: String,
    pub(crate) generation: u64,
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        let mut state = self.hub.lock();
        let agent = state.agent_mut(self.node);
        if agent.live.as_ref().is_some_and(|live| live.generation == self.generation) {
            agent.live = None;
            tracing::info!(node = self.name, "agent disconnected");
        }
    }
}

struct Session {
    standing: Standing,
    admitted: Admitted,
    guard: SessionGuard,
    shutdown: CancellationToken,
    superseded: CancellationToken,
    inbound: Streaming<v1::SessionRequest>,
    plans: watch::Receiver<Arc<Plan>>,
    last_sent: Option<Arc<Plan>>,
    relays: watch::Receiver<Arc<RelayTable>>,
    relays_sent: v1::Relays,
    /// The agent knows what a change of the address table is.
    table_changes: bool,
    control: mpsc::Receiver<ToAgent>,
    ready: VecDeque<ToAgent>,
}

impl Session {
    /// The next thing to send to the agent; none when it hung up.
    async fn next(mut self: Box<Self>) -> Result<Option<(ToAgent, Box<Self>)>, Status> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Ok(Some((message, self)));
            }
            // Every branch is cancellation-safe: nothing is taken from a channel that is not handled.
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Err(shutting_down()),
                () = self.superseded.cancelled() => {
                    return Err(Status::aborted("superseded by a newer session of this node"));
                }
                changed = self.plans.changed() => {
                    if changed.is_err() {
                        return Err(Status::internal("the plan's sender is gone"));
                    }
                    self.send_plan();
                }
                Ok(()) = self.relays.changed() => self.send_relays(),
                held = self.standing.check_when_due(&self.guard.name, &self.guard.hub) => held?,
                message = self.control.recv() => match message {
                    Some(message) => self.ready.push_back(message),
                    None => return Err(Status::aborted("superseded by a newer session of this node")),
                },
                message = self.inbound.message() => match message {
                    Ok(Some(message)) => {
                        match message.message {
                            Some(FromAgent::TokenRenewal(renewal)) => self.standing.renew(renewal.token),
                            other => self.guard.hear(other, unix_now_ns(), &mut self.ready),
                        }
                        // Whatever it was: while it has the turn, others wait.
                        self.admitted.heard();
                    }
                    Ok(None) => return Ok(None),
                    Err(status) => {
                        tracing::debug!(node = self.guard.name, "session ended: {status}");
                        // Too large, or no message: whoever sent it gets an error. All else is the transport's end.
                        if !matches!(status.code(), Code::OutOfRange | Code::Internal) {
                            return Ok(None);
                        }
                        self.guard.hub.lock().counters.messages_refused += 1;
                        return Err(status);
                    }
                },
            }
        }
    }

    /// Says to the agent through whom it may come, where that changed. Older agents pass it over.
    fn send_relays(&mut self) {
        let table = Arc::clone(&self.relays.borrow_and_update());
        let relays = table.to_wire(&self.guard.name);
        if relays != self.relays_sent {
            self.relays_sent = relays.clone();
            self.ready.push_back(ToAgent::Relays(relays));
        }
    }

    fn send_plan(&mut self) {
        let plan = Arc::clone(&self.plans.borrow_and_update());
        let timing = &self.guard.hub.settings.timing;
        let mut delta = plan.delta(self.last_sent.as_deref(), &self.guard.name, timing);
        if delta.addresses.as_ref().is_some_and(|table| table.change) && !self.table_changes {
            delta.addresses = Some(plan.address_table(None, &self.guard.name));
        }
        self.last_sent = Some(plan);
        self.ready.extend(parts::split(delta).into_iter().map(ToAgent::Plan));
    }
}
