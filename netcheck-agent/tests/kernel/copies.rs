//! A bridge that does not know the right port sends a copy out of each: none of them is the packet on its way.

use netcheck_agent::model::observation::{Direction, DropCount, Observation};

use crate::nodes::pods::Pods;
use crate::nodes::{echo, echo_from};
use crate::{SESSION_A, observe, stamps};

#[test]
fn of_copies_that_a_bridge_floods_only_the_addressees_own_is_reported() {
    let Pods { mut node, addresses, pods: _pods } = Pods::new(SESSION_A);
    for (sequence, address) in (1..).zip(addresses) {
        // What comes out of their links shows whose they are.
        echo(&node, node.v4, address, SESSION_A, sequence).expect("a reply");
    }
    let seen = observe(&mut node, |seen| stamps(seen) >= 4);
    assert!(!seen.iter().any(|seen| matches!(seen, Observation::Drop(_))), "{seen:#?}");
    node.ip(&format!("neigh replace {} lladdr 02:00:00:00:00:99 dev cni0 nud permanent", addresses[0]));
    let before = node.kernel.drop_counts();
    assert!(echo(&node, node.v4, addresses[0], SESSION_A, 9).is_none());
    let is_drop = |seen: &Observation| matches!(seen, Observation::Drop(_));
    let mut seen = observe(&mut node, |seen| seen.iter().any(is_drop));
    // One of another pod's has the same function's name to wait for.
    node.kernel.drain(&mut |observation| seen.push(observation));
    let drops = seen.iter().filter_map(|seen| match seen {
        Observation::Drop(drop) => Some((drop.pod.as_deref(), &*drop.reason)),
        Observation::Stamp(_) => None,
    });
    assert_eq!(drops.collect::<Vec<_>>(), [(Some("default/p1"), "OTHERHOST")]);
    let counted = |counts: &[DropCount]| {
        counts.iter().filter(|count| &*count.reason == "OTHERHOST").map(|count| count.packets).sum::<u64>()
    };
    assert!(counted(&node.kernel.drop_counts()) >= counted(&before) + 2, "each copy was dropped");
}

/// Egress hooks at the pods' links that saw a request.
fn links(seen: &[Observation]) -> Vec<&str> {
    let requests = seen.iter().filter_map(|seen| match seen {
        Observation::Stamp(stamp) if stamp.direction == Direction::Request && stamp.hook.egress => {
            Some(&*stamp.hook.interface)
        }
        _ => None,
    });
    requests.filter(|interface| interface.starts_with('p')).collect()
}

#[test]
fn a_copy_at_another_pods_link_is_no_sight_though_the_addressee_never_spoke() {
    let Pods { mut node, addresses, pods } = Pods::new(SESSION_A);
    // The second pod has shown what is behind its link, the first one has not: it does not even answer for its address.
    echo(&node, node.v4, addresses[1], SESSION_A, 1).expect("a reply");
    let seen = observe(&mut node, |seen| stamps(seen) >= 4);
    assert_eq!(links(&seen), ["p2"], "{seen:#?}");
    pods[0].ip("link set eth0 arp off");
    node.ip(&format!("neigh replace {} lladdr 02:00:00:00:00:99 dev cni0 nud permanent", addresses[0]));
    assert!(echo(&node, node.v4, addresses[0], SESSION_A, 2).is_none());
    let seen = observe(&mut node, |seen| stamps(seen) >= 2);
    assert_eq!(links(&seen), ["p1"], "{seen:#?}");
}

#[test]
fn what_is_for_the_node_itself_is_on_no_pods_link() {
    let Pods { mut node, addresses, pods } = Pods::new(SESSION_A);
    // A frame for a hardware address that nobody has goes to all ports but its own.
    pods[0].ip(&format!("neigh replace {} lladdr 02:00:00:00:00:99 dev eth0 nud permanent", node.v4));
    assert!(echo_from(&pods[0], addresses[0], node.v4, SESSION_A, 1).is_none());
    let seen = observe(&mut node, |seen| stamps(seen) >= 1);
    assert_eq!(links(&seen), <[&str; 0]>::default(), "{seen:#?}");
}
