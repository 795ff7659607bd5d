//! What people's files have beside the objects, or in their stead: what is wrong is reported, and costs no more than itself.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::generated::{items, list, whole, yaml_of};
use super::*;

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
    let with = |first: &[Value], second: &[Value], lines: u64| {
        let objects = parsed(&format!("{}\n{}\n", list(first), list(second))).unwrap();
        assert_eq!(objects.left_out.count, lines, "{:?}", objects.left_out);
        assert!(objects.left_out.lines.iter().all(|line| line.starts_with("Node n1 has two uids, of which")));
        objects.roster()
    };
    let read = |first: &[Value], second: &[Value]| with(first, second, 0);
    let pod = |roster: &crate::cluster::roster::Roster| roster.pods["shop/web-1"].addresses[0].to_string();
    let ahead = read(&older, &newer);
    assert_eq!((ahead.nodes["n1"].ready, pod(&ahead).as_str()), (false, "10.244.1.9"));
    let back = read(&newer, &older);
    // Without versions the later in the file is the later.
    assert_eq!((back.nodes["n1"].ready, pod(&back).as_str()), (false, "10.244.1.2"));
    // One that was replaced is another: which was first is known by when they were made.
    newer[0]["metadata"]["uid"] = json!("node-7");
    let both = parsed(&format!("{}\n{}\n", list(&older), list(&newer[..1]))).unwrap();
    assert!(both.left_out.lines[0].contains("another object of the same name"), "{:?}", both.left_out);
    let mut first = older.clone();
    first[0]["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    newer[0]["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:01Z");
    assert!(!with(&first, &newer[..1], 1).nodes["n1"].ready);
    assert!(!with(&newer[..1], &first, 1).nodes["n1"].ready);
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
    let gzip = |bytes: &[u8]| {
        use std::io::Write as _;
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    };
    let tar = [&b"inventory.yaml"[..], &[0; 243], b"ustar\x0000", &[0; 247], b"kind: List"].concat();
    for (bytes, packer) in
        [(tar.as_slice(), "tar"), (b"PK\x03\x04rest", "zip"), (&gzip(b"a"), "gzip more than once")]
    {
        let error = encoding::text(gzip(bytes)).unwrap_err().to_string();
        assert!(error.contains(&format!("packed by {packer}:")), "{error}");
    }
    assert!(encoding::text(tar).unwrap_err().to_string().contains("packed by tar"));
    let (yaml, json) = (yaml_of(&list(&items(3))), list(&items(3)).to_string());
    // kubectl writes the kind of a list behind its items: a half has none.
    let yaml = yaml.replace("kind: List\n", "") + "kind: List\n";
    for text in [&yaml[..yaml.len() / 2], &json[..json.len() / 2]] {
        let error = parsed(text).expect_err(text);
        assert!(error.contains("make it by `kubectl get") && error.lines().count() == 1, "{error}");
    }
}

#[test]
fn half_a_character_costs_nothing() {
    let mut objects = items(2);
    objects[0]["metadata"]["annotations"] = json!({"note": "NOTE"});
    let text = list(&objects).to_string().replace("NOTE", "\\udc80 \\ud83d\\ude00 \\\\ud800");
    let read = parsed(&text).unwrap();
    assert_eq!((read.roster(), read.left_out.count), (whole(2), 0), "{:?}", read.left_out);
    let annotations = read.nodes[0].metadata.annotations.as_ref().unwrap();
    assert_eq!(annotations["note"], "\u{fffd} \u{1f600} \\ud800");
}

#[test]
fn slices_of_old_clusters_say_their_nodes() {
    let mut objects = items(2);
    let slice = objects.last_mut().unwrap();
    slice["apiVersion"] = json!("discovery.k8s.io/v1beta1");
    for endpoint in slice["endpoints"].as_array_mut().unwrap() {
        let node = endpoint["nodeName"].take();
        endpoint["topology"] = json!({"kubernetes.io/hostname": node, "topology.kubernetes.io/zone": "a"});
    }
    let read = parsed(&list(&objects).to_string()).unwrap();
    assert_eq!((read.roster(), read.left_out.count), (whole(2), 0), "{:?}", read.left_out);
}
