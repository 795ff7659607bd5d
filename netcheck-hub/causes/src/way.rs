//! What a probe and its reply cross, in order. In: a route. Out: steps, each one component in its least extent.
//!
//! What is not the same in all clusters is a step that *may* be crossed: it can explain a loss, and no answer speaks
//! for it. Such are a node's forwarding between two of its own pods (bridged in most plugins, routed in some) and the
//! tunnel on the way from a pod to another node's own address (bare where the node masquerades). ICMP echo is answered
//! by the kernel: no program is crossed.

use netcheck_common::domain::ProbeKind;

use crate::cause::{Component, Extent, Heading};
use crate::observation::{Direction, Entry, Group};
use crate::topology::{Endpoint, NodeIx, PodNetwork, ServiceIx, Topology};

/// Where a probe goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Route {
    pub(crate) source: Endpoint,
    /// Who answers; none of a service's backends is known.
    pub(crate) end: Option<Endpoint>,
    pub(crate) service: Option<ServiceIx>,
    pub(crate) entry: Entry,
    /// ICMP echo, which the kernel answers.
    pub(crate) echo: bool,
}

/// One component that is crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) component: Component,
    pub(crate) heading: Heading,
    /// Crossed in some clusters only.
    pub(crate) may: bool,
}

/// The way of a request and of its reply.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) steps: Vec<Step>,
    /// The first step of the reply.
    pub(crate) turn: usize,
}

impl Route {
    /// The way of a group's probes. A service's only backend is known, whoever says so.
    pub(crate) fn of(topology: &Topology, group: &Group) -> Self {
        let only = || match backends(topology, group) {
            [backend] => Some(*backend),
            _ => None,
        };
        Self {
            source: group.source,
            end: group.target.endpoint.or_else(only),
            service: group.target.service,
            entry: group.target.entry,
            echo: matches!(group.class.kind, ProbeKind::Icmp),
        }
    }

    pub(crate) const fn to(self, backend: Endpoint) -> Self {
        Self { end: Some(backend), ..self }
    }

    /// The whole way, back and forth.
    pub(crate) fn way(&self, topology: &Topology) -> Way {
        let mut steps = Vec::with_capacity(32);
        self.request(topology, &mut |step| steps.push(step));
        let turn = steps.len();
        for at in (0..turn).rev() {
            if let Some(step) = steps[at].back() {
                steps.push(step);
            }
        }
        Way { steps, turn }
    }

    /// The steps of the request. The reply crosses the same ones in the other direction.
    pub(crate) fn request(&self, topology: &Topology, to: &mut impl FnMut(Step)) {
        if let Some(network) = self.secondary(topology) {
            self.over_secondary(network, to);
            return;
        }
        if let (None, Some(service)) = (self.end, self.service)
            && topology.services.get(service as usize).is_some_and(|service| service.backends.is_empty())
        {
            Leg { topology, from: self.source, to: None, starts: true, ends: true }.leave(to);
            to(step(Component::Service(service), Heading::Both));
            return;
        }
        let port = match self.entry {
            Entry::NodePort(node) if topology.node_of(self.source) != Some(node) => Some(node),
            _ => None,
        };
        let mut leg = Leg { topology, from: self.source, to: self.end, starts: true, ends: true };
        leg.leave(to);
        if let Some(node) = port {
            Leg { to: Some(Endpoint::Node(node)), ends: false, ..leg }.travel(to);
            leg = Leg { from: Endpoint::Node(node), starts: false, ..leg };
        }
        if let (Some(service), false) = (self.service, self.entry == Entry::Direct)
            && let Some(node) = topology.node_of(leg.from)
        {
            let by = Extent::Node(node);
            to(step(Component::Translation { by, service, backend: self.end }, Heading::Both));
        }
        leg.travel(to);
        self.serve(to);
    }

    fn serve(&self, to: &mut impl FnMut(Step)) {
        if let (Some(endpoint), false) = (self.end, self.echo) {
            to(step(Component::Server { endpoint, service: self.service }, Heading::Both));
        }
    }

    /// The secondary network on which both ends are.
    fn secondary(&self, topology: &Topology) -> Option<u32> {
        let (Endpoint::Pod(source), Some(Endpoint::Pod(_))) = (self.source, self.end) else { return None };
        topology.pods.get(source as usize)?.network
    }

    fn over_secondary(&self, network: u32, to: &mut impl FnMut(Step)) {
        for (endpoint, heading) in [(Some(self.source), Heading::Out), (self.end, Heading::In)] {
            let Some(Endpoint::Pod(pod)) = endpoint else { continue };
            let stack = step(Component::Stack(Extent::Pod(pod)), heading);
            let link = step(Component::PodLink(Extent::Pod(pod)), heading);
            if heading == Heading::Out {
                to(stack);
                to(link);
                to(step(Component::SecondaryNetwork(network), Heading::Both));
            } else {
                to(link);
                to(stack);
            }
        }
        self.serve(to);
    }
}

/// Who answers for the service that a group asks; nobody where it asks for none.
pub(crate) fn backends<'a>(topology: &'a Topology, group: &Group) -> &'a [Endpoint] {
    let service = group.target.service.and_then(|service| topology.services.get(service as usize));
    service.map_or(&[], |service| &service.backends)
}

/// The kernel of an endpoint; none outside of the cluster.
pub(crate) const fn stack(endpoint: Endpoint) -> Option<Component> {
    match endpoint {
        Endpoint::Node(node) => Some(Component::Stack(Extent::Node(node))),
        Endpoint::Pod(pod) => Some(Component::Stack(Extent::Pod(pod))),
        Endpoint::Outside => None,
    }
}

const fn step(component: Component, heading: Heading) -> Step {
    Step { component, heading, may: false }
}

impl Step {
    /// The same on the way back; none for what a reply does not meet.
    fn back(self) -> Option<Self> {
        let component = match self.component {
            Component::Wire { from, to } => Component::Wire { from: to, to: from },
            Component::Tunnel { from, to } => Component::Tunnel { from: to, to: from },
            Component::Server { .. } | Component::Service(_) | Component::Translation { .. } => return None,
            other => other,
        };
        let heading = match (self.component, self.heading) {
            (Component::Wire { .. } | Component::Tunnel { .. }, heading) => heading,
            (_, Heading::In) => Heading::Out,
            (_, Heading::Out) => Heading::In,
            (_, Heading::Both) => Heading::Both,
        };
        Some(Self { component, heading, may: self.may })
    }

    /// The node on which it is; none for what is between nodes or outside.
    pub(crate) fn node(&self, topology: &Topology) -> Option<NodeIx> {
        let extent = match self.component {
            Component::Server { endpoint, .. } => return topology.node_of(endpoint),
            Component::Stack(extent)
            | Component::PodLink(extent)
            | Component::Hairpin(extent)
            | Component::Forwarding(extent)
            | Component::TunnelEnd(extent)
            | Component::Uplink(extent)
            | Component::Translation { by: extent, .. } => extent,
            Component::Node(node) => return Some(node),
            _ => return None,
        };
        match extent {
            Extent::Pod(pod) => topology.node_of(Endpoint::Pod(pod)),
            Extent::PodsOf(node) | Extent::Node(node) => Some(node),
            Extent::Zone(_) | Extent::All => None,
        }
    }
}

impl Way {
    /// Steps that are crossed in some clusters only.
    pub(crate) fn may(&self) -> u64 {
        let all = self.steps.iter().enumerate().take(64).filter(|(_, step)| step.may);
        all.fold(0, |steps, (at, _)| steps | 1 << at)
    }

    /// Steps at which a service's address is translated.
    pub(crate) fn translations(&self) -> u64 {
        let all = self.steps.iter().enumerate().take(64);
        let all = all.filter(|(_, step)| matches!(step.component, Component::Translation { .. }));
        all.fold(0, |steps, (at, _)| steps | 1 << at)
    }

    /// Steps that are a node's own kernel, which may be where a service's address is looked at, too.
    pub(crate) fn nodes_own(&self) -> u64 {
        let all = self.steps.iter().enumerate().take(64);
        let all = all.filter(|(_, step)| matches!(step.component, Component::Stack(Extent::Node(_))));
        all.fold(0, |steps, (at, _)| steps | 1 << at)
    }

    /// The step at which nobody answers for a service.
    pub(crate) fn nobody(&self) -> u64 {
        let all = self.steps.iter().enumerate().take(64);
        let all = all.filter(|(_, step)| matches!(step.component, Component::Service(_)));
        all.fold(0, |steps, (at, _)| steps | 1 << at)
    }

    /// The half of the way to which a step belongs.
    pub(crate) const fn direction(&self, at: usize) -> Direction {
        if at < self.turn { Direction::Request } else { Direction::Reply }
    }
}

/// A part of the way: from an end or from a node that passes on, to an end or to such a node.
#[derive(Clone, Copy)]
struct Leg<'a> {
    topology: &'a Topology,
    from: Endpoint,
    to: Option<Endpoint>,
    starts: bool,
    ends: bool,
}

impl Leg<'_> {
    /// Out of the source itself.
    fn leave(&self, to: &mut impl FnMut(Step)) {
        if let Some(stack) = stack(self.from) {
            to(step(stack, Heading::Out));
        }
        if let Endpoint::Pod(pod) = self.from {
            to(step(Component::PodLink(Extent::Pod(pod)), Heading::Out));
        }
    }

    /// From node to node and into the target.
    fn travel(&self, to: &mut impl FnMut(Step)) {
        let Some(end) = self.to else {
            self.towards_unknown(to);
            return;
        };
        let (here, there) = (self.topology.node_of(self.from), self.topology.node_of(end));
        if here == there {
            if let (Endpoint::Pod(source), Endpoint::Pod(target)) = (self.from, end) {
                for (pod, heading) in [(source, Heading::Out), (target, Heading::In)] {
                    let forwarding = step(Component::Forwarding(Extent::Pod(pod)), heading);
                    to(Step { may: true, ..forwarding });
                }
                if source == target {
                    to(step(Component::Hairpin(Extent::Pod(source)), Heading::Both));
                }
            }
        } else {
            self.between(here, there, end, to);
        }
        if let Endpoint::Pod(pod) = end {
            to(step(Component::PodLink(Extent::Pod(pod)), Heading::In));
        }
        if let (true, Some(stack)) = (self.ends, stack(end)) {
            to(step(stack, Heading::In));
        }
    }

    /// Towards a backend that is not known: it may be on this node.
    fn towards_unknown(&self, to: &mut impl FnMut(Step)) {
        let Some(node) = self.topology.node_of(self.from) else { return };
        let here = Extent::Node(node);
        let of = if let Endpoint::Pod(pod) = self.from { Extent::Pod(pod) } else { here };
        for component in [Component::Forwarding(of), Component::TunnelEnd(here), Component::Uplink(here)] {
            to(Step { may: true, ..step(component, Heading::Out) });
        }
    }

    fn between(&self, here: Option<NodeIx>, there: Option<NodeIx>, end: Endpoint, to: &mut impl FnMut(Step)) {
        let pods = (matches!(self.from, Endpoint::Pod(_)), matches!(end, Endpoint::Pod(_)));
        let overlay = self.topology.pod_network == PodNetwork::Overlay && (pods.0 || pods.1);
        let encapsulated = overlay && here.is_some() && there.is_some();
        let perhaps = !pods.1;
        if let Some(node) = here {
            let node = Extent::Node(node);
            if let Endpoint::Pod(pod) = self.from {
                to(step(Component::Forwarding(Extent::Pod(pod)), Heading::Out));
            } else if !self.starts {
                to(Step { may: true, ..step(Component::Forwarding(node), Heading::Out) });
            }
            if encapsulated {
                to(Step { may: perhaps, ..step(Component::TunnelEnd(node), Heading::Out) });
            }
            to(step(Component::Uplink(node), Heading::Out));
        }
        if let (Some(from), Some(into)) = (here, there) {
            let (from, into) = (Extent::Node(from), Extent::Node(into));
            to(step(Component::Wire { from, to: into }, Heading::In));
            if encapsulated {
                let tunnel = Component::Tunnel { from, to: into };
                to(Step { may: perhaps, ..step(tunnel, Heading::In) });
            }
        }
        if let Some(node) = there {
            let node = Extent::Node(node);
            to(step(Component::Uplink(node), Heading::In));
            if encapsulated {
                to(Step { may: perhaps, ..step(Component::TunnelEnd(node), Heading::In) });
            }
            if let Endpoint::Pod(pod) = end {
                to(step(Component::Forwarding(Extent::Pod(pod)), Heading::In));
            }
        }
    }
}
