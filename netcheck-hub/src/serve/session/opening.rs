//! The begin of a session: who the agent is, and whether it may have the name that it says.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use netcheck_common::header::DEFAULT_RESPONDER_PORT;
use netcheck_proto::v1;
use netcheck_proto::v1::session_request::Message as FromAgent;
use netcheck_proto::v1::session_response::Message as ToAgent;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};

use super::{Session, SessionGuard, Standing, shutting_down};
use crate::serve::accept::Caller;
use crate::serve::identity::{Claims, Identity, Refusal};
use crate::serve::opened::Admitted;
use crate::serve::reachability::invalid;
use crate::state::agent::{self, Agent, Live};
use crate::state::{Hub, State};
use netcheck_analysis::model::NodeIx;
use netcheck_analysis::model::clock::{time_of_day, unix_now_ns};

/// How long an agent may take to say Hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Questions and expedites on their way to one agent. More than a handful means that it does not read.
const CONTROL_DEPTH: usize = 64;
/// Nodes that the roster does not know may connect, for it may lag behind, but not without end.
const STRANGERS: usize = 1_000;

/// A stream on which nobody has said who they are.
pub(super) struct Opening {
    pub(super) hub: Arc<Hub>,
    pub(super) identity: Arc<Identity>,
    /// The token that it brought.
    pub(super) bearer: Option<String>,
    /// What the token says, once that was reviewed.
    pub(super) claims: Option<Claims>,
    pub(super) shutdown: CancellationToken,
    /// Where it comes from, where the transport knows.
    pub(super) peer: Option<SocketAddr>,
    /// Its slot, where it came through a door: whoever is admitted keeps it.
    pub(super) caller: Option<Caller>,
    /// Is to be sent that it is admitted: until then it may say little.
    pub(super) admitted: Admitted,
    pub(super) inbound: Streaming<v1::SessionRequest>,
}

impl Opening {
    pub(super) async fn open(mut self: Box<Self>) -> Result<Box<Session>, Status> {
        let hub = Arc::clone(&self.hub);
        let opened = self.admit().await;
        let opened = opened.and_then(|hello| Session::open(*self, hello));
        opened.inspect_err(|status| {
            hub.lock().counters.sessions_refused += 1;
            tracing::debug!("session refused: {status}");
        })
    }

    /// Who it is, by its token; then what it says that it is.
    async fn admit(&mut self) -> Result<v1::Hello, Status> {
        if let Err(status) = self.caller.as_ref().map_or(Ok(()), |caller| caller.role.open()) {
            self.hub.lock().counters.sessions_foreign += 1;
            return Err(status);
        }
        let claims = tokio::select! {
            () = self.shutdown.cancelled() => return Err(shutting_down()),
            claims = self.identity.review(self.bearer.as_deref()) => claims.map_err(|refusal| self.refuse(refusal))?,
        };
        let hello = self.hello().await?;
        let admitted = self.identity.admit(claims.as_ref(), &hello.node, &self.hub);
        admitted.map_err(|refusal| self.refuse(refusal))?;
        self.claims = claims;
        Ok(hello)
    }

    fn refuse(&self, refusal: Refusal) -> Status {
        let from = agent::from(self.peer);
        let status = Status::from(refusal);
        let mut state = self.hub.lock();
        match status.code() {
            Code::Unauthenticated => state.counters.sessions_unproven += 1,
            Code::PermissionDenied => state.counters.sessions_foreign += 1,
            // Neither good nor bad yet: it will come again.
            _ => state.counters.sessions_unreviewed += 1,
        }
        drop(state);
        tracing::warn!("no session for an agent {from}: {}", status.message());
        status
    }

    async fn hello(&mut self) -> Result<v1::Hello, Status> {
        let first = tokio::select! {
            () = self.shutdown.cancelled() => return Err(shutting_down()),
            first = tokio::time::timeout(HELLO_TIMEOUT, self.inbound.message()) => first,
        };
        match first {
            Err(_) => Err(Status::deadline_exceeded("no hello within 10 s")),
            Ok(Err(status)) => Err(status),
            Ok(Ok(Some(v1::SessionRequest { message: Some(FromAgent::Hello(hello)) }))) => {
                netcheck_proto::agent::hello(hello).map_err(invalid)
            }
            Ok(Ok(_)) => Err(Status::invalid_argument("the first message of a session is a hello")),
        }
    }
}

/// What an agent is answered whose node's name another one has.
fn taken(agent: &Agent) -> Status {
    let live = agent.live.as_ref();
    Status::already_exists(format!(
        "{} is taken: {} has this name since {}; two agents can't be one node, so one of them must get another --node",
        agent.name,
        agent::from(live.and_then(|live| live.peer)),
        time_of_day(live.map_or(0, |live| live.since_ns)),
    ))
}

/// Takes the node's name for this agent, unless it may not have it: too many strangers, another node's probe session, or
/// another living agent of this name.
fn claim(
    state: &mut State,
    hello: &v1::Hello,
    peer: Option<SocketAddr>,
    now_ns: i64,
) -> Result<NodeIx, Status> {
    if state.find(&hello.node).is_none() && state.strangers() >= STRANGERS {
        return Err(Status::resource_exhausted("too many agents of nodes that are not in the roster"));
    }
    let node = state.intern(&hello.node);
    // What probe headers carry shows whose drops the kernels report: nobody may take another's.
    let owner = state.by_probe_session.get(&hello.probe_session).copied();
    if owner.is_some_and(|owner| owner != node && state.agent(owner).live.is_some()) {
        let owner = owner.map(|owner| state.agent(owner).name.to_string()).unwrap_or_default();
        state.counters.sessions_contested += 1;
        tracing::warn!(node = hello.node, owner, "two agents claim the same probe session");
        let why = format!("hello.probe_session is that of {owner}: start anew to get another");
        state.agent_mut(node).session_rival = Some((now_ns, owner));
        return Err(Status::failed_precondition(why));
    }
    let agent = state.agent_mut(node);
    if !agent.claim(&hello.boot_id, peer, now_ns) {
        let status = taken(agent);
        state.counters.sessions_contested += 1;
        return Err(status);
    }
    Ok(node)
}

/// Makes a session the node's. An older one of it ends.
fn replace(state: &mut State, node: NodeIx, hello: &v1::Hello, live: Live) {
    state.counters.sessions += 1;
    if state.agent(node).live.is_some() {
        state.counters.sessions_superseded += 1;
    }
    state.by_probe_session.retain(|_, &mut owner| owner != node);
    state.by_probe_session.insert(hello.probe_session, node);
    state.hear_of_return(node, &hello.boot_id, live.since_ns);
    let agent = state.agent_mut(node);
    let Some(old) = agent.live.replace(live) else { return };
    if agent.hello.as_ref().is_some_and(|old| old.boot_id == hello.boot_id) {
        tracing::info!(node = hello.node, "the agent comes another way: its older session ends");
    } else {
        tracing::warn!(node = hello.node, "a second session of this node: the older one ends");
    }
    old.superseded.cancel();
}

/// Keeps what an agent says of itself, and sees to it that others get to know what changed. `known`: the node was, before
/// it came. The last batch of this boot that was applied.
fn keep(state: &mut State, node: NodeIx, hello: v1::Hello, known: bool, now_ns: i64) -> u64 {
    let agent = state.agent_mut(node);
    if agent.hello.as_ref().map(|hello| &hello.boot_id) != Some(&hello.boot_id) {
        agent.applied_sequence = 0;
    }
    if hello.sent_unix_ns != 0 {
        agent.clock_offset_ns = Some(now_ns.saturating_sub(hello.sent_unix_ns));
    }
    let applied_sequence = agent.applied_sequence;
    // A plan for everybody is dear: not where the responder is at the port that everybody takes it to be.
    let was = agent.hello.as_ref().map_or(u32::from(DEFAULT_RESPONDER_PORT), |hello| hello.responder_port);
    let moved = was != hello.responder_port;
    let relay_moved = agent.hello.as_ref().map_or(0, |was| was.relay_port) != hello.relay_port;
    tracing::info!(
        node = hello.node,
        version = hello.agent_version,
        kernel = hello.kernel_release,
        relayed_by = hello.relayed_by,
        "agent connected"
    );
    let agentless = state.is_agentless(&hello.node);
    state.agent_mut(node).hello = Some(hello);
    // Its own comes at once if it is known; what others get to know of it comes with the next tick.
    state.stale |= !known || moved || agentless;
    if relay_moved {
        state.relaying.mark_stale();
    }
    applied_sequence
}

impl Session {
    pub(super) fn open(opening: Opening, hello: v1::Hello) -> Result<Box<Self>, Status> {
        let Opening { hub, identity, bearer, claims, shutdown, peer, caller, admitted, inbound } = opening;
        let now_ns = unix_now_ns();
        let (control_tx, control) = mpsc::channel(CONTROL_DEPTH);
        let superseded = CancellationToken::new();
        let (name, table_changes) = (hello.node.clone(), hello.takes_table_changes);
        let mut state = hub.lock();
        let known = state.find(&name).is_some();
        let node = claim(&mut state, &hello, peer, now_ns)?;
        state.next_generation += 1;
        let generation = state.next_generation;
        let live = Live {
            generation,
            since_ns: now_ns,
            heard_ns: now_ns,
            peer,
            relayed: state.relayed(&hello.relayed_by, peer),
            control: control_tx,
            superseded: superseded.clone(),
        };
        replace(&mut state, node, &hello, live);
        let applied_sequence = keep(&mut state, node, hello, known, now_ns);
        let relays = state.relaying.follow();
        let mut plans = state.agent(node).plans.subscribe();
        plans.mark_changed();
        drop(state);
        admitted.admit();
        if let Some(caller) = caller {
            caller.slot.prove();
        }
        let welcome =
            v1::Welcome { hub_instance: hub.instance.clone(), node_id: node.0 as u32 + 1, applied_sequence };
        Ok(Box::new(Self {
            standing: Standing::new(identity, bearer, claims),
            admitted,
            guard: SessionGuard { hub, node, name, generation },
            shutdown,
            superseded,
            inbound,
            plans,
            last_sent: None,
            relays,
            relays_sent: v1::Relays::default(),
            table_changes,
            control,
            ready: VecDeque::from([ToAgent::Welcome(welcome)]),
        }))
    }
}
