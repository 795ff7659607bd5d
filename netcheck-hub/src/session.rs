//! `AgentService.Session`: one stream per agent.
//!
//! No task of its own: the response stream is the session. It reads what the agent sends and yields what the hub has
//! to say; when the transport drops it, at whatever point, the session is over and `Seat` takes it off the books.
//! While the agent does not read, nothing more is read of it either.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use netcheck_proto::v1;
use netcheck_proto::v1::agent_service_server::AgentService;
use netcheck_proto::v1::session_request::Message as FromAgent;
use netcheck_proto::v1::session_response::Message as ToAgent;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::agent::Live;
use crate::clock::unix_now_ns;
use crate::hub::{Hub, NodeIx};
use crate::ingest;
use crate::plan::Plan;

/// How long an agent may take to say Hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Questions and expedites on their way to one agent. More than a handful means that it does not read.
const CONTROL_DEPTH: usize = 64;
/// Nodes that the roster does not know may connect, for it may lag behind, but not without end.
const STRANGERS: usize = 1_000;
/// Longest node name and boot id (RFC 1123 subdomain).
const NAME_LEN: usize = 253;

/// The service.
pub struct Sessions {
    hub: Arc<Hub>,
    shutdown: CancellationToken,
}

impl Sessions {
    /// Sessions end when `shutdown` is cancelled.
    #[must_use]
    pub fn new(hub: Arc<Hub>, shutdown: CancellationToken) -> Self {
        Self { hub, shutdown }
    }
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
        let opening = Opening {
            hub: Arc::clone(&self.hub),
            shutdown: self.shutdown.clone(),
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

/// A stream on which nobody has said who they are.
struct Opening {
    hub: Arc<Hub>,
    shutdown: CancellationToken,
    inbound: Streaming<v1::SessionRequest>,
}

impl Opening {
    async fn open(mut self: Box<Self>) -> Result<Box<Session>, Status> {
        let first = tokio::select! {
            () = self.shutdown.cancelled() => return Err(shutting_down()),
            first = tokio::time::timeout(HELLO_TIMEOUT, self.inbound.message()) => first,
        };
        let hello = match first {
            Err(_) => Err(Status::deadline_exceeded("no hello within 10 s")),
            Ok(Err(status)) => Err(status),
            Ok(Ok(Some(v1::SessionRequest { message: Some(FromAgent::Hello(hello)) }))) => valid(hello),
            Ok(Ok(_)) => Err(Status::invalid_argument("the first message of a session is a hello")),
        };
        let hub = Arc::clone(&self.hub);
        let opened = hello.and_then(|hello| Session::open(*self, hello));
        opened.inspect_err(|status| {
            hub.lock().counters.sessions_refused += 1;
            tracing::debug!("session refused: {status}");
        })
    }
}

fn valid(hello: v1::Hello) -> Result<v1::Hello, Status> {
    let name_ok = |name: &str| {
        (1..=NAME_LEN).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
    };
    if !name_ok(&hello.node) {
        return Err(Status::invalid_argument("hello.node is not a node name"));
    }
    if !name_ok(&hello.boot_id) {
        return Err(Status::invalid_argument("hello.boot_id is missing or malformed"));
    }
    if hello.probe_session == 0 {
        return Err(Status::invalid_argument("hello.probe_session is 0"));
    }
    if hello.responder_port > u32::from(u16::MAX) {
        return Err(Status::invalid_argument("hello.responder_port is not a port"));
    }
    Ok(hello)
}

fn shutting_down() -> Status {
    Status::unavailable("the hub is shutting down")
}

/// Takes the session off the books when it ends, however it ends.
struct Seat {
    hub: Arc<Hub>,
    node: NodeIx,
    name: String,
    generation: u64,
}

impl Drop for Seat {
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
    seat: Seat,
    shutdown: CancellationToken,
    superseded: CancellationToken,
    inbound: Streaming<v1::SessionRequest>,
    plans: watch::Receiver<Arc<Plan>>,
    told: Option<Arc<Plan>>,
    control: mpsc::Receiver<ToAgent>,
    ready: VecDeque<ToAgent>,
}

impl Session {
    fn open(opening: Opening, hello: v1::Hello) -> Result<Box<Self>, Status> {
        let Opening { hub, shutdown, inbound } = opening;
        let now_ns = unix_now_ns();
        let (control_tx, control) = mpsc::channel(CONTROL_DEPTH);
        let superseded = CancellationToken::new();
        let name = hello.node.clone();
        let mut state = hub.lock();
        let known = state.find(&name).is_some();
        if !known && state.agents.len() >= state.roster.nodes.len() + STRANGERS {
            return Err(Status::resource_exhausted("too many agents of nodes that are not in the roster"));
        }
        let node = state.intern(&name);
        state.next_generation += 1;
        let generation = state.next_generation;
        state.counters.sessions += 1;
        if state.agent(node).live.is_some() {
            state.counters.sessions_superseded += 1;
        }
        state.by_probe_session.retain(|_, &mut owner| owner != node);
        state.by_probe_session.insert(hello.probe_session, node);
        let responder = hello.responder_port;
        let agent = state.agent_mut(node);
        let old = agent.live.replace(Live {
            generation,
            since_ns: now_ns,
            control: control_tx,
            superseded: superseded.clone(),
        });
        if let Some(old) = old {
            tracing::warn!(node = name, "a second session of this node: the older one ends");
            old.superseded.cancel();
        }
        if agent.hello.as_ref().map(|hello| &hello.boot_id) != Some(&hello.boot_id) {
            agent.applied_sequence = 0;
        }
        if hello.sent_unix_ns != 0 {
            agent.clock_offset_ns = Some(now_ns.saturating_sub(hello.sent_unix_ns));
        }
        let applied_sequence = agent.applied_sequence;
        let moved = agent.hello.as_ref().map(|hello| hello.responder_port) != Some(responder);
        tracing::info!(
            node = name,
            version = hello.agent_version,
            kernel = hello.kernel_release,
            "agent connected"
        );
        agent.hello = Some(hello);
        if !known || moved {
            state.replan(&hub.settings, now_ns);
        }
        let mut plans = state.agent(node).plans.subscribe();
        plans.mark_changed();
        drop(state);
        let welcome =
            v1::Welcome { hub_instance: hub.instance.clone(), node_id: node.0 as u32 + 1, applied_sequence };
        Ok(Box::new(Self {
            seat: Seat { hub, node, name, generation },
            shutdown,
            superseded,
            inbound,
            plans,
            told: None,
            control,
            ready: VecDeque::from([ToAgent::Welcome(welcome)]),
        }))
    }

    /// The next thing to tell the agent; none when it hung up.
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
                    self.tell_plan();
                }
                message = self.control.recv() => match message {
                    Some(message) => self.ready.push_back(message),
                    None => return Err(Status::aborted("superseded by a newer session of this node")),
                },
                message = self.inbound.message() => match message {
                    Ok(Some(message)) => self.handle(message),
                    Ok(None) => return Ok(None),
                    Err(status) => {
                        tracing::debug!(node = self.seat.name, "session ended: {status}");
                        return Ok(None);
                    }
                },
            }
        }
    }

    fn tell_plan(&mut self) {
        let plan = Arc::clone(&self.plans.borrow_and_update());
        let timing = &self.seat.hub.settings.timing;
        let delta = plan.delta(self.told.as_deref(), &self.seat.name, timing);
        self.told = Some(plan);
        self.ready.push_back(ToAgent::Plan(delta));
    }

    fn handle(&mut self, request: v1::SessionRequest) {
        let Seat { hub, node, generation, .. } = &self.seat;
        match request.message {
            Some(FromAgent::Batch(batch)) => {
                let batch = ingest::decode(batch);
                let acknowledged = hub.lock().apply(*node, *generation, batch, unix_now_ns());
                if let Some(sequence) = acknowledged {
                    self.ready.push_back(ToAgent::Ack(v1::BatchAck { sequence }));
                }
            }
            Some(FromAgent::Status(status)) => hub.lock().agent_mut(*node).status = Some(status),
            Some(FromAgent::EvidenceAnswer(answer)) => hub.lock().answered(*node, &answer),
            Some(FromAgent::PlanApplied(applied)) => {
                let mut state = hub.lock();
                let agent = state.agent_mut(*node);
                agent.refused_paths =
                    applied.refused.iter().map(|refused| (refused.path_id, refused.why.clone())).collect();
                agent.plan_applied = Some(applied);
            }
            // A second hello, or something newer than this hub.
            Some(FromAgent::Hello(_)) | None => hub.lock().counters.parts_refused += 1,
        }
    }
}
