//! The same case under other numbers: what is said of it must be the same, for names decide nothing.

use netcheck_causes::{
    Cause, Component, End, Endpoint, Entry, Extent, Group, Heading, Node, NodeIx, Pattern, Place, PodIx,
    ServiceIx, Topology, ZoneIx,
};

use crate::rng::Rng;

/// New numbers, by old ones.
#[derive(Clone, Debug)]
pub struct Renumbering {
    nodes: Vec<u32>,
    pods: Vec<u32>,
    services: Vec<u32>,
    zones: Vec<u32>,
    networks: Vec<u32>,
}

/// Renumbers a cluster and what is known of its probes, and shuffles it.
#[must_use]
pub fn permute(topology: &Topology, groups: &[Group], rng: &mut Rng) -> (Topology, Vec<Group>, Renumbering) {
    let mut order = |count: usize| {
        let mut order: Vec<u32> = (0..u32::try_from(count).unwrap_or(0)).collect();
        rng.shuffle(&mut order);
        order
    };
    let new = Renumbering {
        nodes: order(topology.nodes.len()),
        pods: order(topology.pods.len()),
        services: order(topology.services.len()),
        zones: order(topology.zones.len()),
        networks: order(topology.secondary_networks.len()),
    };
    let mut groups: Vec<Group> = groups.iter().map(|group| new.group(group)).collect();
    rng.shuffle(&mut groups);
    (new.topology(topology), groups, new)
}

/// Puts what is at a place to its new place.
fn moved<T: Clone>(all: &[T], to: &[u32]) -> Vec<T> {
    let mut order: Vec<(u32, usize)> = to.iter().copied().zip(0..).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, from)| all[from].clone()).collect()
}

impl Renumbering {
    /// What a cause says, in the new numbers. What fails both ways has the lesser extent first, as ever.
    #[must_use]
    pub fn cause(&self, cause: &Cause) -> (Component, Heading, Pattern) {
        (self.component(cause.component, cause.heading), cause.heading, cause.pattern)
    }

    fn component(&self, component: Component, heading: Heading) -> Component {
        let ordered = |from: Extent, to: Extent| {
            let (from, to) = (self.extent(from), self.extent(to));
            if heading == Heading::Both { (from.min(to), from.max(to)) } else { (from, to) }
        };
        match component {
            Component::Server { endpoint, service } => Component::Server {
                endpoint: self.endpoint(endpoint),
                service: service.map(|service| self.service(service)),
            },
            Component::Service(service) => Component::Service(self.service(service)),
            Component::Stack(extent) => Component::Stack(self.extent(extent)),
            Component::PodLink(extent) => Component::PodLink(self.extent(extent)),
            Component::Hairpin(extent) => Component::Hairpin(self.extent(extent)),
            Component::Forwarding(extent) => Component::Forwarding(self.extent(extent)),
            Component::Translation { by, service, backend } => Component::Translation {
                by: self.extent(by),
                service: self.service(service),
                backend: backend.map(|backend| self.endpoint(backend)),
            },
            Component::TunnelEnd(extent) => Component::TunnelEnd(self.extent(extent)),
            Component::Tunnel { from, to } => {
                let (from, to) = ordered(from, to);
                Component::Tunnel { from, to }
            }
            Component::Uplink(extent) => Component::Uplink(self.extent(extent)),
            Component::Wire { from, to } => {
                let (from, to) = ordered(from, to);
                Component::Wire { from, to }
            }
            Component::Node(node) => Component::Node(self.node(node)),
            Component::Cluster => Component::Cluster,
            Component::SecondaryNetwork(network) => {
                Component::SecondaryNetwork(self.networks[network as usize])
            }
        }
    }

    fn node(&self, node: NodeIx) -> NodeIx {
        self.nodes[node as usize]
    }

    fn pod(&self, pod: PodIx) -> PodIx {
        self.pods[pod as usize]
    }

    fn service(&self, service: ServiceIx) -> ServiceIx {
        self.services[service as usize]
    }

    fn zone(&self, zone: ZoneIx) -> ZoneIx {
        self.zones[zone as usize]
    }

    fn extent(&self, extent: Extent) -> Extent {
        match extent {
            Extent::Pod(pod) => Extent::Pod(self.pod(pod)),
            Extent::PodsOf(node) => Extent::PodsOf(self.node(node)),
            Extent::Node(node) => Extent::Node(self.node(node)),
            Extent::Zone(zone) => Extent::Zone(self.zone(zone)),
            Extent::All => Extent::All,
        }
    }

    fn endpoint(&self, endpoint: Endpoint) -> Endpoint {
        match endpoint {
            Endpoint::Node(node) => Endpoint::Node(self.node(node)),
            Endpoint::Pod(pod) => Endpoint::Pod(self.pod(pod)),
            Endpoint::Outside => Endpoint::Outside,
        }
    }

    fn place(&self, place: &Place) -> Place {
        Place { node: self.node(place.node), pod: place.pod.map(|pod| self.pod(pod)), ..place.clone() }
    }

    fn group(&self, group: &Group) -> Group {
        let mut group = group.clone();
        group.source = self.endpoint(group.source);
        group.target.endpoint = group.target.endpoint.map(|endpoint| self.endpoint(endpoint));
        group.target.service = group.target.service.map(|service| self.service(service));
        if let Entry::NodePort(node) = group.target.entry {
            group.target.entry = Entry::NodePort(self.node(node));
        }
        for loss in &mut group.losses {
            match &mut loss.end {
                End::Dropped(place) => *place = self.place(place),
                End::LastSeen { at, missing } => {
                    *at = self.place(at);
                    *missing = missing.map(|node| self.node(node));
                }
                End::Answered { by, .. } => *by = by.map(|endpoint| self.endpoint(endpoint)),
                End::NotSent(_) | End::Unknown => {}
            }
        }
        group
    }

    fn topology(&self, topology: &Topology) -> Topology {
        let node = |node: &Node| Node { zone: node.zone.map(|zone| self.zone(zone)), ..node.clone() };
        let nodes: Vec<Node> = topology.nodes.iter().map(node).collect();
        let mut pods = topology.pods.clone();
        for pod in &mut pods {
            pod.node = self.node(pod.node);
            pod.network = pod.network.map(|network| self.networks[network as usize]);
        }
        let mut services = topology.services.clone();
        for service in &mut services {
            for backend in &mut service.backends {
                *backend = self.endpoint(*backend);
            }
            service.backends.sort_unstable();
        }
        Topology {
            nodes: moved(&nodes, &self.nodes),
            zones: moved(&topology.zones, &self.zones),
            pods: moved(&pods, &self.pods),
            services: moved(&services, &self.services),
            pod_network: topology.pod_network,
            secondary_networks: moved(&topology.secondary_networks, &self.networks),
        }
    }
}
