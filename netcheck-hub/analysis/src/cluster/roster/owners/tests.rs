use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::cluster::inventory;

/// A roster of these items.
fn roster(items: &[String]) -> Roster {
    let text = format!("kind: List\nitems:\n{}", items.concat());
    inventory::parse(Path::new("f"), &text).unwrap_or_else(|error| panic!("{error}: {text}")).roster()
}

fn node(name: &str, addresses: &[&str]) -> String {
    let addresses: Vec<String> =
        addresses.iter().map(|at| format!("{{type: InternalIP, address: '{at}'}}")).collect();
    format!(
        "- {{kind: Node, metadata: {{name: {name}}}, status: {{addresses: [{}], \
         conditions: [{{type: Ready, status: 'True'}}]}}}}\n",
        addresses.join(", ")
    )
}

fn pod(name: &str, node: &str, address: &str, more: &str) -> String {
    format!(
        "- {{kind: Pod, metadata: {{name: {name}{more}}}, spec: {{nodeName: {node}}}, status: {{phase: Running, \
         podIP: {address}, conditions: [{{type: Ready, status: 'True'}}]}}}}\n"
    )
}

fn service(name: &str, address: &str) -> String {
    format!(
        "- {{kind: Service, metadata: {{name: {name}}}, spec: {{clusterIP: {address}, ports: [{{port: 80}}]}}}}\n"
    )
}

const GOING: &str = ", deletionTimestamp: '2026-01-01T00:00:00Z'";

fn owner(roster: &Roster, address: &str) -> Option<String> {
    let owner = roster.owner(address.parse().unwrap())?;
    Some(owner.pod.clone().unwrap_or_else(|| owner.node.clone()))
}

#[test]
fn a_service_at_the_address_of_its_backend_contests_nothing() {
    let slice = "- {apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: alias-1, \
                 labels: {kubernetes.io/service-name: alias}}, addressType: IPv4, ports: [{port: 80}], \
                 endpoints: [{addresses: [10.244.1.2], conditions: {ready: true}}]}\n";
    let items = [
        node("n1", &["10.0.0.1"]),
        pod("web", "n1", "10.244.1.2", ""),
        service("alias", "10.244.1.2"),
        slice.to_owned(),
    ];
    let led = roster(&items);
    assert!(led.contested.is_empty(), "{:?}", led.contested);
    assert_eq!(owner(&led, "10.244.1.2").as_deref(), Some("default/web"));
    assert_eq!(roster(&items[..3]).contested.len(), 1, "without the endpoint nobody knows whose it is");
}

#[test]
fn an_address_of_several_is_nobodys() {
    let pods = roster(&[
        node("n1", &["10.0.0.1"]),
        pod("a", "n1", "10.244.1.2", ""),
        pod("b", "n1", "10.244.1.2", ""),
        pod("c", "n1", "10.244.1.3", ""),
    ]);
    assert_eq!(owner(&pods, "10.244.1.2"), None);
    assert_eq!(owner(&pods, "10.244.1.3").as_deref(), Some("default/c"));
    assert!(pods.pods["default/a"].addresses.is_empty() && pods.pods["default/b"].addresses.is_empty());
    let names = pods.contested.values().next().unwrap();
    assert_eq!(names.iter().collect::<Vec<_>>(), ["pod default/a", "pod default/b"]);
    assert_eq!(pods.unjudged(), 2);

    let nodes = roster(&[
        node("n1", &["10.0.2.15"]),
        node("n2", &["10.0.2.15", "fd00::2"]),
        node("n3", &["10.0.2.15"]),
        node("n4", &[]),
    ]);
    assert_eq!(nodes.contested.len(), 1);
    assert_eq!(nodes.nodes["n2"].addresses.len(), 1, "its other address is its own");
    assert_eq!(nodes.addressless().map(|node| node.name.as_str()).collect::<Vec<_>>(), ["n4"]);
    assert_eq!(nodes.unjudged(), 4);

    let mixed = roster(&[
        node("n1", &["10.0.0.1"]),
        node("n2", &["10.0.0.2"]),
        pod("a", "n1", "10.0.0.2", ""),
        pod("b", "n1", "10.96.0.9", ""),
        service("x", "10.96.0.9"),
        service("y", "10.96.0.8"),
        service("z", "10.96.0.8"),
    ]);
    assert_eq!(mixed.contested.len(), 3, "{:?}", mixed.contested);
    assert_eq!((owner(&mixed, "10.0.0.2"), owner(&mixed, "10.0.0.1").as_deref()), (None, Some("n1")));
    assert!(mixed.services.values().all(|service| service.cluster_addresses.is_empty()));
}

#[test]
fn a_pod_in_its_nodes_network_and_one_on_its_way_out_own_nothing() {
    let roster = roster(&[
        node("n1", &["10.0.0.1"]),
        pod("host", "n1", "10.0.0.1", ""),
        pod("old", "n1", "10.244.1.2", GOING),
        pod("new", "n1", "10.244.1.2", ""),
        pod("last", "n1", "10.244.1.3", GOING),
    ]);
    assert!(roster.contested.is_empty(), "{:?}", roster.contested);
    assert_eq!(owner(&roster, "10.0.0.1").as_deref(), Some("n1"));
    assert_eq!(owner(&roster, "10.244.1.2").as_deref(), Some("default/new"));
    assert_eq!(owner(&roster, "10.244.1.3"), None);
    assert!(roster.pods["default/old"].addresses.is_empty(), "whoever probed it would meet the new one");
    assert_eq!(roster.pods["default/last"].addresses.len(), 1, "it may still answer");
    let done = pod("done", "n1", "10.244.1.2", "").replace("phase: Running", "phase: Succeeded");
    let after = self::roster(&[node("n1", &["10.0.0.1"]), done, pod("new", "n1", "10.244.1.2", "")]);
    assert_eq!((after.contested.len(), after.pods.len()), (0, 1));
}

#[test]
fn a_pod_of_a_node_that_is_gone_leaves_its_address_to_others() {
    let orphan = |name: &str, address: &str| pod(name, "gone", address, "");
    let roster = roster(&[
        node("n1", &["10.0.0.1"]),
        orphan("a", "10.244.1.2"),
        pod("new", "n1", "10.244.1.2", ""),
        orphan("b", "10.244.1.3"),
        orphan("c", "10.244.1.4"),
        orphan("d", "10.244.1.4"),
        orphan("e", "10.96.0.9"),
        service("x", "10.96.0.9"),
    ]);
    assert_eq!(owner(&roster, "10.244.1.2").as_deref(), Some("default/new"));
    assert_eq!(owner(&roster, "10.244.1.3").as_deref(), Some("default/b"), "its node may only be unknown");
    assert_eq!(roster.contested.keys().map(ToString::to_string).collect::<Vec<_>>(), ["10.244.1.4"]);
    assert!(
        ["a", "c", "d", "e"].iter().all(|pod| roster.pods[&format!("default/{pod}")].addresses.is_empty())
    );
    assert_eq!(roster.services["default/x"].cluster_addresses.len(), 1);
}

/// A node with this status of its condition Ready, and these labels.
fn node_in(name: &str, address: &str, ready: &str, labels: &str) -> String {
    node(name, &[address])
        .replace("status: 'True'", &format!("status: '{ready}'"))
        .replace(&format!("{{name: {name}}}"), &format!("{{name: {name}, labels: {{{labels}}}}}"))
}

const VIRTUAL: &str = "type: virtual-kubelet";

#[test]
fn what_is_lost_leaves_its_address_to_the_living() {
    let lost = roster(&[
        node_in("old", "10.0.0.2", "Unknown", ""),
        node("n1", &["10.0.0.1"]),
        node("n2", &["10.0.0.2"]),
        node_in("n3", "10.0.0.3", "Unknown", ""),
        pod("a", "n3", "10.244.1.2", ""),
        pod("new", "n1", "10.244.1.2", ""),
        pod("b", "n3", "10.244.1.3", ""),
    ]);
    assert!(lost.contested.is_empty(), "{:?}", lost.contested);
    assert_eq!(owner(&lost, "10.0.0.2").as_deref(), Some("n2"));
    assert_eq!((lost.nodes["n2"].addresses.len(), lost.nodes["old"].addresses.len()), (1, 0));
    assert_eq!(owner(&lost, "10.244.1.2").as_deref(), Some("default/new"));
    assert!(lost.pods["default/a"].addresses.is_empty());
    assert_eq!(owner(&lost, "10.0.0.3").as_deref(), Some("n3"), "nobody else wants it");
    assert_eq!(owner(&lost, "10.244.1.3").as_deref(), Some("default/b"));
    assert_eq!(lost.unjudged(), 0, "nobody is meant to probe what is lost");

    // Two that are alive contest it, whoever else had it; so do two that are not.
    let alive = roster(&[
        node("n1", &["10.0.0.2"]),
        node_in("n2", "10.0.0.2", "False", ""),
        node_in("n3", "10.0.0.2", "Unknown", ""),
        node_in("n4", "10.0.0.4", "Unknown", ""),
        node_in("n5", "10.0.0.4", "Unknown", ""),
    ]);
    let names: Vec<String> = alive.contested.values().flatten().cloned().collect();
    assert_eq!(names, ["node n1", "node n2", "node n4", "node n5"]);
    assert!(alive.nodes.values().all(|node| node.addresses.is_empty()));
}

#[test]
fn a_virtual_kubelet_leaves_its_address_to_a_pod() {
    let fargate = "eks.amazonaws.com/compute-type: fargate";
    let led = roster(&[
        node("n1", &["10.0.0.1"]),
        node_in("virtual-1", "10.244.1.2", "True", VIRTUAL),
        pod("connector", "n1", "10.244.1.2", ""),
        pod("batch", "virtual-1", "10.241.0.4", ""),
        node_in("far", "10.0.9.7", "True", fargate),
        pod("dns", "far", "10.0.9.7", ""),
        node_in("other", "10.0.9.8", "True", VIRTUAL),
    ]);
    assert!(led.contested.is_empty(), "{:?}", led.contested);
    for (address, pod) in [("10.244.1.2", "connector"), ("10.241.0.4", "batch"), ("10.0.9.7", "dns")] {
        assert_eq!(owner(&led, address), Some(format!("default/{pod}")));
        assert_eq!(led.pods[&format!("default/{pod}")].addresses.len(), 1);
    }
    assert!(!led.pods["default/dns"].host_network, "it is a pod that somebody can probe");
    assert_eq!(owner(&led, "10.0.9.8").as_deref(), Some("other"));
    assert_eq!((led.addressless().count(), led.unjudged()), (0, 0));
}

/// A service's slice; each endpoint as address and what is said of it.
fn slice(service: &str, endpoints: &[(&str, String)]) -> String {
    let endpoints: Vec<String> =
        endpoints.iter().map(|(at, more)| format!("{{addresses: ['{at}']{more}}}")).collect();
    format!(
        "- {{kind: EndpointSlice, metadata: {{name: {service}-1, labels: {{kubernetes.io/service-name: {service}}}}}, \
         addressType: IPv4, ports: [{{name: dns, port: 53, protocol: UDP}}, {{name: t, port: 80}}], endpoints: [{}]}}\n",
        endpoints.join(", ")
    )
}

proptest! {
    /// Hub and agents agree: the table has exactly the owners, each address once, and no target has an address of which
    /// somebody else says that it is its own.
    #[test]
    fn the_agents_table_has_the_owners_and_no_target_a_contested_address(
        nodes in proptest::collection::vec(0u8..6, 1..5), pods in proptest::collection::vec((0u8..9, any::<bool>()), 0..9),
        services in proptest::collection::vec(4u8..12, 0..5), lost in 0usize..5, odd in 0usize..5,
        endpoints in proptest::collection::vec((0u8..12, any::<bool>()), 0..5),
    ) {
        let address = |last: &u8| format!("10.0.0.{}", last + 1);
        let mut items: Vec<String> = nodes
            .iter()
            .enumerate()
            .map(|(at, last)| {
                let (ready, labels) =
                    (if at == lost { "Unknown" } else { "True" }, if at == odd { VIRTUAL } else { "" });
                node_in(&format!("n{at}"), &address(last), ready, labels)
            })
            .collect();
        items.extend(pods.iter().enumerate().map(|(at, (last, going))| {
            pod(&format!("p{at}"), if at % 3 == 2 { "gone" } else { "n0" }, &address(last), if *going { GOING } else { "" })
        }));
        items.extend(services.iter().enumerate().map(|(at, last)| service(&format!("s{at}"), &address(last))));
        // Endpoints of a headless service, and the cluster's DNS servers.
        let endpoints: Vec<(String, String)> = endpoints
            .iter()
            .map(|(last, by_name)| {
                let pod = if *by_name { ", targetRef: {kind: Pod, name: p0}" } else { "" };
                (address(last), format!(", nodeName: n0{pod}"))
            })
            .collect();
        let endpoints: Vec<(&str, String)> =
            endpoints.iter().map(|(at, more)| (at.as_str(), more.clone())).collect();
        let ports = "ports: [{name: dns, port: 53, protocol: UDP}, {name: t, port: 80}]";
        for (name, address, more) in [("web", "None", ", externalIPs: [10.0.0.3]"), ("kube-dns", "10.1.0.10", "")] {
            items.push(slice(name, &endpoints));
            items.push(format!(
                "- {{kind: Service, metadata: {{name: {name}}}, spec: {{clusterIP: {address}, selector: {{a: b}}, {ports}{more}}}}}\n"
            ));
        }
        let roster = roster(&items);
        let catalog = crate::plan::Catalog::of(
            &roster, &crate::cluster::selection::Selection::everything(), &BTreeMap::new(), "a.b",
        );
        let table: BTreeMap<IpAddr, (String, Option<String>)> =
            catalog.addresses.iter().map(|of| (of.address, (of.node.clone(), of.pod.clone()))).collect();
        prop_assert_eq!(table.len(), catalog.addresses.len());
        let owners: BTreeMap<IpAddr, (String, Option<String>)> =
            roster.owners().map(|(at, owner)| (at, (owner.node.clone(), owner.pod.clone()))).collect();
        prop_assert_eq!(table, owners);
        let mut aims: BTreeMap<IpAddr, &str> = BTreeMap::new();
        for probe in &catalog.probes {
            prop_assert!(!roster.contested.contains_key(&probe.address), "{}", probe.address);
            // These may be the same as a pod's or a node's, by intent.
            if ["dns/", "/endpoint/", "/external-ip/"].iter().any(|part| probe.target.id.contains(part)) {
                continue;
            }
            let of = aims.entry(probe.address).or_insert(&probe.target.id);
            prop_assert_eq!(*of, &*probe.target.id, "one address, one target");
        }
    }
}
