//! Faults between nodes: tunnels, uplinks, wires, secondary networks.

use netcheck_causes::{Component, Extent, Heading, Pattern, PodNetwork, Role};

use super::{DrawInput, fault};
use crate::fault::{Fault, Manner, NO_TUNNEL_SOCKET, VNI, program, queue, too_big};

pub(super) fn tunnel_end(input: &mut DrawInput<'_>) -> Option<Fault> {
    if input.topology.pod_network != PodNetwork::Overlay {
        return None;
    }
    let node = input.node();
    let component = Component::TunnelEnd(Extent::Node(node));
    Some(match input.rng.below(3) {
        0 => fault("tunnel's number", component, Heading::Both, Manner::AtReceiver(VNI)),
        1 => fault("tunnel's port", component, Heading::Both, Manner::AtReceiver(NO_TUNNEL_SOCKET)),
        _ => {
            let heading = input.heading();
            input.between(fault("tunnel end", component, heading, Manner::Silent))
        }
    })
}

pub(super) fn stale_forwarding_entry(input: &mut DrawInput<'_>) -> Option<Fault> {
    if input.topology.pod_network != PodNetwork::Overlay {
        return None;
    }
    let to = Extent::Node(input.node());
    if input.rng.percent(50) {
        return Some(fault("stale FDB entry", Component::TunnelEnd(to), Heading::In, Manner::Silent));
    }
    let from = Extent::Node(input.node());
    (from != to)
        .then(|| fault("stale FDB entry of one", Component::Tunnel { from, to }, Heading::In, Manner::Silent))
}

pub(super) fn tunnel_of_zones(input: &mut DrawInput<'_>) -> Option<Fault> {
    if input.topology.pod_network != PodNetwork::Overlay {
        return None;
    }
    let (from, to) = (Extent::Zone(input.zone()?), Extent::Zone(input.zone()?));
    let heading = input.one_way_or_both();
    let (from, to) = if heading == Heading::Both { (from.min(to), from.max(to)) } else { (from, to) };
    Some(input.between(fault(
        "tunnel between zones",
        Component::Tunnel { from, to },
        heading,
        Manner::Silent,
    )))
}

pub(super) fn wire(input: &mut DrawInput<'_>) -> Option<Fault> {
    let heading = input.one_way_or_both();
    let zones = !input.topology.zones.is_empty();
    let mut ends = [Extent::Node(input.node()), Extent::Node(input.node())];
    match input.rng.below(4) {
        0 | 1 if zones => ends = [Extent::Zone(input.zone()?), Extent::Zone(input.zone()?)],
        2 if zones => ends[input.rng.below(2)] = Extent::Zone(input.zone()?),
        _ if ends[0] == ends[1] => return None,
        _ => {}
    }
    if heading == Heading::Both {
        ends.sort_unstable();
    }
    let component = Component::Wire { from: ends[0], to: ends[1] };
    Some(input.between(fault("wire", component, heading, Manner::Silent)))
}

pub(super) fn uplink(input: &mut DrawInput<'_>) -> Option<Fault> {
    let extent = input.nodes();
    let heading = input.heading();
    let manner = input.manner(&[
        Manner::Silent,
        Manner::Silent,
        Manner::Dropped(program(Role::Uplink)),
        if heading == Heading::Out { Manner::Dropped(queue(Role::Uplink)) } else { Manner::Silent },
    ]);
    Some(input.between(fault("uplink", Component::Uplink(extent), heading, manner)))
}

/// Another machine has the node's address: what is sent to the node comes to that one.
pub(super) fn stolen_address(input: &mut DrawInput<'_>) -> Option<Fault> {
    let component = Component::Uplink(Extent::Node(input.node()));
    Some(fault("stolen address", component, Heading::In, Manner::Silent))
}

pub(super) fn large_frames(input: &mut DrawInput<'_>) -> Option<Fault> {
    let extent = input.nodes();
    let pattern = Pattern { full_size: true, ..Pattern::default() };
    let heading = input.heading();
    Some(Fault { pattern, ..fault("large frames", Component::Uplink(extent), heading, Manner::Silent) })
}

pub(super) fn secondary(input: &mut DrawInput<'_>) -> Option<Fault> {
    let count = input.topology.secondary_networks.len();
    if count == 0 {
        return None;
    }
    let component = Component::SecondaryNetwork(input.rng.index(count));
    Some(input.pattern(fault("secondary network", component, Heading::Both, Manner::Silent)))
}

pub(super) fn tunnel_of_two(input: &mut DrawInput<'_>) -> Option<Fault> {
    if input.topology.pod_network != PodNetwork::Overlay {
        return None;
    }
    let mut ends = [Extent::Node(input.node()), Extent::Node(input.node())];
    if let (Some(zone), true) = (input.zone(), input.rng.percent(30)) {
        ends[input.rng.below(2)] = Extent::Zone(zone);
    }
    let heading = input.one_way_or_both();
    if heading == Heading::Both {
        ends.sort_unstable();
    }
    let component = Component::Tunnel { from: ends[0], to: ends[1] };
    (ends[0] != ends[1]).then(|| input.between(fault("tunnel of two", component, heading, Manner::Silent)))
}

/// The tunnel's interface is smaller than its pods' say.
pub(super) fn tunnel_mtu(input: &mut DrawInput<'_>) -> Option<Fault> {
    if input.topology.pod_network != PodNetwork::Overlay {
        return None;
    }
    let component = Component::TunnelEnd(input.nodes());
    let pattern = Pattern { full_size: true, ..Pattern::default() };
    let manner = Manner::Dropped(too_big(Role::Tunnel));
    Some(Fault { pattern, ..fault("tunnel's MTU", component, Heading::Out, manner) })
}

/// The tunnel's packets are blocked everywhere.
pub(super) fn no_tunnels(input: &mut DrawInput<'_>) -> Option<Fault> {
    let overlay = input.topology.pod_network == PodNetwork::Overlay;
    let component = Component::TunnelEnd(Extent::All);
    overlay.then(|| input.between(fault("no tunnels", component, Heading::Both, Manner::Silent)))
}
