//! Agents that share a kernel: whose drops are whose is found without being configured.

use netcheck_agent::model::observation::{DropIdentity, DropSeen, Observation};
use netcheck_common::domain::ProbeSession;

use crate::nodes::pods::Pods;
use crate::nodes::{Bare, Scope, echo, echo_from};
use crate::{SESSION_A, observe, probe};

/// Drops probes in a pod before they have a device, or where they arrive.
fn filter(pod: &Bare, hook: &str) {
    pod.nft(&format!(
        "add table inet t; add chain inet t c {{ type filter hook {hook} priority 0; }}; \
         add rule inet t c icmp type echo-request @th,64,8 0xb7 drop"
    ));
}

fn drops(pods: &mut Pods) -> Vec<DropSeen> {
    let mut drops = Vec::new();
    pods.node.kernel.drain(&mut |seen| {
        if let Observation::Drop(drop) = seen {
            drops.push(drop);
        }
    });
    drops
}

#[test]
fn a_node_sees_the_drops_of_its_own_pods_and_no_other_nodes() {
    let mut first = Pods::with_scope(SESSION_A, Scope::Found);
    let mut second = Pods::with_scope(SESSION_A ^ 0xff, Scope::Found);
    filter(&first.pods[0], "input");
    filter(&first.pods[1], "output");
    let (node, [to, from]) = (first.node.v4, first.addresses);
    let seen_by_own = |first: &mut Pods, sequence| {
        let is_drop = |seen: &Observation| matches!(seen, Observation::Drop(_));
        let seen = observe(&mut first.node, |seen| seen.iter().any(is_drop));
        let identity = DropIdentity::Probe { session: ProbeSession(SESSION_A), probe: probe(sequence) };
        let wanted =
            |seen: &Observation| matches!(seen, Observation::Drop(drop) if drop.identity == identity);
        assert!(seen.iter().any(wanted), "{seen:#?}");
    };
    assert!(echo(&first.node, node, to, SESSION_A, 1).is_none());
    seen_by_own(&mut first, 1);
    // In the other pod it dies before it has a device: its namespace is known by the socket's.
    assert!(echo_from(&first.pods[1], from, node, SESSION_A, 2).is_none());
    seen_by_own(&mut first, 2);
    assert_eq!(drops(&mut second), []);
}
