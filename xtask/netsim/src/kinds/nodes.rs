//! Faults of nodes and pods: stacks, links, bridges, forwarding.

use netcheck_causes::{Answer, Carrier, Component, Extent, Heading, Pattern, Role};
use netcheck_common::domain::ProbeKind;

use super::{Scene, fault};
use crate::fault::{
    BRIDGE_RULE, CONNTRACK, FORWARD_RULE, Fault, Manner, NEIGHBOUR, PREROUTING_RULE, ROUTE, RP_FILTER, RULE,
    program, too_big,
};

pub(super) fn pod_stack(scene: &mut Scene<'_>) -> Option<Fault> {
    let pod = scene.pod()?;
    let extent = if scene.rng.percent(80) {
        Extent::Pod(pod)
    } else {
        Extent::PodsOf(scene.topology.pods[pod as usize].node)
    };
    let manner = scene.manner(&[
        Manner::Dropped(RULE),
        Manner::Dropped(RP_FILTER),
        Manner::Dropped(NEIGHBOUR),
        Manner::Silent,
        Manner::Silent,
    ]);
    let heading = scene.heading();
    Some(scene.pattern(fault("pod stack", Component::Stack(extent), heading, manner)))
}

pub(super) fn pod_link(scene: &mut Scene<'_>) -> Option<Fault> {
    let pod = scene.pod()?;
    let manner = scene.manner(&[Manner::Silent, Manner::Silent, Manner::Dropped(program(Role::PodLink))]);
    let heading = scene.heading();
    Some(scene.pattern(fault("pod link", Component::PodLink(Extent::Pod(pod)), heading, manner)))
}

pub(super) fn bridge(scene: &mut Scene<'_>) -> Option<Fault> {
    let node = scene.node();
    let manner = scene.manner(&[Manner::Silent, Manner::Dropped(program(Role::Bridge))]);
    let heading = scene.heading();
    Some(scene.pattern(fault("bridge", Component::PodLink(Extent::PodsOf(node)), heading, manner)))
}

pub(super) fn bridge_mtu(scene: &mut Scene<'_>) -> Option<Fault> {
    let extent = match scene.nodes() {
        Extent::Node(node) => Extent::PodsOf(node),
        other => other,
    };
    let manner = Manner::Dropped(too_big(Role::Bridge));
    let pattern = Pattern { full_size: true, ..Pattern::default() };
    let heading = *scene.rng.pick(&[Heading::In, Heading::Both])?;
    Some(Fault { pattern, ..fault("bridge's MTU", Component::PodLink(extent), heading, manner) })
}

pub(super) fn node_stack(scene: &mut Scene<'_>) -> Option<Fault> {
    let extent = scene.nodes();
    let heading = scene.heading();
    let manner = scene.manner(&[
        Manner::Dropped(RULE),
        Manner::Dropped(ROUTE),
        Manner::Dropped(RP_FILTER),
        Manner::Silent,
        Manner::Answered(Answer::Refused),
    ]);
    let manner =
        if heading == Heading::Out && scene.rng.percent(50) { Manner::NotSent("EPERM") } else { manner };
    Some(scene.pattern(fault("node stack", Component::Stack(extent), heading, manner)))
}

pub(super) fn forwarding(scene: &mut Scene<'_>) -> Option<Fault> {
    let pod = scene.pod()?;
    let extent = if scene.rng.percent(30) { Extent::Pod(pod) } else { scene.nodes() };
    let heading = scene.heading();
    let manner = scene.manner(&[
        Manner::Dropped(FORWARD_RULE),
        Manner::Dropped(PREROUTING_RULE),
        Manner::Dropped(ROUTE),
        Manner::Answered(Answer::Unreachable),
    ]);
    Some(scene.pattern(fault("forwarding", Component::Forwarding(extent), heading, manner)))
}

pub(super) fn blackhole(scene: &mut Scene<'_>) -> Option<Fault> {
    let pod = scene.pod()?;
    Some(fault(
        "blackhole route",
        Component::Forwarding(Extent::Pod(pod)),
        Heading::In,
        Manner::Dropped(ROUTE),
    ))
}

pub(super) fn node_down(scene: &mut Scene<'_>) -> Option<Fault> {
    Some(fault("node down", Component::Node(scene.node()), Heading::Both, Manner::Silent))
}

pub(super) fn new_flows(scene: &mut Scene<'_>) -> Option<Fault> {
    let extent = scene.nodes();
    let pattern = Pattern { fresh: Some(true), ..Pattern::default() };
    let forwarding = scene.rng.percent(50);
    let (component, manner) = if forwarding {
        (Component::Forwarding(extent), Manner::Dropped(FORWARD_RULE))
    } else {
        (Component::Stack(extent), Manner::Dropped(RULE))
    };
    let heading = scene.heading();
    Some(Fault { pattern, ..fault("new flows denied", component, heading, manner) })
}

pub(super) fn conntrack_full(scene: &mut Scene<'_>) -> Option<Fault> {
    let node = Extent::Node(scene.node());
    let pattern = Pattern { fresh: Some(true), partial: scene.rng.percent(50), ..Pattern::default() };
    let rate = if pattern.partial { 0.5 } else { 1.0 };
    let fault =
        fault("conntrack full", Component::Forwarding(node), Heading::Out, Manner::Dropped(CONNTRACK));
    Some(Fault { pattern, rate, ..fault })
}

pub(super) fn echo_off(scene: &mut Scene<'_>) -> Option<Fault> {
    let pod = scene.pod()?;
    let extent = if scene.rng.percent(50) { Extent::Pod(pod) } else { scene.nodes() };
    let pattern = Pattern { carrier: Some(Carrier::Icmp), ..Pattern::default() };
    Some(Fault { pattern, ..fault("echo off", Component::Stack(extent), Heading::In, Manner::Silent) })
}

pub(super) fn bridge_rule(scene: &mut Scene<'_>) -> Option<Fault> {
    let component = Component::PodLink(Extent::PodsOf(scene.node()));
    let heading = scene.heading();
    let manner = Manner::Dropped(BRIDGE_RULE);
    Some(scene.pattern(fault("bridge rule", component, heading, manner)))
}

/// One kind of probe is denied on a node or by a pod.
pub(super) fn kind_denied(scene: &mut Scene<'_>) -> Option<Fault> {
    let kinds: Vec<ProbeKind> = scene.flows.iter().map(|flow| flow.class.kind).collect();
    let kind = *scene.rng.pick(&kinds)?;
    let pattern = Pattern { kind: Some(kind), ..Pattern::default() };
    let (extent, heading) = (scene.nodes(), scene.heading());
    let manner = Manner::Dropped(FORWARD_RULE);
    Some(Fault { pattern, ..fault("kind denied", Component::Forwarding(extent), heading, manner) })
}
