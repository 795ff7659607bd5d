use super::*;
use std::collections::BTreeSet;
use std::net::IpAddr;

use netcheck_common::domain::{PathId, Vantage};

use crate::clock::SECOND_NS;
use crate::plan::{Probe, Target};

/// A made-up cluster: nodes in zones, a pod each, one service with three backends, one DNS server.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) facts: Vec<Fact>,
}

fn target(kind: v1::TargetKind, name: &str, node: &str, zone: &str, backends: usize) -> Arc<Target> {
    let namespace = if kind == v1::TargetKind::Node { "" } else { "default" };
    let id = match kind {
        v1::TargetKind::Node => format!("node/{name}"),
        v1::TargetKind::Pod => format!("pod/default/{name}"),
        v1::TargetKind::DnsServer => format!("dns/default/{name}"),
        _ => format!("service/default/{name}:80"),
    };
    Arc::new(Target {
        id: id.into(),
        kind,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        node: node.to_owned(),
        zone: zone.to_owned(),
        addresses: Vec::new(),
        port: if kind == v1::TargetKind::Service { 80 } else { 0 },
        backends,
        absent: None,
    })
}

impl World {
    /// `zones[i]` is the zone of node i.
    pub(super) fn new(zones: &[&str], name: impl Fn(usize) -> String) -> Self {
        use ProbeKind::{Dns, Icmp, Tcp, Udp};
        let nodes: Vec<(String, &str)> =
            zones.iter().enumerate().map(|(at, zone)| (name(at), *zone)).collect();
        let mut targets = Vec::new();
        for (node, zone) in &nodes {
            targets.push((target(v1::TargetKind::Node, node, node, zone, 1), vec![Icmp, Udp, Tcp]));
            targets.push((target(v1::TargetKind::Pod, &format!("pod-{node}"), node, zone, 1), vec![Icmp]));
        }
        targets.push((target(v1::TargetKind::Service, "web", "", "", 3), vec![Tcp]));
        targets.push((target(v1::TargetKind::DnsServer, "dns", "", "", 1), vec![Dns]));
        let mut facts = Vec::new();
        for (source, zone) in &nodes {
            let mut id = 0;
            for (target, kinds) in &targets {
                for (&kind, address) in
                    kinds.iter().flat_map(|kind| ["10.0.0.1", "fd00::1"].map(|a| (kind, a)))
                {
                    id += 1;
                    if target.kind == v1::TargetKind::Node && target.name == *source {
                        continue;
                    }
                    let address: IpAddr = address.parse().unwrap();
                    let probe = Probe { target: Arc::clone(target), kind, address, port: 0, question: None };
                    let path = PlannedPath { id: PathId(id), vantage: Vantage::Host, probe };
                    facts.push(Fact {
                        source: source.as_str().into(),
                        zone: (*zone).into(),
                        path: Arc::new(path),
                        verdict: Verdict::Reachable,
                        symptom: None,
                    });
                }
            }
        }
        Self { facts }
    }

    pub(super) fn plain(zones: &[&str]) -> Self {
        Self::new(zones, |at| format!("n{}", at + 1))
    }

    /// Breaks what is selected.
    pub(super) fn breaks(
        mut self,
        which: impl Fn(&Fact) -> bool,
        symptom: impl Fn(&Fact) -> Symptom,
    ) -> Self {
        for fact in self.facts.iter_mut().filter(|fact| which(fact)) {
            fact.verdict = Verdict::Unreachable;
            fact.symptom = Some(symptom(fact));
        }
        self
    }

    fn silent(mut self, which: impl Fn(&Fact) -> bool, verdict: Verdict) -> Self {
        for fact in self.facts.iter_mut().filter(|fact| which(fact)) {
            (fact.verdict, fact.symptom) = (verdict, None);
        }
        self
    }

    fn explain(&self) -> Vec<Explained> {
        explain(&self.facts)
    }
}

pub(super) fn timeout() -> Symptom {
    Symptom {
        lost: 9,
        outcome: Some(Outcome::Timeout),
        lost_ns: Some((SECOND_NS, 2 * SECOND_NS)),
        ..Default::default()
    }
}

fn dropped(node: &str, direction: v1::Direction) -> Symptom {
    let at = v1::LossLocation {
        node: node.to_owned(),
        interface: "eth0".to_owned(),
        stage: v1::Stage::NetfilterInput.into(),
        direction: direction.into(),
        reason: "NETFILTER_DROP".to_owned(),
        certainty: v1::Certainty::Observed.into(),
        ..Default::default()
    };
    Symptom { summary: crate::evidence::words::place(&at), at: Some(at), ..timeout() }
}

fn wire(from: &str, to: &str, direction: v1::Direction) -> Symptom {
    let at = v1::LossLocation {
        node: from.to_owned(),
        stage: v1::Stage::Wire.into(),
        next_node: to.to_owned(),
        direction: direction.into(),
        certainty: v1::Certainty::Inferred.into(),
        ..Default::default()
    };
    Symptom { summary: crate::evidence::words::place(&at), at: Some(at), ..timeout() }
}

pub(super) fn to(fact: &Fact) -> &str {
    &fact.path.probe.target.node
}

pub(super) fn touches(fact: &Fact, node: &str) -> bool {
    *fact.source != *to(fact) && (*fact.source == *node || to(fact) == node)
}

fn kinds(causes: &[Explained]) -> Vec<(&str, v1::IncidentKind, usize)> {
    causes.iter().map(|cause| (cause.key.as_str(), cause.kind, cause.paths.len())).collect()
}

const SIX: [&str; 6] = ["a", "a", "a", "b", "b", "b"];

#[test]
fn nothing_wrong_is_no_incident_and_neither_is_what_nobody_measured() {
    let world = World::plain(&SIX);
    assert!(world.explain().is_empty());
    for verdict in [Verdict::NoData, Verdict::ExpectedAbsent] {
        assert!(world.clone().silent(|fact| touches(fact, "n2"), verdict).explain().is_empty());
    }
    let mut once = world;
    once.facts[0].verdict = Verdict::Degraded;
    once.facts[0].symptom = Some(Symptom { lost: 1, ..timeout() });
    assert!(once.explain().is_empty(), "one lost probe is noise");
}

#[test]
fn a_dead_node_of_a_hundred_is_one_incident() {
    let zones: Vec<&str> = (0..100).map(|at| ["a", "b", "c"][at % 3]).collect();
    let world = World::plain(&zones)
        .breaks(|fact| to(fact) == "n7", |_| timeout())
        .silent(|fact| *fact.source == *"n7", Verdict::NoData);
    let causes = world.explain();
    assert_eq!(kinds(&causes), [("node/n7", v1::IncidentKind::Node, 99 * 8)]);
    assert_eq!(causes[0].headline, "n7 answers nobody");
    assert!(
        causes[0].evidence[0].starts_with("792 of 792 paths to n7 fail, 0 of "),
        "{:?}",
        causes[0].evidence
    );
    assert_eq!((causes[0].contradictions.len(), causes[0].certainty), (0, v1::Certainty::Inferred));
}

#[test]
fn neighbours_that_do_not_find_a_dead_node_are_no_causes_of_their_own() {
    let symptom = |fact: &Fact| {
        let mut symptom = dropped(&fact.source, v1::Direction::Request);
        let at = symptom.at.as_mut().unwrap();
        at.set_stage(v1::Stage::Neighbour);
        at.reason = "NEIGH_FAILED".to_owned();
        symptom
    };
    let world = World::plain(&SIX)
        .breaks(|fact| to(fact) == "n2", symptom)
        .silent(|fact| *fact.source == *"n2", Verdict::NoData);
    assert_eq!(kinds(&world.explain()), [("node/n2", v1::IncidentKind::Node, 40)]);
}

#[test]
fn zones_over_udp_only() {
    let between = |fact: &Fact| {
        let zone = &fact.path.probe.target.zone;
        !zone.is_empty() && *zone != *fact.zone && fact.path.probe.kind == ProbeKind::Udp
    };
    let causes = World::plain(&SIX).breaks(between, |_| timeout()).explain();
    assert_eq!(kinds(&causes), [("zones/a~b (UDP)", v1::IncidentKind::Link, 36)]);
    assert_eq!(causes[0].headline, "nothing passes between zone a and zone b, UDP only");
    assert!(causes[0].evidence[0].starts_with("36 of 36 UDP paths between zones a and b fail, 0 of "));
    assert_eq!((causes[0].probe, causes[0].family), (Some(ProbeKind::Udp), None));
}

#[test]
fn one_direction_of_a_link() {
    let way = |fact: &Fact| {
        let direction = if *fact.source == *"n1" { v1::Direction::Request } else { v1::Direction::Reply };
        wire("n1", "n2", direction)
    };
    let between = |fact: &Fact| touches(fact, "n1") && touches(fact, "n2");
    let causes = World::plain(&SIX).breaks(between, way).explain();
    assert_eq!(kinds(&causes), [("link/n1>n2", v1::IncidentKind::OneWay, 16)]);
    assert_eq!(causes[0].headline, "packets from n1 to n2 are lost, those back are not");
    let both = |_: &Fact| timeout();
    let causes = World::plain(&SIX).breaks(between, both).explain();
    assert_eq!(kinds(&causes), [("link/n1~n2", v1::IncidentKind::Link, 16)]);
}

#[test]
fn one_backend_of_three_refuses() {
    let refused = |fact: &Fact| Symptom {
        // One source's probes are not known to have met anybody.
        backend: (*fact.source != *"n3").then(|| "default/web-2".to_owned()),
        outcome: Some(Outcome::Refused),
        summary: "refused by backend default/web-2".to_owned(),
        ..timeout()
    };
    let service = |fact: &Fact| fact.path.probe.target.kind == v1::TargetKind::Service;
    let mut world = World::plain(&SIX).breaks(service, refused);
    for fact in world.facts.iter_mut().filter(|fact| service(fact)) {
        fact.verdict = Verdict::Degraded;
    }
    let causes = world.explain();
    assert_eq!(kinds(&causes), [("backend/default/web-2", v1::IncidentKind::Backend, 12)]);
    assert_eq!(causes[0].headline, "default/web-2 refuses: it fails its share of service default/web:80");
    assert!(!causes[0].unreachable);

    let all =
        World::plain(&SIX).breaks(service, |_| Symptom { outcome: Some(Outcome::Refused), ..timeout() });
    assert_eq!(kinds(&all.explain()), [("target/service/default/web:80", v1::IncidentKind::Service, 12)]);
}

#[test]
fn a_dns_server_that_answers_servfail() {
    let symptom = |_: &Fact| {
        let at = v1::LossLocation {
            node: "n3".to_owned(),
            stage: v1::Stage::Application.into(),
            reason: "SERVFAIL".to_owned(),
            certainty: v1::Certainty::Observed.into(),
            ..Default::default()
        };
        let summary = "SERVFAIL from pod default/dns-1".to_owned();
        Symptom { at: Some(at), summary, outcome: Some(Outcome::DnsError), ..timeout() }
    };
    let dns = |fact: &Fact| fact.path.probe.kind == ProbeKind::Dns;
    let causes = World::plain(&SIX).breaks(dns, symptom).explain();
    assert_eq!(kinds(&causes), [("target/dns/default/dns", v1::IncidentKind::DnsServer, 12)]);
    assert_eq!(causes[0].headline, "DNS server default/dns answers nobody as it should: it answers SERVFAIL");
    assert_eq!(causes[0].certainty, v1::Certainty::Observed);
}

#[test]
fn one_family_or_one_protocol_only() {
    let causes = World::plain(&SIX).breaks(|fact| fact.family() == Family::V6, |_| timeout()).explain();
    assert_eq!(causes.iter().map(|cause| cause.kind).collect::<Vec<_>>(), [v1::IncidentKind::Family]);
    assert_eq!(causes[0].headline, "IPv6 fails everywhere");
    let causes =
        World::plain(&SIX).breaks(|fact| fact.path.probe.kind == ProbeKind::Udp, |_| timeout()).explain();
    assert_eq!(kinds(&causes), [("everywhere (UDP)", v1::IncidentKind::Protocol, 60)]);
}

#[test]
fn the_pods_of_a_node_while_the_node_is_fine() {
    let pods = |fact: &Fact| to(fact) == "n2" && fact.path.probe.target.kind == v1::TargetKind::Pod;
    let causes = World::plain(&SIX).breaks(pods, |_| timeout()).explain();
    assert_eq!(kinds(&causes), [("pods/n2", v1::IncidentKind::PodNetwork, 12)]);
}

#[test]
fn an_observed_drop_explains_what_dies_there_and_outranks_counting() {
    let symptom = |fact: &Fact| {
        let direction = if *fact.source == *"n2" { v1::Direction::Reply } else { v1::Direction::Request };
        // Not every path has its place yet.
        if *fact.source == *"n5" { timeout() } else { dropped("n2", direction) }
    };
    let udp = |fact: &Fact| touches(fact, "n2") && fact.path.probe.kind == ProbeKind::Udp;
    let causes = World::plain(&SIX).breaks(udp, symptom).explain();
    assert_eq!(causes.len(), 1, "{:?}", kinds(&causes));
    assert_eq!((causes[0].kind, causes[0].paths.len()), (v1::IncidentKind::Place, 20));
    assert_eq!(causes[0].certainty, v1::Certainty::Observed);
    assert!(causes[0].headline.contains("dropped on n2 at netfilter input"), "{}", causes[0].headline);
    assert!(causes[0].evidence.iter().any(|line| line.starts_with("2 of 20 paths have no place")));
}

#[test]
fn two_independent_causes_are_two_incidents() {
    let dns = |fact: &Fact| fact.path.probe.kind == ProbeKind::Dns && *fact.source != *"n7";
    let dead = |fact: &Fact| touches(fact, "n2");
    let causes = World::plain(&SIX).breaks(dead, |_| timeout()).breaks(dns, |_| timeout()).explain();
    let found: BTreeSet<v1::IncidentKind> = causes.iter().map(|cause| cause.kind).collect();
    assert_eq!(
        found,
        BTreeSet::from([v1::IncidentKind::Node, v1::IncidentKind::DnsServer]),
        "{:?}",
        kinds(&causes)
    );
    assert_eq!(causes[0].headline, "n2 answers nobody and reaches nobody");
}

#[test]
fn incidents_open_after_two_evaluations_stay_themselves_and_close_after_five() {
    let fine = World::plain(&SIX);
    let part = fine.clone().breaks(|fact| to(fact) == "n2" && *fact.source == *"n1", |_| timeout());
    let dead = fine.clone().breaks(|fact| touches(fact, "n2"), |_| timeout());
    let mut book = Book::default();
    let mut now_ns = 0;
    let mut see = |world: &World| {
        now_ns += SECOND_NS;
        book.update(&world.explain(), &world.facts, now_ns);
        (book.open().into_iter().map(|incident| incident.wire).collect::<Vec<_>>(), book.closed().count())
    };
    assert!(see(&part).0.is_empty(), "once is not enough");
    assert!(see(&fine).0.is_empty());
    assert!(see(&part).0.is_empty(), "the count starts anew");
    let opened = see(&part).0;
    assert_eq!(opened.len(), 1);
    // More symptoms of the same: another reading, the same incident.
    let grown = see(&dead).0;
    assert_eq!(grown.len(), 1);
    assert_eq!((&grown[0].id, grown[0].kind()), (&opened[0].id, v1::IncidentKind::Node));
    assert_eq!(grown[0].opened_at, opened[0].opened_at);
    for _ in 1..book::CLOSE_AFTER {
        assert_eq!(see(&fine).0.len(), 1, "not closed at once");
    }
    let (open, closed) = see(&fine);
    assert_eq!((open.len(), closed), (0, 1));
    // The same cause again is a new incident.
    see(&dead);
    let again = see(&dead).0;
    assert_ne!(again[0].id, opened[0].id);
}
