//! Probes that a pod sent: its own network, its link, its node.

use super::*;

const POD: &str = "default/web-1";

/// A lost probe of pod default/web-1 on n1, whose request these hooks of n1 saw.
fn from_pod(
    world: &World,
    target: &str,
    hooks: &[HookSeen],
    direct: impl Fn(&mut LocateInput<'_>),
) -> Located {
    let sample =
        LostSample { path: PathId(1), sequence: 7, request_hooks: hooks.to_vec(), ..Default::default() };
    let lost = Lost::new(sample, Outcome::Timeout, 100 * SECOND_NS, 101 * SECOND_NS);
    located(world, target, &lost, direct)
}

fn located(world: &World, target: &str, lost: &Lost, direct: impl Fn(&mut LocateInput<'_>)) -> Located {
    let mut input = world.input(world.probe(target, ProbeKind::Icmp), lost);
    input.source_pod = Some(POD.to_owned());
    direct(&mut input);
    locate(&input, lost)
}

fn pod(located: &Located) -> &str {
    located.location.as_ref().map_or("", |at| &at.pod)
}

#[test]
fn what_never_came_out_of_its_pod_died_in_there() {
    let world = World::new();
    let refuted = |input: &mut LocateInput<'_>| input.give_up = true;
    for target in ["node/n2", "node/n1", "pod/default/web-2"] {
        let located = from_pod(&world, target, &[], refuted);
        assert_eq!(place(&located), "n1 - Send Request inferred", "{target}");
        assert_eq!(pod(&located), POD);
        let unwatched = from_pod(&world, target, &[], |input| {
            (input.give_up, input.source_watches_pods) = (true, false);
        });
        assert!(
            place(&unwatched).starts_with("unlocated: no hook to see whether it came out"),
            "{unwatched:?}"
        );
    }
}

#[test]
fn what_left_masqueraded_is_not_last_seen_where_it_came_out() {
    let world = World::new();
    let mut lost = timed_out();
    lost.sample.request_hooks = vec![veth(false)];
    let at = |lost: &Lost| {
        let mut input = world.input(world.probe("node/n2", ProbeKind::Tcp), lost);
        input.source_pod = Some(POD.to_owned());
        place(&locate(&input, lost))
    };
    assert!(at(&lost).starts_with("unlocated: may have left n1 under another port"), "{}", at(&lost));
    // The table of connections has it, under its node's address or one that nobody knows.
    for source in [[10, 0, 0, 1], [192, 0, 2, 7]] {
        lost.flow = Some(flow(source, 51_234, [10, 0, 0, 2], 6100));
        assert!(at(&lost).starts_with("unlocated: left n1; waiting"), "{}", at(&lost));
        let mut answered = lost.clone();
        let seen = Some(uplink(false));
        answered.answer = Some(Answer { arrived: Some(true), last_request_hook: seen, ..Default::default() });
        assert!(at(&answered).starts_with("n2 "), "{}", at(&answered));
    }
}

#[test]
fn of_two_pods_on_the_way_the_right_one_is_named() {
    let world = World::new();
    let silent = |input: &mut LocateInput<'_>| input.give_up = true;
    // Out of its own link, and not seen at any later place of the node.
    let out = from_pod(&world, "node/n2", &[veth(false)], silent);
    assert_eq!((place(&out).as_str(), pod(&out)), ("n1 veth1 Ingress Request inferred", POD));
    // To a pod of its own node, and into that one's link.
    let inside = |input: &mut LocateInput<'_>| (input.give_up, input.destination) = (true, Some("n1"));
    let into = from_pod(&world, "pod/default/web-2", &[veth(false), veth(true)], inside);
    assert_eq!((place(&into).as_str(), pod(&into)), ("n1 veth1 Egress Unknown inferred", "default/web-2"));
}

#[test]
fn a_reply_that_went_into_its_link_was_lost_behind_it() {
    let world = World::new();
    let mut lost = timed_out();
    lost.sample.request_hooks = vec![veth(false), uplink(true)];
    lost.sample.reply_hooks = vec![uplink(false), veth(true)];
    let back = located(&world, "node/n2", &lost, |_| {});
    assert_eq!((place(&back).as_str(), pod(&back)), ("n1 veth1 Egress Reply inferred", POD));
    lost.sample.reply_hooks = vec![uplink(false)];
    let back = located(&world, "node/n2", &lost, |_| {});
    assert_eq!((place(&back).as_str(), pod(&back)), ("n1 eth0 Ingress Reply inferred", ""));
}

#[test]
fn what_its_own_kernel_refused_is_the_pods_not_the_nodes() {
    let world = World::new();
    let sample = LostSample { errno: "ENETUNREACH".to_owned(), ..Default::default() };
    let lost = Lost::new(sample, Outcome::SendError, 100 * SECOND_NS, 101 * SECOND_NS);
    let refused = located(&world, "node/n2", &lost, |_| {});
    assert_eq!((place(&refused).as_str(), pod(&refused)), ("n1 - Routing Request observed", POD));
    assert!(refused.evidence[0].contains("in the network of pod default/web-1"), "{refused:?}");
}

#[test]
fn its_own_link_that_is_down_is_where_its_packets_end() {
    let world = World::new();
    let link = PodLinkDown { interface: "veth7".to_owned(), pod: POD.to_owned(), ..Default::default() };
    let sample = LostSample { path: PathId(1), sequence: 7, ..Default::default() };
    let lost = Lost::new(sample, Outcome::Timeout, 100 * SECOND_NS, 101 * SECOND_NS);
    let mut input = world.input(world.probe("node/n2", ProbeKind::Icmp), &lost);
    (input.source_pod, input.source_link_down, input.give_up) = (Some(POD.to_owned()), Some(&link), true);
    let down = locate(&input, &lost);
    assert_eq!((place(&down).as_str(), pod(&down)), ("n1 veth7 Egress Request inferred", POD));
}
