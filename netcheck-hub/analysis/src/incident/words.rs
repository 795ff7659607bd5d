//! Causes in words: what names them, and the line for people.

use std::collections::BTreeSet;

use super::cause::{Cause, Scope, Side, Suspect, Symbol};
use super::headline::Headline;
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
    pub(super) fn headline(
        &self,
        cause: &Cause,
        bad: &BTreeSet<usize>,
        unreachable: bool,
        partial: bool,
    ) -> Headline {
        let place = match cause.suspect {
            Suspect::Pods(_)
            | Suspect::PodsOut(_)
            | Suspect::PodsTo(_)
            | Suspect::AllPods
            | Suspect::TunnelEnd(_)
            | Suspect::Node(..)
            | Suspect::Cable(_)
            | Suspect::Loop(_)
            | Suspect::Everywhere
            | Suspect::From(..) => self.place(bad).map(|place| format!(": {place}")),
            Suspect::Place(_)
            | Suspect::LinkOneWay(..)
            | Suspect::Link(..)
            | Suspect::ZonesOneWay(..)
            | Suspect::Zones(..)
            | Suspect::Backend(_)
            | Suspect::Target(_)
            | Suspect::Service(_)
            | Suspect::Scattered => None,
        };
        Headline {
            what: self.what(cause, bad, partial || !unreachable),
            way: self.way(cause, bad),
            only: Self::only(cause),
            place: place.unwrap_or_default(),
        }
    }

    fn what(&self, cause: &Cause, bad: &BTreeSet<usize>, lossy: bool) -> String {
        let name = |symbol| self.index.name(symbol);
        let targets = || self.targets(bad);
        let sources = || symptoms::sources(&self.of(bad));
        let only = Self::only(cause);
        let between = |[a, b]: [&str; 2], zone: &str| {
            if lossy {
                format!("probes are lost between {zone}{a} and {zone}{b}{only}")
            } else {
                format!("nothing passes between {zone}{a} and {zone}{b}{only}")
            }
        };
        let one_way = |a: Symbol, b: Symbol, zone: &str| {
            format!("packets from {zone}{} to {zone}{} are lost, those back are not{only}", name(a), name(b))
        };
        match cause.suspect {
            Suspect::Place(_) => {
                format!("{} ({} → {})", self.place(bad).unwrap_or_default(), sources(), targets())
            }
            Suspect::LinkOneWay(a, b) => one_way(a, b, ""),
            Suspect::ZonesOneWay(a, b) => one_way(a, b, "zone "),
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
            Suspect::Target(_) | Suspect::Service(_) => {
                symptoms::unbacked(&self.of(bad)).unwrap_or_else(|| self.target_line(cause, bad, lossy))
            }
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
                format!("{what} {} everywhere", if lossy { "loses probes" } else { "fails" })
            }
            Suspect::From(..) => {
                let who = sources();
                let several = who.starts_with("pods of ") || who.contains(" and ");
                let lose = if several { "lose" } else { "loses" };
                format!("{who} {lose} probes to {}{only}", targets())
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

    /// Which way the packets take that are lost.
    fn way(&self, cause: &Cause, bad: &BTreeSet<usize>) -> Option<String> {
        let name = |symbol| self.index.name(symbol);
        let between = |[a, b]: [&str; 2], zone: &str| format!("between {zone}{a} and {zone}{b}");
        Some(match cause.suspect {
            Suspect::LinkOneWay(a, b) => format!("from {} to {}", name(a), name(b)),
            Suspect::ZonesOneWay(a, b) => format!("from zone {} to zone {}", name(a), name(b)),
            Suspect::Link(a, b) => between(self.pair(a, b), ""),
            Suspect::Zones(a, b) => between(self.pair(a, b), "zone "),
            Suspect::Backend(backend) => format!("to {}", name(backend)),
            Suspect::Target(_) | Suspect::Service(_) => format!("to {}", self.targets(bad)),
            Suspect::Pods(node) => format!("to and from the pods on {}", name(node)),
            Suspect::PodsOut(node) => format!("from the pods on {}", name(node)),
            Suspect::PodsTo(_) => format!("from pods to {}", self.targets(bad)),
            Suspect::AllPods => "from pods".to_owned(),
            Suspect::TunnelEnd(node) => format!("through the tunnels of {}", name(node)),
            Suspect::Node(node, side) => format!("{} {}", side.word(), name(node)),
            Suspect::Cable(node) => format!("{} {}", self.side_of_wire(node, bad).word(), name(node)),
            Suspect::Everywhere => "everywhere".to_owned(),
            Suspect::From(..) => {
                format!("from {} to {}", symptoms::sources(&self.of(bad)), self.targets(bad))
            }
            Suspect::Place(_) | Suspect::Loop(_) | Suspect::Scattered => return None,
        })
    }

    fn side_of_wire(&self, node: Symbol, bad: &BTreeSet<usize>) -> Side {
        let wires = bad.iter().filter_map(|&at| self.index.items[at].wire);
        match super::tally::one_way_at(node, wires) {
            Some(true) => Side::In,
            Some(false) => Side::Out,
            None => Side::Both,
        }
    }

    /// Nodes at which to look, where there are such: of what comes round, those that send it round.
    pub(super) fn nodes(&self, cause: &Cause, bad: &BTreeSet<usize>) -> Vec<String> {
        let nodes: BTreeSet<&str> = match cause.suspect {
            Suspect::Loop(_) => {
                let looped = bad.iter().filter_map(|&at| self.index.items[at].looped);
                looped.map(|(_, at)| self.index.name(at)).collect()
            }
            Suspect::Link(a, b) | Suspect::LinkOneWay(a, b) => {
                [a, b].into_iter().map(|node| self.index.name(node)).collect()
            }
            Suspect::PodsOut(node) => [self.index.name(node)].into_iter().collect(),
            _ => self.node_of(cause).into_iter().collect(),
        };
        nodes.into_iter().filter(|name| !name.is_empty()).map(ToOwned::to_owned).collect()
    }

    /// `, UDP over IPv6 only`; empty for all packets.
    fn only(cause: &Cause) -> String {
        if cause.scope.on_wire {
            let family = Scope { on_wire: false, ..cause.scope }.name();
            return format!(", {family} between nodes only, and what tunnels carry in it");
        }
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
        match cause.suspect {
            Suspect::Pods(node) => {
                let how = if lossy { "lose probes" } else { "are cut off" };
                format!("the pods on {} {how}{only}", name(node))
            }
            Suspect::PodsOut(node) if lossy => format!("pods on {} lose probes{only}", name(node)),
            Suspect::PodsOut(node) => format!("pods on {} reach nobody{only}", name(node)),
            Suspect::PodsTo(_) => {
                let how = if lossy { "lose probes to" } else { "can't reach" };
                format!("pods {how} {}{only}", self.targets(bad))
            }
            Suspect::AllPods if lossy => format!("pods lose probes to everywhere{only}"),
            Suspect::AllPods => format!("pods reach nobody{only}"),
            Suspect::TunnelEnd(node) => {
                let how = if lossy { "probes are lost in" } else { "nothing passes" };
                format!("{how} the tunnels of {}: between it and the pods of others{only}", name(node))
            }
            // The node is well, and one family below all that it sends is not.
            Suspect::Node(node, side) if cause.scope.on_wire => {
                let family = Scope { on_wire: false, ..cause.scope }.name();
                let (name, part) = (name(node), if lossy { " in part" } else { "" });
                let way = match side {
                    Side::Both => format!("between {name} and other nodes"),
                    Side::In => format!("from other nodes to {name}"),
                    Side::Out => format!("from {name} to other nodes"),
                };
                format!("{family} {way} is lost{part}, with all that tunnels carry in it")
            }
            Suspect::Node(node, _) if lossy => format!("{} loses probes{only}", name(node)),
            Suspect::Node(node, Side::Both) => {
                format!("{} answers nobody and reaches nobody{only}", name(node))
            }
            Suspect::Node(node, Side::In) => format!("{} answers nobody{only}", name(node)),
            Suspect::Node(node, Side::Out) => format!("{} reaches nobody{only}", name(node)),
            Suspect::Cable(node) => {
                let way = self.side_of_wire(node, bad).word();
                format!("packets {way} {} are lost on the wire there{only}", name(node))
            }
            Suspect::Loop(node) => {
                let circle = listed(self.nodes(cause, bad).into_iter());
                format!("packets on their way to {} go round in a circle, seen on {circle}", name(node))
            }
            // All others have lines of their own.
            Suspect::Place(_)
            | Suspect::LinkOneWay(..)
            | Suspect::Link(..)
            | Suspect::ZonesOneWay(..)
            | Suspect::Zones(..)
            | Suspect::Backend(_)
            | Suspect::Target(_)
            | Suspect::Service(_)
            | Suspect::Everywhere
            | Suspect::From(..)
            | Suspect::Scattered => String::new(),
        }
    }
}
