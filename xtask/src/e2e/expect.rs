//! What the hub must say of a healthy cluster. Pure.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
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

/// A check was passed, and its round was complete. How much that was, in a few words.
pub(super) fn passed(document: &Value) -> Result<String> {
    let total = document["paths"]["total"].as_u64().unwrap_or_default();
    let fine = document["passed"] == true && document["round"]["complete"] == true && total > 0;
    ensure!(fine, "not passed: {document}");
    Ok(format!("{} of {total} paths reachable", document["paths"]["reachable"]))
}

/// A check failed at pods, and names a cause. Which.
pub(super) fn denied(document: &Value) -> Result<String> {
    let failed = failed(document);
    let pods = failed.iter().filter(|path| path.target.starts_with("pod/")).count();
    ensure!(pods > 0, "no path to a pod failed: {document}");
    let causes = document["causes"].as_array().into_iter().flatten();
    let mut named =
        causes.filter(|cause| cause["fails"] == true).filter_map(|cause| cause["headline"].as_str());
    let named = named.find(|headline| !headline.is_empty());
    let named = named.with_context(|| format!("no cause is named: {document}"))?;
    Ok(format!("{} paths failed: {named}", failed.len()))
}

/// A path of a check, as its result tells it from others.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Failed {
    source: String,
    target: String,
    /// Vantage, kind, family, address, port.
    way: String,
}

fn failed(document: &Value) -> BTreeSet<Failed> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let path = |path: &Value| {
        let way = ["vantage", "kind", "family", "address", "port"].map(|field| path[field].to_string());
        Failed { source: text(&path["source"]), target: text(&path["target"]), way: way.join(" ") }
    };
    document["failed"].as_array().into_iter().flatten().map(path).collect()
}

/// A resumption probed what failed before, and nothing else. How much that was.
pub(super) fn resumed(before: &Value, after: &Value) -> Result<String> {
    let (failed_before, failed_after) = (failed(before), failed(after));
    let (probed, asked) = (&after["paths"]["total"], &after["selection"]["resumed"]);
    let whole = failed_before.len() as u64;
    ensure!(
        asked.as_u64() == Some(whole) && probed.as_u64() == Some(whole),
        "{whole} paths had failed, {asked} were resumed, {probed} probed"
    );
    let others: Vec<&Failed> = failed_after.difference(&failed_before).collect();
    ensure!(others.is_empty(), "these had not failed: {others:?}");
    Ok(format!("{} of {whole} paths still fail", failed_after.len()))
}

/// A scheduled check's only round ended well. What it came to.
pub(super) fn finished(object: &Value) -> Result<String> {
    let status = &object["status"];
    let done = status["finish"] == true && status["lastRoundStatus"] == "Succeeded";
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let hold = conditions.filter(|condition| condition["status"] == "True").count();
    let (round, of) = (&status["history"][0], object["metadata"]["name"].as_str().unwrap_or_default());
    let paths = round["paths"].as_u64().unwrap_or_default();
    ensure!(done && hold == 2 && paths > 0 && round["failed"] == 0, "status of {of}: {status}");
    Ok(format!("{paths} paths to {} targets", round["targets"]))
}

/// Events for these reasons are there.
pub(super) fn events(list: &Value, reasons: &[&str]) -> Result<()> {
    let there: Vec<&str> =
        list["items"].as_array().into_iter().flatten().filter_map(|event| event["reason"].as_str()).collect();
    let missing: Vec<&&str> = reasons.iter().filter(|reason| !there.contains(reason)).collect();
    ensure!(missing.is_empty(), "no Event {missing:?} among {there:?}");
    Ok(())
}

/// The hub's report of a scheduled check has figures of each target.
pub(super) fn reported(name: &str, answer: &Value) -> Result<String> {
    let check = &answer["checks"][0];
    let round = &check["rounds"][0];
    let targets = round["targets"].as_array().map_or(&[][..], Vec::as_slice);
    let answered = |target: &Value| {
        let count = |field: &str| target[field].as_str().and_then(|count| count.parse::<u64>().ok());
        count("answered") > Some(0) && count("answered") == count("sent")
    };
    let fine = check["name"] == name && round["status"] == "ROUND_STATUS_SUCCEEDED" && !targets.is_empty();
    ensure!(fine && targets.iter().all(answered), "report of {name}: {answer}");
    Ok(round["headline"].as_str().unwrap_or_default().to_owned())
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

    fn path(target: &str, kind: &str) -> Value {
        json!({"source": "a", "vantage": "pod", "target": target, "kind": kind, "family": "ipv4",
            "address": "10.0.0.1", "verdict": "unreachable"})
    }

    #[test]
    fn a_check_names_what_failed_and_resumes_that_alone() {
        let cause = json!({"headline": "dropped on b", "fails": true});
        let before = json!({"failed": [path("pod/x/p", "udp"), path("node/b", "udp")], "causes": [cause]});
        assert_eq!(denied(&before).unwrap(), "2 paths failed: dropped on b");
        assert!(denied(&json!({"failed": [path("node/b", "udp")], "causes": [cause]})).is_err());
        let excused = json!({"headline": "dropped on b", "fails": false});
        assert!(denied(&json!({"failed": [path("pod/x/p", "udp")], "causes": [excused]})).is_err());

        let after = |resumed: u64, total: u64, failed: &[Value]| json!({"selection": {"resumed": resumed}, "paths": {"total": total}, "failed": failed});
        assert_eq!(resumed(&before, &after(2, 2, &[])).unwrap(), "0 of 2 paths still fail");
        assert_eq!(
            resumed(&before, &after(2, 2, &[path("node/b", "udp")])).unwrap(),
            "1 of 2 paths still fail"
        );
        assert!(resumed(&before, &after(2, 3, &[])).is_err(), "one more was probed");
        assert!(resumed(&before, &after(1, 1, &[])).is_err(), "one was left out");
        assert!(resumed(&before, &after(2, 2, &[path("node/b", "tcp")])).is_err(), "another one failed");
        let result = |passed: bool, complete: bool, total: u64| json!({"passed": passed, "round": {"complete": complete}, "paths": {"total": total, "reachable": total}});
        assert_eq!(passed(&result(true, true, 3)).unwrap(), "3 of 3 paths reachable");
        for bad in [result(false, true, 3), result(true, false, 3), result(true, true, 0)] {
            assert!(passed(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_scheduled_check_says_what_it_came_to_in_three_places() {
        let object = |last: &str, failed: u64, succeeding: &str| {
            let conditions =
                json!([{"type": "Accepted", "status": "True"}, {"type": "Succeeding", "status": succeeding}]);
            json!({"metadata": {"name": "c"}, "status": {"finish": true, "lastRoundStatus": last,
                "conditions": conditions, "history": [{"paths": 6, "failed": failed, "targets": 2}]}})
        };
        assert_eq!(finished(&object("Succeeded", 0, "True")).unwrap(), "6 paths to 2 targets");
        for bad in [
            object("Failed", 1, "False"),
            object("Succeeded", 1, "True"),
            object("Succeeded", 0, "False"),
            json!({}),
        ] {
            assert!(finished(&bad).is_err(), "{bad}");
        }
        let list = json!({"items": [{"reason": "RoundStarted"}, {"reason": "RoundFailed"}]});
        assert!(events(&list, &["RoundStarted"]).is_ok());
        let missing = events(&list, &["RoundStarted", "RoundSucceeded"]).unwrap_err().to_string();
        assert!(missing.contains("RoundSucceeded"), "{missing}");
        let answer = |status: &str, answered: &str| {
            json!({"checks": [{"name": "c", "rounds": [{"status": status, "headline": "round 1: fine",
                "targets": [{"sent": "4", "answered": answered}]}]}]})
        };
        assert_eq!(reported("c", &answer("ROUND_STATUS_SUCCEEDED", "4")).unwrap(), "round 1: fine");
        assert!(reported("d", &answer("ROUND_STATUS_SUCCEEDED", "4")).is_err());
        assert!(reported("c", &answer("ROUND_STATUS_SUCCEEDED", "3")).is_err());
        assert!(reported("c", &answer("ROUND_STATUS_FAILED", "4")).is_err());
        assert!(reported("c", &json!({})).is_err());
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
