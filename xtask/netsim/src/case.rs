//! A case: a cluster, what is broken in it, and what the hub gets.

use std::collections::BTreeMap;

use netcheck_causes::{
    Class, Component, Direction, End, Endpoint, Extent, Group, Loss, Target, Topology, Visibility,
};

use crate::cluster::{self, Flow};
use crate::fault::Fault;
use crate::judge;
use crate::kinds::{self, Scene};
use crate::observe::{self, Lost, Said};
use crate::rng::Rng;

/// So many clusters are tried for a seed before it is given up: most have what a drawn fault needs.
const TRIES: u64 = 200;
/// Losses of a fault of which nothing else can be made than chance.
const FEW: u32 = 2;
/// Losses that a fault needs that loses a part of its packets.
const ENOUGH: u32 = 12;

/// A cluster, what is broken, and what the hub gets.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it was drawn from.
    pub seed: u64,
    /// What the hub knows of the cluster.
    pub topology: Topology,
    /// What the hub knows of the probes.
    pub groups: Vec<Group>,
    /// What is broken, as far as anything shows it.
    pub truth: Vec<Fault>,
    /// What was probed.
    pub flows: Vec<Flow>,
    /// What became of it, by flow.
    pub lost: Vec<Vec<Lost>>,
}

impl Case {
    /// Draws one with so many faults. A fault that another one hides altogether is not among its truth.
    ///
    /// # Panics
    /// If no cluster of many has faults that show: the kinds of faults are wrong then.
    #[must_use]
    pub fn draw(seed: u64, faults: usize) -> Self {
        for attempt in 0..TRIES {
            let mut rng = Rng::new(seed.wrapping_mul(TRIES).wrapping_add(attempt));
            if let Some(case) = attempt_draw(seed, faults, &mut rng) {
                return case;
            }
        }
        panic!("no cluster shows {faults} faults for seed {seed}");
    }
}

fn attempt_draw(seed: u64, faults: usize, rng: &mut Rng) -> Option<Case> {
    let (mut topology, mut flows) = cluster::draw(rng);
    let mut truth = Vec::new();
    for _ in 0..faults {
        truth.push(kinds::draw(&mut Scene { topology: &topology, flows: &flows, rng })?);
    }
    keep_gone(&topology, &mut flows, &truth);
    for fault in &mut truth {
        if !fault.pattern.partial && !fault.pattern.by_port && rng.percent(6) {
            fault.before = f64::from(rng.between(10, 50)) / 100.0;
        }
    }
    cut_off(&mut topology, &truth, rng);
    let silent = |flow: &Flow| {
        topology
            .node_of(flow.source)
            .is_some_and(|node| topology.nodes[node as usize].visibility == Visibility::Silent)
    };
    flows.retain(|flow| !silent(flow));
    let flows = by_port(&topology, flows, &truth);
    let late = if rng.percent(15) { rng.between(20, 100) } else { 0 };
    let mut lost: Vec<Vec<Lost>> =
        flows.iter().map(|flow| observe::run(&topology, &truth, flow, rng)).collect();
    forget(&mut lost, late, rng);
    if flows.len() < 3 {
        return None;
    }
    let mut case = Case { seed, topology, groups: Vec::new(), truth, flows, lost };
    judge::prune(&mut case);
    if case.truth.len() < faults.min(1) || !(0..case.truth.len()).all(|fault| shows(&case, fault)) {
        return None;
    }
    case.groups = groups(&case, rng);
    Some(case)
}

/// A gone endpoint is met where a node's translation has it, and only where that is the fault.
fn keep_gone(topology: &Topology, flows: &mut Vec<Flow>, truth: &[Fault]) {
    let stale = |flow: &Flow| {
        truth.iter().any(|fault| match fault.component {
            Component::Translation { by: Extent::Node(node), service, backend }
                if fault.kind == "gone endpoint" =>
            {
                flow.target.service == Some(service)
                    && flow.target.endpoint == backend
                    && topology.node_of(flow.source) == Some(node)
            }
            _ => false,
        })
    };
    flows.retain(|flow| !observe::is_gone(topology, flow) || stale(flow));
}

/// Whether the hub gets enough of a fault that anybody could tell it from chance.
fn shows(case: &Case, fault: usize) -> bool {
    let mut by_group: BTreeMap<usize, u32> = BTreeMap::new();
    for (at, lost) in case.lost.iter().enumerate() {
        for lost in lost.iter().filter(|lost| lost.fault == fault) {
            *by_group.entry(at).or_default() += lost.probes;
        }
    }
    let total: u32 = by_group.values().sum();
    let most = by_group.values().copied().max().unwrap_or(0);
    let partial = case.truth[fault].pattern.partial;
    most > FEW && (!partial || total >= ENOUGH)
}

/// An agent that the fault cuts off from the hub is not heard.
fn cut_off(topology: &mut Topology, truth: &[Fault], rng: &mut Rng) {
    for fault in truth {
        let whole = fault.pattern == netcheck_causes::Pattern::default();
        let node = match fault.component {
            Component::Node(node) => node,
            Component::Uplink(Extent::Node(node)) | Component::Stack(Extent::Node(node))
                if whole && rng.percent(50) =>
            {
                node
            }
            _ => continue,
        };
        topology.nodes[node as usize].visibility = Visibility::Silent;
    }
}

/// Where a fault loses some source ports, probes are told apart by their ports.
fn by_port(topology: &Topology, flows: Vec<Flow>, truth: &[Fault]) -> Vec<Flow> {
    let ported: Vec<&Fault> = truth.iter().filter(|fault| fault.pattern.by_port).collect();
    let mut all = Vec::with_capacity(flows.len());
    for flow in flows {
        let way = observe::way_of(topology, &flow);
        let split = ported.iter().any(|fault| {
            let cause = (fault.component, fault.heading, fault.pattern);
            observe::lossy(topology, cause, &flow, &way).next().is_some()
        });
        if split {
            for port in 0..4_u16 {
                let class = Class { source_port: Some(40_000 + port * 7), ..flow.class };
                all.push(Flow { class, probes: (flow.probes / 4).max(3), ..flow });
            }
        } else {
            all.push(flow);
        }
    }
    all
}

/// What is not known yet, or never will be.
fn forget(lost: &mut [Vec<Lost>], percent: u32, rng: &mut Rng) {
    for lost in lost.iter_mut().flatten() {
        let by_kernels = !matches!(lost.said, Said::Answered(_) | Said::NotSent);
        if by_kernels && rng.percent(percent) {
            lost.said = Said::Unknown;
            lost.direction = None;
            lost.end = End::Unknown;
        }
    }
}

type Key = (Endpoint, Target, Class);

fn groups(case: &Case, rng: &mut Rng) -> Vec<Group> {
    let mut groups: BTreeMap<Key, Group> = BTreeMap::new();
    for (flow, lost) in case.flows.iter().zip(&case.lost) {
        let sum: u32 = lost.iter().map(|lost| lost.probes).sum();
        let known = flow.target.service.is_none() || rng.percent(90);
        group(&mut groups, flow, flow.target).answered += flow.probes - sum;
        for lost in lost {
            let strayed = lost.said == Said::Unknown && !known;
            let target = if strayed { Target { endpoint: None, ..flow.target } } else { flow.target };
            let group = group(&mut groups, flow, target);
            group.lost += lost.probes;
            add(&mut group.losses, lost.probes, lost.direction, &lost.end);
        }
    }
    let mut groups: Vec<Group> = groups.into_values().filter(|it| it.answered + it.lost > 0).collect();
    for group in &mut groups {
        noise(&case.topology, group, rng);
    }
    rng.shuffle(&mut groups);
    groups
}

fn group<'a>(groups: &'a mut BTreeMap<Key, Group>, flow: &Flow, target: Target) -> &'a mut Group {
    let empty =
        Group { source: flow.source, target, class: flow.class, answered: 0, lost: 0, losses: Vec::new() };
    groups.entry((flow.source, target, flow.class)).or_insert(empty)
}

fn add(losses: &mut Vec<Loss>, probes: u32, direction: Option<Direction>, end: &End) {
    match losses.iter_mut().find(|loss| loss.direction == direction && loss.end == *end) {
        Some(loss) => loss.probes += probes,
        None => losses.push(Loss { probes, direction, end: end.clone() }),
    }
}

/// A stray loss in a healthy group.
fn noise(_: &Topology, group: &mut Group, rng: &mut Rng) {
    if group.lost == 0 && group.answered > 5 && rng.below(200) == 0 {
        group.answered -= 1;
        group.lost = 1;
    }
}
