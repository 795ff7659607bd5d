//! What the hub must say of a healthy cluster. Pure.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::cluster::Cell;

/// How many missing things are named.
const NAMED: usize = 8;

fn node<'a>(name: &str, nodes: &'a Value) -> Option<&'a Value> {
    nodes["nodes"].as_array()?.iter().find(|node| node["name"] == name)
}

fn those(nodes: &[String], which: impl Fn(&str) -> bool) -> Vec<&str> {
    nodes.iter().map(String::as_str).filter(|name| which(name)).collect()
}

/// Nodes that no agent is connected of.
pub(super) fn without_agent<'a>(nodes: &'a [String], answer: &Value) -> Vec<&'a str> {
    those(nodes, |name| node(name, answer).is_none_or(|node| node["agent"]["connected"] != true))
}

/// Nodes whose agent has no kernel hooks.
pub(super) fn without_hooks<'a>(nodes: &'a [String], answer: &Value) -> Vec<&'a str> {
    let attached = |name: &str| {
        node(name, answer).is_some_and(|node| node["agent"]["status"]["ebpf"] == "EBPF_STATE_ATTACHED")
    };
    those(nodes, |name| !attached(name))
}

/// Whether a node is shown as cordoned.
pub(super) fn is_cordoned(name: &str, answer: &Value) -> bool {
    node(name, answer).is_some_and(|node| node["cordoned"] == true)
}

fn named(mut missing: Vec<String>) -> String {
    let more = missing.len().saturating_sub(NAMED);
    missing.truncate(NAMED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{}{more}", missing.join(", "))
}

/// Every ordered pair of nodes has paths of all kinds, and all of them are reachable. What there is, in a few words.
pub(super) fn pairs(nodes: &[String], cells: &[Cell]) -> Result<String> {
    let mut by_pair: BTreeMap<(&str, &str), Vec<&Cell>> = BTreeMap::new();
    for cell in cells {
        if let Some(target) = cell.target.strip_prefix("node/") {
            by_pair.entry((&cell.source, target)).or_default().push(cell);
        }
    }
    let mut missing = Vec::new();
    let mut kinds = BTreeSet::new();
    for from in nodes {
        for to in nodes.iter().filter(|to| *to != from) {
            let paths = by_pair.get(&(from.as_str(), to.as_str())).map_or(&[][..], Vec::as_slice);
            for wanted in ["icmp", "udp", "tcp"] {
                let of_kind = || paths.iter().filter(|cell| cell.kind == wanted);
                if of_kind().next().is_none() {
                    missing.push(format!("{from} → {to} ({wanted}: not probed)"));
                }
                for cell in of_kind() {
                    kinds.insert((cell.kind.as_str(), cell.family.as_str()));
                    if cell.verdict != "reachable" {
                        missing.push(format!("{from} → {to} ({wanted} {}: {})", cell.family, cell.verdict));
                    }
                }
            }
        }
    }
    ensure!(missing.is_empty(), "{}", named(missing));
    let kinds: Vec<String> = kinds.into_iter().map(|(kind, family)| format!("{kind} {family}")).collect();
    Ok(format!("{} pairs: {}", nodes.len() * (nodes.len() - 1), kinds.join(", ")))
}

/// The API server's service and the cluster's DNS are reachable from every node.
pub(super) fn services(nodes: &[String], cells: &[Cell]) -> Result<String> {
    let mut found = BTreeSet::new();
    let mut missing = Vec::new();
    for wanted in ["service/default/kubernetes:", "dns/"] {
        for from in nodes {
            let mut paths = cells
                .iter()
                .filter(|cell| cell.source == *from && cell.target.starts_with(wanted))
                .peekable();
            if paths.peek().is_none() {
                missing.push(format!("{from} → {wanted}… (not probed)"));
            }
            for cell in paths {
                found.insert(cell.target.as_str());
                if cell.verdict != "reachable" {
                    missing.push(format!(
                        "{from} → {} ({} {}: {})",
                        cell.target, cell.kind, cell.family, cell.verdict
                    ));
                }
            }
        }
    }
    ensure!(missing.is_empty(), "{}", named(missing));
    Ok(found.into_iter().collect::<Vec<_>>().join(", "))
}

/// From every node's pod network there is a reachable path to a pod, and none that is not.
pub(super) fn pods(nodes: &[String], cells: &[Cell]) -> Result<String> {
    let to_pods = || cells.iter().filter(|cell| cell.vantage == "pod" && cell.target.starts_with("pod/"));
    let mut missing: Vec<String> = nodes
        .iter()
        .filter(|from| !to_pods().any(|cell| cell.source == **from))
        .map(|from| format!("{from}: no path from its pod network"))
        .collect();
    missing.extend(to_pods().filter(|cell| cell.verdict != "reachable").map(|cell| {
        format!("{} → {} ({} {}: {})", cell.source, cell.target, cell.kind, cell.family, cell.verdict)
    }));
    ensure!(missing.is_empty(), "{}", named(missing));
    Ok(format!("{} paths", to_pods().count()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cells(paths: &[(&str, &str, &str, &str)]) -> Vec<Cell> {
        let cell = |&(source, target, kind, verdict): &(&str, &str, &str, &str)| {
            json!({
                "path": {"sourceNode": source, "target": {"id": target}, "kind": format!("PROBE_KIND_{kind}"),
                         "family": "FAMILY_IPV4"},
                "verdict": format!("VERDICT_{verdict}"),
            })
        };
        let cells: Vec<Value> = paths.iter().map(cell).collect();
        Cell::read_all(&json!({"cells": cells})).unwrap()
    }

    fn names() -> Vec<String> {
        ["a", "b"].map(str::to_owned).to_vec()
    }

    fn mesh(verdict: &'static str) -> Vec<(&'static str, &'static str, &'static str, &'static str)> {
        let kinds = ["ICMP", "UDP", "TCP"];
        [("a", "node/b"), ("b", "node/a")]
            .into_iter()
            .flat_map(|(from, to)| kinds.map(|kind| (from, to, kind, "REACHABLE")))
            .chain([("a", "node/b", "TCP", verdict)])
            .collect()
    }

    #[test]
    fn pairs_are_whole_or_said_not_to_be() {
        assert_eq!(
            pairs(&names(), &cells(&mesh("REACHABLE"))).unwrap(),
            "2 pairs: icmp ipv4, tcp ipv4, udp ipv4"
        );
        for verdict in ["UNREACHABLE", "DEGRADED", "NO_DATA", "EXPECTED_ABSENT"] {
            let error = pairs(&names(), &cells(&mesh(verdict))).unwrap_err().to_string();
            assert_eq!(error, format!("a → b (tcp ipv4: {})", verdict.to_lowercase()));
        }
        let error = pairs(&names(), &cells(&mesh("REACHABLE")[1..])).unwrap_err().to_string();
        assert_eq!(error, "a → b (icmp: not probed)");
        assert!(pairs(&names(), &[]).unwrap_err().to_string().contains("b → a (tcp: not probed)"));
    }

    #[test]
    fn services_are_wanted_of_every_node() {
        let all = [
            ("a", "service/default/kubernetes:443", "TCP", "REACHABLE"),
            ("b", "service/default/kubernetes:443", "TCP", "REACHABLE"),
            ("a", "dns/kube-system/kube-dns", "DNS", "REACHABLE"),
            ("b", "dns/kube-system/kube-dns", "DNS", "REACHABLE"),
        ];
        let listed = services(&names(), &cells(&all)).unwrap();
        assert_eq!(listed, "dns/kube-system/kube-dns, service/default/kubernetes:443");
        for left_out in 0..all.len() {
            let mut some = all.to_vec();
            some.remove(left_out);
            assert!(services(&names(), &cells(&some)).is_err());
            some.insert(left_out, (all[left_out].0, all[left_out].1, all[left_out].2, "UNREACHABLE"));
            assert!(services(&names(), &cells(&some)).unwrap_err().to_string().contains("unreachable"));
        }
    }

    #[test]
    fn pods_are_reached_from_every_node() {
        let from_pods = |paths: &[_]| {
            let cells = cells(paths).into_iter();
            cells.map(|cell| Cell { vantage: "pod".to_owned(), ..cell }).collect::<Vec<_>>()
        };
        let some = [("a", "pod/x/p", "ICMP", "REACHABLE"), ("b", "pod/x/p", "UDP", "REACHABLE")];
        assert_eq!(pods(&names(), &from_pods(&some)).unwrap(), "2 paths");
        assert!(pods(&names(), &cells(&some)).is_err(), "that was the nodes themselves");
        assert!(pods(&names(), &from_pods(&some[..1])).is_err());
        assert!(pods(&names(), &from_pods(&[some[0], ("b", "pod/x/p", "UDP", "DEGRADED")])).is_err());
    }

    #[test]
    fn nodes() {
        let answer = json!({"nodes": [
            {"name": "a", "cordoned": true,
             "agent": {"connected": true, "status": {"ebpf": "EBPF_STATE_ATTACHED"}}},
            {"name": "b", "agent": {"connected": false, "status": {"ebpf": "EBPF_STATE_PARTIAL"}}},
        ]});
        assert_eq!(without_agent(&names(), &answer), ["b"]);
        assert_eq!(without_hooks(&names(), &answer), ["b"]);
        assert!(is_cordoned("a", &answer) && !is_cordoned("b", &answer));
        assert_eq!(without_agent(&names(), &json!({})), ["a", "b"]);
    }
}
