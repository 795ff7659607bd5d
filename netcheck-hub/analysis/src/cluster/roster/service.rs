//! Services and who is behind them: what is kept of the objects, and how it is read. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Service as ServiceObject, ServiceSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use netcheck_common::domain::Family;
use netcheck_proto::text;

use super::ProbeAnnotation;
use super::build::{is_vantage, label, namespaced, probe_annotation};
use super::http::HttpWishes;
use super::ranges;

const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A service of any type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Its cluster addresses; none of headless services and of mere names.
    pub cluster_addresses: Vec<IpAddr>,
    /// Addresses that a load balancer answers at, and is known by.
    pub load_balancer: Vec<IpAddr>,
    /// The same, where only a name is known.
    pub load_balancer_names: Vec<String>,
    /// Who may come to these (`loadBalancerSourceRanges`); everybody where there are none.
    pub sources: Vec<IpNet>,
    /// Addresses that somebody leads to its nodes (`externalIPs`).
    pub external_addresses: Vec<IpAddr>,
    /// It has no address of its own: clients are given its backends'.
    pub headless: bool,
    /// It is another name of something outside (`ExternalName`).
    pub name_only: bool,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// It is the cluster's DNS.
    pub dns: bool,
    /// It stands in front of netcheck's own vantages.
    pub vantage: bool,
    /// It selects pods: somebody is meant to be behind it. Without, its endpoints are written by hand, or never.
    pub selects: bool,
    /// At its cluster address a node's clients are sent to that node's own backends alone (`internalTrafficPolicy`).
    pub internal_local: bool,
    /// At its node ports, load balancer's and external addresses a node sends to its own backends alone
    /// (`externalTrafficPolicy`).
    pub external_local: bool,
    /// What its annotations say of HTTP.
    pub http: HttpWishes,
    /// Who is behind it, from its endpoint slices.
    pub backends: Vec<Backend>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What annotations say, its own before its namespace's.
    pub annotation: ProbeAnnotation,
}

/// Transport protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP and whatever else there may be: not probed.
    Other,
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name; empty for a service's only port.
    pub name: String,
    /// The service's port.
    pub port: u16,
    /// The port of every node that leads to it; 0 without.
    pub node_port: u16,
    /// Its transport.
    pub transport: Transport,
}

/// One address behind a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The address.
    pub address: IpAddr,
    /// Ports as (name, transport, number), which may differ from the service's.
    pub ports: Vec<(String, Transport, u16)>,
    /// `namespace/name` of the pod.
    pub pod: Option<String>,
    /// Its node.
    pub node: Option<String>,
    /// It takes traffic.
    pub ready: bool,
}

impl Service {
    /// Backends that take traffic.
    pub fn ready_backends(&self) -> impl Iterator<Item = &Backend> {
        self.backends.iter().filter(|backend| backend.ready)
    }

    /// `namespace/name`.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Whether a backend of this family that takes traffic is on this node.
    #[must_use]
    pub fn has_local(&self, node: &str, family: Family) -> bool {
        let here = |backend: &&Backend| backend.node.as_deref() == Some(node);
        self.ready_backends().filter(here).any(|backend| Family::of(backend.address) == family)
    }
}

impl Service {
    /// Whether its load balancer lets in whoever sends from these addresses, as far as their family goes. Where none of
    /// them is of the family, nobody sends in it.
    #[must_use]
    pub fn lets_in(&self, mut addresses: impl Iterator<Item = IpAddr>) -> bool {
        self.sources.is_empty()
            || addresses.all(|address| self.sources.iter().any(|range| range.contains(&address)))
    }

    /// Brings backends into their order, each once: while slices are rewritten, and where somebody mirrors endpoints, one
    /// stands in several of them.
    pub(super) fn merge_backends(&mut self) {
        self.backends.sort_by(|a, b| (a.address, &a.pod).cmp(&(b.address, &b.pod)));
        self.backends.dedup_by(|next, kept| {
            let same = next.address == kept.address
                && (next.pod == kept.pod || next.pod.is_none() || kept.pod.is_none());
            if same {
                let more = next.ports.drain(..).filter(|port| !kept.ports.contains(port)).collect::<Vec<_>>();
                kept.ports.extend(more);
                kept.pod = kept.pod.take().or_else(|| next.pod.take());
                kept.node = kept.node.take().or_else(|| next.node.take());
                kept.ready |= next.ready;
            }
            same
        });
    }
}

impl Backend {
    /// The port that it listens at in a service's port's stead; none where it has none for it.
    #[must_use]
    pub fn port(&self, of: &ServicePort) -> Option<u16> {
        let same =
            |(name, transport, _): &&(String, Transport, u16)| *transport == of.transport && *name == of.name;
        // A slice without ports has all. In one with ports all endpoints have these and no others: by named target ports
        // some pods of a service have what others have not.
        let any = self.ports.is_empty().then_some(of.port);
        self.ports.iter().find(same).map(|port| port.2).or(any)
    }
}

fn transport(protocol: Option<&str>) -> Transport {
    match protocol.unwrap_or("TCP") {
        "TCP" => Transport::Tcp,
        "UDP" => Transport::Udp,
        _ => Transport::Other,
    }
}

/// Those that are addresses, each once.
fn addresses(texts: impl Iterator<Item = impl AsRef<str>>) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in texts.filter_map(|text| text.as_ref().parse().ok()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

fn port_number(number: i32) -> Option<u16> {
    u16::try_from(number).ok().filter(|&number| number > 0)
}

fn ports(spec: &ServiceSpec) -> Vec<ServicePort> {
    let ports = spec.ports.iter().flatten().filter_map(|port| {
        Some(ServicePort {
            name: port.name.clone().unwrap_or_default(),
            port: port_number(port.port)?,
            node_port: port.node_port.and_then(port_number).unwrap_or(0),
            transport: transport(port.protocol.as_deref()),
        })
    });
    ports.collect()
}

/// A service, with its `namespace/name`. None where it has no address yet.
#[must_use]
pub fn service(object: &ServiceObject) -> Option<(String, Service)> {
    let name = object.metadata.name.clone()?;
    let spec = object.spec.as_ref()?;
    let texts = || spec.cluster_ips.iter().flatten().map(String::as_str).chain(spec.cluster_ip.as_deref());
    let name_only = spec.type_.as_deref() == Some("ExternalName");
    let headless = !name_only && texts().any(|text| text == "None");
    let cluster_addresses = if name_only { Vec::new() } else { addresses(texts()) };
    if cluster_addresses.is_empty() && !headless && !name_only {
        return None;
    }
    let status = object.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = || status.and_then(|status| status.ingress.as_ref()).into_iter().flatten();
    let names = ingress().filter(|ingress| ingress.ip.as_deref().unwrap_or_default().is_empty());
    let local = |policy: &Option<String>| policy.as_deref() == Some("Local");
    let id = namespaced(&object.metadata, &name);
    let service = Service {
        namespace: object.metadata.namespace.clone().unwrap_or_else(|| "default".to_owned()),
        name,
        cluster_addresses,
        load_balancer: addresses(ingress().filter_map(|ingress| ingress.ip.as_deref())),
        load_balancer_names: names
            .filter_map(|ingress| Some(text::line(ingress.hostname.as_deref()?)))
            .collect(),
        sources: ranges::sources(&object.metadata, spec),
        external_addresses: addresses(spec.external_ips.iter().flatten().map(String::as_str)),
        headless,
        name_only,
        ports: ports(spec),
        dns: false,
        vantage: is_vantage(&object.metadata),
        selects: spec.selector.as_ref().is_some_and(|selector| !selector.is_empty()),
        internal_local: local(&spec.internal_traffic_policy),
        external_local: local(&spec.external_traffic_policy),
        http: HttpWishes::read(object.metadata.annotations.as_ref()),
        backends: Vec::new(),
        labels: object.metadata.labels.clone().unwrap_or_default(),
        annotation: probe_annotation(&object.metadata),
    };
    Some((id, service))
}

/// Who is behind a service, as far as this slice knows, with the service's `namespace/name`.
#[must_use]
pub fn slice(object: &EndpointSlice) -> Option<(String, Vec<Backend>)> {
    let service = label(&object.metadata, SERVICE_NAME)?;
    Some((namespaced(&object.metadata, service), backends(object).collect()))
}

fn backends(slice: &EndpointSlice) -> impl Iterator<Item = Backend> {
    let ports: Vec<(String, Transport, u16)> = slice
        .ports
        .iter()
        .flatten()
        .filter_map(|port| {
            let number = port_number(port.port?)?;
            Some((port.name.clone().unwrap_or_default(), transport(port.protocol.as_deref()), number))
        })
        .collect();
    slice.endpoints.iter().flat_map(move |endpoint| {
        let conditions = endpoint.conditions.as_ref();
        let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true)
            && !conditions.and_then(|conditions| conditions.terminating).unwrap_or(false);
        let pod = endpoint
            .target_ref
            .as_ref()
            .filter(|target| target.kind.as_deref() == Some("Pod"))
            .and_then(|target| target.name.as_deref())
            .map(|name| namespaced(&slice.metadata, name));
        let ports = ports.clone();
        endpoint.addresses.iter().filter_map(|address| address.parse().ok()).map(move |address| Backend {
            address,
            ports: ports.clone(),
            pod: pod.clone(),
            node: endpoint.node_name.clone(),
            ready,
        })
    })
}
