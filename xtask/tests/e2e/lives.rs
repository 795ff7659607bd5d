//! What survives: agents that are killed, a hub that goes away and comes back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use netcheck_netlab::{Lab, LabSpec, Mode};
use xtask::cluster::{Cluster, Settings};

use crate::{args, healthy, is_bad};

/// How many tcx programs the kernel has at each interface of a node, by (interface, egress). Nobody but netcheck
/// attaches any in a lab.
fn hooks(lab: &Lab, node: &str) -> BTreeMap<(String, bool), u32> {
    lab.enter(node, || {
        let names = if_names();
        let both =
            names.iter().flat_map(|(index, name)| [false, true].map(|egress| (*index, name.clone(), egress)));
        both.map(|(index, name, egress)| ((name, egress), tcx_programs(index, egress)))
            .filter(|(_, count)| *count > 0)
            .collect()
    })
    .unwrap()
}

fn if_names() -> Vec<(u32, String)> {
    let output = std::process::Command::new("ip").args(["-brief", "link"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let name = |line: &str| line.split([' ', '@']).next().unwrap().to_owned();
    text.lines()
        .map(|line| {
            let name = name(line);
            let c_name = std::ffi::CString::new(name.clone()).unwrap();
            // SAFETY: a C string that lives through the call.
            (unsafe { libc::if_nametoindex(c_name.as_ptr()) }, name)
        })
        .collect()
}

/// `BPF_PROG_QUERY` (bpf(2)) for `BPF_TCX_INGRESS` or `BPF_TCX_EGRESS`: how many.
fn tcx_programs(ifindex: u32, egress: bool) -> u32 {
    const BPF_PROG_QUERY: libc::c_long = 16;
    const BPF_TCX_INGRESS: u32 = 46;
    /// The part of `union bpf_attr` that a query uses (include/uapi/linux/bpf.h).
    #[repr(C)]
    #[derive(Default)]
    struct Query {
        target_ifindex: u32,
        attach_type: u32,
        query_flags: u32,
        attach_flags: u32,
        prog_ids: u64,
        prog_cnt: u32,
        pad: u32,
        arrays: [u64; 3],
        revision: u64,
    }
    let attach_type = BPF_TCX_INGRESS + u32::from(egress);
    let mut query = Query { target_ifindex: ifindex, attach_type, ..Query::default() };
    // SAFETY: the structure is as the kernel wants it, lives through the call, and asks for no arrays.
    let result = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_QUERY, &raw mut query, size_of::<Query>()) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    query.prog_cnt
}

#[test]
fn a_killed_agent_leaves_no_hook_and_its_minute_is_no_data() {
    let mut cluster = healthy("e2e-kill", Mode::Vxlan, Settings::default());
    let before = hooks(&cluster.lab, "n2");
    // eth0, cni0, flannel.1 and two pods, each in both directions, each once.
    assert_eq!(before.len(), 10, "{before:?}");
    assert!(before.values().all(|&count| count == 1), "{before:?}");
    cluster.kill_agent("n2").unwrap();
    assert_eq!(hooks(&cluster.lab, "n2"), BTreeMap::new());
    // UDP needs n2's responder, which is gone too; its kernel still answers the rest.
    nothing_from_n2(&cluster);
    for cell in cluster.cells().unwrap().iter().filter(|cell| cell.source == "n2") {
        assert_eq!(cell.verdict, "no_data", "{cell:?}");
    }
    let report = cluster.report().unwrap();
    assert!(report.caveats.iter().any(|line| line.contains("n2")), "{:?}", report.caveats);
    cluster.start_agent("n2").unwrap();
    cluster.wait_healthy().unwrap();
    assert_eq!(hooks(&cluster.lab, "n2"), before, "none left over, none doubled");
    // An orderly end leaves nothing either.
    let lab = cluster.stop().unwrap();
    assert_eq!(hooks(&lab, "n1"), BTreeMap::new());
    lab.down().unwrap();
}

/// Waits until what n2's agent measured is too old to count, so that what is well afterwards was measured anew.
fn nothing_from_n2(cluster: &Cluster) {
    cluster
        .wait("paths from n2 have no data", Duration::from_secs(15), |report| {
            report.no_data == report.paths / 4
        })
        .unwrap();
}

/// Nothing is bad for so long, and nothing was in between.
fn stays_well(cluster: &Cluster, time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        let bad: Vec<_> = cluster.cells().unwrap().into_iter().filter(is_bad).collect();
        assert!(bad.is_empty(), "{bad:#?}");
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(
        cluster.incidents().unwrap().len(),
        0,
        "{}",
        cluster.shown(&["incidents", "--closed"]).unwrap()
    );
}

#[test]
fn an_upgrade_under_probing_is_no_loss() {
    let lab =
        Lab::up(LabSpec { mode: Mode::Routed, vantage: true, ..LabSpec::named("e2e-upgrade") }).unwrap();
    let mut cluster = Cluster::start(lab, Settings::default()).unwrap();
    cluster.wait_healthy().unwrap();
    cluster.stop_agent("n2").unwrap();
    // Its responder is gone; without the good-bye an incident would open within three intervals.
    stays_well(&cluster, Duration::from_secs(8));
    let silent = |cell: &&xtask::cluster::Cell| cell.verdict == "expected_absent";
    let cells = cluster.cells().unwrap();
    let silent: Vec<_> = cells.iter().filter(silent).collect();
    assert!(silent.iter().any(|cell| cell.kind == "udp") && silent.iter().any(|cell| cell.kind == "tcp"));
    assert!(silent.iter().all(|cell| cell.target == "node/n2" && cell.kind != "icmp"), "{silent:#?}");
    cluster.start_agent("n2").unwrap();
    cluster.wait_healthy().unwrap();
    cluster.stop_vantage("n3").unwrap();
    stays_well(&cluster, Duration::from_secs(6));
    cluster.start_vantage("n3").unwrap();
    cluster.wait_healthy().unwrap();
    stays_well(&cluster, Duration::from_secs(3));
    // One that is killed says no good-bye.
    cluster.kill_agent("n2").unwrap();
    cluster
        .wait("its responder is missed", Duration::from_secs(20), |report| report.unreachable > 0)
        .unwrap();
    cluster.stop().unwrap().down().unwrap();
}

#[test]
fn a_hub_is_found_by_agents_that_can_look_up_no_name() {
    let lab = Lab::up(LabSpec { mode: Mode::Routed, ..LabSpec::named("e2e-no-dns") }).unwrap();
    let file = lab.log_path("hub-addresses").with_extension("kept");
    let known = format!("--hub-addresses-file={}", file.display());
    // A name that nobody can look up, and what Kubernetes would have put into the environment; then what the node kept.
    let name = "http://netcheck-hub.netcheck.svc:7070";
    let service = format!("--hub-service-host={}", lab.topology().hub_v4);
    let mut settings = Settings { agent_hub: Some(name.to_owned()), ..Settings::default() };
    settings.agent_args = vec![service];
    settings.node_args.insert("n2".to_owned(), vec![known.clone()]);
    let mut cluster = Cluster::start(lab, settings).unwrap();
    cluster.wait_healthy().unwrap();
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(kept.starts_with("netcheck-hub.netcheck.svc\n172.30.0.2:7070"), "{kept}");
    cluster.stop_agent("n2").unwrap();
    nothing_from_n2(&cluster);
    cluster.settings_mut().agent_args.clear();
    cluster.start_agent("n2").unwrap();
    cluster.wait_healthy().unwrap();
    cluster.stop().unwrap().down().unwrap();
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

/// What `netcheck-agent status` says of the hub, on every node.
fn hub_rows(cluster: &Cluster) -> Vec<String> {
    let agent = xtask::cluster::binary("netcheck-agent").unwrap();
    let row = |node: &netcheck_netlab::Node| {
        let status = cluster.lab.exec(&node.name, &[agent.to_str().unwrap(), "status"]).unwrap();
        let text = String::from_utf8_lossy(&status.stdout).into_owned();
        text.lines().find(|line| line.starts_with("hub ")).unwrap_or_default().to_owned()
    };
    cluster.lab.nodes().iter().map(row).collect()
}

/// Waits until what the agents say of the hub is so.
fn hub_is(cluster: &Cluster, what: &str, patience: Duration, is: impl Fn(&str) -> bool) -> Duration {
    let start = Instant::now();
    loop {
        let rows = hub_rows(cluster);
        if rows.iter().all(|row| is(row)) {
            return start.elapsed();
        }
        assert!(start.elapsed() < patience, "{what}: not within {patience:?}\n{}", rows.join("\n"));
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The whole course of a hub whose node dies: no good-bye, no reset, only silence. The times are printed; the chart's
/// README has them beside those that are Kubernetes' own.
#[test]
fn a_hub_whose_node_dies_is_found_again_on_another() {
    /// Kubernetes calls a node unreachable 40 to 50 s after its last word; by then the agents' delays are the longest.
    const UNTIL_MOVED: Duration = Duration::from_secs(45);
    let mut cluster = healthy("e2e-hub-node", Mode::Routed, Settings::default());
    let underlay = cluster.lab.topology().underlay_ns.clone();
    let cable = |state: &str| {
        let args = ["-n", &underlay, "link", "set", "port-hub", state];
        assert!(std::process::Command::new("ip").args(args).status().unwrap().success());
    };
    let died = Instant::now();
    cable("down");
    cluster.kill_hub().unwrap();
    let noticed =
        hub_is(&cluster, "all agents notice", Duration::from_secs(30), |row| row.contains("not connected"));
    std::thread::sleep(UNTIL_MOVED.saturating_sub(died.elapsed()));
    cable("up");
    cluster.start_hub().unwrap();
    let listens = Instant::now();
    let sessions =
        hub_is(&cluster, "all sessions are back", Duration::from_secs(30), |row| row.contains(", connected"));
    cluster.wait_healthy().unwrap();
    println!(
        "agents noticed after {:.1} s; of the hub that listens again: all sessions after {:.1} s, every path measured \
         after {:.1} s",
        noticed.as_secs_f64(),
        sessions.as_secs_f64(),
        listens.elapsed().as_secs_f64()
    );
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
