//! Addresses of the cluster's nodes, as the hub's plans list them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{PoisonError, RwLock};

use netcheck_proto::{convert, v1};

/// The addresses of nodes themselves: not those of their pods.
#[derive(Debug, Default)]
pub(crate) struct NodeAddresses(RwLock<BTreeSet<IpAddr>>);

impl NodeAddresses {
    /// Takes the table of a plan, or what changed of it.
    pub(crate) fn learn(&self, table: &v1::AddressTable) {
        let address = |bytes: &[u8]| convert::address("address", bytes).ok();
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if !table.change {
            known.clear();
        }
        for gone in table.gone.iter().filter_map(|bytes| address(bytes)) {
            known.remove(&gone);
        }
        for entry in &table.entries {
            let Some(address) = address(&entry.address) else { continue };
            if entry.pod.is_empty() && entry.network.is_empty() && !entry.node.is_empty() {
                known.insert(address);
            } else {
                known.remove(&address);
            }
        }
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(&address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u8, pod: &str) -> v1::AddressEntry {
        v1::AddressEntry {
            address: vec![10, 0, 0, number],
            node: "n1".to_owned(),
            pod: pod.to_owned(),
            ..Default::default()
        }
    }

    fn held(nodes: &NodeAddresses) -> Vec<u8> {
        (0..10).filter(|&number| nodes.contains([10, 0, 0, number].into())).collect()
    }

    #[test]
    fn tables_and_their_changes() {
        let nodes = NodeAddresses::default();
        assert!(held(&nodes).is_empty());
        let table = |entries, change, gone| v1::AddressTable { entries, change, gone, ..Default::default() };
        nodes.learn(&table(vec![entry(1, ""), entry(2, "a/p"), entry(3, "")], false, vec![]));
        assert_eq!(held(&nodes), [1, 3]);
        nodes.learn(&table(vec![entry(2, ""), entry(3, "a/q")], true, vec![vec![10, 0, 0, 1], vec![1]]));
        assert_eq!(held(&nodes), [2], "an address may come to a pod, and leave one");
        nodes.learn(&table(vec![entry(7, "")], false, vec![]));
        assert_eq!(held(&nodes), [7]);
        // A service's endpoint that no node has.
        nodes.learn(&table(vec![v1::AddressEntry { node: String::new(), ..entry(8, "") }], true, vec![]));
        assert_eq!(held(&nodes), [7]);
    }
}
