//! ICMP echo without CAP_NET_RAW: the kernel's own ping sockets (icmp(7)), one per family, handed over by the vantage.
//!
//! The kernel chooses the identifier and computes the checksum; only answers to this very socket's requests come in.
//! Errors about them are in the socket's error queue.
//!
//! A new flow is another socket. The kernel gives all of a node their identifiers in turn (`ping_get_port()` in
//! net/ipv4/ping.c): one comes back after 65,535 others.

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
use crate::probe::new_flow_sockets::{NewFlowSockets, Waiting};
use crate::probe::socket::Sockets;
use crate::probe::{Outgoing, ProbeBuffer};

/// The ping socket of one family.
#[derive(Debug)]
pub(crate) struct PingProber {
    family: Family,
    socket: OwnedFd,
    new_flows: NewFlowSockets,
    origin: Sockets,
}

impl PingProber {
    /// Takes a socket.
    pub(crate) fn open(family: Family, sockets: &Sockets) -> io::Result<Self> {
        let socket = open_one(family, sockets)?;
        Ok(Self { family, socket, new_flows: NewFlowSockets::default(), origin: sockets.clone() })
    }

    /// The sockets, to wait on, with their slots.
    pub(crate) fn fds(&self) -> impl Iterator<Item = (BorrowedFd<'_>, u32)> {
        std::iter::once((self.socket.as_fd(), 0)).chain(self.new_flows.fds())
    }

    /// A socket that nothing left from for that target: its slot.
    pub(crate) fn new_flow(&mut self, target: SocketAddr, waiting: &Waiting<'_>) -> Result<u32, Errno> {
        let Self { new_flows, origin, family, .. } = self;
        new_flows.take(target, waiting, || Ok((open_one(*family, origin)?, 0))).map(|one| one.slot)
    }

    /// A slot that has no socket is that of the one that is open for good.
    fn socket(&self, slot: u32) -> &OwnedFd {
        self.new_flows.get(slot).map_or(&self.socket, |one| &one.socket)
    }

    /// Sends one echo request.
    pub(crate) fn send(&self, slot: u32, outgoing: &Outgoing, buffer: &mut ProbeBuffer) -> Result<(), Errno> {
        let packet = echo_request(self.family, outgoing, buffer);
        let socket = self.socket(slot);
        let send = || sendto(socket, &*packet, SendFlags::DONTWAIT, &outgoing.target).map(drop);
        // A socket with an error queue gives an earlier packet's error to the next one, once.
        send().or_else(|_| send())
    }

    /// Takes the ICMP errors about a slot's packets.
    pub(crate) fn errors(&self, slot: u32, sink: impl FnMut(QueuedError)) {
        errors::take(self.socket(slot).as_fd(), self.family, sink);
    }

    /// Reads everything that is there for one slot: headers with their senders, port 0.
    pub(crate) fn receive(
        &self,
        slot: u32,
        batch: &mut Batch,
        mut echo: impl FnMut(SocketAddr, ProbeHeader),
    ) -> io::Result<()> {
        batch.drain(self.socket(slot).as_fd(), |packet| {
            if let Some(packet) = packet
                && let Some(header) = packet.bytes.get(ICMP_HEADER..).and_then(header_of)
            {
                echo(SocketAddr::new(packet.from.ip(), 0), header);
            }
        })
    }
}

fn open_one(family: Family, sockets: &Sockets) -> io::Result<OwnedFd> {
    let protocol = match family {
        Family::V4 => ipproto::ICMP,
        Family::V6 => ipproto::ICMPV6,
    };
    let socket = sockets.open_shared(family, SocketType::DGRAM, Some(protocol))?;
    if let Some(origin) = sockets.origin() {
        // 0: the kernel chooses the identifier, as it would later.
        bind(&socket, &SocketAddr::new(origin, 0))?;
    }
    Ok(socket)
}
