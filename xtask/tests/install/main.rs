//! `cargo xtask e2e` against a fake of the Kubernetes API: real kubectl and helm install, ask, cordon, test and remove,
//! and what answers `kubectl exec` is a real hub with real agents in a lab whose nodes have the same names.

#![expect(clippy::unwrap_used, reason = "a test's way to fail")]

mod docs;
mod ephemeral;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use netcheck_kubefake::cluster::{Exec, FakeCluster};
use netcheck_netlab::{Lab, LabSpec, Mode};
use xtask::cluster::{Cluster, Settings};

const NODES: [&str; 4] = ["n1", "n2", "n3", "n4"];

/// Runs `cargo xtask e2e` against it.
fn e2e(fake: &FakeCluster, folder: &Path, more: &[&str]) -> (Output, String) {
    let kubeconfig = folder.join("kubeconfig");
    std::fs::write(&kubeconfig, fake.kubeconfig()).unwrap();
    let mut run = Command::new(env!("CARGO_BIN_EXE_xtask"));
    run.arg("e2e").arg("--kubeconfig").arg(&kubeconfig).args(more);
    // Discovery of other clusters must not be taken for this one's.
    run.env("HOME", folder);
    let output = run.output().unwrap();
    let printed =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{printed}");
    (output, printed)
}

/// A cluster whose hub's command line is answered by these.
fn fake(runtime: &tokio::runtime::Runtime, exec: Exec) -> FakeCluster {
    runtime.block_on(FakeCluster::start(&NODES, exec)).unwrap()
}

/// Does in the lab what the API says: cordons, and a policy that lets nothing in to the vantages.
fn follow(fake: &FakeCluster, cluster: &Mutex<Cluster>, done: &mut BTreeSet<String>) {
    let cordoned = |name: &&str| {
        let node = fake.get("v1", "nodes", "", name);
        node.is_some_and(|node| node["spec"]["unschedulable"] == true)
    };
    let cordons =
        NODES.into_iter().filter(cordoned).map(|node| format!("node-state node={node} state=cordoned"));
    let denied = fake.objects().iter().any(|(kind, ..)| kind == "networkpolicies");
    let drops = NODES.into_iter().filter(|_| denied);
    let drops = drops.map(|node| format!("drop node={node} hook=forward dst=vantage-{node}"));
    let wanted: BTreeSet<String> = cordons.chain(drops).collect();
    let cluster = cluster.lock().unwrap();
    for fault in wanted.difference(done) {
        cluster.lab.inject(&fault.parse().unwrap()).unwrap();
    }
    for fault in done.difference(&wanted) {
        cluster.lab.heal(&fault.parse().unwrap()).unwrap();
    }
    drop(cluster);
    *done = wanted;
}

#[test]
fn it_is_installed_seen_and_removed() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let lab = Lab::up(LabSpec { mode: Mode::Routed, vantage: true, ..LabSpec::named("kube") }).unwrap();
    let cluster = Cluster::start(lab, Settings::default()).unwrap();
    cluster.wait_healthy().unwrap();
    let cluster = Arc::new(Mutex::new(cluster));
    let answers = Arc::clone(&cluster);
    let fake = fake(
        &runtime,
        Arc::new(move |words: &[String]| {
            let words: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
            let output = answers.lock().unwrap().cli(&words).unwrap();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (text(&output.stdout), text(&output.stderr), output.status.code().unwrap_or(255) as u8)
        }),
    );
    let over = AtomicBool::new(false);
    let (output, printed) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut done = BTreeSet::new();
            while !over.load(Ordering::Relaxed) {
                follow(&fake, &cluster, &mut done);
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        let ended = e2e(&fake, folder.path(), &["--image", "registry.example/netcheck:1"]);
        over.store(true, Ordering::Relaxed);
        ended
    });
    assert!(output.status.success());
    for line in [
        "12 pairs: icmp ipv4",
        "service/default/kubernetes:443",
        "pods reach pods of every other node",
        "544 of 544 paths reachable",
        "alarms nobody: n4",
        "a NetworkPolicy is seen: after",
    ] {
        assert!(printed.contains(line), "{line:?} is missing");
    }
    assert_eq!(fake.objects(), [], "something is left");
    let node = fake.get("v1", "nodes", "", "n4").unwrap();
    assert_ne!(node["spec"]["unschedulable"], true, "the cordon is left");
}

#[test]
fn what_fails_is_said_and_removed_nevertheless() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let fake = fake(
        &runtime,
        Arc::new(|_: &[String]| (String::new(), "kubectl-netcheck: cannot reach the hub\n".to_owned(), 1)),
    );
    let (output, printed) = e2e(&fake, folder.path(), &["--values", "/nonexistent"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(printed.contains("no file /nonexistent"));
    assert_eq!(fake.objects(), [], "the namespace is left");

    let (output, printed) = e2e(&fake, folder.path(), &["--patience", "3", "--timeout", "60"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(printed.contains("cannot reach the hub"), "why is not said");
    assert_eq!(fake.objects(), [], "something is left");

    let (_, printed) = e2e(&fake, folder.path(), &["--keep", "--patience", "3", "--timeout", "60"]);
    assert!(printed.contains("left as it is in namespaces netcheck-e2e and netcheck-e2e-hub"));
    assert!(!fake.objects().is_empty());
    let (output, printed) = e2e(&fake, folder.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(printed.contains("deployment.apps/netcheck-e2e-hub"), "what is there already is not named");
    assert!(!fake.objects().is_empty(), "what it did not install was removed");
}
