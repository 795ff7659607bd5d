//! What kinds of things are probed, and at what kind of address. Pure.

/// What kind of thing a probe is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TargetKind {
    /// A node, at an address of its own.
    Node,
    /// A pod, at an address of its own.
    Pod,
    /// A service, at one of its addresses.
    Service,
    /// A DNS server.
    DnsServer,
    /// Asked by HTTP, and none of these: an Ingress, a Gateway, or what the operator named.
    Endpoint,
}

/// At what kind of address a service is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceAddress {
    /// Its cluster address.
    ClusterIp,
    /// A port of a node, which passes on to the service.
    NodePort,
    /// What its load balancer answers at (`status.loadBalancer.ingress`).
    LoadBalancer,
    /// One of `spec.externalIPs`.
    ExternalIp,
    /// One of the backends of a headless service, directly.
    Endpoint,
}

impl ServiceAddress {
    /// Its name in keys of causes, which stay the same over versions: `node port`.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::ClusterIp => "cluster ip",
            Self::NodePort => "node port",
            Self::LoadBalancer => "load balancer",
            Self::ExternalIp => "external ip",
            Self::Endpoint => "endpoint",
        }
    }
}
