//! One simulated agent: a session with the hub after the other, until it is told to leave.
//!
//! One task for each. What it has to say waits in a bounded outbox, so that it goes on reading while the hub does not.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use netcheck_common::domain::{PathId, ProbeKind};
use netcheck_common::hash::{fnv1a, splitmix64};
use netcheck_common::schedule::{Schedule, packets};
use netcheck_proto::parts::Joiner;
use netcheck_proto::v1::agent_service_client::AgentServiceClient;
use netcheck_proto::v1::session_request::Message as FromAgent;
use netcheck_proto::v1::session_response::Message as ToAgent;
use netcheck_proto::{convert, v1};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tonic::{Status, Streaming};

use crate::figures::{Counters, LastSecond, add, sub};
use crate::fleet::Shared;
use windows::{Probe, Windows, unix_now_ns};

mod windows;

/// How often an agent looks what is due.
const TICK: Duration = Duration::from_millis(50);
/// Requests on their way to the transport.
const DEPTH: usize = 4;
/// What waits for the hub to take it: some windows. Of more, the oldest are dropped.
const OUTBOX: usize = 16;
/// How long an agent waits at least before it tries again; up to four times as long, so that not all come at once.
const AGAIN: Duration = Duration::from_millis(250);
/// How long the end of a session may take whose agent said that it leaves.
const FAREWELL: Duration = Duration::from_secs(2);

/// What an agent is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Begin anew, as after a crash.
    Restart,
    /// Open another session, as after a broken connection.
    Reconnect,
    /// Say so, and end.
    Leave,
}

/// Why a session ended that was not to.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("cannot connect: {0}")]
    Connect(#[from] tonic::transport::Error),
    #[error("{0}")]
    Status(#[from] Status),
    #[error("the hub ended the session")]
    Closed,
    #[error("a change of plan {base} came, but the plan was {version}")]
    Gap { base: u64, version: u64 },
}

/// What it says, and what is at the bottom of it.
fn innermost(broken: &Broken) -> String {
    let mut inner: &dyn std::error::Error = broken;
    while let Some(source) = inner.source() {
        inner = source;
    }
    let (outer, inner) = (broken.to_string(), inner.to_string());
    if outer.contains(&inner) { outer } else { format!("{outer}: {inner}") }
}

/// A path of the plan.
struct Path {
    kind: ProbeKind,
    target: Arc<str>,
}

pub(crate) struct Agent {
    node: String,
    address: IpAddr,
    shared: Arc<Shared>,
    orders: mpsc::Receiver<Order>,
    boot: u64,
    sequence: u64,
    plan_version: u64,
    joiner: Joiner,
    paths: HashMap<PathId, Path>,
    schedule: Schedule,
    windows: Windows,
    last_second: LastSecond,
    outbox: VecDeque<FromAgent>,
    due: Vec<PathId>,
    /// Of probes.
    number: u32,
}

impl Agent {
    pub(crate) fn new(
        node: String,
        address: IpAddr,
        shared: Arc<Shared>,
        orders: mpsc::Receiver<Order>,
    ) -> Self {
        add(&shared.counters.agents, 1);
        Self {
            schedule: Schedule::new(&node, shared.options.packets_per_second),
            node,
            address,
            shared,
            orders,
            boot: 1,
            sequence: 0,
            plan_version: 0,
            joiner: Joiner::default(),
            paths: HashMap::new(),
            windows: Windows::default(),
            last_second: LastSecond::default(),
            outbox: VecDeque::new(),
            due: Vec::new(),
            number: 0,
        }
    }

    /// Until it is to leave, or nobody is left who could say so.
    pub(crate) async fn run(mut self) {
        let spread = splitmix64(fnv1a(self.node.as_bytes())) % 4 + 1;
        let again = AGAIN * u32::try_from(spread).unwrap_or(1);
        loop {
            let order = match self.session().await {
                Ok(order) => order,
                Err(broken) => {
                    add(&self.shared.counters.broken, 1);
                    self.shared.remember(&self.node, innermost(&broken));
                    tokio::select! {
                        () = sleep(again) => Order::Reconnect,
                        order = self.orders.recv() => order.unwrap_or(Order::Leave),
                    }
                }
            };
            self.forget_plan();
            match order {
                Order::Leave => return,
                Order::Reconnect => {}
                Order::Restart => {
                    self.boot += 1;
                    self.windows = Windows::default();
                }
            }
        }
    }

    fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    fn hello(&self) -> v1::Hello {
        let boot_id = format!("boot-{}", self.boot);
        v1::Hello {
            node: self.node.clone(),
            probe_session: splitmix64(fnv1a(format!("{}/{boot_id}", self.node).as_bytes())),
            boot_id,
            agent_version: "simulated".to_owned(),
            responder_port: 6100,
            sent_unix_ns: unix_now_ns(),
            takes_table_changes: true,
            ..Default::default()
        }
    }

    /// One session; what ended it.
    async fn session(&mut self) -> Result<Order, Broken> {
        let url = format!("http://{}", self.shared.options.hub);
        let endpoint = Endpoint::from_shared(url)?.local_address(Some(self.address)).tcp_nodelay(true);
        let mut client = AgentServiceClient::new(endpoint.connect().await?);
        let (requests, stream) = mpsc::channel(DEPTH);
        self.outbox.clear();
        self.outbox.extend([FromAgent::Hello(self.hello()), FromAgent::Status(status(false))]);
        let mut answers = client.session(ReceiverStream::new(stream)).await?.into_inner();
        let shared = Arc::clone(&self.shared);
        let _standing = Standing::begin(&shared.counters);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let order = loop {
            tokio::select! {
                order = self.orders.recv() => break order.unwrap_or(Order::Leave),
                answer = answers.message() => {
                    let answer = answer?.ok_or(Broken::Closed)?;
                    answer.message.map_or(Ok(()), |message| self.hear(message))?;
                }
                permit = requests.reserve(), if !self.outbox.is_empty() => {
                    let permit = permit.map_err(|_| Broken::Closed)?;
                    if let Some(message) = self.outbox.pop_front() {
                        permit.send(v1::SessionRequest { message: Some(message) });
                    }
                }
                _ = ticks.tick() => self.probe(),
            }
        };
        if order == Order::Leave {
            take_leave(requests, answers).await;
        }
        Ok(order)
    }

    fn hear(&mut self, message: ToAgent) -> Result<(), Broken> {
        match message {
            ToAgent::Welcome(welcome) => self.sequence = welcome.applied_sequence,
            ToAgent::Plan(part) => {
                if let Some(delta) = self.joiner.add(part) {
                    self.apply(delta)?;
                }
            }
            ToAgent::Expedite(expedite) => {
                let paths: Vec<PathId> = expedite.path_ids.into_iter().map(PathId).collect();
                self.schedule.expedite(&paths);
            }
            // One probe of each path in a round is all that is simulated. Nothing is kept for the hub's sake, no kernel can be asked, and the hub is reached directly.
            ToAgent::Ack(_)
            | ToAgent::EvidenceQuestion(_)
            | ToAgent::CulpritQuestion(_)
            | ToAgent::Relays(_)
            | ToAgent::Hasten(_) => {}
        }
        Ok(())
    }

    fn apply(&mut self, delta: v1::PlanDelta) -> Result<(), Broken> {
        if delta.base_version == 0 {
            self.forget_plan();
        } else if delta.base_version != self.plan_version {
            return Err(Broken::Gap { base: delta.base_version, version: self.plan_version });
        }
        self.plan_version = delta.version;
        let before = self.paths.len() as u64;
        for id in &delta.remove {
            self.paths.remove(&PathId(*id));
        }
        for path in delta.upsert {
            let Ok(kind) = convert::kind("kind", path.kind) else { continue };
            let target = self.shared.name(&path.target);
            self.paths.insert(PathId(path.path_id), Path { kind, target });
        }
        let after = self.paths.len() as u64;
        sub(&self.counters().paths, before);
        add(&self.counters().paths, after);
        sub(&self.counters().probing, u64::from(before > 0));
        add(&self.counters().probing, u64::from(after > 0));
        let nanos = |wire: Option<prost_types::Duration>| {
            wire.and_then(|wire| Duration::try_from(wire).ok()).map_or(0, |wire| wire.as_nanos() as u64)
        };
        self.windows.set_timing(nanos(delta.window) as i64, nanos(delta.timeout) as i64);
        let loads = self.paths.iter().map(|(&id, path)| (id, path.kind));
        let now_ns = self.shared.now_ns();
        self.schedule.set(now_ns, loads, nanos(delta.interval), delta.packets_per_second);
        let effective = Duration::from_nanos(self.schedule.effective_interval_ns());
        self.outbox.push_back(FromAgent::PlanApplied(v1::PlanApplied {
            version: delta.version,
            effective_interval: prost_types::Duration::try_from(effective).ok(),
            refused: Vec::new(),
        }));
        Ok(())
    }

    fn forget_plan(&mut self) {
        sub(&self.counters().paths, self.paths.len() as u64);
        sub(&self.counters().probing, u64::from(!self.paths.is_empty()));
        self.paths.clear();
        self.joiner = Joiner::default();
        self.plan_version = 0;
    }

    /// What is due leaves, and is judged at once; windows that are over are reported.
    fn probe(&mut self) {
        let (now_ns, unix_ns) = (self.shared.now_ns(), unix_now_ns());
        let mut due = std::mem::take(&mut self.due);
        self.schedule.due(now_ns, &mut due);
        let (mut sent, mut lost) = (0, 0);
        let fault = self.shared.fault.borrow().clone();
        for id in due.drain(..) {
            let Some(path) = self.paths.get(&id) else { continue };
            self.number = self.number.wrapping_add(1);
            let is_lost = fault.loses(&path.target);
            sent += u64::from(packets(path.kind));
            lost += u64::from(is_lost);
            self.windows.add(&Probe { path: id, number: self.number, sent_unix_ns: unix_ns, is_lost });
        }
        // How many probes left is how many numbers were given.
        self.due = due;
        let counters = &self.shared.counters;
        let probes = self.windows.take_added();
        let (peak_packets, peak_probes) = self.last_second.add(now_ns, sent, probes);
        counters.peak_packets.fetch_max(peak_packets, Ordering::Relaxed);
        counters.peak_probes.fetch_max(peak_probes, Ordering::Relaxed);
        add(&counters.probes, probes);
        add(&counters.lost, lost);
        self.report(unix_ns);
    }

    fn report(&mut self, unix_ns: i64) {
        // Before the welcome nothing has a number.
        let Some(batch) = self.windows.over(unix_ns).filter(|_| self.plan_version > 0) else { return };
        if self.outbox.len() >= OUTBOX {
            add(&self.counters().dropped, 1);
            return;
        }
        self.sequence += 1;
        add(&self.counters().batches, 1);
        self.outbox.push_back(FromAgent::Batch(v1::SampleBatch { sequence: self.sequence, ..batch }));
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.forget_plan();
        sub(&self.shared.counters.agents, 1);
    }
}

/// Says that the agent is about to end, and waits for the end of the session.
async fn take_leave(requests: mpsc::Sender<v1::SessionRequest>, mut answers: Streaming<v1::SessionResponse>) {
    let leaving = v1::SessionRequest { message: Some(FromAgent::Status(status(true))) };
    let until = Instant::now() + FAREWELL;
    // A hub that takes nothing any more is left all the same.
    drop(tokio::time::timeout_at(until, requests.send(leaving)).await);
    drop(requests);
    let ended = async { while let Ok(Some(_)) = answers.message().await {} };
    drop(timeout(FAREWELL, ended).await);
}

/// The status of an agent whose hooks all see.
#[must_use]
pub fn status(leaving: bool) -> v1::AgentStatus {
    let hook = |egress| v1::HookStatus {
        interface: "eth0".to_owned(),
        ifindex: 2,
        role: v1::InterfaceRole::Uplink.into(),
        egress,
        state: v1::HookState::Attached.into(),
        ..Default::default()
    };
    v1::AgentStatus {
        ebpf: v1::EbpfState::Attached.into(),
        hooks: vec![hook(false), hook(true)],
        leaving,
        ..Default::default()
    }
}

/// A session that stands, as it is counted.
struct Standing<'a>(&'a Counters);

impl<'a> Standing<'a> {
    fn begin(counters: &'a Counters) -> Self {
        add(&counters.opened, 1);
        add(&counters.sessions, 1);
        Self(counters)
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        sub(&self.0.sessions, 1);
    }
}
