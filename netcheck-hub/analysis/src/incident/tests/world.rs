//! A cluster to break.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use netcheck_causes::{PodNetwork, Visibility};
use netcheck_common::domain::{Family, Outcome, PathId, ProbeKind, Vantage};

use crate::cluster::roster::Owner;
use crate::incident::{Ending, Explained, Fact, Symptom, explain, groups};
use crate::model::clock::SECOND_NS;
use crate::model::location::{Certainty, Direction, Location, Stage};
use crate::model::target::TargetKind;
use crate::model::verdict::Verdict;
use crate::plan::{PlannedPath, Probe, Sources, Target};

/// A made-up cluster: nodes in zones, a pod each, one service with three backends, one DNS server.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) facts: Vec<Fact>,
}

fn target(kind: TargetKind, name: &str, node: &str, zone: &str, backends: usize) -> Arc<Target> {
    let namespace = if kind == TargetKind::Node { "" } else { "default" };
    let id = match kind {
        TargetKind::Node => format!("node/{name}"),
        TargetKind::Pod => format!("pod/default/{name}"),
        TargetKind::DnsServer => format!("dns/default/{name}"),
        _ => format!("service/default/{name}:80"),
    };
    Arc::new(Target {
        id: id.into(),
        kind,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        node: node.to_owned(),
        zone: zone.to_owned(),
        port: if kind == TargetKind::Service { 80 } else { 0 },
        backends,
        ..Target::default()
    })
}

impl World {
    /// `zones[i]` is the zone of node i.
    pub(crate) fn new(zones: &[&str], name: impl Fn(usize) -> String) -> Self {
        use ProbeKind::{Dns, Icmp, Tcp, Udp};
        let nodes: Vec<(String, &str)> =
            zones.iter().enumerate().map(|(at, zone)| (name(at), *zone)).collect();
        let mut targets = Vec::new();
        for (node, zone) in &nodes {
            targets.push((target(TargetKind::Node, node, node, zone, 1), vec![Icmp, Udp, Tcp]));
            targets.push((target(TargetKind::Pod, &format!("pod-{node}"), node, zone, 1), vec![Icmp]));
        }
        targets.push((target(TargetKind::Service, "web", "", "", 3), vec![Tcp]));
        targets.push((target(TargetKind::DnsServer, "dns", "", "", 1), vec![Dns]));
        let mut facts = Vec::new();
        for (source, zone) in &nodes {
            let mut id = 0;
            for (target, kinds) in &targets {
                for (&kind, address) in
                    kinds.iter().flat_map(|kind| ["10.0.0.1", "fd00::1"].map(|a| (kind, a)))
                {
                    id += 1;
                    if target.kind == TargetKind::Node && target.name == *source {
                        continue;
                    }
                    let address: IpAddr = address.parse().unwrap();
                    let probe = Probe {
                        target: Arc::clone(target),
                        kind,
                        address,
                        port: 0,
                        question: None,
                        sources: Sources::All,
                        exchange: None,
                    };
                    let path = PlannedPath { id: PathId(id), vantage: Vantage::Host, at: id, probe };
                    facts.push(Fact {
                        source: source.as_str().into(),
                        zone: (*zone).into(),
                        path: Arc::new(path),
                        verdict: Verdict::Reachable,
                        symptom: None,
                        large: false,
                        by_port: false,
                        source_pod: None,
                        answered: 9,
                        met: Vec::new(),
                    });
                }
            }
        }
        Self { facts }
    }

    pub(crate) fn plain(zones: &[&str]) -> Self {
        Self::new(zones, |at| format!("n{}", at + 1))
    }

    /// The same with a pod vantage on every node, which probes what its node does.
    pub(crate) fn with_vantages(mut self) -> Self {
        let own = |fact: &Fact| {
            let mut path = (*fact.path).clone();
            (path.vantage, path.id) = (Vantage::Pod, PathId(path.id.0 + 10_000));
            Fact { path: Arc::new(path), ..fact.clone() }
        };
        self.facts.extend(self.facts.iter().map(own).collect::<Vec<_>>());
        self
    }

    /// The same with a secondary network of pods, on which every node's vantage probes every pod but itself.
    pub(crate) fn with_network(mut self, network: &str) -> Self {
        let pods: Vec<Arc<Target>> = self
            .facts
            .iter()
            .map(|fact| &fact.path.probe.target)
            .filter(|target| target.kind == TargetKind::Pod && target.network().is_none())
            .cloned()
            .collect();
        let pods: BTreeMap<Arc<str>, Arc<Target>> =
            pods.into_iter().map(|target| (Arc::clone(&target.id), target)).collect();
        let sources: BTreeMap<Arc<str>, Arc<str>> =
            self.facts.iter().map(|fact| (Arc::clone(&fact.source), Arc::clone(&fact.zone))).collect();
        for (source, zone) in sources {
            let mut id = 20_000;
            for (pod, address) in pods.values().flat_map(|pod| ["10.9.0.1", "fd09::1"].map(|a| (pod, a))) {
                // Two pods a node: the vantage, and another.
                for name in ["vantage", "other"] {
                    for kind in [ProbeKind::Icmp, ProbeKind::Udp] {
                        id += 1;
                        if name == "vantage" && *pod.node == *source {
                            continue;
                        }
                        let target = Target {
                            id: format!("pod/default/{name}-{}@{network}", pod.node).into(),
                            name: format!("{name}-{}", pod.node),
                            ..(**pod).clone()
                        };
                        let probe = Probe {
                            target: Arc::new(target),
                            kind,
                            address: address.parse().unwrap(),
                            port: 0,
                            question: None,
                            sources: Sources::All,
                            exchange: None,
                        };
                        let path = PlannedPath { id: PathId(id), vantage: Vantage::Pod, at: id, probe };
                        self.facts.push(Fact {
                            source: Arc::clone(&source),
                            zone: Arc::clone(&zone),
                            path: Arc::new(path),
                            verdict: Verdict::Reachable,
                            symptom: None,
                            large: false,
                            by_port: false,
                            source_pod: None,
                            answered: 9,
                            met: Vec::new(),
                        });
                    }
                }
            }
        }
        self
    }

    /// Breaks what is selected.
    pub(crate) fn breaks(
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

    pub(crate) fn silent(mut self, which: impl Fn(&Fact) -> bool, verdict: Verdict) -> Self {
        for fact in self.facts.iter_mut().filter(|fact| which(fact)) {
            (fact.verdict, fact.symptom) = (verdict, None);
        }
        self
    }

    pub(crate) fn explain(&self) -> Vec<Explained> {
        explained(&self.facts)
    }
}

/// What explains facts of a cluster whose agents see and report everything. Losses that a fact does not distinguish ended
/// as most did.
pub(crate) fn explained(facts: &[Fact]) -> Vec<Explained> {
    explained_in(facts, groups::World::default())
}

/// The same where packets between pods travel inside of packets of a family.
pub(crate) fn explained_over(facts: &[Fact], outer: Family) -> Vec<Explained> {
    let overlay = PodNetwork::Overlay;
    explained_in(facts, groups::World { pod_network: overlay, outer: Some(outer), ..Default::default() })
}

fn explained_in(facts: &[Fact], world: groups::World) -> Vec<Explained> {
    let visibility = facts.iter().map(|fact| (Arc::clone(&fact.source), Visibility::Full)).collect();
    let facts: Vec<Fact> = facts.iter().cloned().map(with_endings).collect();
    explain(&facts, &groups::World { visibility, ..world })
}

fn with_endings(mut fact: Fact) -> Fact {
    if fact.verdict == Verdict::Unreachable {
        fact.answered = 0;
    }
    let target = Arc::clone(&fact.path.probe.target);
    if let Some(symptom) = fact.symptom.as_mut().filter(|symptom| symptom.endings.is_empty()) {
        let node = symptom.towards.clone().unwrap_or_else(|| target.node.clone());
        let owner = |pod: &String| Owner { node: node.clone(), pod: Some(pod.clone()), network: None };
        symptom.endings = vec![Ending {
            probes: u32::try_from(symptom.lost).unwrap_or(u32::MAX),
            outcome: symptom.outcome.unwrap_or(Outcome::Timeout),
            at: symptom.at.clone(),
            met: symptom.backend.as_ref().map(owner),
        }];
    }
    fact
}

pub(crate) fn timeout() -> Symptom {
    Symptom {
        lost: 9,
        outcome: Some(Outcome::Timeout),
        lost_ns: Some((SECOND_NS, 2 * SECOND_NS)),
        ..Default::default()
    }
}

pub(crate) fn dropped(node: &str, direction: Direction) -> Symptom {
    let at = Location {
        node: node.to_owned(),
        interface: "eth0".to_owned(),
        stage: Stage::NetfilterInput,
        direction,
        reason: "NETFILTER_DROP".to_owned(),
        certainty: Certainty::Observed,
        ..Default::default()
    };
    Symptom { summary: crate::words::location::place(&at), at: Some(at), ..timeout() }
}

/// A kernel reported it, with the function that did it.
pub(crate) fn died(node: &str, direction: Direction, stage: Stage, reason: &str, function: &str) -> Symptom {
    let mut symptom = dropped(node, direction);
    let at = symptom.at.as_mut().unwrap();
    at.stage = stage;
    (at.reason, at.function) = (reason.to_owned(), function.to_owned());
    symptom.summary = crate::words::location::place(at);
    symptom
}

pub(crate) fn wire(from: &str, to: &str, direction: Direction) -> Symptom {
    let at = Location {
        node: from.to_owned(),
        stage: Stage::Wire,
        next_node: to.to_owned(),
        direction,
        certainty: Certainty::Inferred,
        ..Default::default()
    };
    Symptom { summary: crate::words::location::place(&at), at: Some(at), ..timeout() }
}

pub(crate) fn to(fact: &Fact) -> &str {
    &fact.path.probe.target.node
}

pub(crate) fn touches(fact: &Fact, node: &str) -> bool {
    *fact.source != *to(fact) && (*fact.source == *node || to(fact) == node)
}
