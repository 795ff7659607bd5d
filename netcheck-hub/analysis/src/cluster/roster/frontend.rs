//! Ingresses and Gateways: by which hosts, paths and ports requests from outside come in, and at which addresses. What
//! is kept of the objects, and how it is read. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::networking::v1::{Ingress as IngressObject, IngressRule, IngressSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use netcheck_proto::text;

use super::ProbeAnnotation;
use super::build::{namespaced, probe_annotation};
use super::http::HttpWishes;

/// Names that stand for hosts that rules leave open: `netcheck.io/http-host: "a.example.org b.example.org"`.
const HOST: &str = "netcheck.io/http-host";
/// Of one object; what is beyond is reported.
const SITES_MAX: usize = 32;
const ADDRESSES_MAX: usize = 8;
/// Longest path.
const PATH_MAX: usize = 1024;

/// What kind of object it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrontendKind {
    /// `networking.k8s.io/v1`.
    Ingress,
    /// `gateway.networking.k8s.io/v1`.
    Gateway,
}

impl FrontendKind {
    /// `ingress`, as people call it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Gateway => "gateway",
        }
    }
}

/// An Ingress, or a Gateway with the routes that are attached to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpFrontend {
    /// What it is.
    pub kind: FrontendKind,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What annotations say, its own before its namespace's.
    pub annotation: ProbeAnnotation,
    /// What its annotations say of HTTP.
    pub http: HttpWishes,
    /// Where it is reached; empty while nobody has given it an address.
    pub addresses: Vec<IpAddr>,
    /// The same, where only a name is known.
    pub address_names: Vec<String>,
    /// What can be asked for there.
    pub sites: BTreeSet<Site>,
    /// What of it is not probed, and why, in a few words each.
    pub skipped: BTreeSet<String>,
}

/// One thing to ask for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Site {
    /// The host; empty where any will do.
    pub host: String,
    /// By HTTPS.
    pub tls: bool,
    /// At which port.
    pub port: u16,
    /// Path; starts with a slash.
    pub path: String,
}

/// A host, as rules have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// That one; empty for any.
    Named(Vec<String>),
    /// A wildcard that nobody has named a host for.
    Wild,
}

impl HttpFrontend {
    /// Without sites and addresses.
    pub(super) fn plain(kind: FrontendKind, meta: &ObjectMeta) -> Option<Self> {
        Some(Self {
            kind,
            namespace: meta.namespace.clone().unwrap_or_else(|| "default".to_owned()),
            name: meta.name.clone()?,
            labels: meta.labels.clone().unwrap_or_default(),
            annotation: probe_annotation(meta),
            http: HttpWishes::read(meta.annotations.as_ref()),
            addresses: Vec::new(),
            address_names: Vec::new(),
            sites: BTreeSet::new(),
            skipped: BTreeSet::new(),
        })
    }

    /// `ingress default/web`.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{} {}/{}", self.kind.as_str(), self.namespace, self.name)
    }

    /// Adds an address, or a name of one.
    pub(super) fn add_address(&mut self, text: &str) {
        if self.addresses.len() + self.address_names.len() >= ADDRESSES_MAX {
            self.skipped.insert(format!("more than {ADDRESSES_MAX} addresses"));
            return;
        }
        match text.parse::<IpAddr>() {
            Ok(address) if !self.addresses.contains(&address) => self.addresses.push(address),
            Ok(_) => {}
            Err(_) if text::is_name(text) => {
                if !self.address_names.iter().any(|known| known == text) {
                    self.address_names.push(text.to_owned());
                }
            }
            Err(_) => drop(self.skipped.insert(text::line(&format!("address {text:?}, which is no name")))),
        }
    }

    /// Adds what is asked for at `ports` (HTTPS, number): the paths that annotations name, else `path`.
    pub(super) fn add_sites(&mut self, host: &Host, path: &str, ports: &[(bool, u16)]) {
        let Host::Named(hosts) = host else { return };
        let own: Vec<(bool, u16, String)> = self
            .http
            .requests
            .iter()
            .filter_map(|wish| Some((wish.tls, wish.port.parse().ok()?, wish.path.clone())))
            .collect();
        let asked: Vec<(bool, u16, String)> = match own.as_slice() {
            [] => ports.iter().map(|&(tls, port)| (tls, port, path.to_owned())).collect(),
            _ => own,
        };
        for host in hosts {
            for (tls, port, path) in &asked {
                let site = Site { host: host.clone(), tls: *tls, port: *port, path: path.clone() };
                if self.sites.len() >= SITES_MAX && !self.sites.contains(&site) {
                    self.skipped.insert(format!("more than {SITES_MAX} hosts and paths"));
                    return;
                }
                self.sites.insert(site);
            }
        }
    }

    /// What a rule's host means: itself, or what the annotation names in its place.
    pub(super) fn host(&mut self, host: &str, named: &[String]) -> Host {
        let Some(domain) = host.strip_prefix("*.") else {
            if host.is_empty() && !named.is_empty() {
                return Host::Named(named.to_vec());
            }
            return if host.is_empty() || text::is_name(host) {
                Host::Named(vec![host.to_owned()])
            } else {
                self.skipped.insert(text::line(&format!("host {host:?}, which is no name")));
                Host::Wild
            };
        };
        let covered: Vec<String> = named.iter().filter(|name| covers(domain, name)).cloned().collect();
        if covered.is_empty() {
            let line = format!("host {host}: any name will do, say which by the annotation {HOST}");
            self.skipped.insert(text::line(&line));
            return Host::Wild;
        }
        Host::Named(covered)
    }

    /// Whether a path can be asked for as it stands.
    pub(super) fn plain_path(&mut self, path: &str) -> bool {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!&',;=:@".contains(&byte);
        let fits = path.starts_with('/') && path.len() <= PATH_MAX && path.bytes().all(plain);
        if !fits {
            self.skipped.insert(text::line(&format!("path {path:?}, which is a pattern")));
        }
        fits
    }
}

/// Whether `*.domain` covers a name.
pub(super) fn covers(domain: &str, name: &str) -> bool {
    name.split_once('.').is_some_and(|(first, rest)| !first.is_empty() && rest.eq_ignore_ascii_case(domain))
}

/// Names that an annotation gives for hosts that rules leave open.
pub(super) fn named_hosts(meta: &ObjectMeta) -> Vec<String> {
    let said = meta.annotations.as_ref().and_then(|all| all.get(HOST)).map_or("", String::as_str);
    said.split_whitespace()
        .filter(|name| text::is_name(name))
        .take(SITES_MAX)
        .map(ToOwned::to_owned)
        .collect()
}

/// An Ingress, with its `namespace/name`.
#[must_use]
pub fn ingress(object: &IngressObject) -> Option<(String, HttpFrontend)> {
    let mut frontend = HttpFrontend::plain(FrontendKind::Ingress, &object.metadata)?;
    let id = namespaced(&object.metadata, &frontend.name);
    let named = named_hosts(&object.metadata);
    let status = object.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    for at in status.and_then(|status| status.ingress.as_ref()).into_iter().flatten() {
        for text in [&at.ip, &at.hostname].into_iter().flatten().filter(|text| !text.is_empty()).take(1) {
            frontend.add_address(text);
        }
    }
    let Some(spec) = &object.spec else { return Some((id, frontend)) };
    let rules = spec.rules.as_deref().unwrap_or_default();
    for rule in rules {
        add_rule(&mut frontend, spec, rule, &named);
    }
    if rules.is_empty() && spec.default_backend.is_some() {
        add_rule(&mut frontend, spec, &IngressRule::default(), &named);
    }
    Some((id, frontend))
}

fn add_rule(frontend: &mut HttpFrontend, spec: &IngressSpec, rule: &IngressRule, named: &[String]) {
    let text = rule.host.as_deref().unwrap_or_default();
    let host = frontend.host(text, named);
    let mut ports = vec![(false, 80)];
    if has_tls(spec, text) {
        ports.push((true, 443));
    }
    let paths = rule.http.as_ref().map_or(&[][..], |http| &http.paths);
    for path in paths {
        let text = path.path.as_deref().filter(|text| !text.is_empty()).unwrap_or("/");
        if frontend.plain_path(text) {
            frontend.add_sites(&host, text, &ports);
        }
    }
    // Without paths all of the host goes to the default backend.
    if paths.is_empty() {
        frontend.add_sites(&host, "/", &ports);
    }
}

/// Whether a rule's host is among those that TLS is ended for; an entry without hosts stands for all.
fn has_tls(spec: &IngressSpec, host: &str) -> bool {
    let entries = spec.tls.as_deref().unwrap_or_default();
    entries.iter().any(|entry| match entry.hosts.as_deref().unwrap_or_default() {
        [] => true,
        hosts => hosts.iter().any(|of| {
            of.eq_ignore_ascii_case(host) || of.strip_prefix("*.").is_some_and(|domain| covers(domain, host))
        }),
    })
}

#[cfg(test)]
mod tests;
