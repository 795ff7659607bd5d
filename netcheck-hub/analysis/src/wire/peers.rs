//! Targets of another cluster as they are announced → probes, or why they are not taken. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use netcheck_common::domain::ProbeKind;
use netcheck_proto::{convert, v1};

use super::target::{address_to_wire, kind_to_wire, service_address, target_kind};
use crate::model::target::{ServiceAddress, TargetKind};
use crate::plan::exchange::{Exchange, Request, Talk, TlsCheck};
use crate::plan::peers::{OwnTarget, PROBES_MAX, TARGETS_MAX};
use crate::plan::{Peer, Probe, Question, Sources, Target};

/// Probes of all of one lease.
const PROBES_TOTAL: usize = 20_000;
/// Longest name of a cluster (bytes).
const CLUSTER_NAME: usize = 100;
/// Longest id, name, path or host (bytes).
pub(crate) const TEXT: usize = 2_048;

/// Why targets of another cluster are not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// A field that does not say what its type promises.
    #[error("{0}")]
    Field(#[from] convert::InvalidField),
    /// More than is taken.
    #[error("targets: {0}")]
    TooMany(&'static str),
    /// A text that is none, or too long.
    #[error("target {id:?}: {what} is missing, too long or malformed")]
    Text {
        /// Of which target.
        id: String,
        /// What.
        what: &'static str,
    },
    /// The same id twice.
    #[error("target {id:?} is there twice")]
    Twice {
        /// Which.
        id: String,
    },
    /// A lease without any.
    #[error("targets is empty: a lease begins with one at least, and is prolonged with `renew`")]
    None,
}

/// Probes of targets that another cluster has.
///
/// # Errors
/// See [`PeerError`].
pub fn read(cluster: &str, wire: &[v1::PeerTarget]) -> Result<Vec<Probe>, PeerError> {
    let cluster: Arc<str> = cluster_name(cluster)?.into();
    if wire.is_empty() {
        return Err(PeerError::None);
    }
    if wire.len() > TARGETS_MAX {
        return Err(PeerError::TooMany("2,000 at most"));
    }
    if wire.iter().any(|target| target.probes.len() > PROBES_MAX)
        || wire.iter().map(|target| target.probes.len()).sum::<usize>() > PROBES_TOTAL
    {
        return Err(PeerError::TooMany("64 probes of one, and 20,000 of all, at most"));
    }
    let mut ids = BTreeSet::new();
    let mut probes = Vec::new();
    for of in wire {
        if !ids.insert(&of.id) {
            return Err(PeerError::Twice { id: of.id.clone() });
        }
        let target = Arc::new(read_target(&cluster, of)?);
        for probe in &of.probes {
            probes.push(read_probe(&target, probe)?);
        }
    }
    Ok(probes)
}

/// A cluster's name, as it may be part of ids.
///
/// # Errors
/// Other characters, or too many.
pub fn cluster_name(text: &str) -> Result<&str, convert::InvalidField> {
    let name = convert::name("cluster", text)?;
    if name.len() > CLUSTER_NAME { Err(convert::InvalidField::Name { field: "cluster" }) } else { Ok(name) }
}

fn read_target(cluster: &Arc<str>, of: &v1::PeerTarget) -> Result<Target, PeerError> {
    let wrong = |what| PeerError::Text { id: of.id.chars().take(80).collect(), what };
    let fits = |text: &str| (1..=TEXT).contains(&text.len());
    if !fits(&of.id) || of.id.contains(char::is_whitespace) {
        return Err(wrong("id"));
    }
    if !fits(&of.name) {
        return Err(wrong("name"));
    }
    if of.probes.is_empty() {
        return Err(wrong("probes"));
    }
    let address = match of.service_address {
        0 => None,
        some => Some(service_address("targets.service_address", some)?),
    };
    let kind = target_kind("targets.kind", of.kind)?;
    let mut addresses = Vec::new();
    for probe in &of.probes {
        let address = convert::address("targets.probes.address", &probe.address)?;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(Target {
        id: format!("peer/{cluster}/{}", of.id).into(),
        name: format!("{} of {cluster}", of.name),
        addresses,
        peer: Some(Arc::new(Peer { cluster: Arc::clone(cluster), kind, address })),
        ..Target::default()
    })
}

fn read_probe(target: &Arc<Target>, wire: &v1::PeerProbe) -> Result<Probe, PeerError> {
    let wrong = |what| PeerError::Text { id: target.id.chars().take(80).collect(), what };
    let kind = convert::kind("targets.probes.kind", wire.kind)?;
    let port = convert::port("targets.probes.port", wire.port)?;
    if (port == 0) == kind.has_port() {
        return Err(wrong("port"));
    }
    let question = match kind {
        ProbeKind::Dns => {
            let name = wire.dns_name.trim_end_matches('.');
            let name = convert::name("targets.probes.dns_name", name)?;
            let record_type = u16::try_from(wire.dns_type).map_err(|_large| wrong("dns_type"))?;
            Some(Question { name: format!("{name}.").into(), record_type, further: false })
        }
        ProbeKind::Icmp | ProbeKind::Udp | ProbeKind::Tcp | ProbeKind::Http => None,
    };
    let exchange = match kind {
        ProbeKind::Http => {
            let http = wire.http.as_ref().ok_or_else(|| wrong("http"))?;
            Some(Arc::new(read_exchange(http, wire.tls.as_ref()).ok_or_else(|| wrong("http"))?))
        }
        ProbeKind::Icmp | ProbeKind::Udp | ProbeKind::Tcp | ProbeKind::Dns => None,
    };
    Ok(Probe {
        target: Arc::clone(target),
        kind,
        address: convert::address("targets.probes.address", &wire.address)?,
        port,
        question,
        sources: Sources::All,
        exchange,
    })
}

/// None where it makes no sense.
fn read_exchange(http: &v1::HttpRequest, tls: Option<&v1::TlsCheck>) -> Option<Exchange> {
    let text = |text: &str| text.len() <= TEXT && text.bytes().all(|byte| byte.is_ascii_graphic());
    let name = tls.map_or("", |tls| tls.name.as_str());
    let sound = http.path.starts_with('/') && text(&http.path) && !http.host.is_empty() && text(&http.host);
    if !sound || !text(name) || !http.resolve.is_empty() || http.expected.len() > PROBES_MAX {
        return None;
    }
    let range =
        |range: &v1::StatusRange| Some((u16::try_from(range.first).ok()?, u16::try_from(range.last).ok()?));
    let expected = http.expected.iter().map(range).collect::<Option<Vec<_>>>()?;
    Some(Exchange {
        talk: Talk::Http(Request { host: http.host.clone(), path: http.path.clone(), expected, call: None }),
        tls: tls.map(|_| TlsCheck { name: name.to_owned(), authority: false }),
        external: true,
        lookup: None,
    })
}

impl OwnTarget {
    /// As another cluster is sent it.
    #[must_use]
    pub fn to_wire(&self) -> v1::PeerTarget {
        let Self { target, probes } = self;
        let probe = |probe: &Probe| {
            // As an agent would be sent it; what a plan adds to it is left out.
            let mut spec = v1::PathSpec::default();
            if let Some(exchange) = &probe.exchange {
                exchange.write(&mut spec);
            }
            let question = probe.question.as_ref();
            v1::PeerProbe {
                kind: convert::kind_to_wire(probe.kind).into(),
                address: convert::address_bytes(probe.address),
                port: u32::from(probe.port),
                dns_name: question.map(|question| question.name.to_string()).unwrap_or_default(),
                dns_type: question.map_or(0, |question| u32::from(question.record_type)),
                http: spec.http,
                tls: spec.tls.map(|tls| v1::TlsCheck { authority: false, ..tls }),
            }
        };
        // The cluster's DNS is asked at its service's address, and at its pods'.
        let dns = match (target.kind, target.node.is_empty()) {
            (TargetKind::DnsServer, true) => Some(ServiceAddress::ClusterIp),
            (TargetKind::DnsServer, false) => Some(ServiceAddress::Endpoint),
            _ => None,
        };
        let at = target.service_address().or(dns);
        v1::PeerTarget {
            id: target.id.to_string(),
            kind: kind_to_wire(target.kind).into(),
            name: target.label(),
            service_address: at.map_or(v1::ServiceAddress::Unspecified, address_to_wire).into(),
            probes: probes.iter().map(probe).collect(),
        }
    }
}
