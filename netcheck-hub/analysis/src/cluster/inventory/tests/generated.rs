//! A cluster of which everything is known, written in all the ways that it may come on: the roster is the same.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// A cluster of which everything is known: nodes with pods in both families, a service in front of these, and the
/// cluster's DNS.
pub(super) fn items(nodes: u8) -> Vec<Value> {
    let mut items = Vec::new();
    let mut endpoints = Vec::new();
    for node in 1..=nodes {
        let name = format!("n{node}");
        items.push(json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "uid": format!("node-{node}"), "resourceVersion": "70",
                         "labels": {"topology.kubernetes.io/zone": "1.10"}},
            "status": {"addresses": [{"type": "InternalIP", "address": format!("10.0.0.{node}")},
                                     {"type": "InternalIP", "address": format!("fd00::{node}")},
                                     {"type": "Hostname", "address": name}],
                       "allocatable": {"cpu": "4"},
                       "conditions": [{"type": "Ready", "status": "True"}]},
        }));
        let (v4, v6) = (format!("10.244.{node}.2"), format!("fd00:244:{node}::2"));
        items.push(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("web-{node}"), "namespace": "shop", "uid": format!("pod-{node}")},
            "spec": {"nodeName": name, "containers": []},
            "status": {"phase": "Running", "podIP": v4, "podIPs": [{"ip": v4}, {"ip": v6}],
                       "conditions": [{"type": "Ready", "status": "True"}]},
        }));
        endpoints.push(json!({
            "addresses": [v4], "conditions": {"ready": true}, "nodeName": name,
            "targetRef": {"kind": "Pod", "name": format!("web-{node}"), "namespace": "shop"},
        }));
    }
    items.push(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"clusterIP": "10.96.0.80", "clusterIPs": ["10.96.0.80"], "selector": {"app": "web"},
                 "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
    }));
    items.push(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}},
        "spec": {"clusterIP": "10.96.0.10", "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}]},
    }));
    items.push(json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
        "endpoints": endpoints, "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    }));
    items
}

pub(super) fn list(items: &[Value]) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

pub(super) fn yaml_of(value: &Value) -> String {
    serde_saphyr::to_string(value).unwrap()
}

/// What of the generated cluster is to be known, whatever came between.
pub(super) fn whole(nodes: u8) -> crate::cluster::roster::Roster {
    let roster = parsed(&list(&items(nodes)).to_string()).unwrap().roster();
    assert_eq!(roster.nodes.len(), usize::from(nodes));
    assert!(roster.nodes.values().all(|node| node.addresses.len() == 2 && node.zone == "1.10"));
    assert_eq!(roster.pods.len(), usize::from(nodes));
    assert_eq!(roster.services["shop/web"].ready_backends().count(), usize::from(nodes));
    assert!(roster.services["kube-system/kube-dns"].dns);
    roster
}

/// How the objects are written down.
fn written(items: &[Value], shape: u8) -> String {
    let (first, rest) = items.split_at(items.len() / 2);
    let each = |write: fn(&Value) -> String| items.iter().map(write).collect::<String>();
    match shape {
        0 => yaml_of(&list(items)),
        1 => serde_json::to_string_pretty(&list(items)).unwrap(),
        2 => each(|item| format!("{item}\n")),
        3 => each(|item| format!("---\n{}", yaml_of(item))),
        4 => format!("{}\n---\n{}\n", list(first), list(rest)),
        5 => yaml_of(&list(&[list(first), list(rest)])),
        6 => format!("%YAML 1.2\n---\n{}...\n", yaml_of(&list(items))),
        7 => serde_json::to_string(items).unwrap(),
        // `>>` twice, without anything between.
        8 => format!("{}{}", yaml_of(&list(first)), yaml_of(&list(rest))),
        9 => each(yaml_of),
        // As the API server itself answers: the items have no kind of their own.
        _ => {
            let kinds = ["Node", "Pod", "Service", "EndpointSlice"];
            let bare = |item: &Value| {
                let mut item = item.clone();
                item.as_object_mut().unwrap().retain(|key, _| !is_type(key));
                item
            };
            let of = |kind: &str| {
                let own: Vec<&Value> = items.iter().filter(|item| item["kind"] == kind).collect();
                let version = own[0]["apiVersion"].clone();
                let own: Vec<Value> = own.into_iter().map(bare).collect();
                json!({"kind": format!("{kind}List"), "apiVersion": version, "metadata": {}, "items": own})
            };
            kinds.iter().map(|kind| format!("{}\n", of(kind))).collect()
        }
    }
}

/// What shells, editors and programs beside kubectl add.
fn with_remarks(text: &str, remark: u8) -> String {
    match remark {
        1 => format!("Warning: v1 Endpoints is deprecated in v1.33+; use: discovery.k8s.io/v1\n{text}"),
        2 => format!(
            "E0312 12:00:00.123456   12345 memcache.go:265] couldn't get current server API group list: {{\"a\"\n{text}"
        ),
        3 => format!("{text}\u{1a}"),
        4 => format!("\n\n{text}\n\n"),
        _ => text.to_owned(),
    }
}

fn encoded(text: &str, encoding: u8) -> Vec<u8> {
    let units = |text: &str, bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect();
    let marked = format!("\u{feff}{text}");
    match encoding {
        0 => text.as_bytes().to_vec(),
        1 => marked.into_bytes(),
        2 => units(text, u16::to_le_bytes),
        3 => units(&marked, u16::to_le_bytes),
        4 => units(text, u16::to_be_bytes),
        _ => units(&marked, u16::to_be_bytes),
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// Changes one object into one that says the same, as some cluster or tool has it.
fn harmless(item: &mut Value, change: u8) {
    match (change, item["kind"].as_str().unwrap_or_default()) {
        (0, _) => item["metadata"]["creationTimestamp"] = Value::Null,
        (1, _) => {
            item["metadata"]["managedFields"] = json!([{"manager": "kubectl", "fieldsV1": {"f:a": {}}}]);
        }
        (2, "Node" | "Pod") => item["metadata"]["labels"]["a"] = json!(7.5),
        (3, "Node" | "Pod") => item["metadata"]["labels"]["a"] = json!(true),
        (4, "Node") => {
            item["status"]["addresses"][0]["address"] = {
                let address = item["status"]["addresses"][0]["address"].as_str().unwrap();
                json!(address.replace(".0.0.", ".000.00."))
            }
        }
        (4, "Pod") => {
            item["status"]["podIPs"] = {
                let v6 = item["status"]["podIPs"][1]["ip"].as_str().unwrap().to_uppercase();
                let v4 = format!("::ffff:{}", item["status"]["podIP"].as_str().unwrap());
                json!([{"ip": v4}, {"ip": v6.replace("::", ":0:0:0:0:")}])
            }
        }
        (5, "Node") => item["status"]["allocatable"]["cpu"] = json!(4),
        (5, "Service") => item["status"] = json!({"loadBalancer": {"ingress": [{"ip": "", "ports": null}]}}),
        (5, "EndpointSlice") => {
            let other = json!({"addresses": null, "conditions": null, "nodeName": null, "targetRef": null});
            item["endpoints"].as_array_mut().unwrap().push(other);
        }
        // A slice is rewritten: for a while an endpoint is in two of them.
        (6, "EndpointSlice") => {
            let mut again = item["endpoints"][0].clone();
            again["conditions"] = json!({"ready": null, "serving": null, "terminating": null});
            item["endpoints"].as_array_mut().unwrap().push(again);
        }
        (7, "Pod") => item["spec"]["hostNetwork"] = Value::Null,
        (7, _) => item["metadata"]["finalizers"] = json!([]),
        _ => {}
    }
}

/// Objects that are nobody's business, and own nothing.
fn bystanders() -> Vec<Value> {
    let done = |phase: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": phase.to_lowercase(), "namespace": "shop"},
               "spec": {"nodeName": "n1", "containers": []},
               "status": {"phase": phase, "podIP": "10.244.1.2", "podIPs": [{"ip": "10.244.1.2"}]}})
    };
    vec![
        done("Succeeded"),
        done("Failed"),
        json!({"apiVersion": "longhorn.io/v1beta2", "kind": "Node", "metadata": {"name": "n1"}, "spec": 5}),
        json!({"apiVersion": "metrics.k8s.io/v1beta1", "kind": "NodeMetrics", "metadata": {"name": "n1"}}),
        json!({"apiVersion": "example.org/v1", "kind": "AllowList", "items": ["a", 7, null]}),
        json!({"apiVersion": "example.org/v1", "kind": "NodeList", "items": [{"metadata": {"name": "n1"}}]}),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "new", "namespace": "shop"},
               "spec": {"hostNetwork": true, "nodeName": "n1", "containers": []},
               "status": {"phase": "Pending", "podIPs": null}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "new", "namespace": "shop"},
               "spec": {"type": "LoadBalancer", "clusterIP": "", "clusterIPs": null, "ports": null}}),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// However the same cluster was written down, it is the same cluster, and nothing is reported.
    #[test]
    fn the_same_objects_are_the_same_roster(
        nodes in 2u8..5, shape in 0u8..11, remark in 0u8..6, encoding in 0u8..6, packed: bool, returns: bool,
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), 0u8..8), 0..6),
        others in proptest::sample::subsequence(bystanders(), 0..5),
    ) {
        let mut objects = items(nodes);
        for (at, change) in changes {
            harmless(at.get_mut(&mut objects), change);
        }
        // Typed lists have one kind each.
        if shape < 10 {
            objects.extend(others);
        }
        let text = with_remarks(&written(&objects, shape), remark);
        let text = if returns { text.replace('\n', "\r\n") } else { text };
        let bytes = encoded(&text, encoding);
        let bytes = if packed { gzip(&bytes) } else { bytes };
        let read = encoding::text(bytes).unwrap();
        let objects = parsed(&read).map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
        prop_assert_eq!(&objects.left_out, &crate::cluster::roster::LeftOut::default(), "{}", text);
        prop_assert_eq!(objects.roster(), whole(nodes), "{}", text);
    }

    /// Nothing that a file may hold ends the process.
    #[test]
    fn no_bytes_end_the_process(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "[-\\[\\]{}:,&*a\"' \n!<%]{0,80}") {
        for bytes in [bytes, text.into_bytes()] {
            if let Ok(text) = encoding::text(bytes) {
                drop(parsed(&text));
            }
        }
    }
}
