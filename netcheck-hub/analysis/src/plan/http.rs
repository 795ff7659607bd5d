//! HTTP probes of the catalog: the API server, what services' annotations ask for, and what the operator names. Pure.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use netcheck_common::domain::ProbeKind;

use super::catalog::service_target;
use super::exchange::{Exchange, Request, Talk, TlsCheck};
use super::{Catalog, Probe, Sources, Target};
use crate::cluster::roster::http::{HttpWish, HttpWishes, Statuses};
use crate::cluster::roster::{ProbeAnnotation, Roster, Service, Transport};
use crate::cluster::selection::Selection;

mod ingress;
pub mod url;

use crate::model::target::TargetKind;
use url::NamedUrl;

/// The API server's service, and its port.
const API: (&str, u16) = ("default/kubernetes", 443);
/// Whoever asks without a token is answered so, and it is an answer.
const API_STATUSES: [(u16, u16); 3] = [(200, 200), (401, 401), (403, 403)];

/// What the operator asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpSettings {
    /// What of the API server is asked for; none: nothing.
    pub api: Option<String>,
    /// Addresses that no object of the cluster has.
    pub endpoints: Vec<Endpoint>,
    /// Servers that are known by name.
    pub urls: Vec<NamedUrl>,
    /// Ingresses that are selected.
    pub ingress: bool,
    /// Gateways that are selected.
    pub gateway: bool,
    /// Who must vouch for servers where that is asked for (PEM).
    pub authorities: Arc<[u8]>,
}

/// A URL whose host is an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// By HTTPS.
    pub tls: bool,
    /// Where.
    pub address: SocketAddr,
    /// Path and query.
    pub path: String,
}

/// A text that is no [`Endpoint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected http://ADDRESS[:PORT][/PATH] or https://…, with an address and no name")]
pub struct NoEndpoint;

impl Endpoint {
    /// Reads `http://ADDRESS[:PORT][/PATH]` or the same with https.
    ///
    /// # Errors
    /// Anything else.
    pub fn read(url: &str) -> Result<Self, NoEndpoint> {
        let usage = || NoEndpoint;
        let url: http::Uri = url.parse().map_err(|_| usage())?;
        let tls = match url.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(usage()),
        };
        let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
        let ip: IpAddr = host.parse().map_err(|_| usage())?;
        let port = url.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = url.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
        if port == 0 || !path.starts_with('/') {
            return Err(usage());
        }
        Ok(Self { tls, address: SocketAddr::new(ip, port), path })
    }

    /// `https://192.0.2.1:443`.
    fn origin(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.address)
    }
}

/// A service, and what is to be asked of it by HTTP.
struct Wished<'a> {
    roster: &'a Roster,
    service: &'a Service,
    wishes: &'a HttpWishes,
}

impl Catalog {
    /// The same, with HTTP probes, and what of those wishes makes no sense.
    #[must_use]
    pub fn with_http(mut self, roster: &Roster, selection: &Selection, settings: &HttpSettings) -> Self {
        let mut ports: BTreeSet<u16> = self.watched_ports.iter().copied().collect();
        let services = self.probes.iter().rev().filter(|probe| probe.target.kind == TargetKind::Service);
        let mut known: HashMap<Arc<str>, Arc<Target>> =
            services.map(|probe| (Arc::clone(&probe.target.id), Arc::clone(&probe.target))).collect();
        for (id, service) in
            roster.services.iter().filter(|(_, service)| service.annotation != ProbeAnnotation::Skip)
        {
            let api = settings.api.as_ref().filter(|_| id == API.0 && service.http.requests.is_empty());
            let own;
            let wishes = match api {
                Some(path) => {
                    own = api_wishes(path, &service.http);
                    &own
                }
                None => &service.http,
            };
            self.troubles.extend(wishes.wrong.iter().map(|wrong| format!("service {id}: {wrong}")));
            if wishes.verify && settings.authorities.is_empty() {
                self.troubles.push(format!(
                    "service {id}: netcheck.io/https-verify is true, and the hub has no --http-ca: nobody can vouch"
                ));
            }
            let wished = Wished { roster, service, wishes };
            for wish in &wishes.requests {
                if !self.ask_service(&wished, wish, &mut known, &mut ports) {
                    self.troubles.push(format!(
                        "service {id} is not asked by HTTP: it has no TCP port {}, or no address",
                        wish.port
                    ));
                }
            }
        }
        for endpoint in &settings.endpoints {
            self.ask_endpoint(endpoint);
            ports.insert(endpoint.address.port());
        }
        for url in &settings.urls {
            self.ask_url(roster, url, settings);
            ports.insert(url.port);
        }
        if settings.ingress || settings.gateway {
            self.ask_ingresses(roster, selection, settings, &mut ports);
        }
        self.authorities = Arc::clone(&settings.authorities);
        self.watched_ports = ports.into_iter().collect();
        self.sort();
        self
    }

    /// False where the service has no such port.
    fn ask_service(
        &mut self,
        wished: &Wished<'_>,
        wish: &HttpWish,
        known: &mut HashMap<Arc<str>, Arc<Target>>,
        ports: &mut BTreeSet<u16>,
    ) -> bool {
        let &Wished { roster, service, wishes } = wished;
        let mut tcp = service.ports.iter().filter(|port| port.transport == Transport::Tcp);
        let number = wish.port.parse::<u16>().ok();
        let found =
            tcp.find(|port| Some(port.port) == number || (number.is_none() && port.name == wish.port));
        let Some(port) = found.filter(|_| !service.cluster_addresses.is_empty()) else { return false };
        let id: Arc<str> = format!("service/{}/{}:{}", service.namespace, service.name, port.port).into();
        let new = || service_target(roster, service, port);
        let target = Arc::clone(known.entry(id).or_insert_with(new));
        let host = match wishes.name.as_str() {
            "" => format!("{}.{}.svc", service.name, service.namespace),
            name => name.to_owned(),
        };
        let host = host_header(&host, wish.tls, port.port);
        let exchange = Arc::new(Exchange {
            talk: request(host, &wish.path, &wishes.expected),
            tls: wish.tls.then(|| TlsCheck { name: wishes.name.clone(), authority: wishes.verify }),
            external: false,
            lookup: None,
        });
        ports.insert(port.port);
        self.probes.extend(service.cluster_addresses.iter().map(|&address| Probe {
            target: Arc::clone(&target),
            kind: ProbeKind::Http,
            address,
            port: port.port,
            question: None,
            sources: Sources::All,
            exchange: Some(Arc::clone(&exchange)),
        }));
        true
    }

    fn ask_endpoint(&mut self, of: &Endpoint) {
        let address = of.address;
        let origin = of.origin();
        let id = format!("endpoint/{origin}");
        let target = endpoint(id, origin, String::new(), vec![address.ip()], address.port());
        let exchange = Exchange {
            talk: request(address.to_string(), &of.path, &Vec::new()),
            tls: of.tls.then(TlsCheck::default),
            external: true,
            lookup: None,
        };
        self.probes.push(Probe {
            target,
            kind: ProbeKind::Http,
            address: address.ip(),
            port: address.port(),
            question: None,
            sources: Sources::All,
            exchange: Some(Arc::new(exchange)),
        });
    }
}

fn api_wishes(path: &str, annotated: &HttpWishes) -> HttpWishes {
    let request = HttpWish { tls: true, port: API.1.to_string(), path: path.to_owned() };
    let mut wishes = HttpWishes { requests: vec![request], ..annotated.clone() };
    if wishes.expected.is_empty() {
        wishes.expected = API_STATUSES.to_vec();
    }
    wishes
}

/// Something that is asked by HTTP and is no service.
fn endpoint(id: String, name: String, namespace: String, addresses: Vec<IpAddr>, port: u16) -> Arc<Target> {
    Arc::new(Target {
        id: id.into(),
        kind: TargetKind::Endpoint,
        namespace,
        name,
        addresses,
        port,
        ..Target::default()
    })
}

/// The Host header: with the port where it is not the scheme's own.
pub(super) fn host_header(name: &str, tls: bool, port: u16) -> String {
    if port == if tls { 443 } else { 80 } { name.to_owned() } else { format!("{name}:{port}") }
}

fn request(host: String, path: &str, expected: &Statuses) -> Talk {
    Talk::Http(Request { host, path: path.to_owned(), expected: expected.clone(), call: None })
}

#[cfg(test)]
mod tests;
