//! What people meet: commands that work as printed, clear errors, honest exit codes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use netcheck_netlab::{Fault, Mode};
use xtask::cluster::{Cluster, Settings, binary, grpcurl_commands};

use crate::healthy;

#[test]
fn grpcurl_works_as_printed_and_exit_codes_say_how_it_ended() {
    let cluster = healthy("e2e-read", Mode::Vxlan, Settings::default());
    for command in grpcurl_commands(&cluster) {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let output = Command::new("sh").args(["-c", &command]).current_dir(root).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(
            text.contains("GetReport") || text.contains("VERDICT_REACHABLE") || text.contains("reachable"),
            "{text}"
        );
    }
    assert_eq!(cluster.cli(&["report"]).unwrap().status.code(), Some(0));
    healthy_probes_leave_no_drops(&cluster);
    // What kernels drop of anybody's packets is on both metrics pages.
    let fault: Fault = "drop node=n3 hook=input proto=udp dport=9".parse().unwrap();
    cluster.lab.inject(&fault).unwrap();
    let n3 = cluster.lab.node("n3").unwrap().v4;
    let stranger = |_: &xtask::cluster::Report| {
        cluster
            .lab
            .enter("hub", || UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"x", (n3, 9)).unwrap())
            .unwrap();
        let hub = get(&cluster, SocketAddr::new(cluster.lab.topology().hub_v4.into(), 8080));
        let agent = get(&cluster, SocketAddr::new(n3.into(), 6101));
        hub.contains(
            "netcheck_node_kernel_drops_total{node=\"n3\",interface=\"uplink\",reason=\"NETFILTER_DROP\"}",
        ) && agent.contains("netcheck_agent_kernel_drops_total{interface=\"eth0\",reason=\"NETFILTER_DROP\"}")
    };
    cluster.wait("drops are counted", Duration::from_secs(20), stranger).unwrap();
    cluster.lab.heal(&fault).unwrap();
    let fault: Fault = "uplink-down node=n4".parse().unwrap();
    cluster.lab.inject(&fault).unwrap();
    cluster.wait("n4 is away", Duration::from_secs(10), |report| report.unreachable > 0).unwrap();
    assert_eq!(cluster.cli(&["report"]).unwrap().status.code(), Some(2));
    assert_eq!(cluster.cli(&["--hub", "http://127.0.0.1:1", "report"]).unwrap().status.code(), Some(1));
    assert_eq!(cluster.cli(&["frobnicate"]).unwrap().status.code(), Some(64));
    cluster.lab.heal(&fault).unwrap();
    cluster.wait_healthy().unwrap();
    cluster.stop().unwrap().down().unwrap();
}

/// The kernel frees some packets of every probe with a reason as if it had dropped them.
fn healthy_probes_leave_no_drops(cluster: &Cluster) {
    let n3 = SocketAddr::new(cluster.lab.node("n3").unwrap().v4.into(), 6101);
    let page = || {
        let text = get(cluster, n3);
        let counted = |name: &str| {
            let lines = text.lines().filter(|line| line.starts_with(name));
            lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum::<f64>()
        };
        let at_uplink = "netcheck_agent_kernel_drops_total{interface=\"eth0\",reason=\"NO";
        (counted("netcheck_agent_probes_total"), counted(at_uplink))
    };
    // The counts are read every five seconds.
    let seven_rounds = || {
        let sent = page().0 + 44.0 * 7.0;
        let sent_all = |_: &xtask::cluster::Report| page().0 >= sent;
        cluster.wait("seven rounds of probes", Duration::from_secs(30), sent_all).unwrap();
        page().1
    };
    let dropped = seven_rounds();
    let drops = get(cluster, n3);
    let drops: Vec<_> = drops.lines().filter(|line| line.contains("kernel_drops_total{")).collect();
    assert_eq!(seven_rounds(), dropped, "before: {drops:#?}");
}

/// `GET /metrics`, as the hub's namespace sees it.
fn get(cluster: &Cluster, address: SocketAddr) -> String {
    cluster
        .lab
        .enter("hub", || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        })
        .unwrap()
}

#[test]
fn a_taken_port_and_missing_privileges_are_one_clear_line() {
    let cluster = healthy("e2e-errors", Mode::Routed, Settings::default());
    let agent = binary("netcheck-agent").unwrap();
    let agent = agent.to_str().unwrap();
    let hub = ["--hub", "http://172.30.0.2:7070", "--insecure"];
    // The node's own agent has the port.
    let taken = cluster.lab.exec("n1", &[&[agent], &hub[..]].concat()).unwrap();
    assert_eq!(taken.status.code(), Some(1));
    let line = String::from_utf8_lossy(&taken.stderr).trim().to_owned();
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.contains("6100") && line.contains("in use"), "{line}");
    // Without the right to load programs.
    let stripped =
        ["setpriv", "--bounding-set", "-bpf,-sys_admin,-perfmon", "--inh-caps", "-bpf,-sys_admin,-perfmon"];
    let other_ports =
        ["--responder-addr=0.0.0.0:6200", "--http-addr=0.0.0.0:6201", "--relay-addr=0.0.0.0:6202"];
    let refused = cluster
        .lab
        .exec("n1", &[&stripped[..], &[agent], &hub, &other_ports, &["--ebpf", "required"]].concat())
        .unwrap();
    let text = String::from_utf8_lossy(&refused.stderr).trim().to_owned();
    assert_eq!(refused.status.code(), Some(1), "{text}");
    let last = text.lines().last().unwrap();
    assert!(last.contains("capabilit") && last.contains("BPF"), "{text}");
    cluster.stop().unwrap().down().unwrap();
}
