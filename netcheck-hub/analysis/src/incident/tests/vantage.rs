//! What only pods can't reach.

use netcheck_common::domain::Vantage;

use super::world::{World, died, timeout};
use crate::incident::Fact;
use crate::model::location::{Direction, Stage};

fn from_pod(fact: &Fact) -> bool {
    fact.path.vantage == Vantage::Pod
}

fn headlines(world: &World) -> Vec<(String, String)> {
    world.explain().into_iter().map(|one| (one.key, one.headline)).collect()
}

#[test]
fn pods_that_reach_nobody_are_distinguished_from_their_node() {
    let world = World::plain(&["a"; 4]).with_vantages();
    for (name, world, expected, words) in [
        (
            "one node's",
            world.clone().breaks(|fact| from_pod(fact) && &*fact.source == "n2", |_| timeout()),
            "pods/n2/out",
            "pods on n2 reach nobody",
        ),
        ("all", world.clone().breaks(from_pod, |_| timeout()), "pods/out", "pods reach nobody"),
        (
            "a policy",
            world.clone().breaks(
                |fact| from_pod(fact) && &*fact.path.probe.target.id == "service/default/web:80",
                |_| timeout(),
            ),
            "pods/to/service/default/web:80",
            "pods can't reach service default/web:80",
        ),
    ] {
        let found = headlines(&world);
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        assert!(found[0].0.starts_with(expected) && found[0].1.starts_with(words), "{name}: {found:?}");
    }
}

#[test]
fn what_hurts_node_and_pods_alike_is_called_as_before() {
    let world = World::plain(&["a"; 4]).with_vantages();
    let touches = |fact: &Fact| super::world::touches(fact, "n2");
    let dead = world.clone().breaks(touches, |_| timeout());
    let found = headlines(&dead);
    assert_eq!(found[0].0, "node/n2", "{found:?}");
    let web = |fact: &Fact| &*fact.path.probe.target.id == "service/default/web:80";
    let found = headlines(&world.breaks(web, |_| timeout()));
    assert!(found[0].0.contains("service/default/web:80") && !found[0].0.starts_with("pods"), "{found:?}");
}

#[test]
fn a_rule_that_a_kernel_reports_is_the_cause_whoever_sends() {
    let world = World::plain(&["a"; 4]).with_vantages();
    let place = || died("n2", Direction::Request, Stage::NetfilterForward, "NETFILTER_DROP", "nft_do_chain");
    let found = headlines(&world.breaks(|fact| from_pod(fact) && &*fact.source == "n2", |_| place()));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].0.starts_with("place/n2/netfilter_forward"), "{found:?}");
    assert!(found[0].1.contains("pods of n2 →"), "{found:?}");
}
