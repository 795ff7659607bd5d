//! Whose each address is, as the hub says: the whole table, or what changed of it. Pure.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use netcheck_common::domain::Family;
use netcheck_proto::{convert, v1};

use super::{PathPlan, Plan};
use crate::model::observation::KnownAddress;

/// Which network, and which family of it.
pub(crate) type NetworkKey = (Arc<str>, Family);

/// Where each starts: the address of the vantage's pod.
pub(crate) type WantedNetworks = BTreeMap<NetworkKey, IpAddr>;

impl Plan {
    /// The secondary networks that paths stay in, and the first address that the vantage's pod, which has those of `own`,
    /// has on each. Networks without one are left out: there is nothing to probe them from.
    pub(crate) fn networks(&self, own: &[IpAddr]) -> WantedNetworks {
        let of_path =
            |plan: &PathPlan| Some((Arc::clone(plan.network.as_ref()?), Family::of(plan.target.ip())));
        let used: HashSet<NetworkKey> = self.paths.values().filter_map(of_path).collect();
        if used.is_empty() {
            return WantedNetworks::new();
        }
        let mut wanted = WantedNetworks::new();
        for known in self.addresses.iter().filter(|known| known.local && own.contains(&known.address)) {
            let Some(network) = &known.network else { continue };
            let key = (Arc::clone(network), Family::of(known.address));
            if used.contains(&key) {
                wanted.entry(key).or_insert(known.address);
            }
        }
        wanted
    }

    /// Entries without a readable address are passed over: they only help to name things.
    pub(super) fn set_addresses(&mut self, table: &v1::AddressTable) {
        let known = table.entries.iter().filter_map(|entry| {
            Some(KnownAddress {
                address: convert::address("address", &entry.address).ok()?,
                pod: (!entry.pod.is_empty()).then(|| Arc::from(entry.pod.as_str())),
                local: entry.local,
                network: (!entry.network.is_empty()).then(|| Arc::from(entry.network.as_str())),
            })
        });
        let known: Vec<KnownAddress> = known.collect();
        if table.change {
            let gone = table.gone.iter().filter_map(|address| convert::address("gone", address).ok());
            let stale: HashSet<IpAddr> = known.iter().map(|known| known.address).chain(gone).collect();
            self.addresses.retain(|held| !stale.contains(&held.address));
            self.addresses.extend(known);
            // In the order in which the hub sends a whole table.
            self.addresses.sort_unstable_by_key(|known| known.address);
        } else {
            self.addresses = known;
        }
        self.watched_ports = table
            .watched_ports
            .iter()
            .filter_map(|&port| convert::port("watched_ports", port).ok())
            .collect();
    }
}
