//! Hooks come and go with interfaces and with their agent.

use std::time::{Duration, Instant};

use netcheck_agent::kernel::TcMode;

use crate::SESSION_A;
use crate::nodes::{How, Node, Pair, echo};

#[test]
fn hooks_are_listed_and_gone_with_their_owner() {
    let pair = Pair::new(SESSION_A, 0);
    let status = pair.a.kernel.status();
    assert_eq!(status.state, netcheck_proto::v1::EbpfState::Attached, "{status:?}");
    assert_eq!(status.hooks.len(), 2);
    let programs = |node: &Node| {
        node.run(|| {
            use aya::programs::{SchedClassifier, tc::TcAttachType};
            [TcAttachType::Ingress, TcAttachType::Egress]
                .map(|kind| SchedClassifier::query_tcx("eth0", kind).unwrap().1.len())
        })
    };
    assert_eq!(programs(&pair.a), [1, 1]);
    // The other node stays: with it would go the veth pair.
    let Pair { a, b: _b } = pair;
    let bare = a.without_programs();
    let left = bare.run(|| {
        use aya::programs::{SchedClassifier, tc::TcAttachType};
        [TcAttachType::Ingress, TcAttachType::Egress]
            .map(|kind| SchedClassifier::query_tcx("eth0", kind).unwrap().1.len())
    });
    assert_eq!(left, [0, 0]);
}

#[test]
fn interfaces_that_come_are_hooked_and_those_that_go_forgotten() {
    let pair = Pair::new(SESSION_A, 0);
    let names = |pair: &Pair| -> Vec<String> {
        let mut names: Vec<_> = pair.a.kernel.status().hooks.into_iter().map(|hook| hook.interface).collect();
        names.dedup();
        names
    };
    let wait = |expected: &[&str]| {
        let deadline = Instant::now() + Duration::from_secs(5);
        while names(&pair) != expected {
            assert!(Instant::now() < deadline, "{:?} instead of {expected:?}", names(&pair));
            std::thread::yield_now();
        }
    };
    wait(&["eth0"]);
    pair.a.ip("link add cni0 type bridge");
    pair.a.ip("link add flannel.1 type vxlan id 1 dstport 8472 dev eth0");
    wait(&["cni0", "eth0", "flannel.1"]);
    let roles: Vec<_> =
        pair.a.kernel.status().hooks.iter().map(|hook| (hook.interface.clone(), hook.role())).collect();
    assert!(roles.contains(&("flannel.1".into(), netcheck_proto::v1::InterfaceRole::Tunnel)));
    pair.a.ip("link del cni0");
    wait(&["eth0", "flannel.1"]);
}

/// Filters of netcheck at a node's eth0, both directions.
fn filters(node: &Node) -> usize {
    node.run(|| {
        ["ingress", "egress"]
            .iter()
            .map(|hook| {
                let output =
                    std::process::Command::new("tc").args(["filter", "show", "dev", "eth0", hook]).output();
                String::from_utf8(output.unwrap().stdout).unwrap().matches("handle 0xca7").count()
            })
            .sum()
    })
}

#[test]
fn hooks_of_older_kernels_work_and_are_swept_after_a_crash() {
    let how = How { tc_mode: Some(TcMode::Netlink), ..How::default() };
    let Pair { a, b } = Pair::opened(SESSION_A, how, how);
    // Somebody else's filter on the same qdisc must survive.
    a.run(|| {
        let theirs = "filter add dev eth0 ingress prio 60000 protocol ip u32 match u32 0 0";
        let status = std::process::Command::new("tc").args(theirs.split(' ')).status().unwrap();
        assert!(status.success());
    });
    let reply = echo(&a, a.v4, b.v4, SESSION_A, 1).expect("a reply");
    assert!(reply.reflected(), "{reply:?}");
    assert_eq!(filters(&a), 2, "one each way");
    let a = a.after_crash(SESSION_A, Some(TcMode::Netlink));
    assert_eq!(filters(&a), 2, "none left over, none doubled");
    let reply = echo(&a, a.v4, b.v4, SESSION_A, 2).expect("a reply");
    assert!(reply.reflected(), "{reply:?}");
    let theirs = a.run(|| {
        let output =
            std::process::Command::new("tc").args(["filter", "show", "dev", "eth0", "ingress"]).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    });
    assert!(theirs.contains("pref 60000"), "{theirs}");
}
