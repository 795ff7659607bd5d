//! What connection tracking knows goes on under a rule for new connections: every kind of probe sees the rule all the
//! same, soon, and it is reported that old connections go on.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use netcheck_netlab::{Lab, LabSpec, Mode};
use serde_json::Value;
use xtask::cluster::{Cell, Cluster, Settings};

use crate::{args, inject, is_bad};

/// Long, so that what reading takes does not matter much.
const INTERVAL: Duration = Duration::from_secs(2);
const KINDS: [&str; 5] = ["icmp", "udp", "tcp", "dns", "http"];

/// What a node sends to pods of the nodes that deny.
fn crosses(cell: &Cell) -> bool {
    let to_pod = ["pod/default/web-n2", "pod/netcheck/vantage-n2"].contains(&cell.target.as_str());
    cell.source == "n1" && cell.vantage == "host" && (to_pod || ["dns", "http"].contains(&cell.kind.as_str()))
}

/// How long after a moment the verdict of a cell began to stand.
fn since(cell: &Value, from: SystemTime) -> Duration {
    let since = humantime::parse_rfc3339(cell["since"].as_str().unwrap()).unwrap();
    since.duration_since(from).unwrap_or_default()
}

fn denied(cell: &Value) -> bool {
    cell["flows"]["newDenied"] == true
}

#[test]
fn a_rule_for_new_connections_is_seen_by_every_kind_within_three_intervals() {
    let lab =
        Lab::up(LabSpec { mode: Mode::Routed, vantage: true, ..LabSpec::named("e2e-new-flows") }).unwrap();
    let web = lab.pod("web-n2").unwrap().v4;
    let settings = Settings {
        hub_args: args(&format!(
            "--interval 2s --timeout 1s --http-interval 2s --http-timeout 1s --http-target http://{web}:8080/"
        )),
        agent_args: vec![format!("--allow-cidr={web}/32")],
        ..Settings::default()
    };
    let cluster = Cluster::start(lab, settings).unwrap();
    cluster.wait_healthy().unwrap();
    // UDP leaves from eight ports in turn: each of them must be one that connection tracking knows.
    cluster
        .wait("all ports were used", 20 * INTERVAL, |_| {
            let answer = cluster.ask(&["matrix", "--kind", "udp", "--range", "60s"]).unwrap();
            Cell::read_all(&answer).unwrap().iter().all(|cell| cell.sent >= 2 * 8)
        })
        .unwrap();

    // By the hub's own times, for a busy machine answers late; its clock is this one.
    let injected = SystemTime::now();
    for fault in ["new-denied node=n2", "new-denied node=n4"] {
        inject(&cluster, fault);
    }
    let mut seen: BTreeMap<&str, Duration> = BTreeMap::new();
    while seen.len() < KINDS.len() && injected.elapsed().unwrap() < 10 * INTERVAL {
        let answer = cluster.ask(&["matrix"]).unwrap();
        let cells = Cell::read_all(&answer).unwrap();
        let times = answer["cells"].as_array().unwrap().iter().map(|cell| since(cell, injected));
        let cells: Vec<(&Cell, Duration)> = cells.iter().zip(times).collect();
        for kind in KINDS {
            let mut paths = cells.iter().filter(|(cell, _)| cell.kind == kind && crosses(cell)).peekable();
            assert!(paths.peek().is_some(), "nobody probes by {kind}");
            if paths.clone().all(|(cell, _)| is_bad(cell)) {
                // What was degraded and is unreachable now was bad before.
                let took = paths.map(|(_, since)| *since).max().unwrap_or_default();
                seen.entry(kind).and_modify(|first| *first = took.min(*first)).or_insert(took);
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("seen after {seen:?}");
    for kind in KINDS {
        let took = seen.get(kind).unwrap_or_else(|| panic!("{kind} sees nothing: {seen:?}"));
        assert!(*took <= 3 * INTERVAL, "{kind} took {took:?}");
    }

    // It is reported what it is, and where.
    cluster
        .wait("all is reported", 10 * INTERVAL, |report| {
            let reported_at = |node: &str| {
                report.findings.iter().any(|finding| {
                    let at = finding.location.as_ref();
                    at.is_some_and(|at| at.node == node && at.stage == "netfilter_forward")
                        && finding.headline.contains("new connections are denied, old ones go on since")
                })
            };
            reported_at("n2") && reported_at("n4")
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", cluster.shown(&["path", "n1", "web-n2"]).unwrap()));
    let cells = cluster.ask(&["matrix"]).unwrap();
    let cells = cells["cells"].as_array().unwrap();
    assert!(cells.iter().any(|cell| denied(cell) && cell["path"]["kind"] == "PROBE_KIND_ICMP"));
    assert!(cells.iter().any(|cell| denied(cell) && cell["path"]["kind"] == "PROBE_KIND_UDP"));
    let path = cluster.shown(&["path", "n1", "web-n2"]).unwrap();
    assert!(path.contains("new connections are denied since"), "{path}");
    println!("{path}");
    println!("{}", cluster.shown(&["report"]).unwrap());

    cluster.lab.heal_all().unwrap();
    cluster.wait_healthy().unwrap();
    let cells = cluster.ask(&["matrix"]).unwrap();
    assert!(!cells["cells"].as_array().unwrap().iter().any(denied), "it is over");
    cluster.stop().unwrap().down().unwrap();
}
