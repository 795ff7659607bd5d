//! Where packets die: a stage of a kernel's packet path, at an interface of a node, on one half of the round trip, and how
//! sure that is. Pure.

/// A stage of the kernel's packet path, in the order in which a packet meets them; those of the bridge family and of devices, which
/// came later, stand last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Not known.
    #[default]
    Unknown,
    /// `send()` itself failed, or the packet never reached an interface of its own node.
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
    /// An interface's egress: device down, driver, tc or XDP program.
    Egress,
    /// Between two interfaces.
    Wire,
    /// An interface's ingress: a program on it, the bridge.
    Ingress,
    /// Netfilter's prerouting hook.
    NetfilterPrerouting,
    /// Netfilter's forward hook.
    NetfilterForward,
    /// Netfilter's input hook.
    NetfilterInput,
    /// Local delivery: no socket, full receive queue, full listen queue.
    Socket,
    /// The program behind the socket.
    Application,
    /// Netfilter's prerouting hook of the bridge family.
    BridgePrerouting,
    /// Netfilter's input hook of the bridge family.
    BridgeInput,
    /// Netfilter's forward hook of the bridge family.
    BridgeForward,
    /// Netfilter's output hook of the bridge family.
    BridgeOutput,
    /// Netfilter's postrouting hook of the bridge family.
    BridgePostrouting,
    /// Netfilter's hook of a device, before everything else that arrives.
    NetdevIngress,
    /// The same, behind everything else that leaves.
    NetdevEgress,
}

impl Stage {
    /// Its name in keys of causes, which stay the same over versions.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Unknown => "unspecified",
            Self::Send => "send",
            Self::NetfilterOutput => "netfilter_output",
            Self::Routing => "routing",
            Self::Neighbour => "neighbour",
            Self::NetfilterPostrouting => "netfilter_postrouting",
            Self::Qdisc => "qdisc",
            Self::Egress => "egress",
            Self::Wire => "wire",
            Self::Ingress => "ingress",
            Self::NetfilterPrerouting => "netfilter_prerouting",
            Self::NetfilterForward => "netfilter_forward",
            Self::NetfilterInput => "netfilter_input",
            Self::Socket => "socket",
            Self::Application => "application",
            Self::BridgePrerouting => "bridge_prerouting",
            Self::BridgeInput => "bridge_input",
            Self::BridgeForward => "bridge_forward",
            Self::BridgeOutput => "bridge_output",
            Self::BridgePostrouting => "bridge_postrouting",
            Self::NetdevIngress => "netdev_ingress",
            Self::NetdevEgress => "netdev_egress",
        }
    }
}

/// Which half of the round trip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Not known.
    #[default]
    Unknown,
    /// From the source to who answers.
    Request,
    /// Back.
    Reply,
}

/// How sure a location or a cause is. The surer one is the lesser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Certainty {
    /// A kernel reported this very packet, or a packet of this very flow, as dropped here; or who answered said so.
    Observed,
    /// Last seen here, never seen at the next location.
    #[default]
    Inferred,
}

/// What an interface is for on its node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InterfaceRole {
    /// Not known.
    #[default]
    Unknown,
    /// Towards other nodes.
    Uplink,
    /// VXLAN, Geneve, IPIP, WireGuard: what is inside leaves through an uplink.
    Tunnel,
    /// A bridge that pods or uplinks are ports of.
    Bridge,
    /// The node's end of a pod's veth pair.
    PodVeth,
    /// Inside of the host.
    Loopback,
}

/// Where a lost probe died. Texts are empty where they are not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The node.
    pub node: String,
    /// Interface name; for [`Stage::Wire`] the last one that saw the packet.
    pub interface: String,
    /// What the interface is for.
    pub role: InterfaceRole,
    /// `namespace/name` of the pod behind the interface, or whose own kernel it was.
    pub pod: String,
    /// The stage.
    pub stage: Stage,
    /// The half of the round trip.
    pub direction: Direction,
    /// A name that [`super::reason::DropReason`] reads; empty where nobody gave one.
    pub reason: String,
    /// The kernel function that dropped it.
    pub function: String,
    /// How sure that is.
    pub certainty: Certainty,
    /// For [`Stage::Wire`]: the node that never saw the packet.
    pub next_node: String,
    /// The same of its interface.
    pub next_interface: String,
    /// For a tunnel's interface: the kernel's word for its kind, such as `vxlan`.
    pub tunnel: String,
}
