use super::*;
use crate::cluster::roster::ProbeAnnotation;

mod generated;
mod judging;
mod partial;
mod people;
mod shapes;

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

/// The cluster of the other tests, as JSON.
fn cluster_json() -> serde_json::Value {
    serde_saphyr::from_str(CLUSTER).unwrap()
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
    let coming =
        "taints: [{key: node.cloudprovider.kubernetes.io/uninitialized, value: 'true', effect: NoSchedule}]";
    assert!(absent(node(coming, "True")).0.unwrap().starts_with("node n1 is not ready for use yet (taint"));
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
        roster.pods["default/web-1"].annotation == ProbeAnnotation::Skip
            && roster.pods["default/web-2"].annotation == ProbeAnnotation::None
    );
    let catalog = crate::plan::Catalog::of(
        &roster,
        &crate::cluster::selection::Selection::everything(),
        &std::collections::BTreeMap::new(),
        "a.b",
    );
    assert!(catalog.targets().all(|target| *target.id != *"pod/default/web-1"));
}
