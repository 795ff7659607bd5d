//! Services: at which addresses each is probed, with what, and by whom. Pure.
//!
//! | address | probed by |
//! |---|---|
//! | cluster IP | every node |
//! | node port | itself and a few others ([`super::super::node_port_sources`]) |
//! | load balancer, external IP | every node |
//! | endpoint of a headless service | every node |
//!
//! DNS is a question to each of these where it is the cluster's DNS service (its cluster address and its backends are
//! servers by themselves, see [`super::Build::dns`]).
//!
//! Where a traffic policy is Local, a node without a ready backend of its own is meant to get nothing: its paths are
//! there, and expected to be silent. So are those of nodes that the source ranges of a load balancer leave out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use netcheck_common::domain::{Family, ProbeKind};

use super::super::{At, Question, Sources, Target, node_port_sources};
use super::{Build, DNS_PORT};
use crate::cluster::roster::{Backend, Roster, Service, ServicePort, Transport};
use crate::model::target::{ServiceAddress, TargetKind};

/// What is known of all ports of a service alike.
pub(super) struct Behind {
    /// Who answers in its stead; at least 1.
    ready: usize,
    unbacked: Option<String>,
    absent: Option<String>,
}

impl Behind {
    pub(super) fn of(roster: &Roster, service: &Service) -> Self {
        let name = |backend: &Backend| backend.pod.clone().unwrap_or_else(|| backend.address.to_string());
        let ready: BTreeSet<String> = service.ready_backends().map(name).collect();
        let away = ready.is_empty().then(|| away(roster, service)).flatten();
        let full = service.full_name();
        Self {
            ready: ready.len().max(1),
            unbacked: (ready.is_empty() && away.is_none())
                .then(|| format!("service {full} has no ready endpoints")),
            absent: away.map(|why| format!("service {full} has no ready endpoints: {why}")),
        }
    }

    /// A port of the service at its cluster addresses.
    pub(super) fn target(&self, service: &Service, port: &ServicePort) -> Target {
        Target {
            id: format!("service/{}/{}:{}", service.namespace, service.name, port.port).into(),
            kind: TargetKind::Service,
            namespace: service.namespace.clone(),
            name: service.name.clone(),
            node: String::new(),
            zone: String::new(),
            addresses: service.cluster_addresses.clone(),
            port: port.port,
            at: Some(At { address: ServiceAddress::ClusterIp, port: port.port, pod: String::new() }),
            backends: self.ready,
            unbacked: self.unbacked.clone(),
            absent: self.absent.clone(),
            peer: None,
            requested: None,
        }
    }

    /// The same port elsewhere. `place` names it in the id.
    fn elsewhere(
        &self,
        service: &Service,
        port: &ServicePort,
        address: ServiceAddress,
        place: &str,
    ) -> Target {
        let plain = self.target(service, port);
        let at = At { address, port: port.port, pod: String::new() };
        Target { id: format!("{}/{place}", plain.id).into(), at: Some(at), ..plain }
    }

    /// Somebody is there, so that a node without a backend of its own differs from others.
    const fn somebody(&self) -> bool {
        self.unbacked.is_none() && self.absent.is_none()
    }
}

/// A service at one kind of address, and who is behind it.
struct Offer<'a> {
    service: &'a Service,
    behind: &'a Behind,
    target: &'a Target,
    /// The traffic policy that is Local there, if one is.
    policy: Option<&'a str>,
    /// Only some may come there (`loadBalancerSourceRanges`).
    ranges: bool,
}

/// What is sent there.
struct How<'a> {
    kind: ProbeKind,
    /// For DNS.
    question: Option<&'a Question>,
}

impl<'a> How<'a> {
    const fn asking(question: &'a Question) -> Self {
        Self { kind: ProbeKind::Dns, question: Some(question) }
    }
}

/// Why nobody is ready behind a service, where that is because all of its endpoints are on nodes that are away.
fn away(roster: &Roster, service: &Service) -> Option<String> {
    let mut reasons = service.backends.iter().map(|backend| roster.node_away(roster.node_of(backend)?));
    let first = reasons.next()??;
    reasons.all(|reason| reason.is_some()).then_some(first)
}

impl<'a> Build<'a> {
    pub(super) fn service(&mut self, service: &Service, question: &Question) {
        self.ports.extend(service.backends.iter().flat_map(|backend| &backend.ports).map(|port| port.2));
        if service.headless {
            self.notes.headless(service);
        }
        let behind = Behind::of(self.roster, service);
        for port in &service.ports {
            let dns = service.dns && (port.port == DNS_PORT || port.name.starts_with("dns"));
            match port.transport {
                Transport::Tcp => self.port(service, &behind, port, ProbeKind::Tcp),
                Transport::Udp if dns => {
                    self.dns(service, port, question);
                    self.outer(service, &behind, port, &How::asking(question));
                }
                Transport::Udp if self.echoes(service) => self.port(service, &behind, port, ProbeKind::Udp),
                Transport::Udp | Transport::Other => self.notes.unjudged(service, port),
            }
        }
    }

    /// Whether netcheck's own responders answer behind it, so that silence means loss.
    fn echoes(&self, service: &Service) -> bool {
        let vantage = |backend: &Backend| {
            backend.pod.as_ref().and_then(|pod| self.roster.pods.get(pod)).is_some_and(|pod| pod.vantage)
        };
        let mut ready = service.ready_backends().peekable();
        service.vantage || (ready.peek().is_some() && ready.all(vantage))
    }

    fn port(&mut self, service: &Service, behind: &Behind, port: &ServicePort, kind: ProbeKind) {
        let how = How { kind, question: None };
        let policy = service.internal_local.then_some("internalTrafficPolicy");
        let target = behind.target(service, port);
        for &address in &service.cluster_addresses {
            let offer = Offer { service, behind, target: &target, policy, ranges: false };
            self.taken_or_all(&offer, &how, (address, port.port));
        }
        self.outer(service, behind, port, &how);
        if service.headless {
            self.endpoints(service, behind, port, kind);
        }
    }

    /// Where the service is for others than the cluster's own: load balancers, external addresses, node ports.
    fn outer(&mut self, service: &Service, behind: &Behind, port: &ServicePort, how: &How<'_>) {
        use ServiceAddress::{ExternalIp, LoadBalancer};
        let policy = service.external_local.then_some("externalTrafficPolicy");
        let clear = |address: &&IpAddr| !self.roster.is_contested(**address);
        let outer = [
            (LoadBalancer, "load-balancer", &service.load_balancer),
            (ExternalIp, "external-ip", &service.external_addresses),
        ];
        for (kind, place, addresses) in outer {
            for &address in addresses.iter().filter(clear) {
                let target = behind.elsewhere(service, port, kind, &format!("{place}/{address}"));
                let target = Target { addresses: vec![address], ..target };
                let ranges = kind == LoadBalancer && !service.sources.is_empty();
                let offer = Offer { service, behind, target: &target, policy, ranges };
                self.taken_or_all(&offer, how, (address, port.port));
            }
        }
        if port.node_port > 0 {
            self.node_ports(service, behind, port, how);
        }
    }

    fn add_so(&mut self, target: &Arc<Target>, how: &How<'_>, at: (IpAddr, u16), sources: Sources) {
        self.add_from(target, how.kind, at, sources);
        if let Some(probe) = self.probes.last_mut() {
            probe.question = how.question.cloned();
        }
    }

    /// One address. Nodes whose traffic is not taken there on purpose are expected to get nothing.
    fn taken_or_all(&mut self, offer: &Offer<'_>, how: &How<'_>, at: (IpAddr, u16)) {
        let &Offer { service, behind, target, policy, ranges } = offer;
        let target = Arc::new(target.clone());
        let policy = policy.filter(|_| behind.somebody());
        if policy.is_none() && !ranges {
            return self.add_so(&target, how, at, Sources::All);
        }
        let family = Family::of(at.0);
        let let_in = ranges.then(|| self.let_in(service, family));
        let taken = |node: &&String| {
            (policy.is_none() || service.has_local(node, family))
                && let_in.as_ref().is_none_or(|nodes| nodes.contains(node.as_str()))
        };
        let (with, without): (Vec<&String>, Vec<&String>) = self.roster.nodes.keys().partition(taken);
        let full = service.full_name();
        let why = match (policy, ranges) {
            (Some(policy), false) => format!(
                "{policy} of service {full} is Local, and the node that probes has no ready endpoint of it"
            ),
            (None, _) => format!("loadBalancerSourceRanges of service {full} leave out the node that probes"),
            (Some(policy), true) => format!(
                "loadBalancerSourceRanges of service {full} leave out the node that probes, or {policy} is Local and it \
                 has no ready endpoint of it"
            ),
        };
        let silent = Arc::new(Target { absent: Some(why), ..Target::clone(&target) });
        if !with.is_empty() {
            self.add_so(&target, how, at, with.into_iter().cloned().collect());
        }
        if !without.is_empty() {
            let without = Sources::Rest(Arc::new(without.into_iter().cloned().collect()));
            self.add_so(&silent, how, at, without);
        }
    }

    /// The nodes that a load balancer lets in wherever they probe from: at their own addresses, and at those of the
    /// vantages on them.
    fn let_in(&self, service: &Service, family: Family) -> BTreeSet<&'a str> {
        let mut senders: BTreeMap<&'a str, Vec<IpAddr>> = BTreeMap::new();
        let nodes = self.roster.nodes.values().map(|node| (node.name.as_str(), &node.addresses));
        let vantages = self.roster.pods.values().filter(|pod| pod.vantage);
        for (node, addresses) in nodes.chain(vantages.map(|pod| (pod.node.as_str(), &pod.addresses))) {
            let own = addresses.iter().filter(|address| Family::of(**address) == family);
            senders.entry(node).or_default().extend(own);
        }
        senders.retain(|_, addresses| service.lets_in(addresses.iter().copied()));
        senders.into_keys().collect()
    }

    fn node_ports(&mut self, service: &Service, behind: &Behind, port: &ServicePort, how: &How<'_>) {
        let roster = self.roster;
        for node in roster.nodes.values().filter(|node| !node.opted_out) {
            let sources = self.node_port_sources(&node.name);
            let place = format!("node-port/{}", node.name);
            let target = behind.elsewhere(service, port, ServiceAddress::NodePort, &place);
            let target = Target {
                node: node.name.clone(),
                zone: node.zone.clone(),
                addresses: node.addresses.clone(),
                port: port.node_port,
                absent: target.absent.or_else(|| node.portless()),
                ..target
            };
            for &address in &node.addresses {
                let silent = service.external_local
                    && behind.somebody()
                    && !service.has_local(&node.name, Family::of(address));
                let why = || {
                    format!(
                        "externalTrafficPolicy of service {} is Local, and {} has no ready endpoint of it",
                        service.full_name(),
                        node.name
                    )
                };
                let absent = target.absent.clone().or_else(|| silent.then(why));
                let target = Arc::new(Target { absent, ..target.clone() });
                self.add_so(&target, how, (address, port.node_port), sources.clone());
            }
        }
    }

    /// Who probes a node's own ports.
    fn node_port_sources(&mut self, node: &str) -> Sources {
        let nodes = || self.roster.nodes.values().map(|node| (node.name.as_str(), node));
        let sources = self.node_port_sources.get_or_insert_with(|| {
            let zoned =
                |(name, node): (&'a str, &'a crate::cluster::roster::Node)| (name, node.zone.as_str());
            // One that is meant to be away can't be counted on.
            node_port_sources::node_port_sources(
                nodes().map(zoned),
                nodes().filter(|(_, node)| node.unanswering().is_none()).map(zoned),
            )
        });
        sources.get(node).cloned().unwrap_or_default()
    }

    /// The backends of a headless service, each by itself.
    fn endpoints(&mut self, service: &Service, behind: &Behind, port: &ServicePort, kind: ProbeKind) {
        let of = |backend: &Backend| {
            let address = backend.address.to_string();
            backend.pod.as_deref().and_then(|pod| pod.split_once('/')).map_or(address, |pod| pod.1.to_owned())
        };
        let ready = service.ready_backends().map(|backend| (of(backend), backend));
        let mut names: Vec<(String, &Backend)> =
            ready.filter(|(_, backend)| backend.port(port).is_some()).collect();
        if names.is_empty() && service.ready_backends().next().is_some() {
            self.notes.headless_port(service, port);
        }
        names.retain(|(_, backend)| !self.roster.is_contested(backend.address));
        names.sort_by(|a, b| a.0.cmp(&b.0));
        for group in names.chunk_by(|a, b| a.0 == b.0) {
            let [(name, first), ..] = group else { continue };
            let node = self.roster.node_of(first).unwrap_or_default().to_owned();
            let pod = first.pod.clone().unwrap_or_default();
            let absent = if node.is_empty() { None } else { self.roster.node_away(&node) };
            let place = format!("endpoint/{name}");
            let plain = behind.elsewhere(service, port, ServiceAddress::Endpoint, &place);
            let target = Arc::new(Target {
                zone: self.roster.zone(&node).to_owned(),
                node,
                addresses: group.iter().map(|(_, backend)| backend.address).collect(),
                port: first.port(port).unwrap_or(port.port),
                at: plain.at.map(|at| At { pod, ..at }),
                backends: 1,
                absent,
                ..plain
            });
            for (_, backend) in group {
                let number = backend.port(port).unwrap_or(port.port);
                self.add_from(&target, kind, (backend.address, number), Sources::All);
            }
        }
    }
}
