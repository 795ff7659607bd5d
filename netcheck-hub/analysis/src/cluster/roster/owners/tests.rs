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

proptest! {
    /// Hub and agents agree: the table has exactly the owners, each address once, and no target has an address of which
    /// somebody else says that it is its own.
    #[test]
    fn the_agents_table_has_the_owners_and_no_target_a_contested_address(
        nodes in proptest::collection::vec(0u8..6, 1..5), pods in proptest::collection::vec((0u8..9, any::<bool>()), 0..9),
        services in proptest::collection::vec(4u8..12, 0..5),
    ) {
        let address = |last: &u8| format!("10.0.0.{}", last + 1);
        let mut items: Vec<String> = nodes
            .iter()
            .enumerate()
            .map(|(at, last)| node(&format!("n{at}"), &[&address(last)]))
            .collect();
        items.extend(pods.iter().enumerate().map(|(at, (last, going))| {
            pod(&format!("p{at}"), if at % 3 == 2 { "gone" } else { "n0" }, &address(last), if *going { GOING } else { "" })
        }));
        items.extend(services.iter().enumerate().map(|(at, last)| service(&format!("s{at}"), &address(last))));
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
            let of = aims.entry(probe.address).or_insert(&probe.target.id);
            prop_assert_eq!(*of, &*probe.target.id, "one address, one target");
        }
    }
}
