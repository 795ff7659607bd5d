//! What is broken.

use netcheck_common::domain::{Family, ProbeKind};

use crate::observation::Place;
use crate::topology::{Endpoint, NodeIx, PodIx, ServiceIx, ZoneIx};

/// One thing that is broken, and what it explains.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    /// What.
    pub component: Component,
    /// Which way through it.
    pub heading: Heading,
    /// Which packets.
    pub pattern: Pattern,
    /// A kernel's report or an answer proves it, or only who was answered and who was not suggests it.
    pub certainty: Certainty,
    /// Other components that would explain the same as well: "either … or …". Empty where only one does.
    pub alternatives: Vec<(Component, Heading)>,
    /// The places at which kernels reported it, each once: one object may be met at two hooks or on several nodes.
    pub places: Vec<Place>,
    /// Groups with losses that it explains, as places in what came in, ascending.
    pub explains: Vec<usize>,
    /// Groups that would have had to fail, too, and did not. None for what loses only a part of its packets.
    pub contradictions: Vec<usize>,
    /// Lost probes that it explains.
    pub lost: u64,
    /// Probes of its pattern that crossed it.
    pub crossed: u64,
    /// Groups of its pattern that do not cross it, and were answered.
    pub avoiding_answered: usize,
    /// Groups of its pattern that do not cross it, and lost probes: to other causes.
    pub avoiding_lost: usize,
}

/// How sure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Certainty {
    /// A kernel reported it, or the component itself answered.
    Observed,
    /// It explains what was lost and what was not, better than anything else.
    Inferred,
}

/// Which way through a component packets are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Heading {
    /// Both ways, or it has no ways (a server).
    Both,
    /// Towards it: into a pod, into a node from other nodes. Of a wire or tunnel: from its `from` to its `to`.
    In,
    /// From it: out of a pod, out of a node to other nodes. Never of a wire or tunnel, which has its ends for that.
    Out,
}

/// A part of the network that packets cross, or that answers them.
///
/// What can be said in two ways is said in one: what all that a node sends to others has in common is its uplink, never a
/// wire from it to all; what all tunnels of one node have in common is its tunnel endpoint; a wire or tunnel that fails both
/// ways has the lesser extent as its `from`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// The program behind a service's port on one endpoint.
    Server {
        /// Where it runs.
        endpoint: Endpoint,
        /// The service's port that it answers for; none: whatever answers probes of the endpoint itself.
        service: Option<ServiceIx>,
    },
    /// All that answer for a service's port, or nobody does.
    Service(ServiceIx),
    /// The kernel of an endpoint as the end of a way: its sockets, its routes, its own filters, its neighbours. `In`: it
    /// does not take requests or replies; `Out`: it does not send.
    Stack(Extent),
    /// The link between a pod and its node. Of all pods of a node: what these share, its bridge.
    PodLink(Extent),
    /// The way of a pod's packet back to the same pod, through the link that it came from: what the pod sends to a service
    /// and is its backend. Of all pods of a node: the bridge's ports have no hairpin mode.
    Hairpin(Extent),
    /// What a node passes on between its pods and others: its routes, its filters. `Out`: what its pods send; `In`: what
    /// is sent to them.
    Forwarding(Extent),
    /// What a node makes of a service's address.
    Translation {
        /// Who translates.
        by: Extent,
        /// The service's port.
        service: ServiceIx,
        /// Only to this backend; none: to any.
        backend: Option<Endpoint>,
    },
    /// What encapsulates and decapsulates at a node.
    TunnelEnd(Extent),
    /// Encapsulated packets between two nodes or zones, where bare ones pass.
    Tunnel {
        /// From here.
        from: Extent,
        /// To there.
        to: Extent,
    },
    /// A node's interface towards the others, with all that is bare and encapsulated.
    Uplink(Extent),
    /// The network between two nodes or zones.
    Wire {
        /// From here.
        from: Extent,
        /// To there.
        to: Extent,
    },
    /// A whole node: nothing of it answers, nothing of it sends.
    Node(NodeIx),
    /// Everything: what all probes of the pattern have in common.
    Cluster,
    /// A secondary network of pods, as a place in its list.
    SecondaryNetwork(u32),
}

/// How far it reaches: the least that explains what was lost, lifted as far as the facts allow and no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Extent {
    /// One pod.
    Pod(PodIx),
    /// All pods of a node.
    PodsOf(NodeIx),
    /// One node.
    Node(NodeIx),
    /// All nodes of a zone.
    Zone(ZoneIx),
    /// All nodes: the same mistake on each.
    All,
}

/// Which packets it loses: none of these says anything means all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern {
    /// Only what runs over this: UDP takes DNS with it, TCP takes HTTP.
    pub carrier: Option<Carrier>,
    /// Only this kind of probe. With a carrier of its own where it is DNS or HTTP.
    pub kind: Option<ProbeKind>,
    /// Only this family.
    pub family: Option<Family>,
    /// Only large packets.
    pub full_size: bool,
    /// Only new flows (true), or only established ones (false).
    pub fresh: Option<bool>,
    /// Only some source ports.
    pub by_port: bool,
    /// Only a part of its packets, by chance.
    pub partial: bool,
}

/// What probes run over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Carrier {
    /// ICMP echo.
    Icmp,
    /// UDP: UDP probes, DNS.
    Udp,
    /// TCP: TCP probes, HTTP.
    Tcp,
}
