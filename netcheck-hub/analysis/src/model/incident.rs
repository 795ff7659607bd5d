//! What an incident blames. Pure.

/// What kind of thing is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IncidentKind {
    /// A location where packets die explains all paths that die there.
    Place,
    /// A node answers nobody, reaches nobody, or both.
    Node,
    /// The pods of one node, while the node itself is fine; or a secondary network of pods, at one node or everywhere.
    PodNetwork,
    /// Between two nodes or two zones.
    Link,
    /// Packets from one node or zone to another, and not those back.
    OneWay,
    /// One of those that answer for a service.
    Backend,
    /// A service with all its backends.
    Service,
    /// A DNS server.
    DnsServer,
    /// One kind of probe, everywhere.
    Protocol,
    /// One address family, everywhere.
    Family,
    /// Everything.
    Cluster,
    /// One pod or node as a target, or from one source only.
    Target,
    /// Many paths that have nothing in common.
    Scattered,
    /// Small packets pass and large ones are lost.
    Mtu,
    /// Packets from some source ports are lost and those from others are not, as when one of several parallel ways is dead.
    SourcePorts,
}

impl IncidentKind {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Place,
        Self::Node,
        Self::PodNetwork,
        Self::Link,
        Self::OneWay,
        Self::Backend,
        Self::Service,
        Self::DnsServer,
        Self::Protocol,
        Self::Family,
        Self::Cluster,
        Self::Target,
        Self::Scattered,
        Self::Mtu,
        Self::SourcePorts,
    ];
}
