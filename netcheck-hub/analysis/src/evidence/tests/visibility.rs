//! What kernels saw of a lost probe, and what follows from it.

use super::*;

#[test]
fn what_the_source_saw_bounds_the_place() {
    let world = World::new();
    let with = |request: &[HookSeen], reply: &[HookSeen]| {
        let mut lost = timed_out();
        lost.sample.request_hooks = request.to_vec();
        lost.sample.reply_hooks = reply.to_vec();
        place(&world.locate("node/n2", ProbeKind::Icmp, &lost))
    };
    let asks = "unlocated: was not seen to leave n1; waiting for the answer of its destination";
    let young =
        LocateInput { settled: false, ..world.input(world.probe("node/n2", ProbeKind::Icmp), &timed_out()) };
    let located = locate(&young, &timed_out());
    assert_eq!((located.location.is_none(), located.want), (true, Some(Want::Path)), "asked meanwhile");
    let young = LocateInput { destination: Some("n1"), ..young };
    assert_eq!(locate(&young, &timed_out()).want, Some(Want::Reports));
    assert_eq!(with(&[], &[]), asks, "what was seen there refutes what was not seen here");
    assert_eq!(with(&[uplink(true)], &[uplink(false)]), "n1 eth0 Ingress Reply inferred");
    let bridge = hook("br0", InterfaceRole::Bridge, true);
    assert_eq!(with(std::slice::from_ref(&bridge), &[]), asks);
    // A tunnel's device only wraps: nothing has left before the wrapped packet was seen at an uplink.
    let tunnel = hook("flannel.1", InterfaceRole::Tunnel, true);
    let mut lost = timed_out();
    for (hooks, expected) in [
        (vec![], "n1 - Send Request inferred"),
        (vec![bridge], "n1 br0 Egress Request inferred"),
        (vec![tunnel.clone()], "n1 flannel.1 Egress Request inferred"),
        (vec![tunnel, uplink(true)], "n1 eth0 Wire Request inferred n2"),
    ] {
        lost.sample.request_hooks = hooks;
        lost.answer = Some(Answer { arrived: Some(false), ..Answer::default() });
        assert_eq!(place(&world.locate("node/n2", ProbeKind::Icmp, &lost)), expected);
        lost.answer =
            Some(Answer { arrived: Some(true), last_request_hook: Some(uplink(false)), ..Answer::default() });
        let arrived = place(&world.locate("node/n2", ProbeKind::Icmp, &lost));
        assert_eq!(arrived, "n2 eth0 Ingress Unknown inferred");
    }
    let mut lost = timed_out();
    lost.sample.request_hooks = vec![veth(true)];
    let own = world.locate("pod/default/web-1", ProbeKind::Icmp, &lost);
    assert_eq!(place(&own), "n1 veth1 Egress Unknown inferred");
    assert_eq!(own.location.unwrap().pod, "default/web-1");
    lost.sample.request_hooks.clear();
    let inside = world.locate("pod/default/web-1", ProbeKind::Icmp, &lost);
    assert!(inside.location.is_none(), "no hook is on every way inside a node: {inside:?}");
}

#[test]
fn what_the_destination_saw_distinguishes_the_halves() {
    let world = World::new();
    let mut lost = timed_out();
    let asked = world.locate("node/n2", ProbeKind::Udp, &lost);
    assert_eq!((asked.location.is_none(), asked.want), (true, Some(Want::Path)));
    lost.answer = Some(Answer { arrived: Some(false), ..Answer::default() });
    let located = world.locate("node/n2", ProbeKind::Udp, &lost);
    assert_eq!(place(&located), "n1 eth0 Wire Request inferred n2");
    assert_eq!(located.location.unwrap().next_interface, "ens3");

    lost.answer =
        Some(Answer { arrived: Some(true), last_request_hook: Some(uplink(false)), ..Answer::default() });
    // The kernel makes some replies itself, and drops them before any hook.
    assert_eq!(place(&world.locate("node/n2", ProbeKind::Udp, &lost)), "n2 eth0 Ingress Unknown inferred");
    lost.answer =
        Some(Answer { arrived: Some(true), last_request_hook: Some(veth(true)), ..Answer::default() });
    let pod = world.locate("pod/default/web-2", ProbeKind::Icmp, &lost);
    assert_eq!(place(&pod), "n2 veth1 Egress Unknown inferred");
    assert_eq!(pod.location.unwrap().pod, "default/web-2");

    let replied = |hook| {
        Some(Answer { arrived: Some(true), replied: true, last_reply_hook: Some(hook), ..Answer::default() })
    };
    lost.answer = replied(uplink(true));
    assert_eq!(place(&world.locate("node/n2", ProbeKind::Udp, &lost)), "n2 eth0 Wire Reply inferred n1");
    lost.answer = replied(veth(false));
    assert_eq!(
        place(&world.locate("pod/default/web-2", ProbeKind::Icmp, &lost)),
        "n2 veth1 Ingress Reply inferred"
    );

    // A later reply reported first: the direction is known before the place.
    lost.answer = None;
    lost.arrival = Some(true);
    let located = world.locate("node/n2", ProbeKind::Udp, &lost);
    assert_eq!((place(&located).as_str(), located.want), ("n2 - Unknown Reply inferred", Some(Want::Path)));
    lost.arrival = Some(false);
    assert_eq!(place(&world.locate("node/n2", ProbeKind::Udp, &lost)), "n1 eth0 Wire Request inferred n2");
}

#[test]
fn who_cannot_be_asked_is_not_guessed_about() {
    let world = World::new();
    let probe = world.probe("node/n2", ProbeKind::Icmp);
    let mut lost = timed_out();
    let located = world.locate_with(probe, &lost, Visibility::NoAgent, false);
    assert!(located.location.is_none(), "the wire, or anything on n2: {located:?}");
    assert_eq!(located.summary, "left n1 through eth0; nobody on n2 can tell whether it arrived");
    assert!(located.evidence.contains(&"node n2 has no agent to ask".to_owned()));
    for (visibility, give_up) in
        [(Visibility::NoHooks, false), (Visibility::Hooks { uplink: None, drops: true }, true)]
    {
        let located = world.locate_with(probe, &lost, visibility, give_up);
        assert!(
            located.location.is_none() && located.want.is_none() && !located.summary.is_empty(),
            "{located:?}"
        );
    }
    lost.sample.unwatched = true;
    lost.sample.request_hooks.clear();
    let located = world.locate_with(probe, &lost, Visibility::NoAgent, false);
    assert!(located.location.is_none(), "{located:?}");
    // Without hooks at the source the destination still knows whether it arrived.
    lost.answer = Some(Answer { arrived: Some(false), ..Answer::default() });
    assert_eq!(place(&world.locate("node/n2", ProbeKind::Icmp, &lost)), "n1 - Wire Request inferred n2");
}

#[test]
fn a_destination_that_cannot_send_back_is_where_the_reply_died() {
    let world = World::new();
    let probe = world.probe("node/n2", ProbeKind::Icmp);
    let located = |lost: &Lost| {
        locate(&LocateInput { reverse_errno: Some("EINVAL"), ..world.input(probe, lost) }, lost)
    };
    let mut lost = timed_out();
    let last_request_hook = Some(uplink(false));
    lost.answer = Some(Answer { arrived: Some(true), last_request_hook, ..Answer::default() });
    assert_eq!(place(&located(&lost)), "n2 - Routing Reply inferred");
    // Until its agent has reported a probe of its own to this source, nobody knows whether it could.
    let unreported = |give_up| {
        let input = LocateInput { reverse_unreported: true, give_up, ..world.input(probe, &lost) };
        locate(&input, &lost)
    };
    assert!(unreported(false).location.is_none() && unreported(false).want == Some(Want::Reports));
    assert_eq!(place(&unreported(true)), "n2 eth0 Ingress Unknown inferred");
    // The kernel's vague record of the request that it could not answer says less.
    lost.answer = None;
    lost.add_drop(fact("n2", 1, record("NOT_SPECIFIED", Stage::Socket, Direction::Request)));
    assert_eq!(place(&located(&lost)), "n2 - Routing Reply inferred");
    lost.add_drop(fact("n2", 1, record("NETFILTER_DROP", Stage::NetfilterInput, Direction::Request)));
    assert_eq!(place(&located(&lost)), "n2 cni0 NetfilterInput Request observed");
    // That it can't send says nothing of a request that never came.
    lost.drops.clear();
    lost.answer = Some(Answer { arrived: Some(false), ..Answer::default() });
    assert_eq!(place(&located(&lost)), "n1 eth0 Wire Request inferred n2");
}

#[test]
fn flows_that_no_destination_keeps_are_not_asked_about() {
    let world = World::new();
    let mut lost = timed_out();
    lost.flow = Some(flow([10, 0, 0, 1], 4000, [10, 244, 3, 2], 8080));
    let service = world.locate("service/default/web:80", ProbeKind::Tcp, &lost);
    assert_eq!((service.location.is_none(), service.want), (true, None));
    lost.flow = Some(flow([10, 0, 0, 1], 4000, [10, 0, 0, 2], 6100));
    assert_eq!(world.locate("node/n2", ProbeKind::Tcp, &lost).want, Some(Want::Flow));
    let silent = world.locate_with(world.probe("node/n2", ProbeKind::Tcp), &lost, Visibility::Silent, false);
    assert!(
        silent.location.is_none()
            && silent.evidence.contains(&"the agent of n2 has fallen silent".to_owned())
    );
}

#[test]
fn answers_of_reflectors() {
    let state = |known, highest_sequence, arrived, last_reply_sequence| ReflectedState {
        known,
        highest_sequence,
        arrived,
        last_reply_sequence,
        last_reply_hook: (last_reply_sequence > 0).then(|| uplink(true)),
        ..Default::default()
    };
    let arrived = |state: &ReflectedState, sequence| reflected(state, sequence).arrived;
    assert_eq!(arrived(&state(false, 0, 0, 0), 5), Some(false));
    assert_eq!(arrived(&state(true, 4, 0b1111, 0), 5), Some(false));
    assert_eq!(arrived(&state(true, 5, 0b1, 0), 5), Some(true));
    assert_eq!(arrived(&state(true, 7, 0b101, 0), 6), Some(false));
    assert_eq!(arrived(&state(true, 7, 0b101, 0), 5), Some(true));
    assert_eq!(arrived(&state(true, 69, u64::MAX, 0), 5), None, "too long ago");
    // Numbers wrap.
    assert_eq!(arrived(&state(true, 1, 0b111, 0), u32::MAX), Some(true));
    assert_eq!(arrived(&state(true, u32::MAX, 0b1, 0), 1), Some(false));
    assert!(reflected(&state(true, 7, 0b111, 6), 6).replied);
    assert!(!reflected(&state(true, 7, 0b111, 5), 6).replied);
    let seen = FlowSighting { known: true, request_packets: 2, ..Default::default() };
    assert_eq!(sighted(&seen), Answer { arrived: Some(true), ..Answer::default() });
}

#[test]
fn without_hooks_at_the_uplinks_nothing_is_said_to_have_stayed() {
    let world = World::new();
    let probe = world.probe("node/n2", ProbeKind::Icmp);
    let mut lost = timed_out();
    lost.sample.request_hooks = vec![hook("flannel.1", InterfaceRole::Tunnel, true)];
    lost.answer = Some(Answer { arrived: Some(false), ..Answer::default() });
    let unwatched = LocateInput { source_watches_uplinks: false, ..world.input(probe, &lost) };
    assert!(locate(&unwatched, &lost).location.is_none());
    let last_reply_hook = Some(hook("flannel.1", InterfaceRole::Tunnel, true));
    lost.answer = Some(Answer { arrived: Some(true), replied: true, last_reply_hook, ..Answer::default() });
    assert_eq!(place(&world.locate("node/n2", ProbeKind::Icmp, &lost)), "n2 flannel.1 Egress Reply inferred");
    let unwatched = LocateInput { destination_watches_uplinks: false, ..world.input(probe, &lost) };
    assert!(locate(&unwatched, &lost).location.is_none());
}

#[test]
fn a_datagrams_answer_that_left_may_have_left_too_late() {
    let world = World::new();
    let mut lost = timed_out();
    lost.flow = Some(flow([10, 0, 0, 1], 4000, [10, 244, 1, 53], 53));
    lost.answer = Some(Answer {
        arrived: Some(true),
        replied: true,
        last_reply_hook: Some(uplink(true)),
        ..Answer::default()
    });
    let probe = world.probe("dns/kube-system/coredns-x", ProbeKind::Dns);
    let from_n2 = LocateInput { source: "n2", destination: Some("n1"), ..world.input(probe, &lost) };
    let located = locate(&from_n2, &lost);
    assert!(located.location.is_none() && located.summary.contains("perhaps after"), "{located:?}");
    let located = locate(&LocateInput { promptly_answered: true, ..from_n2 }, &lost);
    assert_eq!(place(&located), "n1 eth0 Wire Reply inferred n2");
}

#[test]
fn how_long_a_destination_took_is_measured_by_its_own_clock() {
    let ages = |request: Option<u64>, reply: Option<u64>| FlowSighting {
        last_request_age: request.map(Duration::from_nanos),
        last_reply_age: reply.map(Duration::from_nanos),
        ..Default::default()
    };
    assert_eq!(sighted(&ages(Some(9_000), Some(2_000))).reply_delay_ns, Some(7_000));
    // A reply of before: that request is a later one.
    assert_eq!(sighted(&ages(Some(2_000), Some(9_000))).reply_delay_ns, None);
    assert_eq!(sighted(&ages(Some(9_000), None)).reply_delay_ns, None);
    assert_eq!(sighted(&ages(None, Some(1))).reply_delay_ns, None);
}

#[test]
fn what_comes_back_to_its_sender_goes_round() {
    let world = World::new();
    let (out, back) = (uplink(true), uplink(false));
    let other = hook("eth1", InterfaceRole::Uplink, false);
    let wrapped = |egress| hook("flannel.1", InterfaceRole::Tunnel, egress);
    let round = "n1 - Routing Request inferred";
    for (target, hooks, arrived, expected) in [
        ("node/n2", vec![out.clone(), back.clone()], Some(false), round),
        // It may have gone on. Of each hook only the first sight is reported.
        (
            "node/n2",
            vec![out.clone(), back.clone()],
            None,
            "unlocated: was not seen to leave n1; waiting for the answer of its destination",
        ),
        ("node/n2", vec![out.clone(), back.clone()], Some(true), "n2 - Unknown Reply inferred"),
        // A tunnel's packets.
        ("node/n2", vec![wrapped(true), out.clone(), wrapped(false)], Some(false), round),
        // A switch floods what it has no port for.
        ("node/n2", vec![out.clone(), other], Some(false), "n1 eth0 Wire Request inferred n2"),
        // Nobody saw it leave: it is somebody else's that has come in.
        ("node/n2", vec![back.clone()], Some(false), "n1 eth0 Ingress Request inferred"),
        // Whoever has the service's address may send it back to a backend here.
        (
            "service/default/web:80",
            vec![out, back],
            None,
            "unlocated: left n1; 10.96.0.80 is no node or pod of the cluster, and nobody there can be asked",
        ),
    ] {
        let mut lost = timed_out();
        (lost.sample.request_hooks, lost.arrival) = (hooks, arrived);
        let kind = if target.starts_with("node") { ProbeKind::Icmp } else { ProbeKind::Tcp };
        let located = world.locate(target, kind, &lost);
        assert_eq!(place(&located), expected, "{target} {located:?}");
    }
}

#[test]
fn a_pod_whose_link_is_down_is_where_its_packets_end() {
    let world = World::new();
    let mut lost = timed_out();
    lost.arrival = Some(true);
    lost.answer =
        Some(Answer { arrived: Some(true), last_request_hook: Some(uplink(false)), ..Answer::default() });
    let probe = world.probe("pod/default/web-2", ProbeKind::Icmp);
    let mut link =
        PodLinkDown { interface: "veth1".to_owned(), pod: "default/web-2".to_owned(), ..Default::default() };
    let locate_with = |source, link: &PodLinkDown, lost: &Lost| {
        let input = world.input(probe, lost);
        locate(&LocateInput { source, pod_link_down: Some(link), ..input }, lost)
    };
    let node = destination(&world.roster, "n1", probe, &lost).unwrap();
    for source in ["n1", node] {
        let located = locate_with(source, &link, &lost);
        assert_eq!(place(&located), format!("{node} veth1 Egress Request inferred"), "from {source}");
        assert!(located.summary.ends_with("ENETDOWN (the interface is down) [inferred]"), "{located:?}");
    }
    link.no_carrier = true;
    assert!(locate_with("n1", &link, &lost).summary.contains("no carrier"));
    // What a kernel saw it do goes before.
    lost.add_drop(fact(node, 1, record("NETFILTER_DROP", Stage::NetfilterForward, Direction::Request)));
    assert!(locate_with("n1", &link, &lost).observed());
    // A pod that answers is not cut off.
    let mut lost = timed_out();
    lost.answer = Some(Answer {
        arrived: Some(true),
        replied: true,
        last_reply_hook: Some(uplink(true)),
        ..Answer::default()
    });
    assert_eq!(locate_with("n1", &link, &lost).location.unwrap().stage, Stage::Wire);
}

#[test]
fn silence_behind_a_pods_link_means_its_socket_only_where_drops_are_reported() {
    let world = World::new();
    let sees = |drops| Visibility::Hooks { uplink: None, drops };
    let egress = "n2 veth1 Egress Unknown inferred";
    for (kind, echo_answered, drops, expected) in [
        // Full listen queues are silent, and the way to them is open.
        (ProbeKind::Tcp, true, true, "n2 veth1 Socket Request inferred"),
        // Whatever keeps echo requests may keep this.
        (ProbeKind::Tcp, false, true, egress),
        // So may a firewall inside of the pod that nobody sees.
        (ProbeKind::Tcp, true, false, egress),
        (ProbeKind::Udp, false, true, "n2 veth1 Application Request inferred"),
        (ProbeKind::Udp, false, false, egress),
        (ProbeKind::Icmp, true, true, egress),
    ] {
        let target = if kind == ProbeKind::Icmp { "pod/default/web-2" } else { "node/n2" };
        let probe = world.probe(target, kind);
        let mut lost = timed_out();
        lost.answer =
            Some(Answer { arrived: Some(true), last_request_hook: Some(veth(true)), ..Answer::default() });
        let input = LocateInput { echo_answered, visibility: sees(drops), ..world.input(probe, &lost) };
        let located = locate(&input, &lost);
        assert_eq!(place(&located), expected, "{kind:?}, {echo_answered}, {drops}");
        let caveat =
            located.evidence.iter().any(|line| line == "whether the kernel of n2 dropped it is not known");
        assert_eq!(caveat, !drops, "{:?}", located.evidence);
    }
}
