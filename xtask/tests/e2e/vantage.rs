//! The pod vantage: what pods reach and what they don't, distinguished from their nodes.

use std::time::{Duration, Instant};

use netcheck_netlab::{Lab, LabSpec, Mode};
use xtask::cluster::{Cell, Cluster, Settings};

use crate::{inject, is_bad, wait_cells};

const PATIENCE: Duration = Duration::from_secs(20);

/// A healthy cluster with a vantage on every node: all is measured from nodes and pods.
fn healthy(name: &str, mode: Mode) -> Cluster {
    let lab = Lab::up(LabSpec { mode, vantage: true, ..LabSpec::named(name) }).unwrap();
    let cluster = Cluster::start(lab, Settings::default()).unwrap();
    cluster.wait_healthy().unwrap();
    cluster
}

fn from_pod(cell: &Cell, node: &str) -> bool {
    cell.vantage == "pod" && cell.source == node
}

/// What pods measure is measured whole: every kind, both families, to everything but themselves, with all shares.
fn pods_measure_everything(cluster: &Cluster) {
    let cells = cluster.cells().unwrap();
    for n in 1..=4 {
        let node = format!("n{n}");
        let own = format!("pod/netcheck/vantage-{node}");
        let mine: Vec<_> = cells.iter().filter(|cell| from_pod(cell, &node)).collect();
        assert!(!mine.iter().any(|cell| cell.target == own), "{node} probes itself");
        for target in ["node/n1", "node/n4", "pod/default/web-n1", "pod/default/app-n4-1"] {
            for family in ["ipv4", "ipv6"] {
                let icmp = mine.iter().find(|cell| {
                    (cell.target.as_str(), cell.kind.as_str(), cell.family.as_str())
                        == (target, "icmp", family)
                });
                let icmp = icmp.unwrap_or_else(|| panic!("{node} → {target} {family}"));
                assert!(icmp.network_p50_s.is_some(), "no network share: {icmp:?}");
                assert!(icmp.round_trip_p50_s.unwrap() < 0.5, "{icmp:?}");
            }
        }
        for kind in ["udp", "tcp", "dns"] {
            assert!(mine.iter().any(|cell| cell.kind == kind), "{node} {kind}");
        }
        let other = format!("pod/netcheck/vantage-n{}", n % 4 + 1);
        for kind in ["icmp", "udp", "tcp"] {
            let found = mine.iter().any(|cell| cell.target == other && cell.kind == kind);
            assert!(found, "{node} → {other} {kind}");
        }
        let service = mine.iter().find(|cell| cell.target == "service/default/web:80").unwrap();
        assert!(service.network_p50_s.is_some(), "{service:?}");
    }
    // That of history alone: this hub has no directory for it.
    let caveats = cluster.report().unwrap().caveats;
    assert!(matches!(&caveats[..], [one] if one.contains("--data-dir")), "{caveats:?}");
}

#[test]
fn what_only_pods_miss_is_located_and_nodes_are_fine() {
    let cluster = healthy("e2e-vantage", Mode::Vxlan);
    pods_measure_everything(&cluster);
    let mut open = cluster.incidents().unwrap();
    open.retain(|incident| incident.open);
    assert_eq!(open, []);

    // A rule that takes what one pod sends, on its own node: as a policy for its egress would.
    let fault = inject(&cluster, "drop node=n2 hook=forward src=vantage-n2");
    let located = |cell: &Cell| {
        cell.location.as_ref().is_some_and(|at| {
            (at.node.as_str(), at.stage.as_str(), at.certainty.as_str())
                == ("n2", "netfilter_forward", "observed")
        })
    };
    let away = |cell: &&Cell| from_pod(cell, "n2") && cell.target == "node/n3";
    let cells = wait_cells(&cluster, "pods of n2 reach nobody", |cells| {
        let mut away = cells.iter().filter(away);
        away.clone().count() == 6 && away.all(|cell| cell.verdict == "unreachable" && located(cell))
    });
    for cell in cells.iter().filter(|cell| is_bad(cell)) {
        let answers = cell.target == "pod/netcheck/vantage-n2";
        assert!(from_pod(cell, "n2") || answers, "not hurt: {cell:?}");
    }
    let mut fine = cells.iter().filter(|cell| cell.vantage == "host" && cell.source == "n2");
    assert!(fine.all(|cell| cell.verdict == "reachable"), "what the node itself reaches");
    let own = |cell: &&Cell| from_pod(cell, "n2") && cell.target == "pod/default/web-n2";
    assert!(cells.iter().filter(own).all(|cell| cell.verdict == "reachable"), "over the bridge");
    cluster
        .wait("one incident", PATIENCE, |_| cluster.incidents().unwrap().iter().any(|it| it.open))
        .unwrap();
    let incidents: Vec<_> = cluster.incidents().unwrap().into_iter().filter(|it| it.open).collect();
    assert_eq!(incidents.len(), 1, "{incidents:#?}");
    assert!(incidents[0].cause.starts_with("place/n2/netfilter_forward"), "{incidents:#?}");
    assert!(incidents[0].headline.contains("pods of n1, n2"), "{incidents:#?}");
    cluster.lab.heal(&fault).unwrap();
    cluster.wait_healthy().unwrap();

    // At the other end, for one pod among all: as a policy for a pod's ingress would.
    let fault = inject(&cluster, "drop node=n1 hook=forward src=vantage-n3 dst=web-n1");
    let to_web = |cell: &&Cell| from_pod(cell, "n3") && cell.target == "pod/default/web-n1";
    let cells = wait_cells(&cluster, "pods of n3 don't reach web-n1", |cells| {
        let mut to_web = cells.iter().filter(to_web);
        to_web.clone().count() == 2
            && to_web.all(|cell| {
                cell.verdict == "unreachable"
                    && cell
                        .location
                        .as_ref()
                        .is_some_and(|at| at.node == "n1" && at.stage == "netfilter_forward")
            })
    });
    for cell in cells.iter().filter(|cell| is_bad(cell)) {
        let hurt = cell.target == "pod/default/web-n1" || cell.target == "service/default/web:80";
        assert!(from_pod(cell, "n3") && hurt, "not hurt: {cell:?}");
    }
    let report = cluster.shown(&["report", "-v"]).unwrap();
    assert!(
        report.contains("pods of n3") && report.contains("from the nodes themselves it is fine"),
        "{report}"
    );
    cluster.lab.heal(&fault).unwrap();
    cluster.wait_healthy().unwrap();
    cluster.stop().unwrap().down().unwrap();
}

#[test]
fn a_vantage_that_is_replaced_costs_nothing_but_time() {
    let mut cluster = healthy("e2e-vanrest", Mode::Routed);
    // Kubernetes takes a pod from its lists before it kills it.
    let gone = inject(&cluster, "pod-gone pod=vantage-n2");
    wait_cells(&cluster, "nobody probes it", |cells| {
        let to_it = |cell: &&Cell| cell.target == "pod/netcheck/vantage-n2";
        !cells.iter().filter(to_it).any(|cell| cell.verdict == "reachable")
    });
    cluster.kill_vantage("n2").unwrap();
    let killed = Instant::now();
    let cells = wait_cells(&cluster, "pods of n2 have no data", |cells| {
        let mut mine = cells.iter().filter(|cell| from_pod(cell, "n2"));
        mine.clone().count() > 0 && mine.all(|cell| cell.verdict == "no_data")
    });
    assert!(!cells.iter().any(is_bad), "nothing is lost: {cells:?}");
    let caveats = cluster.report().unwrap().caveats;
    let named = |line: &String| line.starts_with("no pod vantage on n2") && line.contains("is gone");
    assert!(caveats.iter().any(named), "{caveats:?}");
    cluster.start_vantage("n2").unwrap();
    wait_cells(&cluster, "pods of n2 measure again", |cells| {
        let mut mine = cells.iter().filter(|cell| from_pod(cell, "n2"));
        mine.clone().count() > 0 && mine.all(|cell| cell.verdict == "reachable")
    });
    cluster.lab.heal(&gone).unwrap();
    cluster.wait_healthy().unwrap();
    let since = format!("{}s", killed.elapsed().as_secs() + 5);
    let lost = cluster.ask(&["matrix", "--vantage", "pod", "--source", "n2", "--range", &since]).unwrap();
    let cells = Cell::read_all(&lost).unwrap();
    assert!(cells.iter().any(|cell| cell.sent > 0));
    let lost: Vec<_> = cells.iter().filter(|cell| cell.sent != cell.reply).collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert_eq!(cluster.incidents().unwrap(), []);
    // An agent that is replaced is found again by its vantage. Its responder is away meanwhile: that is a loss of others.
    cluster.kill_agent("n3").unwrap();
    wait_cells(&cluster, "pods of n3 have no data", |cells| {
        let mut mine = cells.iter().filter(|cell| from_pod(cell, "n3"));
        mine.clone().count() > 0 && mine.all(|cell| cell.verdict == "no_data")
    });
    cluster.start_agent("n3").unwrap();
    cluster.wait_healthy().unwrap();
    cluster.stop().unwrap().down().unwrap();
}
