//! UDP to netcheck's responders: a few unconnected sockets per family, each with a port of its own; which of them a probe
//! leaves from is its slot (see [`crate::measure::ports`]). The answer comes back to the same one.
//!
//! Routers and network cards choose among parallel ways by a hash of addresses and ports: the ports differ in their
//! lowest three bits, and by chance in the others. These flows go on for ever; those that are to be new ones leave from
//! sockets that come and go ([`NewFlowSockets`]).
//!
//! ICMP errors about its packets are read by the raw sockets ([`super::icmp`]), a pod's from the sockets themselves.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use arrayvec::ArrayVec;
use netcheck_common::domain::{Family, Vantage};
use netcheck_common::header::ProbeHeader;
use rustix::io::Errno;
use rustix::net::{SendFlags, SocketType, bind, getsockname, sendto};

use crate::model::report::PORTS;
use crate::model::sample::header_of;
use crate::net::mmsg::Batch;
use crate::probe::errors::{self, QueuedError};
use crate::probe::new_flow_sockets::{NewFlowSockets, Waiting};
use crate::probe::ports::ProbePorts;
use crate::probe::socket::Sockets;
use crate::probe::{Outgoing, ProbeBuffer};

/// How often ports are drawn until the kernel may choose one.
const DRAWS: u32 = 8;

/// The UDP sockets of one family.
#[derive(Debug)]
pub(crate) struct UdpProber {
    sockets: ArrayVec<OwnedFd, PORTS>,
    ports: ArrayVec<u16, PORTS>,
    new_flows: NewFlowSockets,
    probe_ports: ProbePorts,
    origin: Sockets,
    family: Family,
    vantage: Vantage,
}

impl UdpProber {
    /// Opens the sockets. Those after the first may be missing: then the others do their work.
    pub(crate) fn open(family: Family, sockets: &Sockets, probe_ports: ProbePorts) -> io::Result<Self> {
        let mut prober = Self {
            sockets: ArrayVec::new(),
            ports: ArrayVec::new(),
            new_flows: NewFlowSockets::default(),
            probe_ports,
            origin: sockets.clone(),
            family,
            vantage: sockets.vantage(),
        };
        // On a pod's secondary networks there is seldom more than one way; each socket there is another open file.
        let ports = if sockets.origin().is_some() { 1 } else { PORTS as u16 };
        for slot in 0..ports {
            match open_one(family, slot, sockets) {
                Ok((socket, port)) => {
                    prober.sockets.push(socket);
                    prober.ports.push(port);
                }
                Err(error) if slot == 0 => return Err(error),
                Err(error) => {
                    tracing::debug!(%error, "UDP probes over {family} leave from {slot} ports only");
                    break;
                }
            }
        }
        Ok(prober)
    }

    /// The sockets, to wait on, with their slots.
    pub(crate) fn fds(&self) -> impl Iterator<Item = (BorrowedFd<'_>, u32)> {
        self.sockets.iter().map(OwnedFd::as_fd).zip(0..).chain(self.new_flows.fds())
    }

    /// Their own ports.
    pub(crate) const fn ports(&self) -> &ArrayVec<u16, PORTS> {
        &self.ports
    }

    /// The slot of one of its own ports.
    pub(crate) fn slot_of(&self, port: u16) -> Option<u32> {
        let slot = self.ports.iter().position(|own| *own == port).map(|slot| slot as u32);
        slot.or_else(|| self.new_flows.slot_of(port))
    }

    /// A socket that nothing left from for that target: its slot.
    pub(crate) fn new_flow(&mut self, target: SocketAddr, waiting: &Waiting<'_>) -> Result<u32, Errno> {
        let Self { new_flows, probe_ports, origin, family, .. } = self;
        let make = || {
            let socket = origin.open_shared(*family, SocketType::DGRAM, None)?;
            probe_ports.bind_udp(origin, &socket, any(*family, origin), None)?;
            let port = SocketAddr::try_from(getsockname(&socket)?)?.port();
            Ok((socket, port))
        };
        new_flows.take(target, waiting, make).map(|one| one.slot)
    }

    fn socket(&self, slot: u32) -> Option<&OwnedFd> {
        let new_flow = || self.new_flows.get(slot).map(|one| &one.socket);
        self.sockets.get(slot as usize).or_else(new_flow)
    }

    /// Sends one datagram. A slot that has no socket is that of the first.
    pub(crate) fn send(&self, slot: u32, outgoing: &Outgoing, buffer: &mut ProbeBuffer) -> Result<(), Errno> {
        let target = outgoing.target;
        let packet = &mut buffer[..outgoing.payload_bytes];
        outgoing.write(packet);
        let socket = self.socket(slot).unwrap_or(&self.sockets[0]);
        match (sendto(socket, packet, SendFlags::DONTWAIT, &target), self.vantage) {
            // A socket with an error queue gives an earlier packet's error to the next one, once.
            (Err(_), Vantage::Pod) => sendto(socket, packet, SendFlags::DONTWAIT, &target).map(drop),
            (sent, _) => sent.map(drop),
        }
    }

    /// Takes the ICMP errors about a slot's packets, of sockets of a pod; the host's raw sockets read them themselves.
    pub(crate) fn errors(&self, slot: u32, sink: impl FnMut(QueuedError)) {
        if let Some(socket) = self.socket(slot).filter(|_| self.vantage == Vantage::Pod) {
            errors::take(socket.as_fd(), self.family, sink);
        }
    }

    /// Reads everything that is there for one slot: headers to `echo`; returns the number of datagrams that have none.
    pub(crate) fn receive(
        &self,
        slot: u32,
        batch: &mut Batch,
        mut echo: impl FnMut(SocketAddr, ProbeHeader),
    ) -> io::Result<u64> {
        let mut strange = 0;
        let Some(socket) = self.socket(slot) else { return Ok(0) };
        batch.drain(socket.as_fd(), |packet| {
            match packet.and_then(|packet| Some((packet.from, header_of(packet.bytes)?))) {
                Some((from, header)) => echo(from, header),
                None => strange += 1,
            }
        })?;
        Ok(strange)
    }
}

/// The address that its sockets are bound to.
fn any(family: Family, sockets: &Sockets) -> IpAddr {
    match (sockets.origin(), family) {
        (Some(origin), _) => origin,
        (None, Family::V4) => Ipv4Addr::UNSPECIFIED.into(),
        (None, Family::V6) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn open_one(family: Family, slot: u16, sockets: &Sockets) -> io::Result<(OwnedFd, u16)> {
    let socket = sockets.open_shared(family, SocketType::DGRAM, None)?;
    let any = any(family, sockets);
    let mut bound = Err(Errno::ADDRINUSE);
    for _ in 0..DRAWS {
        let port = sockets.probe_port(rand::random_range(0..sockets.probe_ports()) & !7 | slot);
        bound = bind(&socket, &SocketAddr::new(any, port));
        if bound != Err(Errno::ADDRINUSE) {
            break;
        }
    }
    match bound {
        Err(Errno::ADDRINUSE) => bind(&socket, &SocketAddr::new(any, 0))?,
        bound => bound?,
    }
    let port = SocketAddr::try_from(getsockname(&socket)?)?.port();
    Ok((socket, port))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use netcheck_common::domain::{PathId, ProbeSession, Sequence};
    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;
    use crate::measure::sizes::LARGEST;
    use crate::model::observation::ProbeKey;
    use crate::probe::Identity;
    use crate::probe::ports::Quarantine;

    fn open(family: Family) -> UdpProber {
        let ports = ProbePorts::new(&Sockets::Host, &Quarantine::read());
        UdpProber::open(family, &Sockets::Host, ports).unwrap()
    }

    #[test]
    fn what_a_responder_sends_back_is_read_with_its_sender_from_every_port() {
        for (family, host) in [(Family::V4, "127.0.0.1:0"), (Family::V6, "[::1]:0")] {
            let responder = UdpSocket::bind(host).unwrap();
            responder.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let target = responder.local_addr().unwrap();
            let prober = open(family);
            let identity = Identity { session: ProbeSession(1), source_node: 2 };
            let mut batch = Batch::new();
            for slot in 0..PORTS as u32 {
                let key = ProbeKey { path: PathId(3), sequence: Sequence(4 + slot) };
                let outgoing = Outgoing { identity, key, target, payload_bytes: 200 };
                prober.send(slot, &outgoing, &mut [0; LARGEST as usize]).unwrap();
                let mut bytes = [0; 300];
                let (len, from) = responder.recv_from(&mut bytes).unwrap();
                assert_eq!((len, prober.slot_of(from.port())), (200, Some(slot)));
                responder.send_to(b"not a header", from).unwrap();
                responder.send_to(&bytes[..len], from).unwrap();
                let (mut seen, mut strange) = (Vec::new(), 0);
                while seen.is_empty() {
                    let socket = &prober.sockets[slot as usize];
                    let ready = poll(&mut [PollFd::new(socket, PollFlags::IN)], None).unwrap();
                    assert_eq!(ready, 1);
                    strange +=
                        prober.receive(slot, &mut batch, |from, header| seen.push((from, header))).unwrap();
                }
                assert_eq!(seen, [(target, identity.header(key))]);
                assert_eq!(strange, 1);
            }
        }
    }

    #[test]
    fn ports_differ_where_a_remainder_is_taken() {
        let prober = open(Family::V4);
        let mut low: Vec<u16> = prober.ports().iter().map(|port| port % PORTS as u16).collect();
        low.sort_unstable();
        assert_eq!(low, (0..PORTS as u16).collect::<Vec<_>>(), "{:?}", prober.ports());
    }
}
