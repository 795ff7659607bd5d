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
                let by = match by {
                    Extent::Node(node) | Extent::PodsOf(node) => {
                        format!("{} does not translate", self.node(node))
                    }
                    Extent::Zone(zone) => format!("no node of zone {} translates", self.zone(zone)),
                    Extent::All => "no node translates".to_owned(),
                    Extent::Pod(pod) => format!("nobody translates for pod {}", self.pod(pod)),
                };
                format!("{by} service {}{to} (kube-proxy){only}", self.service(service))
            }
            Component::Hairpin(extent) => {
                let (who, several) = self.who(extent);
                let whom = if several { "themselves" } else { "itself" };
                format!("{who} can't reach {whom} through a service{only}")
            }
            Component::Tunnel { from, to } => {
                let way = self.between(from, to);
                format!("encapsulated packets {way} are lost, others pass{only}")
            }
            Component::TunnelEnd(extent) => {
                let (way, who) = (self.way(), self.extent(extent));
                format!("encapsulated packets {way} {who} are lost, others pass{only}")
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

    /// Which way the packets take that are lost.
    pub(super) fn which_way(&self) -> Option<String> {
        Some(match self.cause.component {
            Component::Server { endpoint, .. } => format!("to {}", self.endpoint(endpoint)),
            Component::Service(service) => format!("to service {}", self.service(service)),
            Component::Translation { by, service, .. } => {
                format!("from {} to service {}", self.extent(by), self.service(service))
            }
            Component::Tunnel { from, to } => format!("{} in a tunnel", self.between(from, to)),
            Component::TunnelEnd(extent) => format!("{} {} in tunnels", self.way(), self.extent(extent)),
            Component::Wire { from, to } => self.between(from, to),
            Component::Stack(extent)
            | Component::PodLink(extent)
            | Component::Forwarding(extent)
            | Component::Uplink(extent) => format!("{} {}", self.way(), self.who(extent).0),
            Component::Node(node) => format!("to and from {}", self.node(node)),
            Component::Cluster | Component::SecondaryNetwork(_) => "everywhere".to_owned(),
            Component::Hairpin(_) => return None,
        })
    }

    /// What a component of this extent is called, and whether that is several.
    fn who(&self, extent: Extent) -> (String, bool) {
        let of_pods = matches!(
            self.cause.component,
            Component::Forwarding(_) | Component::PodLink(_) | Component::Hairpin(_)
        );
        match extent {
            Extent::Node(node) | Extent::PodsOf(node) if of_pods => {
                (format!("the pods on {}", self.node(node)), true)
            }
            Extent::All if of_pods => ("pods".to_owned(), true),
            Extent::Zone(zone) if of_pods => (format!("the pods in zone {}", self.zone(zone)), true),
            Extent::PodsOf(_) => (self.extent(extent), true),
            Extent::Pod(_) | Extent::Node(_) | Extent::Zone(_) | Extent::All => (self.extent(extent), false),
        }
    }

    fn at_line(&self, extent: Extent, only: &str, lossy: bool) -> String {
        let (who, several) = self.who(extent);
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
