//! The resources that the fake serves, and where.

/// A resource of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// v1, cluster-wide.
    Nodes,
    /// v1, cluster-wide.
    Namespaces,
    /// v1.
    Pods,
    /// v1.
    Services,
    /// v1.
    Secrets,
    /// discovery.k8s.io/v1.
    EndpointSlices,
    /// coordination.k8s.io/v1.
    Leases,
    /// networking.k8s.io/v1.
    Ingresses,
    /// gateway.networking.k8s.io/v1.
    Gateways,
    /// gateway.networking.k8s.io/v1.
    HttpRoutes,
    /// netcheck.io/v1alpha1, cluster-wide.
    ReachabilityChecks,
    /// events.k8s.io/v1.
    Events,
}

impl Resource {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Nodes,
        Self::Namespaces,
        Self::Pods,
        Self::Services,
        Self::Secrets,
        Self::EndpointSlices,
        Self::Leases,
        Self::Ingresses,
        Self::Gateways,
        Self::HttpRoutes,
        Self::ReachabilityChecks,
        Self::Events,
    ];

    /// Kind, group and version, plural name.
    const fn parts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Nodes => ("Node", "v1", "nodes"),
            Self::Namespaces => ("Namespace", "v1", "namespaces"),
            Self::Pods => ("Pod", "v1", "pods"),
            Self::Services => ("Service", "v1", "services"),
            Self::Secrets => ("Secret", "v1", "secrets"),
            Self::EndpointSlices => ("EndpointSlice", "discovery.k8s.io/v1", "endpointslices"),
            Self::Leases => ("Lease", "coordination.k8s.io/v1", "leases"),
            Self::Ingresses => ("Ingress", "networking.k8s.io/v1", "ingresses"),
            Self::Gateways => ("Gateway", "gateway.networking.k8s.io/v1", "gateways"),
            Self::HttpRoutes => ("HTTPRoute", "gateway.networking.k8s.io/v1", "httproutes"),
            Self::ReachabilityChecks => ("ReachabilityCheck", "netcheck.io/v1alpha1", "reachabilitychecks"),
            Self::Events => ("Event", "events.k8s.io/v1", "events"),
        }
    }

    /// `Node`.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        self.parts().0
    }

    /// `v1`, `discovery.k8s.io/v1`.
    #[must_use]
    pub const fn api_version(self) -> &'static str {
        self.parts().1
    }

    /// `nodes`.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        self.parts().2
    }

    /// The group; empty for the core's.
    #[must_use]
    pub fn group(self) -> &'static str {
        self.api_version().split_once('/').map_or("", |(group, _)| group)
    }

    /// `nodes`, `discovery.k8s.io/endpointslices`.
    #[must_use]
    pub fn qualified(self) -> String {
        match self.group() {
            "" => self.plural().to_owned(),
            group => format!("{group}/{}", self.plural()),
        }
    }

    /// Its objects are in no namespace.
    #[must_use]
    pub const fn is_cluster_wide(self) -> bool {
        matches!(self, Self::Nodes | Self::Namespaces | Self::ReachabilityChecks)
    }

    /// The resource of that kind.
    #[must_use]
    pub fn of_kind(kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|resource| resource.kind() == kind)
    }

    /// The path of its collection, below which are namespaces' and objects'.
    #[must_use]
    pub fn root(self) -> String {
        let prefix = if self.group().is_empty() { "/api" } else { "/apis" };
        format!("{prefix}/{}", self.api_version())
    }
}
