//! Events and keys of the kernel ABI, to and from the agent's words. Pure.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use netcheck_common::abi::{DropEvent, FlowKey, KernelAbi, StampEvent, events, flags};
use netcheck_common::domain::ProbeKind;
use netcheck_common::packet::{IPPROTO_TCP, IPPROTO_UDP};

use crate::model::observation::{Direction, Flow, OwnFlow};

/// An event copied out of the ring.
pub(crate) enum RawEvent {
    Stamp(StampEvent),
    Drop(DropEvent),
}

impl RawEvent {
    /// None where the bytes are no event of this version.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        match *bytes.first()? {
            events::STAMP => read_event(bytes).map(Self::Stamp),
            events::DROP => read_event(bytes).map(Self::Drop),
            _ => None,
        }
    }
}

fn read_event<T: KernelAbi>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: enough bytes, any bit pattern is a valid T, unaligned reads allowed.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

pub(crate) fn direction_of(event_flags: u8) -> Direction {
    if event_flags & flags::REPLY != 0 { Direction::Reply } else { Direction::Request }
}

pub(crate) fn flow_key(flow: &OwnFlow) -> FlowKey {
    FlowKey {
        port: flow.local.port(),
        protocol: protocol_of(flow.transport).unwrap_or(IPPROTO_UDP),
        version: if flow.local.is_ipv4() { 4 } else { 6 },
    }
}

pub(crate) fn protocol_of(kind: ProbeKind) -> Option<u8> {
    match kind {
        ProbeKind::Tcp | ProbeKind::Http => Some(IPPROTO_TCP),
        ProbeKind::Udp | ProbeKind::Dns => Some(IPPROTO_UDP),
        ProbeKind::Icmp => None,
    }
}

pub(crate) fn flow_of(protocol: u8, source: ([u8; 16], u16), destination: ([u8; 16], u16)) -> Flow {
    let socket = |(address, port): ([u8; 16], u16)| SocketAddr::new(ip_address(address), port);
    let kind = match protocol {
        IPPROTO_TCP => ProbeKind::Tcp,
        IPPROTO_UDP => ProbeKind::Udp,
        _ => ProbeKind::Icmp,
    };
    Flow { kind, source: socket(source), destination: socket(destination) }
}

/// An address as the kernel programs have it.
pub(crate) fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// An address of the kernel programs.
pub(crate) fn ip_address(bytes: [u8; 16]) -> IpAddr {
    let v6 = Ipv6Addr::from(bytes);
    v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)
}
