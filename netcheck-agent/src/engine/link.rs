//! How the engine's thread and the rest of the agent talk: bounded channels and a waker.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use netcheck_common::domain::PathId;
use netcheck_proto::v1;
use tokio::sync::{mpsc, watch};

use crate::host::waker::Waker;
use crate::model::counters::Counters;
use crate::model::evidence::{EvidenceAnswer, EvidenceQuestion};
use crate::model::report::Report;
use crate::model::status::{Caches, EngineStatus};
use crate::plan::PlanGap;
use crate::probe::exchange::ExchangeEnd;
use crate::vantage::listen::VantageChange;

/// Commands come at the pace of the hub's messages, and the engine handles each within a turn.
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
    /// Probes of these are wanted so often until then.
    Hasten(v1::Hasten),
    Evidence(EvidenceQuestion),
    Vantage(VantageChange),
    /// The DNS caches of this node, all of them.
    DnsCaches(Caches),
}

/// What the engine has to say to the session.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum EngineReply {
    PlanApplied(v1::PlanApplied),
    PlanGap(PlanGap),
    Evidence(EvidenceAnswer),
    /// The status has news that the hub is not to wait for. Comes after the status that has them.
    StatusChanged,
}

/// The engine's outgoing channels.
pub(crate) struct EngineOutput {
    pub(crate) reports: mpsc::Receiver<Report>,
    pub(crate) replies: mpsc::Receiver<EngineReply>,
    pub(crate) status: watch::Receiver<EngineStatus>,
    /// What of the probes is carried out elsewhere.
    pub(crate) exchanges: ExchangeEnd,
}

/// The engine, from outside.
#[derive(Clone, Debug)]
pub(crate) struct EngineHandle {
    commands: mpsc::Sender<Command>,
    waker: Waker,
    stop: Arc<AtomicBool>,
}

impl EngineHandle {
    /// Hands over a command. One to an engine that has ended is lost; the end of its replies says so.
    pub(crate) async fn command(&self, command: Command) {
        let _ = self.commands.send(command).await;
        self.waker.wake();
    }

    /// Hands over that a pod vantage came or went.
    pub(crate) async fn vantage_changed(self, change: VantageChange) {
        self.command(Command::Vantage(change)).await;
    }

    /// What wakes the engine, for those who hand it something in another way.
    pub(crate) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Asks the engine to end.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.waker.wake();
    }
}

/// The engine's own end.
#[derive(Debug)]
pub(crate) struct EngineLink {
    commands: mpsc::Receiver<Command>,
    waker: Waker,
    stop: Arc<AtomicBool>,
    reports: mpsc::Sender<Report>,
    replies: mpsc::Sender<EngineReply>,
    status: watch::Sender<EngineStatus>,
}

/// Makes both ends.
pub(crate) fn open(exchanges: ExchangeEnd) -> std::io::Result<(EngineLink, EngineHandle, EngineOutput)> {
    let (waker, stop) = (Waker::open()?, Arc::new(AtomicBool::new(false)));
    let (to_engine, commands) = mpsc::channel(COMMANDS);
    let (to_buffer, reports) = mpsc::channel(REPORTS);
    let (to_session, replies) = mpsc::channel(REPLIES);
    let (to_all, status) = watch::channel(EngineStatus::default());
    let handle = EngineHandle { commands: to_engine, waker: waker.clone(), stop: Arc::clone(&stop) };
    let link = EngineLink { commands, waker, stop, reports: to_buffer, replies: to_session, status: to_all };
    Ok((link, handle, EngineOutput { reports, replies, status, exchanges }))
}

impl EngineLink {
    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Readable when somebody woke the engine.
    pub(crate) fn waker(&self) -> BorrowedFd<'_> {
        self.waker.fd()
    }

    /// Makes the waker unreadable until it is woken again.
    pub(crate) fn drain(&self) {
        self.waker.drain();
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

    /// Brings the status up to date. `news`: the session reports it at once.
    pub(crate) fn status(&self, status: &EngineStatus, news: bool) {
        self.status.send_replace(status.clone());
        if news {
            // Whoever hears of it may look before this returns.
            self.reply(EngineReply::StatusChanged);
        }
    }
}
