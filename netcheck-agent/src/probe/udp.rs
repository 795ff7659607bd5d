//! UDP to netcheck's responders: one unconnected socket per family, whose port is the same for all its probes.
//!
//! ICMP errors about its packets are read by the raw sockets ([`super::icmp`]).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use netcheck_common::domain::Family;
use netcheck_common::header::ProbeHeader;
use rustix::io::Errno;
use rustix::net::{SendFlags, SocketType, bind, getsockname, sendto};

use crate::mmsg::Batch;
use crate::observation::ProbeKey;
use crate::probe::{Identity, ProbeBuffer, header_of, socket};

/// The UDP socket of one family.
#[derive(Debug)]
pub(crate) struct UdpProber {
    socket: OwnedFd,
    port: u16,
}

impl UdpProber {
    /// Opens the socket on a port of the kernel's choice.
    pub(crate) fn open(family: Family) -> io::Result<Self> {
        let socket = socket::open_shared(family, SocketType::DGRAM, None)?;
        let any = match family {
            Family::V4 => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            Family::V6 => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        bind(&socket, &any)?;
        let port = SocketAddr::try_from(getsockname(&socket)?)?.port();
        Ok(Self { socket, port })
    }

    /// The socket, to wait on.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Its own port.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Sends one datagram of `payload_bytes`.
    pub(crate) fn send(
        &self,
        identity: Identity,
        key: ProbeKey,
        target: SocketAddr,
        payload_bytes: usize,
        buffer: &mut ProbeBuffer,
    ) -> Result<(), Errno> {
        let packet = &mut buffer[..payload_bytes];
        identity.write(key, packet);
        sendto(&self.socket, packet, SendFlags::DONTWAIT, &target).map(drop)
    }

    /// Reads everything that is there: headers to `echo`; the number of datagrams that have none is returned.
    pub(crate) fn receive(
        &self,
        batch: &mut Batch,
        mut echo: impl FnMut(SocketAddr, ProbeHeader),
    ) -> io::Result<u64> {
        let mut strange = 0;
        batch.drain(self.fd(), |packet| {
            match packet.and_then(|packet| Some((packet.from, header_of(packet.bytes)?))) {
                Some((from, header)) => echo(from, header),
                None => strange += 1,
            }
        })?;
        Ok(strange)
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use netcheck_common::domain::{PathId, ProbeSession, Sequence};
    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;
    use crate::sizes::LARGEST;

    #[test]
    fn what_a_responder_sends_back_is_read_with_its_sender() {
        for (family, host) in [(Family::V4, "127.0.0.1:0"), (Family::V6, "[::1]:0")] {
            let responder = UdpSocket::bind(host).unwrap();
            responder.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let target = responder.local_addr().unwrap();
            let prober = UdpProber::open(family).unwrap();
            let identity = Identity { session: ProbeSession(1), source_node: 2 };
            let key = ProbeKey { path: PathId(3), sequence: Sequence(4) };
            prober.send(identity, key, target, 200, &mut [0; LARGEST as usize]).unwrap();
            let mut bytes = [0; 300];
            let (len, from) = responder.recv_from(&mut bytes).unwrap();
            assert_eq!((len, from.port()), (200, prober.port()));
            responder.send_to(b"not a header", from).unwrap();
            responder.send_to(&bytes[..len], from).unwrap();
            let (mut seen, mut strange) = (Vec::new(), 0);
            let mut batch = Batch::new();
            while seen.is_empty() {
                let ready = poll(&mut [PollFd::new(&prober.socket, PollFlags::IN)], None).unwrap();
                assert_eq!(ready, 1);
                strange += prober.receive(&mut batch, |from, header| seen.push((from, header))).unwrap();
            }
            assert_eq!(seen, [(target, identity.header(key))]);
            assert_eq!(strange, 1);
        }
    }
}
