use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::Value;

use super::list;
use crate::fault::Fault;
use crate::service;
use crate::spec::LabSpec;
use crate::topology::Topology;

/// The objects, read as Kubernetes' own types read them.
struct Inventory {
    namespaces: Vec<Namespace>,
    nodes: Vec<Node>,
    pods: Vec<Pod>,
    services: Vec<Service>,
    slices: Vec<EndpointSlice>,
}

fn json(faults: &[&str]) -> Value {
    let topology = Topology::new(&LabSpec::default());
    let faults: Vec<Fault> = faults.iter().map(|text| text.parse().unwrap()).collect();
    list(&topology, &service::under(&topology, &faults), &faults)
}

fn inventory(faults: &[&str]) -> Inventory {
    let list = json(faults);
    assert_eq!((&list["apiVersion"], &list["kind"]), (&"v1".into(), &"List".into()));
    let mut all =
        Inventory { namespaces: vec![], nodes: vec![], pods: vec![], services: vec![], slices: vec![] };
    for item in list["items"].as_array().unwrap() {
        let object = item.clone();
        match item["kind"].as_str().unwrap() {
            "Namespace" => all.namespaces.push(serde_json::from_value(object).unwrap()),
            "Node" => all.nodes.push(serde_json::from_value(object).unwrap()),
            "Pod" => all.pods.push(serde_json::from_value(object).unwrap()),
            "Service" => all.services.push(serde_json::from_value(object).unwrap()),
            "EndpointSlice" => all.slices.push(serde_json::from_value(object).unwrap()),
            other => panic!("a {other} in the list"),
        }
    }
    all
}

impl Inventory {
    fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.metadata.name.as_deref() == Some(name))
    }

    fn pod(&self, name: &str) -> Option<&Pod> {
        self.pods.iter().find(|pod| pod.metadata.name.as_deref() == Some(name))
    }

    /// Address and readiness of each endpoint of a slice.
    fn endpoints(&self, slice: &str) -> Vec<(String, bool)> {
        let slice = self.slices.iter().find(|s| s.metadata.name.as_deref() == Some(slice)).unwrap();
        let endpoints = slice.endpoints.iter();
        endpoints
            .map(|e| (e.addresses[0].clone(), e.conditions.as_ref().and_then(|c| c.ready).unwrap()))
            .collect()
    }
}

fn ready(conditions: impl IntoIterator<Item = (String, String)>) -> String {
    conditions.into_iter().find(|(kind, _)| kind == "Ready").unwrap().1
}

fn node_ready(node: &Node) -> String {
    let conditions = node.status.clone().unwrap().conditions.unwrap();
    ready(conditions.into_iter().map(|c| (c.type_, c.status)))
}

fn pod_ready(pod: &Pod) -> String {
    let conditions = pod.status.clone().unwrap().conditions.unwrap();
    ready(conditions.into_iter().map(|c| (c.type_, c.status)))
}

#[test]
fn a_healthy_cluster() {
    let all = inventory(&[]);
    assert_eq!((all.nodes.len(), all.pods.len()), (4, 12));
    assert_eq!((all.services.len(), all.slices.len()), (4, 8));

    let n3 = all.node("n3").unwrap();
    let labels = n3.metadata.labels.as_ref().unwrap();
    assert_eq!(labels["topology.kubernetes.io/zone"], "zone-b");
    assert_eq!(labels["kubernetes.io/hostname"], "n3");
    let addresses = n3.status.as_ref().unwrap().addresses.as_ref().unwrap();
    let internal = addresses.iter().filter(|a| a.type_ == "InternalIP").map(|a| a.address.as_str());
    assert_eq!(Vec::from_iter(internal), ["172.30.0.13", "fd00:172:30::13"]);
    let spec = n3.spec.as_ref().unwrap();
    assert_eq!(spec.pod_cidrs.as_ref().unwrap(), &["10.244.3.0/24", "fd00:10:244:3::/64"]);
    assert_eq!((spec.unschedulable, &spec.taints, node_ready(n3).as_str()), (None, &None, "True"));

    let web = all.pod("web-n2").unwrap();
    assert_eq!(web.metadata.labels.as_ref().unwrap()["app"], "web");
    assert_eq!(web.spec.as_ref().unwrap().node_name.as_deref(), Some("n2"));
    let ips = web.status.as_ref().unwrap().pod_ips.as_ref().unwrap();
    assert_eq!(ips.iter().map(|ip| ip.ip.as_str()).collect::<Vec<_>>(), ["10.244.2.11", "fd00:10:244:2::11"]);
    let proxy = all.pod("kube-proxy-n1").unwrap();
    assert_eq!(proxy.spec.as_ref().unwrap().host_network, Some(true));
    assert_eq!(proxy.status.as_ref().unwrap().pod_ip.as_deref(), Some("172.30.0.11"));

    let service = all.services.iter().find(|s| s.metadata.name.as_deref() == Some("web")).unwrap();
    let spec = service.spec.as_ref().unwrap();
    assert_eq!(spec.cluster_ips.as_ref().unwrap(), &["10.96.0.20", "fd00:10:96::20"]);
    assert_eq!(spec.ip_families.as_ref().unwrap(), &["IPv4", "IPv6"]);
    assert_eq!((spec.type_.as_deref(), spec.ports.as_ref().unwrap()[0].port), (Some("ClusterIP"), 80));

    for slice in &all.slices {
        let name = &slice.metadata.labels.as_ref().unwrap()["kubernetes.io/service-name"];
        assert!(all.services.iter().any(|service| service.metadata.name.as_ref() == Some(name)));
        for endpoint in &slice.endpoints {
            let v6 = endpoint.addresses[0].contains(':');
            assert_eq!(slice.address_type, if v6 { "IPv6" } else { "IPv4" });
            // A reference leads to the very pod, with its address.
            if let Some(target) = &endpoint.target_ref {
                let pod = all.pod(target.name.as_ref().unwrap()).unwrap();
                assert_eq!(pod.metadata.uid, target.uid);
                assert_eq!(pod.metadata.namespace, target.namespace);
                assert_eq!(pod.spec.as_ref().unwrap().node_name, endpoint.node_name);
                let ips = pod.status.as_ref().unwrap().pod_ips.as_ref().unwrap();
                assert_eq!(ips[usize::from(v6)].ip, endpoint.addresses[0]);
            }
        }
    }
    assert_eq!(all.endpoints("kubernetes-ipv6"), [("fd00:172:30::2".to_owned(), true)]);
}

#[test]
fn every_object_has_its_own_uid() {
    let list = json(&[]);
    let items = list["items"].as_array().unwrap();
    let uids: BTreeSet<&str> = items.iter().map(|item| item["metadata"]["uid"].as_str().unwrap()).collect();
    assert_eq!(uids.len(), items.len());
    for uid in uids {
        let groups: Vec<usize> = uid.split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12], "{uid}");
    }
}

#[test]
fn a_node_that_is_not_ready() {
    let all = inventory(&["node-state node=n1 state=notready"]);
    let node = all.node("n1").unwrap();
    assert_eq!(node_ready(node), "Unknown");
    assert_eq!(node.spec.as_ref().unwrap().taints.as_ref().unwrap().len(), 2);
    assert_eq!(pod_ready(all.pod("web-n1").unwrap()), "False");
    assert_eq!(pod_ready(all.pod("web-n2").unwrap()), "True");
    assert_eq!(all.endpoints("web-ipv4").iter().filter(|(_, ready)| *ready).count(), 2);
    assert_eq!(all.endpoints("web-ipv4").len(), 3);
}

#[test]
fn a_cordoned_node() {
    let all = inventory(&["node-state node=n1 state=cordoned"]);
    let node = all.node("n1").unwrap();
    assert_eq!((node.spec.as_ref().unwrap().unschedulable, node_ready(node).as_str()), (Some(true), "True"));
    assert_eq!(pod_ready(all.pod("web-n1").unwrap()), "True");
}

#[test]
fn what_is_gone() {
    let all = inventory(&["node-state node=n1 state=deleted", "pod-gone pod=web-n2"]);
    assert!(all.node("n1").is_none() && all.pod("web-n1").is_none() && all.pod("kube-proxy-n1").is_none());
    assert!(all.pod("web-n2").is_none() && all.pod("app-n2-2").is_some());
    assert_eq!(all.endpoints("web-ipv6"), [("fd00:10:244:3::11".to_owned(), true)]);
    assert_eq!(all.endpoints("web-headless-ipv4"), [("10.244.3.11".to_owned(), true)]);
}

#[test]
fn endpoints_that_lie_or_lack() {
    let all = inventory(&["backend-dead pod=web-n2", "no-endpoints service=web-headless"]);
    let dead = ("fd00:10:244:2::254".to_owned(), true);
    assert!(all.endpoints("web-ipv6").contains(&dead));
    assert_eq!(all.endpoints("web-headless-ipv6"), []);
}

#[test]
fn a_secondary_network_is_noted_as_multus_does() {
    let spec = LabSpec { vantage: true, storage: true, ..LabSpec::default() };
    let topology = Topology::new(&spec);
    let list = list(&topology, &service::under(&topology, &[]), &[]);
    let note = |name: &str| {
        let pod =
            list["items"].as_array().unwrap().iter().find(|item| item["metadata"]["name"] == name).unwrap();
        let note = pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"].as_str();
        note.map(|note| serde_json::from_str::<Value>(note).unwrap())
    };
    let vantage = note("vantage-n2").unwrap();
    assert_eq!((&vantage[0]["default"], &vantage[0]["ips"][0]), (&true.into(), &"10.244.2.13".into()));
    assert_eq!((&vantage[1]["name"], &vantage[1]["interface"]), (&"default/storage".into(), &"net1".into()));
    assert_eq!(vantage[1]["ips"], serde_json::json!(["10.250.2.13", "fd00:10:250::2:13"]));
    assert!(vantage[1]["default"].is_null() && note("app-n1-2").is_some() && note("web-n1").is_none());
    let plain = json(&[]);
    assert!(!plain.to_string().contains("network-status"), "a lab without it has none");
}
