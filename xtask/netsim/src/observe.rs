//! What becomes of probes under faults, and what the hub gets to know of it.

use netcheck_causes::{
    Answer, Carrier, Component, Direction, End, Endpoint, Heading, NodeIx, Pattern, Place, PodIx, Role,
    Stage, Topology, Visibility,
};
use netcheck_common::domain::ProbeKind;
use netcheck_common::hash::splitmix64;

use crate::cluster::Flow;
use crate::fault::{Fault, Manner, NEIGHBOUR, ROUTE, RULE, Report};
use crate::hits::{hits, means};
use crate::rng::Rng;
use crate::way::{Part, Step, Way, way};

/// What the hub can make of where a packet was lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Said {
    /// Nothing is known.
    Unknown,
    /// It was last seen at a hook, and is missing at another.
    Silent,
    /// The kernel at this step dropped it.
    Here(Report),
    /// The kernel at the other end of the tunnel dropped it.
    Receiver,
    /// Somebody answered.
    Answered(Answer),
    /// It was never sent.
    NotSent,
}

/// Probes of a flow that a fault lost at a step of their way.
#[derive(Clone, Debug, PartialEq)]
pub struct Lost {
    /// Place of the fault in the case's truth.
    pub fault: usize,
    /// Place of the step in the way.
    pub step: usize,
    /// How many.
    pub probes: u32,
    /// How many hooks of the way had passed when nobody saw it any more.
    pub hooks: usize,
    /// What the hub can make of it.
    pub said: Said,
    /// The request or its reply, as far as the hub knows.
    pub direction: Option<Direction>,
    /// What the hub gets.
    pub end: End,
}

/// The way of a flow.
#[must_use]
pub fn way_of(topology: &Topology, flow: &Flow) -> Way {
    if let (None, Some(service)) = (flow.target.endpoint, flow.target.service) {
        return Way::to_nobody(topology, flow.source, service);
    }
    let mut way = way(topology, flow.source, flow.target, flow.class.kind == ProbeKind::Icmp);
    if is_gone(topology, flow) {
        end_at_gone(&mut way);
    }
    way
}

/// What is sent to an endpoint that is gone ends on the node that had it. Who sent it there is at fault, and nothing
/// earlier if it comes so far.
fn end_at_gone(way: &mut Way) {
    let Some(at) = way.steps.iter().position(|step| matches!(step.part, Part::Translation { .. })) else {
        return;
    };
    let translation = way.steps.remove(at);
    let Part::Translation { backend: Endpoint::Pod(gone), .. } = translation.part else { return };
    let arrived = way.steps.iter().position(|step| match step.part {
        Part::PodLink(pod) | Part::Hairpin(pod) | Part::Forwarding { pod, .. } => pod == gone && !step.out,
        _ => false,
    });
    way.steps.truncate(arrived.unwrap_or(at));
    let hooks = before_the_last_bridge(way);
    way.steps.push(Step { hooks, ..translation });
}

/// The first step of a way at which it is known which backend was chosen.
#[must_use]
pub fn chosen(topology: &Topology, flow: &Flow, way: &Way) -> Option<usize> {
    let gone = is_gone(topology, flow);
    way.steps.iter().position(|step| match step.part {
        Part::Stack(_) | Part::PodLink(_) => false,
        Part::Translation { .. } => true,
        _ => gone,
    })
}

/// Whether a flow goes to an endpoint that is none of its service's any more.
#[must_use]
pub fn is_gone(topology: &Topology, flow: &Flow) -> bool {
    match (flow.target.service, flow.target.endpoint) {
        (Some(service), Some(endpoint)) => !topology.services[service as usize].backends.contains(&endpoint),
        _ => false,
    }
}

/// Whether a fault of some source ports loses this one.
fn unlucky(flow: &Flow, fault: &Fault, reply: bool) -> bool {
    let port = u64::from(flow.class.source_port.unwrap_or(0));
    let ends = [number(flow.source), flow.target.endpoint.map_or(0, number), port, u64::from(reply)];
    let hash = ends.iter().fold(7, |hash, &end| splitmix64(hash ^ end));
    let hundredth = u32::try_from(hash % 100).unwrap_or(0);
    f64::from(hundredth) < fault.rate * 100.0
}

const fn number(endpoint: Endpoint) -> u64 {
    match endpoint {
        Endpoint::Node(node) => 1 << 32 | node as u64,
        Endpoint::Pod(pod) => 2 << 32 | pod as u64,
        Endpoint::Outside => 3 << 32,
    }
}

/// What answers echo requests is the kernel: who says server of it means that.
fn means_echo(component: Component, pattern: Pattern) -> Option<Endpoint> {
    let echo = pattern.carrier == Some(Carrier::Icmp) || pattern.kind == Some(ProbeKind::Icmp);
    match component {
        Component::Server { endpoint, service: None } if echo => Some(endpoint),
        _ => None,
    }
}

/// Steps of a way on which a cause loses packets of a flow.
pub fn lossy<'a>(
    topology: &'a Topology,
    (component, heading, pattern): (Component, Heading, Pattern),
    flow: &'a Flow,
    way: &'a Way,
) -> impl Iterator<Item = usize> + 'a {
    let meant = means(pattern, flow.class);
    let echo = means_echo(component, pattern);
    let on = move |at: &usize| {
        let step = &way.steps[*at];
        let answers = echo.is_some_and(|of| step.part == Part::Stack(of) && !step.out && !step.reply);
        meant && (answers || hits(topology, component, heading, step))
    };
    (0..way.steps.len()).filter(on)
}

/// What faults do to a flow.
pub fn run(topology: &Topology, faults: &[Fault], flow: &Flow, rng: &mut Rng) -> Vec<Lost> {
    let way = way_of(topology, flow);
    let mut met: Vec<(usize, usize)> = Vec::new();
    for (number, fault) in faults.iter().enumerate() {
        met.extend(
            lossy(topology, (fault.component, fault.heading, fault.pattern), flow, &way)
                .map(|at| (at, number)),
        );
    }
    met.sort_unstable();
    let mut left = flow.probes;
    let mut all = Vec::new();
    for (step, number) in met {
        let fault = &faults[number];
        let probes = lost(fault, flow, left, way.steps[step].reply, rng);
        if probes == 0 {
            continue;
        }
        left -= probes;
        let loss = reported_of(topology, &way, step, fault, rng);
        let (said, direction, end, hooks) = (loss.said, loss.direction, loss.end, loss.hooks);
        all.push(Lost { fault: number, step, probes, hooks, said, direction, end });
    }
    all
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a small number")]
fn lost(fault: &Fault, flow: &Flow, left: u32, reply: bool, rng: &mut Rng) -> u32 {
    let before = (f64::from(flow.probes) * fault.before) as u32;
    let after = left.saturating_sub(before);
    if fault.pattern.by_port {
        return if unlucky(flow, fault, reply) { after } else { 0 };
    }
    if fault.pattern.partial { rng.binomial(after, fault.rate) } else { after }
}

/// The hooks between which a packet was lost: the last that saw it, the first that should have.
#[must_use]
pub fn window(topology: &Topology, way: &Way, hooks: usize) -> (Option<usize>, Option<usize>) {
    let sees = |at: &usize| sees(topology, way.hooks[*at].node);
    ((0..hooks).rev().find(sees), (hooks..way.hooks.len()).find(sees))
}

fn sees(topology: &Topology, node: NodeIx) -> bool {
    matches!(topology.nodes[node as usize].visibility, Visibility::Full | Visibility::Interfaces)
}

/// What is reported of a loss.
struct Reported {
    said: Said,
    direction: Option<Direction>,
    end: End,
    hooks: usize,
}

fn reported_of(topology: &Topology, way: &Way, step: usize, fault: &Fault, rng: &mut Rng) -> Reported {
    let at = way.steps[step];
    let direction = Some(if at.reply { Direction::Reply } else { Direction::Request });
    let known = |said, end| Reported { said, direction, end, hooks: at.hooks };
    let report = |report: &Report, rng: &mut Rng| match dropped(topology, way, step, report, rng) {
        Some(place) => known(Said::Here(*report), End::Dropped(place)),
        None => silent(topology, way, at.hooks),
    };
    match fault.manner {
        Manner::Dropped(reported) => report(&reported, rng),
        Manner::AtReceiver(reported) => {
            at_receiver(topology, way, step, &reported).unwrap_or_else(|| silent(topology, way, at.hooks))
        }
        Manner::Answered(answer) if !at.reply => {
            let by = answers(topology, at.part, answer);
            known(Said::Answered(answer), End::Answered { by, answer })
        }
        // Who sent the reply hears of it, not who waits for it.
        Manner::Answered(Answer::Unreachable) => report(&ROUTE, rng),
        Manner::NotSent(errno) if step == 0 => known(Said::NotSent, End::NotSent(errno.into())),
        Manner::NotSent(_) | Manner::Answered(_) => report(&RULE, rng),
        Manner::Strays => {
            let leaves =
                way.steps[step..].iter().find(|next| matches!(next.part, Part::Wire { .. }) && !next.reply);
            silent(topology, way, leaves.map_or(at.hooks, |wire| wire.hooks))
        }
        Manner::Gone => {
            let loss = gone(topology, way, at.part);
            loss.unwrap_or_else(|| Reported {
                direction,
                ..silent(topology, way, before_the_last_bridge(way))
            })
        }
        Manner::Silent => silent(topology, way, at.hooks),
    }
}

/// How many hooks a request passes until it has arrived on its target's node.
fn before_the_last_bridge(way: &Way) -> usize {
    way.hooks.iter().filter(|hook| !hook.reply).count().saturating_sub(2)
}

/// The node of an endpoint that is gone finds no neighbour of its address.
fn gone(topology: &Topology, way: &Way, part: Part) -> Option<Reported> {
    let Part::Translation { backend, .. } = part else { return None };
    let node = topology.node_of(backend)?;
    if topology.nodes[node as usize].visibility != Visibility::Full {
        return None;
    }
    let why = [NEIGHBOUR.reason, NEIGHBOUR.functions[0]];
    let place = place(node, None, NEIGHBOUR.into, Some(Role::Bridge), why);
    Some(Reported {
        said: Said::Here(NEIGHBOUR),
        direction: Some(Direction::Request),
        end: End::Dropped(place),
        hooks: before_the_last_bridge(way),
    })
}

/// What is known of a packet that is gone after so many hooks, where no kernel says so.
fn silent(topology: &Topology, way: &Way, hooks: usize) -> Reported {
    let (direction, end) = last_seen(topology, way, hooks);
    Reported { said: if end == End::Unknown { Said::Unknown } else { Said::Silent }, direction, end, hooks }
}

fn last_seen(topology: &Topology, way: &Way, hooks: usize) -> (Option<Direction>, End) {
    let (last, next) = window(topology, way, hooks);
    let Some(last) = last else { return never_seen(topology, way, next) };
    let hook = way.hooks[last];
    let missing = next.map(|next| way.hooks[next].node).filter(|&node| node != hook.node);
    let direction = match next {
        _ if hook.reply => Some(Direction::Reply),
        Some(next) if !way.hooks[next].reply => Some(Direction::Request),
        _ => None,
    };
    let at = place(hook.node, None, hook.stage, Some(hook.role), ["", ""]);
    (direction, End::LastSeen { at, missing })
}

/// No hook saw it. Where the source's node would have, it never came so far.
fn never_seen(topology: &Topology, way: &Way, next: Option<usize>) -> (Option<Direction>, End) {
    let source = match way.steps.first().map(|step| step.part) {
        Some(Part::Stack(source)) => source,
        _ => Endpoint::Outside,
    };
    let node = topology.node_of(source);
    match (node, next) {
        (Some(node), Some(0)) if way.hooks[0].node == node && sees(topology, node) => {
            let at = place(node, pod(source), Stage::Send, None, ["", ""]);
            (Some(Direction::Request), End::LastSeen { at, missing: None })
        }
        _ => (None, End::Unknown),
    }
}

const fn pod(endpoint: Endpoint) -> Option<PodIx> {
    match endpoint {
        Endpoint::Pod(pod) => Some(pod),
        _ => None,
    }
}

fn place(node: NodeIx, pod: Option<PodIx>, stage: Stage, interface: Option<Role>, why: [&str; 2]) -> Place {
    Place { node, pod, stage, interface, reason: why[0].into(), function: why[1].into() }
}

/// Where the kernel at a step reports; none where nobody hears it.
fn dropped(topology: &Topology, way: &Way, step: usize, report: &Report, rng: &mut Rng) -> Option<Place> {
    let at = way.steps[step];
    let (node, pod) = match at.part {
        // Nobody answers for a service: who translates its address says so.
        Part::Server { endpoint: Endpoint::Outside, .. } => match way.steps[0].part {
            Part::Stack(source) => (topology.node_of(source)?, None),
            _ => return None,
        },
        Part::Stack(endpoint) | Part::Server { endpoint, .. } => (topology.node_of(endpoint)?, pod(endpoint)),
        Part::PodLink(pod) | Part::Hairpin(pod) => (topology.pods[pod as usize].node, None),
        Part::Forwarding { node, .. }
        | Part::Transit(node)
        | Part::Translation { node, .. }
        | Part::TunnelEnd(node)
        | Part::Uplink(node) => (node, None),
        Part::Wire { .. } | Part::Secondary(_) => return None,
    };
    if topology.nodes[node as usize].visibility != Visibility::Full {
        return None;
    }
    let into = !at.out;
    // A pod's link and a bridge are left by what goes into the pod.
    let link = matches!(at.part, Part::PodLink(_) | Part::Hairpin(_));
    let mut stage = if into == link { report.out } else { report.into };
    let nodes_own =
        matches!(way.steps[0].part, Part::Stack(Endpoint::Node(source)) if source == node) && !at.reply;
    if nodes_own && stage == Stage::NetfilterPrerouting {
        stage = Stage::NetfilterOutput;
    }
    // Not every kernel function knows the interface.
    let role = report.role.filter(|_| matches!(stage, Stage::Egress | Stage::Ingress) || rng.percent(70));
    Some(place(node, pod, stage, role, [report.reason, report.functions[rng.below(2)]]))
}

/// What the node reports on which a packet leaves the tunnel that a step begins or ends.
fn at_receiver(topology: &Topology, way: &Way, step: usize, report: &Report) -> Option<Reported> {
    let at = way.steps[step];
    let exit = way.steps[step..].iter().find(|next| matches!(next.part, Part::TunnelEnd(_)) && !next.out)?;
    let Part::TunnelEnd(node) = exit.part else { return None };
    if topology.nodes[node as usize].visibility != Visibility::Full {
        return Some(silent(topology, way, exit.hooks));
    }
    let place = place(node, None, report.into, report.role, [report.reason, report.functions[0]]);
    let direction = Some(if at.reply { Direction::Reply } else { Direction::Request });
    Some(Reported { said: Said::Receiver, direction, end: End::Dropped(place), hooks: exit.hooks })
}

fn answers(topology: &Topology, part: Part, answer: Answer) -> Option<Endpoint> {
    match part {
        Part::Server { endpoint: Endpoint::Outside, .. } => None,
        Part::Stack(endpoint) | Part::Server { endpoint, .. } => Some(endpoint),
        Part::Forwarding { node, .. } | Part::Translation { node, .. } => Some(Endpoint::Node(node)),
        Part::PodLink(pod) if answer == Answer::Unreachable => {
            topology.node_of(Endpoint::Pod(pod)).map(Endpoint::Node)
        }
        _ => None,
    }
}
