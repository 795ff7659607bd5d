//! DNS probes of the catalog in more ways: further names, over TCP and TLS, and node-local caches. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use netcheck_common::domain::ProbeKind;

use super::catalog::{absolute, record_type};
use super::exchange::{Exchange, Talk, TlsCheck};
use super::{Catalog, Probe, Question, Sources, Target};
use crate::cluster::roster::{Roster, Transport};
use crate::model::target::TargetKind;

/// The name that DNS servers are asked for where the operator names none.
pub const NAME: &str = "kubernetes.default.svc.cluster.local";
/// Port of DNS over TLS (RFC 7858 §3.1).
pub(super) const TLS_PORT: u16 = 853;
pub(super) const DNS_PORT: u16 = 53;
/// Where Kubernetes has a namespace, for servers of nodes' own.
const NODE_LOCAL: &str = "node-local";
/// No service is the cluster's DNS.
const NONE_FOUND: &str = "no cluster DNS was found, so that no DNS server is asked: no service has an address that pods' \
                          resolv.conf names, nor the label k8s-app=kube-dns, nor a name that is usual for it";

/// How a question travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub enum Over {
    /// As datagrams.
    Udp,
    /// Over a connection.
    Tcp,
    /// Over TLS, at port 853: of services only where they have that port.
    Tls,
}

/// What the operator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsSettings {
    /// Names beyond the first.
    pub more_names: Vec<String>,
    /// In which ways each server is asked.
    pub over: Vec<Over>,
    /// Caches that every node has at the same address.
    pub node_local: Vec<IpAddr>,
    /// Also those that agents find on their nodes.
    pub find_node_local: bool,
    /// Short names to look up with each node's own search list.
    pub search_names: Vec<String>,
    /// Nobody named the first name: it is in whichever domain the cluster has.
    pub follow_domain: bool,
}

impl Default for DnsSettings {
    fn default() -> Self {
        Self {
            more_names: Vec::new(),
            over: vec![Over::Udp],
            node_local: Vec::new(),
            find_node_local: true,
            search_names: Vec::new(),
            follow_domain: true,
        }
    }
}

/// Caches that agents found on their own nodes: at which address, and which nodes.
pub type Found = BTreeMap<IpAddr, BTreeSet<String>>;

impl Target {
    /// Whether it is a DNS cache of the very node that asks it.
    #[must_use]
    pub fn is_node_local(&self) -> bool {
        self.kind == TargetKind::DnsServer && self.namespace == NODE_LOCAL
    }
}

impl Catalog {
    /// The same, with every DNS server asked for all names in all ways. `first`: the name that is asked for already.
    #[must_use]
    pub fn with_dns(mut self, roster: &Roster, first: &str, settings: &DnsSettings, found: &Found) -> Self {
        let record_type = record_type(roster);
        for (address, sources) in node_local_caches(roster, settings, found) {
            let question = Question { name: absolute(first), record_type, further: false };
            self.probes.push(Probe {
                target: node_local(roster, address),
                kind: ProbeKind::Dns,
                address,
                port: DNS_PORT,
                question: Some(question),
                sources,
                exchange: None,
            });
        }
        let (dns, mut probes): (Vec<Probe>, Vec<Probe>) =
            self.probes.into_iter().partition(|probe| probe.kind == ProbeKind::Dns);
        let more = settings.more_names.iter().map(|name| absolute(name));
        let more: Vec<Question> = more.map(|name| Question { name, record_type, further: true }).collect();
        let mut ports = self.watched_ports.to_vec();
        for probe in &dns {
            let questions = probe.question.iter().chain(&more);
            // At its other addresses a service has other ports for other transports: TCP is a port of its own there.
            let is_server = probe.target.kind == TargetKind::DnsServer;
            let ways: &[Over] = if is_server { &settings.over } else { &[Over::Udp] };
            for (question, &over) in questions.flat_map(|of| ways.iter().map(move |over| (of, over))) {
                let tls = match over {
                    Over::Udp => {
                        probes.push(Probe { question: Some(question.clone()), ..probe.clone() });
                        continue;
                    }
                    Over::Tcp => None,
                    Over::Tls if !may_have_tls(roster, probe) => continue,
                    Over::Tls => Some(TlsCheck::default()),
                };
                let port = if tls.is_some() { TLS_PORT } else { probe.port };
                ports.push(port);
                probes.push(Probe {
                    port,
                    question: Some(question.clone()),
                    exchange: Some(Arc::new(Exchange {
                        talk: Talk::Dns,
                        tls,
                        external: false,
                        lookup: None,
                    })),
                    ..probe.clone()
                });
            }
        }
        if dns.is_empty() && !roster.services.is_empty() && !roster.services.values().any(|of| of.dns) {
            self.left_out = self.left_out.iter().cloned().chain([NONE_FOUND.to_owned()]).collect();
        }
        ports.sort_unstable();
        ports.dedup();
        self.watched_ports = ports.into();
        self.search_names = settings.search_names.clone().into();
        self.probes = probes;
        self.sort();
        self
    }
}

/// A server by itself may listen there; a service does where it has that port.
fn may_have_tls(roster: &Roster, probe: &Probe) -> bool {
    let target = &probe.target;
    let service = roster.services.get(&target.full_name());
    let service = service.filter(|service| service.cluster_addresses.contains(&probe.address));
    service.is_none_or(|service| {
        service.ports.iter().any(|port| port.port == TLS_PORT && port.transport == Transport::Tcp)
    })
}

/// Where caches of nodes' own are, and who asks: nobody but the node that has it. What is a service's address or a pod's
/// is asked as that, though a cache may answer in its stead; another node's is none of this node's own.
fn node_local_caches(roster: &Roster, settings: &DnsSettings, found: &Found) -> Vec<(IpAddr, Sources)> {
    let mut all: Vec<(IpAddr, Sources)> =
        settings.node_local.iter().map(|&address| (address, Sources::All)).collect();
    if !settings.find_node_local || found.is_empty() {
        return all;
    }
    let services = roster.services.values().flat_map(|service| {
        let outer = service.load_balancer.iter().chain(&service.external_addresses);
        service.cluster_addresses.iter().chain(outer)
    });
    let known: BTreeSet<IpAddr> = services.chain(&settings.node_local).copied().collect();
    for (&address, nodes) in found.iter().filter(|(address, _)| !known.contains(address)) {
        let nodes = nodes.iter().filter(|&node| {
            let owner = roster.owner(address);
            owner.is_none_or(|owner| owner.pod.is_none() && owner.node == *node)
        });
        let nodes: BTreeSet<String> = nodes.cloned().collect();
        if !nodes.is_empty() {
            all.push((address, nodes.into_iter().collect()));
        }
    }
    all
}

/// Each node has its own, most often all at the same address.
fn node_local(roster: &Roster, address: IpAddr) -> Arc<Target> {
    let node = roster.owner(address).map(|owner| owner.node.clone()).unwrap_or_default();
    Arc::new(Target {
        zone: roster.zone(&node).to_owned(),
        absent: if node.is_empty() { None } else { roster.node_absent(&node) },
        node,
        id: format!("dns/node-local/{address}").into(),
        kind: TargetKind::DnsServer,
        namespace: NODE_LOCAL.to_owned(),
        name: address.to_string(),
        addresses: vec![address],
        port: DNS_PORT,
        ..Target::default()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::cluster::roster::Objects;
    use crate::cluster::selection::Selection;

    fn catalog(tls_port: bool, settings: &DnsSettings) -> Catalog {
        let mut ports = vec![json!({ "name": "dns", "port": 53, "protocol": "UDP" })];
        if tls_port {
            ports.push(json!({ "name": "dot", "port": 853, "protocol": "TCP" }));
        }
        let service = json!({
            "metadata": { "name": "kube-dns", "namespace": "kube-system" },
            "spec": { "clusterIPs": ["10.96.0.10"], "ports": ports, "selector": { "k8s-app": "kube-dns" } },
        });
        let slice = json!({
            "metadata": {
                "name": "kube-dns-1", "namespace": "kube-system",
                "labels": { "kubernetes.io/service-name": "kube-dns" },
            },
            "addressType": "IPv4",
            "endpoints": [{ "addresses": ["10.244.1.2"], "targetRef": { "kind": "Pod", "name": "dns-1" } }],
            "ports": [{ "name": "dns", "port": 5353, "protocol": "UDP" }],
        });
        let objects = Objects {
            services: vec![serde_json::from_value(service).unwrap()],
            endpoint_slices: vec![serde_json::from_value(slice).unwrap()],
            ..Objects::default()
        };
        let roster = objects.roster();
        Catalog::of(&roster, &Selection::everything(), &BTreeMap::new(), "a.b").with_dns(
            &roster,
            "a.b",
            settings,
            &Found::new(),
        )
    }

    fn asked(catalog: &Catalog) -> Vec<String> {
        let dns = catalog.probes.iter().filter(|probe| probe.kind == ProbeKind::Dns);
        dns.map(|probe| {
            let name = &probe.question.as_ref().unwrap().name;
            let detail = probe.detail();
            let how = detail.split("over ").nth(1).unwrap_or("UDP");
            format!("{} {} {name} {how}", probe.target.name, probe.port)
        })
        .collect()
    }

    #[test]
    fn each_server_is_asked_for_all_names_in_all_ways() {
        let udp = catalog(false, &DnsSettings::default());
        assert_eq!(asked(&udp), ["dns-1 5353 a.b. UDP", "kube-dns 53 a.b. UDP"]);
        let settings = DnsSettings {
            more_names: vec!["example.org".to_owned()],
            over: vec![Over::Udp, Over::Tcp, Over::Tls],
            ..DnsSettings::default()
        };
        let mut all = asked(&catalog(false, &settings));
        all.sort();
        assert_eq!(
            all,
            [
                "dns-1 5353 a.b. TCP",
                "dns-1 5353 a.b. UDP",
                "dns-1 5353 example.org. TCP",
                "dns-1 5353 example.org. UDP",
                "dns-1 853 a.b. TLS",
                "dns-1 853 example.org. TLS",
                "kube-dns 53 a.b. TCP",
                "kube-dns 53 a.b. UDP",
                "kube-dns 53 example.org. TCP",
                "kube-dns 53 example.org. UDP",
            ]
        );
        let with_port = catalog(true, &settings);
        assert!(asked(&with_port).iter().any(|line| line == "kube-dns 853 a.b. TLS"));
        assert!(with_port.watched_ports.contains(&853));
    }

    #[test]
    fn where_no_cluster_dns_is_found_that_is_reported() {
        let reported = |name: &str| {
            let service = json!({
                "metadata": { "name": name, "namespace": "a" },
                "spec": { "clusterIPs": ["10.96.0.10"], "ports": [{ "port": 53, "protocol": "UDP" }] },
            });
            let objects =
                Objects { services: vec![serde_json::from_value(service).unwrap()], ..Objects::default() };
            let roster = objects.roster();
            let catalog = Catalog::of(&roster, &Selection::everything(), &BTreeMap::new(), "a.b");
            let catalog = catalog.with_dns(&roster, "a.b", &DnsSettings::default(), &Found::new());
            catalog.left_out.iter().any(|line| line.contains("no cluster DNS was found"))
        };
        assert!(reported("web") && !reported("coredns"));
    }

    #[test]
    fn node_local_caches_are_servers_of_their_own() {
        let node_local = vec![IpAddr::from([169, 254, 20, 10])];
        let catalog = catalog(false, &DnsSettings { node_local, ..DnsSettings::default() });
        assert!(asked(&catalog).contains(&"169.254.20.10 53 a.b. UDP".to_owned()), "{:?}", asked(&catalog));
        assert!(catalog.targets().any(|target| &*target.id == "dns/node-local/169.254.20.10"));
    }

    #[test]
    fn what_agents_find_is_asked_by_their_own_nodes_alone() {
        let node = |name: &str, address: &str| {
            serde_json::from_value(json!({
                "metadata": { "name": name },
                "status": { "addresses": [{ "type": "InternalIP", "address": address }] },
            }))
            .unwrap()
        };
        let service = json!({
            "metadata": { "name": "kube-dns", "namespace": "kube-system" },
            "spec": { "clusterIPs": ["10.96.0.10"], "ports": [{ "port": 53, "protocol": "UDP" }] },
        });
        let objects = Objects {
            nodes: vec![node("n1", "10.0.0.1"), node("n2", "10.0.0.2")],
            services: vec![serde_json::from_value(service).unwrap()],
            ..Objects::default()
        };
        let roster = objects.roster();
        let reported = [
            ("169.254.20.10", &["n1", "n2"][..]),
            ("169.254.20.11", &["n2"]),
            ("10.0.0.2", &["n1", "n2"]),
            ("10.96.0.10", &["n1"]),
        ];
        let found: Found = reported
            .iter()
            .map(|(address, nodes)| {
                (address.parse().unwrap(), nodes.iter().map(|&node| node.to_owned()).collect())
            })
            .collect();
        let caches = |settings: &DnsSettings| -> Vec<(String, bool, bool)> {
            let caches = node_local_caches(&roster, settings, &found);
            caches.iter().map(|(at, who)| (at.to_string(), who.take("n1"), who.take("n2"))).collect()
        };
        let of = |address: &str, n1, n2| (address.to_owned(), n1, n2);
        let own = of("10.0.0.2", false, true);
        assert_eq!(
            caches(&DnsSettings::default()),
            [own.clone(), of("169.254.20.10", true, true), of("169.254.20.11", false, true)]
        );
        assert_eq!(&*node_local(&roster, "10.0.0.2".parse().unwrap()).node, "n2");
        let configured =
            DnsSettings { node_local: vec!["169.254.20.11".parse().unwrap()], ..DnsSettings::default() };
        assert_eq!(
            caches(&configured),
            [of("169.254.20.11", true, true), own, of("169.254.20.10", true, true)]
        );
        assert!(caches(&DnsSettings { find_node_local: false, ..DnsSettings::default() }).is_empty());
    }
}
