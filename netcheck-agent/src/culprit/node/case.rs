//! What a case says of its packets: their ends, their protocol and their port. Pure.

use std::net::IpAddr;

use netcheck_proto::{convert, v1};

use super::xfrm;

/// Flows of one case whose pods are looked for.
pub(super) const ENDS: usize = 4;

/// All addresses of the end that this node is, or holds.
pub(super) fn ends(case: &v1::CulpritCase) -> Vec<IpAddr> {
    let all = case.end_addresses.iter().take(ENDS);
    all.filter_map(|address| convert::address("end", address).ok()).collect()
}

/// Where packets of this case go.
pub(super) fn destination(case: &v1::CulpritCase) -> Option<IpAddr> {
    case.flows.iter().find_map(|flow| convert::address("flow", &flow.destination_address).ok())
}

/// Where they come from, where that is known.
pub(super) fn source(case: &v1::CulpritCase) -> Option<IpAddr> {
    case.flows.iter().find_map(|flow| convert::address("flow", &flow.source_address).ok())
}

/// The packet as policies of IPsec look at it.
pub(super) fn packet(case: &v1::CulpritCase) -> Option<xfrm::Packet> {
    let (to, from) = (destination(case)?, source(case));
    let kind = case.flows.first().map(v1::FlowTuple::kind);
    let protocol = match kind {
        Some(v1::ProbeKind::Icmp) if to.is_ipv4() => Some(libc::IPPROTO_ICMP),
        Some(v1::ProbeKind::Icmp) => Some(libc::IPPROTO_ICMPV6),
        Some(v1::ProbeKind::Udp | v1::ProbeKind::Dns) => Some(libc::IPPROTO_UDP),
        Some(v1::ProbeKind::Tcp | v1::ProbeKind::Http) => Some(libc::IPPROTO_TCP),
        Some(v1::ProbeKind::Unspecified) | None => None,
    };
    Some(xfrm::Packet { from, to, protocol: protocol.and_then(|protocol| u8::try_from(protocol).ok()) })
}

/// The port that the target should listen at, and over what.
pub(super) fn target_port(case: &v1::CulpritCase) -> Option<(&'static str, u16)> {
    let flow = case.flows.iter().find(|flow| flow.destination_port != 0)?;
    let kind = match flow.kind() {
        v1::ProbeKind::Tcp | v1::ProbeKind::Http => "tcp",
        v1::ProbeKind::Udp | v1::ProbeKind::Dns => "udp",
        v1::ProbeKind::Icmp | v1::ProbeKind::Unspecified => return None,
    };
    Some((kind, u16::try_from(flow.destination_port).ok()?))
}
