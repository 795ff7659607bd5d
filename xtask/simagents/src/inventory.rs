//! Inventories of clusters that are not there, in the form that `netcheck-hub --inventory file:PATH` reads.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

/// Zones that nodes are spread over.
const ZONES: usize = 3;

/// The name of a node by its number.
#[must_use]
pub fn node_name(number: usize) -> String {
    format!("node-{number:04}")
}

fn address(first: Ipv4Addr, number: usize) -> String {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    Ipv4Addr::from(u32::from(first).wrapping_add(number)).to_string()
}

/// A node that is Ready.
#[must_use]
pub fn node(number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": node_name(number),
            "labels": {"topology.kubernetes.io/zone": format!("zone-{}", number % ZONES)},
        },
        "status": {
            "addresses": [{"type": "InternalIP", "address": address(Ipv4Addr::new(10, 1, 0, 1), number)}],
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
        },
    })
}

/// A pod that runs on the node of this number. Pods of different numbers have different names and addresses.
#[must_use]
pub fn pod(number: usize, on: usize) -> Value {
    let ip = address(Ipv4Addr::new(10, 128, 0, 1), number);
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("web-{number:06}"), "namespace": "default"},
        "spec": {"nodeName": node_name(on), "containers": [{"name": "web"}]},
        "status": {
            "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    })
}

/// A v1 List.
#[must_use]
pub fn list(items: &[Value]) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

/// A v1 List of so many nodes.
#[must_use]
pub fn nodes(count: usize) -> Value {
    list(&(0..count).map(node).collect::<Vec<_>>())
}

/// The names of the nodes of a v1 List.
#[must_use]
pub fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().into_iter().flatten();
    let nodes = items.filter(|item| item["kind"] == "Node");
    nodes.filter_map(|node| node["metadata"]["name"].as_str()).map(ToOwned::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_inventory_has_no_name_and_no_address_twice() {
        let list = nodes(1_000);
        let distinct = |mut values: Vec<String>| {
            values.sort_unstable();
            values.dedup();
            values.len()
        };
        assert_eq!(distinct(names(&list)), 1_000);
        let address = |item: &Value| item["status"]["addresses"][0]["address"].to_string();
        assert_eq!(distinct(list["items"].as_array().unwrap().iter().map(address).collect()), 1_000);
        assert_eq!(pod(256, 1)["status"]["podIP"], "10.128.1.1");
    }
}
