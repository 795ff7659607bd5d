//! On trees of files like /proc.

use super::*;
use crate::culprit::node::tests::pasteable;

/// `/proc` of a node with one pod, gone with the test.
struct Proc(PathBuf);

impl Proc {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let root = std::env::temp_dir().join(format!("netcheck-pod-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        for (process, namespace) in
            [("self", "net:[1]"), ("1", "net:[1]"), ("77", "net:[2]"), ("78", "net:[2]")]
        {
            fs::create_dir_all(root.join(process).join("ns")).unwrap();
            fs::create_dir_all(root.join(process).join("net")).unwrap();
            std::os::unix::fs::symlink(namespace, root.join(process).join("ns/net")).unwrap();
        }
        for process in ["77", "78"] {
            for (file, text) in files {
                fs::write(root.join(process).join("net").join(file), text).unwrap();
            }
        }
        Self(root)
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const TRIE: &str = "Main:\n  +-- 10.244.2.0/24 2 0 2\n     |-- 10.244.2.1\n        /32 link UNICAST\n     |-- 10.244.2.10\n        /32 host LOCAL\n";
const ROUTES: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

fn v4(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A line of /proc/net/route.
fn route(network: [u8; 4], gateway: [u8; 4], mask: [u8; 4]) -> String {
    let word = |bytes| format!("{:08X}", u32::from_ne_bytes(bytes));
    format!("eth0\t{}\t{}\t0003\t0\t0\t0\t{}\t0\t0\t0\n", word(network), word(gateway), word(mask))
}

#[test]
fn a_pod_is_found_by_its_own_address() {
    let proc = Proc::new("found", &[("fib_trie", TRIE)]);
    let net = PodNet::of(&proc.0, v4("10.244.2.10")).unwrap();
    assert!([77, 78].contains(&net.process));
    for other in ["10.244.2.1", "10.244.2.100", "10.244.2.11", "fd00::1"] {
        assert_eq!(PodNet::of(&proc.0, v4(other)), None, "{other}");
    }
}

#[test]
fn a_pod_that_cannot_answer_says_why() {
    let own = route([10, 244, 2, 0], [0; 4], [255, 255, 255, 0]);
    let wide = route([10, 244, 0, 0], [0; 4], [255, 255, 0, 0]);
    let default = route([0; 4], [10, 244, 2, 1], [0; 4]);
    let described = |name: &str, routes: &str, to: &str| {
        let proc = Proc::new(name, &[("fib_trie", TRIE), ("route", &format!("{ROUTES}{routes}"))]);
        let net = PodNet::of(&proc.0, v4("10.244.2.10")).unwrap();
        net.way_back(v4(to)).map(|culprit| {
            pasteable(&culprit);
            culprit.object
        })
    };
    assert_eq!(described("well", &format!("{own}{default}"), "10.244.3.7"), None);
    assert_eq!(
        described("none", &own, "10.244.3.7").as_deref(),
        Some("the pod has no route to 10.244.3.7: it has no default route")
    );
    assert_eq!(
        described("mask", &format!("{wide}{default}"), "10.244.3.7").as_deref(),
        Some("the pod takes 10.244.0.0/16 for its own link (eth0)")
    );
}

#[test]
fn a_gateway_that_has_another_hardware_address_by_now_is_named() {
    let line = |mac: &str, flags: &str| {
        format!(
            "IP address       HW type     Flags       HW address            Mask     Device\n10.244.2.1       0x1         {flags}         {mac}     *        eth0\n"
        )
    };
    let node = "Local:\n  +-- 10.244.2.0/24 2 0 2\n     |-- 10.244.2.1\n        /32 host LOCAL\n";
    let found = |name: &str, arp: &str, own: &str| {
        let proc = Proc::new(name, &[("fib_trie", TRIE), ("arp", arp)]);
        fs::write(proc.0.join("self/net/fib_trie"), own).unwrap();
        let class = proc.0.join("class");
        fs::create_dir_all(class.join("cni0")).unwrap();
        fs::write(class.join("cni0/address"), "02:00:00:00:00:01\n").unwrap();
        let net = PodNet::of(&proc.0, v4("10.244.2.10")).unwrap();
        net.stale_gateway(&proc.0, &class).map(|culprit| {
            pasteable(&culprit);
            (culprit.object, culprit.text)
        })
    };
    let (object, text) = found("stale", &line("02:00:00:00:00:99", "0x2"), node).unwrap();
    assert!(object.starts_with("the pod's neighbour 10.244.2.1 on eth0 is at 02:00:00:00:00:99"), "{object}");
    assert!(text.contains("any more"), "{text}");
    let (_, text) = found("by-hand", &line("02:00:00:00:00:99", "0x6"), node).unwrap();
    assert!(text.contains("by hand"), "{text}");
    // A pod names its interfaces as it likes.
    let arp = line("02:00:00:00:00:99", "0x2").replace("eth0", ";reboot");
    assert!(found("named", &arp, node).is_some());
    // The right one, one that is not known yet, and a gateway that is not the node's.
    assert_eq!(found("right", &line("02:00:00:00:00:01", "0x2"), node), None);
    assert_eq!(found("incomplete", &line("00:00:00:00:00:00", "0x0"), node), None);
    assert_eq!(found("elsewhere", &line("02:00:00:00:00:99", "0x2"), "Local:\n"), None);
}

#[test]
fn an_address_that_was_in_use_is_reported() {
    let address = "fd000000000000020000000000000010 03 40 00 c8     eth0\n";
    let proc = Proc::new("dad", &[("if_inet6", address)]);
    let net = PodNet::of(&proc.0, v4("fd00:0:0:2::10")).unwrap();
    let found = net.unusable(v4("fd00:0:0:2::10")).unwrap();
    assert_eq!(found.object, "address fd00:0:0:2::10 of eth0 in the pod failed duplicate address detection");
    pasteable(&found);
    let proc = Proc::new("tentative", &[("if_inet6", &address.replace(" c8 ", " 40 "))]);
    let found = PodNet::of(&proc.0, v4("fd00:0:0:2::10")).unwrap().unusable(v4("fd00:0:0:2::10")).unwrap();
    assert!(found.see.ends_with(" -n ip -6 addr show tentative"), "{}", found.see);
    pasteable(&found);
    let proc = Proc::new("fine", &[("if_inet6", &address.replace(" c8 ", " 80 "))]);
    assert_eq!(PodNet::of(&proc.0, v4("fd00:0:0:2::10")).unwrap().unusable(v4("fd00:0:0:2::10")), None);
}

#[test]
fn a_port_is_listened_at_or_not_or_not_accepted() {
    let sockets = "  sl  local_address rem_address   st tx_queue rx_queue\n   \
                   0: 00000000:1F90 00000000:0000 0A 00000000:00000002 00:00000000\n   \
                   1: 00000000:1F91 00000000:0000 0A 00000000:00000000 00:00000000\n";
    let netstat = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 0 41 41\n";
    let proc = Proc::new("port", &[("fib_trie", TRIE), ("tcp", sockets), ("netstat", netstat)]);
    let net = PodNet::of(&proc.0, v4("10.244.2.10")).unwrap();
    let port = |kind, port| net.port(&proc.0, (kind, port), v4("10.244.2.10"));
    let stuck = port("tcp", 8080).unwrap();
    assert_eq!(stuck.object, "the listen queue of tcp port 8080 in the pod holds 2 connections");
    assert!(stuck.text.contains("41 found the queue full"), "{}", stuck.text);
    pasteable(&stuck);
    assert_eq!(port("tcp", 8081), None);
    assert_eq!(port("tcp", 80).unwrap().object, "nothing in the pod listens on tcp port 80");
}

#[test]
fn a_program_that_does_not_read_is_named_and_whether_it_is_stopped() {
    let sockets = "  sl  local_address rem_address   st tx_queue rx_queue\n   \
                   0: 00000000:0035 00000000:0000 07 00000000:00001A00 00:00000000\n";
    let proc = Proc::new("hung", &[("fib_trie", TRIE), ("udp", sockets)]);
    let net = PodNet::of(&proc.0, v4("10.244.2.10")).unwrap();
    let found = || net.port(&proc.0, ("udp", 53), v4("10.244.2.10")).unwrap();
    assert_eq!(found().object, "the socket of udp port 53 in the pod holds 6656 bytes");
    assert_eq!(found().text, "the program does not read them");
    fs::write(proc.0.join("78/stat"), "78 (a) b) T 1 78 78 0 -1").unwrap();
    assert!(found().text.ends_with("process 78 (a) b) of the pod is stopped"), "{}", found().text);
    fs::write(proc.0.join("78/stat"), "78 (a) b) S 1 78 78 0 -1").unwrap();
    assert_eq!(found().text, "the program does not read them");
}
