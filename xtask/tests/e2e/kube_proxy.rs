//! Behind kube-proxy's own rules all is well: bridges whose frames go through netfilter, pods that CNI plugins attach, and
//! hosts whose requests to a cluster address leave from another port than the socket's.

use std::time::{Duration, Instant};

use netcheck_netlab::{Lab, LabSpec, Mode, Proxy};
use xtask::cluster::{Cluster, Settings};

/// How long it must stay well, at one probe a second of each path.
const STEADY: Duration = Duration::from_secs(8);
const POLL: Duration = Duration::from_millis(500);

#[test]
fn iptables_over_vxlan_with_cni_plugins() {
    let spec = LabSpec { mode: Mode::Vxlan, cni_plugins: true, ..LabSpec::named("e2e-kp-ipt") };
    all_is_well(LabSpec { proxy: Proxy::KubeProxyIptables, ..spec });
}

#[test]
fn nftables_over_routes() {
    let spec = LabSpec { mode: Mode::Routed, ..LabSpec::named("e2e-kp-nft") };
    all_is_well(LabSpec { proxy: Proxy::KubeProxyNftables, ..spec });
}

fn all_is_well(spec: LabSpec) {
    // The vantages are backends of a service of their own, which each of them so reaches itself by now and then.
    let cluster =
        Cluster::start(Lab::up(LabSpec { vantage: true, ..spec }).unwrap(), Settings::default()).unwrap();
    cluster.wait_healthy().unwrap();
    let start = Instant::now();
    while start.elapsed() < STEADY {
        let report = cluster.report().unwrap();
        assert!(report.is_healthy(), "{}", cluster.shown(&["report"]).unwrap());
        std::thread::sleep(POLL);
    }
    assert_eq!(cluster.incidents().unwrap(), []);
    let cells = cluster.cells().unwrap();
    for (target, kind) in [("service/default/web:80", "tcp"), ("service/netcheck/vantage:6100", "udp")] {
        for vantage in ["host", "pod"] {
            let paths = cells.iter().filter(|cell| cell.target == target && cell.kind == kind);
            let count = paths.filter(|cell| cell.vantage == vantage && cell.verdict == "reachable").count();
            assert_eq!(count, 8, "{vantage} → {target}: four nodes in two families");
        }
    }
    let dns = cells.iter().filter(|cell| cell.kind == "dns" && cell.target == "dns/kube-system/kube-dns");
    assert!(
        dns.clone().count() >= 8 && dns.clone().all(|cell| cell.verdict == "reachable"),
        "by its service"
    );
    cluster.stop().unwrap().down().unwrap();
}
