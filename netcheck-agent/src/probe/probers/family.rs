//! The probers of one vantage and family.

use std::io;
use std::os::fd::BorrowedFd;
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
use crate::probe::ping::PingProber;
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
    pub(super) fn send(&self, outgoing: &Outgoing, buffer: &mut ProbeBuffer) -> Result<(), Errno> {
        match self {
            Self::Raw(icmp) => icmp.send(outgoing, buffer),
            Self::Ping(ping) => ping.send(outgoing, buffer),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Raw(icmp) => icmp.fd(),
            Self::Ping(ping) => ping.fd(),
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
    pub(super) fn of_host(family: Family, identifier: u16, missing: &mut Vec<Missing>) -> Self {
        let own = Sockets::Host;
        let mut keep = |kind, error: io::Error| missing.push(host_missing(kind, family, &error));
        Self {
            family,
            echo: IcmpProber::open(family, identifier)
                .map_err(|error| keep(ProbeKind::Icmp, error))
                .ok()
                .map(Echo::Raw),
            udp: UdpProber::open(family, &own).map_err(|error| keep(ProbeKind::Udp, error)).ok(),
            tcp: TcpProber::open(family, own.clone()).map_err(|error| keep(ProbeKind::Tcp, error)).ok(),
            dns: DnsProber::new(family, own.clone()),
            // As TCP, which says what is missing.
            stream: StreamProber::open(family, own.clone()).ok(),
            // Without the family itself nothing else of it works either, and says so.
            mtu: RouteMtu::open(family, &own).ok(),
        }
    }

    /// With sockets of the vantage, made from its pool as `handed` says.
    pub(super) fn of_pod(
        family: Family,
        pool: &Arc<Pool>,
        handed: &Sockets,
        missing: &mut Vec<Missing>,
    ) -> Self {
        let mut keep = |kind, error: io::Error| missing.push(pod_missing(kind, family, &error));
        let streams = match pool.refusal(family, SocketKind::Stream) {
            Some(errno) => Err(errno.into()),
            None => TcpProber::open(family, handed.clone()),
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
            udp: UdpProber::open(family, handed).map_err(|error| keep(ProbeKind::Udp, error)).ok(),
            tcp: streams.map_err(|error| keep(ProbeKind::Tcp, error)).ok(),
            dns: DnsProber::new(family, handed.clone()),
            stream: StreamProber::open(family, handed.clone()).ok(),
            mtu: RouteMtu::open(family, handed).ok(),
        }
    }

    /// The sockets that replies of many probes come in through, with their tokens.
    pub(super) fn shared(&self, socket_set: u32) -> impl Iterator<Item = (BorrowedFd<'_>, u64)> {
        let echo = self.echo.as_ref().map(|echo| (echo.fd(), token(ICMP, socket_set, self.family, 0)));
        let udp = self.udp.iter().flat_map(UdpProber::fds).zip(0..);
        let udp = udp.map(move |(fd, slot)| (fd, token(UDP, socket_set, self.family, slot)));
        echo.into_iter().chain(udp)
    }

    /// Reads all ICMP that is there.
    pub(super) fn read_icmp(&self, batch: &mut Batch, merge: &mut Merge, seen: Seen) {
        // A pending error of the socket itself says nothing that a probe's deadline won't.
        match &self.echo {
            None => {}
            Some(Echo::Raw(icmp)) => {
                let _ = icmp.receive(batch, |incoming| match incoming {
                    IcmpIncoming::Echo { from, header } => merge.echo(from, &header, seen),
                    IcmpIncoming::Error { outcome, icmp: error, quoted } => {
                        if let Some(key) = self.whose(icmp, &quoted, merge) {
                            merge.icmp_error(key, quoted.to, outcome, error);
                        }
                    }
                });
            }
            Some(Echo::Ping(ping)) => {
                ping.errors(|queued| quoted_by_socket(merge, ProbeKind::Icmp, 0, &queued));
                let _ = ping.receive(batch, |from, header| merge.echo(from, &header, seen));
            }
        }
    }

    /// The host's probe that an ICMP error is about; `None` where it is about another program's packet.
    fn whose(&self, icmp: &IcmpProber, quoted: &Quoted, merge: &Merge) -> Option<ProbeKey> {
        match quoted.transport {
            ProbeKind::Icmp if icmp.is_own(quoted) => merge.quoted(quoted, Vantage::Host, 0),
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
