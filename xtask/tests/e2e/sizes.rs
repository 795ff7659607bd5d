//! Small packets pass, large ones don't: what is said of it, and where it is; and a link that says what it takes.

use std::time::Duration;

use netcheck_netlab::{Fault, Mode};
use serde_json::Value;
use xtask::cluster::{Cluster, Settings};

use crate::{args, healthy};

/// A round of sizes, the losses that prove it, and the search for the border, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

fn lab(name: &str, mode: Mode) -> Cluster {
    healthy(name, mode, Settings { hub_args: args("--size-interval 3s"), ..Settings::default() })
}

/// The sizes of all ICMP paths from a node to a pod: route, largest that passes, smallest that is lost, reported by a
/// router.
fn sizes(cluster: &Cluster, from: &str, pod: &str) -> Vec<[u64; 4]> {
    let answer = cluster.ask(&["path", from, pod]).unwrap();
    let paths = answer["paths"].as_array().unwrap().iter();
    let icmp = paths.filter(|path| path["cell"]["path"]["kind"] == "PROBE_KIND_ICMP");
    let figure = |path: &Value, key: &str| path["cell"]["sizes"][key].as_u64().unwrap_or(0);
    icmp.map(|path| {
        ["routeBytes", "largestPassedBytes", "smallestLostBytes", "icmpMtu"].map(|key| figure(path, key))
    })
    .collect()
}

fn black_hole(mode: Mode) {
    let cluster = lab(&format!("size-{mode}"), mode);
    let route = if mode == Mode::Vxlan { 1450 } else { 1500 };
    cluster
        .wait("full-size packets pass", PATIENCE, |_| {
            sizes(&cluster, "n1", "app-n2-2") == [[route, route, 0, 0]; 2]
        })
        .unwrap();
    let fault: Fault = "mtu-blackhole node=n2 mtu=1400 at=pods".parse().unwrap();
    cluster.lab.inject(&fault).unwrap();
    let (report, took) = cluster
        .wait("the border is found on all paths", PATIENCE, |report| {
            report
                .findings
                .iter()
                .any(|finding| finding.headline.contains("ICMP: packets above 1400 bytes lost since "))
                && sizes(&cluster, "n1", "app-n2-2") == [[route, 1400, 1401, 0]; 2]
        })
        .unwrap();
    println!("{mode}: border found after {took:?}\n{}", cluster.shown(&["report"]).unwrap());
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    let finding = &report.findings[0];
    let at = finding.location.as_ref().unwrap();
    assert_eq!(
        (at.node.as_str(), at.reason.as_str(), at.certainty.as_str()),
        ("n2", "PKT_TOO_BIG", "observed")
    );
    assert_eq!(at.interface, "cni0", "the link that is too narrow");
    assert_eq!((at.direction.as_str(), finding.verdict.as_str()), ("request", "degraded"));
    assert!(
        finding.paths.iter().all(|path| path.kind == "icmp" && path.target.contains("-n2")),
        "{finding:?}"
    );
    let text = cluster.shown(&["path", "n1", "app-n2-2"]).unwrap();
    println!("{text}");
    assert!(
        text.contains(&format!("1400 bytes pass, 1401 don't (the route of the source takes {route})")),
        "{text}"
    );
    let incidents = cluster.ask(&["incidents"]).unwrap();
    let kinds: Vec<_> = incidents["incidents"].as_array().unwrap().iter().map(|one| &one["kind"]).collect();
    assert_eq!(kinds, ["INCIDENT_KIND_MTU"], "{incidents}");
    cluster.lab.heal_all().unwrap();
    cluster.wait_healthy().unwrap();
    cluster.stop().unwrap().down().unwrap();
}

#[test]
fn a_black_hole_over_routes() {
    black_hole(Mode::Routed);
}

#[test]
fn a_black_hole_over_vxlan() {
    black_hole(Mode::Vxlan);
}

#[test]
fn a_link_that_says_what_it_takes_loses_nothing() {
    let cluster = lab("size-icmp", Mode::Routed);
    let narrow = ["link", "set", "cni0", "mtu", "1400"];
    assert!(cluster.lab.command("n2", "ip").unwrap().args(narrow).status().unwrap().success());
    let measured = |cluster: &Cluster| {
        let found = sizes(cluster, "n1", "app-n2-2");
        // The kernel's own route learns it too.
        found.iter().all(|&[_, passed, lost, reported]| passed == 1400 && lost == 0 && reported == 1400)
            && found.len() == 2
    };
    let mut alarms = Vec::new();
    cluster
        .wait("what n2 takes is known", PATIENCE, |report| {
            alarms.extend(report.findings.iter().map(|finding| finding.headline.clone()));
            measured(&cluster)
        })
        .unwrap();
    let text = cluster.shown(&["path", "n1", "app-n2-2"]).unwrap();
    println!("{text}");
    assert!(alarms.is_empty() && text.contains("takes 1400 and says so"), "{alarms:?}\n{text}");
    cluster.stop().unwrap().down().unwrap();
}
