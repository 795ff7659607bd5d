//! What ended, and what passed its deadline: to samples, to lost probes with their evidence, to sizes that pass.

use netcheck_common::domain::{Outcome, ProbeKind};
use rustix::io::Errno;

use super::flight::{Flight, Shares};
use super::memory::LostProbe;
use super::{DETAILS_MAX, Merge};
use crate::model::observation::{DropSeen, ProbeKey, Reflected};
use crate::model::report::Lost;
use crate::model::sample::{Detail, Ending, Probe, Seen, StarvationReason, StepTimes};

impl Merge {
    pub(super) fn judge(
        &mut self,
        mut flight: Flight,
        now_ns: u64,
        mut why_starved: impl FnMut(u64) -> Option<StarvationReason>,
    ) {
        match flight.ended.take() {
            Some(Ending::Reply { seen, reflected }) => {
                let reflected = reflected.or(flight.reflected);
                match flight.in_time(seen, why_starved) {
                    Ok(true) => self.replied(&flight, now_ns, seen, reflected),
                    in_time => {
                        self.counters.late += 1;
                        let key = flight.probe.key;
                        self.lost(flight, now_ns, Outcome::Timeout, in_time.err(), Detail::default());
                        if let Some(memory) = self.paths.get_mut(&key.path) {
                            memory.arrived_late(key.path, key.sequence, &mut self.report.arrivals);
                        }
                    }
                }
            }
            Some(Ending::Exchanged { steps, not_after }) => {
                self.exchanged(&flight, now_ns, steps, not_after);
            }
            Some(Ending::Failed { outcome, detail }) => {
                let late =
                    detail.exchange.as_ref().is_some_and(|seen| seen.late).then_some(StarvationReason::Late);
                let silent = outcome == Outcome::Timeout || detail.rcode.as_deref() == Some("timeout");
                let why_starved = late.or_else(|| silent.then(|| why_starved(flight.t0_ns)).flatten());
                self.lost(flight, now_ns, outcome, why_starved, detail);
            }
            // What raw IPv6 sockets say, and no others, of a packet that an interface of this node dropped. Ordinary
            // probes show whether the agent is out of memory.
            Some(Ending::OwnFault { detail })
                if flight.probe.size_bytes() != 0 && detail.errno == Some(Errno::NOBUFS) =>
            {
                self.lost(flight, now_ns, Outcome::SendError, None, detail);
            }
            Some(Ending::OwnFault { detail }) => {
                self.lost(flight, now_ns, Outcome::SendError, Some(StarvationReason::OwnFault), detail);
            }
            None => {
                let why_starved = why_starved(flight.t0_ns);
                self.lost(flight, now_ns, Outcome::Timeout, why_starved, Detail::default());
            }
        }
    }

    fn replied(&mut self, flight: &Flight, now_ns: u64, seen: Seen, reflected: Option<Reflected>) {
        let ProbeKey { path, sequence } = flight.probe.key;
        if let (Some(reflected), Some(memory)) = (reflected, self.paths.get_mut(&path)) {
            memory.reflected(now_ns, path, sequence, reflected, &mut self.report.arrivals);
        }
        let Some(window) = flight.window else {
            self.counters.sizes_tried += 1;
            self.sizes.replied(path, flight.probe.size_bytes(), now_ns);
            return;
        };
        if flight.probe.is_new_flow() {
            self.counters.new_flows += 1;
            self.new_flows.answered(path);
            self.met(flight, true);
            self.windows.ended(window, path).new_reply += 1;
            return;
        }
        if flight.probe.kind.carries_header() {
            self.sizes.ordinary(path, flight.t0_ns, now_ns, true);
            self.new_flows.old(path, true);
        }
        self.turn_ended(&flight.probe, Some(true), now_ns);
        self.met(flight, true);
        self.counters.sample(flight.probe.kind, flight.probe.family(), Outcome::Reply);
        let shares = flight.shares(seen, reflected);
        if flight.probe.watched {
            self.counters.stamped += u64::from(shares.network_ns.is_some());
            self.counters.unstamped += u64::from(shares.network_ns.is_none());
        }
        let Shares { round_trip_ns, network_ns, host_ns, responder_ns } = shares;
        let window = self.windows.ended(window, path);
        window.count(Outcome::Reply);
        for (sketch, delay_ns) in [
            (&mut window.round_trip, round_trip_ns),
            (&mut window.network, network_ns),
            (&mut window.host, host_ns),
            (&mut window.responder, responder_ns),
        ] {
            if let Some(delay_ns) = delay_ns {
                sketch.record(delay_ns);
            }
        }
    }

    /// An exchange over TCP ended as it should. The hooks saw its first packet and the first one back: what they report
    /// is the handshake's share of the network.
    fn exchanged(&mut self, flight: &Flight, now_ns: u64, steps: StepTimes, not_after: Option<i64>) {
        self.counters.sample(flight.probe.kind, flight.probe.family(), Outcome::Reply);
        self.met(flight, true);
        let network_ns = flight.handshake_ns();
        if flight.probe.watched {
            self.counters.stamped += u64::from(network_ns.is_some());
            self.counters.unstamped += u64::from(network_ns.is_none());
        }
        let number = self.windows.sent(now_ns);
        let window = self.windows.ended(number, flight.probe.key.path);
        window.count(Outcome::Reply);
        window.round_trip.record(steps.total_ns);
        if let Some(network_ns) = network_ns {
            window.network.record(network_ns);
        }
        let parts = window.steps.get_or_insert_default();
        parts.expires(not_after);
        for (sketch, delay_ns) in [
            (&mut parts.dns, steps.dns_ns),
            (&mut parts.connect, steps.connect_ns),
            (&mut parts.tls, steps.tls_ns),
            (&mut parts.first_byte, steps.first_byte_ns),
        ] {
            if let Some(delay_ns) = delay_ns {
                sketch.record(delay_ns);
            }
        }
    }

    pub(super) fn lost(
        &mut self,
        mut flight: Flight,
        now_ns: u64,
        outcome: Outcome,
        why_starved: Option<StarvationReason>,
        detail: Detail,
    ) {
        let unreliable = flight.unreliable && outcome == Outcome::Timeout;
        let why_starved = why_starved.or(unreliable.then_some(StarvationReason::Late));
        let Some(new_flows_lost) = self.count_lost(&flight, now_ns, outcome, why_starved, &detail) else {
            return;
        };
        self.report_seen(&mut flight, now_ns);
        if self.report.lost.len() >= DETAILS_MAX {
            self.counters.details_dropped += 1;
            return;
        }
        let (request_hooks, reply_hooks) = flight.hooks();
        self.report.lost.push(Lost {
            probe: flight.probe.key,
            sent_ns: flight.t0_ns,
            outcome,
            suspect: why_starved.is_some(),
            request_hooks,
            reply_hooks,
            detail,
            flow: flight.flow(),
            origin: flight.origin(),
            unwatched: !flight.probe.watched,
            size_bytes: flight.probe.size_bytes(),
            new_flows_lost,
        });
    }

    /// Counts a lost probe where its kind is counted. How many new flows of its path were lost in a row, of a new flow;
    /// none where nothing more is to be said of it.
    fn count_lost(
        &mut self,
        flight: &Flight,
        now_ns: u64,
        outcome: Outcome,
        why_starved: Option<StarvationReason>,
        detail: &Detail,
    ) -> Option<u32> {
        let path = flight.probe.key.path;
        let window = flight.window.or_else(|| {
            // Exchanges count where they end.
            flight.probe.is_exchange().then(|| self.windows.sent(now_ns))
        });
        match window {
            None => {
                self.counters.sizes_tried += 1;
                if why_starved.is_some() || self.router_reported(flight, now_ns, detail) {
                    return None;
                }
            }
            Some(window) if flight.probe.is_new_flow() => {
                let window = self.windows.ended(window, path);
                if why_starved.is_some() {
                    return None;
                }
                window.new_lost += 1;
                self.counters.new_flows += 1;
                self.counters.new_flows_lost += 1;
                let lost = self.new_flows.lost(path);
                self.met(flight, false);
                return Some(lost);
            }
            Some(window) => {
                self.turn_ended(&flight.probe, why_starved.is_none().then_some(false), now_ns);
                let window = self.windows.ended(window, path);
                if let Some(seen) = &detail.exchange
                    && seen.not_after.is_some()
                {
                    window.steps.get_or_insert_default().expires(seen.not_after);
                }
                if let Some(why_starved) = why_starved {
                    window.suspect += 1;
                    self.counters.suspect(why_starved);
                } else {
                    window.count(outcome);
                    self.met(flight, false);
                    self.counters.sample(flight.probe.kind, flight.probe.family(), outcome);
                    if flight.probe.kind.carries_header() {
                        self.sizes.ordinary(path, flight.t0_ns, now_ns, false);
                        self.new_flows.old(path, false);
                    }
                }
            }
        }
        Some(0)
    }

    /// Reports what kernels saw of a lost probe: drops, and how far it and its reply came.
    fn report_seen(&mut self, flight: &mut Flight, now_ns: u64) {
        let key = flight.probe.key;
        for drop in std::mem::take(&mut flight.drops) {
            self.report_drop(drop);
        }
        if let Some(memory) = self.paths.get_mut(&key.path) {
            let probe = LostProbe {
                sequence: key.sequence,
                syn_ns: (flight.probe.kind == ProbeKind::Tcp).then_some(flight.t0_ns),
                new_flow: flight.probe.is_new_flow(),
            };
            self.report.arrivals.extend(memory.lost(now_ns, key.path, probe));
            // The reply was seen, and died before it reached its socket.
            if let Some(reflected) = flight.reflected {
                memory.reflected(now_ns, key.path, key.sequence, reflected, &mut self.report.arrivals);
                memory.arrived(key.path, key.sequence, &mut self.report.arrivals);
            }
        }
    }

    /// A judged probe ended. Where it left for another address than its own, that is whose backend answered, or did not.
    fn met(&mut self, flight: &Flight, answered: bool) {
        let Some(flow) = flight.flow().filter(|flow| flow.destination != flight.probe.target) else { return };
        // What carries no port was not sent to anybody's.
        if flow.destination.port() == 0 {
            return;
        }
        if !self.backends.ended(flight.probe.key.path, flow.destination, answered, flight.t0_ns) {
            self.counters.details_dropped += 1;
        }
    }

    /// An ordinary probe ended, of those that leave from several ports in turn.
    fn turn_ended(&mut self, probe: &Probe, answered: Option<bool>, now_ns: u64) {
        if probe.kind == ProbeKind::Udp {
            self.ports.ended(probe.key.path, (probe.vantage, probe.family()), probe.slot, answered, now_ns);
        }
    }

    /// A probe that tried a size was not answered. True: a router reported what it takes instead, so nothing is lost that
    /// anybody would send now.
    fn router_reported(&mut self, flight: &Flight, now_ns: u64, detail: &Detail) -> bool {
        let (path, bytes) = (flight.probe.key.path, flight.probe.size_bytes());
        if let Some(icmp) = detail.icmp.filter(|icmp| icmp.mtu_bytes != 0)
            && self.sizes.too_big(path, bytes, icmp.mtu_bytes, icmp.from, now_ns)
        {
            return true;
        }
        self.counters.sizes_lost += 1;
        if detail.errno == Some(Errno::MSGSIZE) {
            self.sizes.refused(path, bytes, now_ns);
        } else {
            self.sizes.lost(path, bytes, flight.t0_ns, now_ns);
        }
        false
    }

    pub(super) fn report_drop(&mut self, drop: DropSeen) {
        if self.report.drops.len() >= DETAILS_MAX {
            self.counters.details_dropped += 1;
        } else {
            self.report.drops.push(drop);
        }
    }
}
