//! Whose each address is. Pure.
//!
//! An address belongs to one node, pod or service, or to nobody: where several say that it is theirs, an answer from
//! there says nothing of who gave it. Then it is taken from all of them, so that nobody probes it, and noted. A pod that is
//! on its way out owns nothing any more, and leaves its address to the one that comes. Others leave it to anybody but their
//! like: a node of which nobody has heard for a while, and pods on it or on one that is not there (any more), whose objects
//! stay until they are collected while their addresses are given to others; a node that is but a virtual kubelet, whose
//! address is that of the pod that it runs in, or of the only pod that it has.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use super::{Node, Owner, Pod, Roster, Service};

/// Addresses that several objects have on the cluster's own network, and what these are: `node n1`, `pod default/web-1`.
pub type Contested = BTreeMap<IpAddr, BTreeSet<String>>;

#[derive(Clone, Copy)]
enum Holder<'a> {
    Node(&'a Node),
    Pod(&'a str, &'a Pod),
    Service(&'a str),
}

impl Holder<'_> {
    fn name(self) -> String {
        match self {
            Self::Node(node) => format!("node {}", node.name),
            Self::Pod(id, _) => format!("pod {id}"),
            Self::Service(id) => format!("service {id}"),
        }
    }

    fn owner(self) -> Option<Owner> {
        let (node, pod) = match self {
            Self::Node(node) => (node.name.clone(), None),
            Self::Pod(id, pod) => (pod.node.clone(), Some(id.to_owned())),
            Self::Service(_) => return None,
        };
        Some(Owner { node, pod, network: None })
    }

    fn yields(self, nodes: &BTreeMap<String, Node>) -> bool {
        match self {
            Self::Node(node) => node.lost || node.no_host,
            Self::Pod(_, pod) => nodes.get(&pod.node).is_none_or(|node| node.lost),
            Self::Service(_) => false,
        }
    }
}

/// Who has to give up an address.
enum Loser {
    Node(String),
    Pod(String),
}

/// Whoever says that an address is its own; those that leave it to others come last.
fn holders<'a>(
    nodes: &'a BTreeMap<String, Node>,
    pods: &'a BTreeMap<String, Pod>,
    services: &'a BTreeMap<String, Service>,
) -> impl Iterator<Item = (IpAddr, Holder<'a>)> {
    let of_nodes = nodes
        .values()
        .flat_map(|node| node.addresses.iter().map(move |&address| (address, Holder::Node(node))));
    let of_pods = pods.iter().filter(|(_, pod)| !pod.host_network && !pod.terminating);
    let of_pods = of_pods
        .flat_map(|(id, pod)| pod.addresses.iter().map(move |&address| (address, Holder::Pod(id, pod))));
    // A service at the very address of a backend leads nowhere else: whoever answers there is the backend.
    let elsewhere = |service: &'a Service| {
        let leads_to = |at: &IpAddr| service.backends.iter().any(|backend| backend.address == *at);
        service.cluster_addresses.iter().copied().filter(move |at| !leads_to(at))
    };
    let of_services = services
        .iter()
        .flat_map(move |(id, service)| elsewhere(service).map(move |address| (address, Holder::Service(id))));
    let (last, first): (Vec<_>, Vec<_>) =
        of_nodes.chain(of_pods).chain(of_services).partition(|(_, holder)| holder.yields(nodes));
    first.into_iter().chain(last)
}

/// Gives the addresses on the cluster's own network to whom they belong.
pub(super) fn settle(roster: &mut Roster) {
    // A pod that has its own node's address is in its node's network, whatever else is left out of it.
    for pod in roster.pods.values_mut() {
        let node = roster.nodes.get(&pod.node);
        // Of a node that is none, the address is the pod's.
        let node = node.filter(|node| !node.no_host);
        pod.host_network |=
            node.is_some_and(|node| pod.addresses.iter().any(|at| node.addresses.contains(at)));
    }
    let mut held: HashMap<IpAddr, Holder<'_>> = HashMap::new();
    let mut contested = Contested::new();
    // Whoever probed these would meet the one that has the address now, or another that had it.
    let mut taken: Vec<(Loser, IpAddr)> = Vec::new();
    for (address, holder) in holders(&roster.nodes, &roster.pods, &roster.services) {
        match held.entry(address) {
            Entry::Vacant(free) => {
                free.insert(holder);
            }
            Entry::Occupied(first) if holder.yields(&roster.nodes) && !first.get().yields(&roster.nodes) => {
                match holder {
                    Holder::Node(node) => taken.push((Loser::Node(node.name.clone()), address)),
                    Holder::Pod(id, _) => taken.push((Loser::Pod(id.to_owned()), address)),
                    Holder::Service(_) => {}
                }
            }
            Entry::Occupied(first) => {
                let names = contested.entry(address).or_default();
                names.extend([first.get().name(), holder.name()]);
            }
        }
    }
    let clear = held.iter().filter(|(address, _)| !contested.contains_key(*address));
    let owners: HashMap<IpAddr, Owner> =
        clear.filter_map(|(&address, holder)| Some((address, holder.owner()?))).collect();
    let going = || roster.pods.iter().filter(|(_, pod)| pod.terminating && !pod.host_network);
    let mut had: HashMap<IpAddr, usize> = HashMap::new();
    for address in going().flat_map(|(_, pod)| &pod.addresses) {
        *had.entry(*address).or_default() += 1;
    }
    let of_going =
        going().flat_map(|(id, pod)| pod.addresses.iter().map(move |&at| (Loser::Pod(id.clone()), at)));
    taken.extend(
        of_going.filter(|(_, address)| {
            held.contains_key(address) || had.get(address).is_some_and(|&pods| pods > 1)
        }),
    );
    drop(held);
    for (loser, address) in taken {
        let addresses = match &loser {
            Loser::Node(name) => roster.nodes.get_mut(name).map(|node| &mut node.addresses),
            Loser::Pod(id) => roster.pods.get_mut(id).map(|pod| &mut pod.addresses),
        };
        if let Some(addresses) = addresses {
            addresses.retain(|other| *other != address);
        }
    }
    roster.owners = owners;
    if !contested.is_empty() {
        take_away(roster, &contested);
    }
    roster.contested = contested;
}

fn take_away(roster: &mut Roster, contested: &Contested) {
    let free = |address: &IpAddr| !contested.contains_key(address);
    roster.nodes.values_mut().for_each(|node| node.addresses.retain(free));
    let pods = roster.pods.values_mut().filter(|pod| !pod.host_network);
    pods.for_each(|pod| pod.addresses.retain(free));
    for service in roster.services.values_mut() {
        service.cluster_addresses.retain(free);
        // That somebody answers there is known, but not who.
        let backends = service.backends.iter_mut().filter(|backend| !free(&backend.address));
        backends.for_each(|backend| backend.pod = None);
    }
}

/// Where endpoints name addresses that no pod has (any more): that is where the packets go.
pub(super) fn add_endpoints(roster: &mut Roster) {
    for backend in roster.services.values().flat_map(|service| &service.backends) {
        let leaving =
            backend.pod.as_ref().and_then(|pod| roster.pods.get(pod)).is_some_and(|pod| pod.terminating);
        // Of another cluster's endpoints nobody here is the owner.
        if let Some(node) = backend.node.as_ref().filter(|node| !leaving && roster.nodes.contains_key(*node))
            && !roster.contested.contains_key(&backend.address)
        {
            let owner = || Owner { node: node.clone(), pod: backend.pod.clone(), network: None };
            roster.owners.entry(backend.address).or_insert_with(owner);
        }
    }
}

#[cfg(test)]
mod tests;
