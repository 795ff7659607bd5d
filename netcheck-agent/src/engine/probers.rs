//! All probers of both families, and the one epoll set that their sockets are in.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use arrayvec::ArrayVec;
use netcheck_common::domain::{Family, Outcome, ProbeKind};
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use crate::capability::{self, Capability};
use crate::clock::monotonic_ns;
use crate::merge::{Ending, Merge, Probe, Seen};
use crate::mmsg::Batch;
use crate::observation::{KernelEye, ProbeKey};
use crate::plan::{Missing, PathPlan};
use crate::ports::PORTS;
use crate::probe::dns::DnsProber;
use crate::probe::icmp::{IcmpIncoming, IcmpProber};
use crate::probe::quoted::Quoted;
use crate::probe::route::RouteMtu;
use crate::probe::tcp::TcpProber;
use crate::probe::udp::UdpProber;
use crate::probe::{Identity, ProbeBuffer, SendFailure};
use crate::sizes::{LARGEST, overhead_bytes};

/// Ready sockets taken per system call.
const EVENTS: usize = 256;

/// Which prober a ready socket belongs to; the upper half of an epoll token, a slot is the lower.
const ICMP: u64 = 0;
const UDP: u64 = 1;
const TCP: u64 = 2;
const DNS: u64 = 3;

const fn token(prober: u64, family: Family, slot: u32) -> u64 {
    (prober << 1 | family as u64) << 32 | slot as u64
}

/// The probers of one family.
#[derive(Debug)]
struct OneFamily {
    icmp: Option<IcmpProber>,
    udp: Option<UdpProber>,
    tcp: Option<TcpProber>,
    dns: DnsProber,
    mtu: Option<RouteMtu>,
}

/// All probers.
pub(crate) struct Probers {
    epoll: OwnedFd,
    families: [OneFamily; 2],
    missing: Vec<Missing>,
    batch: Batch,
    buffer: Box<ProbeBuffer>,
}

impl Probers {
    /// Opens what can be opened; the rest is [`Probers::missing`]. Only without epoll there is nothing.
    pub(crate) fn open(identifier: u16) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut missing = Vec::new();
        let families = [Family::V4, Family::V6].map(|family| OneFamily {
            icmp: keep(&mut missing, ProbeKind::Icmp, family, IcmpProber::open(family, identifier)),
            udp: keep(&mut missing, ProbeKind::Udp, family, UdpProber::open(family)),
            tcp: keep(&mut missing, ProbeKind::Tcp, family, TcpProber::open(family)),
            dns: DnsProber::new(family),
            // Without the family itself nothing else of it works either, and says so.
            mtu: RouteMtu::open(family).ok(),
        });
        for (one, family) in families.iter().zip([Family::V4, Family::V6]) {
            let icmp = one.icmp.as_ref().map(|icmp| (icmp.fd(), token(ICMP, family, 0)));
            let udp = one.udp.iter().flat_map(UdpProber::fds).zip(0..);
            let udp = udp.map(|(fd, slot)| (fd, token(UDP, family, slot)));
            for (fd, token) in icmp.into_iter().chain(udp) {
                let data = epoll::EventData::new_u64(token);
                epoll::add(&epoll, fd, data, epoll::EventFlags::IN)?;
            }
        }
        Ok(Self { epoll, families, missing, batch: Batch::new(), buffer: Box::new([0; LARGEST as usize]) })
    }

    /// What could not be opened and why.
    pub(crate) fn missing(&self) -> &[Missing] {
        &self.missing
    }

    /// The ports of the UDP sockets, by family.
    pub(crate) fn udp_ports(&self) -> [ArrayVec<u16, PORTS>; 2] {
        let ports = |one: &OneFamily| one.udp.as_ref().map(|udp| udp.ports().clone()).unwrap_or_default();
        [ports(&self.families[0]), ports(&self.families[1])]
    }

    /// Readable when any socket is.
    pub(crate) const fn epoll(&self) -> &OwnedFd {
        &self.epoll
    }

    /// The largest packet that this node's kernel would send to `target`; `None` where that can't be told.
    pub(crate) fn route_bytes(&self, target: SocketAddr) -> Option<u16> {
        self.families[Family::of(target.ip()) as usize].mtu.as_ref()?.bytes(target)
    }

    /// Sends one probe and enters it in `merge`: its t0. `size_bytes`: the whole IP packet of an ICMP or UDP probe
    /// that tries a size, 0 for all others.
    pub(crate) fn send(
        &mut self,
        identity: Identity,
        key: ProbeKey,
        plan: &PathPlan,
        size_bytes: u16,
        eye: &mut dyn KernelEye,
        merge: &mut Merge,
    ) -> u64 {
        let (target, family) = (plan.target, Family::of(plan.target.ip()));
        let one = &mut self.families[family as usize];
        let mut probe = Probe { key, kind: plan.kind, target, watched: eye.stamps(), slot: 0, size_bytes };
        let before_ns = monotonic_ns();
        // Kernel events of it are drained later, on this same thread: none can overtake `merge.sent`.
        let (t0_ns, ended) = match plan.kind {
            ProbeKind::Icmp | ProbeKind::Udp => {
                let buffer = &mut self.buffer;
                let payload = match size_bytes {
                    0 => plan.payload_bytes,
                    size => size.saturating_sub(overhead_bytes(family)).into(),
                };
                let left = match plan.kind {
                    ProbeKind::Icmp => one
                        .icmp
                        .as_ref()
                        .map_or(Err(Errno::AFNOSUPPORT), |p| p.send(identity, key, target, payload, buffer)),
                    _ => one.udp.as_ref().map_or(Err(Errno::AFNOSUPPORT), |p| {
                        // One that tries a size must not die of its port.
                        probe.slot = match size_bytes {
                            0 => merge.ports.next(key.path, family),
                            _ => merge.ports.passing(key.path),
                        };
                        p.send(probe.slot, identity, key, target, payload, buffer)
                    }),
                };
                (before_ns, left.err().map(|errno| ending(SendFailure::of(errno))))
            }
            ProbeKind::Tcp => match one.tcp.as_mut() {
                None => (before_ns, Some(ending(SendFailure::Refused(Errno::AFNOSUPPORT)))),
                Some(tcp) => match tcp.prepare(key, target, before_ns, eye) {
                    Err(failure) => (before_ns, Some(ending(failure))),
                    Ok((slot, watched)) => {
                        (probe.slot, probe.watched) = (slot, watched);
                        (monotonic_ns(), tcp.launch(slot, &self.epoll, token(TCP, family, slot)))
                    }
                },
            },
            ProbeKind::Dns | ProbeKind::Http => match &plan.question {
                None => (before_ns, Some(ending(SendFailure::Own(Errno::OPNOTSUPP)))),
                Some(question) => match one.dns.prepare(key, target, Arc::clone(question), eye) {
                    Err(failure) => (before_ns, Some(ending(failure))),
                    Ok((slot, watched)) => {
                        (probe.slot, probe.watched) = (slot, watched);
                        (monotonic_ns(), one.dns.launch(slot, &self.epoll, token(DNS, family, slot)))
                    }
                },
            },
        };
        merge.sent(probe, t0_ns);
        if let Some(ending) = ended {
            merge.ended(key, ending);
        }
        t0_ns
    }

    /// Reads every socket that has something. ICMP comes first: where an error ends a TCP or DNS probe, the error
    /// itself says more than the errno that the socket makes of it.
    pub(crate) fn read(&mut self, merge: &mut Merge, now_ns: u64, since_ns: u64, prompt: bool) {
        let seen = Seen { at_ns: now_ns, since_ns, prompt };
        let mut room = [const { MaybeUninit::<epoll::Event>::uninit() }; EVENTS];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        loop {
            let Ok((events, rest)) = epoll::wait(&self.epoll, &mut room, Some(&at_once)) else { return };
            let full = rest.is_empty();
            events.sort_unstable_by_key(|event| event.data.u64());
            for event in events {
                let token = event.data.u64();
                let (tag, slot) = (token >> 32, token as u32);
                let family = (tag & 1) as usize;
                let one = &mut self.families[family];
                match tag >> 1 {
                    ICMP => read_icmp(&self.families, family, &mut self.batch, merge, seen),
                    UDP => {
                        if let Some(udp) = &one.udp {
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
                        if let Some((key, ending)) = one.dns.ready(slot, seen, &mut strange) {
                            merge.ended(key, ending);
                        }
                        merge.counters.forged += strange;
                    }
                }
            }
            if !full {
                return;
            }
        }
    }

    /// A probe is over: closes what it had open.
    pub(crate) fn close(&mut self, probe: &Probe, eye: &mut dyn KernelEye) {
        let one = &mut self.families[probe.family() as usize];
        match (probe.kind, &mut one.tcp) {
            (ProbeKind::Tcp, Some(tcp)) => tcp.close(probe.slot, probe.key, eye),
            (ProbeKind::Dns, _) => one.dns.close(probe.slot, probe.key, eye),
            _ => {}
        }
    }
}

fn keep<T>(missing: &mut Vec<Missing>, kind: ProbeKind, family: Family, opened: io::Result<T>) -> Option<T> {
    let miss = |error: io::Error| {
        // A raw socket is all that needs a capability.
        let refused = error.kind() == io::ErrorKind::PermissionDenied;
        let capability = refused.then(|| capability::missing(&[Capability::NetRaw])).flatten();
        let why = capability.unwrap_or_else(|| error.to_string());
        let why = format!("no {kind} probes over {family}: {why}");
        tracing::warn!("{why}");
        missing.push(Missing { kind, family, why });
    };
    opened.map_err(miss).ok()
}

fn ending(failure: SendFailure) -> Ending {
    match failure {
        SendFailure::Refused(_) => Ending::Failed { outcome: Outcome::SendError, detail: failure.detail() },
        SendFailure::Own(_) => Ending::OwnFault { detail: failure.detail() },
    }
}

fn read_icmp(families: &[OneFamily; 2], family: usize, batch: &mut Batch, merge: &mut Merge, seen: Seen) {
    let one = &families[family];
    let Some(icmp) = &one.icmp else { return };
    // A pending error of the socket itself says nothing that a probe's deadline won't.
    let _ = icmp.receive(batch, |incoming| match incoming {
        IcmpIncoming::Echo { from, header } => merge.echo(from, &header, seen),
        IcmpIncoming::Error { outcome, icmp: error, quoted } => {
            if let Some(key) = whose(one, icmp, &quoted, merge) {
                merge.icmp_error(key, quoted.to, outcome, error);
            }
        }
    });
}

/// The probe that an ICMP error is about; `None` where it is about another program's packet.
fn whose(one: &OneFamily, icmp: &IcmpProber, quoted: &Quoted, merge: &Merge) -> Option<ProbeKey> {
    match quoted.transport {
        ProbeKind::Icmp if icmp.is_own(quoted) => merge.quoted(quoted, 0),
        ProbeKind::Udp => match one.udp.as_ref().and_then(|udp| udp.slot_of(quoted.from_port)) {
            Some(slot) => merge.quoted(quoted, slot),
            None => one.dns.quoted(quoted.from_port, quoted.to),
        },
        ProbeKind::Tcp => one.tcp.as_ref()?.quoted(quoted.from_port, quoted.to),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

    use super::*;

    #[test]
    fn without_raw_sockets_the_capability_is_named_and_the_rest_works() {
        // Capabilities are a thread's own.
        let missing = std::thread::spawn(|| {
            let effective = capabilities(None).unwrap().effective - CapabilitySet::NET_RAW;
            let inheritable = CapabilitySet::empty();
            set_capabilities(None, CapabilitySets { effective, permitted: effective, inheritable }).unwrap();
            Probers::open(7).unwrap().missing().to_vec()
        });
        let missing = missing.join().unwrap();
        let kinds: Vec<_> = missing.iter().map(|missing| (missing.kind, missing.family)).collect();
        assert_eq!(kinds, [(ProbeKind::Icmp, Family::V4), (ProbeKind::Icmp, Family::V6)]);
        for missing in missing {
            assert!(missing.why.ends_with("capability CAP_NET_RAW is missing"), "{missing:?}");
        }
    }
}
