//! DNS probes of the catalog in more ways: further names, over TCP and TLS, and node-local caches. Pure.

use std::net::IpAddr;
use std::sync::Arc;

use netcheck_common::domain::ProbeKind;
use netcheck_proto::v1;

use super::catalog::{absolute, record_type};
use super::exchange::{Exchange, Talk, TlsCheck};
use super::{Catalog, Probe, Question, Sources, Target};
use crate::roster::{Roster, Transport};

/// Port of DNS over TLS (RFC 7858 §3.1).
const TLS_PORT: u16 = 853;
const DNS_PORT: u16 = 53;

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
    /// Short names to look up with each node's own search list.
    pub search_names: Vec<String>,
}

impl Default for DnsSettings {
    fn default() -> Self {
        Self {
            more_names: Vec::new(),
            over: vec![Over::Udp],
            node_local: Vec::new(),
            search_names: Vec::new(),
        }
    }
}

impl Catalog {
    /// The same, with every DNS server asked for all names in all ways. `first`: the name that is asked for already.
    #[must_use]
    pub fn with_dns(mut self, roster: &Roster, first: &str, settings: &DnsSettings) -> Self {
        let record_type = record_type(roster);
        for &address in &settings.node_local {
            let question = Question { name: absolute(first), record_type, further: false };
            self.probes.push(Probe {
                target: node_local(address),
                kind: ProbeKind::Dns,
                address,
                port: DNS_PORT,
                question: Some(question),
                sources: Sources::All,
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
            for (question, &over) in questions.flat_map(|of| settings.over.iter().map(move |over| (of, over)))
            {
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
                    exchange: Some(Arc::new(Exchange { talk: Talk::Dns, tls, free: false, lookup: None })),
                    ..probe.clone()
                });
            }
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
    let service = roster.services.get(&format!("{}/{}", target.namespace, target.name));
    let service = service.filter(|service| service.cluster_addresses.contains(&probe.address));
    service.is_none_or(|service| {
        service.ports.iter().any(|port| port.port == TLS_PORT && port.transport == Transport::Tcp)
    })
}

/// Each node has its own, all at the same address.
fn node_local(address: IpAddr) -> Arc<Target> {
    Arc::new(Target {
        id: format!("dns/node-local/{address}").into(),
        kind: v1::TargetKind::DnsServer,
        namespace: "node-local".to_owned(),
        name: address.to_string(),
        node: String::new(),
        zone: String::new(),
        addresses: vec![address],
        port: DNS_PORT,
        at: None,
        backends: 1,
        absent: None,
        unbacked: None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::roster::Objects;
    use crate::selection::Selection;

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
        Catalog::of(&roster, &Selection::everything(), &BTreeMap::new(), "a.b")
            .with_dns(&roster, "a.b", settings)
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
    fn node_local_caches_are_servers_of_their_own() {
        let node_local = vec![IpAddr::from([169, 254, 20, 10])];
        let catalog = catalog(false, &DnsSettings { node_local, ..DnsSettings::default() });
        assert!(asked(&catalog).contains(&"169.254.20.10 53 a.b. UDP".to_owned()), "{:?}", asked(&catalog));
        assert!(catalog.targets().any(|target| &*target.id == "dns/node-local/169.254.20.10"));
    }
}
