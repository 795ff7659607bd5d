//! How probes ended, as the hub knows it: one [`Group`] for all probes that are alike.

use std::sync::Arc;

use netcheck_common::domain::{Family, ProbeKind};

use crate::topology::{Endpoint, NodeIx, PodIx, ServiceIx};

/// Probes of one source to one target that are alike in all that matters, as of the last seconds.
///
/// Probes of a service that are known to have met different backends are in a group for each.
#[derive(Clone, Debug)]
pub struct Group {
    /// Who probes.
    pub source: Endpoint,
    /// What is probed.
    pub target: Target,
    /// What kind of packets.
    pub class: Class,
    /// Probes that were answered as they should be.
    pub answered: u32,
    /// Probes that were not. At most a stray one in a healthy group.
    pub lost: u32,
    /// What is known of the lost ones, alike ones together. Their probes may be fewer than `lost`: nothing is known of
    /// the rest.
    pub losses: Vec<Loss>,
}

/// What is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// Who answers. Of a service the backend that these probes met; none where that is not known (of lost probes often).
    pub endpoint: Option<Endpoint>,
    /// The service's port that was asked for; none where a node or pod was probed by its own address.
    pub service: Option<ServiceIx>,
    /// At what kind of address.
    pub entry: Entry,
}

/// At what kind of address something is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entry {
    /// Its own: a node's, a pod's, a backend's of a headless service. Nothing is translated.
    Direct,
    /// A service's cluster address: translated by the node of the source.
    ClusterIp,
    /// A port of this node, which translates and passes on. On another node than the source's, packets go there first.
    NodePort(NodeIx),
    /// A load balancer's or external address: translated by the node of the source, as a rule.
    External,
}

/// What kind of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class {
    /// What is spoken. DNS runs over UDP here, HTTP over TCP.
    pub kind: ProbeKind,
    /// Which family.
    pub family: Family,
    /// How large.
    pub size: Size,
    /// Each from a flow of its own (new ports, a new identifier), rather than one of many in one flow.
    pub fresh: bool,
    /// One source port alone, where some lose their packets (one path of several of equal cost).
    pub source_port: Option<u16>,
}

/// How large packets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Size {
    /// Some hundred bytes at the most.
    Small,
    /// As large as the path's MTU is said to allow.
    Full,
}

/// What is known of some lost probes that are alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// How many.
    pub probes: u32,
    /// The request or its reply, where that is known.
    pub direction: Option<Direction>,
    /// What became of it.
    pub end: End,
}

/// Which half of a round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From the source to who answers.
    Request,
    /// Back.
    Reply,
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// A kernel says that it dropped it here. Some records accompany healthy work and say nothing (see
    /// [`Place::says_nothing`]).
    Dropped(Place),
    /// This was the last place that saw it. Where it had to come next is known at times, and that its agent did not see
    /// it there.
    LastSeen {
        /// What saw it.
        at: Place,
        /// The node where it was to arrive and was not seen.
        missing: Option<NodeIx>,
    },
    /// Somebody answered, and otherwise than was expected.
    Answered {
        /// Who; none where that is not known.
        by: Option<Endpoint>,
        /// What.
        answer: Answer,
    },
    /// The source's own kernel refused to send it, with this errno's name.
    NotSent(Arc<str>),
    /// Nothing is known of it.
    Unknown,
}

/// An answer that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// Nobody listens on the port (TCP reset, ICMP port unreachable), or a rule rejects it in these words.
    Refused,
    /// A router or host says that there is no way (ICMP unreachable, prohibited, time exceeded).
    Unreachable,
    /// The server answered with an error: a DNS response code, an HTTP status, a failed handshake.
    Error,
}

/// A place in a kernel's packet path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Whose kernel.
    pub node: NodeIx,
    /// In the network of this pod; none: in the node's own.
    pub pod: Option<PodIx>,
    /// Where in its path.
    pub stage: Stage,
    /// The interface, where it is known.
    pub interface: Option<Role>,
    /// The kernel's name of the reason (`enum skb_drop_reason`, include/net/dropreason-core.h); empty where none is known.
    pub reason: Arc<str>,
    /// The kernel function that dropped it; empty where it is not known.
    pub function: Arc<str>,
}

/// What an interface is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Towards other nodes.
    Uplink,
    /// What is inside leaves through an uplink.
    Tunnel,
    /// Pods are its ports.
    Bridge,
    /// The node's end of a pod's link.
    PodLink,
    /// Inside of the host.
    Loopback,
}

/// A stage of the kernel's packet path, in the order in which a packet meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// It never reached an interface of its own node.
    Send,
    /// Netfilter's output hook.
    NetfilterOutput,
    /// The route lookup.
    Routing,
    /// The next hop's hardware address.
    Neighbour,
    /// Netfilter's postrouting hook.
    NetfilterPostrouting,
    /// The interface's queue.
    Qdisc,
    /// The interface on the way out: the device itself, a program on it, netfilter's netdev egress hook.
    Egress,
    /// The interface on the way in: a program on it, the bridge, netfilter's netdev ingress hook.
    Ingress,
    /// Netfilter's prerouting hook.
    NetfilterPrerouting,
    /// Netfilter's forward hook.
    NetfilterForward,
    /// Netfilter's input hook.
    NetfilterInput,
    /// Netfilter's hooks of the bridge family.
    Bridge,
    /// Local delivery: no socket, a full queue.
    Socket,
    /// The program behind the socket.
    Application,
    /// Not known.
    Unknown,
}

impl Place {
    /// A record that accompanies healthy work as well: it names a place, and says nothing of why.
    #[must_use]
    pub fn says_nothing(&self) -> bool {
        matches!(&*self.reason, "" | "NOT_SPECIFIED" | "NO_SOCKET" | "OTHERHOST")
    }
}
