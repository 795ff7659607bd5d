//! Faults of services: their programs, their translation, their endpoints.

use netcheck_causes::{Answer, Component, Entry, Extent, Heading, NodeIx, ServiceIx};
use netcheck_common::domain::ProbeKind;

use super::{DrawInput, fault};
use crate::cluster::Flow;
use crate::fault::{BACKLOG, Fault, Manner, PREROUTING_RULE};

pub(super) fn translation(input: &mut DrawInput<'_>) -> Option<Fault> {
    let service = input.service()?;
    let by = input.nodes();
    let backends = &input.topology.services[service as usize].backends;
    let backend = if input.rng.percent(40) { input.rng.pick(backends).copied() } else { None };
    let manner = input.manner(&[
        Manner::Dropped(PREROUTING_RULE),
        Manner::Strays,
        Manner::Answered(Answer::Unreachable),
    ]);
    let component = Component::Translation { by, service, backend };
    Some(fault("translation", component, Heading::Both, manner))
}

/// An endpoint that is gone, and that a node's translation still has: it is in the cluster's list of pods alone.
pub(super) fn gone_endpoint(input: &mut DrawInput<'_>) -> Option<Fault> {
    let gone = |flow: &&Flow| {
        let backend = flow.target.endpoint;
        flow.target.service.is_some_and(|service| {
            backend.is_some_and(|it| !input.topology.services[service as usize].backends.contains(&it))
        })
    };
    let flows: Vec<Flow> = input.flows.iter().filter(gone).copied().collect();
    let flow = input.rng.pick(&flows)?;
    let node = input.topology.node_of(flow.source)?;
    let component = Component::Translation {
        by: Extent::Node(node),
        service: flow.target.service?,
        backend: flow.target.endpoint,
    };
    Some(fault("gone endpoint", component, Heading::Both, Manner::Gone))
}

pub(super) fn server(input: &mut DrawInput<'_>) -> Option<Fault> {
    let asked: Vec<&Flow> = input.flows.iter().filter(|flow| flow.class.kind != ProbeKind::Icmp).collect();
    let flow = input.rng.pick(&asked)?;
    let (endpoint, service) = (flow.target.endpoint?, flow.target.service);
    let overflow = matches!(flow.class.kind, ProbeKind::Tcp | ProbeKind::Http);
    let answers = matches!(flow.class.kind, ProbeKind::Dns | ProbeKind::Http);
    let component = Component::Server { endpoint, service };
    let fault = |kind, manner| fault(kind, component, Heading::Both, manner);
    let drawn = match input.rng.below(4) {
        0 => fault("server stuck", Manner::Silent),
        1 if overflow && service.is_some() => fault("server's queue", Manner::Dropped(BACKLOG)),
        2 if answers => fault("server's error", Manner::Answered(Answer::Error)),
        _ => return Some(fault("server dead", Manner::Answered(Answer::Refused))),
    };
    Some(input.busy(drawn))
}

pub(super) fn service(input: &mut DrawInput<'_>) -> Option<Fault> {
    let service = input.service()?;
    let answers = |flow: &Flow| {
        flow.target.service == Some(service) && matches!(flow.class.kind, ProbeKind::Dns | ProbeKind::Http)
    };
    let error = input.flows.iter().any(answers);
    let manner = if error && input.rng.percent(50) {
        Manner::Answered(Answer::Error)
    } else {
        Manner::Answered(Answer::Refused)
    };
    Some(fault("service", Component::Service(service), Heading::Both, manner))
}

pub(super) fn hairpin(input: &mut DrawInput<'_>) -> Option<Fault> {
    let extent = match input.nodes() {
        Extent::Node(node) => Extent::PodsOf(node),
        other => other,
    };
    Some(fault("hairpin", Component::Hairpin(extent), Heading::Both, Manner::Silent))
}

/// Nobody answers for a service: its endpoints are empty, and nothing of its backends is probed through it.
pub(super) fn no_backend(input: &mut DrawInput<'_>) -> Option<Fault> {
    let service = input.service()?;
    input.topology.services[service as usize].backends.clear();
    let first = input.flows.iter().filter(|flow| flow.target.service == Some(service));
    let first = first.map(|flow| flow.target.endpoint).next()?;
    input.flows.retain(|flow| flow.target.service != Some(service) || flow.target.endpoint == first);
    for flow in input.flows.iter_mut().filter(|flow| flow.target.service == Some(service)) {
        flow.target.endpoint = None;
        flow.anonymous = false;
    }
    let manner = input.manner(&[Manner::Answered(Answer::Refused), Manner::Dropped(PREROUTING_RULE)]);
    Some(fault("no backend", Component::Service(service), Heading::Both, manner))
}

/// A node does not translate its ports.
pub(super) fn port_of_node(input: &mut DrawInput<'_>) -> Option<Fault> {
    let ports = input.flows.iter().filter_map(|flow| match flow.target.entry {
        Entry::NodePort(node) => Some((node, flow.target.service?)),
        _ => None,
    });
    let ports: Vec<(NodeIx, ServiceIx)> = ports.collect();
    let &(node, service) = input.rng.pick(&ports)?;
    let component = Component::Translation { by: Extent::Node(node), service, backend: None };
    let manner = input.manner(&[Manner::Dropped(PREROUTING_RULE), Manner::Answered(Answer::Refused)]);
    Some(fault("port of a node", component, Heading::Both, manner))
}
