//! DNS caches of nodes' own: found by the agents, asked by nobody else, and named where one fails.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use netcheck_netlab::{Lab, LabSpec, Mode, Process};
use xtask::cluster::{Cell, Cluster, Report, Settings};

use crate::{is_bad, wait_cells};

const PATIENCE: Duration = Duration::from_secs(25);
/// Where NodeLocal DNSCache listens.
const CACHE: &str = "169.254.20.10";

/// A cache as NodeLocal DNSCache is one: an interface of its own, and a server that asks the cluster's.
fn start(lab: &Lab, node: &str, address: &str, directory: &Path) -> Process {
    let upstream = lab.topology().pods().find(|pod| pod.app == "kube-dns").unwrap().v4;
    let file = directory.join(format!("{node}.conf"));
    let text = format!(
        "server:\n  interface: {address}\n  access-control: 0.0.0.0/0 allow\n  do-daemonize: no\n  use-syslog: no\n  \
         logfile: \"\"\n  username: \"\"\n  chroot: \"\"\n  pidfile: \"\"\n  directory: \"{directory}\"\n  \
         num-threads: 1\n  module-config: \"iterator\"\n  local-zone: \"cluster.local.\" nodefault\n\
         remote-control:\n  control-enable: no\n\
         forward-zone:\n  name: \".\"\n  forward-addr: {upstream}\n",
        directory = directory.display()
    );
    std::fs::write(&file, text).unwrap();
    lab.spawn_in(node, "unbound", &["-d", "-c", file.to_str().unwrap()], &[], "cache").unwrap()
}

fn run(lab: &Lab, node: &str, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let output = lab.exec(node, &words).unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

fn of_caches(cells: &[Cell]) -> Vec<&Cell> {
    cells.iter().filter(|cell| cell.target.starts_with("dns/node-local/")).collect()
}

#[test]
fn caches_are_found_on_their_nodes_and_asked_by_them_alone() {
    let spec = LabSpec { nodes: 3, mode: Mode::Routed, vantage: true, ..LabSpec::named("e2e-caches") };
    let lab = Lab::up(spec).unwrap();
    let n3 = lab.node("n3").unwrap().v4.to_string();
    let directory = tempfile::tempdir().unwrap();
    // Two nodes with the cluster's usual cache, and one whose own address is that of its cache.
    for node in ["n1", "n2"] {
        run(&lab, node, "ip link add nodelocaldns type bridge");
        run(&lab, node, &format!("ip addr add {CACHE}/32 dev nodelocaldns"));
        run(&lab, node, "ip link set nodelocaldns up");
    }
    let on_n1 = start(&lab, "n1", CACHE, directory.path());
    let on_n2 = start(&lab, "n2", CACHE, directory.path());
    let _on_n3 = start(&lab, "n3", &n3, directory.path());
    let conf = directory.path().join("resolv.conf");
    std::fs::write(&conf, format!("nameserver {n3}\nnameserver {CACHE}\n")).unwrap();
    // Vantages are not root.
    for path in [directory.path(), &conf] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let agent_args = vec![format!("--resolv-conf={}", conf.display())];
    let cluster = Cluster::start(lab, Settings { agent_args, ..Settings::default() }).unwrap();

    let expected = [("n1", CACHE), ("n2", CACHE), ("n3", n3.as_str())];
    let mut wanted: Vec<(String, String, String)> = Vec::new();
    for (node, address) in expected {
        for vantage in ["host", "pod"] {
            wanted.push((node.to_owned(), vantage.to_owned(), format!("dns/node-local/{address}")));
        }
    }
    let found = |cells: &[Cell]| {
        let mut found: Vec<_> = of_caches(cells)
            .iter()
            .map(|cell| (cell.source.clone(), cell.vantage.clone(), cell.target.clone()))
            .collect();
        found.sort();
        found
    };
    let cells = wait_cells(&cluster, "the caches are found and answer", |cells| {
        found(cells) == wanted && of_caches(cells).iter().all(|cell| cell.verdict == "reachable")
    });
    assert!(of_caches(&cells).iter().all(|cell| cell.kind == "dns" && cell.family == "ipv4"), "{cells:#?}");
    cluster.wait_healthy().unwrap();
    let caveats = cluster.report().unwrap().caveats;
    assert!(!caveats.iter().any(|line| line.contains("cannot probe")), "{caveats:?}");
    let matrix = cluster.shown(&["matrix"]).unwrap();
    assert!(matrix.contains(CACHE), "{matrix}");

    // One of them dies: that node's programs and pods have no names any more, and nobody else is hurt.
    drop(on_n2);
    let cells = wait_cells(&cluster, "the cache of n2 is down", |cells| {
        let mut own = cells.iter().filter(|cell| cell.source == "n2" && cell.target.ends_with(CACHE));
        own.clone().count() == 2 && own.all(|cell| cell.verdict == "unreachable" && cell.location.is_some())
    });
    for cell in cells.iter().filter(|cell| is_bad(cell)) {
        assert!(cell.source == "n2" && cell.target.ends_with(CACHE), "{cell:?}");
        let at = cell.location.as_ref().unwrap();
        assert_eq!((at.node.as_str(), at.stage.as_str(), at.direction.as_str()), ("n2", "socket", "request"));
    }
    let mut open = Vec::new();
    cluster
        .wait("one incident", PATIENCE, |_| {
            open = cluster.incidents().unwrap();
            open.retain(|incident| incident.open);
            open.len() == 1
        })
        .unwrap_or_else(|error| panic!("{error}\n{open:#?}"));
    assert_eq!(open[0].kind, "dns_server", "{open:#?}");
    assert!(open[0].headline.contains("refused by the DNS cache of n2 (169.254.20.10)"), "{open:#?}");
    let _on_n2 = start(&cluster.lab, "n2", CACHE, directory.path());
    cluster.wait_healthy().unwrap();

    // One is taken away with its address: nothing is sent there any more, and whoever is still configured to ask it is
    // warned.
    drop(on_n1);
    run(&cluster.lab, "n1", "ip link del nodelocaldns");
    wait_cells(&cluster, "n1 has no cache any more", |cells| {
        let mut own = of_caches(cells).into_iter().filter(|cell| cell.source == "n1");
        own.all(|cell| cell.verdict == "expected_absent")
    });
    let warned = |report: &Report| {
        report
            .caveats
            .iter()
            .any(|line| line.contains("n1") && line.contains("DNS cache 169.254.20.10 is gone"))
    };
    let (report, _) = cluster.wait("it is missed", PATIENCE, warned).unwrap();
    assert_eq!((report.findings.len(), report.no_data), (0, 0), "{report:#?}");
    cluster.stop().unwrap().down().unwrap();
}
