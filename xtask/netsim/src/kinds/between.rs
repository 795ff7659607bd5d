//! Faults between nodes: tunnels, uplinks, wires, secondary networks.

use netcheck_causes::{Component, Extent, Heading, Pattern, PodNetwork, Role};

use super::{Scene, fault};
use crate::fault::{Fault, Manner, NO_TUNNEL_SOCKET, VNI, program, queue, too_big};

pub(super) fn tunnel_end(scene: &mut Scene<'_>) -> Option<Fault> {
    if scene.topology.pod_network != PodNetwork::Overlay {
        return None;
    }
    let node = scene.node();
    let component = Component::TunnelEnd(Extent::Node(node));
    Some(match scene.rng.below(3) {
        0 => fault("tunnel's number", component, Heading::Both, Manner::AtReceiver(VNI)),
        1 => fault("tunnel's port", component, Heading::Both, Manner::AtReceiver(NO_TUNNEL_SOCKET)),
        _ => {
            let heading = scene.heading();
            scene.between(fault("tunnel end", component, heading, Manner::Silent))
        }
    })
}

pub(super) fn stale_forwarding_entry(scene: &mut Scene<'_>) -> Option<Fault> {
    if scene.topology.pod_network != PodNetwork::Overlay {
        return None;
    }
    let to = Extent::Node(scene.node());
    if scene.rng.percent(50) {
        return Some(fault("stale FDB entry", Component::TunnelEnd(to), Heading::In, Manner::Silent));
    }
    let from = Extent::Node(scene.node());
    (from != to)
        .then(|| fault("stale FDB entry of one", Component::Tunnel { from, to }, Heading::In, Manner::Silent))
}

pub(super) fn tunnel_of_zones(scene: &mut Scene<'_>) -> Option<Fault> {
    if scene.topology.pod_network != PodNetwork::Overlay {
        return None;
    }
    let (from, to) = (Extent::Zone(scene.zone()?), Extent::Zone(scene.zone()?));
    let heading = scene.one_way_or_both();
    let (from, to) = if heading == Heading::Both { (from.min(to), from.max(to)) } else { (from, to) };
    Some(scene.between(fault(
        "tunnel between zones",
        Component::Tunnel { from, to },
        heading,
        Manner::Silent,
    )))
}

pub(super) fn wire(scene: &mut Scene<'_>) -> Option<Fault> {
    let heading = scene.one_way_or_both();
    let zones = !scene.topology.zones.is_empty();
    let mut ends = [Extent::Node(scene.node()), Extent::Node(scene.node())];
    match scene.rng.below(4) {
        0 | 1 if zones => ends = [Extent::Zone(scene.zone()?), Extent::Zone(scene.zone()?)],
        2 if zones => ends[scene.rng.below(2)] = Extent::Zone(scene.zone()?),
        _ if ends[0] == ends[1] => return None,
        _ => {}
    }
    if heading == Heading::Both {
        ends.sort_unstable();
    }
    let component = Component::Wire { from: ends[0], to: ends[1] };
    Some(scene.between(fault("wire", component, heading, Manner::Silent)))
}

pub(super) fn uplink(scene: &mut Scene<'_>) -> Option<Fault> {
    let extent = scene.nodes();
    let heading = scene.heading();
    let manner = scene.manner(&[
        Manner::Silent,
        Manner::Silent,
        Manner::Dropped(program(Role::Uplink)),
        if heading == Heading::Out { Manner::Dropped(queue(Role::Uplink)) } else { Manner::Silent },
    ]);
    Some(scene.between(fault("uplink", Component::Uplink(extent), heading, manner)))
}

/// Another machine has the node's address: what is sent to the node comes to that one.
pub(super) fn stolen_address(scene: &mut Scene<'_>) -> Option<Fault> {
    let component = Component::Uplink(Extent::Node(scene.node()));
    Some(fault("stolen address", component, Heading::In, Manner::Silent))
}

pub(super) fn large_frames(scene: &mut Scene<'_>) -> Option<Fault> {
    let extent = scene.nodes();
    let pattern = Pattern { full_size: true, ..Pattern::default() };
    let heading = scene.heading();
    Some(Fault { pattern, ..fault("large frames", Component::Uplink(extent), heading, Manner::Silent) })
}

pub(super) fn secondary(scene: &mut Scene<'_>) -> Option<Fault> {
    let count = scene.topology.secondary_networks.len();
    if count == 0 {
        return None;
    }
    let component = Component::SecondaryNetwork(scene.rng.index(count));
    Some(scene.pattern(fault("secondary network", component, Heading::Both, Manner::Silent)))
}

pub(super) fn tunnel_of_two(scene: &mut Scene<'_>) -> Option<Fault> {
    if scene.topology.pod_network != PodNetwork::Overlay {
        return None;
    }
    let mut ends = [Extent::Node(scene.node()), Extent::Node(scene.node())];
    if let (Some(zone), true) = (scene.zone(), scene.rng.percent(30)) {
        ends[scene.rng.below(2)] = Extent::Zone(zone);
    }
    let heading = scene.one_way_or_both();
    if heading == Heading::Both {
        ends.sort_unstable();
    }
    let component = Component::Tunnel { from: ends[0], to: ends[1] };
    (ends[0] != ends[1]).then(|| scene.between(fault("tunnel of two", component, heading, Manner::Silent)))
}

/// The tunnel's interface is smaller than its pods' say.
pub(super) fn tunnel_mtu(scene: &mut Scene<'_>) -> Option<Fault> {
    if scene.topology.pod_network != PodNetwork::Overlay {
        return None;
    }
    let component = Component::TunnelEnd(scene.nodes());
    let pattern = Pattern { full_size: true, ..Pattern::default() };
    let manner = Manner::Dropped(too_big(Role::Tunnel));
    Some(Fault { pattern, ..fault("tunnel's MTU", component, Heading::Out, manner) })
}

/// The tunnel's packets are blocked everywhere.
pub(super) fn no_tunnels(scene: &mut Scene<'_>) -> Option<Fault> {
    let overlay = scene.topology.pod_network == PodNetwork::Overlay;
    let component = Component::TunnelEnd(Extent::All);
    overlay.then(|| scene.between(fault("no tunnels", component, Heading::Both, Manner::Silent)))
}
