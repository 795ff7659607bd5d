//! What faults are set to: families, protocols, hooks, verdicts and the like.

use std::time::Duration;

/// Address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What kind of packet a rule takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proto {
    /// ICMP and ICMPv6 echo requests and replies, never neighbour discovery.
    Icmp,
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

/// Where in a node's stack a rule sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Everything that arrives.
    Prerouting,
    /// What arrives for the node itself.
    Input,
    /// What the node passes on, as between its pods and others.
    Forward,
    /// What the node itself sends.
    Output,
    /// Everything that leaves.
    Postrouting,
}

/// Which packets a rule takes; the default takes all but neighbour discovery.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Match {
    /// One family only.
    pub family: Option<Family>,
    /// One protocol only.
    pub proto: Option<Proto>,
    /// From this place only.
    pub src: Option<String>,
    /// To this place only.
    pub dst: Option<String>,
    /// From this TCP or UDP port only.
    pub sport: Option<u16>,
    /// To this TCP or UDP port only.
    pub dport: Option<u16>,
    /// Arriving through this interface only.
    pub iif: Option<String>,
    /// Leaving through this interface only.
    pub oif: Option<String>,
    /// Packets of more bytes than this only, with their IP header.
    pub longer_bytes: Option<u16>,
    /// This share of them only, by chance; 1 to 100.
    pub percent: Option<u8>,
}

/// What a rule does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Drop it in silence.
    Drop,
    /// Drop it and answer with ICMP port unreachable.
    Reject,
}

/// Kind of a route that leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadRoute {
    /// Drops in silence.
    Blackhole,
    /// Answers with ICMP host unreachable.
    Unreachable,
    /// Answers with ICMP administratively prohibited.
    Prohibit,
    /// Ends the look-up as if there were no route at all, not even a default one.
    Throw,
}

/// Which way of a path loses packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leg {
    /// From the probe's source to its destination.
    Request,
    /// Back.
    Reply,
}

/// At which end of a path the packets are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// On the node where the probe starts.
    Source,
    /// On the node that it is sent to.
    Destination,
}

/// Direction as a node sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Towards the node.
    In,
    /// From the node.
    Out,
}

/// How the cluster's DNS answers for `cluster.local`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DnsAnswer {
    /// With SERVFAIL.
    Servfail,
    /// With NXDOMAIN.
    Nxdomain,
    /// Well, but only after this time.
    Slow(Duration),
    /// Not at all.
    Silent,
    /// Over UDP only that the answer is too long for it; over TCP, where it would be whole, nobody comes through.
    Truncated,
}

/// How the control plane sees a node. Only the inventory, and what follows from it for services, changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    /// Condition Ready is Unknown; its pods are not ready.
    NotReady,
    /// Unschedulable; its pods stay.
    Cordoned,
    /// Gone with its pods.
    Deleted,
}
