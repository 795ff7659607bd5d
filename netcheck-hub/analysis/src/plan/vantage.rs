//! What is probed from the pod network: everything that is probed from the node, but the vantage itself; of each
//! vantage more than of other pods, for netcheck's own responder is there; and what is on the same secondary networks.

use std::collections::BTreeMap;
use std::net::IpAddr;

use netcheck_common::domain::ProbeKind;
#[cfg(test)]
use netcheck_common::domain::{Family, Vantage};

#[cfg(test)]
use super::Wanted;
use super::{Catalog, Probe};
use crate::model::target::TargetKind;
#[cfg(test)]
use crate::plan::pod_source::PodSource;

impl Catalog {
    /// The same, with UDP and TCP to pods at these addresses, whose responders listen on these ports.
    #[must_use]
    pub fn with_responders(mut self, responders: &BTreeMap<IpAddr, u16>) -> Self {
        let pods = self.probes.iter().filter(|probe| probe.kind == ProbeKind::Icmp);
        let more: Vec<Probe> = pods
            .filter_map(|probe| {
                let port = *responders.get(&probe.address)?;
                (port > 0 && probe.target.kind == TargetKind::Pod).then(|| {
                    [ProbeKind::Udp, ProbeKind::Tcp].map(|kind| Probe { kind, port, ..probe.clone() })
                })
            })
            .flatten()
            .collect();
        if more.is_empty() {
            return self;
        }
        let mut ports = self.watched_ports.to_vec();
        ports.extend(more.iter().map(|probe| probe.port));
        ports.sort_unstable();
        ports.dedup();
        self.watched_ports = ports.into();
        self.probes.extend(more);
        self.sort();
        self
    }

    /// What a node probes, and what its vantage does: everything but itself, as far as it can. Paths of one target are
    /// next to each other.
    #[cfg(test)]
    pub(crate) fn of_node_and_pod<'a>(
        &'a self,
        node: &str,
        families: &[Family],
        pod: Option<&PodSource>,
    ) -> Vec<Wanted<'a>> {
        let mut wanted = self.of_node(node, families);
        let Some(pod) = pod else { return wanted };
        wanted.extend((0u32..).zip(&self.probes).filter_map(|(at, probe)| {
            let own = probe.target.addresses.iter().any(|address| pod.addresses.contains(address));
            let takes = !own
                && probe.sources.take(node)
                && pod.can(probe.kind, Family::of(probe.address))
                && self.reaches(pod, probe);
            takes.then_some(Wanted { vantage: Vantage::Pod, at, probe })
        }));
        // The catalog has them by target.
        wanted.sort_by_key(|path| (path.at, path.vantage));
        wanted
    }
}
