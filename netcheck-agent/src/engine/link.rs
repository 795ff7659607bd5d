//! How the engine's thread and the rest of the agent talk: bounded channels and a bell.

use std::net::IpAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use netcheck_common::domain::{Family, PathId, ProbeKind};
use netcheck_proto::v1;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{read, write};
use tokio::sync::{mpsc, watch};

use crate::engine::dns_caches::Caches;
use crate::model::counters::Counters;
use crate::model::observation::{DropCount, KernelStatus};
use crate::model::report::Report;
use crate::plan::PlanGap;
use crate::probe::exchange::ExchangeEnd;
use crate::vantage::frame::PodLink;
use crate::vantage::pool::Pool;

/// Commands come at the pace of the hub's messages, and the engine obeys within a turn.
const COMMANDS: usize = 64;
/// A minute of one-second windows: the buffer's task only encodes, it never waits.
const REPORTS: usize = 64;
/// One reply per command, and the session reads them at once; while there is none they go stale unread.
const REPLIES: usize = 64;

/// What the hub's session wants of the engine.
#[derive(Debug)]
pub(crate) enum Command {
    /// The index that the hub gave to this node.
    Identify {
        source_node: u32,
    },
    Plan(Box<v1::PlanDelta>),
    /// None named: all.
    Expedite(Vec<PathId>),
    Evidence(v1::EvidenceQuestion),
    Vantage(VantageChange),
    /// The DNS caches of this node, all of them.
    DnsCaches(Caches),
}

/// The pod vantage came or went.
#[derive(Debug)]
pub(crate) enum VantageChange {
    /// Its first sockets are in stock. Takes the place of another that may be there.
    Up(Arc<Pool>),
    /// It is gone: why, in one line.
    Down(String),
}

/// The pod vantage of an agent that expects one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VantageStatus {
    /// `namespace/name`; empty: none is connected.
    pub(crate) pod: String,
    pub(crate) addresses: Vec<IpAddr>,
    /// Which of its interfaces has which of them.
    pub(crate) links: Vec<PodLink>,
    /// 0 for none.
    pub(crate) responder_port: u16,
    /// Who is asked for names there.
    pub(crate) name_servers: Vec<IpAddr>,
    /// What short names are completed with there.
    pub(crate) search_domains: Vec<String>,
    /// What can be probed from it.
    pub(crate) can: Vec<(ProbeKind, Family)>,
    /// What can't be and why, or why there is none; one line each.
    pub(crate) detail: Vec<String>,
    /// Connections that were refused since the agent's start.
    pub(crate) refused: u64,
    /// Sockets that were taken since the agent's start.
    pub(crate) sockets: u64,
}

impl VantageStatus {
    /// An address, with the interface that has it.
    pub(crate) fn named(&self, address: IpAddr) -> String {
        match self.links.iter().find(|link| link.addresses.contains(&address)) {
            Some(link) if self.links.len() > 1 => format!("{address} on {}", link.interface),
            _ => address.to_string(),
        }
    }

    pub(crate) fn none(why: String) -> Self {
        Self { detail: vec![why], ..Self::default() }
    }
}

/// What the engine has to say to the session.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum EngineReply {
    PlanApplied(v1::PlanApplied),
    PlanGap(PlanGap),
    Evidence(v1::EvidenceAnswer),
    /// The status has news that the hub is not to wait for. Comes after the status that has them.
    StatusChanged,
}

/// The plan in force, in short.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PlanSummary {
    pub(crate) version: u64,
    pub(crate) paths: usize,
    pub(crate) refused: Vec<v1::RefusedPath>,
    pub(crate) effective_interval: Duration,
}

impl PlanSummary {
    pub(crate) fn to_wire(&self) -> v1::PlanApplied {
        v1::PlanApplied {
            version: self.version,
            refused: self.refused.clone(),
            effective_interval: prost_types::Duration::try_from(self.effective_interval).ok(),
        }
    }
}

/// How the engine is; brought up to date once a second.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EngineStatus {
    pub(crate) counters: Counters,
    pub(crate) kernel: KernelStatus,
    /// Drops of all packets since the kernel programs were loaded.
    pub(crate) drops: Vec<DropCount>,
    /// What of the engine's own is missing and why, one line each.
    pub(crate) degraded: Vec<String>,
    /// Where one is expected.
    pub(crate) vantage: Option<VantageStatus>,
    /// The DNS caches of this node.
    pub(crate) dns_caches: Caches,
    pub(crate) plan: PlanSummary,
    pub(crate) in_flight: usize,
    /// Replies are read on ticks, for the kernel stamps them.
    pub(crate) batched: bool,
    /// When this was brought up to date.
    pub(crate) published: Instant,
}

#[derive(Debug)]
struct Bell {
    fd: OwnedFd,
    stop: AtomicBool,
}

impl Bell {
    fn ring(&self) {
        // It can only fail when it has been rung 2⁶⁴ times without being heard.
        let _ = write(&self.fd, &1u64.to_ne_bytes());
    }
}

/// The engine's outgoing channels.
pub(crate) struct EngineOutput {
    pub(crate) reports: mpsc::Receiver<Report>,
    pub(crate) replies: mpsc::Receiver<EngineReply>,
    pub(crate) status: watch::Receiver<EngineStatus>,
    /// What of the probes is carried out elsewhere.
    pub(crate) exchanges: ExchangeEnd,
}

/// How the kernel side is before it was ever asked.
impl Default for EngineStatus {
    fn default() -> Self {
        Self {
            counters: Counters::default(),
            kernel: KernelStatus::default(),
            drops: Vec::new(),
            degraded: Vec::new(),
            vantage: None,
            dns_caches: Caches::default(),
            plan: PlanSummary::default(),
            in_flight: 0,
            batched: false,
            published: Instant::now(),
        }
    }
}

/// The engine, from outside.
#[derive(Clone, Debug)]
pub(crate) struct EngineHandle {
    commands: mpsc::Sender<Command>,
    bell: Arc<Bell>,
}

impl EngineHandle {
    /// Hands over a command. One to an engine that has ended is lost; the end of its replies tells of that.
    pub(crate) async fn command(&self, command: Command) {
        let _ = self.commands.send(command).await;
        self.bell.ring();
    }

    /// Wakes the engine.
    pub(crate) fn ring(&self) {
        self.bell.ring();
    }

    /// Tells the engine to end.
    pub(crate) fn stop(&self) {
        self.bell.stop.store(true, Ordering::Release);
        self.bell.ring();
    }
}

/// The engine's own end.
#[derive(Debug)]
pub(crate) struct EngineLink {
    commands: mpsc::Receiver<Command>,
    bell: Arc<Bell>,
    reports: mpsc::Sender<Report>,
    replies: mpsc::Sender<EngineReply>,
    status: watch::Sender<EngineStatus>,
}

/// Makes both ends.
pub(crate) fn open(exchanges: ExchangeEnd) -> std::io::Result<(EngineLink, EngineHandle, EngineOutput)> {
    let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let bell = Arc::new(Bell { fd, stop: AtomicBool::new(false) });
    let (to_engine, commands) = mpsc::channel(COMMANDS);
    let (to_buffer, reports) = mpsc::channel(REPORTS);
    let (to_session, replies) = mpsc::channel(REPLIES);
    let (to_all, status) = watch::channel(EngineStatus::default());
    let handle = EngineHandle { commands: to_engine, bell: Arc::clone(&bell) };
    let link = EngineLink { commands, bell, reports: to_buffer, replies: to_session, status: to_all };
    Ok((link, handle, EngineOutput { reports, replies, status, exchanges }))
}

impl EngineLink {
    pub(crate) fn stopped(&self) -> bool {
        self.bell.stop.load(Ordering::Acquire)
    }

    /// Readable when the bell was rung.
    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.fd.as_fd()
    }

    /// Silences the bell.
    pub(crate) fn hush(&self) {
        let _ = read(&self.bell.fd, &mut [0; 8]);
    }

    pub(crate) fn next_command(&mut self) -> Option<Command> {
        self.commands.try_recv().ok()
    }

    /// Hands over a report; where nobody takes it, it is lost and counted.
    pub(crate) fn report(&self, report: Report, counters: &mut Counters) {
        if !report.is_empty() && self.reports.try_send(report).is_err() {
            counters.reports_dropped += 1;
        }
    }

    pub(crate) fn reply(&self, reply: EngineReply) {
        // Without a session nobody waits for it.
        let _ = self.replies.try_send(reply);
    }

    /// Brings the status up to date. `news`: the session is told to say it at once.
    pub(crate) fn status(&self, status: &EngineStatus, news: bool) {
        self.status.send_replace(status.clone());
        if news {
            // Whoever hears of it may look before this returns.
            self.reply(EngineReply::StatusChanged);
        }
    }
}
