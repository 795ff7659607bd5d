//! What the hub hears: groups of alike probes, with what healthy networks say beside.

use std::collections::BTreeMap;

use netcheck_causes::{
    Class, Direction, End, Endpoint, Group, Loss, Place, Role, Stage, Target, Topology, Visibility,
};
use netcheck_common::domain::{Family, ProbeKind};

use crate::case::Case;
use crate::cluster::Flow;
use crate::fault::{FORWARD_RULE, NEIGHBOUR};
use crate::observe::{self, Lost, Said};
use crate::rng::Rng;
use crate::way::Way;

/// One healthy group of so many has a stray loss.
const STRAY_EACH: usize = 200;
/// So many groups at the most have lost a probe to what has healed.
const HEALED: usize = 2;

type Key = (Endpoint, Target, Class);

/// What the hub gets of a case, in no order.
pub(crate) fn groups(case: &Case, rng: &mut Rng) -> Vec<Group> {
    let mut groups: BTreeMap<Key, Group> = BTreeMap::new();
    let noisy = rng.percent(40);
    for at in 0..case.flows.len() {
        let (flow, lost) = (&merged(case, at), &case.lost[at]);
        let way = observe::way_of(&case.topology, flow);
        let sum: u32 = lost.iter().map(|lost| lost.probes).sum();
        let nobody = Target { endpoint: None, ..flow.target };
        group(&mut groups, flow, if flow.anonymous { nobody } else { flow.target }).answered +=
            flow.probes - sum;
        let known = flow.target.service.is_none() || rng.percent(90);
        let chosen = observe::chosen(&case.topology, flow, &way);
        for lost in lost {
            let early = flow.target.service.is_some() && chosen.is_some_and(|at| lost.step < at);
            let backend = !flow.anonymous && !early && (known || lost.said != Said::Unknown);
            let group = group(&mut groups, flow, if backend { flow.target } else { nobody });
            group.lost += lost.probes;
            report(&mut group.losses, lost, rng);
            if noisy {
                accompany(&case.topology, (flow, lost, &way), group, rng);
            }
        }
    }
    let mut groups: Vec<Group> = groups.into_values().filter(|it| it.answered + it.lost > 0).collect();
    stray(&case.topology, &mut groups, rng);
    heal(&case.topology, &mut groups, rng);
    rng.shuffle(&mut groups);
    groups
}

/// A path of whose source ports none lost anything is not distinguished by them.
fn merged(case: &Case, at: usize) -> Flow {
    let flow = case.flows[at];
    let path = |other: &Flow| {
        let alike = Class { source_port: flow.class.source_port, ..other.class };
        (other.source, other.target, alike) == (flow.source, flow.target, flow.class)
    };
    let around = at.saturating_sub(4)..(at + 5).min(case.flows.len());
    let lost = around.into_iter().any(|at| path(&case.flows[at]) && !case.lost[at].is_empty());
    if lost { flow } else { Flow { class: Class { source_port: None, ..flow.class }, ..flow } }
}

fn group<'a>(groups: &'a mut BTreeMap<Key, Group>, flow: &Flow, target: Target) -> &'a mut Group {
    let empty =
        Group { source: flow.source, target, class: flow.class, answered: 0, lost: 0, losses: Vec::new() };
    groups.entry((flow.source, target, flow.class)).or_insert(empty)
}

/// Of what nothing is known there is no word at times.
fn report(losses: &mut Vec<Loss>, lost: &Lost, rng: &mut Rng) {
    if lost.end != End::Unknown || rng.percent(50) {
        add(losses, lost.probes, lost.direction, &lost.end);
    }
}

fn add(losses: &mut Vec<Loss>, probes: u32, direction: Option<Direction>, end: &End) {
    match losses.iter_mut().find(|loss| loss.direction == direction && loss.end == *end) {
        Some(loss) => loss.probes += probes,
        None => losses.push(Loss { probes, direction, end: end.clone() }),
    }
}

/// Records that healthy work has, too, are reported of a part of the lost probes in place of their ends.
fn accompany(topology: &Topology, (flow, lost, way): (&Flow, &Lost, &Way), group: &mut Group, rng: &mut Rng) {
    let Some(loss) =
        group.losses.iter_mut().find(|loss| loss.end == lost.end && loss.direction == lost.direction)
    else {
        return;
    };
    let arrived = way.steps[lost.step].reply;
    let Some(node) = flow.target.endpoint.and_then(|end| topology.node_of(end)) else { return };
    let full = topology.nodes[node as usize].visibility == Visibility::Full;
    if loss.probes < 4 || !arrived || !full || !matches!(lost.said, Said::Silent) {
        return;
    }
    let pod = match flow.target.endpoint {
        Some(Endpoint::Pod(pod)) => Some(pod),
        _ => None,
    };
    let echo6 = flow.class.kind == ProbeKind::Icmp && flow.class.family == Family::V6;
    let place = if echo6 {
        place(node, pod, Stage::Socket, None, ["NOT_SPECIFIED", "icmpv6_rcv"])
    } else {
        let other = topology.pods.iter().position(|other| other.node == node && other.network.is_none());
        let Some(other) = other
            .and_then(|other| u32::try_from(other).ok())
            .filter(|&other| pod.is_some_and(|pod| pod != other))
        else {
            return;
        };
        place(node, Some(other), Stage::Ingress, Some(Role::PodLink), ["OTHERHOST", "ip_rcv"])
    };
    let part = loss.probes / 2 - rng.index(2);
    loss.probes -= part;
    add(&mut group.losses, part, Some(Direction::Request), &End::Dropped(place));
}

fn place(node: u32, pod: Option<u32>, stage: Stage, interface: Option<Role>, why: [&str; 2]) -> Place {
    Place { node, pod, stage, interface, reason: why[0].into(), function: why[1].into() }
}

/// One lost probe in a healthy group, with whatever is known of it.
fn stray(topology: &Topology, groups: &mut [Group], rng: &mut Rng) {
    for group in groups {
        if group.lost == 0 && group.answered > 5 && rng.below(STRAY_EACH) == 0 {
            let reports = |node: &u32| topology.nodes[*node as usize].visibility == Visibility::Full;
            let end = match (topology.node_of(group.source).filter(reports), rng.below(4)) {
                (Some(node), 0) => {
                    let at = place(node, None, Stage::Egress, Some(Role::Uplink), ["", ""]);
                    Some(End::LastSeen { at, missing: None })
                }
                (Some(node), 1) => Some(End::Dropped(rule(node))),
                (_, 2) => Some(End::Unknown),
                _ => None,
            };
            lose(group, end);
        }
    }
}

fn rule(node: u32) -> Place {
    place(node, None, FORWARD_RULE.out, None, [FORWARD_RULE.reason, FORWARD_RULE.functions[0]])
}

fn lose(group: &mut Group, end: Option<End>) {
    group.answered -= 1;
    group.lost = 1;
    group.losses.extend(end.map(|end| Loss { probes: 1, direction: None, end }));
}

/// A probe or two were lost to what is well again: a next hop's address that was not there yet.
fn heal(topology: &Topology, groups: &mut [Group], rng: &mut Rng) {
    if !rng.percent(30) {
        return;
    }
    let node = rng.index(topology.nodes.len());
    if topology.nodes[node as usize].visibility != Visibility::Full {
        return;
    }
    let healthy = |group: &&mut Group| {
        topology.node_of(group.source) == Some(node) && group.lost == 0 && group.answered > 8
    };
    for group in groups.iter_mut().filter(healthy).take(HEALED) {
        let [reason, function] = [NEIGHBOUR.reason, NEIGHBOUR.functions[0]];
        lose(group, Some(End::Dropped(place(node, None, NEIGHBOUR.out, None, [reason, function]))));
    }
}
