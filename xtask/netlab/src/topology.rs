//! The lab on paper: who is there and with which names and addresses. Pure: spec in, [`Topology`] out.
//!
//! The address plan (`n` = node number, `k` = pod number on its node, both from 1):
//!
//! | what | IPv4 | IPv6 |
//! |---|---|---|
//! | underlay, gateway | 172.30.0.0/24, .1 | fd00:172:30::/64, ::1 |
//! | hub | 172.30.0.2 | fd00:172:30::2 |
//! | node n | 172.30.0.(10+n) | fd00:172:30::(10+n) |
//! | pods of node n, gateway on `cni0` | 10.244.n.0/24, .1 | fd00:10:244:n::/64, ::1 |
//! | pod k of node n | 10.244.n.(10+k) | fd00:10:244:n::(10+k) |
//! | overlay end of node n | 10.244.n.0 | fd00:10:244:n:: |
//! | services | 10.96.0.0/16 | fd00:10:96::/112 |
//! | pod k of node n on network `default/storage` | 10.250.n.(10+k)/16 | fd00:10:250::n:(10+k)/64 |
//!
//! The digits of the IPv6 addresses are the decimal ones of IPv4, so that one can be read from the other.
//! All labs use the same addresses; none of them is in the machine's own namespace. Labs that are joined ([`crate::Lab::join`])
//! have blocks of their own ([`crate::LabSpec::block`]), by which the second numbers are larger: underlay 172.31, pods 10.245,
//! services 10.97 with block 1.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};

mod addresses;

pub(crate) use self::addresses::CLUSTER_PREFIXES;
use self::addresses::{digits, pod_v6, underlay_v4, underlay_v6};
use crate::service::Service;
use crate::spec::{LabSpec, Mode, Proxy};

/// What the namespaces of all labs begin with.
pub(crate) const NETNS_PREFIX: &str = "netlab.";
/// UDP port of the overlay.
pub const VXLAN_PORT: u16 = 8472;
/// Port of the HTTP servers in the `web` pods.
pub const WEB_PORT: u16 = 8080;
/// Namespace of the pods for netcheck's vantage.
pub(crate) const VANTAGE_NAMESPACE: &str = "netcheck";
/// What they are called among the pods.
pub(crate) const VANTAGE_APP: &str = "vantage";
/// A secondary network of pods: one link for all of them, without a gateway, and without any address of a node.
pub const STORAGE: &str = "default/storage";
/// Its bridge on each node.
pub const STORAGE_BRIDGE: &str = "storage0";
/// The bridge's port towards other nodes: an overlay of its own (VNI 2).
pub const STORAGE_UPLINK: &str = "storage.1";
/// Port of the stand-in for an API server in the hub's namespace.
pub const API_PORT: u16 = 6443;

/// One pod that has a network namespace of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Name, unique in the lab: `web-n1`, `app-n1-2`, `dns-n4`.
    pub name: String,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Value of its `app` (or `k8s-app`) label: `web`, `app`, `kube-dns`.
    pub app: String,
    /// Name of its node.
    pub node: String,
    /// Name of its network namespace, for [`crate::Lab::exec`] and [`crate::Lab::spawn_in`].
    pub netns: String,
    /// Name of the host side of its veth pair, a port of `cni0`; inside it is `eth0`.
    pub veth: String,
    /// Address.
    pub v4: Ipv4Addr,
    /// Address.
    pub v6: Ipv6Addr,
    /// Its place on the network [`STORAGE`], where it is on it.
    pub storage: Option<Storage>,
}

/// A pod's place on the network [`STORAGE`]: its interface `net1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// Name of the node's side of its veth pair, a port of [`STORAGE_BRIDGE`].
    pub veth: String,
    /// Address, in a network of 16 bits.
    pub v4: Ipv4Addr,
    /// Address, in a network of 64 bits.
    pub v6: Ipv6Addr,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Name: `n1`, `n2`, …
    pub name: String,
    /// Its number, from 1.
    pub number: u8,
    /// The lab's block of addresses.
    pub block: u8,
    /// Its zone.
    pub zone: String,
    /// Name of its network namespace.
    pub netns: String,
    /// Address on the underlay (`eth0`).
    pub v4: Ipv4Addr,
    /// Address on the underlay (`eth0`).
    pub v6: Ipv6Addr,
    /// Its pods, in order of their numbers.
    pub pods: Vec<Pod>,
}

/// Everything that follows from a [`LabSpec`].
#[derive(Debug, Clone)]
pub struct Topology {
    /// The lab's name.
    pub lab: String,
    /// Its block of addresses.
    pub block: u8,
    /// Routes or overlay.
    pub mode: Mode,
    /// Who translates services.
    pub proxy: Proxy,
    /// Whether the CNI plugins attach the pods.
    pub cni_plugins: bool,
    /// Network namespace that holds the switch.
    pub underlay_ns: String,
    /// Network namespace of the hub.
    pub hub_ns: String,
    /// The hub's address.
    pub hub_v4: Ipv4Addr,
    /// The hub's address.
    pub hub_v6: Ipv6Addr,
    /// The nodes, in order of their numbers.
    pub nodes: Vec<Node>,
    /// The services.
    pub services: Vec<Service>,
}

impl Topology {
    /// Lays a lab out. The spec must have passed [`LabSpec::check`].
    #[must_use]
    pub fn new(spec: &LabSpec) -> Self {
        let nodes: Vec<Node> = (1..=spec.nodes).map(|number| node(spec, number)).collect();
        let mut topology = Self {
            lab: spec.name.clone(),
            block: spec.block,
            mode: spec.mode,
            proxy: spec.proxy,
            cni_plugins: spec.cni_plugins,
            underlay_ns: netns(&spec.name, "net"),
            hub_ns: netns(&spec.name, "hub"),
            hub_v4: underlay_v4(spec.block, 2),
            hub_v6: underlay_v6(spec.block, 2),
            nodes,
            services: Vec::new(),
        };
        topology.services = Service::all(&topology, spec.all_services);
        topology
    }

    /// Largest packet a pod may send: the underlay's 1500 bytes less the overlay's 50.
    #[must_use]
    pub fn pod_mtu_bytes(&self) -> u16 {
        match self.mode {
            Mode::Routed => 1500,
            Mode::Vxlan => 1450,
        }
    }

    /// All pods, node by node.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.nodes.iter().flat_map(|node| &node.pods)
    }

    /// Whether the lab has the network [`STORAGE`].
    #[must_use]
    pub fn has_storage(&self) -> bool {
        self.pods().any(|pod| pod.storage.is_some())
    }

    /// A node by its name.
    ///
    /// # Errors
    /// Names the nodes there are.
    pub fn node(&self, name: &str) -> Result<&Node> {
        self.nodes.iter().find(|node| node.name == name).with_context(|| {
            let names: Vec<&str> = self.nodes.iter().map(|node| node.name.as_str()).collect();
            format!("no node `{name}` in lab `{}`; nodes are {}", self.lab, names.join(", "))
        })
    }

    /// A pod by its name.
    ///
    /// # Errors
    /// Names the pods there are.
    pub fn pod(&self, name: &str) -> Result<&Pod> {
        self.pods().find(|pod| pod.name == name).with_context(|| {
            let names: Vec<&str> = self.pods().map(|pod| pod.name.as_str()).collect();
            format!("no pod `{name}` in lab `{}`; pods are {}", self.lab, names.join(", "))
        })
    }

    /// The pod for netcheck's vantage on a node, where the lab has them.
    #[must_use]
    pub fn vantage(&self, node: &str) -> Option<&Pod> {
        self.pods().find(|pod| pod.node == node && pod.namespace == VANTAGE_NAMESPACE)
    }

    /// The node that a pod runs on.
    ///
    /// # Errors
    /// If the pod belongs to another lab.
    pub fn node_of(&self, pod: &Pod) -> Result<&Node> {
        self.node(&pod.node)
    }

    /// A service by its name.
    ///
    /// # Errors
    /// Names the services there are.
    pub fn service(&self, name: &str) -> Result<&Service> {
        self.services.iter().find(|service| service.name == name).with_context(|| {
            let names: Vec<&str> = self.services.iter().map(|service| service.name).collect();
            format!("no service `{name}` in lab `{}`; services are {}", self.lab, names.join(", "))
        })
    }

    /// Full name of a network namespace from its short one: `n1`, a pod's name, `hub` or `net`.
    /// A full name passes as it is.
    ///
    /// # Errors
    /// If the lab has no such namespace.
    pub fn netns(&self, name: &str) -> Result<String> {
        let full = netns(&self.lab, name);
        self.namespaces().find(|ns| *ns == full || *ns == name).with_context(|| {
            format!("no namespace `{name}` in lab `{}`: give a node, a pod, `hub` or `net`", self.lab)
        })
    }

    /// Full names of all its network namespaces.
    pub fn namespaces(&self) -> impl Iterator<Item = String> {
        let nodes = self.nodes.iter().map(|node| node.netns.clone());
        let pods = self.pods().map(|pod| pod.netns.clone());
        [self.underlay_ns.clone(), self.hub_ns.clone()].into_iter().chain(nodes).chain(pods)
    }

    /// Addresses of a node or a pod, by its name.
    pub(crate) fn addresses(&self, name: &str) -> Result<(Ipv4Addr, Ipv6Addr)> {
        if name == "hub" {
            return Ok((self.hub_v4, self.hub_v6));
        }
        if let Some(pod) = self.pods().find(|pod| pod.name == name) {
            return Ok((pod.v4, pod.v6));
        }
        let node = self.node(name).context("neither a pod, nor `hub`, nor a node")?;
        Ok((node.v4, node.v6))
    }
}

/// Both addresses as text, IPv4 first, as Kubernetes lists them.
pub(crate) fn dual(v4: Ipv4Addr, v6: Ipv6Addr) -> [IpAddr; 2] {
    [v4.into(), v6.into()]
}

/// Name of a namespace; the dots cannot occur in a lab's name, so `lab` and `lab-2` never mix.
pub(crate) fn netns(lab: &str, short: &str) -> String {
    format!("{}{short}", netns_prefix(lab))
}

/// What all namespaces of a lab begin with.
pub(crate) fn netns_prefix(lab: &str) -> String {
    format!("{NETNS_PREFIX}{lab}.")
}

fn node(spec: &LabSpec, number: u8) -> Node {
    let name = format!("n{number}");
    let zone = usize::from(number - 1) * spec.zones.len() / usize::from(spec.nodes);
    Node {
        zone: spec.zones[zone].clone(),
        netns: netns(&spec.name, &name),
        v4: underlay_v4(spec.block, 10 + number),
        v6: underlay_v6(spec.block, 10 + number),
        block: spec.block,
        pods: (1..=spec.pods_per_node)
            .map(|k| pod(spec, number, k))
            .chain(spec.vantage.then(|| vantage(spec, number)))
            .collect(),
        name,
        number,
    }
}

/// The first pod of the first three nodes is a `web` backend, the last node's last pod the DNS server,
/// every other one a plain `app`.
fn pod(spec: &LabSpec, node: u8, k: u8) -> Pod {
    let dns = node == spec.nodes && k == spec.pods_per_node;
    let (name, namespace, app) = if dns {
        (format!("dns-n{node}"), "kube-system", "kube-dns")
    } else if k == 1 && node <= 3 {
        (format!("web-n{node}"), "default", "web")
    } else {
        (format!("app-n{node}-{k}"), "default", "app")
    };
    pod_of(spec, node, k, name, (namespace, app))
}

/// The pod for netcheck's vantage comes after all others.
fn vantage(spec: &LabSpec, node: u8) -> Pod {
    pod_of(spec, node, spec.pods_per_node + 1, format!("vantage-n{node}"), (VANTAGE_NAMESPACE, VANTAGE_APP))
}

fn pod_of(spec: &LabSpec, node: u8, k: u8, name: String, (namespace, app): (&str, &str)) -> Pod {
    let attached = spec.storage && matches!(app, "app" | VANTAGE_APP);
    let storage = attached.then(|| Storage {
        veth: format!("st-{name}"),
        v4: Ipv4Addr::new(10, 250, node, 10 + k),
        v6: Ipv6Addr::new(0xfd00, 0x10, 0x250, 0, 0, 0, digits(node), digits(10 + k)),
    });
    Pod {
        storage,
        namespace: namespace.to_owned(),
        app: app.to_owned(),
        node: format!("n{node}"),
        netns: netns(&spec.name, &name),
        veth: format!("veth{name}"),
        v4: Ipv4Addr::new(10, 244 + spec.block, node, 10 + k),
        v6: pod_v6(spec.block, node, 10 + k),
        name,
    }
}
