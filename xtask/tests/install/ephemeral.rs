//! `check --ephemeral` and `clean` against the fake cluster, by the real program: what it makes, checks and removes; what is left
//! when it is interrupted at any instant, or its API server goes; and what it never touches.

mod site;

use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use netcheck_netlab::{Lab, LabSpec, Mode};
use serde_json::{Value, json};
use xtask::cluster::{Cluster, GRPC_PORT, Settings};

use site::{Site, wait};

/// Interruptions at random instants, by as many at the same time.
const INTERRUPTIONS: u64 = 48;
const AT_ONCE: u64 = 4;
/// The latest of them, well after all objects are made.
const LATEST_MS: u64 = 3000;

/// A release that Helm installed, as far as it is looked for, in a namespace of its own.
fn release(site: &Site) {
    let labels = json!({"app.kubernetes.io/part-of": "netcheck", "app.kubernetes.io/component": "hub",
        "app.kubernetes.io/name": "netcheck", "app.kubernetes.io/managed-by": "Helm"});
    let fake = site.fake();
    let set = |group: &str, kind: (&str, &str), namespace: &str, name: &str| {
        let object = json!({"apiVersion": group, "kind": kind.0, "metadata":
            {"name": name, "namespace": namespace, "labels": labels}});
        fake.set(group, kind.1, namespace, name, object);
    };
    set("v1", ("Namespace", "namespaces"), "", "netcheck");
    set("rbac.authorization.k8s.io/v1", ("ClusterRole", "clusterroles"), "", "netcheck-hub");
    set("v1", ("Secret", "secrets"), "netcheck", "netcheck-hub-tls");
    set("apps/v1", ("Deployment", "deployments"), "netcheck", "netcheck-hub");
}

#[test]
fn interrupted_at_any_instant_it_leaves_nothing() {
    let (site, _hub) = Site::lone();
    site.fake().slow(Duration::from_millis(30), Duration::from_millis(5));
    let before = site.objects();
    let installed = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for worker in 0..AT_ONCE {
            let (site, installed) = (&site, &installed);
            scope.spawn(move || {
                for round in 0..INTERRUPTIONS / AT_ONCE {
                    // Spread over the whole time, in no order.
                    let at = ((round * AT_ONCE + worker) * 7919 % INTERRUPTIONS) * LATEST_MS / INTERRUPTIONS;
                    let running = site.start(&["check", "--ephemeral"]);
                    std::thread::sleep(Duration::from_millis(at));
                    running.interrupt();
                    let ended = running.end();
                    let output = format!("after {at} ms: {}", ended.output());
                    let Some(run) = ended.run() else { continue };
                    assert_eq!(ended.code, Some(1), "{output}");
                    assert!(ended.err.contains("interrupted"), "{output}");
                    let left: Vec<String> =
                        site.objects().into_keys().filter(|key| key.contains(&run)).collect();
                    assert!(left.is_empty(), "{output}\nleft: {left:?}");
                    let removed = u64::from(ended.err.contains("removed all"));
                    installed.fetch_add(removed, std::sync::atomic::Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(site.objects(), before);
    let installed = installed.into_inner();
    assert!(installed >= INTERRUPTIONS / 3, "{installed} of them had something to remove");
}

#[test]
fn interrupted_twice_it_says_what_is_left_and_clean_removes_that_alone() {
    let (site, _hub) = Site::lone();
    release(&site);
    let before = site.objects();
    site.fake().slow(Duration::from_secs(4), Duration::ZERO);
    let mut running = site.start(&["check", "--ephemeral", "--namespace", "mine"]);
    wait("it installs", || site.has("daemonsets") || running.is_over());
    running.interrupt();
    let going = |object: &Value| object["metadata"]["deletionTimestamp"].is_string();
    wait("it removes", || site.objects().values().any(going) || running.is_over());
    running.interrupt();
    let ended = running.end();
    let run = ended.run().unwrap();
    assert_eq!(ended.code, Some(1), "{}", ended.output());
    let last = ended.err.lines().last().unwrap();
    let command = format!("kubectl netcheck clean --run {run} --kubeconfig {}", site.kubeconfig().display());
    assert!(last.contains("objects are left") && last.contains(&command), "{last}");
    site.fake().slow(Duration::ZERO, Duration::ZERO);
    assert!(site.has("namespaces") && site.objects() != before);

    // The last request for one may have come while it ended.
    wait("what was deleted is gone", || !site.has("daemonsets") && !site.objects().values().any(going));
    let left = site.objects();
    let shown = site.run(&["clean", "--dry-run"]);
    assert_eq!(shown.code, Some(0), "{}", shown.output());
    assert!(shown.out.contains(&format!("would remove run {run} in namespace mine")), "{}", shown.output());
    assert!(!shown.out.contains("netcheck-hub-tls"), "what Helm installed is shown: {}", shown.out);
    assert_eq!(site.objects(), left, "a dry run changed something");
    let other = site.run(&["clean", "--run", "netcheck-other"]);
    assert!(other.out.contains("nothing of run netcheck-other"), "{}", other.output());
    let cleaned = site.run(&["clean"]);
    assert_eq!(cleaned.code, Some(0), "{}", cleaned.output());
    assert!(cleaned.out.contains(&format!("✓ removed run {run}")), "{}", cleaned.output());
    wait("what goes gracefully is gone", || site.objects() == before);
    assert!(site.run(&["clean"]).out.contains("nothing of any run"));
}

#[test]
fn a_server_that_goes_away_is_said_with_what_is_left() {
    let (site, _hub) = Site::lone();
    let before = site.objects();
    let running = site.start(&["check", "--ephemeral"]);
    wait("it installs", || site.has("daemonsets"));
    site.runtime.block_on(site.fake().stop());
    let ended = running.end();
    let run = ended.run().unwrap();
    assert_eq!(ended.code, Some(1), "{}", ended.output());
    let last = ended.err.lines().last().unwrap();
    for part in
        ["objects are left", "the API server has not answered for 15 s", &format!("clean --run {run}")]
    {
        assert!(last.contains(part), "{part:?} is missing: {last}");
    }
    assert!(site.objects().len() > before.len());
    site.runtime.block_on(site.fake().restart()).unwrap();
    let cleaned = site.run(&["clean", "--run", &run]);
    assert_eq!(cleaned.code, Some(0), "{}", cleaned.output());
    assert_eq!(site.objects(), before);
}

#[test]
fn what_stands_in_its_way_is_named_and_nothing_is_left() {
    let (site, _hub) = Site::lone();
    let refused = |words: &[&str], parts: &[&str]| {
        let before = site.objects();
        let ended = site.run(&[&["check", "--ephemeral"], words].concat());
        assert_eq!(ended.code, Some(1), "{}", ended.output());
        let last = ended.err.lines().last().unwrap_or_default();
        parts.iter().for_each(|part| assert!(last.contains(part), "{part:?} is missing: {}", ended.output()));
        assert_eq!(site.objects(), before, "{}", ended.output());
    };
    site.fake().unpullable("registry.example/none:1");
    let image = ["--image", "registry.example/none:1"];
    refused(&image, &["cannot pull image registry.example/none:1", "ImagePullBackOff", "Back-off pulling"]);

    let namespace = |name: &str, level: &str| {
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels":
            {"pod-security.kubernetes.io/enforce": level}}})
    };
    site.fake().set("v1", "namespaces", "", "strict", namespace("strict", "restricted"));
    refused(&["--namespace", "strict"], &["namespace strict enforces", "restricted"]);
    site.fake().set("v1", "namespaces", "", "free", namespace("free", "privileged"));
    refused(&["--namespace", "free", "--image-pull-secret", "key"], &["no secret key in namespace free"]);

    // Somebody else's, at the ports of the agents.
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "other", "namespace": "free"}, "spec": {
        "hostNetwork": true, "nodeName": "n2", "containers": [{"ports": [{"containerPort": 6101}]}]}});
    site.fake().set("v1", "pods", "free", "other", pod);
    refused(
        &["--install-timeout", "2s"],
        &["after 2 s not all pods are up", "agent-n2: Unschedulable", "free ports"],
    );

    release(&site);
    refused(
        &[],
        &["netcheck is installed in namespace netcheck", "check --namespace netcheck", "--namespace NAME"],
    );
    refused(&["--namespace", "netcheck"], &["netcheck is installed in namespace netcheck"]);
    site.fake().forbid("daemonsets", "");
    site.fake().forbid("pods", "portforward");
    let rights = ["create daemonsets.apps in namespace free", "create pods/portforward in namespace free"];
    refused(&["--namespace", "free"], &rights);
}

#[test]
fn a_dry_run_says_what_would_be_created_and_asks_nobody() {
    let (site, _hub) = Site::lone();
    site.runtime.block_on(site.fake().stop());
    let shown = site.run(&["check", "--ephemeral", "--dry-run", "--image", "registry.example/netcheck:2"]);
    assert_eq!(shown.code, Some(0), "{}", shown.output());
    for part in
        ["clusterrole netcheck-…", "daemonset netcheck-…/netcheck-…-agent", "registry.example/netcheck:2"]
    {
        assert!(shown.out.contains(part), "{part:?} is missing: {}", shown.out);
    }
    let objects = site.run(&["check", "--ephemeral", "--dry-run", "-o", "json", "--namespace", "mine"]);
    let list: Value = serde_json::from_str(&objects.out).unwrap();
    let items = list["items"].as_array().unwrap();
    assert!(items.iter().all(|item| item["metadata"]["labels"]["netcheck.io/run"].is_string()));
    assert!(!objects.out.contains("runid") && !objects.out.contains("netcheck-namespace"), "{}", objects.out);
    assert_eq!(site.run(&["check", "--dry-run"]).code, Some(64));
    assert_eq!(site.run(&["check", "--ephemeral", "--hub", "http://x"]).code, Some(64));
}

#[test]
fn it_installs_checks_and_removes_also_two_at_once() {
    let lab = Lab::up(LabSpec { mode: Mode::Routed, vantage: true, ..LabSpec::named("ephemeral") }).unwrap();
    let cluster = Cluster::start(lab, Settings::default()).unwrap();
    cluster.wait_healthy().unwrap();
    let address = (cluster.lab.topology().hub_v4, GRPC_PORT);
    let cluster = Arc::new(Mutex::new(cluster));
    let dialled = Arc::clone(&cluster);
    let site = Site::new(|_| {
        Arc::new(move || dialled.lock().unwrap().lab.enter("hub", || TcpStream::connect(address)).unwrap())
    });
    release(&site);
    site.fake().slow(Duration::from_millis(300), Duration::ZERO);
    let before = site.objects();
    let one = site.start(&["check", "--ephemeral", "--namespace", "one", "--junit-file", "one.xml"]);
    wait("the first installs", || site.has("daemonsets"));
    let two = site.start(&["check", "--ephemeral", "--namespace", "two", "-o", "json"]);
    wait("both are there", || {
        let objects = site.fake().objects();
        let agents =
            objects.iter().filter(|(kind, _, name)| kind == "daemonsets" && name.ends_with("-agent"));
        agents.count() == 2
    });
    let (one, two) = (one.end(), two.end());
    for ended in [&one, &two] {
        assert_eq!(ended.code, Some(0), "{}", ended.output());
        assert!(
            ended.err.contains("9 of 9 pods are ready") && ended.err.contains("removed all"),
            "{}",
            ended.output()
        );
    }
    assert!(one.out.starts_with("✓ all"), "{}", one.output());
    let result: Value = serde_json::from_str(&two.out).unwrap();
    assert_eq!(result["round"]["complete"], true, "{}", two.output());
    assert!(std::fs::read_to_string(site.folder.path().join("one.xml")).unwrap().contains("<testsuite"));
    assert_eq!(site.objects(), before);

    // What it finds is its exit code, also here.
    cluster
        .lock()
        .unwrap()
        .lab
        .inject(&"drop node=n2 hook=input proto=udp dport=6100".parse().unwrap())
        .unwrap();
    let found = site.run(&["check", "--ephemeral", "--namespace", "one"]);
    assert_eq!(found.code, Some(2), "{}", found.output());
    assert!(found.out.contains("n2"), "{}", found.output());
    assert!(found.out.contains("`kubectl netcheck check --ephemeral` probes all"), "{}", found.output());
    assert_eq!(site.objects(), before);
    drop(site);
    let cluster = Arc::into_inner(cluster).unwrap().into_inner().unwrap();
    cluster.stop().unwrap().down().unwrap();
}
