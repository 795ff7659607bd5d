//! Whose rule dropped a packet: the bridge family's and netdev's hooks are called by their own names.

use netcheck_agent::model::observation::{DropSeen, Observation};
use netcheck_proto::v1::Stage;

use crate::nodes::pods::Pods;
use crate::nodes::{echo, echo_from};
use crate::{SESSION_A, observe};

/// Drops probes, and nothing else.
const PROBES: &str = "meta l4proto icmp @th,64,8 0xb7 drop";

/// Where a chain stands.
struct Chain {
    family: &'static str,
    /// With its device, where it has one.
    hook: &'static str,
    /// Which packets, besides that they are probes.
    matching: &'static str,
}

/// Puts one rule into a chain of its own, sends a probe, and takes the rule away.
fn dropped(pods: &mut Pods, chain: &Chain, probe: impl FnOnce(&Pods)) -> DropSeen {
    let Chain { family, hook, matching } = chain;
    pods.node.nft(&format!(
        "add table {family} t; add chain {family} t c {{ type filter hook {hook} priority 0; }}; \
         add rule {family} t c {matching} {PROBES}"
    ));
    probe(pods);
    pods.node.nft(&format!("delete table {family} t"));
    let is_drop = |seen: &Observation| matches!(seen, Observation::Drop(_));
    let seen = observe(&mut pods.node, |seen| seen.iter().any(is_drop));
    let mut drops = seen.into_iter().filter_map(|seen| match seen {
        Observation::Drop(drop) => Some(drop),
        Observation::Stamp(_) => None,
    });
    drops.next().expect("waited for")
}

#[test]
fn each_hook_of_netfilter_is_called_by_its_own_name() {
    let mut pods = Pods::new(SESSION_A);
    let (node, [first, second]) = (pods.node.v4, pods.addresses);
    for (sequence, (family, hook, matching, source, expected)) in (1..).zip([
        ("bridge", "output", "icmp type echo-request", node, Stage::BridgeOutput),
        ("bridge", "postrouting", "icmp type echo-request", node, Stage::BridgePostrouting),
        ("bridge", "prerouting", "icmp type echo-reply", node, Stage::BridgePrerouting),
        ("bridge", "input", "icmp type echo-reply", node, Stage::BridgeInput),
        ("bridge", "forward", "icmp type echo-request", second, Stage::BridgeForward),
        ("netdev", "ingress device p1", "icmp type echo-reply", node, Stage::NetdevIngress),
        ("netdev", "egress device p1", "icmp type echo-request", node, Stage::NetdevEgress),
        ("inet", "ingress device p1", "icmp type echo-reply", node, Stage::NetdevIngress),
        ("inet", "output", "icmp type echo-request", node, Stage::NetfilterOutput),
        ("inet", "postrouting", "icmp type echo-request", node, Stage::NetfilterPostrouting),
        ("inet", "prerouting", "icmp type echo-reply", node, Stage::NetfilterPrerouting),
        ("inet", "input", "icmp type echo-reply", node, Stage::NetfilterInput),
    ]) {
        let probe = |pods: &Pods| {
            let answer = if source == node {
                echo(&pods.node, node, first, SESSION_A, sequence)
            } else {
                echo_from(&pods.pods[1], source, first, SESSION_A, sequence)
            };
            assert!(answer.is_none(), "{family} {hook}");
        };
        let drop = dropped(&mut pods, &Chain { family, hook, matching }, probe);
        assert_eq!(drop.stage, expected, "{family} {hook}: {drop:?}");
        assert_eq!(&*drop.reason, "NETFILTER_DROP", "{family} {hook}");
    }
}
