//! Whether a component with a heading loses a packet at a step of its way, and whether a pattern means it.

use netcheck_causes::{
    Carrier, Class, Component, Endpoint, Extent, Heading, NodeIx, Pattern, PodIx, Size, Topology,
};
use netcheck_common::domain::ProbeKind;

use crate::way::{Part, Step};

/// What a kind of probe runs over.
#[must_use]
pub const fn carrier(kind: ProbeKind) -> Carrier {
    match kind {
        ProbeKind::Icmp => Carrier::Icmp,
        ProbeKind::Udp | ProbeKind::Dns => Carrier::Udp,
        ProbeKind::Tcp | ProbeKind::Http => Carrier::Tcp,
    }
}

/// Whether a pattern means packets of a class. What it says of source ports and of chance is not looked at.
#[must_use]
pub fn means(pattern: Pattern, class: Class) -> bool {
    pattern.carrier.is_none_or(|it| it == carrier(class.kind))
        && pattern.kind.is_none_or(|it| it == class.kind)
        && pattern.family.is_none_or(|it| it == class.family)
        && (!pattern.full_size || class.size == Size::Full)
        && pattern.fresh.is_none_or(|it| it == class.fresh)
}

/// Whether a component is on a step of a way.
#[must_use]
pub fn hits(topology: &Topology, component: Component, heading: Heading, step: &Step) -> bool {
    let scope = Scope(topology);
    let headed = match heading {
        Heading::Both => true,
        Heading::In => !step.out,
        Heading::Out => step.out,
    };
    match (component, step.part) {
        (Component::Server { endpoint, service }, Part::Server { endpoint: at, service: of }) => {
            endpoint == at && service == of
        }
        (Component::Service(service), Part::Server { service: of, .. }) => Some(service) == of,
        (Component::Stack(extent), Part::Stack(at)) => headed && scope.stack(extent, at),
        (Component::Hairpin(extent), Part::Hairpin(pod)) => scope.pod(extent, pod),
        (Component::PodLink(extent), Part::PodLink(pod))
        | (Component::Forwarding(extent), Part::Forwarding { pod, .. }) => headed && scope.pod(extent, pod),
        (Component::Forwarding(Extent::Pod(_)), Part::Transit(_)) => false,
        (Component::Forwarding(extent), Part::Transit(node)) => {
            heading == Heading::Both && scope.node(extent, node)
        }
        (
            Component::Translation { by, service, backend },
            Part::Translation { node, service: of, backend: to },
        ) => service == of && backend.is_none_or(|it| it == to) && scope.node(by, node),
        (Component::TunnelEnd(extent), Part::TunnelEnd(node))
        | (Component::Uplink(extent), Part::Uplink(node)) => headed && scope.node(extent, node),
        (Component::Tunnel { from, to }, Part::Wire { from: at, to: next, encapsulated: true })
        | (Component::Wire { from, to }, Part::Wire { from: at, to: next, .. }) => {
            // A wire has its ends for its ways.
            heading != Heading::Out && scope.node(from, at) && scope.node(to, next)
                || heading == Heading::Both && scope.node(to, at) && scope.node(from, next)
        }
        (Component::Node(node), part) => scope.on(part) == Some(node),
        (Component::SecondaryNetwork(network), Part::Secondary(at)) => network == at,
        (Component::Cluster, _) => true,
        _ => false,
    }
}

struct Scope<'a>(&'a Topology);

impl Scope<'_> {
    fn node(&self, extent: Extent, node: NodeIx) -> bool {
        match extent {
            Extent::Node(of) | Extent::PodsOf(of) => of == node,
            Extent::Zone(zone) => self.0.zone_of(node) == Some(zone),
            Extent::All => true,
            Extent::Pod(_) => false,
        }
    }

    /// What pods share on a node, secondary interfaces do not.
    fn pod(&self, extent: Extent, pod: PodIx) -> bool {
        let of = &self.0.pods[pod as usize];
        if let Extent::Pod(one) = extent {
            one == pod
        } else {
            of.network.is_none() && self.node(extent, of.node)
        }
    }

    /// A node, a zone or all are the nodes' own stacks, never their pods'.
    fn stack(&self, extent: Extent, at: Endpoint) -> bool {
        match (extent, at) {
            (Extent::Pod(_) | Extent::PodsOf(_), Endpoint::Pod(pod)) => self.pod(extent, pod),
            (Extent::Node(_) | Extent::Zone(_) | Extent::All, Endpoint::Node(node)) => {
                self.node(extent, node)
            }
            _ => false,
        }
    }

    /// The node that a part is on; none of what is between nodes.
    fn on(&self, part: Part) -> Option<NodeIx> {
        match part {
            Part::Stack(endpoint) | Part::Server { endpoint, .. } => self.0.node_of(endpoint),
            Part::PodLink(pod) | Part::Hairpin(pod) => Some(self.0.pods[pod as usize].node),
            Part::Forwarding { node, .. }
            | Part::Translation { node, .. }
            | Part::Transit(node)
            | Part::TunnelEnd(node)
            | Part::Uplink(node) => Some(node),
            Part::Wire { .. } | Part::Secondary(_) => None,
        }
    }
}
