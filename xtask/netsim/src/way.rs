//! The way of a probe: what it and its reply cross, in order, and where an agent could see it.
//!
//! What is modelled, and where this model draws its lines:
//! - A pod's packet crosses its own stack, its link, and, to another node or outside, its node's forwarding. Between two
//!   pods of one node it is bridged: no forwarding, no uplink. From a node to its own pod there is no forwarding, either.
//! - Overlay: what starts or ends in a pod is encapsulated between nodes; node to node is bare.
//! - A service's address is translated by the source's node; a port of another node by that node, which passes the packet
//!   on from its own address (masqueraded), so the reply comes back through it. Passing on to a third node is transit.
//! - ICMP echo is answered by the stack; all else by a server.
//! - A secondary network crosses the two pods' stacks and links, and itself.

use netcheck_causes::{Endpoint, Entry, NodeIx, PodIx, PodNetwork, Role, ServiceIx, Stage, Target, Topology};

/// What a packet crosses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The kernel at the end of the way.
    Stack(Endpoint),
    /// The link of a pod.
    PodLink(PodIx),
    /// A pod's link, by which a packet goes back to the pod that it came from.
    Hairpin(PodIx),
    /// A node's forwarding for one of its pods.
    Forwarding {
        /// Whose.
        node: NodeIx,
        /// For which pod.
        pod: PodIx,
    },
    /// A node's forwarding for none of its pods: what came to one of its ports and goes on to another node.
    Transit(NodeIx),
    /// A service's address, translated.
    Translation {
        /// By whom.
        node: NodeIx,
        /// Which.
        service: ServiceIx,
        /// To whom.
        backend: Endpoint,
    },
    /// A node's end of a tunnel.
    TunnelEnd(NodeIx),
    /// A node's interface towards others.
    Uplink(NodeIx),
    /// The network between two nodes.
    Wire {
        /// From.
        from: NodeIx,
        /// To.
        to: NodeIx,
        /// Inside of a tunnel.
        encapsulated: bool,
    },
    /// The program that answers.
    Server {
        /// Where.
        endpoint: Endpoint,
        /// For which service.
        service: Option<ServiceIx>,
    },
    /// A secondary network.
    Secondary(u32),
}

/// One step of a way.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// What is crossed.
    pub part: Part,
    /// From it (out of a pod, out of a node) rather than towards it.
    pub out: bool,
    /// On the way back.
    pub reply: bool,
    /// How many hooks were passed before.
    pub hooks: usize,
}

/// Where an agent can see a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Whose.
    pub node: NodeIx,
    /// In or out of the interface.
    pub stage: Stage,
    /// What the interface is for.
    pub role: Role,
    /// On the way back.
    pub reply: bool,
}

/// The way of a probe and its reply.
#[derive(Clone, Debug, Default)]
pub struct Way {
    /// What is crossed.
    pub steps: Vec<Step>,
    /// Where it can be seen.
    pub hooks: Vec<Hook>,
    reply: bool,
}

/// Lays the way of a probe of `source` to `target`, whose endpoint is the one that answers.
#[must_use]
pub fn way(topology: &Topology, source: Endpoint, target: Target, icmp: bool) -> Way {
    let end = target.endpoint.unwrap_or(Endpoint::Outside);
    let mut way = Way::default();
    if let Some(network) = secondary(topology, source, end) {
        way.over_secondary(source, end, network);
        if !icmp {
            way.serve(end, target.service);
        }
        way.reply = true;
        way.over_secondary(end, source, network);
        return way;
    }
    let legs = legs(topology, source, target, end);
    for leg in &legs {
        way.leg(topology, leg);
    }
    if !icmp {
        way.serve(end, target.service);
    }
    way.reply = true;
    for leg in legs.iter().rev() {
        way.leg(topology, &leg.back());
    }
    way
}

fn secondary(topology: &Topology, source: Endpoint, end: Endpoint) -> Option<u32> {
    match (source, end) {
        (Endpoint::Pod(source), Endpoint::Pod(_)) => topology.pods[source as usize].network,
        _ => None,
    }
}

/// A part of the way between two points: from an endpoint or passed on, to an endpoint or to be passed on.
#[derive(Clone, Copy, Debug)]
struct Leg {
    from: Endpoint,
    to: Endpoint,
    /// `from` and `to` are ends of the way rather than nodes that pass on.
    ends: (bool, bool),
    /// On the first node of the leg; only on the way there.
    translation: Option<(ServiceIx, Endpoint)>,
}

impl Leg {
    const fn back(self) -> Self {
        Self { from: self.to, to: self.from, ends: (self.ends.1, self.ends.0), translation: None }
    }
}

fn legs(topology: &Topology, source: Endpoint, target: Target, end: Endpoint) -> Vec<Leg> {
    let whole = Leg { from: source, to: end, ends: (true, true), translation: None };
    let Some(service) = target.service else { return vec![whole] };
    let translation = Some((service, end));
    match target.entry {
        Entry::Direct => vec![whole],
        Entry::NodePort(node) if Some(node) != topology.node_of(source) => {
            let port = Endpoint::Node(node);
            let first = Leg { from: source, to: port, ends: (true, false), translation: None };
            vec![first, Leg { from: port, to: end, ends: (false, true), translation }]
        }
        Entry::NodePort(_) | Entry::ClusterIp | Entry::External => vec![Leg { translation, ..whole }],
    }
}

impl Way {
    /// The way to a service that nobody answers for: it ends where its address is translated.
    #[must_use]
    pub fn to_nobody(topology: &Topology, source: Endpoint, service: ServiceIx) -> Self {
        let mut way = Self::default();
        way.step(Part::Stack(source), true);
        if let (Endpoint::Pod(pod), Some(node)) = (source, topology.node_of(source)) {
            way.step(Part::PodLink(pod), true);
            way.hook(node, Stage::Ingress, Role::PodLink);
            way.hook(node, Stage::Ingress, Role::Bridge);
        }
        way.serve(Endpoint::Outside, Some(service));
        way
    }

    fn step(&mut self, part: Part, out: bool) {
        self.steps.push(Step { part, out, reply: self.reply, hooks: self.hooks.len() });
    }

    fn hook(&mut self, node: NodeIx, stage: Stage, role: Role) {
        self.hooks.push(Hook { node, stage, role, reply: self.reply });
    }

    fn serve(&mut self, endpoint: Endpoint, service: Option<ServiceIx>) {
        self.step(Part::Server { endpoint, service }, false);
    }

    fn over_secondary(&mut self, from: Endpoint, to: Endpoint, network: u32) {
        self.step(Part::Stack(from), true);
        if let Endpoint::Pod(pod) = from {
            self.step(Part::PodLink(pod), true);
        }
        self.step(Part::Secondary(network), false);
        if let Endpoint::Pod(pod) = to {
            self.step(Part::PodLink(pod), false);
        }
        self.step(Part::Stack(to), false);
    }

    fn leg(&mut self, topology: &Topology, leg: &Leg) {
        let (from, to) = (topology.node_of(leg.from), topology.node_of(leg.to));
        if leg.ends.0 {
            self.step(Part::Stack(leg.from), true);
        }
        if let (Endpoint::Pod(pod), Some(node)) = (leg.from, from) {
            self.step(Part::PodLink(pod), true);
            self.hook(node, Stage::Ingress, Role::PodLink);
            self.hook(node, Stage::Ingress, Role::Bridge);
        }
        if let (Some((service, backend)), Some(node)) = (leg.translation, from) {
            self.step(Part::Translation { node, service, backend }, false);
        }
        if from != to {
            self.between(topology, leg, (from, to));
        }
        if let (Endpoint::Pod(pod), Some(node)) = (leg.to, to) {
            self.hook(node, Stage::Egress, Role::Bridge);
            if leg.from == leg.to {
                self.step(Part::Hairpin(pod), false);
            }
            self.hook(node, Stage::Egress, Role::PodLink);
            self.step(Part::PodLink(pod), false);
        }
        if leg.ends.1 {
            self.step(Part::Stack(leg.to), false);
        }
    }

    /// From one node to another, or out of the cluster.
    fn between(&mut self, topology: &Topology, leg: &Leg, (from, to): (Option<NodeIx>, Option<NodeIx>)) {
        let pods = matches!(leg.from, Endpoint::Pod(_)) || matches!(leg.to, Endpoint::Pod(_));
        let encapsulated =
            pods && topology.pod_network == PodNetwork::Overlay && from.is_some() && to.is_some();
        if let Some(node) = from {
            match leg.from {
                Endpoint::Pod(pod) => self.step(Part::Forwarding { node, pod }, true),
                _ if !leg.ends.0 && !self.reply => self.step(Part::Transit(node), true),
                _ => {}
            }
            if encapsulated {
                self.hook(node, Stage::Egress, Role::Tunnel);
                self.step(Part::TunnelEnd(node), true);
            }
            self.hook(node, Stage::Egress, Role::Uplink);
            self.step(Part::Uplink(node), true);
        }
        if let (Some(from), Some(to)) = (from, to) {
            self.step(Part::Wire { from, to, encapsulated }, false);
        }
        if let Some(node) = to {
            self.step(Part::Uplink(node), false);
            self.hook(node, Stage::Ingress, Role::Uplink);
            if encapsulated {
                self.step(Part::TunnelEnd(node), false);
                self.hook(node, Stage::Ingress, Role::Tunnel);
            }
            if let Endpoint::Pod(pod) = leg.to {
                self.step(Part::Forwarding { node, pod }, false);
            } else if !leg.ends.1 && self.reply {
                self.step(Part::Transit(node), false);
            }
        }
    }
}
