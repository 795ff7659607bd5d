//! On trees of files like /proc/sys/net, and texts like those of /proc/net.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::culprit::forms;

/// A directory with these files, gone with the test.
struct Sysctls(PathBuf);

impl Sysctls {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let root = std::env::temp_dir().join(format!("netcheck-sysctls-{}-{name}", std::process::id()));
        for (file, value) in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, value).unwrap();
        }
        Self(root)
    }
}

impl Drop for Sysctls {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What it shows, and what of its mend is a command, can be pasted into a shell.
pub(super) fn pasteable(culprit: &v1::Culprit) {
    forms::pasteable(&culprit.see);
    forms::commands(&culprit.mend).into_iter().for_each(forms::pasteable);
}

fn object(culprit: Option<v1::Culprit>) -> Option<String> {
    culprit.map(|culprit| {
        pasteable(&culprit);
        culprit.object
    })
}

#[test]
fn a_sysctl_of_an_interface_with_a_dot_in_its_name_can_be_asked_for() {
    let files = [("ipv4/conf/flannel.1/rp_filter", "1\n"), ("ipv4/conf/flannel.1/forwarding", "0\n")];
    let sysctls = Sysctls::new("dots", &files);
    let found = reverse_path(&sysctls.0, "flannel.1").unwrap();
    assert_eq!(found.object, "net.ipv4.conf.flannel.1.rp_filter = 1");
    assert_eq!(found.see, "sysctl net/ipv4/conf/flannel.1/rp_filter");
    let found = forwarding(&sysctls.0, "10.0.0.1".parse().unwrap(), "flannel.1").unwrap();
    assert_eq!(forms::commands(&found.mend), ["sysctl -w net/ipv4/conf/flannel.1/forwarding=1"]);
}

#[test]
fn the_stricter_reverse_path_filter_is_named() {
    let rows = [
        ("0\n", "0\n", None),
        ("1\n", "0\n", Some("net.ipv4.conf.eth0.rp_filter = 1")),
        ("0\n", "1\n", Some("net.ipv4.conf.all.rp_filter = 1")),
        ("1\n", "2\n", Some("net.ipv4.conf.all.rp_filter = 2")),
    ];
    for (number, (own, all, expected)) in rows.into_iter().enumerate() {
        let files = [("ipv4/conf/eth0/rp_filter", own), ("ipv4/conf/all/rp_filter", all)];
        let sysctls = Sysctls::new(&format!("rp{number}"), &files);
        assert_eq!(object(reverse_path(&sysctls.0, "eth0")).as_deref(), expected);
    }
}

#[test]
fn what_a_bridge_does_not_show_to_netfilter_is_named() {
    let files = [("bridge/bridge-nf-call-iptables", "0\n"), ("bridge/bridge-nf-call-ip6tables", "1\n")];
    let sysctls = Sysctls::new("bridge", &files);
    let of = |sysctls: &Sysctls, to: &str| object(bridge_unfiltered(&sysctls.0, to.parse().unwrap()));
    assert_eq!(of(&sysctls, "10.0.0.1").as_deref(), Some("net.bridge.bridge-nf-call-iptables = 0"));
    assert_eq!(of(&sysctls, "fd00::1"), None);
    let without = Sysctls::new("no-module", &[("ipv4/ip_forward", "1\n")]);
    assert!(of(&without, "10.0.0.1").unwrap().ends_with("the module br_netfilter is not loaded"));
}

#[test]
fn an_interface_without_ipv6_is_named() {
    let files = [("ipv6/conf/eth0/disable_ipv6", "1\n"), ("ipv6/conf/eth1/disable_ipv6", "0\n")];
    let sysctls = Sysctls::new("disabled", &files);
    let of = |interface| object(ipv6_disabled(&sysctls.0, interface));
    assert_eq!(of("eth0").as_deref(), Some("net.ipv6.conf.eth0.disable_ipv6 = 1"));
    assert_eq!((of("eth1"), of(""), of("../../etc")), (None, None, None));
}

#[test]
fn a_short_time_to_live_is_named() {
    let files = [
        ("ipv4/ip_default_ttl", "2\n"),
        ("ipv6/conf/eth0/hop_limit", "64\n"),
        ("ipv6/conf/eth1/hop_limit", "1\n"),
    ];
    let sysctls = Sysctls::new("life", &files);
    let of = |v4, interface| object(sysctl::short_life(&sysctls.0, v4, interface));
    assert_eq!(of(true, "eth0").as_deref(), Some("net.ipv4.ip_default_ttl = 2"));
    assert_eq!(of(false, "eth1").as_deref(), Some("net.ipv6.conf.eth1.hop_limit = 1"));
    assert_eq!((of(false, "eth0"), of(false, ""), of(false, "../../x")), (None, None, None));
}

#[test]
fn forwarding_that_is_off_is_named() {
    let files = [
        ("ipv4/ip_forward", "1\n"),
        ("ipv4/conf/eth0/forwarding", "1\n"),
        ("ipv4/conf/eth1/forwarding", "0\n"),
        ("ipv6/conf/all/forwarding", "0\n"),
    ];
    let sysctls = Sysctls::new("forwarding", &files);
    let (v4, v6) = ("10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap());
    let of = |to, interface| object(forwarding(&sysctls.0, to, interface));
    assert_eq!(of(v4, "eth0"), None);
    assert_eq!(of(v4, "eth1").as_deref(), Some("net.ipv4.conf.eth1.forwarding = 0"));
    assert_eq!(of(v6, "eth0").as_deref(), Some("net.ipv6.conf.all.forwarding = 0"));
    assert_eq!(of(v4, "../../etc"), None, "a name that leads elsewhere is none");
}

#[test]
fn a_table_of_connections_is_full_or_not() {
    for (name, count, full) in [("full", "1000", true), ("nearly", "991", true), ("room", "900", false)] {
        let files = [("netfilter/nf_conntrack_count", count), ("netfilter/nf_conntrack_max", "1000")];
        let sysctls = Sysctls::new(name, &files);
        assert_eq!(object(connections(&sysctls.0)).is_some(), full, "{name}");
    }
}

#[tokio::test]
async fn the_address_that_a_target_answers_from_is_named() {
    let bytes = |address: &str| convert::address_bytes(address.parse().unwrap());
    let answer = |from: &str| v1::FlowTuple { source_address: bytes(from), ..Default::default() };
    let mut case = v1::CulpritCase {
        location: Some(v1::LossLocation { reason: OTHER_SOURCE.to_owned(), ..Default::default() }),
        flows: vec![answer("192.0.2.7"), answer("192.0.2.50")],
        end_addresses: vec![bytes("fd00::7"), bytes("192.0.2.7")],
        ..Default::default()
    };
    let found = find(&case).await.unwrap();
    assert_eq!(found.object, "the node answers from 192.0.2.50, and was asked at 192.0.2.7");
    pasteable(&found);
    case.flows.pop();
    assert_eq!(find(&case).await, None, "it answers as it was asked");
}

#[tokio::test]
async fn an_address_is_missed_only_where_it_is_to_be_this_nodes_own() {
    let to = convert::address_bytes("192.0.2.77".parse().unwrap());
    let mut case = v1::CulpritCase {
        location: Some(v1::LossLocation { node: "n4".to_owned(), ..Default::default() }),
        flows: vec![v1::FlowTuple { destination_address: to.clone(), ..Default::default() }],
        ..Default::default()
    };
    assert_eq!(find(&case).await, None, "it is another's, and died here at an unknown stage");
    case.end_addresses = vec![to];
    let found = object(find(&case).await).unwrap();
    assert_eq!(found, "no interface of this node has the address 192.0.2.77");
}
