//! A case: a cluster, what is broken in it, and what the hub gets.

use std::collections::BTreeMap;

use netcheck_causes::{Class, Component, End, Extent, Group, Pattern, Topology, Visibility};
use netcheck_common::hash::splitmix64;

use crate::cluster::{self, Flow};
use crate::fault::Fault;
use crate::hearsay;
use crate::judge;
use crate::kinds::{self, DrawInput};
use crate::observe::{self, Lost, Said};
use crate::rng::Rng;

/// So many clusters are tried for a seed before it is given up: most have what a drawn fault needs.
const TRIES: u64 = 200;
/// Losses of a fault of which nothing else can be made than chance.
const FEW: u32 = 2;
/// Losses that a fault needs that loses a part of its packets.
const ENOUGH: u32 = 12;
/// Groups with more than a few, if it has so many.
const CLEAR: usize = 3;
/// Source ports that a fault of some ports needs to have lost.
const PORTS: usize = 4;

/// A cluster, what is broken, and what the hub gets.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it was drawn from.
    pub seed: u64,
    /// How many faults were drawn; the truth has less where one hides another.
    pub drawn: usize,
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
        let mut rng = Rng::new(splitmix64(seed) ^ faults as u64);
        let kind = kinds::any(&mut rng);
        for _ in 0..TRIES {
            if let Some(case) = attempt(seed, (faults, kind), &mut rng) {
                return case;
            }
        }
        panic!("no cluster shows {faults} faults for seed {seed}");
    }
}

/// Draws a cluster and what is broken in it: one fault of a kind, the others of any.
fn attempt(seed: u64, (faults, kind): (usize, kinds::Draw), rng: &mut Rng) -> Option<Case> {
    let (mut topology, mut flows) = cluster::draw(rng);
    let mut truth = Vec::new();
    for number in 0..faults {
        let kind = if number == 0 { kind } else { kinds::any(rng) };
        truth.push(kind(&mut DrawInput { topology: &mut topology, flows: &mut flows, rng })?);
    }
    keep_gone(&topology, &mut flows, &truth);
    if let [fault] = &mut truth[..]
        && !fault.pattern.partial
        && !fault.pattern.by_port
        && rng.percent(6)
    {
        fault.before = f64::from(rng.between(10, 50)) / 100.0;
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
    forget(&topology, &flows, &mut lost, (late, rng));
    if flows.len() < 3 || !(0..faults).all(|fault| lost_any(&topology, &truth[fault], &flows)) {
        return None;
    }
    let mut case = Case { seed, drawn: faults, topology, groups: Vec::new(), truth, flows, lost };
    judge::prune(&mut case);
    if !(0..case.truth.len()).all(|fault| shows(&case, fault)) {
        return None;
    }
    case.groups = hearsay::groups(&case, rng);
    Some(case)
}

/// Whether anything crosses a fault.
fn lost_any(topology: &Topology, fault: &Fault, flows: &[Flow]) -> bool {
    flows.iter().any(|flow| {
        let cause = (fault.component, fault.heading, fault.pattern);
        observe::lossy(topology, cause, flow, &observe::way_of(topology, flow)).next().is_some()
    })
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

/// Whether the hub gets enough of a fault that anybody could distinguish it from chance.
fn shows(case: &Case, fault: usize) -> bool {
    let mut by_group: BTreeMap<usize, u32> = BTreeMap::new();
    for (at, lost) in case.lost.iter().enumerate() {
        for lost in lost.iter().filter(|lost| lost.fault == fault) {
            *by_group.entry(at).or_default() += lost.probes;
        }
    }
    let total: u32 = by_group.values().sum();
    let clear = by_group.values().filter(|&&lost| lost > FEW).count();
    let pattern = case.truth[fault].pattern;
    let partly = total >= ENOUGH && clear >= by_group.len().min(CLEAR);
    clear > 0 && (!pattern.partial || partly) && (!pattern.by_port || by_group.len() >= PORTS)
}

/// An agent that the fault cuts off from the hub is not heard.
fn cut_off(topology: &mut Topology, truth: &[Fault], rng: &mut Rng) {
    let hub = rng.index(topology.nodes.len());
    let hubs_zone = topology.zone_of(hub);
    for fault in truth {
        let whole = fault.pattern == Pattern::default();
        let part = rng.percent(50);
        let cut: Vec<u32> = (0..u32::try_from(topology.nodes.len()).unwrap_or(0))
            .filter(|&node| match fault.component {
                Component::Node(of) => of == node,
                Component::Uplink(Extent::Node(of)) | Component::Stack(Extent::Node(of)) => {
                    whole && part && of == node && node != hub
                }
                Component::Wire { from: Extent::Zone(from), to: Extent::Zone(to) } if from != to => {
                    let zone = topology.zone_of(node);
                    let beyond = hubs_zone == Some(from) && zone == Some(to)
                        || hubs_zone == Some(to) && zone == Some(from);
                    whole && part && beyond
                }
                _ => false,
            })
            .collect();
        for node in cut {
            topology.nodes[node as usize].visibility = Visibility::Silent;
        }
    }
}

/// Where a fault loses some source ports, probes are distinguished by their ports.
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
fn forget(topology: &Topology, flows: &[Flow], lost: &mut [Vec<Lost>], (percent, rng): (u32, &mut Rng)) {
    for (flow, lost) in flows.iter().zip(lost) {
        let way = observe::way_of(topology, flow);
        let chosen = observe::chosen(topology, flow, &way);
        for lost in lost {
            if flow.anonymous
                && let End::Answered { by, .. } = &mut lost.end
            {
                *by = None;
            }
            let by_kernels = !matches!(lost.said, Said::Answered(_) | Said::NotSent);
            let unknown =
                flow.anonymous && chosen.is_some_and(|at| lost.step > at || lost.hooks > way.steps[at].hooks);
            if by_kernels && (unknown || rng.percent(percent)) {
                lost.said = Said::Unknown;
                lost.direction = None;
                lost.end = End::Unknown;
            }
        }
    }
}
