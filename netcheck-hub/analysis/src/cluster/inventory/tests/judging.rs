//! What does not hold together costs itself, and what is a text is one.

use proptest::prelude::*;

use super::*;

#[test]
fn what_is_no_list_is_reported_in_one_line_with_its_position_or_the_right_command() {
    let make = "make it by `kubectl get nodes,";
    let rows = [
        ("{\"kind\": \"List\",\n \"items\": [}", "f.yaml is broken", "line 2"),
        ("kind: List\nitems:\n- a: [\n", "f.yaml is broken", "line"),
        ("", "but nothing", make),
        ("# nothing\n---\n", "but nothing", make),
        ("NAME   STATUS   ROLES   AGE\nn1     Ready    <none>  5d\n", "but a text", make),
        ("kind: Pod\nmetadata: {}\n", "not a v1 List of Kubernetes objects but a Pod", make),
        ("kind: List\n", "a List without items", make),
        ("kind: List\nitems: 5\n", "a List whose items are a number", make),
        ("items: []\n", "without a kind", make),
        ("kind: List\nitems: []\n", "has no Node", make),
        (
            "{\"kind\": \"NodeList\", \"items\": []}\n==== START logs for container c of pod a/b ====\nx\n",
            "cluster-info dump",
            make,
        ),
        (
            "kind: List\nitems:\n- {kind: Node, metadata: {name: 'a b'}}\n",
            "has no Node that can be used (items[0] (Node a b) is left out: metadata.name is not a name",
            make,
        ),
    ];
    for (text, expected, position) in rows {
        let error = parsed(text).expect_err(text);
        assert!(error.contains(expected) && error.contains(position), "{text:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

const NODE: &str =
    "{kind: Node, metadata: {name: n1}, status: {conditions: [{type: Ready, status: 'True'}]}}";

/// An inventory with a node and this item, as YAML.
fn with_item(item: &str) -> Objects {
    parsed(&format!("kind: List\nitems:\n- {NODE}\n- {item}\n")).expect(item)
}

#[test]
fn an_object_that_does_not_hold_together_costs_itself_and_is_named() {
    let rows = [
        ("5", "items[1] is a number, not an object"),
        ("null", "items[1] is nothing, not an object"),
        ("[]", ""),
        ("[7]", "items[1].items[0] is a number, not an object"),
        ("{metadata: {name: x}}", "items[1] has no kind"),
        ("{kind: 7, metadata: {name: x}}", "items[1] has no kind"),
        ("{kind: Node, metadata: {}}", "items[1] (Node ?) is left out: it has no name"),
        ("{kind: Node, metadata: {name: ''}}", "items[1] (Node ) is left out: it has no name"),
        ("{kind: Pod, metadata: {namespace: a}}", "items[1] (Pod a/?) is left out: it has no name"),
        ("{kind: Service, metadata: {labels: {a: b}}}", "items[1] (Service ?) is left out: it has no name"),
        ("{kind: EndpointSlice, metadata: {}, addressType: IPv4}", "items[1] (EndpointSlice ?) is left out"),
        (
            "{kind: Node, metadata: {name: \"n\\e[2J\"}}",
            "items[1] (Node n\u{fffd}[2J) is left out: metadata.name is not a name",
        ),
        ("{kind: Pod, metadata: {name: p, namespace: a/b}}", "metadata.namespace is not a name: \"a/b\""),
        (
            "{kind: Pod, metadata: {name: x}, status: {podIPs: [{ip: here}]}}",
            "status.podIPs is not an address",
        ),
        (
            "{kind: Pod, metadata: {name: x, namespace: a}, status: {podIP: <nil>}}",
            "(Pod a/x) is left out: status.podIP is not an address: \"<nil>\"",
        ),
        ("{kind: Pod, metadata: {name: x}, spec: {nodeName: 'a b'}}", "spec.nodeName is not a name"),
        (
            "{kind: Pod, metadata: {name: p}, spec: {nodeName: [1]}}",
            "items[1] (Pod p) is left out: invalid type",
        ),
        (
            "{kind: Service, metadata: {name: x}, spec: {clusterIP: 10.0.0}}",
            "(Service x) is left out: spec.clusterIPs is not an address",
        ),
        (
            "{kind: Service, metadata: {name: x}, spec: {ports: [{port: 70000}]}}",
            "(Service x) is left out: spec.ports is not a port: 70000",
        ),
        (
            "{kind: Node, metadata: {name: n1, labels: {a: b}}}",
            "items[1] (Node n1) is left out: items[0] is another object of the same name",
        ),
    ];
    for (item, expected) in rows {
        let objects = with_item(item);
        assert_eq!(objects.nodes.len(), 1, "{item}: the rest counts");
        let lines: Vec<String> = objects.left_out.report_lines().collect();
        let wanted = usize::from(!expected.is_empty());
        assert_eq!((objects.left_out.count, lines.len()), (wanted as u64, wanted), "{item}: {lines:?}");
        assert!(lines.iter().all(|line| line.contains(expected) && line.lines().count() == 1), "{lines:?}");
        assert!(objects.pods.is_empty() && objects.services.is_empty(), "{item}");
    }
    let fine = [
        "{kind: Service, metadata: {name: x}, spec: {clusterIP: None, clusterIPs: [None]}}",
        "{kind: Service, metadata: {name: x}, spec: {type: ExternalName, externalName: a.b}}",
        "{kind: EndpointSlice, metadata: {name: x}, addressType: FQDN, endpoints: [{addresses: [a.b]}]}",
        "{kind: Pod, metadata: {name: x}, status: {phase: Pending}}",
        "{kind: Pod, metadata: {name: n1}}",
        "{kind: Secret, metadata: {}}",
        NODE,
    ];
    for item in fine {
        let objects = with_item(item);
        assert_eq!((objects.nodes.len(), objects.left_out.count), (1, 0), "{item}: {:?}", objects.left_out);
    }
}

#[test]
fn a_part_that_does_not_hold_together_costs_that_part() {
    let slice = "{kind: EndpointSlice, metadata: {name: x, labels: {kubernetes.io/service-name: web}}, \
                 addressType: IPv4, ports: [{name: a, port: 0}, {name: b, port: 80}], \
                 endpoints: [{addresses: [10.0.0.300]}, {addresses: [10.244.1.7]}]}";
    let objects = with_item(slice);
    let ports = objects.endpoint_slices[0].ports.clone().unwrap();
    assert_eq!(ports.iter().map(|port| port.port).collect::<Vec<_>>(), [Some(80)]);
    assert_eq!(
        objects.left_out.lines,
        ["items[1] (EndpointSlice x): left out of it: ports is not a port: 0; \
          endpoints.addresses is not an address: \"10.0.0.300\""]
    );
    let service = "{kind: Service, metadata: {name: x}, spec: {clusterIP: 10.96.0.9, \
                   externalIPs: [nowhere], ports: [{port: 80}, {port: -1}]}}";
    let service = with_item(service).roster().services["default/x"].clone();
    assert_eq!((service.ports.len(), service.external_addresses.len()), (1, 0));
    let node = "{kind: Node, metadata: {name: n2}, status: {addresses: [{type: InternalIP, address: x}, \
                {type: InternalIP, address: 10.0.0.2}, {type: Hostname, address: n2}]}}";
    let objects = with_item(node);
    assert_eq!(objects.roster().nodes["n2"].addresses, ["10.0.0.2".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(objects.left_out.count, 1);
}

#[test]
fn addresses_with_zeros_before_them_are_decimal() {
    let of = |address: &str| {
        let item = format!(
            "{{kind: Service, metadata: {{name: x}}, spec: {{clusterIP: {address}, ports: [{{port: 80}}]}}}}"
        );
        let objects = with_item(&item);
        objects.roster().services.get("default/x").map(|service| service.cluster_addresses[0].to_string())
    };
    assert_eq!(of("10.96.009.012").as_deref(), Some("10.96.9.12"));
    assert_eq!(of("010.096.000.010").as_deref(), Some("10.96.0.10"));
    assert_eq!(of("'::ffff:10.96.0.10'").as_deref(), Some("10.96.0.10"));
    for junk in ["10.96.9", "10.96.9.256", "10.96.9.1.2", "10.96.0x9.1", "10.96..1", "10.96.+9.1"] {
        assert_eq!(of(junk), None, "{junk}");
    }
}

#[test]
fn objects_are_distinguished_by_group_and_kind() {
    let others = [
        "{apiVersion: longhorn.io/v1beta2, kind: Node, metadata: {name: n1, namespace: x}, spec: {disks: 5}}",
        "{apiVersion: serving.knative.dev/v1, kind: Service, metadata: {name: web}, spec: {ports: junk}}",
        "{apiVersion: metrics.k8s.io/v1beta1, kind: PodMetrics, metadata: {name: p}}",
        "{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: g}, spec: {servers: []}}",
        "{apiVersion: extensions/v1beta1, kind: Ingress, metadata: {name: i}, spec: 5}",
        "{apiVersion: example.org/v1, kind: EndpointSlice, metadata: {name: e}}",
        "{apiVersion: example.org/v1, kind: NodeList, items: [{metadata: {name: n7}}]}",
        "{apiVersion: example.org/v1, kind: AllowList, metadata: {name: l}}",
    ];
    for other in others {
        let objects = with_item(other);
        assert_eq!((objects.nodes.len(), objects.ignored, objects.left_out.count), (1, 1, 0), "{other}");
    }
    let typed = [
        "kind: NodeList\nitems: [{metadata: {name: n1}}]\n",
        "kind: NodeList\napiVersion: v1\nitems: [{metadata: {name: n1}}]\n",
        "apiVersion: v1\nkind: List\nitems:\n- {kind: NodeList, apiVersion: v1, items: [{metadata: {name: n1}}]}\n",
        "[{kind: Node, apiVersion: v1, metadata: {name: n1}}]",
    ];
    for text in typed {
        assert_eq!(parsed(text).expect(text).nodes.len(), 1, "{text}");
    }
}

#[test]
fn scalars_that_are_used_as_text_are_text() {
    let plain = [
        "83e2010",
        "1.10",
        "yes",
        "no",
        "0777",
        "0x1F",
        "null",
        "~",
        "true",
        "12e3",
        ".inf",
        "1_000",
        "2024-01-02",
        "5",
        "-0",
        "1:30",
        "0o7",
    ];
    for text in plain {
        let item = format!(
            "{{kind: Service, metadata: {{name: x, labels: {{version: {text}}}}}, spec: {{clusterIP: 10.96.0.9, \
             ports: [{{name: {text}, port: 80}}], selector: {{app: {text}}}}}}}"
        );
        let objects = with_item(&item);
        let roster = objects.roster();
        let service =
            roster.services.get("default/x").unwrap_or_else(|| panic!("{text}: {:?}", objects.left_out));
        assert_eq!(service.labels["version"], text);
    }
    // The same where another type is asked for.
    let pod = with_item(
        "{kind: Pod, metadata: {name: x}, spec: {hostNetwork: yes, nodeName: n1}, status: {podIP: 10.0.0.1}}",
    );
    assert!(pod.roster().pods["default/x"].host_network);
    let anchors = "kind: List\nitems:\n- {kind: Node, metadata: &m {name: n1, labels: {a: b}}}\n\
                   - {kind: Namespace, metadata: {<<: *m, name: n2}}\n";
    let objects = parsed(anchors).unwrap();
    assert_eq!(objects.namespaces[0].metadata.name.as_deref(), Some("n2"));
    assert_eq!(objects.namespaces[0].metadata.labels.as_ref().unwrap()["a"], "b");
}

/// What may stand anywhere in an object's stead.
fn junk() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::json;
    let all = [
        json!(null),
        json!(7),
        json!(-1.5),
        json!(true),
        json!("<nil>"),
        json!([]),
        json!({}),
        json!({"kind": 5}),
        json!({"kind": ""}),
        json!("10.0.0.300"),
        json!({"a": {"b": "\u{1b}[2J"}}),
    ];
    proptest::sample::select(all.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever stands in the place of one object, or of something that it needs, all others stay, and one line names it.
    #[test]
    fn one_object_of_junk_costs_that_object(
        at: proptest::sample::Index, junk in junk(), how in 0usize..4, as_json: bool,
    ) {
        let mut cluster = cluster_json();
        let items = cluster["items"].as_array_mut().unwrap();
        items.retain(|item| item["kind"] != "ConfigMap");
        let mut without = items.clone();
        let at = at.index(items.len());
        without.remove(at);
        let named = match how {
            0 => {
                // A list in a list's place has nothing in it, and costs nothing.
                prop_assume!(junk != serde_json::json!([]));
                items[at] = junk;
                "items["
            }
            1 => {
                items[at]["metadata"]["name"] = serde_json::json!("two words");
                "is left out: metadata.name is not a name"
            }
            2 => {
                prop_assume!(!junk.is_object() && !junk.is_null());
                items[at]["metadata"] = junk;
                "is left out: "
            }
            _ => {
                items[at]["metadata"]["creationTimestamp"] = serde_json::json!("yesterday");
                "is left out: "
            }
        };
        let text = |cluster: &serde_json::Value| {
            if as_json { cluster.to_string() } else { serde_saphyr::to_string(cluster).unwrap() }
        };
        let objects = parsed(&text(&cluster)).map_err(TestCaseError::fail)?;
        cluster["items"] = without.into();
        let rest = parsed(&text(&cluster)).map_err(TestCaseError::fail)?;
        prop_assert_eq!(objects.roster(), rest.roster());
        prop_assert_eq!(rest.left_out.count, 0);
        let lines: Vec<String> = objects.left_out.report_lines().collect();
        prop_assert!(lines.len() == 1 && lines[0].contains(&format!("items[{at}]")), "{lines:?}");
        prop_assert!(lines[0].contains(named) && lines[0].lines().count() == 1, "{lines:?}");
    }
}

#[test]
fn what_stands_in_a_wrong_place_is_not_quoted() {
    let secret = "password=\\\", expected x";
    let rows = [
        format!("{{kind: Pod, metadata: {{name: p}}, spec: {{nodeName: n1, containers: \"{secret}\"}}}}"),
        format!("{{kind: Pod, metadata: {{name: p, annotations: \"{secret}\"}}}}"),
        format!("{{kind: Service, metadata: {{name: p}}, spec: {{ports: [{{port: \"{secret}\"}}]}}}}"),
    ];
    for item in rows {
        let lines = with_item(&item).left_out.lines;
        assert_eq!(lines.len(), 1, "{item}");
        assert!(lines[0].contains("invalid type: a text, expected"), "{lines:?}");
        assert!(!lines[0].contains("password"), "{lines:?}");
    }
}
