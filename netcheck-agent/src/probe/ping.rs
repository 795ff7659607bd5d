//! ICMP echo without CAP_NET_RAW: the kernel's own ping sockets (icmp(7)), one per family, handed over by the vantage.
//!
//! The kernel chooses the identifier and computes the checksum; only answers to this very socket's requests come in.
//! Errors about them are in the socket's error queue.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use netcheck_common::domain::Family;
use netcheck_common::header::ProbeHeader;
use rustix::io::Errno;
use rustix::net::{SendFlags, SocketType, bind, ipproto, sendto};

use crate::model::sample::header_of;
use crate::net::mmsg::Batch;
use crate::probe::errors::{self, QueuedError};
use crate::probe::icmp::{ICMP_HEADER, echo_request};
use crate::probe::socket::Sockets;
use crate::probe::{Outgoing, ProbeBuffer};

/// The ping socket of one family.
#[derive(Debug)]
pub(crate) struct PingProber {
    family: Family,
    socket: OwnedFd,
}

impl PingProber {
    /// Takes a socket.
    pub(crate) fn open(family: Family, sockets: &Sockets) -> io::Result<Self> {
        let protocol = match family {
            Family::V4 => ipproto::ICMP,
            Family::V6 => ipproto::ICMPV6,
        };
        let socket = sockets.open_shared(family, SocketType::DGRAM, Some(protocol))?;
        if let Some(origin) = sockets.origin() {
            // 0: the kernel chooses the identifier, as it would later.
            bind(&socket, &SocketAddr::new(origin, 0))?;
        }
        Ok(Self { family, socket })
    }

    /// The socket, to wait on.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Sends one echo request.
    pub(crate) fn send(&self, outgoing: &Outgoing, buffer: &mut ProbeBuffer) -> Result<(), Errno> {
        let packet = echo_request(self.family, outgoing, buffer);
        let send = || sendto(&self.socket, &*packet, SendFlags::DONTWAIT, &outgoing.target).map(drop);
        // A socket with an error queue gives an earlier packet's error to the next one, once.
        send().or_else(|_| send())
    }

    /// Takes the ICMP errors about its packets.
    pub(crate) fn errors(&self, sink: impl FnMut(QueuedError)) {
        errors::take(self.fd(), self.family, sink);
    }

    /// Reads everything that is there: headers with their senders, port 0.
    pub(crate) fn receive(
        &self,
        batch: &mut Batch,
        mut echo: impl FnMut(SocketAddr, ProbeHeader),
    ) -> io::Result<()> {
        batch.drain(self.fd(), |packet| {
            if let Some(packet) = packet
                && let Some(header) = packet.bytes.get(ICMP_HEADER..).and_then(header_of)
            {
                echo(SocketAddr::new(packet.from.ip(), 0), header);
            }
        })
    }
}
