//! What readers were once shown → the hub's own types again: incidents, paths and locations out of history. What does not
//! hold together is nothing.

use std::net::IpAddr;
use std::sync::Arc;

use crate::incident::{Incident, Losses, PathOf, Places};
use crate::model::incident::IncidentKind;
use crate::model::location::{Certainty, Location};
use crate::model::target::{ServiceAddress, TargetKind};
use crate::model::verdict::Verdict;
use crate::plan::{At, PlannedPath, Probe, Sources, Target};
use netcheck_common::domain::{Family, PathId, ProbeKind, Vantage};
use netcheck_proto::{convert, v1};
use prost_types::Timestamp;

use super::evidence::{direction, role, stage};
use super::incident::{culprit, incident_kind};

pub(super) fn unix_ns(at: &Timestamp) -> i64 {
    at.seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(at.nanos))
}

const fn certainty(wire: v1::Certainty) -> Certainty {
    match wire {
        v1::Certainty::Observed => Certainty::Observed,
        v1::Certainty::Inferred | v1::Certainty::Unspecified => Certainty::Inferred,
    }
}

/// A location.
#[must_use]
pub fn read_location(wire: &v1::LossLocation) -> Location {
    Location {
        node: wire.node.clone(),
        interface: wire.interface.clone(),
        role: role(wire.role()),
        pod: wire.pod.clone(),
        stage: stage(wire.stage()),
        direction: direction(wire.direction()),
        reason: wire.reason.clone(),
        function: wire.function.clone(),
        certainty: certainty(wire.certainty()),
        next_node: wire.next_node.clone(),
        next_interface: wire.next_interface.clone(),
        tunnel: wire.tunnel.clone(),
    }
}

fn target(wire: &v1::Target) -> Option<Target> {
    let kind = match wire.kind() {
        v1::TargetKind::Unspecified => return None,
        v1::TargetKind::Node => TargetKind::Node,
        v1::TargetKind::Pod => TargetKind::Pod,
        v1::TargetKind::Service => TargetKind::Service,
        v1::TargetKind::DnsServer => TargetKind::DnsServer,
        v1::TargetKind::Endpoint => TargetKind::Endpoint,
    };
    let address = match wire.service_address() {
        v1::ServiceAddress::Unspecified => None,
        v1::ServiceAddress::ClusterIp => Some(ServiceAddress::ClusterIp),
        v1::ServiceAddress::NodePort => Some(ServiceAddress::NodePort),
        v1::ServiceAddress::LoadBalancer => Some(ServiceAddress::LoadBalancer),
        v1::ServiceAddress::ExternalIp => Some(ServiceAddress::ExternalIp),
        v1::ServiceAddress::Endpoint => Some(ServiceAddress::Endpoint),
    };
    let port = |wire: u32| u16::try_from(wire).unwrap_or_default();
    Some(Target {
        id: wire.id.as_str().into(),
        kind,
        namespace: wire.namespace.clone(),
        name: wire.name.clone(),
        node: wire.node.clone(),
        zone: wire.zone.clone(),
        addresses: wire.addresses.iter().filter_map(|address| address.parse().ok()).collect(),
        port: port(wire.port),
        at: address.map(|address| At { address, port: port(wire.service_port), pod: wire.pod.clone() }),
        ..Target::default()
    })
}

/// The target of an id, as far as the id shows it; see `v1::Target::id`.
#[must_use]
pub fn target_of_id(id: &str) -> Target {
    let (kind, rest) = id.split_once('/').unwrap_or(("", id));
    let (namespace, name) = rest.split_once('/').unwrap_or(("", rest));
    let own = || Target { id: id.into(), namespace: namespace.to_owned(), ..Target::default() };
    match kind {
        "node" => Target {
            kind: TargetKind::Node,
            name: rest.to_owned(),
            node: rest.to_owned(),
            namespace: String::new(),
            ..own()
        },
        "pod" => {
            let name = name.split('@').next().unwrap_or(name).to_owned();
            Target { kind: TargetKind::Pod, name, ..own() }
        }
        "dns" => Target { kind: TargetKind::DnsServer, name: name.to_owned(), port: 53, ..own() },
        "service" => {
            let (service, at) = name.split_once('/').unwrap_or((name, "cluster-ip"));
            let (service, port) = service.rsplit_once(':').unwrap_or((service, ""));
            let port = port.parse().unwrap_or_default();
            let (how, whom) = at.split_once('/').unwrap_or((at, ""));
            let address = match how {
                "node-port" => ServiceAddress::NodePort,
                "load-balancer" => ServiceAddress::LoadBalancer,
                "external-ip" => ServiceAddress::ExternalIp,
                "endpoint" => ServiceAddress::Endpoint,
                _ => ServiceAddress::ClusterIp,
            };
            let node = if address == ServiceAddress::NodePort { whom.to_owned() } else { String::new() };
            let at = Some(At { address, port, pod: String::new() });
            Target { kind: TargetKind::Service, name: service.to_owned(), port, at, node, ..own() }
        }
        _ => Target { name: rest.to_owned(), namespace: String::new(), ..own() },
    }
}

const fn family(wire: v1::Family) -> Option<Family> {
    match wire {
        v1::Family::Unspecified => None,
        v1::Family::Ipv4 => Some(Family::V4),
        v1::Family::Ipv6 => Some(Family::V6),
    }
}

/// A path, under this number.
fn path(wire: &v1::Path, id: u32) -> Option<PathOf> {
    let target = target(wire.target.as_ref()?)?;
    // What is asked by name has it in place of the address that was found.
    let address: IpAddr = wire.address.parse().ok().or_else(|| target.addresses.first().copied())?;
    let vantage = match wire.vantage() {
        v1::Vantage::Pod => Vantage::Pod,
        v1::Vantage::Host | v1::Vantage::Unspecified => Vantage::Host,
    };
    let probe = Probe {
        target: Arc::new(target),
        kind: convert::kind("kind", wire.kind).ok()?,
        address,
        port: u16::try_from(wire.port).ok()?,
        question: None,
        sources: Sources::All,
        exchange: None,
    };
    Some(PathOf {
        source: wire.source_node.as_str().into(),
        zone: wire.source_zone.as_str().into(),
        path: Arc::new(PlannedPath { id: PathId(id), vantage, at: 0, probe }),
    })
}

/// An incident; `number` says which number a path has.
#[must_use]
pub fn read_incident(wire: &v1::Incident, number: impl Fn(&v1::Path) -> u32) -> Option<Incident> {
    let kind = IncidentKind::ALL.into_iter().find(|&kind| incident_kind(kind) == wire.kind())?;
    let verdict = Verdict::ALL.into_iter().find(|verdict| verdict.to_wire() == wire.verdict())?;
    let probe: Option<ProbeKind> = convert::kind("probe_kind", wire.probe_kind).ok();
    let time = |at: &Option<Timestamp>| at.as_ref().map(unix_ns);
    let paths = |paths: &[v1::Path]| paths.iter().filter_map(|of| path(of, number(of))).collect();
    Some(Incident {
        id: wire.id.clone(),
        kind,
        headline: wire.headline.clone(),
        what: wire.headline.clone(),
        nodes: Vec::new(),
        losses: Losses::default(),
        verdict,
        certainty: certainty(wire.certainty()),
        probe,
        family: family(wire.family()),
        paths: paths(&wire.paths),
        places: Places::default(),
        contradictions: paths(&wire.contradictions),
        contradicting: usize::try_from(wire.contradicting).unwrap_or(usize::MAX),
        evidence: wire.evidence.clone(),
        first_ns: time(&wire.first_seen),
        last_ns: time(&wire.last_seen),
        opened_ns: time(&wire.opened_at),
        closed_ns: time(&wire.closed_at),
        cause: wire.cause.clone(),
        merged_into: Some(wire.merged_into.clone()).filter(|into| !into.is_empty()),
        culprits: wire.culprits.iter().map(culprit).collect(),
        revision: 0,
    })
}
