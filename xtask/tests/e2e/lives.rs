//! What survives: agents that are killed, a hub that goes away and comes back.

use std::time::Duration;

use netcheck_netlab::Mode;
use xtask::cluster::{Cluster, Settings};

use crate::{args, healthy};

/// Names and interfaces of the hooks in a node's namespace, as the kernel has them.
fn hooks(cluster: &Cluster, node: &str) -> Vec<String> {
    let output = cluster.lab.exec(node, &["bpftool", "net", "list"]).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let hooks = text.lines().filter(|line| line.contains("netcheck_"));
    // The identity of a program differs with each start; interface, place and name do not.
    let mut hooks: Vec<String> =
        hooks.map(|line| line.split_whitespace().take(3).collect::<Vec<_>>().join(" ")).collect();
    hooks.sort();
    hooks
}

#[test]
fn a_killed_agent_leaves_no_hook_and_its_minute_is_no_data() {
    let mut cluster = healthy("e2e-kill", Mode::Vxlan, Settings::default());
    let before = hooks(&cluster, "n2");
    // eth0, cni0, flannel.1 and two pods, each in both directions.
    assert_eq!(before.len(), 10, "{before:?}");
    cluster.kill_agent("n2").unwrap();
    assert_eq!(hooks(&cluster, "n2"), Vec::<String>::new());
    // UDP needs n2's responder, which is gone too; its kernel still answers the rest.
    cluster
        .wait("paths from n2 have no data", Duration::from_secs(15), |report| {
            report.no_data == report.paths / 4
        })
        .unwrap();
    for cell in cluster.cells().unwrap().iter().filter(|cell| cell.source == "n2") {
        assert_eq!(cell.verdict, "no_data", "{cell:?}");
    }
    let report = cluster.report().unwrap();
    assert!(report.caveats.iter().any(|line| line.contains("n2")), "{:?}", report.caveats);
    cluster.start_agent("n2").unwrap();
    cluster.wait_healthy().unwrap();
    assert_eq!(hooks(&cluster, "n2"), before, "each once");
    // An orderly end leaves nothing either.
    let lab = cluster.stop().unwrap();
    let output = lab.exec("n1", &["bpftool", "net", "list"]).unwrap();
    assert!(!String::from_utf8_lossy(&output.stdout).contains("netcheck_"));
    lab.down().unwrap();
}

#[test]
fn a_hub_that_comes_back_counts_nothing_twice() {
    let mut cluster = healthy("e2e-hub", Mode::Routed, Settings::default());
    for _ in 0..2 {
        cluster.kill_hub().unwrap();
        cluster.lab.enter("hub", || ()).unwrap();
        cluster.start_hub().unwrap();
        cluster.wait_healthy().unwrap();
    }
    // Ten seconds of one probe a second. What came twice would show as more.
    let range = Duration::from_secs(10);
    cluster
        .wait("a full range of samples", Duration::from_secs(30), |_| {
            cluster.cells().unwrap().iter().all(|cell| cell.sent + cell.suspect >= 9)
        })
        .unwrap();
    for cell in cluster.cells().unwrap() {
        assert!(cell.sent + cell.suspect <= range.as_secs() + 1, "{cell:?}");
        assert_eq!(cell.sent, cell.reply, "{cell:?}");
    }
    cluster.stop().unwrap().down().unwrap();
}

#[test]
fn without_kernel_programs_it_goes_on_and_says_so() {
    let mut settings = Settings::default();
    settings.node_args.insert("n3".to_owned(), args("--ebpf off"));
    let cluster = healthy("e2e-blind", Mode::Routed, settings);
    let report = cluster.report().unwrap();
    assert!(report.caveats.iter().any(|line| line.contains("n3")), "{:?}", report.caveats);
    let nodes = cluster.shown(&["nodes"]).unwrap();
    let row = nodes.lines().find(|line| line.contains("n3")).unwrap();
    assert!(row.contains("off"), "{nodes}");
    let status = cluster
        .lab
        .exec("n3", &[xtask::cluster::binary("netcheck-agent").unwrap().to_str().unwrap(), "status"]);
    let status = status.unwrap();
    assert!(String::from_utf8_lossy(&status.stdout).contains("off"), "{status:?}");
    for cell in cluster.cells().unwrap().iter().filter(|cell| cell.source == "n3") {
        assert!(cell.round_trip_p50_s.is_some(), "user-space times are there: {cell:?}");
    }
    cluster.stop().unwrap().down().unwrap();
}
