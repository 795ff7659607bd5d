//! The kinds of faults, drawn at random.

use netcheck_causes::{
    Answer, Carrier, Component, Entry, Extent, Heading, NodeIx, Pattern, PodIx, PodNetwork, Role, ServiceIx,
    Topology,
};
use netcheck_common::domain::{Family, ProbeKind};

use crate::cluster::Flow;
use crate::fault::{
    BACKLOG, BRIDGE_RULE, CONNTRACK, FORWARD_RULE, Fault, Manner, NEIGHBOUR, NO_TUNNEL_SOCKET,
    PREROUTING_RULE, ROUTE, RP_FILTER, RULE, VNI, program, queue, too_big,
};
use crate::rng::Rng;

/// What faults are drawn for.
pub(crate) struct Scene<'a> {
    /// The cluster.
    pub(crate) topology: &'a mut Topology,
    /// What is probed in it.
    pub(crate) flows: &'a mut Vec<Flow>,
    /// Where numbers come from.
    pub(crate) rng: &'a mut Rng,
}

/// Draws one kind of fault; none where the cluster has no such thing.
pub(crate) type Draw = fn(&mut Scene<'_>) -> Option<Fault>;

/// All kinds, and how often they are drawn.
const KINDS: &[(u32, Draw)] = &[
    (6, pod_stack),
    (6, pod_link),
    (5, bridge),
    (3, bridge_mtu),
    (6, node_stack),
    (6, forwarding),
    (4, blackhole),
    (5, translation),
    (3, gone_endpoint),
    (5, tunnel_end),
    (3, stale_forwarding_entry),
    (5, tunnel_of_zones),
    (8, wire),
    (7, uplink),
    (3, stolen_address),
    (3, large_frames),
    (4, node_down),
    (6, server),
    (4, service),
    (3, hairpin),
    (3, new_flows),
    (3, conntrack_full),
    (2, secondary),
    (3, no_backend),
    (3, tunnel_of_two),
    (3, tunnel_mtu),
    (2, no_tunnels),
    (2, echo_off),
    (3, port_of_node),
    (2, bridge_rule),
    (2, kind_denied),
];

/// Any kind.
pub(crate) fn any(rng: &mut Rng) -> Draw {
    let total: u32 = KINDS.iter().map(|(weight, _)| weight).sum();
    let mut drawn = rng.index(total as usize);
    for &(weight, draw) in KINDS {
        if drawn < weight {
            return draw;
        }
        drawn -= weight;
    }
    wire
}

fn fault(kind: &'static str, component: Component, heading: Heading, manner: Manner) -> Fault {
    Fault { kind, component, heading, pattern: Pattern::default(), manner, rate: 1.0, before: 0.0 }
}

impl Scene<'_> {
    fn node(&mut self) -> NodeIx {
        self.rng.index(self.topology.nodes.len())
    }

    fn pod(&mut self) -> Option<PodIx> {
        let own = |pod: &PodIx| self.topology.pods[*pod as usize].network.is_none();
        let pods: Vec<PodIx> =
            (0..u32::try_from(self.topology.pods.len()).unwrap_or(0)).filter(own).collect();
        self.rng.pick(&pods).copied()
    }

    fn service(&mut self) -> Option<ServiceIx> {
        let count = self.topology.services.len();
        (count > 0).then(|| self.rng.index(count))
    }

    fn heading(&mut self) -> Heading {
        *self.rng.pick(&[Heading::Both, Heading::In, Heading::Out]).unwrap_or(&Heading::Both)
    }

    fn one_way_or_both(&mut self) -> Heading {
        if self.rng.percent(50) { Heading::Both } else { Heading::In }
    }

    fn zone(&mut self) -> Option<u32> {
        let count = self.topology.zones.len();
        (count > 0).then(|| self.rng.index(count))
    }

    /// A node mostly, a zone or all at times.
    fn nodes(&mut self) -> Extent {
        match (self.rng.below(10), self.zone()) {
            (0, Some(zone)) => Extent::Zone(zone),
            (1, _) => Extent::All,
            _ => Extent::Node(self.node()),
        }
    }

    fn manner(&mut self, of: &[Manner]) -> Manner {
        *self.rng.pick(of).unwrap_or(&Manner::Silent)
    }

    /// Which packets a filter or a link loses.
    fn pattern(&mut self, fault: Fault) -> Fault {
        let mut pattern = Pattern::default();
        let mut rate = 1.0;
        match self.rng.below(20) {
            0..2 => pattern.carrier = self.rng.pick(&[Carrier::Icmp, Carrier::Udp, Carrier::Tcp]).copied(),
            2 => pattern.family = self.rng.pick(&[Family::V4, Family::V6]).copied(),
            3 => pattern.full_size = true,
            4 => pattern.fresh = Some(true),
            5..8 => {
                pattern.partial = true;
                rate = f64::from(self.rng.between(5, 95)) / 100.0;
            }
            8 => {
                pattern.carrier = self.rng.pick(&[Carrier::Icmp, Carrier::Udp, Carrier::Tcp]).copied();
                pattern.family = self.rng.pick(&[Family::V4, Family::V6]).copied();
            }
            9 => pattern.fresh = Some(false),
            _ => {}
        }
        Fault { pattern, rate, ..fault }
    }

    /// A server that is too busy fails some of its probes.
    fn busy(&mut self, fault: Fault) -> Fault {
        if !self.rng.percent(20) {
            return fault;
        }
        let pattern = Pattern { partial: true, ..fault.pattern };
        Fault { pattern, rate: f64::from(self.rng.between(10, 90)) / 100.0, ..fault }
    }

    /// Which packets what lies between nodes loses: one of several paths at times.
    fn between(&mut self, fault: Fault) -> Fault {
        if self.rng.percent(12) {
            let pattern = Pattern { by_port: true, ..Pattern::default() };
            return Fault { pattern, rate: *self.rng.pick(&[0.25, 0.5]).unwrap_or(&0.5), ..fault };
        }
        self.pattern(fault)
    }
}

fn pod_stack(scene: &mut Scene<'_>) -> Option<Fault> {
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

fn pod_link(scene: &mut Scene<'_>) -> Option<Fault> {
    let pod = scene.pod()?;
    let manner = scene.manner(&[Manner::Silent, Manner::Silent, Manner::Dropped(program(Role::PodLink))]);
    let heading = scene.heading();
    Some(scene.pattern(fault("pod link", Component::PodLink(Extent::Pod(pod)), heading, manner)))
}

fn bridge(scene: &mut Scene<'_>) -> Option<Fault> {
    let node = scene.node();
    let manner = scene.manner(&[Manner::Silent, Manner::Dropped(program(Role::Bridge))]);
    let heading = scene.heading();
    Some(scene.pattern(fault("bridge", Component::PodLink(Extent::PodsOf(node)), heading, manner)))
}

fn bridge_mtu(scene: &mut Scene<'_>) -> Option<Fault> {
    let extent = match scene.nodes() {
        Extent::Node(node) => Extent::PodsOf(node),
        other => other,
    };
    let manner = Manner::Dropped(too_big(Role::Bridge));
    let pattern = Pattern { full_size: true, ..Pattern::default() };
    let heading = *scene.rng.pick(&[Heading::In, Heading::Both])?;
    Some(Fault { pattern, ..fault("bridge's MTU", Component::PodLink(extent), heading, manner) })
}

fn node_stack(scene: &mut Scene<'_>) -> Option<Fault> {
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

fn forwarding(scene: &mut Scene<'_>) -> Option<Fault> {
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

fn blackhole(scene: &mut Scene<'_>) -> Option<Fault> {
    let pod = scene.pod()?;
    Some(fault(
        "blackhole route",
        Component::Forwarding(Extent::Pod(pod)),
        Heading::In,
        Manner::Dropped(ROUTE),
    ))
}

fn translation(scene: &mut Scene<'_>) -> Option<Fault> {
    let service = scene.service()?;
    let by = scene.nodes();
    let backends = &scene.topology.services[service as usize].backends;
    let backend = if scene.rng.percent(40) { scene.rng.pick(backends).copied() } else { None };
    let manner = scene.manner(&[
        Manner::Dropped(PREROUTING_RULE),
        Manner::Strays,
        Manner::Answered(Answer::Unreachable),
    ]);
    let component = Component::Translation { by, service, backend };
    Some(fault("translation", component, Heading::Both, manner))
}

/// An endpoint that is gone, and that a node's translation still has: it is in the cluster's list of pods alone.
fn gone_endpoint(scene: &mut Scene<'_>) -> Option<Fault> {
    let gone = |flow: &&Flow| {
        let backend = flow.target.endpoint;
        flow.target.service.is_some_and(|service| {
            backend.is_some_and(|it| !scene.topology.services[service as usize].backends.contains(&it))
        })
    };
    let flows: Vec<Flow> = scene.flows.iter().filter(gone).copied().collect();
    let flow = scene.rng.pick(&flows)?;
    let node = scene.topology.node_of(flow.source)?;
    let component = Component::Translation {
        by: Extent::Node(node),
        service: flow.target.service?,
        backend: flow.target.endpoint,
    };
    Some(fault("gone endpoint", component, Heading::Both, Manner::Gone))
}

fn tunnel_end(scene: &mut Scene<'_>) -> Option<Fault> {
    if scene.topology.pod_network != PodNetwork::Overlay {
        return None;
    }
    let node = scene.node();
    let component = Component::TunnelEnd(Extent::Node(node));
    Some(match scene.rng.below(3) {
        0 => fault("tunnel's number", component, Heading::Both, Manner::AtReceiver(VNI)),
        1 => fault("tunnel's port", component, Heading::Both, Manner::AtReceiver(NO_TUNNEL_SOCKET)),
        _ => {
            let heading = scene.heading();
            scene.between(fault("tunnel end", component, heading, Manner::Silent))
        }
    })
}

fn stale_forwarding_entry(scene: &mut Scene<'_>) -> Option<Fault> {
    if scene.topology.pod_network != PodNetwork::Overlay {
        return None;
    }
    let to = Extent::Node(scene.node());
    if scene.rng.percent(50) {
        return Some(fault("stale FDB entry", Component::TunnelEnd(to), Heading::In, Manner::Silent));
    }
    let from = Extent::Node(scene.node());
    (from != to)
        .then(|| fault("stale FDB entry of one", Component::Tunnel { from, to }, Heading::In, Manner::Silent))
}

fn tunnel_of_zones(scene: &mut Scene<'_>) -> Option<Fault> {
    if scene.topology.pod_network != PodNetwork::Overlay {
        return None;
    }
    let (from, to) = (Extent::Zone(scene.zone()?), Extent::Zone(scene.zone()?));
    let heading = scene.one_way_or_both();
    let (from, to) = if heading == Heading::Both { (from.min(to), from.max(to)) } else { (from, to) };
    Some(scene.between(fault(
        "tunnel between zones",
        Component::Tunnel { from, to },
        heading,
        Manner::Silent,
    )))
}

fn wire(scene: &mut Scene<'_>) -> Option<Fault> {
    let heading = scene.one_way_or_both();
    let zones = !scene.topology.zones.is_empty();
    let mut ends = [Extent::Node(scene.node()), Extent::Node(scene.node())];
    match scene.rng.below(4) {
        0 | 1 if zones => ends = [Extent::Zone(scene.zone()?), Extent::Zone(scene.zone()?)],
        2 if zones => ends[scene.rng.below(2)] = Extent::Zone(scene.zone()?),
        _ if ends[0] == ends[1] => return None,
        _ => {}
    }
    if heading == Heading::Both {
        ends.sort_unstable();
    }
    let component = Component::Wire { from: ends[0], to: ends[1] };
    Some(scene.between(fault("wire", component, heading, Manner::Silent)))
}

fn uplink(scene: &mut Scene<'_>) -> Option<Fault> {
    let extent = scene.nodes();
    let heading = scene.heading();
    let manner = scene.manner(&[
        Manner::Silent,
        Manner::Silent,
        Manner::Dropped(program(Role::Uplink)),
        if heading == Heading::Out { Manner::Dropped(queue(Role::Uplink)) } else { Manner::Silent },
    ]);
    Some(scene.between(fault("uplink", Component::Uplink(extent), heading, manner)))
}

/// Another machine has the node's address: what is sent to the node comes to that one.
fn stolen_address(scene: &mut Scene<'_>) -> Option<Fault> {
    let component = Component::Uplink(Extent::Node(scene.node()));
    Some(fault("stolen address", component, Heading::In, Manner::Silent))
}

fn large_frames(scene: &mut Scene<'_>) -> Option<Fault> {
    let extent = scene.nodes();
    let pattern = Pattern { full_size: true, ..Pattern::default() };
    let heading = scene.heading();
    Some(Fault { pattern, ..fault("large frames", Component::Uplink(extent), heading, Manner::Silent) })
}

fn node_down(scene: &mut Scene<'_>) -> Option<Fault> {
    Some(fault("node down", Component::Node(scene.node()), Heading::Both, Manner::Silent))
}

fn server(scene: &mut Scene<'_>) -> Option<Fault> {
    let asked: Vec<&Flow> = scene.flows.iter().filter(|flow| flow.class.kind != ProbeKind::Icmp).collect();
    let flow = scene.rng.pick(&asked)?;
    let (endpoint, service) = (flow.target.endpoint?, flow.target.service);
    let overflow = matches!(flow.class.kind, ProbeKind::Tcp | ProbeKind::Http);
    let answers = matches!(flow.class.kind, ProbeKind::Dns | ProbeKind::Http);
    let component = Component::Server { endpoint, service };
    let fault = |kind, manner| fault(kind, component, Heading::Both, manner);
    let drawn = match scene.rng.below(4) {
        0 => fault("server stuck", Manner::Silent),
        1 if overflow && service.is_some() => fault("server's queue", Manner::Dropped(BACKLOG)),
        2 if answers => fault("server's error", Manner::Answered(Answer::Error)),
        _ => return Some(fault("server dead", Manner::Answered(Answer::Refused))),
    };
    Some(scene.busy(drawn))
}

fn service(scene: &mut Scene<'_>) -> Option<Fault> {
    let service = scene.service()?;
    let answers = |flow: &Flow| {
        flow.target.service == Some(service) && matches!(flow.class.kind, ProbeKind::Dns | ProbeKind::Http)
    };
    let error = scene.flows.iter().any(answers);
    let manner = if error && scene.rng.percent(50) {
        Manner::Answered(Answer::Error)
    } else {
        Manner::Answered(Answer::Refused)
    };
    Some(fault("service", Component::Service(service), Heading::Both, manner))
}

fn hairpin(scene: &mut Scene<'_>) -> Option<Fault> {
    let extent = match scene.nodes() {
        Extent::Node(node) => Extent::PodsOf(node),
        other => other,
    };
    Some(fault("hairpin", Component::Hairpin(extent), Heading::Both, Manner::Silent))
}

fn new_flows(scene: &mut Scene<'_>) -> Option<Fault> {
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

fn conntrack_full(scene: &mut Scene<'_>) -> Option<Fault> {
    let node = Extent::Node(scene.node());
    let pattern = Pattern { fresh: Some(true), partial: scene.rng.percent(50), ..Pattern::default() };
    let rate = if pattern.partial { 0.5 } else { 1.0 };
    let fault =
        fault("conntrack full", Component::Forwarding(node), Heading::Out, Manner::Dropped(CONNTRACK));
    Some(Fault { pattern, rate, ..fault })
}

fn secondary(scene: &mut Scene<'_>) -> Option<Fault> {
    let count = scene.topology.secondary_networks.len();
    if count == 0 {
        return None;
    }
    let component = Component::SecondaryNetwork(scene.rng.index(count));
    Some(scene.pattern(fault("secondary network", component, Heading::Both, Manner::Silent)))
}

/// Nobody answers for a service: its endpoints are empty, and nothing of its backends is probed through it.
fn no_backend(scene: &mut Scene<'_>) -> Option<Fault> {
    let service = scene.service()?;
    scene.topology.services[service as usize].backends.clear();
    let first = scene.flows.iter().filter(|flow| flow.target.service == Some(service));
    let first = first.map(|flow| flow.target.endpoint).next()?;
    scene.flows.retain(|flow| flow.target.service != Some(service) || flow.target.endpoint == first);
    for flow in scene.flows.iter_mut().filter(|flow| flow.target.service == Some(service)) {
        flow.target.endpoint = None;
        flow.anonymous = false;
    }
    let manner = scene.manner(&[Manner::Answered(Answer::Refused), Manner::Dropped(PREROUTING_RULE)]);
    Some(fault("no backend", Component::Service(service), Heading::Both, manner))
}

fn tunnel_of_two(scene: &mut Scene<'_>) -> Option<Fault> {
    if scene.topology.pod_network != PodNetwork::Overlay {
        return None;
    }
    let mut ends = [Extent::Node(scene.node()), Extent::Node(scene.node())];
    if let (Some(zone), true) = (scene.zone(), scene.rng.percent(30)) {
        ends[scene.rng.below(2)] = Extent::Zone(zone);
    }
    let heading = scene.one_way_or_both();
    if heading == Heading::Both {
        ends.sort_unstable();
    }
    let component = Component::Tunnel { from: ends[0], to: ends[1] };
    (ends[0] != ends[1]).then(|| scene.between(fault("tunnel of two", component, heading, Manner::Silent)))
}

/// The tunnel's interface is smaller than its pods' say.
fn tunnel_mtu(scene: &mut Scene<'_>) -> Option<Fault> {
    if scene.topology.pod_network != PodNetwork::Overlay {
        return None;
    }
    let component = Component::TunnelEnd(scene.nodes());
    let pattern = Pattern { full_size: true, ..Pattern::default() };
    let manner = Manner::Dropped(too_big(Role::Tunnel));
    Some(Fault { pattern, ..fault("tunnel's MTU", component, Heading::Out, manner) })
}

/// The tunnel's packets are blocked everywhere.
fn no_tunnels(scene: &mut Scene<'_>) -> Option<Fault> {
    let overlay = scene.topology.pod_network == PodNetwork::Overlay;
    let component = Component::TunnelEnd(Extent::All);
    overlay.then(|| scene.between(fault("no tunnels", component, Heading::Both, Manner::Silent)))
}

fn echo_off(scene: &mut Scene<'_>) -> Option<Fault> {
    let pod = scene.pod()?;
    let extent = if scene.rng.percent(50) { Extent::Pod(pod) } else { scene.nodes() };
    let pattern = Pattern { carrier: Some(Carrier::Icmp), ..Pattern::default() };
    Some(Fault { pattern, ..fault("echo off", Component::Stack(extent), Heading::In, Manner::Silent) })
}

/// A node does not translate its ports.
fn port_of_node(scene: &mut Scene<'_>) -> Option<Fault> {
    let ports = scene.flows.iter().filter_map(|flow| match flow.target.entry {
        Entry::NodePort(node) => Some((node, flow.target.service?)),
        _ => None,
    });
    let ports: Vec<(NodeIx, ServiceIx)> = ports.collect();
    let &(node, service) = scene.rng.pick(&ports)?;
    let component = Component::Translation { by: Extent::Node(node), service, backend: None };
    let manner = scene.manner(&[Manner::Dropped(PREROUTING_RULE), Manner::Answered(Answer::Refused)]);
    Some(fault("port of a node", component, Heading::Both, manner))
}

fn bridge_rule(scene: &mut Scene<'_>) -> Option<Fault> {
    let component = Component::PodLink(Extent::PodsOf(scene.node()));
    let heading = scene.heading();
    let manner = Manner::Dropped(BRIDGE_RULE);
    Some(scene.pattern(fault("bridge rule", component, heading, manner)))
}

/// One kind of probe is denied on a node or by a pod.
fn kind_denied(scene: &mut Scene<'_>) -> Option<Fault> {
    let kinds: Vec<ProbeKind> = scene.flows.iter().map(|flow| flow.class.kind).collect();
    let kind = *scene.rng.pick(&kinds)?;
    let pattern = Pattern { kind: Some(kind), ..Pattern::default() };
    let (extent, heading) = (scene.nodes(), scene.heading());
    let manner = Manner::Dropped(FORWARD_RULE);
    Some(Fault { pattern, ..fault("kind denied", Component::Forwarding(extent), heading, manner) })
}
