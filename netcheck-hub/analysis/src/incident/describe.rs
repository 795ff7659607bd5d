//! A cause by components: the key that names it, its kind, and the location that stands for it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use netcheck_causes::{
    Carrier, Cause, Component, Endpoint, Extent, Heading, NodeIx, Pattern, PodIx, ServiceIx, Topology,
};
use netcheck_common::domain::{Family, ProbeKind};

use super::headline::Headline;
use super::{Fact, place, symptoms};
use crate::model::incident::IncidentKind;
use crate::model::location::{Certainty, Location};
use crate::model::target::TargetKind;
use crate::model::verdict::Verdict;
use crate::words::names::probe_name;

mod line;

/// One cause and the paths that it explains.
pub(super) struct Describe<'a> {
    pub(super) facts: &'a [Fact],
    pub(super) topology: &'a Topology,
    pub(super) cause: &'a Cause,
    pub(super) paths: &'a [usize],
}

/// Which packets, in words: `UDP over IPv6`; empty for all.
pub(super) fn packets(pattern: &Pattern) -> String {
    let carrier = pattern.carrier.map(|carrier| match carrier {
        Carrier::Icmp => ProbeKind::Icmp,
        Carrier::Udp => ProbeKind::Udp,
        Carrier::Tcp => ProbeKind::Tcp,
    });
    let family = pattern.family.map(|family| match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    });
    match (pattern.kind.or(carrier).map(probe_name), family) {
        (None, None) => String::new(),
        (Some(kind), None) => kind.to_owned(),
        (None, Some(family)) => family.to_owned(),
        (Some(kind), Some(family)) => format!("{kind} over {family}"),
    }
}

impl Describe<'_> {
    fn node(&self, node: NodeIx) -> &str {
        self.topology.nodes.get(node as usize).map_or("", |node| &node.name)
    }

    fn pod(&self, pod: PodIx) -> &str {
        self.topology.pods.get(pod as usize).map_or("", |pod| &pod.name)
    }

    fn service(&self, service: ServiceIx) -> &str {
        self.topology.services.get(service as usize).map_or("", |service| &service.name)
    }

    fn endpoint(&self, endpoint: Endpoint) -> String {
        match endpoint {
            Endpoint::Node(node) => self.node(node).to_owned(),
            Endpoint::Pod(pod) => self.pod(pod).to_owned(),
            Endpoint::Outside => "an address outside".to_owned(),
        }
    }

    fn extent(&self, extent: Extent) -> String {
        match extent {
            Extent::Pod(pod) => format!("pod {}", self.pod(pod)),
            Extent::PodsOf(node) => format!("the pods on {}", self.node(node)),
            Extent::Node(node) => self.node(node).to_owned(),
            Extent::Zone(zone) => format!("zone {}", self.zone(zone)),
            Extent::All => "every node".to_owned(),
        }
    }

    fn zone(&self, zone: u32) -> &str {
        self.topology.zones.get(zone as usize).map_or("", |zone| zone)
    }

    fn extent_key(&self, extent: Extent) -> String {
        match extent {
            Extent::Pod(pod) => format!("pod/{}", self.pod(pod)),
            Extent::PodsOf(node) | Extent::Node(node) => self.node(node).to_owned(),
            Extent::Zone(zone) => self.zone(zone).to_owned(),
            Extent::All => "all".to_owned(),
        }
    }

    fn node_in(&self, extent: Extent) -> Option<NodeIx> {
        match extent {
            Extent::Node(node) | Extent::PodsOf(node) => Some(node),
            Extent::Pod(pod) => self.topology.node_of(Endpoint::Pod(pod)),
            Extent::Zone(_) | Extent::All => None,
        }
    }

    /// The node that a component is at, where it is at one.
    fn node_of(&self) -> Option<NodeIx> {
        let of = |extent| self.node_in(extent);
        match self.cause.component {
            Component::Node(node) => Some(node),
            Component::Stack(extent)
            | Component::PodLink(extent)
            | Component::Hairpin(extent)
            | Component::Forwarding(extent)
            | Component::TunnelEnd(extent)
            | Component::Uplink(extent) => of(extent),
            Component::Translation { by, .. } => of(by),
            Component::Server { endpoint, .. } => self.topology.node_of(endpoint),
            _ => None,
        }
    }

    /// The location of most of its losses: that it names, where they are at its node.
    fn location(&self) -> Option<&Location> {
        let everywhere = self.extents().contains(&Extent::All);
        let node = self.node_of();
        if matches!(self.cause.component, Component::Server { .. } | Component::Service(_)) {
            return None;
        }
        let mut counts: BTreeMap<(bool, &Location), u32> = BTreeMap::new();
        let mut located = 0;
        let symptoms = self.paths.iter().filter_map(|&at| self.facts[at].symptom.as_ref());
        for at in symptoms.filter_map(|symptom| symptom.at.as_ref()) {
            located += 1;
            *counts.entry((at.certainty == Certainty::Observed, at)).or_default() += 1;
        }
        let here = |at: &Location| node.map_or(everywhere, |node| at.node == self.node(node));
        let own: u32 = counts.iter().filter(|((_, at), _)| here(at)).map(|(_, count)| count).sum();
        let best = counts.iter().filter(|((_, at), _)| here(at));
        let (&(_, at), _) = best.max_by_key(|&(&(observed, at), &count)| {
            (observed, !place::last_seen(at), count, std::cmp::Reverse(at))
        })?;
        let proven = self.cause.certainty == netcheck_causes::Certainty::Observed;
        let named = at.stage != crate::model::location::Stage::Wire && (proven || own * 2 > located);
        (named && (proven || !everywhere)).then_some(at)
    }

    fn extents(&self) -> Vec<Extent> {
        match self.cause.component {
            Component::Stack(extent)
            | Component::PodLink(extent)
            | Component::Hairpin(extent)
            | Component::Forwarding(extent)
            | Component::TunnelEnd(extent)
            | Component::Uplink(extent)
            | Component::Translation { by: extent, .. } => vec![extent],
            Component::Tunnel { from, to } | Component::Wire { from, to } => vec![from, to],
            _ => Vec::new(),
        }
    }

    /// Names the cause, the same in every evaluation.
    pub(super) fn key(&self) -> String {
        let base = match self.location() {
            Some(at) if self.extents().contains(&Extent::All) => format!("place/all/{}", place::rule(at)),
            Some(at) => format!("place/{}", place::name(at).0),
            None => self.component_key(),
        };
        match packets(&self.cause.pattern) {
            packets if packets.is_empty() => base,
            packets => format!("{base} ({packets})"),
        }
    }

    fn component_key(&self) -> String {
        let between = |what: &str, from: Extent, to: Extent| {
            let (from, to) = (self.extent_key(from), self.extent_key(to));
            if self.cause.heading == Heading::Both {
                let (least, most) = if from < to { (from, to) } else { (to, from) };
                format!("{what}/{least}~{most}")
            } else {
                format!("{what}/{from}>{to}")
            }
        };
        let at = |what: &str, extent| format!("{what}/{}", self.extent_key(extent));
        match self.cause.component {
            Component::Server { endpoint, service: Some(service) } => {
                format!("backend/{}/{}", self.endpoint(endpoint), self.service(service))
            }
            Component::Server { endpoint, service: None } => format!("target/{}", self.endpoint(endpoint)),
            Component::Service(service) => format!("service/{}", self.service(service)),
            Component::Stack(extent) => at("stack", extent),
            Component::PodLink(extent) => at("pod-link", extent),
            Component::Hairpin(extent) => at("hairpin", extent),
            Component::Forwarding(extent) => at("pods", extent),
            Component::Translation { by, service, backend } => {
                let to = backend.map(|backend| format!("/{}", self.endpoint(backend))).unwrap_or_default();
                format!("translation/{}/{}{to}", self.extent_key(by), self.service(service))
            }
            Component::TunnelEnd(extent) => at("tunnel", extent),
            Component::Tunnel { from, to } => between("tunnel", from, to),
            Component::Uplink(extent) => at("uplink", extent),
            Component::Wire { from, to } => between("link", from, to),
            Component::Node(node) => format!("node/{}", self.node(node)),
            Component::Cluster | Component::SecondaryNetwork(_) => "everywhere".to_owned(),
        }
    }

    /// What kind of thing it is.
    pub(super) fn kind(&self) -> IncidentKind {
        if self.location().is_some() {
            return IncidentKind::Place;
        }
        let dns = self.targets().all(|fact| fact.path.probe.target.kind == TargetKind::DnsServer);
        let service = self.targets().all(|fact| fact.path.probe.target.kind == TargetKind::Service);
        match self.cause.component {
            Component::Server { .. } | Component::Service(_) if dns => IncidentKind::DnsServer,
            Component::Server { service: Some(_), .. } if self.spread() => IncidentKind::Backend,
            Component::Server { .. } | Component::Service(_) if service => IncidentKind::Service,
            Component::Translation { .. } => IncidentKind::Service,
            Component::Server { .. }
            | Component::Service(_)
            | Component::Stack(Extent::Pod(_))
            | Component::PodLink(Extent::Pod(_)) => IncidentKind::Target,
            Component::Stack(_) | Component::Uplink(_) | Component::Node(_) => IncidentKind::Node,
            Component::PodLink(_)
            | Component::Hairpin(_)
            | Component::Forwarding(_)
            | Component::TunnelEnd(_)
            | Component::SecondaryNetwork(_) => IncidentKind::PodNetwork,
            Component::Tunnel { .. } | Component::Wire { .. } if self.cause.heading == Heading::Both => {
                IncidentKind::Link
            }
            Component::Tunnel { .. } | Component::Wire { .. } => IncidentKind::OneWay,
            Component::Cluster => match (self.cause.pattern.kind, self.cause.pattern.family) {
                (Some(ProbeKind::Dns), _) => IncidentKind::DnsServer,
                _ if self.cause.pattern.carrier.is_some() || self.cause.pattern.kind.is_some() => {
                    IncidentKind::Protocol
                }
                (_, Some(_)) => IncidentKind::Family,
                _ => IncidentKind::Cluster,
            },
        }
    }

    /// The kind of probe that it is about alone, where it is.
    pub(super) fn probe_kind(&self) -> Option<ProbeKind> {
        let carrier = self.cause.pattern.carrier.map(|carrier| match carrier {
            Carrier::Icmp => ProbeKind::Icmp,
            Carrier::Udp => ProbeKind::Udp,
            Carrier::Tcp => ProbeKind::Tcp,
        });
        self.cause.pattern.kind.or(carrier)
    }

    /// Other backends than this one answer for its service.
    fn spread(&self) -> bool {
        self.targets().any(|fact| fact.path.probe.target.backends > 1)
    }

    fn targets(&self) -> impl Iterator<Item = &Fact> {
        self.paths.iter().map(|&at| &self.facts[at])
    }

    /// The secondary network that all its paths are on.
    pub(super) fn network(&self) -> Option<&str> {
        let first = self.facts[*self.paths.first()?].network()?;
        self.targets().all(|fact| fact.network() == Some(first)).then_some(first)
    }

    /// The name of the node that it is at, where it is at one.
    pub(super) fn node_name(&self) -> Option<&str> {
        self.node_of().map(|node| self.node(node))
    }

    /// Nodes at which to look, where there are such.
    pub(super) fn nodes(&self) -> Vec<String> {
        let ends = self.extents().into_iter().filter_map(|extent| self.node_in(extent));
        let nodes: BTreeSet<NodeIx> = self.node_of().into_iter().chain(ends).collect();
        nodes.into_iter().map(|node| self.node(node).to_owned()).collect()
    }

    /// One line for people, cause first.
    pub(super) fn headline(&self) -> Headline {
        let (what, way) = match self.location() {
            Some(at) => {
                let (bad, summary) = (self.bad(), crate::words::location::place(at));
                let only = self.only();
                let (sources, targets) = (symptoms::sources(&bad), symptoms::targets(&bad));
                (format!("{summary} ({sources} → {targets}){only}"), None)
            }
            // Of several ways that explain the same, none stands for all.
            None => (self.component_line(), self.which_way().filter(|_| self.cause.alternatives.is_empty())),
        };
        Headline { what, way, only: self.only(), place: String::new() }
    }

    fn bad(&self) -> Vec<&Fact> {
        self.targets().collect()
    }

    /// The arithmetic first, then facts.
    pub(super) fn evidence(&self, contradictions: &[usize]) -> Vec<String> {
        let fine: Vec<&Fact> = contradictions.iter().map(|&at| &self.facts[at]).collect();
        symptoms::evidence(self.cause.arithmetic(), &self.bad(), &fine)
    }

    fn lossy(&self) -> bool {
        self.cause.pattern.partial || self.targets().all(|fact| fact.verdict != Verdict::Unreachable)
    }

    /// `, UDP over IPv6 only`; empty for all packets.
    fn only(&self) -> String {
        let fresh = match self.cause.pattern.fresh {
            Some(true) => ", new connections only",
            Some(false) => ", established flows only",
            None => "",
        };
        match packets(&self.cause.pattern) {
            packets if packets.is_empty() => fresh.to_owned(),
            packets => format!(", {packets} only{fresh}"),
        }
    }
}
