//! All probers of both families, of the host and of the pod vantage on each of its networks, and the one epoll set that
//! their sockets are in.

mod exchanges;
mod family;
mod networks;
mod socket_sets;

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use arrayvec::ArrayVec;
use netcheck_common::domain::{Family, Outcome, ProbeKind, Vantage};
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use self::exchanges::{Lookups, Truncated};
use self::family::{OneFamily, quoted_by_socket};
use self::networks::Networks;
use self::socket_sets::{DNS, HOST, ICMP, POD, SocketSets, TCP, UDP, token};
use crate::host::clock::{MILLISECOND_NS, monotonic_ns};
use crate::measure::merge::Merge;
use crate::measure::sizes::LARGEST;
use crate::model::observation::{KernelSource, ProbeKey};
use crate::model::report::PORTS;
use crate::model::sample::{Ending, Probe, Purpose, Seen, overhead_bytes};
use crate::net::mmsg::Batch;
use crate::plan::addresses::{NetworkKey, WantedNetworks};
use crate::plan::exchange::Terms;
use crate::plan::{Missing, PathPlan};
use crate::probe::dns::Read;
use crate::probe::exchange::{Done, ExchangeLink};
use crate::probe::ports::Quarantine;
use crate::probe::socket::Sockets;
use crate::probe::{Identity, Outgoing, ProbeBuffer, SendFailure};
use crate::vantage::pool::Pool;

/// Ready sockets taken per system call.
const EVENTS: usize = 256;

/// Whoever carries an exchange out reports its end so much later than its time is over, at most.
const SLACK_NS: u64 = 250 * MILLISECOND_NS;

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// Waits for what comes in through the shared sockets of a socket set.
fn watch(epoll: &OwnedFd, socket_set: u32, families: &[&OneFamily]) -> io::Result<()> {
    for (fd, token) in families.iter().flat_map(|one| one.shared(socket_set)) {
        epoll::add(epoll, fd, epoll::EventData::new_u64(token), epoll::EventFlags::IN)?;
    }
    Ok(())
}

/// Who has to know of each probe: the kernel's hooks before it leaves, the merge of how it ended.
pub(crate) struct Observers<'a> {
    pub(crate) kernel: &'a mut dyn KernelSource,
    pub(crate) merge: &'a mut Merge,
}

/// All probers.
pub(crate) struct Probers {
    epoll: OwnedFd,
    socket_sets: SocketSets,
    missing: Vec<Missing>,
    pod_missing: Vec<Missing>,
    batch: Batch,
    buffer: Box<ProbeBuffer>,
    exchanges: ExchangeLink,
    terms: Terms,
    lookups: Lookups,
    quarantine: Quarantine,
}

impl Probers {
    /// Opens what can be opened; the rest is [`Probers::missing`]. Only without epoll there is nothing.
    pub(crate) fn open(identifier: u16, exchanges: ExchangeLink) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut missing = Vec::new();
        let quarantine = Quarantine::read();
        let host = FAMILIES.map(|family| OneFamily::of_host(family, identifier, &quarantine, &mut missing));
        watch(&epoll, HOST, &host.each_ref())?;
        Ok(Self {
            epoll,
            socket_sets: SocketSets { host, pod: None, networks: Networks::new(quarantine.clone()) },
            missing,
            pod_missing: Vec::new(),
            batch: Batch::new(),
            buffer: Box::new([0; LARGEST as usize]),
            exchanges,
            terms: Terms::default(),
            lookups: Lookups::default(),
            quarantine,
        })
    }

    /// What holds for exchanges from now on.
    pub(crate) fn set_terms(&mut self, terms: Terms) {
        self.terms = terms;
    }

    /// How long numbers of flows rest, and whether they do.
    pub(crate) const fn quarantine(&self) -> &Quarantine {
        &self.quarantine
    }

    /// Takes the sockets of a vantage, in place of those of another.
    pub(crate) fn open_pod(&mut self, pool: &Arc<Pool>) -> io::Result<()> {
        self.close_pod();
        let mut missing = Vec::new();
        let handed = Sockets::Pod(Arc::clone(pool));
        let pod =
            FAMILIES.map(|family| OneFamily::of_pod(family, pool, &handed, &self.quarantine, &mut missing));
        self.pod_missing = missing;
        let watched = watch(&self.epoll, POD, &pod.each_ref());
        self.socket_sets.pod = Some(pod);
        self.socket_sets.networks.serve(&self.epoll, Some(pool));
        watched
    }

    /// Secondary networks whose sockets are not as they are wanted now: their probes have to be forgotten first.
    pub(crate) fn stale_networks(&self, wanted: &WantedNetworks) -> Vec<NetworkKey> {
        self.socket_sets.networks.stale(wanted)
    }

    /// Opens sockets on these secondary networks of the vantage's pod, and closes those on others.
    pub(crate) fn want_networks(&mut self, wanted: WantedNetworks) {
        self.socket_sets.networks.want(&self.epoll, wanted);
    }

    /// Tries again where sockets could not be opened. Whether they could now.
    pub(crate) fn complete_networks(&mut self) -> bool {
        self.socket_sets.networks.incomplete() && self.socket_sets.networks.open_missing(&self.epoll)
    }

    /// Why sockets on secondary networks can't be opened, one line each.
    pub(crate) fn networks_wrong(&self) -> Vec<String> {
        self.socket_sets.networks.wrong().cloned().collect()
    }

    /// Closes all sockets of the vantage. Its probes in flight must be forgotten.
    pub(crate) fn close_pod(&mut self) {
        // The other side may keep copies, which would stay in the set.
        for one in self.socket_sets.pod.take().iter().flatten() {
            for (fd, _) in one.shared(POD) {
                let _ = epoll::delete(&self.epoll, fd);
            }
        }
        self.socket_sets.networks.serve(&self.epoll, None);
        self.pod_missing.clear();
    }

    /// Has names looked up as this node's programs do.
    pub(crate) fn search(&self, names: Vec<String>) {
        self.exchanges.search(names);
    }

    /// What could not be opened on the host and why.
    pub(crate) fn missing(&self) -> &[Missing] {
        &self.missing
    }

    /// What the vantage can't do and why.
    pub(crate) fn pod_missing(&self) -> &[Missing] {
        &self.pod_missing
    }

    /// Whether such probes can be sent now.
    pub(crate) fn can(&self, vantage: Vantage, kind: ProbeKind, family: Family) -> bool {
        let missing = match vantage {
            Vantage::Host => &self.missing,
            Vantage::Pod if self.socket_sets.pod.is_none() => return false,
            Vantage::Pod => &self.pod_missing,
        };
        !missing.iter().any(|missing| (missing.kind, missing.family) == (kind, family))
    }

    /// Whether a path's probes can be sent now.
    pub(crate) fn can_send(&self, plan: &PathPlan) -> bool {
        let family = Family::of(plan.target.ip());
        match &plan.network {
            Some(network) => self.socket_sets.networks.can(network, plan.kind, family),
            None => self.can(plan.vantage, plan.kind, family),
        }
    }

    /// The ports of the UDP sockets, by family.
    pub(crate) fn udp_ports(&self, vantage: Vantage) -> [ArrayVec<u16, PORTS>; 2] {
        let ports = |family: Family| {
            let socket_set = if vantage == Vantage::Host { HOST } else { POD };
            let udp = self.socket_sets.get(socket_set, family).and_then(|one| one.udp.as_ref());
            udp.map(|udp| udp.ports().clone()).unwrap_or_default()
        };
        FAMILIES.map(ports)
    }

    /// Readable when any socket is.
    pub(crate) const fn epoll(&self) -> &OwnedFd {
        &self.epoll
    }

    /// The largest packet that the vantage's own kernel would send on a path; `None` where that is not known.
    pub(crate) fn route_bytes(&self, plan: &PathPlan) -> Option<u16> {
        let socket_set = self.socket_sets.of(plan)?;
        self.socket_sets.get(socket_set, Family::of(plan.target.ip()))?.mtu.as_ref()?.bytes(plan.target)
    }

    /// Sends one probe, of which its observers learn: its t0. None for a new flow where there is no number for it just
    /// now: then nothing was sent, and nobody learns of anything.
    pub(crate) fn send(
        &mut self,
        identity: Identity,
        key: ProbeKey,
        plan: &PathPlan,
        purpose: Purpose,
        seen_by: &mut Observers<'_>,
    ) -> Option<u64> {
        let (vantage, target, family) = (plan.vantage, plan.target, Family::of(plan.target.ip()));
        let (watched, kind) = (seen_by.kernel.stamps(), plan.kind);
        let Some(socket_set) = self.socket_sets.of(plan) else { return Some(monotonic_ns()) };
        let mut probe =
            Probe { key, vantage, socket_set, kind, target, watched, slot: 0, timeout_ns: 0, purpose };
        if let Some(exchange) = &plan.exchange {
            return Some(self.exchange(probe, exchange, monotonic_ns(), seen_by));
        }
        let (kernel, merge) = (&mut *seen_by.kernel, &mut *seen_by.merge);
        let Some(one) = self.socket_sets.get_mut(socket_set, family) else { return Some(monotonic_ns()) };
        let before_ns = monotonic_ns();
        // Kernel events of it are drained later, on this same thread: none can overtake `merge.sent`.
        let (t0_ns, ended) = match plan.kind {
            ProbeKind::Icmp | ProbeKind::Udp => {
                let slot = match purpose {
                    Purpose::NewFlow => {
                        let epoll = &self.epoll;
                        one.new_flow(kind, target, socket_set, (epoll, before_ns, merge.timeout_ns())).ok()?
                    }
                    // One that tries a size must not die of its port.
                    Purpose::Size(_) if plan.network.is_none() => {
                        one.slot(kind, merge.ports.passing(key.path))
                    }
                    Purpose::Ordinary if plan.network.is_none() && kind == ProbeKind::Udp => {
                        merge.ports.next(key.path, (vantage, family))
                    }
                    Purpose::Ordinary | Purpose::Size(_) => one.slot(kind, 0),
                };
                probe.slot = slot;
                let payload_bytes = match purpose {
                    Purpose::Size(size) => size.saturating_sub(overhead_bytes(family)).into(),
                    Purpose::Ordinary | Purpose::NewFlow => plan.payload_bytes,
                };
                let outgoing = Outgoing { identity, key, target, payload_bytes };
                let left = one.send(kind, slot, &outgoing, &mut self.buffer);
                (before_ns, left.err().map(|errno| ending(SendFailure::of(errno))))
            }
            ProbeKind::Tcp => match one.tcp.as_mut() {
                None => (before_ns, Some(ending(SendFailure::Refused(Errno::AFNOSUPPORT)))),
                Some(tcp) => match tcp.prepare(key, target, before_ns, kernel) {
                    Err(failure) => (before_ns, Some(ending(failure))),
                    Ok((slot, watched)) => {
                        (probe.slot, probe.watched) = (slot, watched);
                        (monotonic_ns(), tcp.launch(slot, &self.epoll, token(TCP, socket_set, family, slot)))
                    }
                },
            },
            // (HTTP is an exchange.)
            ProbeKind::Dns | ProbeKind::Http => match &plan.question {
                None => (before_ns, Some(ending(SendFailure::Own(Errno::OPNOTSUPP)))),
                Some(question) => match one.dns.prepare(key, target, Arc::clone(question), kernel) {
                    Err(failure) => (before_ns, Some(ending(failure))),
                    Ok((slot, watched)) => {
                        (probe.slot, probe.watched) = (slot, watched);
                        (
                            monotonic_ns(),
                            one.dns.launch(slot, &self.epoll, token(DNS, socket_set, family, slot)),
                        )
                    }
                },
            },
        };
        merge.sent(probe, t0_ns);
        if let Some(ending) = ended.map(|ending| self.without_address(socket_set, ending)) {
            merge.ended(key, ending);
        }
        Some(t0_ns)
    }

    /// What a kernel says that is to send from an address that its pod has not any more is nothing of the network.
    fn without_address(&self, socket_set: u32, ending: Ending) -> Ending {
        match ending {
            Ending::Failed { outcome: Outcome::SendError, detail }
                if socket_set > POD && !self.socket_sets.networks.is_there(socket_set) =>
            {
                Ending::OwnFault { detail }
            }
            ending => ending,
        }
    }

    /// Reads every socket that has something. ICMP comes first: where an error ends a TCP or DNS probe, the error
    /// itself says more than the errno that the socket makes of it.
    pub(crate) fn read(&mut self, seen_by: &mut Observers<'_>, seen: Seen) {
        let mut truncated: Vec<Truncated> = Vec::new();
        while let Some(done) = self.exchanges.next_done() {
            match done {
                Done::Ended { key, ending } => {
                    self.lookups.end(key);
                    seen_by.merge.ended(key, ending);
                }
                Done::Found { key, found, took_ns } => self.found(key, found, took_ns, seen_by),
                Done::Searched(names) => seen_by.merge.searched(names),
            }
        }
        let (kernel, merge) = (&mut *seen_by.kernel, &mut *seen_by.merge);
        let mut room = [const { MaybeUninit::<epoll::Event>::uninit() }; EVENTS];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        while let Ok((events, rest)) = epoll::wait(&self.epoll, &mut room, Some(&at_once)) {
            let full = rest.is_empty();
            events.sort_unstable_by_key(|event| event.data.u64());
            for event in events {
                let token = event.data.u64();
                let (tag, slot) = (token >> 32, token as u32);
                let family = FAMILIES[(tag & 1) as usize];
                // It may be about a vantage that is gone.
                let Some(one) = self.socket_sets.get_mut((tag >> 3) as u32, family) else { continue };
                match tag >> 1 & 3 {
                    ICMP => one.read_icmp(slot, &mut self.batch, merge, seen),
                    UDP => {
                        if let Some(udp) = &one.udp {
                            udp.errors(slot, |queued| quoted_by_socket(merge, ProbeKind::Udp, slot, &queued));
                            let echo = |from, header| merge.echo(from, &header, seen);
                            let strange = udp.receive(slot, &mut self.batch, echo).unwrap_or(0);
                            merge.counters.forged += strange;
                        }
                    }
                    TCP => {
                        if let Some((key, ending)) = one.tcp.as_mut().and_then(|tcp| tcp.ready(slot, seen)) {
                            merge.ended(key, ending);
                        }
                    }
                    _ => {
                        let mut strange = 0;
                        match one.dns.ready(slot, seen, &mut strange) {
                            Some((key, Read::Ended(ending))) => merge.ended(key, ending),
                            Some((key, Read::Truncated { target, question })) => {
                                one.dns.close(slot, key, kernel);
                                truncated.push(Truncated { key, target, question });
                            }
                            None => {}
                        }
                        merge.counters.forged += strange;
                    }
                }
            }
            if !full {
                break;
            }
        }
        for truncated in truncated {
            self.again(truncated, seen.at_ns, seen_by);
        }
    }

    /// A probe is over: closes what it had open.
    pub(crate) fn close(&mut self, probe: &Probe, kernel: &mut dyn KernelSource) {
        let Some(one) = self.socket_sets.get_mut(probe.socket_set, probe.family()) else { return };
        match (probe.kind, &mut one.tcp) {
            _ if probe.is_exchange() => {
                if let Some(stream) = &mut one.stream {
                    stream.close(probe.slot, probe.key, kernel);
                }
            }
            (ProbeKind::Tcp, Some(tcp)) => tcp.close(probe.slot, probe.key, kernel),
            (ProbeKind::Dns, _) => one.dns.close(probe.slot, probe.key, kernel),
            _ => {}
        }
    }
}

fn ending(failure: SendFailure) -> Ending {
    match failure {
        SendFailure::Refused(_) => Ending::Failed { outcome: Outcome::SendError, detail: failure.detail() },
        SendFailure::Own(_) => Ending::OwnFault { detail: failure.detail() },
    }
}

#[cfg(test)]
mod tests;
