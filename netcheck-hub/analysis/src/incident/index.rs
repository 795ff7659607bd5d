//! Facts → numbers: every name once, every path with the suspects that it crosses.

use netcheck_common::domain::{Family, ProbeKind};

use super::Fact;
use super::cause::{Packets, Side, Suspect, Symbol};
use crate::model::Pattern;

mod build;
mod derived;

use build::Build;

/// One judged path.
#[derive(Clone, Copy, Debug)]
pub struct Item {
    /// Its place in the facts.
    pub fact: usize,
    /// It is a symptom; else it is fine.
    pub bad: bool,
    /// The node that probes.
    pub source: Symbol,
    /// The node that it goes to, where that is known.
    pub node: Symbol,
    zones: (Symbol, Symbol),
    /// What is probed.
    pub target: Symbol,
    /// The one of its addresses that is, where it has several of a family.
    address: Symbol,
    service: Symbol,
    /// A service's port at one kind of address: all its node ports, say.
    frontend: Symbol,
    backend: Symbol,
    /// What is probed is a pod, as itself or as an endpoint.
    pub to_pod: bool,
    /// It is probed from a pod.
    pub from_pod: bool,
    /// It stays in a secondary network of pods.
    secondary: bool,
    /// With what.
    pub probe: ProbeKind,
    /// Over what.
    pub family: Family,
    /// Between its nodes it travels inside of a tunnel. Of a service, whose probes meet pods on several nodes, only where
    /// it fails.
    pub wrapped: bool,
    /// The family of what is on the wire between its nodes (see [`Packets::on_wire`]).
    pub on_wire: Option<Family>,
    /// Which of the places, where it is known.
    pub place: Option<usize>,
    /// The place is only the last one that saw it: the true one may be behind it, and the same as another path's.
    pub last_seen: bool,
    /// Its place is the output hook of its own node, where the address of a service is translated.
    pub untranslatable: bool,
    /// Its sender's kernel refused to send it.
    pub refused: bool,
    /// The pod that it goes to, directly or in a service's stead.
    pub pod: Symbol,
    /// From a node to a node, inside of no tunnel.
    pub bare: bool,
    /// It died on the wire from the one node to the other.
    pub wire: Option<(Symbol, Symbol)>,
    /// It is in a routing loop: on its way to this node, and where it died of that.
    pub looped: Option<(Symbol, Symbol)>,
    /// The same as a third node alone says: it counts where others show that loop.
    pub strayed: Option<(Symbol, Symbol)>,
    /// A kernel reported the drop, and the reason is the place's own.
    pub observed: bool,
    /// A server was reached, and answered otherwise than expected: nobody else is to blame.
    answered: bool,
    /// Its packets died on the way from the source (true) or back (false).
    pub request: Option<bool>,
}

/// Where packets die.
#[derive(Clone, Debug)]
pub struct Place {
    /// The node.
    pub node: Symbol,
    /// Names it.
    pub key: String,
    /// The reason says why, so that it explains more than the paths that it was reported for.
    pub specific: bool,
    /// A route leads nowhere.
    pub no_route: bool,
    /// It took what another node sent for its own: it has that node's address.
    pub claims_address: bool,
    /// Names what drops there, the same on every node.
    pub rule: String,
    /// The pod behind the interface.
    pub pod: Symbol,
    /// Nothing dies there but what is for that pod: requests to it, and replies to what it sent.
    pub one_pod: bool,
    /// It is the interface itself: a packet may die there before any hook of the node has seen it.
    pub on_interface: bool,
}

/// Everything that one evaluation names.
#[derive(Debug, Default)]
pub struct Index {
    names: Vec<String>,
    /// Judged paths, in the order of the facts.
    pub items: Vec<Item>,
    /// Places.
    pub places: Vec<Place>,
    /// Facts that nobody can judge now.
    pub unjudged: usize,
    /// All of this is about one secondary network of pods.
    pub network: Option<String>,
}

/// How packets between pods of two nodes travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tunnels {
    /// Inside of others.
    pub wrap: bool,
    /// The family of these; none where nobody knows it.
    pub outer: Option<Family>,
}

impl Index {
    /// Of all facts that are judged, those of one pattern on one network.
    #[must_use]
    pub fn of(facts: &[Fact], pattern: Pattern, network: Option<&str>, tunnels: Tunnels) -> Self {
        let mut build = Build::default();
        build.index.network = network.map(ToOwned::to_owned);
        let own = |fact: &Fact| fact.pattern() == pattern && fact.network() == network;
        for (number, fact) in facts.iter().enumerate().filter(|(_, fact)| own(fact)) {
            if fact.bad() || fact.good() {
                build.item(number, fact);
            } else {
                build.index.unjudged += 1;
            }
        }
        let Build { mut index, backends, .. } = build;
        index.guess_backends(&backends);
        if network.is_none() && tunnels.wrap {
            index.wrap(tunnels.outer);
        }
        index
    }

    /// A name by its number.
    #[must_use]
    pub fn name(&self, symbol: Symbol) -> &str {
        let at = (symbol as usize).checked_sub(1);
        at.and_then(|at| self.names.get(at)).map_or("", String::as_str)
    }
}

fn pair(a: Symbol, b: Symbol) -> Option<(Symbol, Symbol)> {
    (a != 0 && b != 0 && a != b).then(|| (a.min(b), a.max(b)))
}

impl Item {
    /// Everything that it crosses, bar the places.
    pub fn crosses(&self, mut each: impl FnMut(Suspect)) {
        if self.answered {
            return self.crosses_target(each);
        }
        each(Suspect::Everywhere);
        if self.source != self.node {
            each(Suspect::Node(self.source, Side::Out));
            each(Suspect::Node(self.source, Side::Both));
            if self.node != 0 {
                each(Suspect::Node(self.node, Side::In));
                each(Suspect::Node(self.node, Side::Both));
            }
        }
        // What failed in a service's stead went to a pod, too.
        if self.to_pod || (self.bad && self.backend != 0 && self.node != 0) {
            each(Suspect::Pods(self.node));
        }
        if self.from_pod && !(self.to_pod && self.source == self.node) {
            each(Suspect::Pods(self.source));
        }
        // On a secondary network there is nobody else to distinguish pods from.
        if self.from_pod && !self.secondary {
            each(Suspect::PodsOut(self.source));
            each(Suspect::PodsTo(self.target));
            each(Suspect::AllPods);
        }
        if self.wrapped {
            for end in [self.source, self.node].into_iter().filter(|&end| end != 0) {
                each(Suspect::TunnelEnd(end));
            }
        }
        if let Some((a, b)) = pair(self.source, self.node) {
            each(Suspect::Link(a, b));
        }
        for end in self.cables().into_iter().flatten() {
            each(Suspect::Cable(end));
        }
        if let Some((a, b)) = pair(self.zones.0, self.zones.1) {
            each(Suspect::Zones(a, b));
        }
        self.crosses_target(each);
    }

    fn crosses_target(&self, mut each: impl FnMut(Suspect)) {
        each(Suspect::Target(self.target));
        if self.address != 0 {
            each(Suspect::Target(self.address));
        }
        for service in [self.service, self.frontend].into_iter().filter(|&service| service != 0) {
            each(Suspect::Service(service));
        }
        if self.backend != 0 {
            each(Suspect::Backend(self.backend));
        }
        each(Suspect::From(self.source, self.target));
    }

    /// The nodes whose wires it crosses as it is. What goes to or from a pod may be inside of a tunnel, whose packets
    /// are others; where it died on the wire, it was there. A target without a known node is behind its source's wire.
    fn cables(&self) -> [Option<Symbol>; 2] {
        let (a, b) = match self.wire {
            Some(ends) => ends,
            None if self.bare && self.source != self.node => (self.source, self.node),
            None if self.bad && self.node == 0 && self.place.is_none() => (self.source, 0),
            None => (0, 0),
        };
        [Some(a), Some(b)].map(|end| end.filter(|&end| end != 0))
    }

    /// It starts at one end of this link, and neither the node nor the zone that it goes to is known.
    #[must_use]
    pub fn may_cross(&self, link: Suspect) -> bool {
        let starts = match link {
            Suspect::Link(a, b) => [a, b].contains(&self.source),
            Suspect::Zones(a, b) => [a, b].contains(&self.zones.0),
            _ => false,
        };
        starts && self.node == 0 && self.zones.1 == 0
    }

    /// The service that it is for, if it is for one.
    #[must_use]
    pub fn service(&self) -> Option<Symbol> {
        (self.service != 0).then_some(self.service)
    }

    /// What scopes distinguish.
    #[must_use]
    pub const fn packets(&self) -> Packets {
        Packets { probe: self.probe, family: self.family, on_wire: self.on_wire }
    }

    /// Its source and the node that it goes to, in the order of their numbers.
    #[must_use]
    pub fn ends(&self) -> (Symbol, Symbol) {
        (self.source.min(self.node), self.source.max(self.node))
    }

    /// From where to where its packets died, as nodes and as zones.
    #[must_use]
    pub fn one_way(&self) -> [Option<Suspect>; 2] {
        let Some(request) = self.request else { return [None, None] };
        let turned = |(a, b): (Symbol, Symbol)| if request { (a, b) } else { (b, a) };
        let link = pair(self.source, self.node).map(|_| turned((self.source, self.node)));
        let zones = pair(self.zones.0, self.zones.1).map(|_| turned(self.zones));
        [link.map(|(a, b)| Suspect::LinkOneWay(a, b)), zones.map(|(a, b)| Suspect::ZonesOneWay(a, b))]
    }
}
