//! Facts → numbers: every name once, every path with the suspects that it crosses.

use std::collections::{BTreeSet, HashMap};

use netcheck_common::domain::{Family, ProbeKind, Vantage};
use netcheck_proto::v1;

use super::cause::{Side, Suspect, Symbol};
use super::{Fact, Symptom};
use crate::query::Pattern;

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
    service: Symbol,
    backend: Symbol,
    to_pod: bool,
    from_pod: bool,
    /// With what.
    pub probe: ProbeKind,
    /// Over what.
    pub family: Family,
    /// Which of the places, where it is known.
    pub place: Option<usize>,
    /// The place is only the last one that saw it: what is behind it on that node may be the same as another's.
    pub last_seen: bool,
    /// A kernel reported the drop, and the reason is the place's own.
    pub observed: bool,
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
}

/// Everything that one evaluation names.
#[derive(Debug, Default)]
pub struct Index {
    names: Vec<String>,
    /// Judged paths, in the order of the facts.
    pub items: Vec<Item>,
    /// Places.
    pub places: Vec<Place>,
}

/// The far end does not answer for its address, or was sent what bears another's hardware address: the drop is at one
/// end, the cause is not.
fn far_end(at: &v1::LossLocation) -> bool {
    at.stage() == v1::Stage::Neighbour || at.reason.contains("NEIGH") || at.reason == "OTHERHOST"
}

/// The target itself answered, so it is to blame, not the place where it did.
fn answered(at: &v1::LossLocation, target: v1::TargetKind) -> bool {
    let service = matches!(target, v1::TargetKind::Service | v1::TargetKind::DnsServer);
    service && matches!(at.stage(), v1::Stage::Socket | v1::Stage::Application)
}

/// It was concluded from the hook that saw the packet last, or from none having seen it.
fn last_seen(at: &v1::LossLocation) -> bool {
    let open = matches!(at.stage(), v1::Stage::Ingress | v1::Stage::Egress | v1::Stage::Send);
    at.certainty() == v1::Certainty::Inferred && at.reason.is_empty() && open
}

/// What a route that leads nowhere is called, by its own node's senders and for what is passed on. An unreachable
/// neighbour's EHOSTUNREACH is among them: no proof, but no other cause either where a route is one.
fn no_route(at: &v1::LossLocation) -> bool {
    matches!(at.stage(), v1::Stage::Routing | v1::Stage::Send)
        && matches!(
            at.reason.as_str(),
            "EHOSTUNREACH" | "ENETUNREACH" | "EACCES" | "EINVAL" | "IP_OUTNOROUTES" | "IP_INNOROUTES"
        )
}

/// One name per place; requests and replies, and both families, die of one cause where the reason says why. A rule
/// or a route is one cause for all interfaces that packets come from.
fn place_key(at: &v1::LossLocation) -> (String, bool) {
    use v1::Stage::{
        NetfilterForward, NetfilterInput, NetfilterOutput, NetfilterPostrouting, NetfilterPrerouting,
    };
    let specific = !matches!(at.reason.as_str(), "" | "NOT_SPECIFIED" | "NO_SOCKET" | "OTHERHOST");
    // A request that was seen last where nobody knows which half it was: the same place.
    let open = last_seen(at) && at.direction() != v1::Direction::Reply;
    let half = if specific || open { "" } else { crate::evidence::words::direction(at.direction()) };
    let stage = at.stage().as_str_name().trim_start_matches("STAGE_").to_lowercase();
    let of_node = [
        v1::Stage::Send,
        v1::Stage::Routing,
        NetfilterForward,
        NetfilterInput,
        NetfilterOutput,
        NetfilterPostrouting,
        NetfilterPrerouting,
    ];
    let interface = if of_node.contains(&at.stage()) { "" } else { &at.interface };
    if no_route(at) {
        return (format!("{}/routing/no route", at.node), specific);
    }
    let parts = [at.node.as_str(), interface, &stage, &at.reason, half];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    (parts.join("/"), specific)
}

#[derive(Default)]
struct Build {
    index: Index,
    symbols: HashMap<String, Symbol>,
    places: HashMap<String, usize>,
    backends: HashMap<Symbol, BTreeSet<Symbol>>,
}

impl Build {
    fn symbol(&mut self, kind: char, name: &str) -> Symbol {
        if name.is_empty() {
            return 0;
        }
        let key = format!("{kind}{name}");
        if let Some(&known) = self.symbols.get(&key) {
            return known;
        }
        self.index.names.push(name.to_owned());
        let symbol = self.index.names.len() as Symbol;
        self.symbols.insert(key, symbol);
        symbol
    }

    fn place(&mut self, at: &v1::LossLocation) -> usize {
        let (key, specific) = place_key(at);
        let node = self.symbol('n', &at.node);
        *self.places.entry(key.clone()).or_insert_with(|| {
            self.index.places.push(Place { node, key, specific });
            self.index.places.len() - 1
        })
    }

    fn item(&mut self, number: usize, fact: &Fact) {
        let target = &fact.path.probe.target;
        let service = matches!(target.kind, v1::TargetKind::Service | v1::TargetKind::DnsServer);
        let bad = fact.bad();
        let none = Symptom::default();
        let symptom = fact.symptom.as_ref().filter(|_| bad).unwrap_or(&none);
        let (node, zone) = match (&symptom.towards, target.node.as_str()) {
            (Some(node), "") => (node.as_str(), symptom.towards_zone.as_str()),
            (_, node) => (node, target.zone.as_str()),
        };
        let full = format!("{}/{}", target.namespace, target.name);
        let own = target.kind == v1::TargetKind::DnsServer && !target.node.is_empty();
        let backend = if own { full.as_str() } else { symptom.backend.as_deref().unwrap_or_default() };
        let spread = target.backends > 1 || target.kind == v1::TargetKind::DnsServer;
        let at = symptom.at.as_ref();
        let here = at.filter(|at| at.stage() != v1::Stage::Wire && !answered(at, target.kind));
        let here = here.filter(|at| at.stage() != v1::Stage::Unspecified && !far_end(at));
        // Each source's own kernel refuses what nobody is behind.
        let here = here.filter(|_| target.unbacked.is_none());
        let sure =
            |at: &&v1::LossLocation| at.certainty() == v1::Certainty::Observed && at.reason != "EHOSTUNREACH";
        let item = Item {
            fact: number,
            bad,
            source: self.symbol('n', &fact.source),
            node: self.symbol('n', node),
            zones: (self.symbol('z', &fact.zone), self.symbol('z', zone)),
            target: self.symbol('t', &target.id),
            service: if service { self.symbol('s', &full) } else { 0 },
            backend: if service && spread { self.symbol('b', backend) } else { 0 },
            to_pod: target.kind == v1::TargetKind::Pod,
            from_pod: fact.path.vantage == Vantage::Pod,
            probe: fact.path.probe.kind,
            family: fact.family(),
            place: here.map(|at| self.place(at)),
            last_seen: here.is_some_and(last_seen),
            observed: here.as_ref().is_some_and(sure),
            request: at.and_then(|at| match at.direction() {
                v1::Direction::Request => Some(true),
                v1::Direction::Reply => Some(false),
                v1::Direction::Unspecified => None,
            }),
        };
        if bad && item.backend != 0 {
            self.backends.entry(item.service).or_default().insert(item.backend);
        }
        self.index.items.push(item);
    }
}

impl Index {
    /// Of all facts that are judged, those of one pattern.
    #[must_use]
    pub fn of(facts: &[Fact], pattern: Pattern) -> Self {
        let mut build = Build::default();
        let judged = |fact: &Fact| fact.pattern() == pattern && (fact.bad() || fact.good());
        for (number, fact) in facts.iter().enumerate().filter(|(_, fact)| judged(fact)) {
            build.item(number, fact);
        }
        let Build { mut index, backends, .. } = build;
        // Where all probes of a service that are known to have met a backend met the same, the others did, too.
        for item in index.items.iter_mut().filter(|item| item.bad && item.backend == 0) {
            if let Some(known) = backends.get(&item.service).filter(|known| known.len() == 1) {
                item.backend = known.iter().copied().next().unwrap_or_default();
            }
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
        each(Suspect::Everywhere);
        if self.source != self.node {
            each(Suspect::Node(self.source, Side::Out));
            each(Suspect::Node(self.source, Side::Both));
            if self.node != 0 {
                each(Suspect::Node(self.node, Side::In));
                each(Suspect::Node(self.node, Side::Both));
            }
        }
        if self.to_pod {
            each(Suspect::Pods(self.node));
        }
        if self.from_pod && !(self.to_pod && self.source == self.node) {
            each(Suspect::Pods(self.source));
        }
        if let Some((a, b)) = pair(self.source, self.node) {
            each(Suspect::Link(a, b));
        }
        if let Some((a, b)) = pair(self.zones.0, self.zones.1) {
            each(Suspect::Zones(a, b));
        }
        each(Suspect::Target(self.target));
        if self.service != 0 {
            each(Suspect::Service(self.service));
        }
        if self.backend != 0 {
            each(Suspect::Backend(self.backend));
        }
        each(Suspect::From(self.source, self.target));
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
