//! Nodes that may not probe all of their paths at once: all are covered, and what breaks is found in its turn, located,
//! and stays in the plan until it is well.

use std::collections::BTreeSet;
use std::time::Duration;

use netcheck_netlab::{Fault, Lab, LabSpec, Mode};
use serde_json::Value;
use xtask::cluster::{Cluster, Finding, Report, Settings};

use crate::args;

/// Two rounds of turns on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

#[test]
fn paths_take_turns_and_what_breaks_is_found_and_kept() {
    let hub_args = args("--paths-per-node 28 --cover 30s");
    let lab = Lab::up(LabSpec { mode: Mode::Routed, ..LabSpec::named("turns") }).unwrap();
    let cluster = Cluster::start(lab, Settings { hub_args, ..Settings::default() }).unwrap();
    cluster.wait("every path had its turn", PATIENCE, Report::is_healthy).unwrap();
    let report = &cluster.ask(&["report"]).unwrap()["report"];
    let coverage = &report["coverage"];
    // 64-bit integers are strings in protobuf's JSON.
    let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap();
    let of = |key: &str| number(&coverage[key]);
    assert_eq!((of("nodes"), of("paths")), (4, number(&report["paths"])));
    assert_eq!(of("covered"), of("paths"));
    assert!(of("atOnce") <= 4 * 28, "{coverage}");
    let shown = cluster.shown(&["report"]).unwrap();
    println!("{shown}");
    assert!(shown.contains("In turns: 4 nodes probe "), "{shown}");
    assert!(shown.contains("100 % are covered"), "{shown}");

    let fault: Fault = "drop node=n2 hook=forward".parse().unwrap();
    cluster.lab.inject(&fault).unwrap();
    let (report, took) = cluster
        .wait("the fault is found in turn", PATIENCE, |report| {
            let at_n2 = |finding: &Finding| {
                let at = finding.location.as_ref();
                at.is_some_and(|at| (at.node.as_str(), at.certainty.as_str()) == ("n2", "observed"))
            };
            let paths = report.findings.iter().flat_map(|finding| &finding.paths);
            let sources: BTreeSet<&str> = paths.map(|path| path.source.as_str()).collect();
            report.findings.iter().all(at_n2) && sources.is_superset(&BTreeSet::from(["n1", "n3", "n4"]))
        })
        .unwrap();
    println!("found after {took:?}: {}", report.findings[0].headline);
    cluster.lab.heal(&fault).unwrap();
    cluster.wait("all is well again", PATIENCE, |report| report.reachable == report.paths).unwrap();
}
