//! Roster → every probe that anybody shall send, in one stable order.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

#[cfg(test)]
use netcheck_common::domain::Family;
use netcheck_common::domain::{ProbeKind, Vantage};
use netcheck_common::header::DEFAULT_RESPONDER_PORT;

#[cfg(test)]
use super::Wanted;
use super::addresses::{AddressOf, Addresses};
use super::groups::Groups;
use super::prober::Prober;
use super::{PlannedPath, Probe, Question, Sources, Target};
use crate::cluster::roster::{Backend, Roster, Service, ServicePort};
use crate::cluster::selection::{Decision, Selection};

mod networks;
mod notes;
mod services;
#[cfg(test)]
mod tests;

use crate::model::target::TargetKind;
pub(super) use networks::Attached;
use networks::{Vantages, vantages};
use notes::Notes;

const DNS_PORT: u16 = 53;

/// All targets of a roster and how they are probed.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Ordered by target, then kind, then address.
    pub probes: Vec<Probe>,
    /// Whose each address is, ascending by address.
    pub addresses: Arc<Addresses>,
    /// Ports of targets anywhere in the cluster.
    pub watched_ports: Arc<[u16]>,
    /// What is not probed, and why, one line each.
    pub left_out: Arc<[String]>,
    /// Who must vouch for servers where a probe asks for it (PEM).
    pub authorities: Arc<[u8]>,
    /// Short names that every node looks up with its own search list.
    pub search_names: Arc<[String]>,
    /// What of the wishes makes no sense, one line each.
    pub troubles: Vec<String>,
    /// Vantages on secondary networks of pods.
    pub(super) vantages: Vantages,
    /// The probes by target; made last.
    pub(crate) groups: Arc<Groups>,
}

impl Catalog {
    /// Builds it. `responders`: ports of the responders of connected agents, 0 for none; others are taken to listen
    /// on the default port. `dns_name`: absolute name to ask DNS servers for.
    #[must_use]
    pub fn of(
        roster: &Roster,
        selection: &Selection,
        responders: &BTreeMap<String, u16>,
        dns_name: &str,
    ) -> Self {
        let question =
            Question { name: absolute(dns_name), record_type: record_type(roster), further: false };
        let mut build = Build {
            roster,
            selection,
            probes: Vec::new(),
            ports: BTreeSet::from([DNS_PORT]),
            node_port_sources: None,
            notes: Notes::default(),
        };
        build.nodes(responders);
        build.pods();
        // Nobody is meant to be behind a service that neither selects pods nor has endpoints written by hand.
        let meant = |service: &&Service| service.selects || !service.backends.is_empty();
        let chosen = |service: &&Service| selection.of_service(service) == Decision::Probed;
        for service in roster.services.values().filter(chosen) {
            build.notes.names_of(service);
            if meant(&service) {
                build.service(service, &question);
            } else {
                build.notes.leads_nowhere(service);
            }
        }
        let Build { probes, ports, notes, .. } = build;
        let mut catalog = Self {
            probes,
            addresses: Arc::new(addresses(roster)),
            watched_ports: ports.into_iter().collect(),
            left_out: notes.lines(roster, selection),
            vantages: vantages(roster),
            ..Self::default()
        };
        catalog.sort();
        catalog
    }

    /// Brings the probes into their order, each once.
    pub(super) fn sort(&mut self) {
        self.probes.sort_by(|a, b| a.order().cmp(&b.order()));
        self.probes.dedup_by(|a, b| {
            a.identity(Vantage::Host) == b.identity(Vantage::Host) && a.sources == b.sources
        });
    }

    /// The same, ready for plans to be made of it. What is the same as in an older one is shared with it.
    #[must_use]
    pub fn grouped(mut self, older: &Self) -> Self {
        self.addresses = Arc::unwrap_or_clone(self.addresses).after(&older.addresses);
        if self.watched_ports == older.watched_ports {
            self.watched_ports = Arc::clone(&older.watched_ports);
        }
        if self.search_names == older.search_names {
            self.search_names = Arc::clone(&older.search_names);
        }
        self.groups = Arc::new(Groups::of(&self.probes));
        self
    }

    /// What one node probes: all that it is a source of but itself, in the families that it has. Paths of one target
    /// are next to each other.
    #[cfg(test)]
    pub(crate) fn of_node<'a>(&'a self, node: &str, families: &[Family]) -> Vec<Wanted<'a>> {
        let wanted = (0u32..).zip(&self.probes).filter(|(_, probe)| {
            let own = probe.target.kind == TargetKind::Node && probe.target.name == node;
            // No node has a way into a secondary network of its pods.
            let reaches = probe.target.network().is_none();
            !own && reaches && families.contains(&Family::of(probe.address)) && probe.sources.take(node)
        });
        wanted.map(|(at, probe)| Wanted { vantage: Vantage::Host, at, probe }).collect()
    }

    /// The place of the probe that a path is of, for a source that takes it, whatever the catalog that it was planned from.
    pub(crate) fn place_of(&self, path: &PlannedPath, prober: &Prober) -> Option<u32> {
        let places = self.groups.places(self.groups.find(&self.probes, &path.probe.target.id)?);
        let mut places = places.map(|at| (at, &self.probes[at as usize]));
        places.find(|(_, probe)| probe.is(&path.probe) && prober.takes(path.vantage, probe)).map(|(at, _)| at)
    }

    /// Where each probe was in an older catalog, if it was in it.
    pub(crate) fn places_in(&self, older: &Self) -> Vec<Option<u32>> {
        let mut old = (0u32..).zip(&older.probes).peekable();
        let mut place = |probe: &Probe| {
            let key = probe.order();
            while old.next_if(|(_, other)| other.order() < key).is_some() {}
            old.peek().filter(|(_, other)| other.order() == key).map(|&(at, _)| at)
        };
        self.probes.iter().map(&mut place).collect()
    }

    /// Every target once.
    pub fn targets(&self) -> impl Iterator<Item = &Arc<Target>> {
        let mut last: Option<&Arc<str>> = None;
        self.probes.iter().map(|probe| &probe.target).filter(move |target| {
            let new = last != Some(&target.id);
            last = Some(&target.id);
            new
        })
    }
}

struct Build<'a> {
    roster: &'a Roster,
    selection: &'a Selection,
    probes: Vec<Probe>,
    ports: BTreeSet<u16>,
    /// Who probes each node's own ports; made when the first is wanted.
    node_port_sources: Option<BTreeMap<&'a str, Sources>>,
    notes: Notes,
}

impl Build<'_> {
    fn add(&mut self, target: &Arc<Target>, kind: ProbeKind, address: IpAddr, port: u16) {
        self.add_from(target, kind, (address, port), Sources::All);
    }

    fn nodes(&mut self, responders: &BTreeMap<String, u16>) {
        for node in self.roster.nodes.values().filter(|node| !node.opted_out) {
            let target = Arc::new(Target {
                id: format!("node/{}", node.name).into(),
                kind: TargetKind::Node,
                name: node.name.clone(),
                node: node.name.clone(),
                zone: node.zone.clone(),
                addresses: node.addresses.clone(),
                absent: node.unanswering(),
                ..Target::default()
            });
            let responder = responders.get(&node.name).copied().unwrap_or(DEFAULT_RESPONDER_PORT);
            for &address in &node.addresses {
                self.add(&target, ProbeKind::Icmp, address, 0);
                if responder > 0 {
                    self.add(&target, ProbeKind::Udp, address, responder);
                    self.add(&target, ProbeKind::Tcp, address, responder);
                }
            }
        }
    }

    fn pods(&mut self) {
        let attached = Self::attached(self.roster);
        for (id, pod) in &self.roster.pods {
            // A pod that is not ready stays in the plan: it may answer, and if not, that is expected.
            if pod.host_network || self.selection.of_pod(pod) != Decision::Probed {
                continue;
            }
            let target = Arc::new(Target {
                id: format!("pod/{id}").into(),
                kind: TargetKind::Pod,
                namespace: pod.namespace.clone(),
                name: pod.name.clone(),
                node: pod.node.clone(),
                zone: self.roster.zone(&pod.node).to_owned(),
                addresses: pod.addresses.clone(),
                absent: self.roster.pod_absent(id),
                ..Target::default()
            });
            for &address in &pod.addresses {
                self.add(&target, ProbeKind::Icmp, address, 0);
            }
            self.networks(id, pod, &target, &attached);
        }
    }

    fn add_from(
        &mut self,
        target: &Arc<Target>,
        kind: ProbeKind,
        (address, port): (IpAddr, u16),
        sources: Sources,
    ) {
        self.ports.extend((port > 0).then_some(port));
        self.probes.push(Probe {
            target: Arc::clone(target),
            kind,
            address,
            port,
            question: None,
            exchange: None,
            sources,
        });
    }

    fn dns(&mut self, service: &Service, port: &ServicePort, question: &Question) {
        let mut ask = |target: &Arc<Target>, address: IpAddr, port: u16| {
            self.ports.insert(port);
            self.probes.push(Probe {
                target: Arc::clone(target),
                kind: ProbeKind::Dns,
                address,
                port,
                question: Some(question.clone()),
                sources: Sources::All,
                exchange: None,
            });
        };
        let id = format!("dns/{}/{}", service.namespace, service.name);
        let behind = services::Behind::of(self.roster, service);
        let target = Arc::new(Target {
            id: id.into(),
            kind: TargetKind::DnsServer,
            at: None,
            ..behind.target(service, port)
        });
        for &address in &service.cluster_addresses {
            ask(&target, address, port.port);
        }
        let mut servers: BTreeMap<String, Vec<(IpAddr, u16)>> = BTreeMap::new();
        let clear = |backend: &&Backend| !self.roster.is_contested(backend.address);
        for backend in service.ready_backends().filter(clear) {
            let Some(number) = backend.port(port) else { continue };
            let address = backend.address.to_string();
            let name = backend
                .pod
                .as_deref()
                .and_then(|pod| pod.split_once('/'))
                .map_or(address, |pod| pod.1.to_owned());
            servers.entry(name).or_default().push((backend.address, number));
        }
        for (name, addresses) in servers {
            let owner = addresses.first().and_then(|(address, _)| self.roster.owner(*address));
            let node = owner.map(|owner| owner.node.clone()).unwrap_or_default();
            let target = Arc::new(Target {
                id: format!("dns/{}/{name}", service.namespace).into(),
                kind: TargetKind::DnsServer,
                namespace: service.namespace.clone(),
                zone: self.roster.zone(&node).to_owned(),
                absent: if node.is_empty() { None } else { self.roster.node_away(&node) },
                node,
                name,
                addresses: addresses.iter().map(|&(address, _)| address).collect(),
                port: port.port,
                ..Target::default()
            });
            for (address, number) in addresses {
                ask(&target, address, number);
            }
        }
    }
}

/// A service's port, as it is probed at its cluster addresses.
pub(super) fn service_target(roster: &Roster, service: &Service, port: &ServicePort) -> Arc<Target> {
    Arc::new(services::Behind::of(roster, service).target(service, port))
}

pub(super) fn absolute(name: &str) -> Arc<str> {
    format!("{}.", name.trim_end_matches('.')).into()
}

/// What to ask for: the API server's own service name has an address of whichever family the cluster has.
pub(super) fn record_type(roster: &Roster) -> u16 {
    let v4 = |addresses: &[IpAddr]| addresses.iter().any(IpAddr::is_ipv4);
    let has_v4 = match roster.services.get("default/kubernetes") {
        Some(service) => v4(&service.cluster_addresses),
        None => roster.nodes.values().any(|node| v4(&node.addresses)),
    };
    if has_v4 { 1 } else { 28 }
}

/// Hub and agents agree on who has an address.
fn addresses(roster: &Roster) -> Addresses {
    let row = |(address, owner): (IpAddr, &crate::cluster::roster::Owner)| AddressOf {
        address,
        node: owner.node.clone(),
        pod: owner.pod.clone(),
        network: owner.network.clone(),
    };
    roster.owners().map(row).collect()
}
