//! Services: which there are, what stands behind them under the active faults, and the rules of a node, which the lab's
//! [`Proxy`] decides. Pure, except for [`apply`].

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use crate::fault::{Family, Fault, NodeState};
use crate::netns;
use crate::spec::Proxy;
use crate::topology::{API_PORT, Topology, WEB_PORT};

pub(crate) mod kube_proxy;
mod more;
mod rules;

pub use more::ECHO_PORT;

/// Table that holds the plain rules on every node.
const TABLE: &str = "netlab_services";

/// Transport protocol of a service's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    fn nft(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    /// As Kubernetes writes it.
    #[must_use]
    pub fn kubernetes(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

/// One port of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name, as in `http`.
    pub name: &'static str,
    /// Transport protocol.
    pub transport: Transport,
    /// Port of the service.
    pub port: u16,
    /// Port of the backends.
    pub target: u16,
    /// Port of every node that leads there, if there is one.
    pub node_port: Option<u16>,
}

/// One address pair behind a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// The pod's name; `None` for an endpoint outside of the cluster's pods.
    pub pod: Option<String>,
    /// The node's name, if the endpoint is a pod.
    pub node: Option<String>,
    /// Address; of nobody under [`Fault::BackendDead`].
    pub v4: Ipv4Addr,
    /// Address; of nobody under [`Fault::BackendDead`].
    pub v6: Ipv6Addr,
    /// Whether traffic is sent there.
    pub ready: bool,
}

/// One service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Service {
    /// Name.
    pub name: &'static str,
    /// Kubernetes namespace.
    pub namespace: &'static str,
    /// Cluster addresses; `None` makes it headless.
    pub cluster_ips: Option<(Ipv4Addr, Ipv6Addr)>,
    /// Value of the pods' label that it selects, if it selects any.
    pub selector: Option<(&'static str, &'static str)>,
    /// Its ports.
    pub ports: Vec<Port>,
    /// What stands behind it.
    pub backends: Vec<Backend>,
    /// What its load balancer answers at.
    pub balancer: Option<(Ipv4Addr, Ipv6Addr)>,
    /// Its external addresses.
    pub external: Option<(Ipv4Addr, Ipv6Addr)>,
    /// `internalTrafficPolicy: Local`.
    pub internal_local: bool,
    /// `externalTrafficPolicy: Local`.
    pub external_local: bool,
    /// Labels in the place of those that all services of the lab have.
    pub labels: &'static [(&'static str, &'static str)],
    /// What its annotation `netcheck.io/probe` says, if it has one.
    pub probe: Option<&'static str>,
    /// Nodes whose rules lack its node ports.
    pub portless: Vec<String>,
    /// Nodes whose rules lack it altogether.
    pub untranslated: Vec<String>,
    /// `sessionAffinity: ClientIP`; the plain rules know none.
    pub affinity: bool,
}

impl Service {
    /// The services of a healthy lab; `more`: of every type.
    pub(crate) fn all(topology: &Topology, more: bool) -> Vec<Self> {
        let plain = |name, transport, port, target| Port { name, transport, port, target, node_port: None };
        let http = |port| vec![plain("http", Transport::Tcp, port, WEB_PORT)];
        let api = Backend { pod: None, node: None, v4: topology.hub_v4, v6: topology.hub_v6, ready: true };
        let mut services = vec![
            Self {
                name: "kubernetes",
                namespace: "default",
                cluster_ips: Some(cluster_ips(topology.block, 1)),
                selector: None,
                ports: vec![plain("https", Transport::Tcp, 443, API_PORT)],
                backends: vec![api],
                ..Self::default()
            },
            Self {
                name: "kube-dns",
                namespace: "kube-system",
                cluster_ips: Some(cluster_ips(topology.block, 0x10)),
                selector: Some(("k8s-app", "kube-dns")),
                ports: vec![plain("dns", Transport::Udp, 53, 53), plain("dns-tcp", Transport::Tcp, 53, 53)],
                backends: pods_of(topology, "kube-dns"),
                ..Self::default()
            },
            Self {
                name: "web",
                namespace: "default",
                cluster_ips: Some(cluster_ips(topology.block, 0x20)),
                selector: Some(("app", "web")),
                ports: http(80),
                backends: pods_of(topology, "web"),
                ..Self::default()
            },
            Self {
                name: "web-headless",
                namespace: "default",
                cluster_ips: None,
                selector: Some(("app", "web")),
                ports: http(WEB_PORT),
                backends: pods_of(topology, "web"),
                probe: (!more).then_some("false"),
                ..Self::default()
            },
        ];
        if more {
            services.extend(more::all(topology));
        }
        if topology.proxy != Proxy::Plain {
            services.extend(more::of_kube_proxy(topology, more));
        }
        services
    }
}

/// Digits as in the rest of the address plan: 0x20 is 10.96.0.20 and fd00:10:96::20.
fn cluster_ips(block: u8, digits: u8) -> (Ipv4Addr, Ipv6Addr) {
    let decimal = digits / 16 * 10 + digits % 16;
    // Digits as decimal ones: 96 to 99, then 0x9a.
    let second = 0x96 + u16::from(block);
    (
        Ipv4Addr::new(10, 96 + block, 0, decimal),
        Ipv6Addr::new(0xfd00, 0x10, second, 0, 0, 0, 0, digits.into()),
    )
}

fn pods_of(topology: &Topology, app: &str) -> Vec<Backend> {
    let backend = |pod: &crate::topology::Pod| Backend {
        pod: Some(pod.name.clone()),
        node: Some(pod.node.clone()),
        v4: pod.v4,
        v6: pod.v6,
        ready: true,
    };
    topology.pods().filter(|pod| pod.app == app).map(backend).collect()
}

/// The services as the cluster's control plane would have them under these faults.
pub(crate) fn under(topology: &Topology, faults: &[Fault]) -> Vec<Service> {
    let mut services = topology.services.clone();
    for fault in faults {
        for service in &mut services {
            match fault {
                Fault::NoEndpoints { service: name } if service.name == name => service.backends.clear(),
                Fault::NoNodePort { node, service: name } if service.name == name => {
                    service.portless.push(node.clone());
                }
                Fault::NoTranslation { node, service: name } if service.name == name => {
                    service.untranslated.push(node.clone());
                }
                Fault::PodGone { pod } => {
                    service.backends.retain(|backend| backend.pod.as_ref() != Some(pod));
                }
                Fault::NodeState { node, state: NodeState::Deleted } => {
                    service.backends.retain(|backend| backend.node.as_ref() != Some(node));
                }
                Fault::NodeState { node, state: NodeState::NotReady } => {
                    let here = service.backends.iter_mut().filter(|b| b.node.as_ref() == Some(node));
                    here.for_each(|backend| backend.ready = false);
                }
                Fault::BackendDead { pod } => {
                    let here = service.backends.iter_mut().filter(|b| b.pod.as_ref() == Some(pod));
                    here.for_each(bury);
                }
                _ => {}
            }
        }
    }
    services
}

/// Gives a backend the last addresses of its node's pod networks, which no pod ever has.
fn bury(backend: &mut Backend) {
    let [a, b, c, _] = backend.v4.octets();
    backend.v4 = Ipv4Addr::new(a, b, c, 254);
    let mut groups = backend.v6.segments();
    groups[7] = 0x254;
    backend.v6 = groups.into();
}

/// Puts the rules in force on every node.
pub(crate) fn apply(topology: &Topology, services: &[Service]) -> Result<()> {
    netns::each(&topology.nodes, |node| match topology.proxy {
        Proxy::Plain => netns::nft(&node.netns, &rules::ruleset(node, services)),
        Proxy::KubeProxyNftables => netns::nft(&node.netns, &kube_proxy::nftables::ruleset(node, services)),
        Proxy::KubeProxyIptables => [Family::V4, Family::V6].into_iter().try_for_each(|family| {
            let rules = kube_proxy::iptables::ruleset(node, services, family);
            netns::iptables(&node.netns, family == Family::V6, &rules)
        }),
    })
}
