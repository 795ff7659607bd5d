//! Services under kube-proxy's own rules: node ports, session affinity, and whatever sets them apart from plain ones.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

use netcheck_netlab::{Family, Lab, LabSpec, Mode, Proxy};

use crate::probe::{self, Outcome, eventually};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

#[test]
fn iptables_rules_carry_every_kind_of_service() {
    let spec = LabSpec { mode: Mode::Vxlan, cni_plugins: true, ..LabSpec::named("t-svc-ipt") };
    every_kind_of_service(LabSpec { proxy: Proxy::KubeProxyIptables, all_services: true, ..spec });
}

#[test]
fn nftables_rules_carry_every_kind_of_service() {
    let spec = LabSpec { mode: Mode::Routed, ..LabSpec::named("t-svc-nft") };
    every_kind_of_service(LabSpec { proxy: Proxy::KubeProxyNftables, all_services: true, ..spec });
}

fn every_kind_of_service(spec: LabSpec) {
    let lab = Lab::up(spec).unwrap();
    let bridged = lab.exec("n1", &["cat", "/proc/sys/net/bridge/bridge-nf-call-iptables"]).unwrap();
    assert_eq!(bridged.stdout, b"1\n", "what the bridge passes on goes through the rules");
    for family in FAMILIES {
        let met = |from: &str, to: SocketAddr| -> BTreeSet<String> {
            (0..20).filter_map(|_| probe::http(&lab, from, to).ok()).collect()
        };
        let all = |from: &str, to: SocketAddr| probe::backends(&lab, from, to, 3);
        for from in ["n1", "app-n1-2", "hub"] {
            for at in ["n1", "n2", "n4"] {
                let address = probe::address(&lab, at, family);
                let found = all(from, (address, 30080).into());
                assert_eq!(found.len(), 3, "node port of {at} from {from}: {found:?}");
            }
            if from != "hub" {
                let sticky = probe::address(&lab, "sticky", family);
                eventually("one backend answers", || met(from, (sticky, 80).into()).len() == 1);
                let other = probe::address(&lab, "shop", family);
                assert_eq!(all(from, (other, 8081).into()).len(), 3, "from {from}");
            }
        }
        // Local policies: the node's own backend, or none.
        let local = probe::address(&lab, "local", family);
        assert_eq!(met("n1", (local, 80).into()), BTreeSet::from(["web-n1".to_owned()]));
        assert_eq!(met("n4", (local, 80).into()), BTreeSet::new());
        assert_eq!(met("hub", (probe::address(&lab, "n4", family), 30090).into()), BTreeSet::new());
        assert_eq!(all("n4", (probe::address(&lab, "n4", family), 30090).into()).len(), 3);
        a_host_comes_from_another_port(&lab, family);
    }
    lab.down().unwrap();
}

/// What a node sends to a cluster address arrives from a port that it did not choose: `--random-fully`.
fn a_host_comes_from_another_port(lab: &Lab, family: Family) {
    let web = probe::address(lab, "web", family);
    let any: IpAddr = if family == Family::V4 { [0; 4].into() } else { [0; 16].into() };
    // In the place of a backend's own server, which is stopped for that.
    lab.inject(&"backend-refuses pod=web-n2".parse().unwrap()).unwrap();
    let listener = lab.enter("web-n2", || TcpListener::bind((any, 8080))).unwrap().unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut other = 0;
    eventually("connections reach the backend", || {
        let Ok(stream) = lab.enter("n1", || TcpStream::connect((web, 80))).unwrap() else { return false };
        if let Ok((_, peer)) = listener.accept() {
            other += usize::from(peer.port() != stream.local_addr().unwrap().port());
        }
        other >= 3
    });
    drop(listener);
    lab.heal_all().unwrap();
    eventually("it is back", || probe::service(lab, "n1", (web, 80).into()) == Outcome::Reply);
}
