//! A healthy lab: everybody reaches everybody, services and DNS answer, in both modes and families.

use std::thread;

use netcheck_netlab::{Family, Lab, LabSpec, Mode, Proxy};

use crate::probe::{self, Outcome};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

#[test]
fn everybody_reaches_everybody_over_vxlan() {
    reach(LabSpec { mode: Mode::Vxlan, ..LabSpec::named("t-vxlan") });
}

#[test]
fn everybody_reaches_everybody_over_routes() {
    reach(LabSpec { mode: Mode::Routed, ..LabSpec::named("t-routed") });
}

#[test]
fn everybody_reaches_everybody_through_cni_plugins_and_iptables_of_kube_proxy() {
    let proxy = Proxy::KubeProxyIptables;
    reach(LabSpec { mode: Mode::Vxlan, proxy, cni_plugins: true, ..LabSpec::named("t-kp-ipt") });
}

#[test]
fn everybody_reaches_everybody_through_nftables_of_kube_proxy() {
    let proxy = Proxy::KubeProxyNftables;
    reach(LabSpec { mode: Mode::Routed, proxy, ..LabSpec::named("t-kp-nft") });
}

fn reach(spec: LabSpec) {
    let lab = Lab::up(spec).unwrap();
    let nodes = lab.nodes().iter().map(|node| node.name.clone());
    let places: Vec<String> = nodes.chain(lab.topology().pods().map(|pod| pod.name.clone())).collect();
    assert_eq!(places.len(), 12);
    thread::scope(|scope| {
        for from in &places {
            let (lab, places) = (&lab, &places);
            scope.spawn(move || {
                for to in places {
                    for family in FAMILIES {
                        let address = probe::address(lab, to, family);
                        // As large as the pods' network carries, so that the overlay's MTU is shown to fit.
                        let payload = lab.topology().pod_mtu_bytes() - 48;
                        let outcome = probe::ping(lab, from, address, payload);
                        assert_eq!(outcome, Outcome::Reply, "{from} to {to} ({address})");
                    }
                }
            });
        }
    });
    for family in FAMILIES {
        for from in places.iter().map(String::as_str) {
            let hub = probe::address(&lab, "hub", family);
            assert_eq!(probe::ping(&lab, from, hub, 56), Outcome::Reply, "{from} to the hub");
            let web = probe::address(&lab, "web", family);
            assert_eq!(probe::service(&lab, from, (web, 80).into()), Outcome::Reply, "from {from}");
            let answers = probe::backends(&lab, from, (web, 80).into(), 3);
            assert_eq!(Vec::from_iter(answers), ["web-n1", "web-n2", "web-n3"], "from {from}");
            let api = probe::address(&lab, "kubernetes", family);
            assert_eq!(probe::http(&lab, from, (api, 443).into()).unwrap(), "kubernetes");
            let server = probe::address(&lab, "kube-dns", family);
            for name in ["web", "kubernetes", "web-headless"] {
                let name = format!("{name}.default.svc.cluster.local");
                for kind in FAMILIES {
                    let outcome = probe::dns(&lab, from, server, &name, kind);
                    assert_eq!(outcome, Outcome::Reply, "{name} from {from}");
                }
            }
            let outcome = probe::dns(&lab, from, server, "nobody.default.svc.cluster.local", family);
            assert_eq!(outcome, Outcome::Rcode(3));
        }
    }
    // Hub to node, too: that is the way of its answers.
    assert_eq!(probe::ping(&lab, "hub", lab.node("n4").unwrap().v6.into(), 56), Outcome::Reply);
    let resolved = lab.exec("app-n4-1", &["getent", "ahosts", "web"]).unwrap();
    assert!(resolved.status.success(), "a pod resolves by its resolv.conf");
    lab.down().unwrap();
}

#[test]
fn other_sizes_come_up() {
    for (nodes, pods_per_node, zones) in [(2, 2, 1), (3, 3, 3), (6, 1, 2)] {
        let zones = (1..=zones).map(|i| format!("z{i}")).collect();
        let spec = LabSpec { nodes, pods_per_node, zones, ..LabSpec::named("t-size") };
        let lab = Lab::up(spec).unwrap();
        for family in FAMILIES {
            let web = probe::address(&lab, "web", family);
            assert_eq!(probe::service(&lab, "n1", (web, 80).into()), Outcome::Reply);
            let server = probe::address(&lab, "kube-dns", family);
            let name = "web.default.svc.cluster.local";
            assert_eq!(probe::dns(&lab, "n2", server, name, family), Outcome::Reply);
        }
        lab.down().unwrap();
    }
}
