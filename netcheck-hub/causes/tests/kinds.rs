//! Small worlds, written by hand: each loses probes as one fault would have it, and the cause is that fault.

#![expect(clippy::unwrap_used, reason = "a test's own world has what it asks for")]

use netcheck_causes::{
    Answer, Carrier, Cause, Certainty, Class, Component, Direction, End, Endpoint, Entry, Extent, Group,
    Heading, Loss, Node, Place, Pod, PodNetwork, Role, Service, Size, Stage, Target, Topology, Visibility,
    explain,
};
use netcheck_common::domain::{Family, ProbeKind};
use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};

const KINDS: [ProbeKind; 3] = [ProbeKind::Icmp, ProbeKind::Udp, ProbeKind::Tcp];

/// So many nodes in two zones, two pods on each.
fn world(nodes: u32, pod_network: PodNetwork) -> Topology {
    let node =
        |at: u32| Node { name: format!("n{at}").into(), zone: Some(at % 2), visibility: Visibility::Full };
    let pod = |at: u32| Pod { name: format!("default/p{at}").into(), node: at / 2, network: None };
    Topology {
        nodes: (0..nodes).map(node).collect(),
        zones: vec!["a".into(), "b".into()],
        pods: (0..2 * nodes).map(pod).collect(),
        services: vec![Service {
            name: "default/web:http".into(),
            group: 0,
            backends: vec![Endpoint::Pod(2), Endpoint::Pod(5)],
        }],
        pod_network,
        secondary_networks: Vec::new(),
    }
}

fn endpoints(topology: &Topology) -> Vec<Endpoint> {
    let nodes = (0..u32::try_from(topology.nodes.len()).unwrap()).map(Endpoint::Node);
    nodes.chain((0..u32::try_from(topology.pods.len()).unwrap()).map(Endpoint::Pod)).collect()
}

fn group(source: Endpoint, target: Target, kind: ProbeKind) -> Group {
    let class = Class { kind, family: Family::V4, size: Size::Small, fresh: false, source_port: None };
    Group { source, target, class, answered: 20, lost: 0, losses: Vec::new() }
}

/// Everybody probes everybody with everything, and some are lost in a way.
fn probes(topology: &Topology, lost: impl Fn(&Group) -> Option<Loss>) -> Vec<Group> {
    let mut groups = Vec::new();
    for source in endpoints(topology) {
        for end in endpoints(topology).into_iter().filter(|&end| end != source) {
            for kind in KINDS {
                let target = Target { endpoint: Some(end), service: None, entry: Entry::Direct };
                groups.push(group(source, target, kind));
            }
        }
        for &backend in &topology.services[0].backends {
            let target = Target { endpoint: Some(backend), service: Some(0), entry: Entry::ClusterIp };
            groups.push(group(source, target, ProbeKind::Http));
        }
    }
    for group in &mut groups {
        if let Some(loss) = lost(group) {
            group.lost = 20;
            group.answered = 0;
            group.losses = vec![Loss { probes: 20, ..loss }];
        }
    }
    groups
}

fn nodes_of(topology: &Topology, group: &Group) -> (u32, u32) {
    let end = group.target.endpoint.unwrap();
    (topology.node_of(group.source).unwrap(), topology.node_of(end).unwrap())
}

fn is_pod(group: &Group) -> bool {
    matches!(group.source, Endpoint::Pod(_)) || matches!(group.target.endpoint, Some(Endpoint::Pod(_)))
}

fn place(node: u32, stage: Stage, interface: Option<Role>, reason: &str) -> Place {
    Place { node, pod: None, stage, interface, reason: reason.into(), function: "".into() }
}

fn unknown() -> Loss {
    Loss { probes: 0, direction: None, end: End::Unknown }
}

fn only(causes: &[Cause]) -> &Cause {
    assert_eq!(causes.len(), 1, "{causes:?}");
    &causes[0]
}

#[test]
fn all_is_well() {
    let topology = world(4, PodNetwork::Overlay);
    let mut groups = probes(&topology, |_| None);
    groups[7].lost = 1;
    assert_eq!(explain(&topology, &groups), []);
}

#[test]
fn services_losses_on_a_dead_nodes_way_need_no_cause_of_their_own() {
    let topology = world(6, PodNetwork::Routed);
    let groups = probes(&topology, |group| {
        let (from, to) = nodes_of(&topology, group);
        (from != to && (from == 1 || to == 1)).then(unknown)
    });
    let causes = explain(&topology, &groups);
    assert_eq!(only(&causes).component, Component::Uplink(Extent::Node(1)));
    assert_eq!(only(&causes).contradictions, Vec::<usize>::new());
}

#[test]
fn encapsulated_packets_between_zones_are_the_tunnel_not_the_wire() {
    let topology = world(6, PodNetwork::Overlay);
    let groups = probes(&topology, |group| {
        let (from, to) = nodes_of(&topology, group);
        (from % 2 != to % 2 && is_pod(group)).then(unknown)
    });
    let causes = explain(&topology, &groups);
    let zones = Component::Tunnel { from: Extent::Zone(0), to: Extent::Zone(1) };
    assert_eq!(only(&causes).component, zones);
    assert!(only(&causes).arithmetic()[1].starts_with("no path"), "{:?}", only(&causes).arithmetic());
}

#[test]
fn one_rule_met_at_two_hooks_is_one_cause() {
    let topology = world(5, PodNetwork::Routed);
    let groups = probes(&topology, |group| {
        let (from, to) = nodes_of(&topology, group);
        let out = matches!(group.source, Endpoint::Pod(_)) && from == 2 && to != 2;
        let into = matches!(group.target.endpoint, Some(Endpoint::Pod(_))) && to == 2 && from != 2;
        let stage = if out { Stage::NetfilterForward } else { Stage::NetfilterPostrouting };
        let end = End::Dropped(place(2, stage, None, "NETFILTER_DROP"));
        (out || into).then_some(Loss { probes: 0, direction: Some(Direction::Request), end })
    });
    let causes = explain(&topology, &groups);
    assert_eq!(only(&causes).component, Component::Forwarding(Extent::Node(2)));
    assert_eq!(only(&causes).places.len(), 2);
    assert_eq!(only(&causes).certainty, Certainty::Observed);
}

#[test]
fn the_same_mistake_on_every_node_is_one_cause() {
    let topology = world(5, PodNetwork::Routed);
    let mut groups = probes(&topology, |group| {
        let Some(Endpoint::Pod(pod)) = group.target.endpoint else { return None };
        let at = place(pod / 2, Stage::Egress, Some(Role::Bridge), "PKT_TOO_BIG");
        let full = group.class.kind == ProbeKind::Udp && group.target.service.is_none();
        full.then_some(Loss { probes: 0, direction: Some(Direction::Request), end: End::Dropped(at) })
    });
    let dead: Vec<Group> = groups.iter().filter(|group| group.lost > 0).cloned().collect();
    for group in groups.iter_mut().filter(|group| group.lost > 0) {
        (group.answered, group.lost) = (20, 0);
        group.losses.clear();
    }
    groups.extend(dead.into_iter().map(|group| {
        let class = Class { size: Size::Full, ..group.class };
        Group { class, ..group }
    }));
    let causes = explain(&topology, &groups);
    assert_eq!(only(&causes).component, Component::PodLink(Extent::All));
    assert!(only(&causes).pattern.full_size);
}

#[test]
fn records_of_healthy_work_prove_nothing() {
    let topology = world(5, PodNetwork::Routed);
    let groups = probes(&topology, |group| {
        let (from, to) = nodes_of(&topology, group);
        let flooded = Place { pod: Some(9), ..place(4, Stage::Ingress, None, "OTHERHOST") };
        (from != to && (from == 1 || to == 1)).then_some(Loss {
            probes: 0,
            direction: Some(Direction::Request),
            end: End::Dropped(flooded),
        })
    });
    let causes = explain(&topology, &groups);
    assert_eq!(only(&causes).component, Component::Uplink(Extent::Node(1)));
    assert_eq!(only(&causes).certainty, Certainty::Inferred);
    assert_eq!(only(&causes).places, []);
}

#[test]
fn an_agent_that_is_cut_off_hides_nothing() {
    let mut topology = world(5, PodNetwork::Routed);
    topology.nodes[3].visibility = Visibility::Silent;
    let mut groups = probes(&topology, |group| (nodes_of(&topology, group).1 == 3).then(unknown));
    groups.retain(|group| nodes_of(&topology, group).0 != 3);
    let causes = explain(&topology, &groups);
    let cause = only(&causes);
    let node = (Component::Node(3), Heading::Both);
    assert!(cause.component == node.0 || cause.alternatives.contains(&node), "{cause:?}");
}

#[test]
fn what_the_targets_own_kernel_does_is_the_target() {
    let topology = world(4, PodNetwork::Routed);
    let groups = probes(&topology, |group| {
        let target = group.target.endpoint == Some(Endpoint::Pod(3));
        let at = Place { pod: Some(3), ..place(1, Stage::Routing, None, "IP_INNOROUTES") };
        let loss = Loss { probes: 0, direction: Some(Direction::Reply), end: End::Dropped(at) };
        let own = group.source == Endpoint::Pod(3);
        let refused = Loss {
            direction: Some(Direction::Request),
            end: End::NotSent("ENETUNREACH".into()),
            ..loss.clone()
        };
        if own { Some(refused) } else { target.then_some(loss) }
    });
    let causes = explain(&topology, &groups);
    assert_eq!(
        (only(&causes).component, only(&causes).heading),
        (Component::Stack(Extent::Pod(3)), Heading::Out)
    );
    assert_eq!(only(&causes).certainty, Certainty::Observed);
}

#[test]
fn an_endpoint_that_is_gone_is_a_translation_of_its_node() {
    let topology = world(4, PodNetwork::Routed);
    let mut groups = probes(&topology, |_| None);
    let target = Target { endpoint: Some(Endpoint::Pod(7)), service: Some(0), entry: Entry::ClusterIp };
    let stale = group(Endpoint::Node(1), target, ProbeKind::Http);
    groups.push(Group { answered: 0, lost: 9, ..stale });
    let causes = explain(&topology, &groups);
    let by = Extent::Node(1);
    let wanted = Component::Translation { by, service: 0, backend: Some(Endpoint::Pod(7)) };
    assert_eq!(only(&causes).component, wanted);
}

#[test]
fn a_pod_that_does_not_reach_itself_is_the_hairpin() {
    let topology = world(4, PodNetwork::Routed);
    let groups = probes(&topology, |group| {
        (group.target.service.is_some() && Some(group.source) == group.target.endpoint).then(unknown)
    });
    let causes = explain(&topology, &groups);
    assert_eq!(only(&causes).component, Component::Hairpin(Extent::All));
}

#[test]
fn a_refusing_server_is_observed() {
    let topology = world(4, PodNetwork::Routed);
    let by = Some(Endpoint::Pod(5));
    let groups = probes(&topology, |group| {
        (group.target.service.is_some() && group.target.endpoint == by).then_some(Loss {
            probes: 0,
            direction: Some(Direction::Request),
            end: End::Answered { by, answer: Answer::Error },
        })
    });
    let causes = explain(&topology, &groups);
    let server = Component::Server { endpoint: Endpoint::Pod(5), service: Some(0) };
    assert_eq!((only(&causes).component, only(&causes).certainty), (server, Certainty::Observed));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// What is broken is the same, in whatever order groups come; and again the same when it is asked again.
    #[test]
    fn order_changes_nothing(node in 0_u32..6, udp in proptest::bool::ANY, turn in 0_usize..500) {
        let topology = world(6, PodNetwork::Overlay);
        let mut groups = probes(&topology, |group| {
            let (from, to) = nodes_of(&topology, group);
            let meant = !udp || group.class.kind == ProbeKind::Udp;
            (from != to && (from == node || to == node) && meant).then(unknown)
        });
        let before = explain(&topology, &groups);
        prop_assert_eq!(&before, &explain(&topology, &groups));
        let by = turn % groups.len();
        groups.rotate_left(by);
        let after = explain(&topology, &groups);
        let blamed = |causes: &[Cause]| {
            causes.iter().map(|cause| (cause.component, cause.heading, cause.pattern)).collect::<Vec<_>>()
        };
        prop_assert_eq!(blamed(&before), blamed(&after));
        prop_assert_eq!(before.len(), 1);
        prop_assert_eq!(before[0].component, Component::Uplink(Extent::Node(node)));
        prop_assert_eq!(before[0].pattern.carrier, udp.then_some(Carrier::Udp));
    }

    /// Every lost probe has a cause, and no cause would have lost what was answered.
    #[test]
    fn all_is_explained_and_nothing_contradicted(first in 0_u32..12, second in 0_u32..12) {
        let topology = world(6, PodNetwork::Routed);
        let dead = [Endpoint::Pod(first), Endpoint::Pod(second)];
        let groups = probes(&topology, |group| {
            let end = group.target.endpoint.unwrap();
            (dead.contains(&end) || dead.contains(&group.source)).then(unknown)
        });
        let causes = explain(&topology, &groups);
        for (at, group) in groups.iter().enumerate() {
            let explained = causes.iter().any(|cause| cause.explains.contains(&at));
            prop_assert_eq!(explained, group.lost > 0);
        }
        prop_assert!(causes.iter().all(|cause| cause.contradictions.is_empty()));
    }
}
