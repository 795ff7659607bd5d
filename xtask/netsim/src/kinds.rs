//! The kinds of faults, drawn at random.

use netcheck_causes::{Carrier, Component, Extent, Heading, NodeIx, Pattern, PodIx, ServiceIx, Topology};
use netcheck_common::domain::Family;

use crate::cluster::Flow;
use crate::fault::{Fault, Manner};
use crate::rng::Rng;

mod between;
mod nodes;
mod services;

/// What faults are drawn for.
pub(crate) struct DrawInput<'a> {
    /// The cluster.
    pub(crate) topology: &'a mut Topology,
    /// What is probed in it.
    pub(crate) flows: &'a mut Vec<Flow>,
    /// Where numbers come from.
    pub(crate) rng: &'a mut Rng,
}

/// Draws one kind of fault; none where the cluster has no such thing.
pub(crate) type Draw = fn(&mut DrawInput<'_>) -> Option<Fault>;

/// All kinds, and how often they are drawn.
const KINDS: &[(u32, Draw)] = &[
    (6, nodes::pod_stack),
    (6, nodes::pod_link),
    (5, nodes::bridge),
    (3, nodes::bridge_mtu),
    (6, nodes::node_stack),
    (6, nodes::forwarding),
    (4, nodes::blackhole),
    (5, services::translation),
    (3, services::gone_endpoint),
    (5, between::tunnel_end),
    (3, between::stale_forwarding_entry),
    (5, between::tunnel_of_zones),
    (8, between::wire),
    (7, between::uplink),
    (3, between::stolen_address),
    (3, between::large_frames),
    (4, nodes::node_down),
    (6, services::server),
    (4, services::service),
    (3, services::hairpin),
    (3, nodes::new_flows),
    (3, nodes::conntrack_full),
    (2, between::secondary),
    (3, services::no_backend),
    (3, between::tunnel_of_two),
    (3, between::tunnel_mtu),
    (2, between::no_tunnels),
    (2, nodes::echo_off),
    (3, services::port_of_node),
    (2, nodes::bridge_rule),
    (2, nodes::kind_denied),
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
    between::wire
}

fn fault(kind: &'static str, component: Component, heading: Heading, manner: Manner) -> Fault {
    Fault { kind, component, heading, pattern: Pattern::default(), manner, rate: 1.0, before: 0.0 }
}

impl DrawInput<'_> {
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
    fn pattern(&mut self, mut fault: Fault) -> Fault {
        let pattern = &mut fault.pattern;
        match self.rng.below(20) {
            0..2 => pattern.carrier = self.rng.pick(&[Carrier::Icmp, Carrier::Udp, Carrier::Tcp]).copied(),
            2 => pattern.family = self.rng.pick(&[Family::V4, Family::V6]).copied(),
            3 => pattern.full_size = true,
            4 => pattern.fresh = Some(true),
            5..8 => {
                pattern.partial = true;
                fault.rate = f64::from(self.rng.between(5, 95)) / 100.0;
            }
            8 => {
                pattern.carrier = self.rng.pick(&[Carrier::Icmp, Carrier::Udp, Carrier::Tcp]).copied();
                pattern.family = self.rng.pick(&[Family::V4, Family::V6]).copied();
            }
            9 => pattern.fresh = Some(false),
            _ => {}
        }
        fault
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
