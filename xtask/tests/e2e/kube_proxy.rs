//! Behind kube-proxy's own rules all is well: bridges whose frames go through netfilter, pods that CNI plugins attach, and
//! hosts whose requests to a cluster address leave from another port than the socket's.

use std::time::{Duration, Instant};

use netcheck_netlab::{Lab, LabSpec, Mode, Proxy};
use serde_json::Value;
use xtask::cluster::{Cluster, Settings};

use crate::args;

/// How long it must stay well, at one probe a second of each path.
const STEADY: Duration = Duration::from_secs(8);
/// How long may pass until all is reported.
const PATIENCE: Duration = Duration::from_secs(20);
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
    let lab = Lab::up(LabSpec { vantage: true, ..spec }).unwrap();
    let web = lab.topology().service("web").unwrap().cluster_ips.unwrap().0;
    let settings = Settings {
        hub_args: args(&format!("--http-interval 1s --http-target http://{web}:80/")),
        agent_args: vec![format!("--allow-cidr={web}/32")],
        ..Settings::default()
    };
    let cluster = Cluster::start(lab, settings).unwrap();
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
    flows_are_followed(&cluster);
    cluster.stop().unwrap().down().unwrap();
}

/// `MASQUERADE --random-fully` gives what a node sends to a cluster address another source port. Its flows are known all the
/// same: each path has its shares, and a backend that answered.
fn flows_are_followed(cluster: &Cluster) {
    let mut missing = Vec::new();
    let start = Instant::now();
    loop {
        missing.clear();
        for node in ["n1", "n2", "n3", "n4"] {
            missing.extend(["web", "kube-dns"].iter().flat_map(|target| unknown(cluster, node, target)));
        }
        // Backends are reported every few seconds.
        if missing.is_empty() || start.elapsed() > PATIENCE {
            break;
        }
        std::thread::sleep(POLL);
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// What is not known of the paths from a node to what answers behind a service.
fn unknown(cluster: &Cluster, node: &str, service: &str) -> Vec<String> {
    // (HTTP goes to the web service's address, and is no target of the service.)
    let answer = cluster.ask(&["matrix", "--source", node, "--vantage", "host"]).unwrap();
    let is_wanted = |cell: &&Value| {
        let (target, kind) = (&cell["path"]["target"], cell["path"]["kind"].as_str().unwrap_or_default());
        let id = target["id"].as_str().unwrap_or_default();
        match service {
            "web" => {
                (kind == "PROBE_KIND_TCP" && id == "service/default/web:80") || kind == "PROBE_KIND_HTTP"
            }
            _ => kind == "PROBE_KIND_DNS" && id == "dns/kube-system/kube-dns",
        }
    };
    let cells: Vec<&Value> = answer["cells"].as_array().unwrap().iter().filter(is_wanted).collect();
    let kinds: std::collections::BTreeSet<&str> =
        cells.iter().filter_map(|cell| cell["path"]["kind"].as_str()).collect();
    assert_eq!(kinds.len(), if service == "web" { 2 } else { 1 }, "{node} {service}: {kinds:?}");
    let mut missing = Vec::new();
    for cell in cells {
        let path = format!("{node} {} {}", cell["path"]["kind"], cell["path"]["target"]["id"]);
        let exchange = cell["path"]["kind"] == "PROBE_KIND_HTTP";
        // Of an exchange the handshake alone is the network's; whose packet is whose share is not known further.
        for share in if exchange { &["network"][..] } else { &["network", "host"] } {
            if cell["stats"][share]["p50"].is_null() {
                missing.push(format!("{path}: no share of {share}"));
            }
        }
        let target = cell["path"]["target"]["id"].as_str().unwrap();
        let detail = cluster.ask(&["path", node, target]).unwrap();
        let of_host = detail["paths"].as_array().unwrap().iter().filter(|path| {
            path["cell"]["path"]["vantage"] == "VANTAGE_HOST"
                && path["cell"]["path"]["kind"] == cell["path"]["kind"]
        });
        for of in of_host {
            let backends = of["cell"]["backends"].as_array();
            if backends.is_none_or(Vec::is_empty) {
                missing.push(format!("{path}: no backend"));
            }
        }
    }
    missing
}
