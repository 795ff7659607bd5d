//! Who probes what: roster → catalog of probes → one plan per agent, and the deltas between plans. Pure.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use netcheck_common::domain::{Family, PathId, ProbeKind, Vantage};

pub mod addresses;
mod assignment;
mod catalog;
pub mod coverage;
pub mod dns;
pub mod drafting;
pub mod exchange;
mod groups;
pub mod http;
mod node_port_sources;
mod order;
mod path_ids;
pub mod peers;
pub mod pod_source;
mod prober;
pub mod relays;
pub mod requested;
pub mod rotation;
pub mod selector;
mod sources;
#[cfg(test)]
mod tests;
mod vantage;

use crate::model::target::{ServiceAddress, TargetKind};
use addresses::Addresses;
pub use assignment::NodeAssignment;
pub use catalog::Catalog;
use exchange::Exchange;
pub use path_ids::PathIdAllocator;
pub use prober::Prober;
pub use requested::RequestedBy;
pub use sources::Sources;

/// What the operator asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How often each path is probed.
    pub interval: Duration,
    /// How long a reply is waited for.
    pub timeout: Duration,
    /// Length of a reporting window.
    pub window: Duration,
    /// How often the largest packet of each ICMP and UDP path is tried; zero: never.
    pub sizes: Duration,
    /// For exchanges over TCP.
    pub exchange: ExchangeTiming,
}

impl Timing {
    /// Each path that often; half of it to wait for replies, a window each, and the largest packet every tenth time.
    #[must_use]
    pub fn every(interval: Duration) -> Self {
        Self {
            interval,
            timeout: interval / 2,
            window: interval,
            sizes: interval * 10,
            exchange: ExchangeTiming::default(),
        }
    }
}

/// How often, and how long, for HTTP and for DNS over TCP and TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExchangeTiming {
    /// How often each path is probed.
    pub interval: Duration,
    /// How long the whole exchange may take.
    pub timeout: Duration,
}

impl Default for ExchangeTiming {
    fn default() -> Self {
        Self { interval: Duration::from_secs(5), timeout: Duration::from_secs(3) }
    }
}

/// One thing that probes are sent to, as of one roster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `node/NAME`, `pod/NAMESPACE/NAME`, `service/NAMESPACE/NAME:PORT`, `dns/NAMESPACE/NAME`; see the wire form for more.
    /// A pod on a secondary network is a target of its own, `pod/NAMESPACE/NAME@NETWORK`: see [`Target::network`].
    pub id: Arc<str>,
    /// Its kind.
    pub kind: TargetKind,
    /// Empty for nodes.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The node that holds it; of services only for node ports and endpoints.
    pub node: String,
    /// That node's zone.
    pub zone: String,
    /// All its addresses.
    pub addresses: Vec<IpAddr>,
    /// What is connected to; 0 where it has none.
    pub port: u16,
    /// For services: at what kind of address.
    pub at: Option<At>,
    /// How many backends answer in its stead; 1 where it answers itself.
    pub backends: usize,
    /// Why it is meant to be away, if it is.
    pub absent: Option<String>,
    /// It is a service that is meant to have backends and has none that is ready: how people are informed.
    pub unbacked: Option<String>,
    /// It is another cluster's; then its kind is [`TargetKind::Endpoint`].
    pub peer: Option<Arc<Peer>>,
    /// A scheduled check asks for it, and nobody else does; then its kind is [`TargetKind::Endpoint`].
    pub requested: Option<Arc<RequestedBy>>,
}

/// Of a target that another cluster has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Which cluster, as whoever asked for it calls that.
    pub cluster: Arc<str>,
    /// What it is there.
    pub kind: TargetKind,
    /// For services: at what kind of address.
    pub address: Option<ServiceAddress>,
}

/// It answers itself, and nothing else is known of it.
impl Default for Target {
    fn default() -> Self {
        Self {
            id: "".into(),
            kind: TargetKind::Endpoint,
            namespace: String::new(),
            name: String::new(),
            node: String::new(),
            zone: String::new(),
            addresses: Vec::new(),
            port: 0,
            at: None,
            backends: 1,
            absent: None,
            unbacked: None,
            peer: None,
            requested: None,
        }
    }
}

/// Where a service is probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// At what kind of address.
    pub address: ServiceAddress,
    /// The service's own port.
    pub port: u16,
    /// `namespace/name` of the one pod that answers there, where it is one.
    pub pod: String,
}

impl Target {
    /// `namespace/name`.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Whether it is a service at this kind of address.
    #[must_use]
    pub fn is_at(&self, address: ServiceAddress) -> bool {
        self.at.as_ref().is_some_and(|at| at.address == address)
    }

    /// Whether it is an address of an Ingress or a Gateway: whoever has it passes requests on.
    #[must_use]
    pub fn is_frontend(&self) -> bool {
        self.kind == TargetKind::Endpoint && !self.namespace.is_empty()
    }

    /// At what kind of address it is probed, for services of this cluster or another one.
    #[must_use]
    pub fn service_address(&self) -> Option<ServiceAddress> {
        let peer = || self.peer.as_ref().and_then(|peer| peer.address);
        self.at.as_ref().map(|at| at.address).or_else(peer)
    }
}

/// A DNS question.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Question {
    /// Absolute name.
    pub name: Arc<str>,
    /// 1 A, 28 AAAA.
    pub record_type: u16,
    /// It is not the first of the names that servers are asked for.
    pub further: bool,
}

/// How one target is probed at one address. The same for all agents that do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// To what.
    pub target: Arc<Target>,
    /// With what.
    pub kind: ProbeKind,
    /// The address probed.
    pub address: IpAddr,
    /// 0 for ICMP.
    pub port: u16,
    /// For DNS.
    pub question: Option<Question>,
    /// Who sends it.
    pub sources: Sources,
    /// For HTTP, and for DNS over TCP and TLS.
    pub exchange: Option<Arc<Exchange>>,
}

/// A path that a node is meant to probe, now or in turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// Where its probes start.
    pub(crate) vantage: Vantage,
    /// Its probe's place in the catalog.
    pub(crate) at: u32,
    /// What they are.
    pub(crate) probe: &'a Probe,
}

/// What makes a path the same path after the roster changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Identity {
    vantage: Vantage,
    target: Arc<str>,
    kind: ProbeKind,
    address: IpAddr,
    port: u16,
    question: Option<Question>,
    exchange: Option<Arc<Exchange>>,
}

/// By target, kind, address and port, then by what distinguishes probes of these from each other.
type Order<'a> = (&'a str, ProbeKind, IpAddr, u16, (&'a Option<Question>, &'a Option<Arc<Exchange>>), bool);

impl Probe {
    /// Where its packets go.
    #[must_use]
    pub const fn to(&self) -> (IpAddr, u16) {
        (self.address, self.port)
    }

    /// Whether a TCP connection is part of it.
    #[must_use]
    pub fn over_tcp(&self) -> bool {
        self.kind == ProbeKind::Tcp || self.exchange.is_some()
    }

    /// What distinguishes it from other probes of its kind to the same target: `https /readyz`, `for example.org. over
    /// TCP`; empty where nothing does.
    #[must_use]
    pub fn detail(&self) -> String {
        let how = self.exchange.as_ref().map(|exchange| exchange.detail());
        let name = self.question.as_ref().filter(|question| question.further);
        let name = name.map(|question| format!("for {}", question.name));
        name.into_iter().chain(how).collect::<Vec<_>>().join(" ")
    }

    /// The order of catalogs.
    fn order(&self) -> Order<'_> {
        let rest = self.sources.are_rest();
        (&self.target.id, self.kind, self.address, self.port, (&self.question, &self.exchange), rest)
    }

    /// Whether both are the same path to whoever sends them from the same place.
    fn is(&self, other: &Self) -> bool {
        self.target.id == other.target.id
            && (self.kind, self.address, self.port) == (other.kind, other.address, other.port)
            && self.question == other.question
            && self.exchange == other.exchange
    }

    pub(crate) fn identity(&self, vantage: Vantage) -> Identity {
        Identity {
            vantage,
            target: Arc::clone(&self.target.id),
            kind: self.kind,
            address: self.address,
            port: self.port,
            question: self.question.clone(),
            exchange: self.exchange.clone(),
        }
    }
}

/// A path of one agent's plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedPath {
    /// Its number.
    pub id: PathId,
    /// Where its probes start.
    pub vantage: Vantage,
    /// Its probe's place in the catalog that the plan was made from.
    pub at: u32,
    /// What they are.
    pub probe: Probe,
}

/// What distinguishes one path of a source from another when only the address or port behind it has changed.
pub(crate) type Purpose<'a> = (&'a str, Vantage, ProbeKind, Family);

impl PlannedPath {
    /// What makes it the same path after the roster changed.
    pub(crate) fn identity(&self) -> Identity {
        self.probe.identity(self.vantage)
    }

    /// From where, to what, with what. Two paths of one source that have this in common are one to people, unless both
    /// are in the plan.
    pub(crate) fn purpose(&self) -> Purpose<'_> {
        let Probe { target, kind, address, .. } = &self.probe;
        (&target.id, self.vantage, *kind, Family::of(*address))
    }
}

/// All that one agent shall do, at one version.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// 0: the empty plan of an agent that is not in the roster yet.
    pub version: u64,
    /// Ascending by id.
    pub paths: Vec<Arc<PlannedPath>>,
    /// Shared by all agents.
    pub addresses: Arc<Addresses>,
    /// Ascending. Shared by all agents.
    pub watched_ports: Arc<[u16]>,
    /// Who must vouch for servers where a path asks for it (PEM). Shared by all agents.
    pub authorities: Arc<[u8]>,
    /// Short names to look up with the node's own search list. Shared by all agents.
    pub search_names: Arc<[String]>,
}
