//! A cause in words: the key that names it, its kind, the line for people, and its arithmetic. Pure.

use std::collections::{BTreeMap, BTreeSet};

use netcheck_causes::{
    Carrier, Cause, Component, Endpoint, Extent, Heading, NodeIx, Pattern, PodIx, ServiceIx, Topology,
};
use netcheck_common::domain::{Family, Outcome, ProbeKind, Vantage};

use super::{Fact, place};
use crate::model::incident::IncidentKind;
use crate::model::location::{Certainty, Location};
use crate::model::target::TargetKind;
use crate::model::verdict::Verdict;
use crate::words::names::{listed, probe_name, source_name, sources_listed, target_name};

/// Facts under one cause.
const FACTS: usize = 6;
/// Fine paths that are named.
const NAMED: usize = 3;

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

    /// The node that a component is at, where it is at one.
    pub(super) fn node_of(&self) -> Option<NodeIx> {
        let of = |extent| match extent {
            Extent::Node(node) | Extent::PodsOf(node) => Some(node),
            Extent::Pod(pod) => self.topology.node_of(Endpoint::Pod(pod)),
            Extent::Zone(_) | Extent::All => None,
        };
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
        let base = match (self.cause.pattern.full_size, self.cause.pattern.by_port) {
            (true, _) => format!("mtu/{base}"),
            (false, true) => format!("ports/{base}"),
            (false, false) => base,
        };
        let base = match self.network() {
            Some(network) => format!("network/{network}/{base}"),
            None => base,
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
        if self.cause.pattern.full_size {
            return IncidentKind::Mtu;
        }
        if self.cause.pattern.by_port {
            return IncidentKind::SourcePorts;
        }
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
    fn network(&self) -> Option<&str> {
        let first = self.facts[*self.paths.first()?].network()?;
        self.targets().all(|fact| fact.network() == Some(first)).then_some(first)
    }

    /// One line for people, cause first.
    pub(super) fn headline(&self) -> String {
        let line = match self.location() {
            Some(at) => {
                let summary = crate::words::location::place(at);
                format!("{summary} ({} → {})", self.sources(), self.target_names())
            }
            None => self.component_line(),
        };
        let line = match (self.cause.pattern.full_size, self.cause.pattern.by_port) {
            (true, _) => {
                let symptoms = self.targets().filter_map(|fact| fact.symptom.as_ref());
                let borders: Vec<(u16, u16)> = symptoms.filter_map(|symptom| symptom.oversize).collect();
                let what = crate::words::patterns::sizes_lost(&borders);
                format!("{}: {line}", what.unwrap_or_else(|| "large packets".to_owned()))
            }
            (false, true) => {
                let symptoms = self.targets().filter_map(|fact| fact.symptom.as_ref());
                let found: Vec<_> = symptoms.filter_map(|symptom| symptom.by_port.clone()).collect();
                let what = crate::words::patterns::ports_shared(&found)
                    .unwrap_or_else(|| "some source ports lose their packets".to_owned());
                format!("UDP: {what}, {}: {line}", crate::matrix::ports::LOOKS)
            }
            (false, false) => line,
        };
        match self.network() {
            Some(network) => {
                let at = self.node_of().map(|node| format!(" at {}", self.node(node))).unwrap_or_default();
                format!("network {network}{at}: {line}")
            }
            None => line,
        }
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

    fn component_line(&self) -> String {
        let (only, lossy) = (self.only(), self.lossy());
        let line = match self.cause.component {
            Component::Server { endpoint, service: Some(_) } if self.spread() => {
                let what = if lossy { "fails its share of" } else { "fails" };
                let (who, how) = (self.endpoint(endpoint), self.answer());
                format!("{who} {how}: it {what} {}{only}", self.target_names())
            }
            Component::Server { .. } | Component::Service(_) => self.target_line(&only, lossy),
            Component::Translation { by, service, backend } => {
                let to = backend.map(|backend| format!(" to {}", self.endpoint(backend))).unwrap_or_default();
                let (by, service) = (self.extent(by), self.service(service));
                format!("{by} leads service {service} nowhere{to}{only}")
            }
            Component::Hairpin(extent) => {
                format!("{} can't reach themselves through a service{only}", self.extent(extent))
            }
            Component::Tunnel { from, to } => {
                let way = self.between(from, to);
                format!("encapsulated packets {way} are lost{only}, bare ones pass")
            }
            Component::TunnelEnd(extent) => {
                let (way, who) = (self.way(), self.extent(extent));
                format!("encapsulated packets {way} {who} are lost{only}, bare ones pass")
            }
            Component::Wire { from, to } => self.wire_line(from, to, &only, lossy),
            Component::Stack(extent)
            | Component::PodLink(extent)
            | Component::Forwarding(extent)
            | Component::Uplink(extent) => self.at_line(extent, &only, lossy),
            Component::Node(node) if lossy => format!("{} loses probes{only}", self.node(node)),
            Component::Node(node) => {
                format!("{} answers nobody and reaches nobody{only}", self.node(node))
            }
            Component::Cluster | Component::SecondaryNetwork(_) => {
                let what = packets(&self.cause.pattern);
                let what = if what.is_empty() { "every kind of probe" } else { &what };
                format!("{what} {} everywhere", if lossy { "loses probes" } else { "fails" })
            }
        };
        let others = self.or(&line);
        line + &others
    }

    /// What explains the same, and reads otherwise than the line.
    fn or(&self, line: &str) -> String {
        let other = |&(component, heading): &(Component, Heading)| {
            let cause = Cause { component, heading, alternatives: Vec::new(), ..self.cause.clone() };
            Describe { cause: &cause, ..*self }.component_line()
        };
        let others: BTreeSet<String> = self.cause.alternatives.iter().map(other).collect();
        others.into_iter().filter(|other| other != line).map(|other| format!("; or {other}")).collect()
    }

    fn way(&self) -> &'static str {
        match self.cause.heading {
            Heading::In => "to",
            Heading::Out => "from",
            Heading::Both => "to and from",
        }
    }

    fn between(&self, from: Extent, to: Extent) -> String {
        let (from, to) = (self.extent(from), self.extent(to));
        if self.cause.heading == Heading::Both {
            let (least, most) = if from < to { (from, to) } else { (to, from) };
            format!("between {least} and {most}")
        } else {
            format!("from {from} to {to}")
        }
    }

    fn wire_line(&self, from: Extent, to: Extent, only: &str, lossy: bool) -> String {
        let way = self.between(from, to);
        match (self.cause.heading, lossy) {
            (Heading::Both, true) => format!("probes are lost {way}{only}"),
            (Heading::Both, false) => format!("nothing passes {way}{only}"),
            _ => format!("packets {way} are lost, those back are not{only}"),
        }
    }

    fn at_line(&self, extent: Extent, only: &str, lossy: bool) -> String {
        let (who, several) = match (self.cause.component, extent) {
            (Component::Forwarding(_) | Component::PodLink(_), Extent::Node(node) | Extent::PodsOf(node)) => {
                (format!("the pods on {}", self.node(node)), true)
            }
            (Component::Forwarding(_) | Component::PodLink(_), Extent::All) => ("pods".to_owned(), true),
            (Component::Forwarding(_) | Component::PodLink(_), Extent::Zone(zone)) => {
                (format!("the pods in zone {}", self.zone(zone)), true)
            }
            (_, Extent::PodsOf(_)) => (self.extent(extent), true),
            _ => (self.extent(extent), false),
        };
        let s = |one: &'static str, more: &'static str| if several { more } else { one };
        match (self.cause.heading, lossy) {
            (_, true) => format!("{who} {} probes{only}", s("loses", "lose")),
            (Heading::Both, false) => {
                let (answer, reach) = (s("answers", "answer"), s("reaches", "reach"));
                format!("{who} {answer} nobody and {reach} nobody{only}")
            }
            (Heading::In, false) => format!("{who} {} nobody{only}", s("answers", "answer")),
            (Heading::Out, false) => format!("{who} {} nobody{only}", s("reaches", "reach")),
        }
    }

    fn sources(&self) -> String {
        let of = |fact: &Fact| (fact.source.to_string(), fact.path.vantage == Vantage::Pod);
        sources_listed(self.targets().map(of))
    }

    fn target_names(&self) -> String {
        listed(self.targets().map(|fact| target_name(&fact.path.probe.target.to_wire())))
    }

    fn target_line(&self, only: &str, lossy: bool) -> String {
        let unbacked: Option<BTreeSet<&String>> =
            self.targets().map(|fact| fact.path.probe.target.unbacked.as_ref()).collect();
        if let Some(why) = unbacked.filter(|why| !why.is_empty()) {
            return listed(why.into_iter().cloned());
        }
        let answer = self.answer();
        let how = match (lossy, answer.starts_with("answers")) {
            (true, _) => "loses probes from everybody",
            (false, true) => "answers nobody as it should",
            (false, false) => "answers nobody",
        };
        format!("{} {how}{only}: it {answer}", self.target_names())
    }

    /// What the target did instead of answering.
    fn answer(&self) -> String {
        let symptoms = || self.targets().filter_map(|fact| fact.symptom.as_ref());
        let outcomes: BTreeSet<Option<Outcome>> = symptoms().map(|symptom| symptom.outcome).collect();
        let mut only = outcomes.iter().flatten();
        match (only.next(), only.next()) {
            (Some(Outcome::Refused), None) => "refuses".to_owned(),
            (Some(Outcome::DnsError | Outcome::HttpError), None) => {
                let reasons =
                    symptoms().filter_map(|symptom| symptom.at.as_ref()).map(|at| at.reason.clone());
                let reasons: BTreeSet<String> = reasons.filter(|reason| !reason.is_empty()).collect();
                match reasons.is_empty() {
                    true => "answers with errors".to_owned(),
                    false => format!("answers {}", listed(reasons.into_iter())),
                }
            }
            (Some(Outcome::Timeout), None) => "is silent".to_owned(),
            _ => "fails".to_owned(),
        }
    }

    /// The arithmetic first, then facts.
    pub(super) fn evidence(&self, contradictions: &[usize]) -> Vec<String> {
        let bad = self.facts.iter().filter(|fact| fact.bad()).count();
        let mut lines = vec![format!(
            "explains {} of {bad} paths that fail: {} of {} probes that crossed it are lost, and {} of its paths are fine",
            self.paths.len(),
            self.cause.lost,
            self.cause.crossed.max(self.cause.lost),
            contradictions.len()
        )];
        lines.extend(facts_of(self.facts, self.paths));
        if !contradictions.is_empty() {
            let named: Vec<String> =
                contradictions.iter().take(NAMED).map(|&at| path_name(&self.facts[at])).collect();
            lines.push(format!(
                "against it: {} paths cross it and are fine, as {}",
                contradictions.len(),
                named.join(", ")
            ));
        }
        lines
    }
}

fn path_name(fact: &Fact) -> String {
    let target = target_name(&fact.path.probe.target.to_wire());
    let source = source_name(&fact.source, fact.path.vantage == Vantage::Pod);
    format!("{source} → {target} ({})", probe_name(fact.path.probe.kind))
}

/// Places of these paths' losses and how many each explains, then what is known of them otherwise.
fn facts_of(facts: &[Fact], paths: &[usize]) -> Vec<String> {
    let mut places: BTreeMap<&str, (bool, usize)> = BTreeMap::new();
    for symptom in paths.iter().filter_map(|&at| facts[at].symptom.as_ref()) {
        if let Some(at) = &symptom.at {
            let known = places.entry(&symptom.summary).or_default();
            known.0 |= at.certainty == Certainty::Observed;
            known.1 += 1;
        }
    }
    let mut places: Vec<(bool, usize, &str)> =
        places.into_iter().map(|(place, (observed, count))| (observed, count, place)).collect();
    places.sort_by_key(|&(observed, count, place)| (!observed, std::cmp::Reverse(count), place));
    let all = paths.len();
    let mut lines: Vec<String> =
        places.iter().map(|(_, count, place)| format!("{count} of {all} paths: {place}")).collect();
    let without = all - places.iter().map(|(_, count, _)| count).sum::<usize>();
    lines.truncate(FACTS / 2);
    let mut known: Vec<&String> =
        paths.iter().filter_map(|&at| facts[at].symptom.as_ref()).flat_map(|it| &it.evidence).collect();
    known.sort();
    known.dedup();
    let room = FACTS - lines.len();
    lines.extend(known.into_iter().take(room).cloned());
    if without > 0 && !places.is_empty() {
        lines.push(format!("{without} of {all} paths have no place of their own"));
    }
    lines
}
