//! Targets that a scheduled check names itself: requests by HTTP, and questions to DNS servers. Pure.
//!
//! They are in the catalog only while a round of that check runs, and are selected by its name alone. What is an address
//! of the cluster's own objects is probed as these are; of all else agents are told that it is not, so that they go there
//! only where their `--allow-cidr` holds the address.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use netcheck_common::domain::{Family, ProbeKind, Vantage};

use super::catalog::absolute;
use super::dns::{DNS_PORT, Over, TLS_PORT};
use super::exchange::{Call, Exchange, Request, Talk, TlsCheck};
use super::http::host_header;
use super::http::url::{any, usual_family};
use super::{Catalog, Probe, Question, Sources, Target};
use crate::cluster::roster::Roster;
use crate::model::target::TargetKind;

mod reading;
#[cfg(test)]
mod tests;

pub use reading::{Host, HttpTarget, RequestError};

/// Questions of one check to each server.
pub const QUESTIONS_MAX: usize = 256;

/// What one check asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requested {
    /// Its name.
    pub check: Arc<str>,
    /// By HTTP.
    pub http: Vec<HttpTarget>,
    /// Of DNS servers.
    pub dns: Vec<DnsTarget>,
    /// Nodes that ask; none: all.
    pub nodes: BTreeSet<String>,
    /// From where; none: from nodes and pods.
    pub vantage: Option<Vantage>,
    /// In which families; none: in both, and in the cluster's first one where a name is looked up.
    pub families: Vec<Family>,
}

/// One question, in one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsTarget {
    /// Who is asked, and at which port if not the usual one; none: the cluster's DNS servers.
    pub servers: Vec<(IpAddr, Option<u16>)>,
    /// For what.
    pub name: String,
    /// For records of this type, as people call it, and by number.
    pub record: (&'static str, u16),
    /// In which way.
    pub over: Over,
}

/// Of a target that a check asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestedBy {
    /// Which check.
    pub check: Arc<str>,
    /// The only place where its probes start; none: nodes and pods.
    pub vantage: Option<Vantage>,
    /// No object of the cluster has the address.
    pub external: bool,
}

impl Roster {
    /// Whether an object of the cluster has this address: a node, a pod, a service.
    fn has(&self, address: IpAddr) -> bool {
        let of_service = || {
            self.services.values().any(|service| {
                let outer = service.load_balancer.iter().chain(&service.external_addresses);
                service.cluster_addresses.iter().chain(outer).any(|own| *own == address)
            })
        };
        self.owner(address).is_some() || of_service()
    }
}

/// What is added for one check.
struct Adding<'a> {
    roster: &'a Roster,
    requested: &'a Requested,
    sources: Sources,
    /// DNS servers of the cluster.
    servers: Vec<SocketAddr>,
    ids: BTreeSet<String>,
    probes: Vec<Probe>,
}

impl Catalog {
    /// The same, with what checks whose rounds run ask for.
    #[must_use]
    pub fn with_requested(mut self, roster: &Roster, requested: &[Arc<Requested>]) -> Self {
        if requested.is_empty() {
            return self;
        }
        let servers = self.dns_servers();
        let mut ports: BTreeSet<u16> = self.watched_ports.iter().copied().collect();
        for requested in requested {
            let mut adding = Adding {
                roster,
                requested,
                sources: sources(roster, requested),
                servers: servers.clone(),
                ids: BTreeSet::new(),
                probes: Vec::new(),
            };
            requested.http.iter().for_each(|target| adding.http(target));
            requested.dns.iter().for_each(|target| adding.dns(target));
            ports.extend(adding.probes.iter().map(|probe| probe.port));
            self.probes.append(&mut adding.probes);
        }
        self.watched_ports = ports.into_iter().collect();
        self.sort();
        self
    }

    /// Those that every node asks.
    fn dns_servers(&self) -> Vec<SocketAddr> {
        let asked = self.probes.iter().filter(|probe| {
            let target = &probe.target;
            probe.kind == ProbeKind::Dns
                && probe.exchange.is_none()
                && target.kind == TargetKind::DnsServer
                && !target.is_node_local()
                && target.absent.is_none()
        });
        let servers: BTreeSet<SocketAddr> =
            asked.map(|probe| SocketAddr::new(probe.address, probe.port)).collect();
        servers.into_iter().collect()
    }
}

/// All nodes, or those that the check names. Where it wants one vantage alone they are named, too: nodes then have not as
/// many paths to it as to other targets.
fn sources(roster: &Roster, requested: &Requested) -> Sources {
    if requested.nodes.is_empty() && requested.vantage.is_none() {
        return Sources::All;
    }
    let wanted = |name: &&String| requested.nodes.is_empty() || requested.nodes.contains(*name);
    roster.nodes.keys().filter(wanted).cloned().collect()
}

impl Adding<'_> {
    fn takes(&self, family: Family) -> bool {
        self.requested.families.is_empty() || self.requested.families.contains(&family)
    }

    /// A target of its own: `check/NAME/…`.
    fn target(
        &mut self,
        id: &str,
        name: String,
        address: Option<SocketAddr>,
        port: u16,
        external: bool,
    ) -> Arc<Target> {
        let check = &self.requested.check;
        let mut whole = format!("check/{check}/{id}");
        let mut number = 1;
        while !self.ids.insert(whole.clone()) {
            number += 1;
            whole = format!("check/{check}/{id}#{number}");
        }
        Arc::new(Target {
            id: whole.into(),
            name: if number > 1 { format!("{name} #{number}") } else { name },
            addresses: address.iter().map(SocketAddr::ip).collect(),
            port,
            requested: Some(Arc::new(RequestedBy {
                check: Arc::clone(check),
                vantage: self.requested.vantage,
                external,
            })),
            ..Target::default()
        })
    }

    fn http(&mut self, of: &HttpTarget) {
        let port = of.port;
        let (addresses, external, lookup): (Vec<IpAddr>, bool, Option<String>) = match &of.host {
            Host::Address(address) => (vec![*address], !self.roster.has(*address), None),
            Host::Name(name) => match self.service(name) {
                Some(addresses) => (addresses, false, None),
                None => {
                    let usual = [usual_family(self.roster)];
                    let families = &self.requested.families;
                    let families = if families.is_empty() { &usual[..] } else { families };
                    (families.iter().map(|&family| any(family)).collect(), true, Some(name.clone()))
                }
            },
        };
        let bare = of.host.text();
        let scheme = if of.tls { "https" } else { "http" };
        let host = host_header(&bare, of.tls, port);
        let path = of.path.split('?').next().unwrap_or_default();
        let method = of.call.as_ref().map_or("GET", |call| call.method.as_str());
        let url = format!("{scheme}://{host}{path}");
        let known = lookup.is_none().then(|| addresses.first()).flatten();
        let known = known.map(|&address| SocketAddr::new(address, port));
        let target =
            self.target(&format!("{method}/{url}"), format!("{method} {url}"), known, port, external);
        let name = matches!(of.host, Host::Name(_)).then(|| bare.clone()).unwrap_or_default();
        let exchange = Arc::new(Exchange {
            talk: Talk::Http(Request {
                host,
                path: of.path.clone(),
                expected: of.expected.clone(),
                call: of.call.clone(),
            }),
            tls: of.tls.then_some(TlsCheck { name, authority: of.verify }),
            external,
            lookup,
        });
        for address in addresses {
            if !self.takes(Family::of(address)) {
                continue;
            }
            self.probes.push(Probe {
                target: Arc::clone(&target),
                kind: ProbeKind::Http,
                address,
                port,
                question: None,
                sources: self.sources.clone(),
                exchange: Some(Arc::clone(&exchange)),
            });
        }
    }

    /// The cluster addresses of the service that this is the name of, `NAME.NAMESPACE.svc` with or without the cluster's domain.
    fn service(&self, name: &str) -> Option<Vec<IpAddr>> {
        let mut words = name.trim_end_matches('.').splitn(4, '.');
        let (service, namespace) = (words.next()?, words.next()?);
        (words.next()? == "svc").then_some(())?;
        let service = self.roster.services.get(&format!("{namespace}/{service}"))?;
        (!service.cluster_addresses.is_empty()).then(|| service.cluster_addresses.clone())
    }

    fn dns(&mut self, of: &DnsTarget) {
        let servers: Vec<SocketAddr> = if of.servers.is_empty() {
            let over_tls = |server: &SocketAddr| match of.over {
                Over::Tls => SocketAddr::new(server.ip(), TLS_PORT),
                Over::Udp | Over::Tcp => *server,
            };
            self.servers.iter().map(over_tls).collect()
        } else {
            let usual = if of.over == Over::Tls { TLS_PORT } else { DNS_PORT };
            let server =
                |&(address, port): &(IpAddr, Option<u16>)| SocketAddr::new(address, port.unwrap_or(usual));
            of.servers.iter().map(server).collect()
        };
        let name = absolute(&of.name);
        let (record, record_type) = of.record;
        for server in servers {
            if !self.takes(Family::of(server.ip())) {
                continue;
            }
            // A cache of the node's own has a link-local address; agents know which.
            let own = self.roster.has(server.ip()) || is_link_local(server.ip());
            let way = match of.over {
                Over::Udp => "udp",
                Over::Tcp => "tcp",
                Over::Tls => "tls",
            };
            let id = format!("{record}/{name}@{server}/{way}");
            let label = format!("{name} {record} from {server} by {way}");
            let target = self.target(&id, label, Some(server), server.port(), !own);
            let exchange = (of.over != Over::Udp).then(|| {
                let tls = (of.over == Over::Tls).then(TlsCheck::default);
                Arc::new(Exchange { talk: Talk::Dns, tls, external: !own, lookup: None })
            });
            self.probes.push(Probe {
                target,
                kind: ProbeKind::Dns,
                address: server.ip(),
                port: server.port(),
                question: Some(Question { name: Arc::clone(&name), record_type, further: false }),
                sources: self.sources.clone(),
                exchange,
            });
        }
    }
}

const fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

impl Call {
    /// What a request needs that is more than a GET; none for one that is not.
    #[must_use]
    pub fn unless_plain(self, path: &str) -> Option<Arc<Self>> {
        let plain = self.method == "GET" && self.headers.is_empty() && self.body.is_empty();
        // A query may hold what nobody shall read in a path's name.
        (!plain || path.contains('?')).then(|| Arc::new(self))
    }
}
