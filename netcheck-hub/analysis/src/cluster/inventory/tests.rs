use super::*;
use crate::cluster::roster::Mark;

const CLUSTER: &str = include_str!("../../../../tests/hub/cluster.yaml");

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
fn what_is_wrong_is_said_with_its_position_in_one_line() {
    let rows = [
        ("{\"kind\": \"List\",\n \"items\": [}", "f.yaml is broken", "line 2"),
        ("kind: List\nitems:\n- a: [\n", "f.yaml is broken", "line"),
        ("", "f.yaml", ""),
        ("kind: Pod\nmetadata: {}\n", "not a v1 List of Kubernetes objects but a Pod", ""),
        ("kind: List\n", "a List without items", ""),
        ("items: []\n", "without a kind", ""),
        ("kind: List\nitems: []\n", "has no Node", ""),
        (
            "kind: List\nitems:\n- {kind: Node, metadata: {name: n1}}\n- {kind: Pod, metadata: {name: p}, spec: {nodeName: [1]}}\n",
            "items[1] (Pod p) is broken",
            "",
        ),
    ];
    for (text, expected, position) in rows {
        let error = parsed(text).expect_err(text);
        assert!(error.contains(expected) && error.contains(position), "{text:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn malformed_items_are_refused_by_their_position() {
    let rows = [
        ("5", "items[1] is a number, not an object"),
        ("null", "items[1] is nothing, not an object"),
        ("{metadata: {name: x}}", "items[1] has no kind"),
        ("{kind: 7, metadata: {name: x}}", "items[1] has no kind"),
        ("{kind: Node, metadata: {}}", "items[1] (Node ?) is broken: it has no name"),
        ("{kind: Node, metadata: {name: ''}}", "items[1] (Node ) is broken: it has no name"),
        ("{kind: Pod, metadata: {namespace: a}}", "items[1] (Pod ?) is broken: it has no name"),
        ("{kind: Service, metadata: {labels: {a: b}}}", "items[1] (Service ?) is broken: it has no name"),
        (
            "{kind: EndpointSlice, metadata: {}, addressType: IPv4, endpoints: []}",
            "items[1] (EndpointSlice ?) is broken",
        ),
        (
            "{kind: Node, metadata: {name: \"n\\e[2J\"}}",
            "items[1] (Node n\u{fffd}[2J) is broken: metadata.name is not a name",
        ),
        ("{kind: Pod, metadata: {name: p, namespace: a/b}}", "metadata.namespace is not a name: \"a/b\""),
        (
            "{kind: Node, metadata: {name: x}, status: {addresses: [{type: InternalIP, address: 10.0.0.300}]}}",
            "status.addresses, InternalIP is not an address: \"10.0.0.300\"",
        ),
        (
            "{kind: Pod, metadata: {name: x}, status: {podIPs: [{ip: here}]}}",
            "status.podIPs is not an address",
        ),
        ("{kind: Pod, metadata: {name: x}, status: {podIP: here}}", "status.podIP is not an address"),
        (
            "{kind: Pod, metadata: {name: x}, spec: {containers: [], nodeName: 'a b'}}",
            "spec.nodeName is not a name",
        ),
        (
            "{kind: Service, metadata: {name: x}, spec: {clusterIP: 10.0.0}}",
            "spec.clusterIPs is not an address",
        ),
        (
            "{kind: Service, metadata: {name: x}, spec: {ports: [{port: 70000}]}}",
            "spec.ports is not a port: 70000",
        ),
        (
            "{kind: EndpointSlice, metadata: {name: x}, addressType: IPv4, endpoints: [{addresses: [web]}]}",
            "endpoints.addresses is not an address: \"web\"",
        ),
        ("{kind: Node, metadata: {name: n1}}", "items[1] (Node n1) is broken: items[0] is the same object"),
    ];
    for (item, expected) in rows {
        let text = format!("kind: List\nitems:\n- {{kind: Node, metadata: {{name: n1}}}}\n- {item}\n");
        let error = parsed(&text).expect_err(item);
        assert!(error.contains(expected), "{item}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let fine = [
        "{kind: Service, metadata: {name: x}, spec: {clusterIP: None, clusterIPs: [None]}}",
        "{kind: Service, metadata: {name: x}, spec: {type: ExternalName, externalName: a.b}}",
        "{kind: EndpointSlice, metadata: {name: x}, addressType: FQDN, endpoints: [{addresses: [a.b]}]}",
        "{kind: Pod, metadata: {name: x}, status: {phase: Pending}}",
        "{kind: Pod, metadata: {name: n1}}",
        "{kind: Secret, metadata: {}}",
    ];
    for item in fine {
        let text = format!("kind: List\nitems:\n- {{kind: Node, metadata: {{name: n1}}}}\n- {item}\n");
        assert_eq!(parsed(&text).map(|objects| objects.nodes.len()), Ok(1), "{item}");
    }
    assert_eq!(parsed("kind: NodeList\nitems: [{metadata: {name: n1}}]\n").unwrap().nodes.len(), 1);
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
        &crate::cluster::selection::Selection::everything(),
        &std::collections::BTreeMap::new(),
        "a.b",
    );
    assert!(catalog.targets().all(|target| *target.id != *"pod/default/web-1"));
}
