//! Secondary networks of pods (Multus): which pods are targets there, and which vantages send. Pure.
//!
//! Nobody but a pod that is on a network can say anything of it: a node has no way in. So such targets are probed from
//! vantages that are on the same network alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use netcheck_common::domain::{Family, ProbeKind};

use super::{Build, Catalog};
use crate::cluster::roster::{Pod, Roster};
use crate::model::target::TargetKind;
#[cfg(test)]
use crate::plan::Probe;
use crate::plan::Target;
use crate::plan::pod_source::PodSource;

/// What stands between a pod and its network in a target's id; no name of Kubernetes has it.
const AT: char = '@';

impl Target {
    /// The secondary network on which this is a pod; none: it is on the cluster's own.
    #[must_use]
    pub fn network(&self) -> Option<&str> {
        if self.kind != TargetKind::Pod {
            return None;
        }
        self.id.split_once(AT).map(|(_, network)| network)
    }
}

/// Which networks a vantage's pod is on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::plan) struct Attached {
    /// `namespace/name`.
    pod: String,
    /// Families of its addresses on the cluster's own network.
    own: BTreeSet<Family>,
    /// The same on each secondary network.
    secondary: BTreeMap<Arc<str>, BTreeSet<Family>>,
}

impl Attached {
    fn of(id: &str, pod: &Pod) -> Self {
        let families = |addresses: &[IpAddr]| addresses.iter().map(|&address| Family::of(address)).collect();
        Self {
            pod: id.to_owned(),
            own: families(&pod.addresses),
            secondary: pod
                .networks
                .iter()
                .map(|network| (Arc::clone(&network.network), families(&network.addresses)))
                .collect(),
        }
    }

    /// Whether it reaches the cluster's own network in this family.
    pub(in crate::plan) fn reaches_own(&self, family: Family) -> bool {
        self.secondary.is_empty() || self.own.contains(&family)
    }

    /// The secondary networks.
    pub(in crate::plan) fn networks(&self) -> impl Iterator<Item = &str> {
        self.secondary.keys().map(|network| &**network)
    }

    /// Whether a vantage in this pod can reach such a target at such an address at all.
    pub(in crate::plan) fn reaches(&self, target: &Target, family: Family) -> bool {
        match target.network() {
            // What the pod has addresses for on other networks says nothing of this one.
            None => self.reaches_own(family),
            Some(network) => {
                let itself = target.id.strip_prefix("pod/").and_then(|id| id.split_once(AT));
                self.secondary.get(network).is_some_and(|families| families.contains(&family))
                    && itself.is_some_and(|(pod, _)| pod != self.pod)
            }
        }
    }
}

/// Vantages' pods that are on secondary networks, by each of their addresses.
pub(in crate::plan) type Vantages = Arc<HashMap<IpAddr, Arc<Attached>>>;

/// The vantages of a roster.
pub(super) fn vantages(roster: &Roster) -> Vantages {
    let mut all = HashMap::new();
    for (id, pod) in roster.pods.iter().filter(|(_, pod)| pod.vantage && !pod.networks.is_empty()) {
        let attached = Arc::new(Attached::of(id, pod));
        let secondary = pod.networks.iter().flat_map(|network| &network.addresses);
        for &address in pod.addresses.iter().chain(secondary) {
            all.insert(address, Arc::clone(&attached));
        }
    }
    Arc::new(all)
}

impl Catalog {
    /// Which networks a vantage is on, where it is on secondary ones.
    pub(in crate::plan) fn attached(&self, pod: &PodSource) -> Option<Arc<Attached>> {
        pod.addresses.iter().find_map(|address| self.vantages.get(address)).map(Arc::clone)
    }

    /// Whether a probe can be sent from a vantage, as far as networks go.
    #[cfg(test)]
    pub(in crate::plan) fn reaches(&self, pod: &PodSource, probe: &Probe) -> bool {
        match self.attached(pod) {
            Some(attached) => attached.reaches(&probe.target, Family::of(probe.address)),
            None => probe.target.network().is_none(),
        }
    }
}

impl Build<'_> {
    /// The secondary networks that any vantage is on.
    pub(super) fn attached(roster: &Roster) -> BTreeSet<Arc<str>> {
        let vantages = roster.pods.values().filter(|pod| pod.vantage);
        vantages.flat_map(|pod| &pod.networks).map(|network| Arc::clone(&network.network)).collect()
    }

    /// A pod that is probed, `own` as a target on the cluster's own network: the same on its other ones.
    pub(super) fn networks(&mut self, id: &str, pod: &Pod, own: &Target, attached: &BTreeSet<Arc<str>>) {
        if let Some(why) = &pod.networks_wrong {
            self.notes.network_wrong(id, why);
        }
        for network in &pod.networks {
            if !attached.contains(&network.network) {
                self.notes.unattached(id, &network.network);
                continue;
            }
            let target = Arc::new(Target {
                id: format!("{}{AT}{}", own.id, network.network).into(),
                addresses: network.addresses.clone(),
                ..own.clone()
            });
            for &address in &network.addresses {
                self.add(&target, ProbeKind::Icmp, address, 0);
            }
        }
    }
}

#[cfg(test)]
mod tests;
