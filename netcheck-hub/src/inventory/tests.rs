use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::hub::{Hub, HubTask, Settings, State};
use crate::roster::Mark;

const CLUSTER: &str = include_str!("../../tests/hub/cluster.yaml");

fn parsed(text: &str) -> Result<Objects, String> {
    parse(Path::new("f.yaml"), text).map_err(|error| error.to_string())
}

#[test]
fn yaml_and_json_are_the_same() {
    let yaml = parsed(CLUSTER).unwrap();
    assert_eq!((yaml.nodes.len(), yaml.pods.len(), yaml.services.len()), (3, 4, 2));
    assert_eq!((yaml.endpoint_slices.len(), yaml.ignored), (2, 1));
    let value: serde_json::Value = serde_saphyr::from_str(CLUSTER).unwrap();
    let json = parsed(&value.to_string()).unwrap();
    assert_eq!(yaml.roster(), json.roster());
}

#[test]
fn what_is_no_list_is_told_in_one_line_with_its_position_or_the_right_command() {
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

/// An inventory with a node and this item, as YAML.
fn with_item(item: &str) -> Objects {
    parsed(&format!("kind: List\nitems:\n- {{kind: Node, metadata: {{name: n1}}}}\n- {item}\n")).expect(item)
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
        let lines: Vec<String> = objects.left_out.told().collect();
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
        "{kind: Node, metadata: {name: n1}}",
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
fn objects_are_told_apart_by_group_and_kind() {
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

/// The cluster of the other tests, as JSON.
fn cluster_json() -> serde_json::Value {
    serde_saphyr::from_str(CLUSTER).unwrap()
}

#[test]
fn several_documents_lists_in_lists_and_values_in_a_row_are_one_inventory() {
    let whole = parsed(CLUSTER).unwrap();
    let json = cluster_json();
    let items = json["items"].as_array().unwrap();
    let list =
        |items: &[serde_json::Value]| serde_json::json!({"kind": "List", "apiVersion": "v1", "items": items});
    let (first, rest) = items.split_at(3);
    let pretty = |value: &serde_json::Value| serde_json::to_string_pretty(value).unwrap();
    let lines =
        |items: &[serde_json::Value]| items.iter().map(|item| format!("{item}\n")).collect::<String>();
    let documents =
        |items: &[serde_json::Value]| items.iter().map(|item| format!("---\n{item}\n")).collect::<String>();
    let texts = [
        lines(items),
        lines(items).replace('\n', "\r\n"),
        documents(items),
        format!("# made by hand\n{}...\n", documents(items)),
        format!("{}\n{}\n", pretty(&list(first)), pretty(&list(rest))),
        format!("{}{}", list(first), list(rest)),
        format!("---\n{}\n---\n{}\n---\n", list(first), list(rest)),
        list(&[list(first), list(&[list(rest)])]).to_string(),
        // Lists that overlap say the same twice.
        format!("{}\n{}\n", list(items), list(rest)),
        serde_json::to_string(items).unwrap(),
        CLUSTER.replace('\n', "\r\n"),
    ];
    for text in texts {
        let objects = parsed(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(objects.roster(), whole.roster(), "{text}");
        assert_eq!(objects.left_out, whole.left_out, "{text}");
    }
    // A broken one costs itself.
    let broken = format!("{}{{\"kind\": \"Pod\", \"metadata\": \n{}", lines(first), lines(rest));
    let documents = format!("{}---\nkind: [\n{}", documents(first), documents(rest));
    for text in [broken, documents] {
        let objects = parsed(&text).unwrap();
        assert_eq!(objects.roster(), whole.roster(), "{text}");
        assert_eq!(objects.left_out.count, 1, "{:?}", objects.left_out);
        assert!(objects.left_out.lines[0].starts_with("document 4 is broken: "), "{:?}", objects.left_out);
    }
}

#[test]
fn files_are_read_in_whatever_encoding_tools_write() {
    use std::io::Write as _;
    let folder = tempfile::tempdir().unwrap();
    let whole = parsed(CLUSTER).unwrap().roster();
    let gzip = |bytes: &[u8]| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    };
    for text in [CLUSTER.to_owned(), CLUSTER.replace('\n', "\r\n"), cluster_json().to_string()] {
        let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let all = [
            text.clone().into_bytes(),
            [b"\xef\xbb\xbf", text.as_bytes()].concat(),
            [b"\xff\xfe".as_slice(), &little].concat(),
            [b"\xfe\xff".as_slice(), &big].concat(),
            little.clone(),
            big,
            gzip(text.as_bytes()),
            [gzip(text.as_bytes()), gzip(b"\n")].concat(),
            gzip(&[b"\xff\xfe".as_slice(), &little].concat()),
        ];
        for (index, bytes) in all.into_iter().enumerate() {
            let path = folder.path().join("inventory");
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(
                read(&path).unwrap_or_else(|error| panic!("{index}: {error}")).roster(),
                whole,
                "{index}"
            );
        }
    }
    let path = folder.path().join("inventory");
    std::fs::write(&path, &gzip(CLUSTER.as_bytes())[..100]).unwrap();
    assert!(matches!(read(&path), Err(InventoryError::Encoding { .. })));
    // A byte that is no UTF-8 costs its object at most.
    let text = CLUSTER.replacen("name: web-1,", "name: web\u{1}1,", 1);
    let bytes: Vec<u8> = text.bytes().map(|byte| if byte == 1 { 0xff } else { byte }).collect();
    std::fs::write(&path, bytes).unwrap();
    let objects = read(&path).unwrap();
    assert_eq!((objects.pods.len(), objects.left_out.count), (3, 1), "{:?}", objects.left_out);
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
        json!([[]]),
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
        let lines: Vec<String> = objects.left_out.told().collect();
        prop_assert!(lines.len() == 1 && lines[0].contains(&format!("items[{at}]")), "{lines:?}");
        prop_assert!(lines[0].contains(named) && lines[0].lines().count() == 1, "{lines:?}");
    }
}

#[test]
fn nodes_and_pods_that_are_meant_to_be_away() {
    let node = |extra: &str, status: &str| {
        format!(
            "kind: List\nitems:\n- kind: Node\n  metadata: {{name: n1}}\n  spec: {{{extra}}}\n  status:\n    \
             conditions: [{{type: Ready, status: '{status}', reason: Because}}]\n"
        )
    };
    let absent = |text: String| {
        let roster = parsed(&text).unwrap().roster();
        let node = &roster.nodes["n1"];
        (node.absent.clone(), node.cordoned)
    };
    assert_eq!(absent(node("", "True")), (None, false));
    let cordoned =
        "unschedulable: true, taints: [{key: node.kubernetes.io/unschedulable, effect: NoSchedule}]";
    assert_eq!(absent(node(cordoned, "True")), (Some("node n1 is cordoned".to_owned()), true));
    assert_eq!(absent(node("", "Unknown")).0.unwrap(), "node n1 is NotReady (Because)");
    let leaving = "taints: [{key: ToBeDeletedByClusterAutoscaler, effect: NoSchedule}]";
    assert!(absent(node(leaving, "True")).0.unwrap().contains("ToBeDeletedByClusterAutoscaler"));
    for key in
        ["DeletionCandidateOfClusterAutoscaler", "ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted"]
    {
        let soft = format!("taints: [{{key: {key}, value: '1742800000', effect: PreferNoSchedule}}]");
        assert_eq!(
            absent(node(&soft, "True")),
            (None, false),
            "{key}: a node may have a soft taint for ever"
        );
    }
    let role = "taints: [{key: node-role.kubernetes.io/control-plane, effect: NoSchedule}]";
    assert_eq!(absent(node(role, "True")), (None, false));

    let unready = CLUSTER.replacen("phase: Running", "phase: Pending", 1);
    let roster = parsed(&unready).unwrap().roster();
    assert_eq!(roster.pod_absent("default/web-1").unwrap(), "pod default/web-1 is Pending");
    assert_eq!(roster.pod_absent("default/web-2"), None);
    assert_eq!(roster.pod_absent("default/web-7").unwrap(), "pod default/web-7 is gone");
    let owner = roster.owner("fd00:244:3::2".parse().unwrap()).unwrap();
    assert_eq!((owner.node.as_str(), owner.pod.as_deref()), ("n3", Some("default/web-3")));
    assert!(roster.owner("10.96.0.80".parse().unwrap()).is_none(), "nobody owns a service's address");
}

#[test]
fn nodes_on_which_no_agent_can_run() {
    let of = |labels: &str, rest: &str| {
        let text = format!(
            "kind: List\nitems:\n- kind: Node\n  metadata: {{name: n1, labels: {{{labels}}}}}\n  {rest}\n- kind: Pod\n  \
             metadata: {{name: p}}\n  spec: {{nodeName: n1}}\n  status: {{phase: Running, podIP: 10.0.0.9, \
             conditions: [{{type: Ready, status: 'True'}}]}}\n"
        );
        let ready = "conditions: [{type: Ready, status: 'True'}]";
        let roster = parsed(&text.replace("READY", ready)).unwrap().roster();
        assert_eq!(roster.pod_absent("default/p"), None, "pods run there");
        roster.node_absent("n1")
    };
    let plain = "status: {READY}";
    for linux in ["kubernetes.io/os: linux, kubernetes.io/arch: arm64", "", "type: physical"] {
        assert_eq!(of(linux, plain), None, "{linux}");
    }
    let rows = [
        ("kubernetes.io/os: windows", plain, "no agent runs on node n1: it runs windows"),
        ("beta.kubernetes.io/os: windows", plain, "it runs windows"),
        ("", "status: {nodeInfo: {operatingSystem: windows}, READY}", "it runs windows"),
        ("eks.amazonaws.com/compute-type: fargate", plain, "Fargate"),
        ("type: virtual-kubelet, kubernetes.io/os: linux", plain, "virtual kubelet"),
        (
            "",
            "spec: {taints: [{key: virtual-kubelet.io/provider, effect: NoSchedule}]}\n  status: {READY}",
            "virtual",
        ),
    ];
    for (labels, rest, why) in rows {
        let absent = of(labels, rest).unwrap_or_else(|| panic!("{labels} {rest}"));
        assert!(absent.contains(why), "{absent}");
    }
}

#[test]
fn annotated_away() {
    let text = CLUSTER.replacen(
        "metadata: {name: web-1,",
        "metadata: {annotations: {netcheck.io/probe: 'false'}, name: web-1,",
        1,
    );
    let roster = parsed(&text).unwrap().roster();
    assert!(
        roster.pods["default/web-1"].mark == Mark::Skip && roster.pods["default/web-2"].mark == Mark::None
    );
    let catalog = crate::plan::Catalog::of(
        &roster,
        &crate::selection::Selection::everything(),
        &std::collections::BTreeMap::new(),
        "a.b",
    );
    assert!(catalog.targets().all(|target| *target.id != *"pod/default/web-1"));
}

/// Waits until the hub's state is as wanted; it is looked at after every tick.
async fn until(what: &str, hub: &Hub, wanted: impl Fn(&State) -> bool) {
    let mut ticks = hub.ticks();
    let waiting = ticks.wait_for(|_| wanted(&hub.lock()));
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect(what).unwrap();
}

#[tokio::test]
async fn the_file_is_followed_and_a_broken_one_keeps_the_last_good_roster() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inventory.yaml");
    let replace = |text: &str| {
        let new = folder.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &path).unwrap();
    };
    let hub = Hub::new(Settings {
        selection: crate::selection::Selection::default(),
        ..Settings::every(Duration::from_secs(1))
    });
    let missing = InventoryTask::start(path.clone(), Arc::clone(&hub));
    assert!(matches!(missing, Err(InventoryError::Read { .. })));
    replace(CLUSTER);
    let task = InventoryTask::start(path.clone(), Arc::clone(&hub)).unwrap();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(task.run(shutdown.clone()));
    let ticking = tokio::spawn(HubTask { hub: Arc::clone(&hub) }.run(shutdown.clone()));

    replace("kind: List\nitems: [");
    until("the broken file is noticed", &hub, |state| state.inventory_error.is_some()).await;
    assert_eq!(hub.lock().roster.nodes.len(), 3, "the last good one stays");
    assert!(hub.lock().caveats()[0].contains("inventory.yaml is broken"));
    replace(&CLUSTER.replace("name: n3\n", "namespace: default\n"));
    let nameless = |state: &State| state.caveats().iter().any(|line| line.contains("(Node default/?)"));
    until("the nameless node is noticed", &hub, nameless).await;
    assert_eq!(hub.lock().roster.nodes.len(), 2, "it costs itself");
    assert_eq!((hub.lock().inventory_error.clone(), hub.lock().counters.objects_skipped), (None, 1));

    replace(&CLUSTER.replace("name: n3\n", "name: n4\n"));
    until("the good file is taken", &hub, |state| state.roster.nodes.contains_key("n4")).await;
    assert_eq!(hub.lock().inventory_error, None);

    std::fs::remove_file(&path).unwrap();
    until("the missing file is noticed", &hub, |state| state.inventory_error.is_some()).await;
    // Written in place, of the same size as before.
    std::fs::write(&path, CLUSTER.replace("name: n3\n", "name: n5\n")).unwrap();
    until("the new file is taken", &hub, |state| state.roster.nodes.contains_key("n5")).await;
    shutdown.cancel();
    running.await.unwrap();
    ticking.await.unwrap();
}
