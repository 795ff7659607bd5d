//! Facts → items, with a number for each name.

use std::collections::{BTreeSet, HashMap};

use netcheck_common::domain::{Family, Outcome, Vantage};

use super::{Index, Item, Place};
use crate::incident::cause::Symbol;
use crate::incident::{Fact, Symptom, place};
use crate::model::location::{Certainty, Direction, Location, Stage};
use crate::model::target::{ServiceAddress, TargetKind};
use crate::plan::Target;

#[derive(Default)]
pub(super) struct Build {
    pub(super) index: Index,
    symbols: HashMap<String, Symbol>,
    places: HashMap<String, usize>,
    /// Those that losses show, by service.
    pub(super) backends: HashMap<Symbol, BTreeSet<Symbol>>,
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

    fn place(&mut self, at: &Location) -> usize {
        let (key, specific) = place::name(at);
        let (node, pod) = (self.symbol('n', &at.node), self.symbol('b', &at.pod));
        *self.places.entry(key.clone()).or_insert_with(|| {
            let (no_route, rule) = (place::no_route(at), place::rule(at));
            let claims_address = place::own_source(at);
            let one_pod = place::misaddressed(at);
            let on_interface = place::on_interface(at);
            self.index.places.push(Place {
                node,
                key,
                specific,
                no_route,
                claims_address,
                rule,
                pod,
                one_pod,
                on_interface,
            });
            self.index.places.len() - 1
        })
    }

    /// Adds a judged fact.
    pub(super) fn item(&mut self, number: usize, fact: &Fact) {
        let target = &fact.path.probe.target;
        let service = matches!(target.kind, TargetKind::Service | TargetKind::DnsServer);
        let bad = fact.bad();
        let none = Symptom::default();
        let symptom = fact.symptom.as_ref().filter(|_| bad).unwrap_or(&none);
        let (node, zone) = match target.node.as_str() {
            "" => (symptom.towards.as_deref().unwrap_or_default(), symptom.towards_zone.as_str()),
            node => (node, target.zone.as_str()),
        };
        let full = target.full_name();
        let endpoint = endpoint(target);
        let backend = backend(target, &full, symptom);
        let spread = target.backends > 1 || target.kind == TargetKind::DnsServer || !endpoint.is_empty();
        let from_pod = fact.path.vantage == Vantage::Pod;
        let at = symptom.at.as_ref();
        let answered =
            symptom.outcome == Some(Outcome::HttpError) && at.is_none_or(|at| at.stage == Stage::Application);
        let request = at.and_then(of_request).filter(|_| !answered);
        let ends = (&*fact.source, node);
        let in_loop = |build: &mut Self, is: fn(&Location, &str, &str) -> bool| {
            at.zip(request).and_then(|(at, request)| build.in_loop(ends, at, request, is))
        };
        let looped = in_loop(self, place::looped);
        let strayed = in_loop(self, place::strayed).filter(|_| looped.is_none());
        let here = at.filter(|at| blames(at, fact, node));
        let sure = |at: &&Location| at.certainty == Certainty::Observed && at.reason != "EHOSTUNREACH";
        let item = Item {
            fact: number,
            bad,
            source: self.symbol('n', &fact.source),
            node: self.symbol('n', node),
            zones: (self.symbol('z', &fact.zone), self.symbol('z', zone)),
            target: self.symbol('t', &target.id),
            address: self.symbol('t', &at_address(fact)),
            service: if service { self.symbol('s', &full) } else { 0 },
            frontend: self.symbol('s', &frontend(target, &full)),
            backend: if service && spread { self.symbol('b', backend) } else { 0 },
            to_pod: target.kind == TargetKind::Pod || !endpoint.is_empty(),
            from_pod,
            secondary: fact.network().is_some(),
            probe: fact.path.probe.kind,
            family: fact.family(),
            wrapped: false,
            on_wire: None,
            // Where it was when it had come round too often says nothing.
            place: here.filter(|_| looped.is_none()).map(|at| self.place(at)),
            last_seen: here.is_some_and(place::last_seen),
            untranslatable: here
                .is_some_and(|at| service && at.node == *fact.source && place::untranslatable(at)),
            refused: here.is_some_and(place::refused),
            pod: self.symbol('b', if target.kind == TargetKind::Pod { &full } else { backend }),
            bare: target.kind == TargetKind::Node && !from_pod,
            wire: at
                .filter(|at| at.stage == Stage::Wire)
                .map(|at| (self.symbol('n', &at.node), self.symbol('n', &at.next_node))),
            looped,
            strayed,
            observed: here.as_ref().is_some_and(sure),
            answered,
            request,
        };
        if bad && item.backend != 0 {
            self.backends.entry(item.service).or_default().insert(item.backend);
        }
        self.index.items.push(item);
    }

    /// Whom a packet that goes around was for, and where it was: between these ends.
    fn in_loop(
        &mut self,
        (source, node): (&str, &str),
        at: &Location,
        request: bool,
        is: fn(&Location, &str, &str) -> bool,
    ) -> Option<(Symbol, Symbol)> {
        let (sender, receiver) = if request { (source, node) } else { (node, source) };
        let to = self.symbol('n', receiver);
        (to != 0 && is(at, sender, receiver)).then(|| (to, self.symbol('n', &at.node)))
    }
}

/// Whether it was the request that died there, rather than the reply.
fn of_request(at: &Location) -> Option<bool> {
    match at.direction {
        Direction::Request => Some(true),
        Direction::Reply => Some(false),
        Direction::Unknown => None,
    }
}

/// Whether where a probe died may be what is broken: not so of a wire, of what answered, and of what knows only that nothing
/// came from elsewhere.
fn blames(at: &Location, fact: &Fact, node: &str) -> bool {
    let target = &fact.path.probe.target;
    // On a secondary network, and on one node, pods send to each other.
    let routed = fact.network().is_none() && !(fact.path.vantage == Vantage::Pod && *fact.source == *node);
    !matches!(at.stage, Stage::Wire | Stage::Unknown)
        && !place::answered(at, target.kind)
        && !place::far_end(at, routed)
        // Each source's own kernel refuses what nobody is behind.
        && target.unbacked.is_none()
}

/// The pod that is probed as an endpoint of its service; empty otherwise.
fn endpoint(target: &Target) -> &str {
    target.at.as_ref().map_or("", |at| at.pod.as_str())
}

/// Who answers behind a target, as far as that is known. `full`: its own name.
fn backend<'a>(target: &'a Target, full: &'a str, symptom: &'a Symptom) -> &'a str {
    let own = target.kind == TargetKind::DnsServer && !target.node.is_empty();
    match (own, endpoint(target)) {
        (true, _) => full,
        (false, "") => symptom.backend.as_deref().unwrap_or_default(),
        (false, pod) => pod,
    }
}

/// A service's port at one kind of address that is not its cluster IP; empty otherwise.
fn frontend(target: &Target, full: &str) -> String {
    let at = target.at.as_ref().filter(|at| at.address != ServiceAddress::ClusterIp);
    at.map_or_else(String::new, |at| format!("{full}:{} {}", at.port, at.address.key()))
}

/// `node/n2 at 10.0.0.2` of a node or pod that has several addresses of the family; empty otherwise.
fn at_address(fact: &Fact) -> String {
    let target = &fact.path.probe.target;
    let own = matches!(target.kind, TargetKind::Node | TargetKind::Pod);
    let alike = target.addresses.iter().filter(|&&address| Family::of(address) == fact.family());
    if own && alike.count() > 1 {
        format!("{} at {}", target.id, fact.path.probe.address)
    } else {
        String::new()
    }
}
