//! The cluster, normalised: nodes, pods, services, and whose each address is. Pure data.
//!
//! In: Kubernetes objects, from a file or from watches ([`Objects`]). Out: [`Roster`], which the plan and all
//! readers share as one immutable snapshot.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

pub mod build;
mod dns;
pub mod frontend;
pub mod gateway;
pub mod http;
mod left_out;
mod network;
mod node;
mod owners;
mod ranges;
mod service;

pub use build::Objects;
pub use left_out::LeftOut;
pub use network::Attachment;
pub use owners::Contested;
pub use service::{Backend, Service, ServicePort, Transport};

/// A snapshot of the cluster. Keys are names; pods and services go by `namespace/name`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// By name.
    pub nodes: BTreeMap<String, Node>,
    /// By `namespace/name`. Only pods that run on a node and have an address.
    pub pods: BTreeMap<String, Pod>,
    /// By `namespace/name`.
    pub services: BTreeMap<String, Service>,
    /// Ingresses and Gateways, as `ingress default/web`.
    pub frontends: BTreeMap<String, frontend::HttpFrontend>,
    /// Objects whose annotation says neither yes nor no, as `service default/web`.
    pub misannotated: BTreeSet<String>,
    /// Addresses of several objects, which nobody probes: an answer would not show whose it is.
    pub contested: Contested,
    /// Objects that are known to be missing, or to have addresses that nobody knows.
    pub missing: u64,
    /// Addresses on secondary networks that more than one pod has, or somebody on the cluster's own network as well.
    pub shared_addresses: BTreeSet<String>,
    owners: HashMap<IpAddr, Owner>,
}

/// A node as Kubernetes has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Label `topology.kubernetes.io/zone`; empty without.
    pub zone: String,
    /// Addresses that other nodes reach it at (type InternalIP), in the order of the object.
    pub addresses: Vec<IpAddr>,
    /// Condition Ready is True.
    pub ready: bool,
    /// Condition Ready is Unknown: its kubelet has not been heard of for a while.
    pub lost: bool,
    /// No new pods are scheduled here. Alone no reason to be unreachable.
    pub cordoned: bool,
    /// Why it is meant to be away, if it is.
    pub absent: Option<String>,
    /// It is meant to be away for a taint alone: since when, unix seconds; 0 where it does not say.
    pub leaving_since: Option<i64>,
    /// It stands for machines somewhere else (a virtual kubelet's, or Fargate's): nothing of a host answers there, such as
    /// node ports, and its address is a pod's where a pod has it.
    pub no_host: bool,
    /// Why no agent can run on it, where that is so and none ever connected: what an agent would answer, and what it
    /// would measure, is not to be had.
    pub agentless: Option<String>,
    /// Its architecture, as `amd64`; empty where nobody says.
    pub arch: String,
    /// Probing it was switched off by annotation.
    pub opted_out: bool,
}

impl Node {
    /// Why it need not answer as a node does, if so.
    #[must_use]
    pub fn unanswering(&self) -> Option<String> {
        let agentless =
            || self.agentless.as_ref().map(|why| format!("no agent runs on node {}: {why}", self.name));
        self.absent.clone().or_else(agentless)
    }

    /// Why its own ports, such as node ports, need not answer, if so. Other systems than Linux have these, too.
    #[must_use]
    pub fn portless(&self) -> Option<String> {
        let elsewhere = self.agentless.as_ref().filter(|_| self.no_host);
        let elsewhere = || elsewhere.map(|why| format!("node {} has no node ports: {why}", self.name));
        self.absent.clone().or_else(elsewhere)
    }
}

/// A pod that has been given a node and an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// The node that it runs on.
    pub node: String,
    /// Its addresses on the cluster's own network.
    pub addresses: Vec<IpAddr>,
    /// Secondary networks that it is on.
    pub networks: Vec<Attachment>,
    /// What is wrong with the note of its networks, if anything.
    pub networks_wrong: Option<String>,
    /// It shares its node's network: its addresses are the node's.
    pub host_network: bool,
    /// Why it is meant to be away, if it is (not ready, terminating).
    pub absent: Option<String>,
    /// It is being deleted: its address may be another's any time.
    pub terminating: bool,
    /// It is one of netcheck's own vantages.
    pub vantage: bool,
    /// What annotations say, its own before its namespace's.
    pub annotation: ProbeAnnotation,
}

impl Pod {
    /// Its place on a secondary network, if it is there.
    #[must_use]
    pub fn on(&self, network: &str) -> Option<&Attachment> {
        self.networks.iter().find(|attachment| *attachment.network == *network)
    }
}

/// What the annotation `netcheck.io/probe` of an object says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProbeAnnotation {
    /// There is none.
    #[default]
    None,
    /// `"true"`.
    Probe,
    /// `"false"`.
    Skip,
    /// Something else, which counts for nothing.
    Odd,
}

impl ProbeAnnotation {
    /// This one where it says something, else the other.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        match self {
            Self::Probe | Self::Skip => self,
            Self::None | Self::Odd => other,
        }
    }
}

/// Who has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The node that has it, or holds the pod that has it.
    pub node: String,
    /// `namespace/name` of the pod that has it.
    pub pod: Option<String>,
    /// The secondary network that it is on; none: the cluster's own.
    pub network: Option<Arc<str>>,
}

impl Roster {
    /// Who has `address`: a node or a pod; never a service.
    #[must_use]
    pub fn owner(&self, address: IpAddr) -> Option<&Owner> {
        self.owners.get(&address)
    }

    /// All addresses with their owners, in no order.
    pub(crate) fn owners(&self) -> impl Iterator<Item = (IpAddr, &Owner)> {
        self.owners.iter().map(|(&address, owner)| (address, owner))
    }

    /// The zone of a node; empty where there is none.
    #[must_use]
    pub fn zone(&self, node: &str) -> &str {
        self.nodes.get(node).map_or("", |node| node.zone.as_str())
    }

    /// Why paths to and from this node are meant to be silent, if they are.
    #[must_use]
    pub fn node_absent(&self, node: &str) -> Option<String> {
        self.nodes.get(node).map_or_else(|| self.node_away(node), Node::unanswering)
    }

    /// Whether nobody can tell who answers there.
    #[must_use]
    pub fn is_contested(&self, address: IpAddr) -> bool {
        self.contested.contains_key(&address)
    }

    /// Where an endpoint is, by its slice or by whose its address is; none where that is no node of this cluster, as of
    /// another cluster's endpoints that a mesh brings in under that cluster's name.
    #[must_use]
    pub fn node_of<'a>(&'a self, backend: &'a Backend) -> Option<&'a str> {
        let owner = || self.owner(backend.address).map(|owner| owner.node.as_str());
        let of_ours = backend.pod.as_ref().is_some_and(|pod| self.pods.contains_key(pod));
        let known = |node: &&str| of_ours || self.nodes.contains_key(*node);
        backend.node.as_deref().filter(known).or_else(owner)
    }

    /// Why whatever runs on this node is meant to be silent, if it is: where no agent can run, pods can.
    #[must_use]
    pub fn node_away(&self, node: &str) -> Option<String> {
        match self.nodes.get(node) {
            None => Some(format!("node {node} is gone")),
            Some(node) => node.absent.clone(),
        }
    }

    /// An address of the cluster's first family; none where that is not known.
    #[must_use]
    pub fn first_family(&self) -> &[IpAddr] {
        let api = self.services.get("default/kubernetes").map(|service| &service.cluster_addresses);
        let nodes = self.nodes.values().map(|node| &node.addresses);
        let mut known = api.into_iter().chain(nodes).filter(|addresses| !addresses.is_empty());
        known.next().map_or(&[], |addresses| &addresses[..1])
    }

    /// How many objects are meant to be there and can't be probed by anybody.
    #[must_use]
    pub fn unjudged(&self) -> u64 {
        let contested: BTreeSet<&String> = self.contested.values().flatten().collect();
        (contested.len() + self.addressless().count()) as u64 + self.missing
    }

    /// Nodes that are meant to be probed and have no address for it, beside those whose addresses are contested.
    pub fn addressless(&self) -> impl Iterator<Item = &Node> {
        let reported: BTreeSet<&String> = self.contested.values().flatten().collect();
        self.nodes.values().filter(move |node| {
            node.addresses.is_empty()
                && !node.opted_out
                && node.unanswering().is_none()
                && !reported.contains(&format!("node {}", node.name))
        })
    }

    /// Nodes that are meant to be there and were not in an older roster: new ones, and those that are back.
    #[must_use]
    pub fn returned_since(&self, older: &Self) -> BTreeSet<String> {
        if older.nodes.is_empty() {
            // The first roster: everything is new, and probed anyway.
            return BTreeSet::new();
        }
        let present = self.nodes.values().filter(|node| node.unanswering().is_none());
        let returned = present.filter(|node| older.node_absent(&node.name).is_some());
        returned.map(|node| node.name.clone()).collect()
    }

    /// Why a pod is meant to be away, if it is: its own state or its node's.
    #[must_use]
    pub fn pod_absent(&self, pod: &str) -> Option<String> {
        match self.pods.get(pod) {
            None => Some(format!("pod {pod} is gone")),
            // Where no agent can run, pods can.
            Some(pod) => pod.absent.clone().or_else(|| self.node_away(&pod.node)),
        }
    }
}
