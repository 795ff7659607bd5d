//! What one node probes of a catalog: from itself, and from its pod vantage. Pure.

use std::net::IpAddr;
use std::sync::Arc;

use netcheck_common::domain::{Family, ProbeKind, Vantage};

use super::catalog::Attached;
use super::groups::Groups;
use super::{Catalog, Probe, Wanted};
use crate::model::target::TargetKind;
use crate::plan::pod_source::PodSource;

/// Kinds of probe in either family.
const CLASSES: usize = ProbeKind::ALL.len() * 2;

/// How many paths each class of probe is to a node that is neither their target nor one of few sources. By it, nodes are
/// alike: most of a cluster has one and the same.
pub(crate) type Profile = [u8; CLASSES];

/// What a probe is, as far as a profile goes.
pub(crate) const fn class(probe: &Probe) -> usize {
    probe.kind as usize * 2 + probe.address.is_ipv6() as usize
}

/// A node that probes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prober {
    /// Its name.
    pub node: Arc<str>,
    v4: bool,
    v6: bool,
    pod: Option<PodSource>,
    /// The networks of its pod vantage, where that is on secondary ones.
    attached: Option<Arc<Attached>>,
}

impl Prober {
    /// A node that has these addresses, and this vantage in the pod network.
    pub(crate) fn new(
        catalog: &Catalog,
        node: Arc<str>,
        addresses: &[IpAddr],
        pod: Option<PodSource>,
    ) -> Self {
        let attached = pod.as_ref().and_then(|pod| catalog.attached(pod));
        let (v4, v6) = (addresses.iter().any(IpAddr::is_ipv4), addresses.iter().any(IpAddr::is_ipv6));
        Self { node, v4, v6, pod, attached }
    }

    const fn has(&self, family: Family) -> bool {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }

    /// Whether it is meant to send this probe from there: all that it is a source of but to itself, in the families that
    /// it has; from its pod the same, as far as that can.
    #[must_use]
    pub fn takes(&self, vantage: Vantage, probe: &Probe) -> bool {
        let family = Family::of(probe.address);
        let target = &probe.target;
        let able = match (vantage, &self.pod) {
            (Vantage::Host, _) => {
                let own = target.kind == TargetKind::Node && *target.name == *self.node;
                // No node has a way into a secondary network of its pods.
                !own && target.network().is_none() && self.has(family)
            }
            (Vantage::Pod, None) => false,
            (Vantage::Pod, Some(pod)) => {
                let own = target.addresses.iter().any(|address| pod.addresses.contains(address));
                let reaches = match &self.attached {
                    Some(attached) => attached.reaches(target, family),
                    None => target.network().is_none(),
                };
                !own && reaches && pod.can(probe.kind, family)
            }
        };
        let wanted = |only: Option<Vantage>| only.is_none_or(|only| only == vantage);
        able && probe.sources.take(&self.node)
            && target.requested.as_ref().is_none_or(|by| wanted(by.vantage))
    }

    /// From where it sends this probe.
    pub(crate) fn vantages(&self, probe: &Probe) -> impl Iterator<Item = Vantage> + use<> {
        let takes =
            [Vantage::Host, Vantage::Pod].map(|vantage| self.takes(vantage, probe).then_some(vantage));
        takes.into_iter().flatten()
    }

    /// What it has in common with other nodes.
    pub(crate) fn profile(&self) -> Profile {
        let mut profile = [0; CLASSES];
        for kind in ProbeKind::ALL {
            for family in [Family::V4, Family::V6] {
                let reaches = self.attached.as_ref().is_none_or(|attached| attached.reaches_own(family));
                let pod = reaches && self.pod.as_ref().is_some_and(|pod| pod.can(kind, family));
                profile[kind as usize * 2 + usize::from(family == Family::V6)] =
                    u8::from(self.has(family)) + u8::from(pod);
            }
        }
        profile
    }

    /// The groups that it may probe and not every other node does.
    pub(crate) fn node_specific(&self, groups: &Groups) -> Vec<u32> {
        let secondary = self.attached.iter().flat_map(|attached| attached.networks());
        let secondary = secondary.flat_map(|network| groups.on(network));
        groups.node_specific(&self.node).iter().chain(secondary).copied().collect()
    }

    /// The groups of which it may probe less than others of its profile: its own.
    pub(crate) fn own(&self, catalog: &Catalog, groups: &Groups) -> Vec<u32> {
        let node = groups.find(&catalog.probes, &format!("node/{}", self.node));
        let pod = self.pod.iter().flat_map(|pod| &pod.addresses);
        let mut own: Vec<u32> = node.into_iter().chain(pod.flat_map(|&address| groups.at(address))).collect();
        own.sort_unstable();
        own.dedup();
        own
    }

    /// Its paths to the targets of these groups, in the order of the catalog.
    pub(crate) fn wanted<'a>(
        &self,
        catalog: &'a Catalog,
        groups: impl Iterator<Item = std::ops::Range<u32>>,
    ) -> Vec<Wanted<'a>> {
        let mut wanted = Vec::new();
        for at in groups.flatten() {
            let probe = &catalog.probes[at as usize];
            wanted.extend(self.vantages(probe).map(|vantage| Wanted { vantage, at, probe }));
        }
        wanted
    }
}
