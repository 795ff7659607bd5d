//! Secondary networks of pods, as Multus notes them on each: annotation `k8s.v1.cni.cncf.io/network-status` (Network
//! Plumbing Working Group, multi-network specification §5). Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use netcheck_proto::text;
use serde::Deserialize;

use super::{Owner, Pod};

/// Where a pod's networks are noted, and where Multus before 3.8 noted them.
pub(super) const KEYS: [&str; 2] =
    ["k8s.v1.cni.cncf.io/network-status", "k8s.v1.cni.cncf.io/networks-status"];
/// Longest note that is read, bytes: an object's annotations have 256 KiB together.
const NOTE_MAX: usize = 64 << 10;
/// Secondary networks of one pod.
const NETWORKS_MAX: usize = 16;
/// Addresses of one pod on one network.
const ADDRESSES_MAX: usize = 8;
/// Longest name of a network and of an interface, characters: two of Kubernetes' names, and more than IFNAMSIZ.
const NAME_MAX: usize = 320;
/// See above.
const INTERFACE_MAX: usize = 32;

/// A pod on a secondary network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The network: `namespace/name` of its NetworkAttachmentDefinition.
    pub network: Arc<str>,
    /// The interface in the pod; of several the first.
    pub interface: String,
    /// The pod's addresses there.
    pub addresses: Vec<IpAddr>,
}

/// An entry of the note.
#[derive(Debug, Deserialize)]
struct Entry {
    #[serde(default)]
    name: String,
    /// Empty where a plugin made none.
    #[serde(default)]
    interface: Option<String>,
    #[serde(default)]
    ips: Option<Vec<String>>,
    #[serde(default)]
    default: bool,
}

/// What a pod's note says: its secondary networks, and what is wrong with the note. `own`: the pod's addresses on the
/// cluster's own network. What is wrong costs nothing but itself.
pub(super) fn attachments(note: &str, own: &[IpAddr]) -> (Vec<Attachment>, Option<String>) {
    if note.trim().is_empty() {
        return (Vec::new(), None);
    }
    if note.len() > NOTE_MAX {
        return (Vec::new(), Some(format!("it is longer than {} KiB", NOTE_MAX >> 10)));
    }
    // `null`: of no network.
    let entries: Vec<Entry> = match serde_json::from_str::<Option<Vec<Entry>>>(note) {
        Ok(entries) => entries.unwrap_or_default(),
        Err(error) => return (Vec::new(), Some(text::line(&format!("it can't be read: {error}")))),
    };
    let mut networks: Vec<Attachment> = Vec::new();
    let mut wrong = None;
    for entry in entries.into_iter().filter(|entry| !entry.default) {
        let mut addresses: Vec<IpAddr> = Vec::new();
        for ip in entry.ips.unwrap_or_default() {
            // Some plugins write the length of the prefix, too.
            match ip.split('/').next().unwrap_or_default().parse::<IpAddr>() {
                Ok(ip) if own.contains(&ip) || addresses.contains(&ip) || !of_network(ip) => {}
                Ok(ip) => addresses.push(ip),
                Err(_) => wrong = Some(text::line(&format!("`{ip}` is no address"))),
            }
        }
        // A device without an address, as for user-space drivers, can't be probed.
        if addresses.is_empty() {
            continue;
        }
        if !is_name(&entry.name) {
            wrong = Some("a network has no proper name".to_owned());
            continue;
        }
        let at = match networks.iter().position(|known| *known.network == *entry.name) {
            Some(at) => at,
            None if networks.len() == NETWORKS_MAX => {
                wrong = Some(format!("it names more than {NETWORKS_MAX} networks"));
                break;
            }
            None => {
                let interface = text::bounded(entry.interface.as_deref().unwrap_or_default(), INTERFACE_MAX);
                networks.push(Attachment { network: entry.name.into(), interface, addresses: Vec::new() });
                networks.len() - 1
            }
        };
        let known = &mut networks[at].addresses;
        known.extend(addresses);
        if known.len() > ADDRESSES_MAX {
            known.truncate(ADDRESSES_MAX);
            wrong = Some(format!("it names more than {ADDRESSES_MAX} addresses on one network"));
        }
    }
    (networks, wrong)
}

/// Not one that every link or host has for itself.
fn of_network(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            !(v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || v4.is_multicast())
        }
        IpAddr::V6(v6) => {
            !(v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast())
        }
    }
}

/// `namespace/name`, or what Multus calls a network without a namespace.
fn is_name(name: &str) -> bool {
    let mut parts = name.split('/');
    name.len() <= NAME_MAX && parts.clone().count() <= 2 && parts.all(text::is_name)
}

/// Gives the addresses on secondary networks to their pods. One that somebody has on the cluster's own network, or that
/// several pods have (networks that end at each node may have the same addresses everywhere), says nothing of who
/// answers there: it is taken from its pods, and noted.
pub(super) fn settle(
    pods: &mut BTreeMap<String, Pod>,
    owners: &mut HashMap<IpAddr, Owner>,
) -> BTreeSet<String> {
    let mut claims: BTreeMap<IpAddr, Vec<(String, bool)>> = BTreeMap::new();
    for (id, pod) in pods.iter() {
        for address in pod.networks.iter().flat_map(|network| &network.addresses) {
            claims.entry(*address).or_default().push((id.clone(), pod.absent.is_none()));
        }
    }
    let mut shared = BTreeSet::new();
    for (address, claims) in claims {
        // A pod that goes leaves its address to the one that comes.
        let any_there = claims.iter().any(|(_, there)| *there);
        let mut rightful = claims.iter().filter(|(_, there)| *there || !any_there).map(|(id, _)| id);
        let holder = rightful.next().filter(|_| rightful.next().is_none() && !owners.contains_key(&address));
        if holder.is_none() {
            shared.insert(address.to_string());
        }
        for (id, _) in claims.iter().filter(|(id, _)| Some(id) != holder) {
            for network in pods.get_mut(id).into_iter().flat_map(|pod| &mut pod.networks) {
                network.addresses.retain(|other| *other != address);
            }
        }
        if let Some((id, pod)) = holder.and_then(|id| pods.get_key_value(id)) {
            let network = pod.networks.iter().find(|network| network.addresses.contains(&address));
            let network = network.map(|network| Arc::clone(&network.network));
            owners.insert(address, Owner { node: pod.node.clone(), pod: Some(id.clone()), network });
        }
    }
    for pod in pods.values_mut() {
        pod.networks.retain(|network| !network.addresses.is_empty());
    }
    shared
}

#[cfg(test)]
mod tests;
