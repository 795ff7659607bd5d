//! `cargo xtask e2e` against a fake of the Kubernetes API: real kubectl and helm install, ask, cordon, test and remove,
//! and what answers `kubectl exec` is a real hub with real agents in a lab whose nodes have the same names. That hub is behind
//! the ports of hubs' pods, too, and has the fake's ReachabilityChecks.

#![expect(clippy::unwrap_used, reason = "a test's way to fail")]

mod docs;
mod ephemeral;
mod hub;

use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use netcheck_kubefake::cluster::{Exec, FakeCluster};
use netcheck_netlab::{Lab, LabSpec, Mode};
use xtask::cluster::{Cluster, GRPC_PORT, Settings, binary};

const NODES: [&str; 4] = ["n1", "n2", "n3", "n4"];

/// Runs `cargo xtask e2e` against it.
fn e2e(config: &str, folder: &Path, more: &[&str]) -> (Output, String) {
    let kubeconfig = folder.join("kubeconfig");
    std::fs::write(&kubeconfig, config).unwrap();
    let mut run = Command::new(env!("CARGO_BIN_EXE_xtask"));
    run.arg("e2e").arg("--kubeconfig").arg(&kubeconfig).args(more);
    run.arg("--cli").arg(binary("kubectl-netcheck").unwrap());
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
fn follow(fake: &Mutex<FakeCluster>, cluster: &Mutex<Option<Cluster>>, done: &mut BTreeSet<String>) {
    let fake = fake.lock().unwrap();
    let cordoned = |name: &&str| {
        let node = fake.get("v1", "nodes", "", name);
        node.is_some_and(|node| node["spec"]["unschedulable"] == true)
    };
    let cordons =
        NODES.into_iter().filter(cordoned).map(|node| format!("node-state node={node} state=cordoned"));
    // Those of the chart allow.
    let denies = |name: &str| name == "netcheck-e2e-deny";
    let denied = fake.objects().iter().any(|(kind, _, name)| kind == "networkpolicies" && denies(name));
    let drops = NODES.into_iter().filter(|_| denied);
    // What its responder is asked; answers to what it asks itself pass, as where a policy knows connections.
    let drops = drops.flat_map(|node| {
        ["udp", "tcp"]
            .map(|proto| format!("drop node={node} hook=forward dst=vantage-{node} proto={proto} dport=6100"))
    });
    let wanted: BTreeSet<String> = cordons.chain(drops).collect();
    drop(fake);
    let cluster = cluster.lock().unwrap();
    let Some(cluster) = cluster.as_ref() else { return };
    for fault in wanted.difference(done) {
        cluster.lab.inject(&fault.parse().unwrap()).unwrap();
    }
    for fault in done.difference(&wanted) {
        cluster.lab.heal(&fault.parse().unwrap()).unwrap();
    }
    *done = wanted;
}

/// The lab's cluster behind the fake's: it answers for the hubs there, by commands and by connections, and its own hub keeps
/// the fake's ReachabilityChecks.
fn behind(
    runtime: &tokio::runtime::Runtime,
    folder: &Path,
) -> (Arc<Mutex<FakeCluster>>, Arc<Mutex<Option<Cluster>>>) {
    let lab = Lab::up(LabSpec { mode: Mode::Routed, vantage: true, ..LabSpec::named("kube") }).unwrap();
    let hub = (lab.topology().hub_v4, GRPC_PORT);
    let cluster = Arc::new(Mutex::new(None::<Cluster>));
    let (answers, dialled) = (Arc::clone(&cluster), Arc::clone(&cluster));
    let exec = move |words: &[String]| {
        let words: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
        let output = answers.lock().unwrap().as_ref().unwrap().cli(&words).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr), output.status.code().unwrap_or(255) as u8)
    };
    let mut fake = fake(runtime, Arc::new(exec));
    // The fake is outside of the lab, and the hub asks within.
    let within = lab.enter("hub", || TcpListener::bind(("127.0.0.1", 0))).unwrap().unwrap();
    let _runtime = runtime.enter();
    let kubeconfig = folder.join("kubeconfig-of-the-hub");
    std::fs::write(&kubeconfig, fake.also_on(within).unwrap()).unwrap();
    let fake = Arc::new(Mutex::new(fake));
    let dial = move || {
        let cluster = dialled.lock().unwrap();
        cluster.as_ref().unwrap().lab.enter("hub", || TcpStream::connect(hub)).unwrap()
    };
    let address = runtime.block_on(hub::serve(Arc::clone(&fake), Arc::new(dial)));
    fake.lock().unwrap().forward_labelled("app.kubernetes.io/component", "hub", address);
    let hub_args =
        ["--scheduled-checks".to_owned(), "--kubeconfig".to_owned(), kubeconfig.display().to_string()];
    let started =
        Cluster::start(lab, Settings { hub_args: hub_args.to_vec(), ..Settings::default() }).unwrap();
    started.wait_healthy().unwrap();
    *cluster.lock().unwrap() = Some(started);
    (fake, cluster)
}

#[test]
fn it_is_installed_seen_and_removed() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (fake, cluster) = behind(&runtime, folder.path());
    let over = AtomicBool::new(false);
    let (output, printed) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut done = BTreeSet::new();
            while !over.load(Ordering::Relaxed) {
                follow(&fake, &cluster, &mut done);
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        let kubeconfig = fake.lock().unwrap().kubeconfig();
        let ended = e2e(&kubeconfig, folder.path(), &["--image", "registry.example/netcheck:1"]);
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
        "an ephemeral check passes, and leaves nothing: 544 of 544 paths reachable",
        "its object, Events and report say so: ",
        "a check fails by it and names it, and resume probes what failed: ",
        "resume passes, and says that a whole round is due: ✓",
    ] {
        assert!(printed.contains(line), "{line:?} is missing");
    }
    let fake = fake.lock().unwrap();
    // Events go by themselves, after an hour.
    let left: Vec<_> = fake.objects().into_iter().filter(|(kind, ..)| kind != "events").collect();
    assert_eq!(left, [], "something is left");
    let node = fake.get("v1", "nodes", "", "n4").unwrap();
    assert_ne!(node["spec"]["unschedulable"], true, "the cordon is left");
    drop(fake);
    let cluster = cluster.lock().unwrap().take().unwrap();
    cluster.stop().unwrap().down().unwrap();
}

#[test]
fn what_fails_is_said_and_removed_nevertheless() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let fake = fake(
        &runtime,
        Arc::new(|_: &[String]| (String::new(), "kubectl-netcheck: cannot reach the hub\n".to_owned(), 1)),
    );
    let quick =
        |more: &[&str]| e2e(&fake.kubeconfig(), folder.path(), &[&["--without-ephemeral"], more].concat());
    fake.unpullable("registry.example/none:1");
    let (output, printed) = e2e(&fake.kubeconfig(), folder.path(), &["--image", "registry.example/none:1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(printed.contains("FAILED") && printed.contains("cannot pull image"), "why is not said");
    assert_eq!(fake.objects(), [], "the ephemeral check left something");

    let (output, printed) = quick(&["--values", "/nonexistent"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(printed.contains("no file /nonexistent"));
    assert_eq!(fake.objects(), [], "the namespace is left");

    let (output, printed) = quick(&["--patience", "3", "--timeout", "60"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(printed.contains("cannot reach the hub"), "why is not said");
    assert_eq!(fake.objects(), [], "something is left");

    let (_, printed) = quick(&["--keep", "--patience", "3", "--timeout", "60"]);
    assert!(printed.contains("left as it is in namespaces netcheck-e2e and netcheck-e2e-hub"));
    assert!(!fake.objects().is_empty());
    let (output, printed) = quick(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(printed.contains("deployment.apps/netcheck-e2e-hub"), "what is there already is not named");
    assert!(!fake.objects().is_empty(), "what it did not install was removed");
}
