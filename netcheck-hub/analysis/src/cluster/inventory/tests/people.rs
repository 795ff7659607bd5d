//! Files as people have them: whatever the way on which the same objects came, the roster is the same; and what is wrong
//! is reported, and costs no more than itself.

use std::net::IpAddr;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// A cluster of which everything is known: nodes with pods in both families, a service in front of these, and the
/// cluster's DNS.
fn items(nodes: u8) -> Vec<Value> {
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

fn list(items: &[Value]) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

fn yaml_of(value: &Value) -> String {
    serde_saphyr::to_string(value).unwrap()
}

/// What of the generated cluster is to be known, whatever came between.
fn whole(nodes: u8) -> crate::cluster::roster::Roster {
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
        nodes in 2u8..5, shape in 0u8..9, remark in 0u8..6, encoding in 0u8..6, packed: bool, returns: bool,
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), 0u8..8), 0..6),
        others in proptest::sample::subsequence(bystanders(), 0..5),
    ) {
        let mut objects = items(nodes);
        for (at, change) in changes {
            harmless(at.get_mut(&mut objects), change);
        }
        // Typed lists have one kind each.
        if shape < 8 {
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

#[test]
fn files_put_together_from_files_are_read() {
    let objects = items(3);
    let (first, rest) = objects.split_at(3);
    let marked = |text: &str| format!("\u{feff}{text}");
    let json = |items: &[Value]| format!("{}\r\n", list(items));
    let yaml = |items: &[Value]| format!("---\n{}", yaml_of(&list(items)));
    let texts = [
        format!("{}{}", marked(&json(first)), marked(&json(rest))),
        format!("{}{}", marked(&yaml(first)), marked(&yaml(rest))),
        // A log between two parts, and what only YAML has in one of them.
        format!("{}Warning: this: is deprecated\n{}", json(first), json(rest).replace("]}", "],}")),
    ];
    for text in texts {
        let read = parsed(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!((read.roster(), read.left_out.count), (whole(3), 0), "{:?}: {text}", read.left_out);
    }
    let units = |text: &str| -> Vec<u8> { marked(text).encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let text = encoding::text([units(&json(first)), units(&json(rest))].concat()).unwrap();
    assert_eq!(parsed(&text).unwrap().roster(), whole(3));
}

#[test]
fn numbers_that_only_other_readers_know_are_text_in_json_too() {
    for label in ["83e2010", "1.10", "5", "true", "0777"] {
        let text = list(&items(2)).to_string().replacen("\"1.10\"", label, 1);
        let objects = parsed(&text).unwrap_or_else(|error| panic!("{label}: {error}"));
        assert_eq!((objects.nodes.len(), objects.left_out.count), (2, 0), "{label}: {:?}", objects.left_out);
    }
    let lines = items(2).iter().map(|item| format!("{item}\n")).collect::<String>();
    let objects = parsed(&lines.replacen("\"1.10\"", "83e2010", 1)).unwrap();
    assert_eq!((objects.roster().zone("n1"), objects.left_out.count), ("83e2010", 0));
}

#[test]
fn of_one_object_at_two_times_the_later_counts() {
    let older = items(2);
    let mut newer = items(2);
    newer[0]["metadata"]["resourceVersion"] = json!("700");
    newer[0]["status"]["conditions"][0]["status"] = json!("False");
    newer[1]["status"]["podIP"] = json!("10.244.1.9");
    newer[1]["status"]["podIPs"] = json!([{"ip": "10.244.1.9"}]);
    let read = |first: &[Value], second: &[Value]| {
        let objects = parsed(&format!("{}\n{}\n", list(first), list(second))).unwrap();
        assert_eq!(objects.left_out.count, 0, "{:?}", objects.left_out);
        objects.roster()
    };
    let pod = |roster: &crate::cluster::roster::Roster| roster.pods["shop/web-1"].addresses[0].to_string();
    let ahead = read(&older, &newer);
    assert_eq!((ahead.nodes["n1"].ready, pod(&ahead).as_str()), (false, "10.244.1.9"));
    let back = read(&newer, &older);
    // Without versions the later in the file is the later.
    assert_eq!((back.nodes["n1"].ready, pod(&back).as_str()), (false, "10.244.1.2"));
    // One that was replaced is another.
    newer[0]["metadata"]["uid"] = json!("node-7");
    let both = parsed(&format!("{}\n{}\n", list(&older), list(&newer[..1]))).unwrap();
    assert!(both.left_out.lines[0].contains("another object of the same name"), "{:?}", both.left_out);
}

#[test]
fn what_nobody_can_reach_is_no_address() {
    let kinds = [
        ("127.0.0.1", "a loopback address"),
        ("::1", "a loopback address"),
        ("0.0.0.0", "an unspecified address"),
        ("0.1.2.3", "an unspecified address"),
        ("169.254.3.4", "a link-local address"),
        ("fe80::1", "a link-local address"),
        ("224.0.0.1", "a multicast address"),
        ("ff02::1", "a multicast address"),
        ("255.255.255.255", "the broadcast address"),
        ("::ffff:127.0.0.1", "a loopback address"),
    ];
    for (address, why) in kinds {
        let mut objects = items(3);
        objects[0]["status"]["addresses"] = json!([{"type": "InternalIP", "address": address}]);
        objects[3]["status"]["podIP"] = json!(address);
        objects[3]["status"]["podIPs"] = json!([{"ip": address}]);
        objects.push(json!({"kind": "Service", "metadata": {"name": "odd"}, "spec": {"clusterIP": address}}));
        let read = parsed(&list(&objects).to_string()).unwrap();
        let lines: Vec<&String> = read.left_out.lines.iter().collect();
        assert_eq!(lines.len(), 3, "{address}: {lines:?}");
        assert!(lines.iter().all(|line| line.contains(why)), "{address}: {lines:?}");
        let roster = read.roster();
        assert_eq!(roster.addressless().map(|node| node.name.as_str()).collect::<Vec<_>>(), ["n1"]);
        assert!(!roster.pods.contains_key("shop/web-2") && !roster.services.contains_key("default/odd"));
        let reached = roster.owner(address.parse::<IpAddr>().unwrap());
        assert!(reached.is_none(), "{address}");
    }
}

#[test]
fn an_address_of_several_costs_its_own_family_alone() {
    let mut objects = items(3);
    for at in [0, 2] {
        objects[at]["status"]["addresses"][1]["address"] = json!("fd00:0:0::0007");
    }
    let roster = parsed(&list(&objects).to_string()).unwrap().roster();
    let names = &roster.contested[&"fd00::7".parse::<IpAddr>().unwrap()];
    assert_eq!(names.iter().collect::<Vec<_>>(), ["node n1", "node n2"]);
    assert_eq!(roster.nodes["n1"].addresses, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
    assert_eq!(roster.nodes["n3"].addresses.len(), 2);
    assert_eq!((roster.contested.len(), roster.unjudged()), (1, 2));
}

#[test]
fn a_file_without_endpoint_slices_says_so() {
    let mut objects = items(2);
    objects.pop();
    objects.push(
        json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "web", "namespace": "shop"},
                        "subsets": [{"addresses": [{"ip": "10.244.1.2"}], "ports": [{"port": 8080}]}]}),
    );
    let read = parsed(&list(&objects).to_string()).unwrap();
    let lines: Vec<String> = read.left_out.report_lines().collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("EndpointSlices are missing") && lines[0].contains("kubectl get nodes"),
        "{lines:?}"
    );
    objects.retain(|item| item["kind"] == "Node");
    assert_eq!(
        parsed(&list(&objects).to_string()).unwrap().left_out.count,
        0,
        "nobody is meant to be behind them"
    );
}

#[test]
fn a_template_that_nobody_filled_in_costs_its_object() {
    let text = format!(
        "{}---\nkind: Pod\nmetadata:\n  name: {{{{ .Values.name }}}}\n---\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  \
         nodeName: {{{{ .Values.node }}}}\n---\nkind: Pod\nmetadata: {{name: q}}\nspec: {{? [a, b] : c}}\n",
        items(2).iter().map(|item| format!("---\n{item}\n")).collect::<String>()
    );
    let read = parsed(&text).unwrap();
    assert_eq!(read.roster(), whole(2));
    let lines = &read.left_out.lines;
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines.iter().all(|line| line.contains("stands where a name is meant to")), "{lines:?}");
}

#[test]
fn merged_mappings_count_in_their_order() {
    let text = "kind: List\nitems:\n- {kind: Node, metadata: &a {name: n1, labels: {a: b}}}\n\
                - {kind: Namespace, metadata: &b {name: n2, labels: {a: c}, uid: x}}\n\
                - {kind: Namespace, metadata: {<<: [*a, *b], name: n3}}\n";
    let read = parsed(text).unwrap();
    let last = &read.namespaces[1].metadata;
    assert_eq!((last.name.as_deref(), last.uid.as_deref()), (Some("n3"), Some("x")));
    assert_eq!(last.labels.as_ref().unwrap()["a"], "b", "the first of several counts most");
}

#[test]
fn what_is_nested_without_end_is_refused() {
    let good = items(2).iter().map(|item| format!("---\n{item}\n")).collect::<String>();
    let chain = (1..5000).map(|at| format!("  a{at}: &a{at} [*a{}]\n", at - 1)).collect::<String>();
    for bad in ["[".repeat(200_000), "- ".repeat(200_000), format!("x:\n  a0: &a0 1\n{chain}")] {
        let read = parsed(&format!("{good}---\n{bad}\n")).unwrap();
        assert_eq!((read.roster(), read.left_out.count), (whole(2), 1), "{:?}", read.left_out);
        assert!(parsed(&bad).is_err());
    }
    assert!(parsed(&"[".repeat(200_000)).is_err());
    assert!(parsed(&"{\"a\":".repeat(200_000)).is_err());
}

#[test]
fn files_of_other_packers_and_halves_of_files_are_reported_in_one_line() {
    let packed: [(&[u8], &str); 5] = [
        (b"PK\x03\x04rest", "zip"),
        (b"\x28\xb5\x2f\xfdrest", "zstd"),
        (b"\xfd7zXZ\0rest", "xz"),
        (b"BZh91AY", "bzip2"),
        (b"\x04\x22\x4d\x18rest", "lz4"),
    ];
    for (bytes, packer) in packed {
        let error = encoding::text(bytes.to_vec()).unwrap_err().to_string();
        assert!(error.contains(packer) && error.contains("unpack it"), "{error}");
    }
    let (yaml, json) = (yaml_of(&list(&items(3))), list(&items(3)).to_string());
    // kubectl writes the kind of a list behind its items: a half has none.
    let yaml = yaml.replace("kind: List\n", "") + "kind: List\n";
    for text in [&yaml[..yaml.len() / 2], &json[..json.len() / 2]] {
        let error = parsed(text).expect_err(text);
        assert!(error.contains("make it by `kubectl get") && error.lines().count() == 1, "{error}");
    }
}
