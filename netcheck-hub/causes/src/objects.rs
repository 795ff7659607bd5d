//! Components that bad groups cross, each with a number, found again in an array rather than by hashing wherever there is
//! one for each pod, node or zone.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::cause::{Component, Extent};
use crate::scope::{both_ways, lifts};
use crate::topology::Topology;
use crate::way::Step;

const NONE: u32 = u32::MAX;

/// Objects of which a step of a way is a part: looked up once for each component.
#[derive(Debug)]
pub(crate) struct Lifted<'a> {
    topology: &'a Topology,
    objects: &'a Objects,
    /// By the place of a component in its least extent.
    lists: Vec<Option<Box<[u32]>>>,
}

impl<'a> Lifted<'a> {
    pub(crate) fn new(topology: &'a Topology, objects: &'a Objects) -> Self {
        Self { topology, objects, lists: vec![None; objects.dense.len()] }
    }

    /// Each object of which this step is a part.
    pub(crate) fn each(&mut self, step: &Step, to: &mut impl FnMut(u32)) {
        let slot = match step.component {
            Component::Wire { .. } | Component::Tunnel { .. } => None,
            component => self.objects.sizes.slot(component),
        };
        let Some(slot) = slot else {
            match step.component {
                Component::Wire { from: Extent::Node(from), to: Extent::Node(into) } => {
                    self.pair(0, from, into, to);
                }
                Component::Tunnel { from: Extent::Node(from), to: Extent::Node(into) } => {
                    self.pair(1, from, into, to);
                }
                _ => lifts(self.topology, step, &mut |component| {
                    if let Some(object) = self.objects.find(both_ways(component)) {
                        to(object);
                    }
                }),
            }
            return;
        };
        if self.lists[slot].is_none() {
            let mut list = Vec::new();
            lifts(self.topology, step, &mut |component| list.extend(self.objects.find(both_ways(component))));
            self.lists[slot] = Some(list.into());
        }
        for &object in self.lists[slot].iter().flat_map(|list| list.iter()) {
            to(object);
        }
    }
}

impl Lifted<'_> {
    /// What is between two nodes, for the most frequent step of all: what `lifts` finds, without making it.
    fn pair(&self, kind: usize, from: u32, into: u32, to: &mut impl FnMut(u32)) {
        let Objects { sizes, dense, sparse, paired, .. } = self.objects;
        let mut found = |number: u32| {
            if number != NONE {
                to(number);
            }
        };
        let zones = (self.topology.zone_of(from), self.topology.zone_of(into));
        if let Some(zone) = zones.1 {
            found(dense[sizes.mixed(kind, from, zone)]);
        }
        if let Some(zone) = zones.0 {
            found(dense[sizes.mixed(kind, into, zone)]);
        }
        if let (Some(one), Some(other)) = zones {
            found(dense[sizes.zones_of(kind, one.min(other), one.max(other))]);
        }
        if paired[from as usize] && paired[into as usize] {
            let (from, into) = (Extent::Node(from.min(into)), Extent::Node(from.max(into)));
            let component = if kind == 0 {
                Component::Wire { from, to: into }
            } else {
                Component::Tunnel { from, to: into }
            };
            found(sparse.get(&component).copied().unwrap_or(NONE));
        }
    }
}

/// Components by number. A wire or tunnel has one number for both directions.
#[derive(Debug)]
pub(crate) struct Objects {
    sizes: Sizes,
    dense: Vec<u32>,
    sparse: HashMap<Component, u32, FixedState>,
    /// Nodes of which a pair has a number.
    paired: Vec<bool>,
    pub(crate) count: u32,
}

#[derive(Clone, Copy, Debug)]
struct Sizes {
    pods: usize,
    nodes: usize,
    zones: usize,
    services: usize,
}

impl Objects {
    pub(crate) fn new(topology: &Topology) -> Self {
        let sizes = Sizes {
            pods: topology.pods.len(),
            nodes: topology.nodes.len(),
            zones: topology.zones.len(),
            services: topology.services.len(),
        };
        let dense = vec![NONE; sizes.mixed_pairs() + 2 * sizes.nodes * sizes.zones];
        Self { sizes, dense, sparse: HashMap::default(), paired: vec![false; sizes.nodes], count: 0 }
    }

    /// Its number; a new one for what has none.
    pub(crate) fn intern(&mut self, component: Component) -> u32 {
        if let Component::Wire { from, to } | Component::Tunnel { from, to } = component {
            for end in [from, to] {
                if let Extent::Node(node) = end {
                    self.paired[node as usize] = true;
                }
            }
        }
        let number = match self.sizes.slot(component) {
            Some(slot) => &mut self.dense[slot],
            None => self.sparse.entry(component).or_insert(NONE),
        };
        if *number == NONE {
            *number = self.count;
            self.count += 1;
        }
        *number
    }

    /// Its number, if a bad group crosses it.
    pub(crate) fn find(&self, component: Component) -> Option<u32> {
        let number = match self.sizes.slot(component) {
            Some(slot) => self.dense[slot],
            None if self.sparse.is_empty() => return None,
            None => *self.sparse.get(&component)?,
        };
        (number != NONE).then_some(number)
    }
}

impl Sizes {
    const fn of_nodes(self) -> usize {
        5 * self.pods
    }

    const fn of_zones(self) -> usize {
        self.of_nodes() + 8 * self.nodes
    }

    const fn of_all(self) -> usize {
        self.of_zones() + 6 * self.zones
    }

    const fn of_services(self) -> usize {
        self.of_all() + 7
    }

    const fn zone_pairs(self) -> usize {
        self.of_services() + self.services
    }

    const fn mixed_pairs(self) -> usize {
        self.zone_pairs() + 2 * self.zones * self.zones
    }

    const fn zones_of(self, kind: usize, from: u32, to: u32) -> usize {
        self.zone_pairs() + (kind * self.zones + from as usize) * self.zones + to as usize
    }

    const fn mixed(self, kind: usize, node: u32, zone: u32) -> usize {
        self.mixed_pairs() + (kind * self.nodes + node as usize) * self.zones + zone as usize
    }

    fn slot(self, component: Component) -> Option<usize> {
        let zones = |kind: usize, from: u32, to: u32| Some(self.zones_of(kind, from, to));
        let mixed = |kind: usize, node: u32, zone: u32| Some(self.mixed(kind, node, zone));
        match component {
            Component::Wire { from: Extent::Node(node), to: Extent::Zone(zone) } => mixed(0, node, zone),
            Component::Tunnel { from: Extent::Node(node), to: Extent::Zone(zone) } => mixed(1, node, zone),
            Component::Stack(extent) => Some(self.place(0, extent)),
            Component::PodLink(extent) => Some(self.place(1, extent)),
            Component::Hairpin(extent) => Some(self.place(2, extent)),
            Component::Forwarding(extent) => Some(self.place(3, extent)),
            Component::TunnelEnd(extent) => Some(self.place(4, extent)),
            Component::Uplink(extent) => Some(self.place(5, extent)),
            Component::Node(node) => Some(self.of_nodes() + 7 * self.nodes + node as usize),
            Component::Cluster => Some(self.of_all() + 6),
            Component::Service(service) => Some(self.of_services() + service as usize),
            Component::Wire { from: Extent::Zone(from), to: Extent::Zone(to) } => zones(0, from, to),
            Component::Tunnel { from: Extent::Zone(from), to: Extent::Zone(to) } => zones(1, from, to),
            _ => None,
        }
    }

    /// The place of one of six kinds of components. Only stacks are distinguished by nodes and pods of nodes.
    const fn place(self, kind: usize, extent: Extent) -> usize {
        match extent {
            Extent::Pod(pod) => {
                // Tunnels' ends and uplinks have no pods; the fifth row is never used by both.
                let row = if kind > 4 { 4 } else { kind };
                row * self.pods + pod as usize
            }
            Extent::PodsOf(node) if kind == 0 => self.of_nodes() + 6 * self.nodes + node as usize,
            Extent::PodsOf(node) | Extent::Node(node) => self.of_nodes() + kind * self.nodes + node as usize,
            Extent::Zone(zone) => self.of_zones() + kind * self.zones + zone as usize,
            Extent::All => self.of_all() + kind,
        }
    }
}
