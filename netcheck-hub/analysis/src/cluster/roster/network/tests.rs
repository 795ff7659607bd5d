use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;
use crate::cluster::roster::{Pod, ProbeAnnotation};

fn read(note: &str) -> (Vec<String>, Option<String>) {
    let (networks, wrong) = attachments(note, &["10.244.1.5".parse().unwrap()]);
    let line = |network: &Attachment| {
        let addresses: Vec<String> = network.addresses.iter().map(ToString::to_string).collect();
        format!("{} {} {}", network.network, network.interface, addresses.join(" "))
    };
    (networks.iter().map(line).collect(), wrong)
}

#[test]
fn what_multus_writes_is_read() {
    let note = r#"[
        {"name": "cbr0", "interface": "eth0", "ips": ["10.244.1.5"], "default": true, "dns": {}},
        {"name": "default/storage", "interface": "net1", "ips": ["10.1.1.2", "fd00:1::2"],
         "mac": "02:00:00:00:00:01", "dns": {}, "gateway": ["10.1.1.1"]},
        {"name": "dpdk", "interface": "net2", "dns": {}, "device-info": {"type": "pci"}},
        {"name": "default/storage", "interface": "net3", "ips": ["10.1.1.3/24", "fe80::1"]}
    ]"#;
    assert_eq!(read(note), (vec!["default/storage net1 10.1.1.2 fd00:1::2 10.1.1.3".to_owned()], None));
    assert_eq!(read(""), (Vec::new(), None));
    assert_eq!(read("[]"), (Vec::new(), None));
    assert_eq!(read("null"), (Vec::new(), None));
    let bare = r#"[{"name":"a/b","interface":null,"ips":["10.1.1.2"]}]"#;
    assert_eq!(read(bare), (vec!["a/b  10.1.1.2".to_owned()], None));
    assert_eq!(read(r#"[{"name":"a/b","ips":null}]"#), (Vec::new(), None));
}

#[test]
fn what_is_wrong_is_reported_and_costs_nothing_but_itself() {
    let entry = |name: &str, ips: &str| format!(r#"{{"name":"{name}","interface":"net1","ips":[{ips}]}}"#);
    let many: Vec<String> =
        (0..20).map(|at| entry(&format!("a/n{at}"), &format!(r#""10.1.{at}.2""#))).collect();
    let long: Vec<String> = (0..20).map(|at| format!(r#""10.1.1.{at}""#)).collect();
    for (note, networks, word) in [
        ("{".to_owned(), 0, "can't be read"),
        (r#"{"name":"a/b"}"#.to_owned(), 0, "can't be read"),
        (format!("[{}]", " ".repeat(NOTE_MAX)), 0, "64 KiB"),
        (format!("[{},{}]", entry("a/b", r#""x""#), entry("a/c", r#""10.1.1.2""#)), 1, "`x` is no address"),
        (format!("[{}]", entry("a/b/c", r#""10.1.1.2""#)), 0, "no proper name"),
        (format!("[{}]", entry("a b", r#""10.1.1.2""#)), 0, "no proper name"),
        (format!("[{}]", many.join(",")), NETWORKS_MAX, "more than 16 networks"),
        (format!("[{}]", entry("a/b", &long.join(","))), 1, "more than 8 addresses"),
    ] {
        let (read, wrong) = read(&note);
        assert_eq!(read.len(), networks, "{note}");
        assert!(wrong.is_some_and(|wrong| wrong.contains(word)), "{note}");
    }
}

fn pod(name: &str, address: &str, absent: bool) -> (String, Pod) {
    let network = Attachment {
        network: "default/storage".into(),
        interface: "net1".into(),
        addresses: vec![address.parse().unwrap()],
    };
    let pod = Pod {
        namespace: "default".into(),
        name: name.into(),
        node: "n1".into(),
        addresses: Vec::new(),
        networks: vec![network],
        networks_wrong: None,
        host_network: false,
        terminating: absent,
        absent: absent.then(|| "it is terminating".to_owned()),
        vantage: false,
        annotation: ProbeAnnotation::None,
    };
    (format!("default/{name}"), pod)
}

#[test]
fn an_address_is_one_pods_or_nobodys() {
    let mut pods: BTreeMap<String, Pod> = [
        pod("a", "10.1.1.2", false),
        pod("b", "10.1.1.3", false),
        pod("c", "10.1.1.3", false),
        pod("old", "10.1.1.4", true),
        pod("new", "10.1.1.4", false),
        pod("d", "10.244.1.5", false),
    ]
    .into();
    let node = Owner { node: "n9".into(), pod: None, network: None };
    let mut owners = HashMap::from([("10.244.1.5".parse().unwrap(), node.clone())]);
    let shared = settle(&mut pods, &mut owners);
    assert_eq!(shared.into_iter().collect::<Vec<_>>(), ["10.1.1.3", "10.244.1.5"]);
    let owner = |address: &str| owners.get(&address.parse().unwrap());
    let pod = |address| owner(address).and_then(|owner| owner.pod.as_deref());
    assert_eq!(
        (pod("10.1.1.2"), pod("10.1.1.3"), pod("10.1.1.4")),
        (Some("default/a"), None, Some("default/new"))
    );
    assert_eq!(owner("10.244.1.5"), Some(&node));
    let on: Vec<&str> = pods
        .values()
        .filter(|pod| pod.on("default/storage").is_some())
        .map(|pod| pod.name.as_str())
        .collect();
    assert_eq!(on, ["a", "new"]);
}

proptest! {
    #[test]
    fn any_note_is_read_or_reported_and_bounded(note in "[\\[\\]{}\":,a-z0-9./ ]{0,200}") {
        let (networks, _) = attachments(&note, &[]);
        prop_assert!(networks.len() <= NETWORKS_MAX);
        prop_assert!(networks.iter().all(|network| (1..=ADDRESSES_MAX).contains(&network.addresses.len())));
    }
}
