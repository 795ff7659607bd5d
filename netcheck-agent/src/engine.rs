//! The probe engine: one OS thread with one loop that sends, reads, asks the kernel and judges.
//!
//! In: [`Command`]s of the hub's session, readable sockets, kernel events. Out: [`Report`]s for the buffer,
//! [`EngineReply`]s for the session, [`EngineStatus`] for whoever looks. Nothing in it waits for any of them: a full
//! channel is counted and passed over.
//!
//! One turn: read all sockets, drain the kernel's events, judge, send what is due, report, sleep until the next tick
//! at which there is something to do. Where the kernel stamps packets the loop does not wake for them: it reads in
//! batches on its ticks, and times are no worse for it. Without stamps (or where they are missing from too many
//! replies) every packet wakes it. [`EngineHandle::stop`] ends the thread: it stops probing, lets go of what is in
//! flight, hands over its last report and returns.

pub(crate) mod dns_caches;
mod hasten;
pub(crate) mod link;
mod pace;
mod plans;
mod sequences;
mod tally;
mod translated;
mod vantage;

use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use netcheck_common::domain::{PathId, ProbeSession, Vantage};
use netcheck_common::hash::fnv1a;
use netcheck_common::schedule::Schedule;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use self::link::EngineLink;
pub(crate) use self::link::{Command, EngineHandle, EngineOutput, EngineReply};
use self::pace::{Pace, Wanted};
use self::sequences::Sequences;
use self::tally::{DropTally, StampTrust};
use crate::host::clock::{MILLISECOND_NS, SECOND_NS, monotonic_ns, unix_offset_ns};
use crate::host::starvation::Starvation;
use crate::measure::merge::Merge;
use crate::measure::new_flows::{self, Cadence};
use crate::model::evidence::{EvidenceAnswer, EvidenceQuestion, FlowQuestion, PathQuestion};
use crate::model::observation::{KernelSource, ProbeKey};
use crate::model::report::Report;
use crate::model::sample::{Purpose, Seen, StarvationReason};
use crate::model::status::{EngineStatus, VantageCounts, VantageStatus};
use crate::plan::Plan;
use crate::plan::policy::{AddressPolicy, Allowed};
use crate::probe::probers::{Observers, Probers};
use crate::probe::{Identity, exchange};

/// Evidence (lost samples, drops) waits this long for company, windows for none.
const EVIDENCE_EVERY_NS: u64 = 250 * MILLISECOND_NS;
/// How often the kernel side is asked how it is, and for its drop counters.
const KERNEL_EVERY_NS: u64 = 5 * SECOND_NS;
/// How often short names are looked up.
const SEARCH_EVERY_NS: u64 = 60 * SECOND_NS;
/// How often the status is brought up to date.
const STATUS_EVERY_NS: u64 = SECOND_NS;

/// What an engine is started with.
pub(crate) struct EngineConfig {
    pub(crate) node: String,
    pub(crate) session: ProbeSession,
    pub(crate) limit_pps: u32,
    pub(crate) policy: AddressPolicy,
    pub(crate) allowed: Allowed,
    pub(crate) kernel: Box<dyn KernelSource>,
    /// Where a pod vantage is expected: why there is none yet, and what its connections count.
    pub(crate) vantage: Option<(String, Arc<VantageCounts>)>,
}

/// The engine; lives on its own thread.
pub(crate) struct Engine {
    identity: Identity,
    plan: Plan,
    schedule: Schedule,
    merge: Merge,
    probers: Probers,
    kernel: Box<dyn KernelSource>,
    pace: Pace,
    /// Once the engine's thread runs.
    starvation: Option<Starvation>,
    trust: StampTrust,
    drops: DropTally,
    /// Which ordinary probes have a new flow beside them.
    cadence: Cadence,
    sequences: Sequences,
    due: Vec<PathId>,
    vantage_counts: Arc<VantageCounts>,
    link: EngineLink,
    status: EngineStatus,
    /// The session is to say the status as soon as it is brought up to date.
    news: bool,
    last_read_ns: u64,
    last_report_ns: u64,
    next_status_ns: u64,
    next_kernel_ns: u64,
    next_search_ns: u64,
}

impl Engine {
    /// Opens the sockets. What can't be opened is reported as degraded, and its probes as send errors.
    pub(crate) fn new(config: EngineConfig) -> anyhow::Result<(Self, EngineHandle, EngineOutput)> {
        let (exchange_link, exchanges) = exchange::open();
        let probers = Probers::open(fnv1a(&config.session.0.to_be_bytes()) as u16, exchange_link)?;
        let plan =
            Plan::empty(config.policy, config.allowed, probers.missing().to_vec(), config.vantage.is_some());
        let now_ns = monotonic_ns();
        let mut merge =
            Merge::new(config.session, plan.timing.timeout_ns, plan.timing.window_ns, unix_offset_ns());
        merge.ports.open(Vantage::Host, probers.udp_ports(Vantage::Host));
        let (link, handle, output) = link::open(exchanges)?;
        let status = EngineStatus {
            degraded: probers.missing().iter().map(|missing| missing.why.clone()).collect(),
            kernel: config.kernel.status(),
            vantage: config.vantage.as_ref().map(|(why, _)| VantageStatus::none(why.clone())),
            ..EngineStatus::default()
        };
        // The status is right before the first turn, too.
        link.status(&status, false);
        let engine = Self {
            identity: Identity { session: config.session, source_node: 0 },
            schedule: Schedule::new(&config.node, config.limit_pps),
            pace: Pace::new(now_ns, fnv1a(config.node.as_bytes()), plan.timing.timeout_ns),
            starvation: None,
            trust: StampTrust::default(),
            drops: DropTally::default(),
            cadence: Cadence::default(),
            sequences: Sequences::default(),
            due: Vec::new(),
            vantage_counts: config.vantage.map(|(_, counts)| counts).unwrap_or_default(),
            plan,
            merge,
            probers,
            kernel: config.kernel,
            link,
            status,
            news: false,
            last_read_ns: now_ns,
            last_report_ns: now_ns,
            next_status_ns: now_ns,
            next_kernel_ns: now_ns,
            next_search_ns: now_ns,
        };
        Ok((engine, handle, output))
    }

    /// Turns until stopped.
    pub(crate) fn run(mut self) {
        self.starvation = Some(Starvation::watch(monotonic_ns()));
        loop {
            let now_ns = monotonic_ns();
            if self.link.stopped() {
                let last = self.merge.take_report(now_ns, true);
                self.link.report(last, &mut self.merge.counters);
                self.publish();
                return;
            }
            self.turn(now_ns);
            self.sleep(now_ns);
        }
    }

    fn turn(&mut self, now_ns: u64) {
        let starved = self.pace.woke(now_ns);
        self.merge.counters.turns += 1;
        self.merge.counters.late_turns += u64::from(starved);
        while let Some(command) = self.link.next_command() {
            self.handle(command, now_ns);
        }
        let prompt = self.prompt();
        let seen = Seen { at_ns: now_ns, since_ns: self.last_read_ns, prompt: prompt && !starved };
        let mut observers = Observers { kernel: self.kernel.as_mut(), merge: &mut self.merge };
        self.probers.read(&mut observers, seen);
        if self.probers.bars_changed() {
            self.report_plan();
        }
        self.last_read_ns = now_ns;
        self.kernel.drain(&mut |observation| self.merge.observe(observation));
        let why_starved = |since_ns| match (starved, &mut self.starvation) {
            (true, _) => Some(StarvationReason::Late),
            (false, starvation) => starvation.as_mut()?.between(since_ns, now_ns, self.pace.late_ns()),
        };
        self.merge.settle(now_ns, why_starved, |probe| self.probers.close(probe, self.kernel.as_mut()));
        self.send(now_ns);
        self.report(now_ns);
    }

    /// Whether packets wake the loop.
    fn prompt(&self) -> bool {
        !(self.kernel.stamps() && self.trust.trusted())
    }

    fn send(&mut self, now_ns: u64) {
        self.schedule.due(now_ns, &mut self.due);
        let mut previous = None;
        let due = std::mem::take(&mut self.due);
        for &path in &due {
            let Some(plan) = self.plan.paths.get(&path) else { continue };
            // What goes with probes goes with those that the plan wants.
            let header = plan.kind.carries_header() && self.schedule.is_usual(path, now_ns);
            let own_network = plan.network.is_none();
            self.send_one(path, Purpose::Ordinary, &mut previous);
            // Others may go with an ordinary probe, within the budget.
            if header && own_network && self.cadence.takes(path, now_ns) && self.schedule.has_room() {
                self.send_one(path, Purpose::NewFlow, &mut previous);
                self.schedule.spend(now_ns);
            }
            let size = if header && self.schedule.has_room() { self.next_size(path, now_ns) } else { None };
            if let Some(bytes) = size {
                self.send_one(path, Purpose::Size(bytes), &mut previous);
                self.schedule.spend(now_ns);
            }
        }
        self.due = due;
        self.due.clear();
        let again = self.merge.new_flows.take_again();
        // One after the other, so that all of them share their sockets.
        for _ in 0..new_flows::AGAIN {
            for &path in &again {
                if self.schedule.has_room() {
                    self.send_one(path, Purpose::NewFlow, &mut previous);
                    self.schedule.spend(now_ns);
                }
            }
        }
        if let Some((key, at_ns)) = previous {
            if self.pace.slow(at_ns, monotonic_ns()) {
                self.merge.unreliable(key);
            }
            self.pace.sent();
        }
    }

    fn next_size(&mut self, path: PathId, now_ns: u64) -> Option<u16> {
        let plan = self.plan.paths.get(&path)?;
        let route = || self.probers.route_bytes(plan);
        self.merge.sizes.next(path, plan.packet_bytes(), now_ns, route)
    }

    /// Sends a probe of a path; `previous` is the one before in this turn, and when it left.
    fn send_one(&mut self, path: PathId, purpose: Purpose, previous: &mut Option<(ProbeKey, u64)>) {
        let Some(plan) = self.plan.paths.get(&path) else { return };
        let key = ProbeKey { path, sequence: self.sequences.next(path) };
        let mut observers = Observers { kernel: self.kernel.as_mut(), merge: &mut self.merge };
        let Some(t0_ns) = self.probers.send(self.identity, key, plan, purpose, &mut observers) else {
            self.merge.counters.new_flows_skipped += 1;
            return;
        };
        self.sequences.used(path, key.sequence);
        if let Some((previous, at_ns)) = previous.replace((key, t0_ns))
            && self.pace.slow(at_ns, t0_ns)
        {
            self.merge.unreliable(previous);
        }
    }

    fn report(&mut self, now_ns: u64) {
        if now_ns >= self.next_search_ns && !self.plan.search_names.is_empty() {
            self.next_search_ns = now_ns + SEARCH_EVERY_NS;
            self.probers.search(self.plan.search_names.clone());
        }
        let kernel_due = now_ns >= self.next_kernel_ns;
        // Both are asked: news that a look has shown are none any more.
        if self.kernel.news() | kernel_due {
            let kernel = self.kernel.status();
            if kernel != self.status.kernel {
                self.status.kernel = kernel;
                self.next_status_ns = now_ns;
                self.news = true;
            }
        }
        if kernel_due {
            self.next_kernel_ns = now_ns + KERNEL_EVERY_NS;
            self.status.drops = self.kernel.drop_counts();
            let drop_counts = self.drops.since_last(&self.status.drops);
            if !drop_counts.is_empty() {
                self.link.report(Report { drop_counts, ..Report::default() }, &mut self.merge.counters);
            }
        }
        let evidence_due =
            self.merge.has_evidence() && now_ns >= self.last_report_ns.saturating_add(EVIDENCE_EVERY_NS);
        if evidence_due || self.merge.next_window_end_ns().is_some_and(|end_ns| end_ns <= now_ns) {
            let mut report = self.merge.take_report(now_ns, false);
            translated::follow(&mut report, &mut *self.kernel);
            if !report.is_empty() {
                self.last_report_ns = now_ns;
                self.link.report(report, &mut self.merge.counters);
            }
        }
        if now_ns >= self.next_status_ns {
            self.next_status_ns = now_ns + STATUS_EVERY_NS;
            if let Some(starvation) = &mut self.starvation {
                starvation.look(now_ns);
            }
            self.complete_networks(now_ns);
            self.trust.update(&self.merge.counters);
            self.set_pace();
            self.publish();
        }
    }

    fn publish(&mut self) {
        let reused = self.probers.quarantine().again();
        if reused != self.merge.counters.numbers_reused {
            // Once in a while is enough: the counter says the rest.
            if self.merge.counters.numbers_reused == 0 {
                let limits = "source ports or ICMP identifiers come back within connection tracking's time-outs: there \
                              are too few of them for so many probes of one destination";
                tracing::warn!("{limits}");
                self.status.degraded.push(limits.to_owned());
                self.news = true;
            }
            self.merge.counters.numbers_reused = reused;
        }
        self.status.counters = self.merge.counters.clone();
        self.status.in_flight = self.merge.in_flight();
        if let Some(vantage) = &mut self.status.vantage {
            vantage.refused = self.vantage_counts.refused.load(Ordering::Relaxed);
            vantage.sockets = self.vantage_counts.sockets.load(Ordering::Relaxed);
        }
        self.status.batched = !self.prompt();
        self.status.published = Instant::now();
        self.link.status(&self.status, std::mem::take(&mut self.news));
    }

    fn handle(&mut self, command: Command, now_ns: u64) {
        match command {
            Command::Identify { source_node } => self.identity.source_node = source_node,
            Command::Plan(delta) => self.apply(&delta, now_ns),
            Command::Expedite(paths) => self.schedule.expedite(&paths),
            Command::Hasten(wish) => self.hasten(&wish, now_ns),
            Command::Vantage(change) => self.vantage(change, now_ns),
            Command::DnsCaches(found) => self.dns_caches(found, now_ns),
            Command::Evidence(question) => {
                let answer = self.answer(question);
                self.link.reply(EngineReply::Evidence(answer));
            }
        }
    }

    fn answer(&self, question: EvidenceQuestion) -> EvidenceAnswer {
        let path = |asked: PathQuestion| {
            let held = self.kernel.reflected_path(asked.session, asked.path, &asked.sources);
            (asked, held)
        };
        let flow = |asked: FlowQuestion| (asked, asked.flow.and_then(|flow| self.kernel.flow_seen(&flow)));
        let paths = question.paths.into_iter().map(path).collect();
        let flows = question.flows.into_iter().map(flow).collect();
        // The clock is read after the kernel's maps, so that no age is negative.
        EvidenceAnswer { id: question.id, paths, flows, at_ns: monotonic_ns() }
    }

    /// Sleeps until there is something to do, a command comes, or (without stamps) a packet.
    fn sleep(&mut self, turn_ns: u64) {
        let now_ns = monotonic_ns();
        let urgent = [
            self.merge.next_deadline_ns(),
            self.merge.has_evidence().then(|| self.last_report_ns.saturating_add(EVIDENCE_EVERY_NS)),
        ];
        let probes = [
            self.schedule.next_due(now_ns),
            self.merge.new_flows.has_again().then_some(now_ns),
            // A window that waits for its last probes is closed when they end.
            self.merge.next_window_end_ns().filter(|&end_ns| end_ns > now_ns),
            Some(self.next_status_ns),
        ];
        let wanted = Wanted {
            probes_ns: probes.into_iter().flatten().min(),
            urgent_ns: urgent.into_iter().flatten().min(),
        };
        let collecting = !self.prompt() && self.merge.in_flight() > 0;
        let until_ns = self.pace.sleep_until(turn_ns, now_ns, wanted, collecting);
        let timeout_ns = until_ns.saturating_sub(now_ns);
        let timeout =
            Timespec { tv_sec: (timeout_ns / SECOND_NS) as i64, tv_nsec: (timeout_ns % SECOND_NS) as i64 };
        let waker = PollFd::from_borrowed_fd(self.link.waker(), PollFlags::IN);
        let packets = PollFd::from_borrowed_fd(self.probers.epoll().as_fd(), PollFlags::IN);
        let mut both = [waker, packets];
        let count = if self.prompt() { 2 } else { 1 };
        // An interrupted sleep is a short one.
        let _ = poll(&mut both[..count], Some(&timeout));
        if !both[0].revents().is_empty() {
            self.link.drain();
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
