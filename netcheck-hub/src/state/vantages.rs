//! Pod vantages: where their responders are, and where one is missing.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::State;
use netcheck_analysis::cluster::roster::Pod;
use netcheck_analysis::plan::pod_source::PodSource;
use netcheck_analysis::words::names::listed;

impl State {
    /// Where the responders of pods listen.
    pub(super) fn pod_responders(&self) -> BTreeMap<IpAddr, u16> {
        let mut responders = BTreeMap::new();
        for known in self.agents.iter().filter_map(|agent| agent.vantage.known()) {
            // Also where it is meant to be and has no address just now: that nobody answers there is to be seen.
            let further = self.pod_behind(known).into_iter().flat_map(|(_, pod)| &pod.networks);
            let further = further.flat_map(|network| &network.addresses);
            responders.extend(
                known.addresses.iter().chain(further).map(|&address| (address, known.responder_port)),
            );
        }
        responders
    }

    /// The pod that a vantage is, as the roster has it.
    pub(crate) fn pod_behind(&self, known: &PodSource) -> Option<(&str, &Pod)> {
        let owners = known.addresses.iter().filter_map(|&address| self.roster.owner(address)?.pod.as_ref());
        let (id, pod) = owners.filter_map(|id| self.roster.pods.get_key_value(id)).next()?;
        Some((id, pod))
    }

    /// The address that a vantage sends from on a network; none: the cluster's own.
    pub(crate) fn vantage_address(
        &self,
        known: &PodSource,
        network: Option<&str>,
        v4: bool,
    ) -> Option<IpAddr> {
        let of_family =
            |addresses: &[IpAddr]| addresses.iter().copied().find(|address| address.is_ipv4() == v4);
        match (self.pod_behind(known), network) {
            (Some((_, pod)), Some(network)) => of_family(&pod.on(network)?.addresses),
            (Some((_, pod)), None) => of_family(&pod.addresses).or_else(|| known.address(v4)),
            (None, Some(_)) => None,
            (None, None) => known.address(v4),
        }
    }

    /// Vantages that lack an address on a secondary network that the cluster says they have: one line for each network.
    pub(crate) fn vantage_addresses_missing(&self) -> Vec<String> {
        let mut by_network: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for agent in self.agents.iter().filter(|agent| agent.live.is_some()) {
            // While it is away that is reported for all of it.
            let known = agent.vantage.known().filter(|_| agent.vantage.missing().is_none());
            let Some((known, (id, pod))) = known.and_then(|known| Some((known, self.pod_behind(known)?)))
            else {
                continue;
            };
            for network in &pod.networks {
                let missing = network.addresses.iter().filter(|address| !known.addresses.contains(address));
                let missing: Vec<String> = missing.map(ToString::to_string).collect();
                if !missing.is_empty() {
                    let what = format!("pod {id} on {} has no address {}", agent.name, missing.join(", "));
                    by_network.entry(&network.network).or_default().push(what);
                }
            }
        }
        let line = |(network, pods): (&str, Vec<String>)| {
            format!(
                "{} (any more) on network {network}, where it is meant to be: nothing is measured from there",
                listed(pods.into_iter())
            )
        };
        by_network.into_iter().map(line).collect()
    }

    /// Where nothing is measured from pods, though it is or should be: one line for all nodes of one reason.
    pub(crate) fn vantages_missing(&self) -> Vec<String> {
        let live = || self.each().map(|(_, agent)| agent).filter(|agent| agent.live.is_some());
        let any = live().any(|agent| agent.vantage.known().is_some());
        let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for agent in live().filter(|agent| agent.status.is_some()) {
            let none =
                agent.vantage.known().is_none().then_some("its agent was not configured to expect one");
            let why = agent.vantage.missing().or(none.filter(|_| any));
            if let Some(why) = why {
                by_reason.entry(why).or_default().push(&agent.name);
            }
        }
        let line = |(why, nodes): (&str, Vec<&str>)| {
            format!(
                "no pod vantage on {}: nothing is measured from pods there ({why})",
                listed(nodes.into_iter().map(ToOwned::to_owned))
            )
        };
        by_reason.into_iter().map(line).collect()
    }
}
