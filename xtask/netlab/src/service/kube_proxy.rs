//! Services as kube-proxy sees them from one node: what its iptables mode ([`iptables`]) and its nftables mode
//! ([`nftables`]) make rules of. Pure.
//!
//! The names of chains, sets and maps, their order and their hooks are those of kube-proxy 1.34
//! (pkg/proxy/iptables/proxier.go, pkg/proxy/nftables/proxier.go), but for the hashes in them. What flannel adds for
//! traffic that leaves the pods' network stands beside them, as on a cluster that `kubeadm` made.
//!
//! IPVS mode has no shape here: it needs `CONFIG_IP_VS`, which the kernels that the lab runs on often lack.

use std::fmt::Write as _;

use super::{Backend, Port, Service};
use crate::fault::{Family, hash};
use crate::topology::Node;

pub(super) mod iptables;
pub(super) mod nftables;

#[cfg(test)]
mod tests;

/// The mark of packets whose source is to be translated.
const MASQUERADE_MARK: &str = "0x4000";
/// How long a client stays with its backend under session affinity, seconds: Kubernetes' default.
pub(crate) const AFFINITY_SECONDS: u32 = 10_800;

/// One backend.
struct Endpoint {
    address: String,
    is_local: bool,
}

/// One port of a service in one family.
struct ServicePort<'a> {
    service: &'a Service,
    port: &'a Port,
    family: Family,
    cluster_ip: String,
    /// Load balancer's and external addresses, each with what kube-proxy calls it.
    external: Vec<(&'static str, String)>,
    node_port: Option<u16>,
    endpoints: Vec<Endpoint>,
}

/// Which of a service's backends a packet may go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    Cluster,
    Local,
}

/// What is done with new packets that have nowhere to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Reject,
    /// There are backends, but none of them here.
    Drop,
}

impl ServicePort<'_> {
    /// `NAMESPACE/NAME:PORT`, as kube-proxy names it in comments.
    fn name(&self) -> String {
        format!("{}/{}:{}", self.service.namespace, self.service.name, self.port.name)
    }

    fn protocol(&self) -> &'static str {
        self.port.transport.nft()
    }

    fn internal(&self) -> Policy {
        if self.service.internal_local { Policy::Local } else { Policy::Cluster }
    }

    fn outside(&self) -> Policy {
        if self.service.external_local { Policy::Local } else { Policy::Cluster }
    }

    fn of(&self, policy: Policy) -> Vec<&Endpoint> {
        self.endpoints.iter().filter(|endpoint| policy == Policy::Cluster || endpoint.is_local).collect()
    }

    /// What is done with packets that only these backends may get, if there are none.
    fn refusal(&self, policy: Policy) -> Option<Refusal> {
        match (self.endpoints.is_empty(), self.of(policy).is_empty()) {
            (true, _) => Some(Refusal::Reject),
            (false, true) => Some(Refusal::Drop),
            (false, false) => None,
        }
    }

    fn is_external(&self) -> bool {
        self.node_port.is_some() || !self.external.is_empty()
    }

    /// Whether some rule sends packets to these backends.
    fn needs(&self, policy: Policy) -> bool {
        !self.of(policy).is_empty()
            && (self.internal() == policy
                || self.is_external() && (self.outside() == policy || policy == Policy::Cluster))
    }

    /// Address and port of a backend, as rules write them.
    fn target(&self, endpoint: &Endpoint) -> String {
        match self.family {
            Family::V4 => format!("{}:{}", endpoint.address, self.port.target),
            Family::V6 => format!("[{}]:{}", endpoint.address, self.port.target),
        }
    }
}

/// All ports of all services that have a cluster address.
fn service_ports<'a>(node: &Node, services: &'a [Service], family: Family) -> Vec<ServicePort<'a>> {
    let mut ports = Vec::new();
    for service in services.iter().filter(|service| !service.untranslated.contains(&node.name)) {
        let address = |(v4, v6): (std::net::Ipv4Addr, std::net::Ipv6Addr)| match family {
            Family::V4 => v4.to_string(),
            Family::V6 => v6.to_string(),
        };
        let Some(cluster_ip) = service.cluster_ips.map(address) else { continue };
        let endpoint = |backend: &Backend| Endpoint {
            address: address((backend.v4, backend.v6)),
            is_local: backend.node.as_ref() == Some(&node.name),
        };
        let outside = [("external IP", service.external), ("loadbalancer IP", service.balancer)];
        for port in &service.ports {
            ports.push(ServicePort {
                service,
                port,
                family,
                cluster_ip: cluster_ip.clone(),
                external: outside.iter().filter_map(|(kind, ips)| Some((*kind, address((*ips)?)))).collect(),
                node_port: port.node_port.filter(|_| !service.portless.contains(&node.name)),
                endpoints: service.backends.iter().filter(|backend| backend.ready).map(endpoint).collect(),
            });
        }
    }
    ports
}

/// All pods in one family, of a lab with the first block of addresses: those with these rules have it.
const fn cluster_cidr(family: Family) -> &'static str {
    match family {
        Family::V4 => "10.244.0.0/16",
        Family::V6 => "fd00:10:244::/48",
    }
}

/// The node's own pods in one family.
fn node_cidr(node: &Node, family: Family) -> String {
    match family {
        Family::V4 => node.pod_cidr_v4(),
        Family::V6 => node.pod_cidr_v6(),
    }
}

/// Sixteen characters of base 32 that stand for a text, as in the names of kube-proxy's chains.
fn digest(text: &str) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let wide = u128::from(hash(text)) << 64 | u128::from(hash(&format!("{text}.")));
    let digit = |place: u32| char::from(ALPHABET[(wide >> (5 * place) & 31) as usize]);
    (0..16).map(digit).collect()
}

/// Appends a line.
fn line(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    _ = writeln!(text, "{line}");
}
