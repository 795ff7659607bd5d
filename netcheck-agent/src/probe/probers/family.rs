//! The probers of one vantage and family.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use netcheck_common::domain::{Family, ProbeKind, Vantage};
use rustix::io::Errno;

use super::socket_sets::{ICMP, UDP, token};
use crate::host::capability::{self, Capability};
use crate::measure::merge::Merge;
use crate::model::observation::ProbeKey;
use crate::model::sample::{Quoted, Seen, header_of};
use crate::net::mmsg::Batch;
use crate::net::socket::SocketKind;
use crate::plan::Missing;
use crate::probe::dns::DnsProber;
use crate::probe::errors::QueuedError;
use crate::probe::icmp::{ICMP_HEADER, IcmpIncoming, IcmpProber};
use crate::probe::new_flow_sockets::Waiting;
use crate::probe::ping::PingProber;
use crate::probe::ports::{ProbePorts, Quarantine};
use crate::probe::route::RouteMtu;
use crate::probe::socket::Sockets;
use crate::probe::stream::StreamProber;
use crate::probe::tcp::TcpProber;
use crate::probe::udp::UdpProber;
use crate::probe::{Outgoing, ProbeBuffer};
use crate::vantage::pool::Pool;

/// ICMP echo, by what the vantage may open.
#[derive(Debug)]
pub(super) enum Echo {
    /// The host's raw socket, which also reads the errors about all other probes.
    Raw(IcmpProber),
    /// A pod's ping socket.
    Ping(PingProber),
}

impl Echo {
    /// What requests leave from that are no new flows: an identifier, or a socket.
    pub(super) const fn slot(&self) -> u32 {
        match self {
            Self::Raw(icmp) => icmp.identifier() as u32,
            Self::Ping(_) => 0,
        }
    }

    /// The same for a new flow to that target.
    pub(super) fn new_flow(&mut self, target: SocketAddr, waiting: &Waiting<'_>) -> Result<u32, Errno> {
        match self {
            Self::Raw(icmp) => Ok(icmp.new_flow(target).into()),
            Self::Ping(ping) => ping.new_flow(target, waiting),
        }
    }

    pub(super) fn send(&self, slot: u32, outgoing: &Outgoing, buffer: &mut ProbeBuffer) -> Result<(), Errno> {
        match self {
            Self::Raw(icmp) => icmp.send(slot as u16, outgoing, buffer),
            Self::Ping(ping) => ping.send(slot, outgoing, buffer),
        }
    }

    fn fds(&self) -> Vec<(BorrowedFd<'_>, u32)> {
        match self {
            Self::Raw(icmp) => vec![(icmp.fd(), 0)],
            Self::Ping(ping) => ping.fds().collect(),
        }
    }
}

/// The probers of one vantage and family.
#[derive(Debug)]
pub(super) struct OneFamily {
    family: Family,
    pub(super) echo: Option<Echo>,
    pub(super) udp: Option<UdpProber>,
    pub(super) tcp: Option<TcpProber>,
    pub(super) dns: DnsProber,
    pub(super) stream: Option<StreamProber>,
    pub(super) mtu: Option<RouteMtu>,
}

impl OneFamily {
    /// With sockets of its own.
    pub(super) fn of_host(
        family: Family,
        identifier: u16,
        quarantine: &Quarantine,
        missing: &mut Vec<Missing>,
    ) -> Self {
        let own = Sockets::Host;
        let shared = ProbePorts::new(&own, quarantine);
        let ports = || shared.clone();
        let mut keep = |kind, error: io::Error| missing.push(host_missing(kind, family, &error));
        Self {
            family,
            echo: IcmpProber::open(family, identifier, quarantine)
                .map_err(|error| keep(ProbeKind::Icmp, error))
                .ok()
                .map(Echo::Raw),
            udp: UdpProber::open(family, &own, ports()).map_err(|error| keep(ProbeKind::Udp, error)).ok(),
            tcp: TcpProber::open(family, own.clone(), ports())
                .map_err(|error| keep(ProbeKind::Tcp, error))
                .ok(),
            dns: DnsProber::new(family, own.clone(), ports()),
            // As TCP, which says what is missing.
            stream: StreamProber::open(family, own.clone(), ports()).ok(),
            // Without the family itself nothing else of it works either, and says so.
            mtu: RouteMtu::open(family, &own).ok(),
        }
    }

    /// With sockets of the vantage, made from its pool as `handed` says.
    pub(super) fn of_pod(
        family: Family,
        pool: &Arc<Pool>,
        handed: &Sockets,
        quarantine: &Quarantine,
        missing: &mut Vec<Missing>,
    ) -> Self {
        let shared = ProbePorts::new(handed, quarantine);
        let ports = || shared.clone();
        let mut keep = |kind, error: io::Error| missing.push(pod_missing(kind, family, &error));
        let streams = match pool.refusal(family, SocketKind::Stream) {
            Some(errno) => Err(errno.into()),
            None => TcpProber::open(family, handed.clone(), ports()),
        };
        if let Some(errno) = pool.refusal(family, SocketKind::Datagram) {
            keep(ProbeKind::Dns, errno.into());
        }
        if let Some(errno) = pool.refusal(family, SocketKind::Stream) {
            keep(ProbeKind::Http, errno.into());
        }
        Self {
            family,
            echo: PingProber::open(family, handed)
                .map_err(|error| keep(ProbeKind::Icmp, error))
                .ok()
                .map(Echo::Ping),
            udp: UdpProber::open(family, handed, ports()).map_err(|error| keep(ProbeKind::Udp, error)).ok(),
            tcp: streams.map_err(|error| keep(ProbeKind::Tcp, error)).ok(),
            dns: DnsProber::new(family, handed.clone(), ports()),
            stream: StreamProber::open(family, handed.clone(), ports()).ok(),
            mtu: RouteMtu::open(family, handed).ok(),
        }
    }

    /// What an ICMP or UDP probe leaves from that is no new flow: the UDP socket is chosen.
    pub(super) fn slot(&self, kind: ProbeKind, udp: u32) -> u32 {
        match kind {
            ProbeKind::Icmp => self.echo.as_ref().map_or(0, Echo::slot),
            _ => udp,
        }
    }

    /// What an ICMP or UDP probe leaves from that is a new flow, whose answer is waited for so long.
    pub(super) fn new_flow(
        &mut self,
        kind: ProbeKind,
        target: SocketAddr,
        socket_set: u32,
        (epoll, now_ns, timeout_ns): (&OwnedFd, u64, u64),
    ) -> Result<u32, Errno> {
        let (prober, family) = (if kind == ProbeKind::Icmp { ICMP } else { UDP }, self.family);
        // What comes too late is reported, too.
        let linger_ns = 2 * timeout_ns;
        let token = |slot| token(prober, socket_set, family, slot);
        let waiting = Waiting { epoll, token: &token, now_ns, linger_ns };
        match kind {
            ProbeKind::Icmp => self.echo.as_mut().ok_or(Errno::AFNOSUPPORT)?.new_flow(target, &waiting),
            _ => self.udp.as_mut().ok_or(Errno::AFNOSUPPORT)?.new_flow(target, &waiting),
        }
    }

    /// Sends an ICMP or UDP probe.
    pub(super) fn send(
        &self,
        kind: ProbeKind,
        slot: u32,
        outgoing: &Outgoing,
        buffer: &mut ProbeBuffer,
    ) -> Result<(), Errno> {
        match kind {
            ProbeKind::Icmp => self.echo.as_ref().ok_or(Errno::AFNOSUPPORT)?.send(slot, outgoing, buffer),
            _ => self.udp.as_ref().ok_or(Errno::AFNOSUPPORT)?.send(slot, outgoing, buffer),
        }
    }

    /// The sockets that replies of many probes come in through, with their tokens.
    pub(super) fn shared(&self, socket_set: u32) -> impl Iterator<Item = (BorrowedFd<'_>, u64)> {
        let echo = self.echo.iter().flat_map(Echo::fds).map(|(fd, slot)| (fd, ICMP, slot));
        let udp = self.udp.iter().flat_map(UdpProber::fds).map(|(fd, slot)| (fd, UDP, slot));
        echo.chain(udp).map(move |(fd, prober, slot)| (fd, token(prober, socket_set, self.family, slot)))
    }

    /// Reads all ICMP that is there for a slot.
    pub(super) fn read_icmp(&self, slot: u32, batch: &mut Batch, merge: &mut Merge, seen: Seen) {
        // A pending error of the socket itself says nothing that a probe's deadline won't.
        match &self.echo {
            None => {}
            Some(Echo::Raw(icmp)) => {
                let _ = icmp.receive(batch, |incoming| match incoming {
                    IcmpIncoming::Echo { from, header } => merge.echo(from, &header, seen),
                    IcmpIncoming::Error { outcome, icmp: error, quoted } => {
                        if let Some(key) = self.whose(&quoted, merge) {
                            merge.icmp_error(key, quoted.to, outcome, error);
                        }
                    }
                });
            }
            Some(Echo::Ping(ping)) => {
                ping.errors(slot, |queued| quoted_by_socket(merge, ProbeKind::Icmp, slot, &queued));
                let _ = ping.receive(slot, batch, |from, header| merge.echo(from, &header, seen));
            }
        }
    }

    /// The host's probe that an ICMP error is about; `None` where it is about another program's packet.
    fn whose(&self, quoted: &Quoted, merge: &Merge) -> Option<ProbeKey> {
        match quoted.transport {
            // Another program's may have an identifier that a new flow of ours has, too, but not all the rest.
            ProbeKind::Icmp => merge.quoted(quoted, Vantage::Host, quoted.from_port.into()),
            ProbeKind::Udp => match self.udp.as_ref().and_then(|udp| udp.slot_of(quoted.from_port)) {
                Some(slot) => merge.quoted(quoted, Vantage::Host, slot),
                None => self.dns.quoted(quoted.from_port, quoted.to),
            },
            ProbeKind::Tcp => {
                let shaking = self.tcp.as_ref()?.quoted(quoted.from_port, quoted.to);
                shaking.or_else(|| self.stream.as_ref()?.quoted(quoted.from_port, quoted.to))
            }
            _ => None,
        }
    }
}

/// An error from the queue of a pod's socket: to the probe that it quotes.
pub(super) fn quoted_by_socket(merge: &mut Merge, kind: ProbeKind, slot: u32, queued: &QueuedError) {
    let (skip, sequence) = match kind {
        ProbeKind::Icmp => (ICMP_HEADER, queued.quote.get(6..8)),
        _ => (0, None),
    };
    let quoted = Quoted {
        transport: kind,
        to: queued.to,
        from_port: 0,
        icmp_sequence: sequence.and_then(|pair| pair.try_into().ok()).map_or(0, u16::from_be_bytes),
        header: queued.quote.get(skip..).and_then(header_of),
    };
    if let Some(key) = merge.quoted(&quoted, Vantage::Pod, slot) {
        merge.icmp_error(key, queued.to, queued.outcome, queued.icmp);
    }
}

fn host_missing(kind: ProbeKind, family: Family, error: &io::Error) -> Missing {
    // A raw socket is all that needs a capability.
    let refused = error.kind() == io::ErrorKind::PermissionDenied;
    let capability = refused.then(|| capability::missing(&[Capability::NetRaw])).flatten();
    let why = capability.unwrap_or_else(|| error.to_string());
    let why = format!("no {kind} probes over {family}: {why}");
    tracing::warn!("{why}");
    Missing { kind, family, why }
}

fn pod_missing(kind: ProbeKind, family: Family, error: &io::Error) -> Missing {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    let why = match (kind, errno) {
        (_, Some(Errno::AFNOSUPPORT)) => format!("the pod has no {family} address"),
        (ProbeKind::Icmp, Some(Errno::ACCESS | Errno::PERM)) => {
            "sysctl net.ipv4.ping_group_range of the pod does not allow its group ping sockets".to_owned()
        }
        _ => error.to_string(),
    };
    Missing { kind, family, why: format!("no {kind} probes over {family} from pods: {why}") }
}
