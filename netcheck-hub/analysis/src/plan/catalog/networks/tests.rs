//! Secondary networks of pods, as tables of targets and paths.

use std::collections::BTreeMap;

use netcheck_common::domain::Vantage;
use serde_json::{Value, json};

use netcheck_proto::v1;

use super::*;
use crate::cluster::roster::Objects;
use crate::cluster::selection::Selection;
use crate::model::target::TargetKind;

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// A pod `default/NAME` on a node, with what Multus notes on it.
fn pod(name: &str, node: u8, own: &[&str], networks: &[(&str, &[&str])]) -> Value {
    let own: Vec<Value> = own.iter().map(|ip| json!({ "ip": ip })).collect();
    let mut note = vec![json!({ "name": "cbr0", "interface": "eth0", "ips": [], "default": true })];
    for (at, (network, ips)) in networks.iter().enumerate() {
        note.push(json!({ "name": network, "interface": format!("net{}", at + 1), "ips": ips }));
    }
    let labels = match name.starts_with("vantage") {
        true => json!({ "app.kubernetes.io/name": "netcheck", "app.kubernetes.io/component": "vantage" }),
        false => json!({}),
    };
    json!({
        "metadata": {
            "name": name, "namespace": "default", "labels": labels,
            "annotations": { "k8s.v1.cni.cncf.io/network-status": Value::from(note).to_string() },
        },
        "spec": { "nodeName": format!("n{node}"), "containers": [] },
        "status": {
            "phase": "Running", "podIPs": own, "conditions": [{ "type": "Ready", "status": "True" }],
        },
    })
}

fn catalog(pods: Vec<Value>) -> Catalog {
    let mut objects = Objects::default();
    for node in 1..=2 {
        let object = json!({
            "metadata": { "name": format!("n{node}") },
            "status": {
                "addresses": [{ "type": "InternalIP", "address": format!("10.0.0.{node}") }],
                "conditions": [{ "type": "Ready", "status": "True" }],
            },
        });
        objects.nodes.push(serde_json::from_value(object).unwrap());
    }
    objects.pods = pods.into_iter().map(|pod| serde_json::from_value(pod).unwrap()).collect();
    Catalog::of(&objects.roster(), &Selection::everything(), &BTreeMap::new(), "a.b")
}

/// Everything can be probed from it.
fn source(addresses: &[&str]) -> PodSource {
    let can = [(v1::ProbeKind::Icmp, 4), (v1::ProbeKind::Icmp, 6)];
    let reported = v1::PodVantage {
        pod: "as-it-calls-itself".into(),
        addresses: addresses
            .iter()
            .map(|address| netcheck_proto::convert::address_bytes(address.parse().unwrap()))
            .collect(),
        can: can.map(|(kind, ip_version)| v1::VantageKind { kind: kind.into(), ip_version }).into(),
        ..Default::default()
    };
    PodSource::read(&reported).unwrap()
}

/// What is probed from the pod of a node, on secondary networks and to pods on the cluster's own.
fn paths(catalog: &Catalog, node: &str, from: &PodSource) -> Vec<String> {
    let wanted = catalog.of_node_and_pod(node, &FAMILIES, Some(from));
    let host = |target: &Target| target.network().is_some();
    assert!(!wanted.iter().any(|path| path.vantage == Vantage::Host && host(&path.probe.target)));
    let pods = wanted.iter().filter(|path| path.vantage == Vantage::Pod);
    let pods = pods.filter(|path| path.probe.target.kind == TargetKind::Pod);
    pods.map(|path| format!("{} {}", path.probe.target.id, path.probe.address)).collect()
}

#[test]
fn only_who_is_on_a_network_probes_it() {
    let catalog = catalog(vec![
        pod("vantage-1", 1, &["10.244.1.9"], &[("a/storage", &["10.1.0.1", "fd01::1"])]),
        pod("vantage-2", 2, &["10.244.2.9"], &[("a/storage", &["10.1.0.2"]), ("a/db", &["10.2.0.2"])]),
        pod(
            "db-1",
            1,
            &["10.244.1.2"],
            &[("a/storage", &["10.1.0.11", "fd01::11"]), ("a/db", &["10.2.0.11"])],
        ),
        pod("sriov-1", 1, &["10.244.1.3"], &[("a/fast", &["10.3.0.1"])]),
    ]);
    assert_eq!(
        paths(&catalog, "n1", &source(&["10.244.1.9", "10.1.0.1", "fd01::1"])),
        [
            "pod/default/db-1 10.244.1.2",
            "pod/default/db-1@a/storage 10.1.0.11",
            "pod/default/db-1@a/storage fd01::11",
            "pod/default/sriov-1 10.244.1.3",
            "pod/default/vantage-2 10.244.2.9",
            "pod/default/vantage-2@a/storage 10.1.0.2",
        ]
    );
    // Its address on the network is gone: what is meant to be probed stays the same, and is not measured.
    assert_eq!(
        paths(&catalog, "n2", &source(&["10.244.2.9"])),
        [
            "pod/default/db-1 10.244.1.2",
            "pod/default/db-1@a/db 10.2.0.11",
            "pod/default/db-1@a/storage 10.1.0.11",
            "pod/default/sriov-1 10.244.1.3",
            "pod/default/vantage-1 10.244.1.9",
            "pod/default/vantage-1@a/storage 10.1.0.1",
        ]
    );
    let nobody = source(&["10.9.9.9"]);
    assert!(!paths(&catalog, "n1", &nobody).iter().any(|path| path.contains('@')), "an unknown pod");
    let reported: Vec<&String> = catalog.left_out.iter().filter(|line| line.contains("network")).collect();
    assert_eq!(reported.len(), 1, "{reported:?}");
    assert!(
        reported[0].starts_with("1 pod's secondary network not probed")
            && reported[0].contains("default/sriov-1 on a/fast")
    );
    let of = catalog.addresses.iter().find(|of| of.address.to_string() == "10.1.0.11").unwrap();
    assert_eq!(
        (of.node.as_str(), of.pod.as_deref(), of.network.as_deref()),
        ("n1", Some("default/db-1"), Some("a/storage"))
    );
    let target = catalog.targets().find(|target| target.id.contains('@')).unwrap();
    let wire = target.to_wire();
    assert_eq!(
        (wire.id.as_str(), wire.name.as_str(), wire.network.as_str()),
        ("pod/default/db-1@a/db", "db-1", "a/db")
    );
    assert_eq!(crate::words::names::target_name(&wire), "pod default/db-1 on network a/db");
}

#[test]
fn what_is_wrong_with_a_note_or_an_address_is_reported_and_the_rest_is_probed() {
    let mut broken = pod("web-1", 1, &["10.244.1.4"], &[]);
    broken["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"] = json!("[{");
    let catalog = catalog(vec![
        pod("vantage-1", 1, &["10.244.1.9"], &[("a/storage", &["10.1.0.1"])]),
        pod("twin-1", 1, &["10.244.1.5"], &[("a/storage", &["10.1.0.7"])]),
        pod("twin-2", 2, &["10.244.2.5"], &[("a/storage", &["10.1.0.7"])]),
        broken,
    ]);
    let paths = paths(&catalog, "n1", &source(&["10.244.1.9", "10.1.0.1"]));
    assert_eq!(
        paths,
        ["pod/default/twin-1 10.244.1.5", "pod/default/twin-2 10.244.2.5", "pod/default/web-1 10.244.1.4"]
    );
    let has =
        |words: &[&str]| catalog.left_out.iter().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(has(&["1 address on secondary networks", "10.1.0.7"]), "{:?}", catalog.left_out);
    assert!(
        has(&["1 pod with something wrong", "default/web-1: it can't be read"]),
        "{:?}",
        catalog.left_out
    );
}

#[test]
fn addresses_on_other_networks_open_no_way_on_the_clusters_own() {
    let target = pod("web-1", 2, &["10.244.2.2", "fd00::2"], &[]);
    let catalog = catalog(vec![
        pod("vantage-1", 1, &["10.244.1.9"], &[("a/storage", &["10.1.0.1", "fd01::1"])]),
        target,
    ]);
    let from = source(&["10.244.1.9", "10.1.0.1", "fd01::1"]);
    assert_eq!(paths(&catalog, "n1", &from), ["pod/default/web-1 10.244.2.2"], "it has IPv6 elsewhere alone");
}
