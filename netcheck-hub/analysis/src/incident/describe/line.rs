//! The line for people of a cause that no location stands for: which component, which way, which packets.

use std::collections::BTreeSet;

use netcheck_causes::{Cause, Component, Extent, Heading};

use super::{Describe, packets};
use crate::incident::symptoms;

impl Describe<'_> {
    pub(super) fn component_line(&self) -> String {
        let (only, lossy) = (self.only(), self.lossy());
        let line = match self.cause.component {
            Component::Server { endpoint, service: Some(_) } if self.spread() => {
                let what = if lossy { "fails its share of" } else { "fails" };
                let (who, how) = (self.endpoint(endpoint), symptoms::answer(&self.bad()));
                format!("{who} {how}: it {what} {}{only}", symptoms::targets(&self.bad()))
            }
            Component::Server { .. } | Component::Service(_) => {
                let bad = self.bad();
                symptoms::unbacked(&bad).unwrap_or_else(|| symptoms::target_line(&bad, "", &only, lossy))
            }
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
}
