//! Causes in words: what names them, and the line for people.

use std::collections::BTreeSet;

use super::cause::{Cause, Side, Suspect, Symbol};
use super::index::Index;
use super::tally::Tallies;
use super::{Fact, symptoms};
use crate::words::names::listed;

/// Says what the numbers mean.
pub struct Describe<'a> {
    /// The paths.
    pub facts: &'a [Fact],
    /// Their numbers.
    pub index: &'a Index,
    /// Their counts.
    pub tallies: &'a Tallies<'a>,
}

impl Describe<'_> {
    pub(super) fn fact(&self, number: usize) -> &Fact {
        &self.facts[self.index.items[number].fact]
    }

    pub(super) fn pair(&self, a: Symbol, b: Symbol) -> [&str; 2] {
        let mut names = [self.index.name(a), self.index.name(b)];
        names.sort_unstable();
        names
    }

    /// The one node that a cause is about, if it is about one.
    #[must_use]
    pub fn node_of(&self, cause: &Cause) -> Option<&str> {
        let node = match cause.suspect {
            Suspect::Place(place) => self.index.places[place].node,
            Suspect::Pods(node)
            | Suspect::TunnelEnd(node)
            | Suspect::Node(node, _)
            | Suspect::Cable(node) => node,
            _ => return None,
        };
        Some(self.index.name(node)).filter(|name| !name.is_empty())
    }

    /// Names the cause, the same in every evaluation.
    #[must_use]
    pub fn key(&self, cause: &Cause) -> String {
        let name = |symbol| self.index.name(symbol);
        let base = match cause.suspect {
            Suspect::Place(place) => format!("place/{}", self.index.places[place].key),
            Suspect::LinkOneWay(a, b) => format!("link/{}>{}", name(a), name(b)),
            Suspect::Link(a, b) => format!("link/{}", self.pair(a, b).join("~")),
            Suspect::ZonesOneWay(a, b) => format!("zones/{}>{}", name(a), name(b)),
            Suspect::Zones(a, b) => format!("zones/{}", self.pair(a, b).join("~")),
            Suspect::Backend(backend) => format!("backend/{}", name(backend)),
            Suspect::Target(target) => format!("target/{}", name(target)),
            Suspect::Service(service) => format!("service/{}", name(service)),
            Suspect::Pods(node) => format!("pods/{}", name(node)),
            Suspect::PodsOut(node) => format!("pods/{}/out", name(node)),
            Suspect::PodsTo(target) => format!("pods/to/{}", name(target)),
            Suspect::AllPods => "pods/out".to_owned(),
            Suspect::TunnelEnd(node) => format!("tunnel/{}", name(node)),
            Suspect::Node(node, _) => format!("node/{}", name(node)),
            Suspect::Cable(node) => format!("cable/{}", name(node)),
            Suspect::Loop(node) => format!("loop/{}", name(node)),
            Suspect::Everywhere => "everywhere".to_owned(),
            Suspect::From(source, target) => format!("from/{}/{}", name(source), name(target)),
            Suspect::Scattered => "scattered".to_owned(),
        };
        match cause.scope.name() {
            scope if scope.is_empty() => base,
            scope => format!("{base} ({scope})"),
        }
    }

    /// One line for people, cause first.
    #[must_use]
    pub fn headline(&self, cause: &Cause, bad: &BTreeSet<usize>, unreachable: bool, partial: bool) -> String {
        let name = |symbol| self.index.name(symbol);
        let targets = || self.targets(bad);
        let sources = || symptoms::sources(&self.of(bad));
        let only = Self::only(cause);
        let lossy = partial || !unreachable;
        let between = |[a, b]: [&str; 2], zone: &str| {
            if lossy {
                format!("probes are lost between {zone}{a} and {zone}{b}{only}")
            } else {
                format!("nothing passes between {zone}{a} and {zone}{b}{only}")
            }
        };
        let place = self.place(bad).map(|place| format!(": {place}")).unwrap_or_default();
        match cause.suspect {
            Suspect::Place(_) => {
                format!("{} ({} → {})", place.trim_start_matches(": "), sources(), targets())
            }
            Suspect::LinkOneWay(a, b) => {
                format!("packets from {} to {} are lost, those back are not{only}", name(a), name(b))
            }
            Suspect::ZonesOneWay(a, b) => {
                format!(
                    "packets from zone {} to zone {} are lost, those back are not{only}",
                    name(a),
                    name(b)
                )
            }
            Suspect::Link(a, b) => between(self.pair(a, b), ""),
            Suspect::Zones(a, b) => between(self.pair(a, b), "zone "),
            Suspect::Backend(backend) => {
                let what = if lossy { "fails its share of" } else { "fails" };
                format!(
                    "{} {}: it {what} {}{only}",
                    name(backend),
                    symptoms::answer(&self.of(bad)),
                    targets()
                )
            }
            Suspect::Target(_) | Suspect::Service(_) if symptoms::unbacked(&self.of(bad)).is_some() => {
                symptoms::unbacked(&self.of(bad)).unwrap_or_default()
            }
            Suspect::Target(_) | Suspect::Service(_) => self.target_line(cause, bad, lossy),
            Suspect::Pods(_)
            | Suspect::PodsOut(_)
            | Suspect::PodsTo(_)
            | Suspect::AllPods
            | Suspect::TunnelEnd(_)
            | Suspect::Node(..)
            | Suspect::Cable(_)
            | Suspect::Loop(_) => self.node_line(cause, bad, lossy),
            Suspect::Everywhere => {
                let what = cause.scope.name();
                let what = if what.is_empty() { "every kind of probe" } else { &what };
                format!("{what} {} everywhere{place}", if lossy { "loses probes" } else { "fails" })
            }
            Suspect::From(..) => {
                let who = sources();
                let several = who.starts_with("pods of ") || who.contains(" and ");
                let lose = if several { "lose" } else { "loses" };
                format!("{who} {lose} probes to {}{only}{place}", targets())
            }
            Suspect::Scattered => {
                format!(
                    "{} paths fail that have nothing in common ({} → {})",
                    bad.len(),
                    sources(),
                    targets()
                )
            }
        }
    }

    /// `, UDP over IPv6 only`; empty for all packets.
    fn only(cause: &Cause) -> String {
        match cause.scope.name() {
            scope if scope.is_empty() => String::new(),
            scope => format!(", {scope} only"),
        }
    }

    /// The facts of these numbers.
    pub(super) fn of(&self, bad: &BTreeSet<usize>) -> Vec<&Fact> {
        bad.iter().map(|&at| self.fact(at)).collect()
    }

    fn targets(&self, bad: &BTreeSet<usize>) -> String {
        symptoms::targets(&self.of(bad))
    }

    /// The line of a target or a service.
    fn target_line(&self, cause: &Cause, bad: &BTreeSet<usize>, lossy: bool) -> String {
        let address = match cause.suspect {
            Suspect::Target(target) => self.index.name(target).split_once(" at ").map(|(_, address)| address),
            _ => None,
        };
        let at = address.map(|address| format!(" at {address}")).unwrap_or_default();
        symptoms::target_line(&self.of(bad), &at, &Self::only(cause), lossy)
    }

    /// The line of a node, or of pods.
    fn node_line(&self, cause: &Cause, bad: &BTreeSet<usize>, lossy: bool) -> String {
        let name = |symbol| self.index.name(symbol);
        let only = Self::only(cause);
        let targets = || self.targets(bad);
        let place = self.place(bad).map(|place| format!(": {place}")).unwrap_or_default();
        match cause.suspect {
            Suspect::Pods(node) => {
                let how = if lossy { "lose probes" } else { "are cut off" };
                format!("the pods on {} {how}{only}{place}", name(node))
            }
            Suspect::PodsOut(node) if lossy => format!("pods on {} lose probes{only}{place}", name(node)),
            Suspect::PodsOut(node) => format!("pods on {} reach nobody{only}{place}", name(node)),
            Suspect::PodsTo(_) => {
                let how = if lossy { "lose probes to" } else { "can't reach" };
                format!("pods {how} {}{only}{place}", targets())
            }
            Suspect::AllPods if lossy => format!("pods lose probes to everywhere{only}{place}"),
            Suspect::AllPods => format!("pods reach nobody{only}{place}"),
            Suspect::TunnelEnd(node) => {
                let how = if lossy { "probes are lost in" } else { "nothing passes" };
                format!("{how} the tunnels of {}: between it and the pods of others{only}{place}", name(node))
            }
            Suspect::Node(node, _) if lossy => format!("{} loses probes{only}{place}", name(node)),
            Suspect::Node(node, Side::Both) => {
                format!("{} answers nobody and reaches nobody{only}{place}", name(node))
            }
            Suspect::Node(node, Side::In) => format!("{} answers nobody{only}{place}", name(node)),
            Suspect::Node(node, Side::Out) => format!("{} reaches nobody{only}{place}", name(node)),
            Suspect::Cable(node) => {
                let wires = bad.iter().filter_map(|&at| self.index.items[at].wire);
                let what = match super::tally::one_way_at(node, wires) {
                    Some(true) => format!("packets to {} are", name(node)),
                    Some(false) => format!("packets from {} are", name(node)),
                    None => format!("packets to and from {} are", name(node)),
                };
                format!("{what} lost on the wire there{only}{place}")
            }
            Suspect::Loop(node) => {
                let circle = listed(bad.iter().filter_map(|&at| {
                    self.index.items[at].looped.map(|(_, at)| self.index.name(at).to_owned())
                }));
                format!(
                    "packets on their way to {} go round in a circle, seen on {circle}{place}",
                    name(node)
                )
            }
            // All others have lines of their own.
            _ => String::new(),
        }
    }
}
