//! Facts of paths → what the explainer takes: what there is, and groups of probes that are alike. Pure.
//!
//! Names become numbers here, and [`Grouped`] keeps which fact each group is of. A path whose probes met several
//! backends of a service is a group for each of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use netcheck_causes as causes;
use netcheck_causes::{Endpoint, Entry, Group, NodeIx, PodIx, PodNetwork, ServiceIx, Topology, Visibility};
use netcheck_common::domain::{Family, ProbeKind, Vantage};

use super::end::{Sort, role, sort, stage};
use super::{Ending, Fact, networks};
use crate::cluster::roster::{Owner, Roster};
use crate::model::Pattern;
use crate::model::location::{Direction, Location};
use crate::model::target::{ServiceAddress, TargetKind};
use crate::plan::Target;

/// The cluster around the paths, as of one evaluation.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Whose the addresses are.
    pub roster: Arc<Roster>,
    /// What each node's agent can report, by node; nodes that are not in it have none.
    pub visibility: BTreeMap<Arc<str>, Visibility>,
    /// How packets between pods of two nodes travel.
    pub pod_network: PodNetwork,
    /// The family of the outer packets, where packets between pods of two nodes are wrapped; none where nobody knows it.
    pub outer: Option<Family>,
}

/// What the explainer takes, and where it came from.
#[derive(Debug, Default)]
pub struct Grouped {
    /// What there is.
    pub topology: Topology,
    /// Groups of probes.
    pub groups: Vec<Group>,
    /// The fact that each group is of.
    pub facts: Vec<usize>,
}

/// Numbers by name.
#[derive(Default)]
struct Build<'a> {
    out: Grouped,
    nodes: HashMap<&'a str, NodeIx>,
    zones_by_node: HashMap<&'a str, &'a str>,
    zones: HashMap<&'a str, u32>,
    pods: HashMap<(String, Option<u32>), PodIx>,
    services: HashMap<Arc<str>, ServiceIx>,
    service_groups: HashMap<(&'a str, &'a str), u32>,
    networks: HashMap<String, u32>,
}

/// Groups of all facts that are judged.
#[must_use]
pub fn groups(facts: &[Fact], world: &World) -> Grouped {
    let mut build = Build::default();
    build.out.topology.pod_network = world.pod_network;
    for fact in facts {
        build.zones_by_node.insert(&fact.source, &fact.zone);
        let target = &fact.path.probe.target;
        if !target.node.is_empty() && !target.zone.is_empty() {
            build.zones_by_node.insert(&target.node, &target.zone);
        }
    }
    for node in world.roster.nodes.values() {
        build.node(&node.name, world);
    }
    // A secondary network that loses nothing says nothing of the others.
    let hurt = networks::with_losses(facts);
    let counts = |fact: &Fact| {
        (fact.bad() || fact.good()) && fact.network().is_none_or(|network| hurt.contains(network))
    };
    for (number, fact) in facts.iter().enumerate().filter(|(_, fact)| counts(fact)) {
        build.fact(number, fact, world);
    }
    build.out
}

impl<'a> Build<'a> {
    fn node(&mut self, name: &'a str, world: &'a World) -> NodeIx {
        if let Some(&known) = self.nodes.get(name) {
            return known;
        }
        let listed = world.roster.zone(name);
        let zone = if listed.is_empty() {
            self.zones_by_node.get(name).copied().unwrap_or_default()
        } else {
            listed
        };
        let zone = match zone {
            "" => None,
            zone => Some(*self.zones.entry(zone).or_insert_with(|| {
                self.out.topology.zones.push(zone.into());
                (self.out.topology.zones.len() - 1) as u32
            })),
        };
        let visibility = world.visibility.get(name).copied().unwrap_or(Visibility::Silent);
        self.out.topology.nodes.push(causes::Node { name: name.into(), zone, visibility });
        let at = (self.out.topology.nodes.len() - 1) as NodeIx;
        self.nodes.insert(name, at);
        at
    }

    fn pod(&mut self, name: &str, node: NodeIx, network: Option<&str>) -> PodIx {
        let topology = &mut self.out.topology;
        let network = network.map(|network| {
            *self.networks.entry(network.to_owned()).or_insert_with(|| {
                topology.secondary_networks.push(network.into());
                (topology.secondary_networks.len() - 1) as u32
            })
        });
        *self.pods.entry((name.to_owned(), network)).or_insert_with(|| {
            topology.pods.push(causes::Pod { name: name.into(), node, network });
            (topology.pods.len() - 1) as PodIx
        })
    }

    /// Where a socket of this pod is. A pod in its node's network has its node's.
    fn pod_endpoint(
        &mut self,
        name: &str,
        node: &'a str,
        network: Option<&str>,
        world: &'a World,
    ) -> Endpoint {
        let at = self.node(node, world);
        match world.roster.pods.get(name) {
            Some(pod) if pod.host_network => Endpoint::Node(at),
            _ => Endpoint::Pod(self.pod(name, at, network)),
        }
    }

    fn owner(&mut self, owner: &'a Owner, world: &'a World) -> Endpoint {
        match &owner.pod {
            Some(pod) => self.pod_endpoint(pod, &owner.node, owner.network.as_deref(), world),
            None => Endpoint::Node(self.node(&owner.node, world)),
        }
    }

    fn service(&mut self, target: &'a Target, world: &'a World) -> ServiceIx {
        let full = target.full_name();
        let port = target.at.as_ref().map_or(target.port, |at| at.port);
        let name: Arc<str> = match target.kind {
            TargetKind::Endpoint => Arc::clone(&target.id),
            _ => format!("{full}:{port}").into(),
        };
        if let Some(&known) = self.services.get(&name) {
            return known;
        }
        let next = self.service_groups.len() as u32;
        let group = *self.service_groups.entry((&target.namespace, &target.name)).or_insert(next);
        let mut backends = Vec::new();
        if target.kind != TargetKind::Endpoint
            && let Some(service) = world.roster.services.get(&full)
        {
            for backend in service.ready_backends() {
                let endpoint = match (world.roster.owner(backend.address), &backend.node) {
                    (Some(owner), _) => self.owner(owner, world),
                    (None, Some(node)) => Endpoint::Node(self.node(node, world)),
                    (None, None) => Endpoint::Outside,
                };
                if !backends.contains(&endpoint) {
                    backends.push(endpoint);
                }
            }
        }
        self.out.topology.services.push(causes::Service { name: Arc::clone(&name), group, backends });
        let at = (self.out.topology.services.len() - 1) as ServiceIx;
        self.services.insert(name, at);
        at
    }

    fn source(&mut self, fact: &'a Fact, world: &'a World) -> Endpoint {
        let node = self.node(&fact.source, world);
        if fact.path.vantage == Vantage::Host {
            return Endpoint::Node(node);
        }
        let own = format!("vantage of {}", fact.source);
        let name = fact.source_pod.as_deref().filter(|name| !name.is_empty()).unwrap_or(&own);
        Endpoint::Pod(self.pod(name, node, fact.network()))
    }

    /// What is probed, but for a backend that only its packets show.
    fn target(&mut self, fact: &'a Fact, world: &'a World) -> causes::Target {
        let target: &Target = &fact.path.probe.target;
        let direct = |endpoint| causes::Target { endpoint, service: None, entry: Entry::Direct };
        match target.kind {
            TargetKind::Node => direct(Some(Endpoint::Node(self.node(&target.name, world)))),
            TargetKind::Pod => {
                let name = target.full_name();
                let network = fact.network();
                direct(Some(self.pod_endpoint(&name, &target.node, network, world)))
            }
            TargetKind::DnsServer if !target.node.is_empty() => {
                let service = Some(self.service(target, world));
                let owner = world.roster.owner(fact.path.probe.address);
                let node = self.node(&target.node, world);
                let endpoint = owner.map_or(Endpoint::Node(node), |owner| self.owner(owner, world));
                causes::Target { endpoint: Some(endpoint), service, entry: Entry::Direct }
            }
            TargetKind::Service | TargetKind::DnsServer => self.service_target(target, world),
            TargetKind::Endpoint => {
                let owner = world.roster.owner(fact.path.probe.address);
                let endpoint = owner.map_or(Endpoint::Outside, |owner| self.owner(owner, world));
                let service = Some(self.service(target, world));
                causes::Target { endpoint: Some(endpoint), service, entry: Entry::Direct }
            }
        }
    }

    fn service_target(&mut self, target: &'a Target, world: &'a World) -> causes::Target {
        let service = Some(self.service(target, world));
        let address = target.at.as_ref().map_or(ServiceAddress::ClusterIp, |at| at.address);
        let entry = match address {
            ServiceAddress::NodePort => Entry::NodePort(self.node(&target.node, world)),
            ServiceAddress::LoadBalancer | ServiceAddress::ExternalIp => Entry::External,
            ServiceAddress::Endpoint => Entry::Direct,
            ServiceAddress::ClusterIp => Entry::ClusterIp,
        };
        let pod = target.at.as_ref().map_or("", |at| at.pod.as_str());
        let endpoint = (!pod.is_empty() && !target.node.is_empty())
            .then(|| self.pod_endpoint(pod, &target.node, None, world));
        causes::Target { endpoint, service, entry }
    }

    fn fact(&mut self, number: usize, fact: &'a Fact, world: &'a World) {
        let source = self.source(fact, world);
        let target = self.target(fact, world);
        let class = class(fact);
        let mut parts: BTreeMap<Option<Endpoint>, Group> = BTreeMap::new();
        let empty = |endpoint| Group {
            source,
            target: causes::Target { endpoint, ..target },
            class,
            answered: 0,
            lost: 0,
            losses: Vec::new(),
        };
        let translated = target.endpoint.is_none();
        let met = fact.met.iter().filter(|_| translated);
        let mut left = fact.answered;
        for (address, answered) in met {
            let Some(owner) = world.roster.owner(*address) else { continue };
            let endpoint = Some(self.owner(owner, world));
            let answered = (*answered).min(left);
            left -= answered;
            parts.entry(endpoint).or_insert_with(|| empty(endpoint)).answered += answered;
        }
        if left > 0 {
            parts.entry(target.endpoint).or_insert_with(|| empty(target.endpoint)).answered += left;
        }
        if let Some(symptom) = fact.symptom.as_ref().filter(|_| fact.bad()) {
            let mut rest = u32::try_from(symptom.lost).unwrap_or(u32::MAX);
            for ending in &symptom.endings {
                let met = ending.met.as_ref().filter(|_| translated).map(|owner| self.owner(owner, world));
                let endpoint = met.or(target.endpoint);
                let loss = self.loss(ending, world);
                let part = parts.entry(endpoint).or_insert_with(|| empty(endpoint));
                part.lost = part.lost.saturating_add(ending.probes);
                rest = rest.saturating_sub(ending.probes);
                part.losses.push(loss);
            }
            if rest > 0 {
                parts.entry(target.endpoint).or_insert_with(|| empty(target.endpoint)).lost += rest;
            }
        }
        self.known_backends(target.service, parts.keys().flatten().copied());
        for group in parts.into_values().filter(|group| group.answered > 0 || group.lost > 0) {
            self.out.groups.push(group);
            self.out.facts.push(number);
        }
    }

    /// Who was met answers for the service, whatever its endpoint slices say.
    fn known_backends(&mut self, service: Option<ServiceIx>, met: impl Iterator<Item = Endpoint>) {
        let services = &mut self.out.topology.services;
        let Some(service) = service.and_then(|service| services.get_mut(service as usize)) else { return };
        for endpoint in met {
            if !service.backends.contains(&endpoint) {
                service.backends.push(endpoint);
            }
        }
    }

    fn loss(&mut self, ending: &'a Ending, world: &'a World) -> causes::Loss {
        let direction = ending.at.as_ref().and_then(|at| direction(at.direction));
        let by = |build: &mut Self| {
            let at = ending.at.as_ref()?;
            let node = (!at.node.is_empty()).then(|| build.node(&at.node, world))?;
            let pod = world.roster.pods.get(&at.pod);
            Some(match pod {
                Some(pod) if !pod.host_network => Endpoint::Pod(build.pod(&at.pod, node, None)),
                _ => Endpoint::Node(node),
            })
        };
        let end = match sort(ending) {
            Sort::Nothing => causes::End::Unknown,
            Sort::NotSent(errno) => causes::End::NotSent(errno.into()),
            Sort::Answered(answer) => causes::End::Answered { by: by(self), answer },
            Sort::Dropped(at) => causes::End::Dropped(self.place(at, world)),
            Sort::LastSeen(at) => {
                let missing = (!at.next_node.is_empty()).then(|| self.node(&at.next_node, world));
                causes::End::LastSeen { at: self.place(at, world), missing }
            }
        };
        causes::Loss { probes: ending.probes, direction, end }
    }

    fn place(&mut self, at: &'a Location, world: &'a World) -> causes::Place {
        let node = self.node(&at.node, world);
        let pod = (!at.pod.is_empty()).then(|| self.pod(&at.pod, node, None));
        causes::Place {
            node,
            pod,
            stage: stage(at.stage),
            interface: role(at.role),
            reason: at.reason.as_str().into(),
            function: at.function.as_str().into(),
        }
    }
}

/// What kind of packets a fact speaks of.
fn class(fact: &Fact) -> causes::Class {
    let probe = &fact.path.probe;
    // DNS over TCP or TLS crosses what TCP crosses.
    let kind = if probe.kind == ProbeKind::Dns && probe.over_tcp() { ProbeKind::Tcp } else { probe.kind };
    let size = if fact.large { causes::Size::Full } else { causes::Size::Small };
    let port = |fact: &Fact| fact.symptom.as_ref()?.by_port.as_ref()?.lost.first().map(|of| of.0);
    let source_port = (fact.pattern() == Pattern::Port).then(|| port(fact).unwrap_or(0));
    causes::Class { kind, family: fact.family(), size, fresh: probe.over_tcp(), source_port }
}

/// The explainer's word for a half of a round trip.
const fn direction(direction: Direction) -> Option<causes::Direction> {
    match direction {
        Direction::Unknown => None,
        Direction::Request => Some(causes::Direction::Request),
        Direction::Reply => Some(causes::Direction::Reply),
    }
}
