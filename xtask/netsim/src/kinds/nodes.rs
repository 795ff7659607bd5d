//! Faults of nodes and pods: stacks, links, bridges, forwarding.

use netcheck_causes::{Answer, Carrier, Component, Extent, Heading, Pattern, Role};
use netcheck_common::domain::ProbeKind;

use super::{DrawInput, fault};
use crate::fault::{
    BRIDGE_RULE, CONNTRACK, FORWARD_RULE, Fault, Manner, NEIGHBOUR, PREROUTING_RULE, ROUTE, RP_FILTER, RULE,
    program, too_big,
};

pub(super) fn pod_stack(input: &mut DrawInput<'_>) -> Option<Fault> {
    let pod = input.pod()?;
    let extent = if input.rng.percent(80) {
        Extent::Pod(pod)
    } else {
        Extent::PodsOf(input.topology.pods[pod as usize].node)
    };
    let manner = input.manner(&[
        Manner::Dropped(RULE),
        Manner::Dropped(RP_FILTER),
        Manner::Dropped(NEIGHBOUR),
        Manner::Silent,
        Manner::Silent,
    ]);
    let heading = input.heading();
    Some(input.pattern(fault("pod stack", Component::Stack(extent), heading, manner)))
}

pub(super) fn pod_link(input: &mut DrawInput<'_>) -> Option<Fault> {
    let pod = input.pod()?;
    let manner = input.manner(&[Manner::Silent, Manner::Silent, Manner::Dropped(program(Role::PodLink))]);
    let heading = input.heading();
    Some(input.pattern(fault("pod link", Component::PodLink(Extent::Pod(pod)), heading, manner)))
}

pub(super) fn bridge(input: &mut DrawInput<'_>) -> Option<Fault> {
    let node = input.node();
    let manner = input.manner(&[Manner::Silent, Manner::Dropped(program(Role::Bridge))]);
    let heading = input.heading();
    Some(input.pattern(fault("bridge", Component::PodLink(Extent::PodsOf(node)), heading, manner)))
}

pub(super) fn bridge_mtu(input: &mut DrawInput<'_>) -> Option<Fault> {
    let extent = match input.nodes() {
        Extent::Node(node) => Extent::PodsOf(node),
        other => other,
    };
    let manner = Manner::Dropped(too_big(Role::Bridge));
    let pattern = Pattern { full_size: true, ..Pattern::default() };
    let heading = *input.rng.pick(&[Heading::In, Heading::Both])?;
    Some(Fault { pattern, ..fault("bridge's MTU", Component::PodLink(extent), heading, manner) })
}

pub(super) fn node_stack(input: &mut DrawInput<'_>) -> Option<Fault> {
    let extent = input.nodes();
    let heading = input.heading();
    let manner = input.manner(&[
        Manner::Dropped(RULE),
        Manner::Dropped(ROUTE),
        Manner::Dropped(RP_FILTER),
        Manner::Silent,
        Manner::Answered(Answer::Refused),
    ]);
    let manner =
        if heading == Heading::Out && input.rng.percent(50) { Manner::NotSent("EPERM") } else { manner };
    Some(input.pattern(fault("node stack", Component::Stack(extent), heading, manner)))
}

pub(super) fn forwarding(input: &mut DrawInput<'_>) -> Option<Fault> {
    let pod = input.pod()?;
    let extent = if input.rng.percent(30) { Extent::Pod(pod) } else { input.nodes() };
    let heading = input.heading();
    let manner = input.manner(&[
        Manner::Dropped(FORWARD_RULE),
        Manner::Dropped(PREROUTING_RULE),
        Manner::Dropped(ROUTE),
        Manner::Answered(Answer::Unreachable),
    ]);
    Some(input.pattern(fault("forwarding", Component::Forwarding(extent), heading, manner)))
}

pub(super) fn blackhole(input: &mut DrawInput<'_>) -> Option<Fault> {
    let pod = input.pod()?;
    Some(fault(
        "blackhole route",
        Component::Forwarding(Extent::Pod(pod)),
        Heading::In,
        Manner::Dropped(ROUTE),
    ))
}

pub(super) fn node_down(input: &mut DrawInput<'_>) -> Option<Fault> {
    Some(fault("node down", Component::Node(input.node()), Heading::Both, Manner::Silent))
}

pub(super) fn new_flows(input: &mut DrawInput<'_>) -> Option<Fault> {
    let extent = input.nodes();
    let pattern = Pattern { fresh: Some(true), ..Pattern::default() };
    let forwarding = input.rng.percent(50);
    let (component, manner) = if forwarding {
        (Component::Forwarding(extent), Manner::Dropped(FORWARD_RULE))
    } else {
        (Component::Stack(extent), Manner::Dropped(RULE))
    };
    let heading = input.heading();
    Some(Fault { pattern, ..fault("new flows denied", component, heading, manner) })
}

pub(super) fn conntrack_full(input: &mut DrawInput<'_>) -> Option<Fault> {
    let node = Extent::Node(input.node());
    let pattern = Pattern { fresh: Some(true), partial: input.rng.percent(50), ..Pattern::default() };
    let rate = if pattern.partial { 0.5 } else { 1.0 };
    let fault =
        fault("conntrack full", Component::Forwarding(node), Heading::Out, Manner::Dropped(CONNTRACK));
    Some(Fault { pattern, rate, ..fault })
}

pub(super) fn echo_off(input: &mut DrawInput<'_>) -> Option<Fault> {
    let pod = input.pod()?;
    let extent = if input.rng.percent(50) { Extent::Pod(pod) } else { input.nodes() };
    let pattern = Pattern { carrier: Some(Carrier::Icmp), ..Pattern::default() };
    Some(Fault { pattern, ..fault("echo off", Component::Stack(extent), Heading::In, Manner::Silent) })
}

pub(super) fn bridge_rule(input: &mut DrawInput<'_>) -> Option<Fault> {
    let component = Component::PodLink(Extent::PodsOf(input.node()));
    let heading = input.heading();
    let manner = Manner::Dropped(BRIDGE_RULE);
    Some(input.pattern(fault("bridge rule", component, heading, manner)))
}

/// One kind of probe is denied on a node or by a pod.
pub(super) fn kind_denied(input: &mut DrawInput<'_>) -> Option<Fault> {
    let kinds: Vec<ProbeKind> = input.flows.iter().map(|flow| flow.class.kind).collect();
    let kind = *input.rng.pick(&kinds)?;
    let pattern = Pattern { kind: Some(kind), ..Pattern::default() };
    let (extent, heading) = (input.nodes(), input.heading());
    let manner = Manner::Dropped(FORWARD_RULE);
    Some(Fault { pattern, ..fault("kind denied", Component::Forwarding(extent), heading, manner) })
}
