//! Faults as values: what they mean, their textual form, and what they do to the kernel.
//!
//! A fault is written as a kind and settings: `drop node=n2 hook=forward proto=udp`. Places (`src`, `dst`,
//! `to`) are a node, a pod, `hub`, `NODE/pods` (a node's pod network), a zone (its nodes and their pods), an
//! address, a prefix, or several of these with commas.

use std::time::Duration;

mod apply;
mod conntrack;
mod misconfigured;
mod mtu;
mod rules;
mod settings;
mod text;

#[cfg(test)]
mod tests;

pub(crate) use apply::{forget, heal, inject};
pub use mtu::Narrow;
pub(crate) use rules::{MARK, chance, hash};
pub use settings::{
    DeadRoute, Direction, DnsAnswer, End, Family, Hook, Leg, Match, NodeState, Proto, Verdict,
};
pub use text::HELP;

/// Something broken on purpose. Injecting one twice is the same as once, and so is healing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// An nftables rule on a node.
    Filter {
        /// The node.
        node: String,
        /// Where it sits.
        hook: Hook,
        /// What it does.
        verdict: Verdict,
        /// Which packets it takes.
        matching: Match,
    },
    /// A route on a node that leads nowhere.
    Route {
        /// The node.
        node: String,
        /// How it drops.
        kind: DeadRoute,
        /// To which place.
        to: String,
    },
    /// Two nodes send what is for a place to each other, until its time to live is up.
    RouteLoop {
        /// One node.
        a: String,
        /// The other.
        b: String,
        /// The place.
        to: String,
    },
    /// A node takes IPv4 only from where it would send the answer, and would send it elsewhere: its way back to
    /// another node leads through its pod network's bridge.
    ReversePath {
        /// The node.
        node: String,
        /// The node that it takes nothing from.
        from: String,
    },
    /// A node's side of a pod's veth pair sends so slowly that its queue overflows.
    SlowLink {
        /// The pod.
        pod: String,
        /// How fast, in kbit/s.
        rate_kbit: u32,
    },
    /// The host side of a pod's veth pair is down.
    VethDown {
        /// The pod.
        pod: String,
    },
    /// `eth0` inside a pod is down.
    PodLinkDown {
        /// The pod.
        pod: String,
    },
    /// `eth0` of a node is down.
    UplinkDown {
        /// The node.
        node: String,
    },
    /// A node's port of the network `default/storage` towards other nodes is down.
    StorageDown {
        /// The node.
        node: String,
    },
    /// A pod has lost its addresses on the network `default/storage`.
    StorageAddressGone {
        /// The pod.
        pod: String,
    },
    /// UDP to the responder's port is dropped in the input hook of a node.
    ResponderFiltered {
        /// The node.
        node: String,
        /// The port.
        port: u16,
        /// One family only.
        family: Option<Family>,
    },
    /// One leg of a path loses packets: echo requests (replies), and UDP and TCP to (from) a port.
    OneWay {
        /// Which leg.
        leg: Leg,
        /// Node or pod where the probes start.
        from: String,
        /// Node or pod that they are sent to.
        to: String,
        /// At which end.
        at: End,
        /// One family only.
        family: Option<Family>,
        /// One protocol only.
        proto: Option<Proto>,
        /// Port at the destination.
        port: u16,
        /// This share only.
        percent: Option<u8>,
    },
    /// The cable between a node and the switch loses packets: no kernel on any node sees the drop.
    WireLoss {
        /// The node.
        node: String,
        /// Which direction.
        direction: Direction,
        /// This share, 1 to 100.
        percent: u8,
        /// One family only.
        family: Option<Family>,
        /// Packets of more bytes than this only, with their IP header.
        longer_bytes: Option<u16>,
    },
    /// One of eight parallel ways between two nodes, which the switch chooses by the source port, is dead for UDP: no
    /// kernel on any node sees the drop. What the overlay wraps is spared, for its outer ports follow from a hash.
    SourcePorts {
        /// From this node.
        from: String,
        /// To this one.
        to: String,
        /// Which way: the source ports with this remainder, 0 to 7.
        way: u8,
        /// One family only.
        family: Option<Family>,
    },
    /// The cable to a node delivers packets twice.
    Duplicate {
        /// The node.
        node: String,
        /// This share, 1 to 100.
        percent: u8,
    },
    /// The cable to a node holds packets back, each for a time of its own, so that later ones overtake them.
    Reorder {
        /// The node.
        node: String,
        /// This share, 1 to 100.
        percent: u8,
        /// The longest time.
        delay: Duration,
    },
    /// A node's table of connections is full: only what is in it passes.
    ConntrackFull {
        /// The node.
        node: String,
    },
    /// A node drops every fragment that arrives, whatever it is a part of.
    FragmentsDropped {
        /// The node.
        node: String,
        /// Another node, whose way to this one takes no whole packets: what may be cut into pieces is.
        from: Option<String>,
    },
    /// The DNS server answers badly.
    Dns {
        /// How.
        answer: DnsAnswer,
    },
    /// No server runs in a backend pod: its kernel refuses.
    BackendRefuses {
        /// The pod.
        pod: String,
    },
    /// The server in a backend pod accepts nothing, and its queue of connections is full.
    BackendStuck {
        /// The pod.
        pod: String,
    },
    /// The endpoints of a backend pod name addresses that nobody has.
    BackendDead {
        /// The pod.
        pod: String,
    },
    /// A service has no endpoints: its address refuses.
    NoEndpoints {
        /// The service.
        service: String,
    },
    /// The rules of a node lack a service's node ports.
    NoNodePort {
        /// The node.
        node: String,
        /// The service.
        service: String,
    },
    /// The rules of a node lack a service altogether, as where they are behind.
    NoTranslation {
        /// The node.
        node: String,
        /// The service.
        service: String,
    },
    /// Power loss: every process on the node and in its pods is killed, the cable is dead.
    NodeKilled {
        /// The node.
        node: String,
    },
    /// Two zones are cut from each other.
    ZoneCut {
        /// One zone.
        a: String,
        /// The other.
        b: String,
        /// One family only.
        family: Option<Family>,
        /// One protocol only.
        proto: Option<Proto>,
    },
    /// A node has a wrong hardware address for another node, for one of its own pods, or (over VXLAN) for the
    /// overlay end behind which another node's pod is.
    WrongNeighbour {
        /// The node that is mistaken.
        node: String,
        /// Node or pod that it is mistaken about.
        to: String,
    },
    /// A link takes only packets up to a size and no ICMP says so.
    MtuBlackhole {
        /// The node.
        node: String,
        /// Which link of it.
        at: Narrow,
        /// Largest packet, at least 1280.
        mtu_bytes: u16,
    },
    /// The bridge sends nothing back through a pod's port, so that the pod doesn't reach itself through a service.
    NoHairpin {
        /// The pod.
        pod: String,
    },
    /// A node's overlay end bears another network identifier than those of all others.
    WrongVni {
        /// The node.
        node: String,
    },
    /// A node sends what is for another node's pods to an underlay address that nobody has any more.
    StaleTunnel {
        /// The node that is mistaken.
        node: String,
        /// The node that it is mistaken about.
        to: String,
    },
    /// The network between two zones drops the overlay's packets: no kernel on any node sees the drop.
    TunnelBlocked {
        /// One zone.
        a: String,
        /// The other.
        b: String,
    },
    /// The links of a node's pods take smaller packets than their bridge, and no sender learns of it.
    PodMtu {
        /// The node.
        node: String,
        /// Largest packet, at least 1280.
        mtu_bytes: u16,
    },
    /// A pod takes the pods of all nodes for neighbours on its own link.
    PodMask {
        /// The pod.
        pod: String,
    },
    /// A kernel leaves echo requests without an answer.
    EchoIgnored {
        /// Node or pod.
        at: String,
    },
    /// A node forwards nothing.
    ForwardingOff {
        /// The node.
        node: String,
    },
    /// A pod found its IPv6 address in use when it came up, and so doesn't use it.
    DadFailed {
        /// The pod.
        pod: String,
    },
    /// Another pod of the same node has a pod's addresses as well, and is the one that the node asks.
    DuplicateAddress {
        /// The pod whose addresses they are.
        of: String,
        /// The pod that has them, too.
        at: String,
    },
    /// A node lets no new connection to or from a pod pass; those that are open go on.
    PolicyDeny {
        /// The pod.
        pod: String,
    },
    /// A node forwards no new connection; those that are open go on.
    NewDenied {
        /// The node.
        node: String,
    },
    /// The inventory shows a node in another state.
    NodeState {
        /// The node.
        node: String,
        /// The state.
        state: NodeState,
    },
    /// A pod is gone from the inventory and its services, and its server has ended.
    PodGone {
        /// The pod.
        pod: String,
    },
}
