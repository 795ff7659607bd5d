//! A check between two clusters: two labs on one wire, each with its own hub and agents. What is said of a missing route is not
//! what is said of a firewall between some, and what was leased is gone when it ends.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use netcheck_netlab::{Lab, LabSpec, Mode};
use serde_json::Value;
use xtask::cluster::{Cluster, GRPC_PORT, Report, Settings};

use crate::args;

/// Incidents of paths that are gone close within some evaluations.
const PATIENCE: Duration = Duration::from_secs(45);

/// A cluster of two nodes that probes what the other one of these has.
fn spec(name: &str, block: u8) -> LabSpec {
    LabSpec { nodes: 2, mode: Mode::Routed, vantage: true, block, ..LabSpec::named(name) }
}

fn settings(allowed: &str) -> Settings {
    Settings {
        hub_args: args("--peer-targets"),
        agent_args: args(&format!("--allow-cidr {allowed}")),
        ..Settings::default()
    }
}

/// Both clusters, and where the results are.
struct Two<'a> {
    west: &'a Cluster,
    east: &'a Cluster,
    folder: &'a Path,
}

impl Two<'_> {
    /// Runs it from the first cluster: exit code, and what was printed.
    fn run(&self, words: &str) -> (Option<i32>, String) {
        let (src, dst) = (self.west.lab.topology().hub_v4, self.east.lab.topology().hub_v4);
        let (src, dst) = (format!("http://{src}:{GRPC_PORT}"), format!("http://{dst}:{GRPC_PORT}"));
        let (result, junit) = (self.folder.join("result.json"), self.folder.join("junit.xml"));
        let files = ["--result", result.to_str().unwrap(), "--junit-file", junit.to_str().unwrap()];
        let sides = ["--src-context", "west", "--dst-context", "east", "--src-hub", &src, "--dst-hub", &dst];
        let words: Vec<&str> = words.split_whitespace().collect();
        let sides: &[&str] = if words[0] == "check" { &sides } else { &[] };
        let Output { status, stdout, stderr } = self.west.cli(&[&words[..], &files, sides].concat()).unwrap();
        let (out, err) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
        (status.code(), if out.is_empty() { err } else { out })
    }

    fn saved(&self) -> Value {
        serde_json::from_str(&std::fs::read_to_string(self.folder.join("result.json")).unwrap()).unwrap()
    }
}

fn nft(lab: &Lab, ns: &str, rules: &str) {
    let output = lab.exec(ns, &["nft", rules]).unwrap();
    assert!(output.status.success(), "{rules}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Routes between the pods of both, or none.
fn routes(west: &Lab, east: &Lab, on: bool) {
    west.route_pods_of(east, on).unwrap();
    east.route_pods_of(west, on).unwrap();
}

#[test]
fn a_missing_route_is_distinguished_from_some_pairs_that_fail() {
    let (west, east) = (Lab::up(spec("e2e-west", 0)).unwrap(), Lab::up(spec("e2e-east", 1)).unwrap());
    west.join(&east).unwrap();
    routes(&west, &east, true);
    // What the other cluster's services are at is allowed, too; nobody answers there.
    let of = |block: u8| {
        format!(
            "172.{0}.0.0/24,10.{1}.0.0/16,10.{2}.0.0/16,fd00:172:{0}::/64,fd00:10::/32",
            30 + block,
            244 + block,
            96 + block
        )
    };
    let west = Cluster::start(west, settings(&of(1))).unwrap();
    let east = Cluster::start(east, settings(&of(0))).unwrap();
    west.wait_healthy().unwrap();
    east.wait_healthy().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let two = Two { west: &west, east: &east, folder: folder.path() };

    let (code, text) = two.run("check");
    assert_eq!(code, Some(0), "{text}");
    let saved = two.saved();
    assert!(saved["paths"]["reachable"].as_u64().unwrap() > 50, "{text}");
    assert!(text.starts_with("✓ west and east reach each other"), "{text}");
    assert!(text.contains("service addresses of east are not reachable from west, which is usual"), "{text}");
    for class in ["pods of west", "pods of east", "nodes of west", "nodes of east", "services of east"] {
        assert!(text.contains(class), "{class}: {text}");
    }

    // Whole networks.
    routes(&west.lab, &east.lab, false);
    let (code, text) = two.run("check");
    assert_eq!(code, Some(2), "{text}");
    let first = text.lines().next().unwrap();
    assert!(first.contains("no route between the clusters' pod networks"), "{text}");
    assert!(first.contains("nodes reach each other") && !text.contains("some pairs fail"), "{text}");
    let junit = std::fs::read_to_string(two.folder.join("junit.xml")).unwrap();
    assert!(
        junit.contains("no route between the clusters&apos; pod networks") || junit.contains("pod networks"),
        "{junit}"
    );
    let failed = two.saved()["failedTotal"].as_u64().unwrap();
    let (code, text) = two.run("resume");
    assert_eq!(code, Some(2), "{text}");
    assert_eq!(two.saved()["paths"]["total"].as_u64(), Some(failed), "{text}");
    routes(&west.lab, &east.lab, true);
    let (code, text) = two.run("resume");
    assert_eq!(code, Some(0), "{text}");

    // A firewall between some.
    let n2 = east.lab.node("n2").unwrap().v4;
    nft(&east.lab, "net", "add table inet pairs");
    nft(&east.lab, "net", "add chain inet pairs forward { type filter hook forward priority 0; }");
    nft(&east.lab, "net", &format!("add rule inet pairs forward ip daddr {n2} drop"));
    let (code, text) = two.run("check");
    assert_eq!(code, Some(2), "{text}");
    let first = text.lines().next().unwrap();
    assert!(first.contains("some pairs fail") && first.contains("to n2 of east"), "{text}");
    assert!(first.contains("over IPv4 alone") && !text.contains("no route between"), "{text}");
    nft(&east.lab, "net", "delete table inet pairs");

    // What was leased is gone, and nothing of it stays open.
    for cluster in [&west, &east] {
        let gone = |text: &str| !text.contains("peer/");
        assert!(gone(&cluster.ask(&["matrix", "--target", "peer/east,peer/west"]).unwrap().to_string()));
        let closed = || cluster.incidents().unwrap().iter().all(|incident| !incident.open);
        let left = |report: &Report| report.is_healthy() && closed();
        cluster.wait("no incident is left", PATIENCE, left).unwrap();
    }

    // Without leave there is nothing.
    let mut west = west;
    west.restart_hub(&[]).unwrap();
    west.wait_healthy().unwrap();
    let two = Two { west: &west, east: &east, folder: folder.path() };
    let (code, text) = two.run("check");
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("cluster west") && text.contains("hub.peerTargets"), "{text}");
    west.stop().unwrap().down().unwrap();
    east.stop().unwrap().down().unwrap();
}
