//! How far a component may reach: from one pod or node to all. In: a step. Out: each component of which it is a part.

use crate::cause::{Component, Extent, Heading};
use crate::topology::{Endpoint, NodeIx, PodIx, Topology};
use crate::way::Step;

/// A component with a way through it, as a cause names it.
pub(crate) type Key = (Component, Heading);

/// How large an extent is, by structure alone.
pub(crate) const fn reach(extent: Extent) -> u32 {
    match extent {
        Extent::Pod(_) => 0,
        Extent::PodsOf(_) => 1,
        Extent::Node(_) => 2,
        Extent::Zone(_) => 3,
        Extent::All => 4,
    }
}

/// The larger extent of a component, or of its two ends together.
pub(crate) const fn component_reach(component: Component) -> u32 {
    match component {
        Component::Server { .. } | Component::SecondaryNetwork(_) => 0,
        Component::Service(_) => 2,
        Component::Stack(extent)
        | Component::PodLink(extent)
        | Component::Hairpin(extent)
        | Component::Forwarding(extent)
        | Component::TunnelEnd(extent)
        | Component::Uplink(extent) => reach(extent),
        Component::Translation { by, backend, .. } => reach(by) + if backend.is_some() { 0 } else { 1 },
        Component::Tunnel { from, to } | Component::Wire { from, to } => (reach(from) + reach(to)) / 2,
        Component::Node(_) => 3,
        Component::Cluster => 6,
    }
}

/// What kind of component a key is of, how far it reaches, and which way, in an order that numbers do not change.
pub(crate) fn shape((component, heading): Key) -> (u8, u32, u32, Heading) {
    let of = |kind, extent| (kind, reach(extent), 0);
    let (kind, one, other) = match component {
        Component::Wire { from, to } => (0, reach(from), reach(to)),
        Component::Uplink(extent) => of(1, extent),
        Component::Tunnel { from, to } => (2, reach(from), reach(to)),
        Component::TunnelEnd(extent) => of(3, extent),
        Component::SecondaryNetwork(_) => (4, 0, 0),
        Component::Forwarding(extent) => of(5, extent),
        Component::PodLink(extent) => of(6, extent),
        Component::Hairpin(extent) => of(7, extent),
        Component::Stack(extent) => of(8, extent),
        Component::Service(_) => (9, 0, 0),
        Component::Server { endpoint, service } => {
            (10, u32::from(matches!(endpoint, Endpoint::Node(_))), u32::from(service.is_some()))
        }
        Component::Translation { by, backend, .. } => (11, reach(by), u32::from(backend.is_some())),
        Component::Node(_) => (12, 0, 0),
        Component::Cluster => (13, 0, 0),
    };
    (kind, one, other, heading)
}

/// The component as both ways through it have it: a wire or tunnel has the lesser extent as its `from`.
pub(crate) fn both_ways(component: Component) -> Component {
    let lesser = |from: Extent, to: Extent| {
        if (reach(to), to) < (reach(from), from) { (to, from) } else { (from, to) }
    };
    match component {
        Component::Wire { from, to } => {
            let (from, to) = lesser(from, to);
            Component::Wire { from, to }
        }
        Component::Tunnel { from, to } => {
            let (from, to) = lesser(from, to);
            Component::Tunnel { from, to }
        }
        other => other,
    }
}

/// Whether a cause of this component names one way through it, or has none to name.
pub(crate) const fn has_ways(component: Component) -> bool {
    matches!(
        component,
        Component::Stack(_)
            | Component::PodLink(_)
            | Component::Forwarding(_)
            | Component::TunnelEnd(_)
            | Component::Uplink(_)
            | Component::Wire { .. }
            | Component::Tunnel { .. }
    )
}

/// The two ways through a component, each alone.
pub(crate) const fn one_way(component: Component) -> [Key; 2] {
    match component {
        Component::Wire { from, to } => {
            [(component, Heading::In), (Component::Wire { from: to, to: from }, Heading::In)]
        }
        Component::Tunnel { from, to } => {
            [(component, Heading::In), (Component::Tunnel { from: to, to: from }, Heading::In)]
        }
        other => [(other, Heading::In), (other, Heading::Out)],
    }
}

/// Each component, in the direction of this step, of which the step is a part.
pub(crate) fn lifts(topology: &Topology, step: &Step, to: &mut impl FnMut(Component)) {
    match step.component {
        Component::Stack(extent) => match extent {
            Extent::Pod(pod) => pods(topology, pod, (Component::Stack, false), to),
            Extent::Node(node) => nodes(topology, node, Component::Stack, to),
            _ => {}
        },
        Component::PodLink(Extent::Pod(pod)) => pods(topology, pod, (Component::PodLink, true), to),
        Component::Hairpin(Extent::Pod(pod)) => pods(topology, pod, (Component::Hairpin, true), to),
        Component::Forwarding(Extent::Pod(pod)) => {
            to(Component::Forwarding(Extent::Pod(pod)));
            if let Some(node) = topology.node_of(Endpoint::Pod(pod)) {
                nodes(topology, node, Component::Forwarding, to);
            }
        }
        Component::Forwarding(Extent::Node(node)) => nodes(topology, node, Component::Forwarding, to),
        Component::TunnelEnd(Extent::Node(node)) => nodes(topology, node, Component::TunnelEnd, to),
        Component::Uplink(Extent::Node(node)) => nodes(topology, node, Component::Uplink, to),
        Component::Translation { by: Extent::Node(node), service, backend } => {
            nodes(topology, node, |by| Component::Translation { by, service, backend }, to);
            if backend.is_some() {
                nodes(topology, node, |by| Component::Translation { by, service, backend: None }, to);
            }
        }
        Component::Server { endpoint, service } => {
            to(Component::Server { endpoint, service });
            if let Some(service) = service {
                to(Component::Service(service));
            }
        }
        Component::Wire { from, to: into } => {
            pairs(topology, (from, into), |from, to| Component::Wire { from, to }, to);
        }
        Component::Tunnel { from, to: into } => {
            pairs(topology, (from, into), |from, to| Component::Tunnel { from, to }, to);
        }
        other => to(other),
    }
    if let Some(node) = step.node(topology) {
        to(Component::Node(node));
    }
    to(Component::Cluster);
}

/// A pod, all pods of its node, and with `further` those of its zone and of all nodes. What pods of a node share, their
/// interfaces on secondary networks do not.
fn pods(
    topology: &Topology,
    pod: PodIx,
    (of, further): (fn(Extent) -> Component, bool),
    to: &mut impl FnMut(Component),
) {
    to(of(Extent::Pod(pod)));
    let Some(it) = topology.pods.get(pod as usize) else { return };
    if it.network.is_some() {
        return;
    }
    to(of(Extent::PodsOf(it.node)));
    if further {
        if let Some(zone) = topology.zone_of(it.node) {
            to(of(Extent::Zone(zone)));
        }
        to(of(Extent::All));
    }
}

fn nodes(
    topology: &Topology,
    node: NodeIx,
    of: impl Fn(Extent) -> Component,
    to: &mut impl FnMut(Component),
) {
    to(of(Extent::Node(node)));
    if let Some(zone) = topology.zone_of(node) {
        to(of(Extent::Zone(zone)));
    }
    to(of(Extent::All));
}

/// What all that a node sends has in common is its uplink, what all nodes send is all uplinks: no pair with all.
fn pairs(
    topology: &Topology,
    (from, into): (Extent, Extent),
    of: impl Fn(Extent, Extent) -> Component,
    to: &mut impl FnMut(Component),
) {
    let zone = |extent| match extent {
        Extent::Node(node) => topology.zone_of(node).map(Extent::Zone),
        _ => None,
    };
    to(of(from, into));
    if let Some(zone) = zone(into) {
        to(of(from, zone));
    }
    if let Some(zone) = zone(from) {
        to(of(zone, into));
    }
    if let (Some(from), Some(into)) = (zone(from), zone(into)) {
        to(of(from, into));
    }
}
