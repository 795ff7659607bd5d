//! ICMP and ICMPv6 echo, and the ICMP errors about probes of every kind: one raw socket per family.
//!
//! Each probe leaves with its own `sendto`, not in a `sendmmsg` batch: t0 is then the packet's own, and what a batch
//! would save is small against the kernel's work per packet. Replies are read in batches.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use netcheck_common::domain::{Family, Outcome};
use netcheck_common::header::ProbeHeader;
use rustix::io::Errno;
use rustix::net::{SendFlags, SocketType, ipproto, sendto};

use crate::model::sample::{IcmpSeen, Quoted, header_of};
use crate::net::mmsg::Batch;
use crate::net::socket;
use crate::probe::ports::{Identifiers, NEW_IDENTIFIERS, Quarantine};
use crate::probe::quoted::{self};
use crate::probe::{Outgoing, ProbeBuffer};

/// `ICMP_FILTER` of linux/icmp.h.
const ICMP_FILTER: libc::c_int = 1;
/// `ICMPV6_FILTER` of linux/icmpv6.h.
const ICMPV6_FILTER: libc::c_int = 1;
const ECHO_REQUEST_V4: u8 = 8;
const ECHO_REPLY_V4: u8 = 0;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;

/// Length of an ICMP echo's own header, bytes.
pub(crate) const ICMP_HEADER: usize = 8;

/// An echo request; identifier and checksum are still to be filled in.
pub(crate) fn echo_request<'b>(
    family: Family,
    outgoing: &Outgoing,
    buffer: &'b mut ProbeBuffer,
) -> &'b mut [u8] {
    let packet = &mut buffer[..ICMP_HEADER + outgoing.payload_bytes];
    let (icmp, payload) = packet.split_at_mut(ICMP_HEADER);
    icmp.fill(0);
    outgoing.write(payload);
    packet[0] = match family {
        Family::V4 => ECHO_REQUEST_V4,
        Family::V6 => ECHO_REQUEST_V6,
    };
    packet[6..8].copy_from_slice(&(outgoing.key.sequence.0 as u16).to_be_bytes());
    packet
}

/// What a raw socket read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IcmpIncoming {
    /// An echo reply that carries a probe header.
    Echo { from: SocketAddr, header: ProbeHeader },
    /// An error about a packet of this host.
    Error { outcome: Outcome, icmp: IcmpSeen, quoted: Quoted },
}

/// The raw socket of one family.
#[derive(Debug)]
pub(crate) struct IcmpProber {
    family: Family,
    socket: OwnedFd,
    /// Of all requests that are no new flows.
    identifier: u16,
    new_flows: Identifiers,
}

impl IcmpProber {
    /// Opens the socket. Needs CAP_NET_RAW.
    pub(crate) fn open(family: Family, identifier: u16, quarantine: &Quarantine) -> io::Result<Self> {
        let protocol = match family {
            Family::V4 => ipproto::ICMP,
            Family::V6 => ipproto::ICMPV6,
        };
        let raw = socket::open(family, SocketType::RAW, Some(protocol))?;
        let raw = socket::share(raw, family, SocketType::RAW)?;
        match family {
            Family::V4 => {
                // A set bit blocks its type; types from 32 on always pass.
                let passing = 1u32 << ECHO_REPLY_V4 | 1 << 3 | 1 << 11 | 1 << 12;
                socket::set(&raw, libc::SOL_RAW, ICMP_FILTER, &!passing)?;
            }
            Family::V6 => {
                let mut blocked = [u32::MAX; 8];
                for passing in [1, 2, 3, 4, ECHO_REPLY_V6] {
                    blocked[usize::from(passing / 32)] &= !(1 << (passing % 32));
                }
                socket::set(&raw, libc::IPPROTO_ICMPV6, ICMPV6_FILTER, &blocked)?;
            }
        }
        // New flows have those below.
        let identifier = identifier | NEW_IDENTIFIERS;
        Ok(Self { family, socket: raw, identifier, new_flows: Identifiers::new(quarantine) })
    }

    /// The socket, to wait on.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The identifier of what is no new flow.
    pub(crate) const fn identifier(&self) -> u16 {
        self.identifier
    }

    /// The identifier of a new flow to that target.
    pub(crate) fn new_flow(&mut self, target: SocketAddr) -> u16 {
        self.new_flows.next(target)
    }

    /// Sends one echo request.
    pub(crate) fn send(
        &self,
        identifier: u16,
        outgoing: &Outgoing,
        buffer: &mut ProbeBuffer,
    ) -> Result<(), Errno> {
        let packet = echo_request(self.family, outgoing, buffer);
        packet[4..6].copy_from_slice(&identifier.to_be_bytes());
        // The kernel fills in ICMPv6's checksum, which covers the addresses too (RFC 3542 §3.1).
        if self.family == Family::V4 {
            let checksum = checksum(packet);
            packet[2..4].copy_from_slice(&checksum.to_be_bytes());
        }
        sendto(&self.socket, packet, SendFlags::DONTWAIT, &outgoing.target).map(drop)
    }

    /// Reads everything that is there.
    pub(crate) fn receive(&self, batch: &mut Batch, mut sink: impl FnMut(IcmpIncoming)) -> io::Result<()> {
        batch.drain(self.fd(), |packet| {
            if let Some(incoming) = packet.and_then(|packet| self.parse(packet.bytes, packet.from)) {
                sink(incoming);
            }
        })
    }

    fn parse(&self, bytes: &[u8], from: SocketAddr) -> Option<IcmpIncoming> {
        // IPv4 raw sockets hand over the IP header, IPv6 ones don't.
        let icmp = match self.family {
            Family::V4 => bytes.get(usize::from(bytes.first()? & 0xf) * 4..)?,
            Family::V6 => bytes,
        };
        let (&kind, &code) = (icmp.first()?, icmp.get(1)?);
        let rest = icmp.get(8..)?;
        let echo = match self.family {
            Family::V4 => ECHO_REPLY_V4,
            Family::V6 => ECHO_REPLY_V6,
        };
        if kind == echo {
            let header = header_of(rest)?;
            return Some(IcmpIncoming::Echo { from: SocketAddr::new(from.ip(), 0), header });
        }
        let outcome = match self.family {
            Family::V4 => quoted::meaning_v4(kind, code),
            Family::V6 => quoted::meaning_v6(kind, code),
        }?;
        let field = icmp.get(4..8)?.try_into().ok()?;
        let mtu_bytes = quoted::next_hop_mtu(self.family, kind, code, field);
        let icmp = IcmpSeen { from: from.ip(), kind, code, mtu_bytes };
        Some(IcmpIncoming::Error { outcome, icmp, quoted: quoted::parse(rest)? })
    }
}

/// The Internet checksum (RFC 1071) of a packet whose checksum field is zero.
fn checksum(bytes: &[u8]) -> u16 {
    let mut pairs = bytes.chunks_exact(2);
    let mut sum: u32 = pairs.by_ref().map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    if let [last] = pairs.remainder() {
        sum += u32::from(*last) << 8;
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests;
