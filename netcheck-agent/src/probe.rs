//! The probers: one per kind, each with its sockets. All of them live on the engine's thread and none ever blocks.
//!
//! In: "send this probe now"; readable sockets. Out: what arrived, for the [`Merge`](crate::measure::merge::Merge).

pub(crate) mod dns;
pub(crate) mod errors;
pub(crate) mod exchange;
pub(crate) mod icmp;
pub(crate) mod new_flow_sockets;
pub(crate) mod ping;
pub(crate) mod ports;
pub(crate) mod probers;
pub(crate) mod quoted;
pub(crate) mod route;
pub(crate) mod slots;
pub(crate) mod socket;
pub(crate) mod stream;
pub(crate) mod tcp;
pub(crate) mod udp;

use std::net::SocketAddr;

use netcheck_common::domain::ProbeSession;
use netcheck_common::header::{HEADER_LEN, ProbeHeader};
use rustix::io::Errno;

use crate::measure::sizes::LARGEST;
use crate::model::observation::ProbeKey;
use crate::model::sample::Detail;

/// What all probe headers of this agent have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) session: ProbeSession,
    /// Index that the hub gave to this node; 0 until it has.
    pub(crate) source_node: u32,
}

impl Identity {
    /// The header of one probe.
    pub(crate) fn header(&self, key: ProbeKey) -> ProbeHeader {
        ProbeHeader {
            source_node: self.source_node,
            session: self.session.0,
            path: key.path.0,
            sequence: key.sequence.0,
            ..ProbeHeader::default()
        }
    }
}

/// A packet with a probe header that is to leave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing {
    pub(crate) identity: Identity,
    pub(crate) key: ProbeKey,
    pub(crate) target: SocketAddr,
    /// Bytes after the ICMP or UDP header, probe header included.
    pub(crate) payload_bytes: usize,
}

impl Outgoing {
    /// Fills a payload: the header, then zeroes.
    pub(crate) fn write(&self, payload: &mut [u8]) {
        let (header, rest) = payload.split_at_mut(HEADER_LEN);
        header.copy_from_slice(&self.identity.header(self.key).to_bytes());
        rest.fill(0);
    }
}

/// Room for the largest probe.
pub(crate) type ProbeBuffer = [u8; LARGEST as usize];

/// An address without what only local sockets know of it (IPv6 scope and flow label).
pub(crate) fn bare(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port())
}

/// What a failed send means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendFailure {
    /// The kernel refused this packet: by route, filter or size.
    Refused(Errno),
    /// This agent is out of memory, descriptors or ports: it says nothing of the network.
    Own(Errno),
}

impl SendFailure {
    pub(crate) const fn of(errno: Errno) -> Self {
        match errno {
            Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM | Errno::MFILE | Errno::NFILE | Errno::ADDRINUSE => {
                Self::Own(errno)
            }
            _ => Self::Refused(errno),
        }
    }

    pub(crate) fn detail(self) -> Detail {
        let (Self::Refused(errno) | Self::Own(errno)) = self;
        Detail { errno: Some(errno), ..Detail::default() }
    }
}
