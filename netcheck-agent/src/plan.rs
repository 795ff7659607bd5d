//! The plan: all that the agent knows of the cluster. Pure.
//!
//! In: [`v1::PlanDelta`]s from the hub. Out: the paths to probe, timing, addresses, and which paths were refused and
//! why. The last plan stays in force while the hub is away. A delta that does not build on the version held here is
//! a [`PlanGap`]: nothing of it is applied, and the session starts over, for a session begins with a full plan.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use netcheck_common::domain::{Family, PathId, ProbeKind, Vantage};
use netcheck_common::header::HEADER_LEN;
use netcheck_common::schedule::Load;
use netcheck_proto::{convert, v1};

use self::exchange::{Authorities, Exchange, Terms, lookup};
use self::not_probed::NotProbed;
use crate::host::clock::{MILLISECOND_NS, SECOND_NS};
use crate::model::observation::KnownAddress;
use crate::model::sample::overhead_bytes;
use crate::net::socket::SocketKind;
use crate::plan::policy::{AddressPolicy, Allowed, Bounds};

pub(crate) mod addresses;
pub(crate) mod call;
pub(crate) mod exchange;
mod not_probed;
pub(crate) mod policy;

/// Most paths of one agent; what is beyond is refused.
pub(crate) const PATHS_MAX: usize = 1 << 18;
/// Largest payload of a probe: an Ethernet frame's, less IPv4 and UDP headers.
pub(crate) const PAYLOAD_MAX: u32 = 1472;

/// What DNS servers are asked for.
const RECORDS: [RecordType; 9] = [
    RecordType::A,
    RecordType::NS,
    RecordType::CNAME,
    RecordType::SOA,
    RecordType::PTR,
    RecordType::MX,
    RecordType::TXT,
    RecordType::AAAA,
    RecordType::SRV,
];
/// Most short names that are looked up.
const SEARCH_NAMES_MAX: usize = 16;

/// What a DNS path asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) query: Query,
    /// The whole query message, with id 0.
    pub(crate) message: Vec<u8>,
}

/// One path that can be probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PathPlan {
    pub(crate) vantage: Vantage,
    /// The secondary network of pods that it stays in; none: the cluster's own.
    pub(crate) network: Option<Arc<str>>,
    pub(crate) kind: ProbeKind,
    /// Port 0 for ICMP.
    pub(crate) target: SocketAddr,
    /// Bytes after the ICMP or UDP header, probe header included.
    pub(crate) payload_bytes: usize,
    /// For DNS.
    pub(crate) question: Option<Arc<Question>>,
    /// For HTTP, and for DNS over TCP and TLS.
    pub(crate) exchange: Option<Arc<Exchange>>,
}

impl PathPlan {
    /// Length of an ordinary ICMP or UDP probe's IP packet.
    pub(crate) fn packet_bytes(&self) -> u16 {
        overhead_bytes(Family::of(self.target.ip())) + self.payload_bytes as u16
    }

    /// What a probe of it costs, and how often it may be sent at most.
    pub(crate) fn load(&self, timing: &Timing) -> Load {
        match &self.exchange {
            None => self.kind.into(),
            Some(exchange) => Load { packets: exchange.packets(), least_ns: timing.exchange_interval_ns },
        }
    }
}

/// How often, how long, how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    pub(crate) interval_ns: u64,
    pub(crate) timeout_ns: u64,
    pub(crate) window_ns: u64,
    /// 0: no wish.
    pub(crate) wanted_pps: u32,
    /// How often the largest packet of each path is tried; 0: never.
    pub(crate) sizes_ns: u64,
    /// How often exchanges over TCP are made; 0: as often as all other probes.
    pub(crate) exchange_interval_ns: u64,
    /// How long an exchange over TCP may take; 0: as long as all other probes.
    pub(crate) exchange_timeout_ns: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            interval_ns: SECOND_NS,
            timeout_ns: SECOND_NS,
            window_ns: SECOND_NS,
            wanted_pps: 0,
            sizes_ns: 0,
            exchange_interval_ns: 0,
            exchange_timeout_ns: 0,
        }
    }
}

/// A delta that builds on another version than the one held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the hub's plan {version} builds on {base}, this agent holds {held}")]
pub(crate) struct PlanGap {
    pub(crate) version: u64,
    pub(crate) base: u64,
    pub(crate) held: u64,
}

/// What a delta changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// Paths that are no more, or are probed otherwise than before.
    pub(crate) gone: Vec<PathId>,
    pub(crate) addresses: bool,
}

impl Missing {
    /// Which sockets it would take.
    pub(crate) const fn stock(&self) -> SocketKind {
        match self.kind {
            ProbeKind::Icmp => SocketKind::Ping,
            ProbeKind::Udp | ProbeKind::Dns => SocketKind::Datagram,
            ProbeKind::Tcp | ProbeKind::Http => SocketKind::Stream,
        }
    }
}

/// Probes that this agent can't send at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) kind: ProbeKind,
    pub(crate) family: Family,
    pub(crate) why: String,
}

/// The plan in force.
#[derive(Debug)]
pub(crate) struct Plan {
    policy: AddressPolicy,
    allowed: Allowed,
    missing: Vec<Missing>,
    /// A pod vantage may come: its paths are held even where there is none just now.
    has_pods: bool,
    /// Who must vouch for servers.
    pub(crate) authorities: Arc<Authorities>,
    /// Short names to look up.
    pub(crate) search_names: Vec<String>,
    pub(crate) version: u64,
    pub(crate) timing: Timing,
    pub(crate) paths: HashMap<PathId, PathPlan>,
    pub(crate) refused: BTreeMap<PathId, String>,
    /// DNS servers' paths, probed or refused, whose address only a cache of this node's own may have.
    strange_dns: BTreeMap<PathId, v1::PathSpec>,
    pub(crate) addresses: Vec<KnownAddress>,
    pub(crate) watched_ports: Vec<u16>,
}

impl Plan {
    /// No plan: version 0, no paths.
    pub(crate) fn empty(
        policy: AddressPolicy,
        allowed: Allowed,
        missing: Vec<Missing>,
        has_pods: bool,
    ) -> Self {
        Self {
            policy,
            allowed,
            missing,
            has_pods,
            authorities: Arc::default(),
            search_names: Vec::new(),
            version: 0,
            timing: Timing::default(),
            paths: HashMap::new(),
            refused: BTreeMap::new(),
            strange_dns: BTreeMap::new(),
            addresses: Vec::new(),
            watched_ports: Vec::new(),
        }
    }

    /// Applies a delta, or nothing of it.
    pub(crate) fn apply(&mut self, delta: &v1::PlanDelta) -> Result<Change, PlanGap> {
        let full = delta.base_version == 0;
        if !full && delta.base_version != self.version {
            return Err(PlanGap { version: delta.version, base: delta.base_version, held: self.version });
        }
        if delta.authorities != self.authorities.pem {
            self.authorities = Arc::new(Authorities::read(&delta.authorities));
        }
        self.search_names = delta.search_names.iter().take(SEARCH_NAMES_MAX).cloned().collect();
        let mut change = Change::default();
        let mut before = HashMap::new();
        if full {
            before = std::mem::take(&mut self.paths);
            self.refused.clear();
            self.strange_dns.clear();
            change.addresses = true;
            self.addresses.clear();
            self.watched_ports.clear();
        }
        for &path in &delta.remove {
            before.extend(self.take_out(PathId(path)));
        }
        for spec in &delta.upsert {
            before.extend(self.take_out(PathId(spec.path_id)));
            self.put_in(spec);
        }
        change.gone = before
            .into_iter()
            .filter(|(path, was)| self.paths.get(path) != Some(was))
            .map(|(path, _)| path)
            .collect();
        change.gone.sort_unstable();
        if let Some(table) = &delta.addresses {
            change.addresses = true;
            self.set_addresses(table);
        }
        self.set_timing(delta);
        self.version = delta.version;
        Ok(change)
    }

    /// Takes what was found of this node's own DNS caches, in place of what was found before. Returns the paths that may
    /// not be probed any more, where it makes a difference to any path.
    pub(crate) fn set_found_dns(&mut self, found: Vec<IpAddr>) -> Option<Vec<PathId>> {
        self.allowed.set_found_dns(found);
        let (mut changed, mut gone) = (false, Vec::new());
        for spec in self.strange_dns.values().cloned().collect::<Vec<_>>() {
            let path = PathId(spec.path_id);
            let before = self.take_out(path).is_some();
            self.put_in(&spec);
            let after = self.paths.contains_key(&path);
            changed |= before != after;
            gone.extend((before && !after).then_some(path));
        }
        changed.then_some(gone)
    }

    fn take_out(&mut self, path: PathId) -> Option<(PathId, PathPlan)> {
        self.refused.remove(&path);
        self.strange_dns.remove(&path);
        self.paths.remove_entry(&path)
    }

    fn put_in(&mut self, spec: &v1::PathSpec) {
        let path = PathId(spec.path_id);
        let address = convert::address("address", &spec.address);
        let strange = address.is_ok_and(|address| (self.policy)(address).is_some());
        if strange && spec.kind() == v1::ProbeKind::Dns {
            self.strange_dns.insert(path, spec.clone());
        }
        match self.check(spec) {
            Ok(plan) => drop(self.paths.insert(path, plan)),
            Err(why) => drop(self.refused.insert(path, why.to_string())),
        }
    }

    /// What holds for all exchanges over TCP.
    pub(crate) fn terms(&self) -> Terms {
        let Timing { timeout_ns, exchange_timeout_ns, .. } = self.timing;
        let timeout_ns = if exchange_timeout_ns == 0 { timeout_ns } else { exchange_timeout_ns };
        let bounds = Arc::new(Bounds { policy: self.policy, allowed: self.allowed.clone() });
        Terms { timeout_ns, authorities: Arc::clone(&self.authorities), bounds }
    }

    /// The refused paths on the wire.
    pub(crate) fn refused_wire(&self) -> Vec<v1::RefusedPath> {
        self.refused.iter().map(|(path, why)| v1::RefusedPath { path_id: path.0, why: why.clone() }).collect()
    }

    fn set_timing(&mut self, delta: &v1::PlanDelta) {
        let Timing { interval_ns, timeout_ns, window_ns, .. } = &mut self.timing;
        *interval_ns = clamped(delta.interval, *interval_ns, 10 * MILLISECOND_NS, 3600 * SECOND_NS);
        *timeout_ns = clamped(delta.timeout, *timeout_ns, MILLISECOND_NS, 60 * SECOND_NS);
        *window_ns = clamped(delta.window, *window_ns, 100 * MILLISECOND_NS, 300 * SECOND_NS);
        self.timing.wanted_pps = delta.packets_per_second;
        self.timing.sizes_ns = match clamped(delta.size_interval, self.timing.sizes_ns, 0, 3600 * SECOND_NS) {
            0 => 0,
            wanted_ns => wanted_ns.max(SECOND_NS),
        };
        let Timing { exchange_interval_ns, exchange_timeout_ns, .. } = &mut self.timing;
        *exchange_interval_ns = clamped(delta.exchange_interval, *exchange_interval_ns, 0, 3600 * SECOND_NS);
        *exchange_timeout_ns = clamped(delta.exchange_timeout, *exchange_timeout_ns, 0, 60 * SECOND_NS);
    }

    /// A usable path, or why it is none.
    fn check(&self, spec: &v1::PathSpec) -> Result<PathPlan, NotProbed> {
        if self.paths.len() >= PATHS_MAX {
            return Err(NotProbed::TooManyPaths { most: PATHS_MAX });
        }
        let vantage = convert::vantage("vantage", spec.vantage)?;
        if vantage == Vantage::Pod && !self.has_pods {
            return Err(NotProbed::NoPodVantage);
        }
        if vantage == Vantage::Host && !spec.network.is_empty() {
            return Err(NotProbed::OutsideNetwork { network: spec.network.clone() });
        }
        let kind = convert::kind("kind", spec.kind)?;
        let address: IpAddr = convert::address("address", &spec.address)?;
        let node_local_dns = kind == ProbeKind::Dns && self.allowed.is_node_local_dns(address);
        // Of a name that is looked up first, the address says no more than the family.
        let named = kind == ProbeKind::Http && lookup(spec).is_some();
        if named && !address.is_unspecified() {
            return Err(NotProbed::NameAndAddress);
        }
        if let Some(what) = (self.policy)(address).filter(|_| !node_local_dns && !named) {
            return Err(NotProbed::Forbidden { address, what });
        }
        let family = Family::of(address);
        let misses = |missing: &&Missing| (missing.kind, missing.family) == (kind, family);
        if let Some(missing) = self.missing.iter().find(misses).filter(|_| vantage == Vantage::Host) {
            return Err(NotProbed::Missing { why: missing.why.clone() });
        }
        if !spec.network.is_empty() && matches!(kind, ProbeKind::Dns | ProbeKind::Http) {
            return Err(NotProbed::OnSecondaryNetwork { kind });
        }
        let port = match (kind, convert::port("port", spec.port)?) {
            (ProbeKind::Icmp, _) => 0,
            (_, 0) => return Err(NotProbed::NoPort { kind }),
            (_, port) => port,
        };
        if spec.payload_bytes > PAYLOAD_MAX {
            return Err(NotProbed::Payload { bytes: spec.payload_bytes, most: PAYLOAD_MAX });
        }
        if spec.external && !named && !self.allowed.holds(address) {
            return Err(NotProbed::NotAllowed { address });
        }
        let question = match kind {
            ProbeKind::Icmp | ProbeKind::Udp | ProbeKind::Tcp | ProbeKind::Http => None,
            ProbeKind::Dns => Some(Arc::new(question(spec)?)),
        };
        let exchange = Exchange::read(spec, kind, question.as_ref())?.map(Arc::new);
        let payload_bytes = (spec.payload_bytes as usize).max(HEADER_LEN);
        Ok(PathPlan {
            vantage,
            network: (!spec.network.is_empty()).then(|| Arc::from(spec.network.as_str())),
            kind,
            target: SocketAddr::new(address, port),
            payload_bytes,
            question,
            exchange,
        })
    }
}

fn question(spec: &v1::PathSpec) -> Result<Question, NotProbed> {
    let number = spec.dns_type;
    let asked = |record: &RecordType| u32::from(u16::from(*record)) == number;
    let record = RECORDS.into_iter().find(asked).ok_or(NotProbed::RecordType { number })?;
    let mut name = Name::from_ascii(&spec.dns_name).map_err(NotProbed::unreadable("dns_name"))?;
    if spec.dns_name.is_empty() {
        return Err(NotProbed::NoDnsName);
    }
    name.set_fqdn(true);
    let query = Query::query(name, record);
    let mut message = Message::new(0, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(query.clone());
    let message = message.to_vec().map_err(NotProbed::unreadable("dns_name"))?;
    Ok(Question { query, message })
}

/// Absent or negative durations keep what was.
fn clamped(wire: Option<prost_types::Duration>, was_ns: u64, least_ns: u64, most_ns: u64) -> u64 {
    let Some(duration) = wire.and_then(|wire| std::time::Duration::try_from(wire).ok()) else {
        return was_ns;
    };
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).clamp(least_ns, most_ns)
}

#[cfg(test)]
mod tests;
