//! Services of every type, on real kernels: node ports, a load balancer, external addresses, endpoints, two ports, both
//! families, UDP, and Local traffic policies, which are no false alarm.

use std::time::{Duration, Instant};

use netcheck_netlab::{Fault, Lab, LabSpec, Mode};
use xtask::cluster::{Cell, Cluster, Report, Settings};

/// A busy machine may need it.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long what is healthy, or located, must stay so.
const STEADY: Duration = Duration::from_secs(4);

fn start(name: &str, mode: Mode) -> Cluster {
    let lab = Lab::up(LabSpec { mode, all_services: true, ..LabSpec::named(name) }).unwrap();
    let cluster = Cluster::start(lab, Settings::default()).unwrap();
    until_well(&cluster);
    cluster
}

/// Everything answers but for what is expected not to.
fn is_well(report: &Report) -> bool {
    report.paths > 0 && report.reachable + report.expected_absent == report.paths
}

fn until_well(cluster: &Cluster) {
    cluster.wait("all is well", Duration::from_secs(40), is_well).unwrap();
}

/// Verdicts of the paths to a target, as `source/family verdict`.
fn verdicts(cells: &[Cell], target: &str) -> Vec<String> {
    let cells = cells.iter().filter(|cell| cell.target == target);
    let mut lines: Vec<String> =
        cells.map(|cell| format!("{}/{} {}", cell.source, cell.family, cell.verdict)).collect();
    lines.sort();
    lines
}

/// The same verdict for these sources in both families.
fn all(sources: &[&str], verdict: &str) -> Vec<String> {
    let both = |source: &&str| ["ipv4", "ipv6"].map(|family| format!("{source}/{family} {verdict}"));
    sources.iter().flat_map(both).collect()
}

const EVERYBODY: [&str; 4] = ["n1", "n2", "n3", "n4"];

#[test]
fn over_vxlan() {
    let cluster = start("e2e-svc-vxlan", Mode::Vxlan);
    every_address_is_probed(&cluster);
    every_backend_is_met(&cluster);
    local_policies_are_no_alarm(&cluster);
    a_node_port_without_a_rule_is_located(&cluster);
    a_filter_before_a_node_port_is_located(&cluster);
    a_backend_that_refuses_is_never_blamed_on_who_passes_on(&cluster);
    cluster.stop().unwrap().down().unwrap();
}

#[test]
fn routed() {
    let cluster = start("e2e-svc-routed", Mode::Routed);
    every_address_is_probed(&cluster);
    local_policies_are_no_alarm(&cluster);
    a_node_port_without_a_rule_is_located(&cluster);
    cluster.stop().unwrap().down().unwrap();
}

fn every_address_is_probed(cluster: &Cluster) {
    let cells = cluster.cells().unwrap();
    let reachable =
        |target: &str| assert_eq!(verdicts(&cells, target), all(&EVERYBODY, "reachable"), "{target}");
    let ports = ["service/default/shop:80", "service/default/shop:8081", "service/default/echo:6100"];
    for port in ports {
        reachable(port);
        for node in EVERYBODY {
            reachable(&format!("{port}/node-port/{node}"));
        }
    }
    // One family each, so that each is its own cause.
    for target in [
        "load-balancer/192.0.2.10",
        "external-ip/192.0.2.20",
        "load-balancer/2001:db8::10",
        "external-ip/2001:db8::20",
    ] {
        let found = verdicts(&cells, &format!("service/default/shop:80/{target}"));
        assert!(
            found.len() == 4 && found.iter().all(|line| line.ends_with(" reachable")),
            "{target}: {found:?}"
        );
    }
    for pod in ["web-n1", "web-n2", "web-n3"] {
        reachable(&format!("service/default/web-headless:8080/endpoint/{pod}"));
    }
    let udp = |cell: &&Cell| cell.kind == "udp" && cell.target.starts_with("service/");
    assert_eq!(
        cells.iter().filter(udp).count(),
        8 * 5,
        "the cluster IP and four node ports, in two families"
    );
}

/// What `path` says of backends, as far as it does.
fn backends(cluster: &Cluster, source: &str, target: &str) -> Vec<String> {
    let text = cluster.shown(&["path", source, target]).unwrap();
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("backend "));
    lines.map(|line| line.trim().to_owned()).collect()
}

fn every_backend_is_met(cluster: &Cluster) {
    cluster
        .wait("all backends are met", PATIENCE, |_| {
            let met = backends(cluster, "n4", "service/default/shop:80");
            let answers =
                |who: &str| met.iter().any(|line| line.starts_with(who) && line.ends_with(" answered"));
            (1..=3).all(|n| {
                answers(&format!("default/web-n{n} (10.244.{n}.11:8080) on n{n}: "))
                    && answers(&format!("default/web-n{n} ([fd00:10:244:{n}::11]:8080) on n{n}: "))
            })
        })
        .unwrap();
    // Nobody here knows whom another node passes on to.
    assert_eq!(backends(cluster, "n4", "service/default/shop:80/node-port/n1"), Vec::<String>::new());
}

fn local_policies_are_no_alarm(cluster: &Cluster) {
    let began = Instant::now();
    cluster
        .wait("nothing is wrong for a while", STEADY + PATIENCE, |report| {
            assert!(is_well(report), "{:?}", report.findings);
            began.elapsed() >= STEADY
        })
        .unwrap();
    let cells = cluster.cells().unwrap();
    let mut expected = all(&["n1", "n2", "n3"], "reachable");
    expected.extend(all(&["n4"], "expected_absent"));
    assert_eq!(verdicts(&cells, "service/default/local:80"), expected, "n4 has no backend of its own");
    // A node without a backend drops what clients from outside send; its own clients are not external.
    let mut expected = all(&["n1", "n2", "n3"], "expected_absent");
    expected.extend(all(&["n4"], "reachable"));
    assert_eq!(verdicts(&cells, "service/default/local:80/node-port/n4"), expected);
    for node in ["n1", "n2", "n3"] {
        let found = verdicts(&cells, &format!("service/default/local:80/node-port/{node}"));
        assert_eq!(found, all(&EVERYBODY, "reachable"), "{node}");
    }
    let absent = cells.iter().filter(|cell| cell.verdict == "expected_absent");
    assert_eq!(absent.count(), 8, "and nothing else is expected to be silent");
    assert!(cluster.incidents().unwrap().iter().all(|incident| !incident.open));
    let path = cluster.shown(&["path", "n4", "service/default/local:80"]).unwrap();
    assert!(path.contains("internalTrafficPolicy of service default/local is Local"), "{path}");
}

/// Injects a fault, waits for the cells and for nothing to be located wrongly, and heals it.
fn under(cluster: &Cluster, fault: &str, targets: &[&str], right: impl Fn(&Report) -> Result<(), String>) {
    let fault: Fault = fault.parse().unwrap();
    cluster.lab.inject(&fault).unwrap();
    let mut last = String::new();
    let located = cluster.wait(&fault.to_string(), PATIENCE, |report| {
        let cells = cluster.cells().unwrap();
        let down = |target: &&str| {
            let found: Vec<&Cell> = cells.iter().filter(|cell| cell.target == **target).collect();
            !found.is_empty() && found.iter().all(|cell| cell.verdict == "unreachable")
        };
        let judged = right(report);
        last = judged.clone().err().unwrap_or_default();
        targets.iter().all(down) && judged.is_ok()
    });
    if let Err(error) = located {
        panic!("{last}\n{error:#}");
    }
    let began = Instant::now();
    cluster
        .wait("it stays so", STEADY + PATIENCE, |report| {
            assert_eq!(right(report), Ok(()), "{fault}");
            began.elapsed() >= STEADY
        })
        .unwrap();
}

fn heal(cluster: &Cluster) {
    cluster.lab.heal_all().unwrap();
    until_well(cluster);
}

fn a_node_port_without_a_rule_is_located(cluster: &Cluster) {
    let ports = ["service/default/shop:80/node-port/n2", "service/default/shop:8081/node-port/n2"];
    under(cluster, "no-node-port node=n2 service=shop", &ports, |report| {
        for finding in &report.findings {
            let at = finding.location.as_ref().ok_or(format!("no place: {finding:?}"))?;
            let right = at.node == "n2" && at.stage == "socket" && at.certainty == "observed";
            if !right || !finding.headline.contains("on n2 of service default/shop:") {
                return Err(format!("{finding:?}"));
            }
        }
        if report.findings.is_empty() { Err("no finding".to_owned()) } else { Ok(()) }
    });
    let open = cluster.incidents().unwrap().into_iter().filter(|incident| incident.open);
    let headlines: Vec<String> = open.map(|incident| incident.headline).collect();
    let named = |port: &str| {
        headlines.iter().any(|line| line.starts_with(&format!("NodePort {port} on n2 of service")))
    };
    assert!(named("30080") && named("30081") && headlines.len() == 2, "{headlines:?}");
    heal(cluster);
}

fn a_filter_before_a_node_port_is_located(cluster: &Cluster) {
    let fault = "drop node=n3 hook=prerouting proto=tcp dport=30080";
    cluster.lab.inject(&fault.parse().unwrap()).unwrap();
    cluster
        .wait(fault, PATIENCE, |report| {
            let right = |finding: &xtask::cluster::Finding| {
                finding.location.as_ref().is_some_and(|at| {
                    at.node == "n3" && at.stage == "netfilter_prerouting" && at.certainty == "observed"
                })
            };
            // n3's own packets do not come in.
            let others: Vec<&str> = report
                .findings
                .iter()
                .flat_map(|finding| &finding.paths)
                .map(|path| path.source.as_str())
                .collect();
            report.findings.iter().all(right) && others.len() == 6 && !others.contains(&"n3")
        })
        .unwrap();
    heal(cluster);
}

/// What is refused behind a node port was refused by the backend or is without a place.
fn a_backend_that_refuses_is_never_blamed_on_who_passes_on(cluster: &Cluster) {
    let endpoint = ["service/default/web-headless:8080/endpoint/web-n1"];
    under(cluster, "backend-refuses pod=web-n1", &endpoint, |report| {
        let placed: Vec<_> = report.findings.iter().filter(|finding| finding.location.is_some()).collect();
        for finding in &placed {
            let at = finding.location.clone().unwrap_or_default();
            if at.node != "n1" || at.pod != "default/web-n1" {
                return Err(format!("{finding:?}"));
            }
        }
        if placed.is_empty() { Err("no place".to_owned()) } else { Ok(()) }
    });
    cluster
        .wait("it is reported that it does not answer", PATIENCE, |report| {
            let mut lines = report.findings.iter().flat_map(|finding| &finding.evidence);
            lines.any(|line| {
                line.starts_with("backend default/web-n1 (") && line.ends_with("does not answer any more")
            })
        })
        .unwrap();
    let met = backends(cluster, "n4", "service/default/shop:80");
    assert!(
        met.iter().any(|line| line.starts_with("default/web-n1 ") && line.contains(" answered, last at ")),
        "{met:?}"
    );
    let open = cluster.incidents().unwrap().into_iter().filter(|incident| incident.open);
    let causes: Vec<String> = open.map(|incident| incident.cause).collect();
    assert!(causes.iter().any(|cause| cause.starts_with("backend/default/web-n1")), "{causes:?}");
    let blamed = |cause: &String| {
        ["node/", "link/", "zones/", "pods/", "everywhere"].iter().any(|kind| cause.starts_with(kind))
    };
    assert!(!causes.iter().any(blamed), "{causes:?}");
    heal(cluster);
}
