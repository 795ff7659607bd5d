//! What there is: nodes, zones, pods, services, and how packets between pods of two nodes travel.

use std::sync::Arc;

/// Place of a node in [`Topology::nodes`].
pub type NodeIx = u32;
/// Place of a pod in [`Topology::pods`].
pub type PodIx = u32;
/// Place of a service in [`Topology::services`].
pub type ServiceIx = u32;
/// Place of a zone in [`Topology::zones`].
pub type ZoneIx = u32;

/// A cluster as far as causes need to know it.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    /// Nodes that are probed or probe.
    pub nodes: Vec<Node>,
    /// Zones by name; a cluster without zones has none.
    pub zones: Vec<Arc<str>>,
    /// Pods that are probed, probe, or answer for a service.
    pub pods: Vec<Pod>,
    /// One for each port of a service. A cluster's DNS is one, too.
    pub services: Vec<Service>,
    /// How packets between pods of two nodes travel.
    pub pod_network: PodNetwork,
    /// Secondary networks of pods by name (Multus' word).
    pub secondary_networks: Vec<Arc<str>>,
}

/// How packets between pods of two nodes travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodNetwork {
    /// As they are: the network between the nodes knows the pods' addresses.
    #[default]
    Routed,
    /// Inside of packets from node to node: VXLAN, Geneve, IPIP, WireGuard. Packets between pods and from a node to a
    /// pod of another node are encapsulated; from node to node they are bare.
    Overlay,
}

/// A node.
#[derive(Clone, Debug)]
pub struct Node {
    /// For people alone.
    pub name: Arc<str>,
    /// Where it stands; none in a cluster without zones.
    pub zone: Option<ZoneIx>,
    /// What its agent can report.
    pub visibility: Visibility,
}

/// What the agent of a node can report of packets that cross it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Visibility {
    /// It sees packets on its interfaces, and its kernel reports each packet that it drops: where it reports none,
    /// none was dropped by a rule, a route or a queue.
    #[default]
    Full,
    /// It sees packets on its interfaces. What the kernel drops is not reported.
    Interfaces,
    /// It probes, and sees nothing.
    Blind,
    /// There is none, or nothing was heard of it for longer than there should be: it may probe, and nobody knows how its
    /// probes ended.
    Silent,
}

/// A pod.
#[derive(Clone, Debug)]
pub struct Pod {
    /// `namespace/name`, for people alone.
    pub name: Arc<str>,
    /// The node that it runs on.
    pub node: NodeIx,
    /// The secondary network of pods that this interface of it is on, as a place in [`Topology::secondary_networks`];
    /// none: the cluster's own network. What goes over a secondary network crosses no tunnel, no routing and no
    /// filter of the nodes.
    pub network: Option<u32>,
}

/// One port of a service.
#[derive(Clone, Debug)]
pub struct Service {
    /// `namespace/name:port`, for people alone.
    pub name: Arc<str>,
    /// Ports of one service have the same number here.
    pub group: u32,
    /// Who answers in its stead.
    pub backends: Vec<Endpoint>,
}

/// Where a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// A node's own network.
    Node(NodeIx),
    /// A pod's.
    Pod(PodIx),
    /// Neither: an address outside of the cluster.
    Outside,
}

impl Topology {
    /// The node that holds it; none outside of the cluster.
    #[must_use]
    pub fn node_of(&self, endpoint: Endpoint) -> Option<NodeIx> {
        match endpoint {
            Endpoint::Node(node) => Some(node),
            Endpoint::Pod(pod) => self.pods.get(pod as usize).map(|pod| pod.node),
            Endpoint::Outside => None,
        }
    }

    /// The zone of a node.
    #[must_use]
    pub fn zone_of(&self, node: NodeIx) -> Option<ZoneIx> {
        self.nodes.get(node as usize)?.zone
    }
}
