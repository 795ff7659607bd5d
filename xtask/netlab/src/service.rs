//! Services as kube-proxy's nftables mode makes them: which there are, what stands behind them under the
//! active faults, and the rules of a node. Pure, except for [`apply`].

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use crate::fault::{Fault, NodeState};
use crate::netns;
use crate::topology::{API_PORT, CLUSTER_CIDR_V4, CLUSTER_CIDR_V6, Node, Topology, WEB_PORT};

/// Table that holds the rules on every node.
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
#[derive(Debug, Clone, PartialEq, Eq)]
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
}

impl Service {
    /// The services of a healthy lab.
    pub(crate) fn all(topology: &Topology) -> Vec<Self> {
        let http = |port| vec![Port { name: "http", transport: Transport::Tcp, port, target: WEB_PORT }];
        let api = Backend { pod: None, node: None, v4: topology.hub_v4, v6: topology.hub_v6, ready: true };
        vec![
            Self {
                name: "kubernetes",
                namespace: "default",
                cluster_ips: Some(cluster_ips(1)),
                selector: None,
                ports: vec![Port { name: "https", transport: Transport::Tcp, port: 443, target: API_PORT }],
                backends: vec![api],
            },
            Self {
                name: "kube-dns",
                namespace: "kube-system",
                cluster_ips: Some(cluster_ips(0x10)),
                selector: Some(("k8s-app", "kube-dns")),
                ports: vec![
                    Port { name: "dns", transport: Transport::Udp, port: 53, target: 53 },
                    Port { name: "dns-tcp", transport: Transport::Tcp, port: 53, target: 53 },
                ],
                backends: pods_of(topology, "kube-dns"),
            },
            Self {
                name: "web",
                namespace: "default",
                cluster_ips: Some(cluster_ips(0x20)),
                selector: Some(("app", "web")),
                ports: http(80),
                backends: pods_of(topology, "web"),
            },
            Self {
                name: "web-headless",
                namespace: "default",
                cluster_ips: None,
                selector: Some(("app", "web")),
                ports: http(WEB_PORT),
                backends: pods_of(topology, "web"),
            },
        ]
    }
}

/// Digits as in the rest of the address plan: 0x20 is 10.96.0.20 and fd00:10:96::20.
fn cluster_ips(digits: u8) -> (Ipv4Addr, Ipv6Addr) {
    let decimal = digits / 16 * 10 + digits % 16;
    (Ipv4Addr::new(10, 96, 0, decimal), Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, digits.into()))
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

/// The rules of one node, as a script for `nft -f -` that replaces what was there.
///
/// Packets that turn back into the pod network they came from, and those from outside of the cluster's pods,
/// are masqueraded, or the reply would not come back this way.
pub(crate) fn ruleset(node: &Node, services: &[Service]) -> String {
    let mut nat = String::new();
    let mut refuse = String::new();
    for service in services {
        let Some((v4, v6)) = service.cluster_ips else { continue };
        let ready: Vec<&Backend> = service.backends.iter().filter(|backend| backend.ready).collect();
        for port in &service.ports {
            let addresses_v4: Vec<String> = ready.iter().map(|b| b.v4.to_string()).collect();
            let addresses_v6: Vec<String> = ready.iter().map(|b| b.v6.to_string()).collect();
            for (family, address, backends) in
                [("ip", v4.to_string(), addresses_v4), ("ip6", v6.to_string(), addresses_v6)]
            {
                let to = format!("{family} daddr {address} {} dport {}", port.transport.nft(), port.port);
                if backends.is_empty() {
                    _ = writeln!(refuse, "    {to} counter reject");
                } else {
                    let choice = choice(&backends, port.target);
                    _ = writeln!(nat, "    {to} counter dnat {family} {choice}");
                }
            }
        }
    }
    let (here_v4, here_v6) = (node.pod_cidr_v4(), node.pod_cidr_v6());
    let mut text = format!("table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n");
    _ = write!(text, "  chain services {{\n{nat}  }}\n  chain refuse {{\n{refuse}  }}\n");
    for (hook, priority) in [("prerouting", "dstnat"), ("output", "-100")] {
        _ = write!(
            text,
            "  chain nat_{hook} {{\n    type nat hook {hook} priority {priority}; policy accept;\n    \
             jump services\n  }}\n"
        );
    }
    for hook in ["forward", "output"] {
        _ = write!(
            text,
            "  chain filter_{hook} {{\n    type filter hook {hook} priority filter; policy accept;\n    \
             ct state new jump refuse\n  }}\n"
        );
    }
    _ = write!(
        text,
        "  chain nat_postrouting {{\n    type nat hook postrouting priority srcnat; policy accept;\n    \
         ct status dnat ip saddr {here_v4} ip daddr {here_v4} masquerade\n    \
         ct status dnat ip6 saddr {here_v6} ip6 daddr {here_v6} masquerade\n    \
         ct status dnat ip saddr != {CLUSTER_CIDR_V4} masquerade\n    \
         ct status dnat ip6 saddr != {CLUSTER_CIDR_V6} masquerade\n    \
         oifname \"eth0\" ip saddr {here_v4} ip daddr != {CLUSTER_CIDR_V4} masquerade\n    \
         oifname \"eth0\" ip6 saddr {here_v6} ip6 daddr != {CLUSTER_CIDR_V6} masquerade\n  }}\n}}\n"
    );
    text
}

fn choice(backends: &[String], port: u16) -> String {
    if let [only] = backends {
        return if only.contains(':') { format!("to [{only}]:{port}") } else { format!("to {only}:{port}") };
    }
    let entries: Vec<String> =
        backends.iter().enumerate().map(|(i, address)| format!("{i} : {address} . {port}")).collect();
    format!("addr . port to numgen random mod {} map {{ {} }}", backends.len(), entries.join(", "))
}

/// Puts the rules in force on every node.
pub(crate) fn apply(topology: &Topology, services: &[Service]) -> Result<()> {
    netns::each(&topology.nodes, |node| netns::nft(&node.netns, &ruleset(node, services)))
}
