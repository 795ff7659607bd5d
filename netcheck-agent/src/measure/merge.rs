//! From what sockets and hooks saw to samples, windows and evidence. Pure: takes `now`, does no I/O.
//!
//! In: probes that left, answers and errors from the sockets, [`Observation`]s from the kernel, in any order.
//! Out: every probe exactly once, as a sample in the window in which it was sent; of those that did not end with a
//! reply also a lost sample with its evidence; what later replies say of them; kernel drops.
//!
//! A turn of the engine's loop reads all sockets, then drains the kernel's events, then calls [`Merge::settle`]: so
//! when a probe is judged, all its stamps are there, and nothing that arrived before its deadline is still unread.
//! A reply counts only if user space got it (a stamp alone can still be dropped on the way to the socket) and only
//! if path, sequence, session and the answering address are those of a probe in flight. Whether it came in time is
//! decided by the kernel's stamps where there are some, however late user space was.

mod flight;
mod judge;
mod memory;
mod windows;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use netcheck_common::domain::{Outcome, PathId, ProbeKind, ProbeSession, Sequence, Vantage};
use netcheck_common::header::ProbeHeader;

use self::flight::Flight;
use self::memory::{Past, PathMemory};
use self::windows::Windows;
use crate::measure::backends::Backends;
use crate::measure::new_flows::NewFlows;
use crate::measure::ports::Ports;
use crate::measure::sizes::Sizes;
use crate::model::counters::Counters;
use crate::model::observation::{Direction, DropIdentity, Observation, ProbeKey, Reflected};
use crate::model::report::Report;
use crate::model::sample::{Detail, Ending, IcmpSeen, Probe, Quoted, Searched, Seen, StarvationReason};

/// Lost samples and drop records kept with their evidence per report; beyond, they are only counted.
const DETAILS_MAX: usize = 8192;

/// Everything between a probe's departure and its report.
#[derive(Debug)]
pub(crate) struct Merge {
    session: ProbeSession,
    timeout_ns: u64,
    flights: HashMap<ProbeKey, Flight>,
    /// In the order of their deadlines. Those that have ended stay until their time.
    deadlines: VecDeque<(u64, ProbeKey)>,
    /// Ended in this turn, to be judged when the kernel's events are in.
    ended: Vec<ProbeKey>,
    paths: HashMap<PathId, PathMemory>,
    windows: Windows,
    report: Report,
    /// Which packet sizes pass.
    pub(crate) sizes: Sizes,
    /// Which source ports lose everything.
    pub(crate) ports: Ports,
    /// What becomes of flows of their own.
    pub(crate) new_flows: NewFlows,
    /// Who answers behind translated addresses.
    backends: Backends,
    pub(crate) counters: Counters,
}

impl Merge {
    /// Nothing in flight.
    pub(crate) fn new(session: ProbeSession, timeout_ns: u64, window_ns: u64, unix_offset_ns: i64) -> Self {
        Self {
            session,
            timeout_ns,
            flights: HashMap::new(),
            deadlines: VecDeque::new(),
            ended: Vec::new(),
            paths: HashMap::new(),
            windows: Windows::new(window_ns, unix_offset_ns),
            report: Report::default(),
            sizes: Sizes::default(),
            ports: Ports::default(),
            new_flows: NewFlows::default(),
            backends: Backends::default(),
            counters: Counters::default(),
        }
    }

    /// Changes timeout and window length for probes that are yet to leave.
    pub(crate) fn set_timing(&mut self, now_ns: u64, timeout_ns: u64, window_ns: u64, unix_offset_ns: i64) {
        self.timeout_ns = timeout_ns;
        self.windows.set_length(now_ns, window_ns, unix_offset_ns);
    }

    /// How long an ordinary probe's answer is waited for.
    pub(crate) const fn timeout_ns(&self) -> u64 {
        self.timeout_ns
    }

    /// Forgets paths that left the plan, with their probes in flight; those are handed back unjudged.
    pub(crate) fn forget(&mut self, gone: &[PathId], mut on_end: impl FnMut(&Probe)) {
        let windows = &mut self.windows;
        for path in gone {
            self.paths.remove(path);
        }
        self.sizes.forget(gone);
        self.backends.forget(gone);
        self.ports.forget(gone);
        self.new_flows.forget(gone);
        // `gone` is sorted.
        self.flights.retain(|key, flight| {
            let keep = gone.binary_search(&key.path).is_err();
            if !keep {
                if let Some(window) = flight.window {
                    windows.abandoned(window);
                }
                on_end(&flight.probe);
            }
            keep
        });
    }

    /// A probe is about to leave, at `t0_ns`; to be called before its packet can be seen by any hook.
    pub(crate) fn sent(&mut self, probe: Probe, t0_ns: u64) {
        // No window waits for a probe that is no sample, or for an exchange.
        let window = (probe.size_bytes() == 0 && !probe.is_exchange()).then(|| self.windows.sent(t0_ns));
        self.paths.entry(probe.key.path).or_default().sent(probe.key.sequence);
        let timeout_ns = if probe.is_exchange() { probe.timeout_ns } else { self.timeout_ns };
        self.expect(t0_ns.saturating_add(timeout_ns), probe.key);
        self.flights.insert(probe.key, Flight::new(probe, t0_ns, timeout_ns, window));
    }

    fn expect(&mut self, deadline_ns: u64, key: ProbeKey) {
        if self.deadlines.back().is_none_or(|&(last_ns, _)| last_ns <= deadline_ns) {
            self.deadlines.push_back((deadline_ns, key));
        } else {
            let at = self.deadlines.partition_point(|&(other_ns, _)| other_ns <= deadline_ns);
            self.deadlines.insert(at, (deadline_ns, key));
        }
    }

    /// Sending it took suspiciously long: no answer is no evidence.
    pub(crate) fn unreliable(&mut self, key: ProbeKey) {
        if let Some(flight) = self.flights.get_mut(&key) {
            flight.unreliable = true;
        }
    }

    /// A packet with netcheck's header was read. `from` has port 0 for ICMP.
    pub(crate) fn echo(&mut self, from: SocketAddr, header: &ProbeHeader, seen: Seen) {
        let key = ProbeKey { path: PathId(header.path), sequence: Sequence(header.sequence) };
        if header.session != self.session.0 {
            self.counters.forged += 1;
            return;
        }
        let reflected = header.reflected().then_some(Reflected {
            t2_ns: header.t2_ns,
            t3_ns: header.t3_ns,
            requests: header.requests,
            arrived: header.arrived,
        });
        let Some(flight) = self.flights.get_mut(&key) else {
            self.echo_of_the_past(key);
            return;
        };
        if !flight.probe.kind.carries_header() || !same_peer(flight.probe.target, from) {
            self.counters.forged += 1;
        } else if flight.ended.is_some() {
            self.counters.duplicate += 1;
        } else {
            flight.ended = Some(Ending::Reply { seen, reflected });
            self.ended.push(key);
        }
    }

    fn echo_of_the_past(&mut self, key: ProbeKey) {
        let Some(memory) = self.paths.get_mut(&key.path) else {
            // Of a path that has left the plan.
            self.counters.late += 1;
            return;
        };
        match memory.past(key.sequence) {
            Past::Lost => {
                self.counters.late += 1;
                memory.arrived_late(key.path, key.sequence, &mut self.report.arrivals);
            }
            Past::Ended => self.counters.duplicate += 1,
            Past::Unsent => self.counters.forged += 1,
        }
    }

    /// A probe without a header ended, as its own socket reports.
    pub(crate) fn ended(&mut self, key: ProbeKey, ending: Ending) {
        let Some(flight) = self.flights.get_mut(&key) else { return };
        if flight.ended.is_none() {
            flight.ended = Some(ending);
            self.ended.push(key);
        } else if let (
            Some(Ending::Failed { detail: was, .. }),
            Ending::Failed { detail: Detail { errno: Some(errno), .. }, .. },
        ) = (&mut flight.ended, ending)
        {
            // The ICMP error came first, and the socket's errno says the same.
            was.errno = was.errno.or(Some(errno));
        }
    }

    /// An ICMP error quoted a probe. `to` is where the quoted packet was going.
    pub(crate) fn icmp_error(&mut self, key: ProbeKey, to: SocketAddr, outcome: Outcome, icmp: IcmpSeen) {
        match self.flights.get(&key) {
            Some(flight) if same_peer(flight.probe.target, to) => {
                let detail = Detail { icmp: Some(icmp), ..Detail::default() };
                self.ended(key, Ending::Failed { outcome, detail });
            }
            Some(_) => self.counters.forged += 1,
            None => self.counters.late += 1,
        }
    }

    /// The ICMP or UDP probe that an ICMP error quotes. Where the quote is too short for the probe header it is the
    /// newest one in flight to that target from that vantage and slot (with that ICMP sequence).
    pub(crate) fn quoted(&self, quoted: &Quoted, vantage: Vantage, slot: u32) -> Option<ProbeKey> {
        if let Some(header) = &quoted.header {
            let own = header.session == self.session.0;
            return own
                .then_some(ProbeKey { path: PathId(header.path), sequence: Sequence(header.sequence) });
        }
        let candidates = self.flights.values().filter(|flight| {
            flight.probe.kind == quoted.transport
                && flight.probe.target == quoted.to
                && (flight.probe.vantage, flight.probe.slot) == (vantage, slot)
                && (quoted.transport != ProbeKind::Icmp
                    || flight.probe.key.sequence.0 as u16 == quoted.icmp_sequence)
        });
        candidates.max_by_key(|flight| flight.t0_ns).map(|flight| flight.probe.key)
    }

    /// A probe on its way.
    pub(crate) fn on_its_way(&self, key: ProbeKey) -> Option<Probe> {
        let flight = self.flights.get(&key).filter(|flight| flight.ended.is_none())?;
        Some(flight.probe)
    }

    /// When a probe on its way left.
    pub(crate) fn sent_at(&self, key: ProbeKey) -> Option<u64> {
        self.flights.get(&key).map(|flight| flight.t0_ns)
    }

    /// A probe on its way goes on as this one, over TCP, until then at most.
    pub(crate) fn continue_over_tcp(&mut self, probe: Probe, until_ns: u64) {
        let Some(flight) = self.flights.get_mut(&probe.key) else { return };
        if let Some(window) = flight.continue_over_tcp(probe, until_ns) {
            // It counts where it ends, as all exchanges do.
            self.windows.abandoned(window);
        }
    }

    /// A probe was not sent after all: nothing is known, and nobody counts it.
    pub(crate) fn not_sent(&mut self, key: ProbeKey) {
        if let Some(window) = self.flights.remove(&key).and_then(|flight| flight.window) {
            self.windows.abandoned(window);
        }
    }

    /// The kernel saw something.
    pub(crate) fn observe(&mut self, observation: Observation) {
        match observation {
            Observation::Stamp(stamp) => {
                if let Some(flight) = self.flights.get_mut(&stamp.probe) {
                    flight.stamp(&stamp);
                } else if stamp.direction == Direction::Reply {
                    let ProbeKey { path, sequence } = stamp.probe;
                    let Some(memory) = self.paths.get_mut(&path) else { return };
                    let arrivals = &mut self.report.arrivals;
                    match stamp.flow.kind {
                        // A datagram comes once.
                        ProbeKind::Udp => memory.arrived_late(path, sequence, arrivals),
                        ProbeKind::Tcp => memory.handshake_late(path, sequence, stamp.at_ns, arrivals),
                        _ => {}
                    }
                }
            }
            Observation::Drop(drop) => {
                let own = match drop.identity {
                    DropIdentity::Probe { session, probe } if session == self.session => probe,
                    DropIdentity::OwnFlow(probe) => probe,
                    DropIdentity::Probe { .. } | DropIdentity::ForeignFlow => {
                        self.report_drop(drop);
                        return;
                    }
                };
                let lost = |memory: &PathMemory| memory.past(own.sequence) == Past::Lost;
                if let Some(flight) = self.flights.get_mut(&own) {
                    flight.dropped(drop);
                } else if self.paths.get(&own.path).is_some_and(lost) {
                    self.report_drop(drop);
                }
                // Else it had its reply: what was dropped is a copy (a raw socket's clone, say).
            }
        }
    }

    /// Judges what ended, and gives up what has passed its deadline. `now_ns` is when the reading of the sockets
    /// began in this turn. `why_starved` says why silence since a time proves nothing, and is asked only where a loss would
    /// be declared. Hands back every probe that is judged.
    pub(crate) fn settle(
        &mut self,
        now_ns: u64,
        mut why_starved: impl FnMut(u64) -> Option<StarvationReason>,
        mut on_end: impl FnMut(&Probe),
    ) {
        let mut ended = std::mem::take(&mut self.ended);
        for key in ended.drain(..) {
            if let Some(flight) = self.flights.remove(&key) {
                on_end(&flight.probe);
                self.judge(flight, now_ns, &mut why_starved);
            }
        }
        self.ended = ended;
        while let Some(&(deadline_ns, key)) = self.deadlines.front() {
            let Some(flight) = self.flights.get(&key) else {
                self.deadlines.pop_front();
                continue;
            };
            if deadline_ns > now_ns {
                break;
            }
            self.deadlines.pop_front();
            let deadline_ns = flight.deadline_ns();
            if deadline_ns > now_ns {
                self.expect(deadline_ns, key);
                continue;
            }
            if let Some(flight) = self.flights.remove(&key) {
                on_end(&flight.probe);
                // Whoever carries exchanges out has deadlines of its own, which are earlier.
                let silent = flight.probe.is_exchange().then_some(StarvationReason::OwnFault);
                let why_starved = why_starved(flight.t0_ns).or(silent);
                self.lost(flight, now_ns, Outcome::Timeout, why_starved, Detail::default());
            }
        }
    }

    /// Names were looked up.
    pub(crate) fn searched(&mut self, names: Vec<Searched>) {
        self.report.searches.extend(names);
    }

    /// The earliest deadline, if anything is in flight.
    pub(crate) fn next_deadline_ns(&self) -> Option<u64> {
        // Those that have ended may stand in front: waking for one of them now and then is cheaper than a search.
        if self.flights.is_empty() {
            None
        } else {
            self.deadlines.front().map(|&(deadline_ns, _)| deadline_ns)
        }
    }

    /// When the oldest window's time is over.
    pub(crate) fn next_window_end_ns(&self) -> Option<u64> {
        self.windows.next_end_ns()
    }

    /// Probes on their way.
    pub(crate) fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Whether something is to be reported that waits for no window.
    pub(crate) fn has_evidence(&self) -> bool {
        !(self.report.lost.is_empty()
            && self.report.drops.is_empty()
            && self.report.arrivals.is_empty()
            && self.report.searches.is_empty())
    }

    /// Takes everything that is finished; with `last`, the window in progress too, and what is in flight is let go
    /// unjudged.
    pub(crate) fn take_report(&mut self, now_ns: u64, last: bool) -> Report {
        if last {
            for window in self.flights.drain().filter_map(|(_, flight)| flight.window) {
                self.windows.abandoned(window);
            }
            self.deadlines.clear();
        }
        self.report.windows = self.windows.take_closed(now_ns, last);
        self.report.sizes = self.sizes.take();
        self.report.ports = self.ports.take();
        self.report.backends = self.backends.take(now_ns, last);
        std::mem::take(&mut self.report)
    }
}

/// Whether an answer comes from where the probe went. IPv6 scope and flow label don't matter.
fn same_peer(target: SocketAddr, from: SocketAddr) -> bool {
    target.ip() == from.ip() && target.port() == from.port()
}

#[cfg(test)]
mod tests;
