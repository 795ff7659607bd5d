//! What is said within one session.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, OwnedFd};

use netcheck_common::domain::PathId;
use netcheck_proto::parts::Joiner;
use netcheck_proto::v1;
use netcheck_proto::v1::agent_service_client::AgentServiceClient;
use netcheck_proto::v1::session_request::Message as ToHub;
use netcheck_proto::v1::session_response::Message as FromHub;
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, Interval, MissedTickBehavior, interval, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Streaming};

use crate::engine::{Command, EngineReply};
use crate::host::clock::unix_ns;
use crate::net::stalled::{Progress, Sent};
use crate::uplink::buffer::Buffer;
use crate::uplink::session::connect::Connection;
use crate::uplink::session::{CONNECT_TIMEOUT, SessionEnd, SessionTask};
use crate::uplink::status::{Parts, agent_status};
use crate::uplink::token::TokenFile;
use crate::uplink::wire::{evidence_answer, evidence_question};

/// Messages on their way to the transport; more wait in the outbox, where they are counted.
const OUTGOING: usize = 8;
/// Far above what either side sends: the hub's plan comes in parts of a megabyte.
const MESSAGE_MAX: usize = 64 << 20;
const STATUS_EVERY: Duration = Duration::from_secs(5);
/// How often the connection is looked at.
const STALL_EVERY: Duration = Duration::from_millis(250);
/// How long the hub may take to acknowledge that the agent ends.
const FAREWELL: Duration = Duration::from_millis(500);

/// A session in progress.
pub(crate) struct Exchange {
    inbound: Streaming<v1::SessionResponse>,
    outgoing: mpsc::Sender<v1::SessionRequest>,
    /// Said before the next batch.
    control: VecDeque<ToHub>,
    welcome: v1::Welcome,
    heard: Instant,
    socket: Option<OwnedFd>,
    stall_timer: Interval,
    progress: Progress,
    /// Parts of a plan whose last one has not come yet.
    plan_parts: Joiner,
    status_timer: Interval,
    acknowledged: bool,
    /// The token that the hub knows.
    shown: Option<MetadataValue<Ascii>>,
    /// It has ended, as it should at shutdown.
    engine_gone: bool,
    /// Nobody looks for culprits any more.
    culprits_gone: bool,
    /// Since when the agent is about to end; then every status says so.
    leaving: Option<Instant>,
    /// The hub said something after it was asked to.
    leave_heard: bool,
}

impl Exchange {
    /// Says hello and waits for the welcome.
    pub(crate) async fn begin(connection: Connection, task: &mut SessionTask) -> Result<Self, SessionEnd> {
        let Connection { channel, way, socket } = connection;
        let (outgoing, requests) = mpsc::channel(OUTGOING);
        let hello = v1::Hello {
            plan_version: task.status.borrow().plan.version,
            sent_unix_ns: unix_ns(),
            relayed_by: way.relay().map(ToString::to_string).unwrap_or_default(),
            ..task.hello.clone()
        };
        let hello = v1::SessionRequest { message: Some(ToHub::Hello(hello)) };
        outgoing.try_send(hello).map_err(|_full| SessionEnd::Closed)?;
        let mut client = AgentServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_MAX)
            .max_encoding_message_size(MESSAGE_MAX);
        let mut request = Request::new(ReceiverStream::new(requests));
        let shown = task.token.as_ref().map(TokenFile::bearer).transpose()?;
        if let Some(token) = shown.clone() {
            request.metadata_mut().insert("authorization", token);
        }
        let first = async {
            let mut inbound = client.session(request).await?.into_inner();
            let first = inbound.message().await?.ok_or(SessionEnd::Closed)?;
            Ok::<_, SessionEnd>((inbound, first))
        };
        let (inbound, first) =
            timeout(CONNECT_TIMEOUT, first).await.map_err(|_elapsed| SessionEnd::Silent)??;
        let Some(FromHub::Welcome(welcome)) = first.message else { return Err(SessionEnd::NoWelcome) };
        let source_node = welcome.node_id;
        task.engine.command(Command::Identify { source_node }).await;
        task.outbox.with(|buffer| buffer.resume(welcome.applied_sequence));
        // The first tick is at once: the hub learns at the start how this agent is.
        let mut status_timer = interval(STATUS_EVERY);
        status_timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stall_timer = interval(STALL_EVERY);
        stall_timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let control = VecDeque::new();
        Ok(Self {
            inbound,
            outgoing,
            control,
            welcome,
            heard: Instant::now(),
            socket,
            stall_timer,
            progress: Progress::new(Instant::now()),
            plan_parts: Joiner::default(),
            status_timer,
            acknowledged: false,
            shown,
            engine_gone: false,
            culprits_gone: false,
            leaving: None,
            leave_heard: false,
        })
    }

    /// The hub's name for its own start.
    pub(crate) fn hub_instance(&self) -> &str {
        &self.welcome.hub_instance
    }

    /// When the hub said something last.
    pub(crate) const fn last_heard(&self) -> Instant {
        self.heard
    }

    /// Whether the hub took anything from it.
    pub(crate) const fn useful(&self) -> bool {
        self.acknowledged
    }

    /// Speaks until the session ends.
    pub(crate) async fn run(&mut self, task: &mut SessionTask, shutdown: &CancellationToken) -> SessionEnd {
        let outgoing = self.outgoing.clone();
        loop {
            if shutdown.is_cancelled() && self.leaving.is_none() {
                // Before anything of this agent ends: others still probe its responder.
                self.leaving = Some(Instant::now());
                self.say_status(task);
            }
            if task.outbox.is_done() && self.has_left() {
                return SessionEnd::Done;
            }
            let wants_to_send = !self.control.is_empty() || task.outbox.with(|buffer| buffer.has_next());
            tokio::select! {
                message = self.inbound.message() => match message {
                    Ok(Some(message)) => self.heard(message, task).await,
                    Ok(None) => return SessionEnd::Closed,
                    Err(status) => return status.into(),
                },
                permit = outgoing.reserve(), if wants_to_send => {
                    let Ok(permit) = permit else { return SessionEnd::Closed };
                    let message =
                        self.control.pop_front().or_else(|| task.outbox.with(Buffer::next).map(ToHub::Batch));
                    permit.send(v1::SessionRequest { message });
                }
                () = task.outbox.changed() => {}
                reply = task.replies.recv(), if !self.engine_gone => match reply {
                    Some(EngineReply::PlanApplied(applied)) => self.control.push_back(ToHub::PlanApplied(applied)),
                    Some(EngineReply::PlanGap(gap)) => return gap.into(),
                    Some(EngineReply::Evidence(answer)) => self.control.push_back(ToHub::EvidenceAnswer(evidence_answer(answer))),
                    Some(EngineReply::StatusChanged) => self.say_status(task),
                    None if shutdown.is_cancelled() => self.engine_gone = true,
                    None => return SessionEnd::Engine,
                },
                answer = task.culprits.answers.recv(), if !self.culprits_gone => match answer {
                    Some(answer) => self.control.push_back(ToHub::CulpritAnswer(answer)),
                    None => self.culprits_gone = true,
                },
                _ = self.status_timer.tick() => {
                    self.say_status(task);
                    self.renew_token(task);
                }
                _ = self.stall_timer.tick(), if self.socket.is_some() => if self.has_stalled() {
                    return SessionEnd::Stalled;
                },
                () = shutdown.cancelled(), if !shutdown.is_cancelled() => {}
                () = sleep(FAREWELL), if self.leaving.is_some() && !self.leave_heard => {}
            }
        }
    }

    async fn heard(&mut self, message: v1::SessionResponse, task: &SessionTask) {
        self.heard = Instant::now();
        let command = match message.message {
            Some(FromHub::Ack(ack)) => {
                self.acknowledged = true;
                self.leave_heard |= self.leaving.is_some() && self.control.is_empty();
                task.outbox.with(|buffer| buffer.acked(ack.sequence));
                return;
            }
            Some(FromHub::Plan(part)) => match self.plan_parts.add(part) {
                Some(delta) => {
                    delta.addresses.iter().for_each(|table| task.nodes.learn(table));
                    Command::Plan(Box::new(delta))
                }
                None => return,
            },
            Some(FromHub::EvidenceQuestion(question)) => Command::Evidence(evidence_question(question)),
            Some(FromHub::CulpritQuestion(question)) => {
                // One that does not fit is one too many: the hub forgets it, and asks again.
                if task.culprits.questions.try_send(question).is_err() {
                    tracing::debug!("a question for culprits was dropped");
                }
                return;
            }
            Some(FromHub::Expedite(expedite)) => {
                Command::Expedite(expedite.path_ids.into_iter().map(PathId).collect())
            }
            Some(FromHub::Hasten(wish)) => Command::Hasten(wish),
            Some(FromHub::Relays(relays)) => {
                task.relays.learn(&relays);
                return;
            }
            // A second welcome, or what a newer hub may say: nothing that this agent must do.
            Some(FromHub::Welcome(_)) | None => return,
        };
        task.engine.command(command).await;
    }

    /// Shows the hub a token that was replaced since. A file that can't be read just now is left for the next time.
    fn renew_token(&mut self, task: &SessionTask) {
        let Some(Ok(token)) = task.token.as_ref().map(TokenFile::bearer) else { return };
        if self.shown.as_ref() == Some(&token) {
            return;
        }
        let text = token.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
        if let Some(text) = text {
            self.control.push_back(ToHub::TokenRenewal(v1::TokenRenewal { token: text.to_owned() }));
        }
        self.shown = Some(token);
    }

    /// Whether the way to the hub, or to the relay, is dead.
    fn has_stalled(&mut self) -> bool {
        let sent = self.socket.as_ref().and_then(|socket| Sent::of(socket.as_fd()).ok());
        sent.is_some_and(|sent| self.progress.stalled(sent, Instant::now()))
    }

    /// Whether the hub knows that the agent ends. An older hub never says so: then after a while.
    fn has_left(&self) -> bool {
        self.leaving.is_some_and(|since| self.leave_heard || since.elapsed() >= FAREWELL)
    }

    /// Says how the agent is, unless it is about to anyway.
    fn say_status(&mut self, task: &SessionTask) {
        let hub = task.hub.borrow();
        let engine = task.status.borrow();
        let buffer = task.outbox.status();
        let status = agent_status(Parts { engine: &engine, buffer, hub: &hub, uptime: task.uptime });
        let mut status = v1::AgentStatus { leaving: self.leaving.is_some(), ..status };
        status.degraded.extend((task.notice)());
        drop(engine);
        drop(hub);
        self.control.retain(|message| !matches!(message, ToHub::Status(_)));
        self.control.push_back(ToHub::Status(status));
    }
}
