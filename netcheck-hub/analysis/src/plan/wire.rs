//! Targets, paths and plans as agents and readers get them. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use netcheck_common::domain::{Family, PathId};
use netcheck_proto::{convert, v1};

use super::{Plan, PlannedPath, Target, Timing};
use crate::model::clock::wire_duration;
use crate::model::target::{ServiceAddress, TargetKind};

impl Target {
    /// The wire form.
    #[must_use]
    pub fn to_wire(&self) -> v1::Target {
        v1::Target {
            id: self.id.to_string(),
            kind: kind_to_wire(self.kind).into(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            node: self.node.clone(),
            zone: self.zone.clone(),
            addresses: self.addresses.iter().map(ToString::to_string).collect(),
            port: u32::from(self.port),
            service_address: self
                .service_address()
                .map_or(v1::ServiceAddress::Unspecified, address_to_wire)
                .into(),
            service_port: self.at.as_ref().map_or(0, |at| u32::from(at.port)),
            pod: self.at.as_ref().map(|at| at.pod.clone()).unwrap_or_default(),
            network: self.network().unwrap_or_default().to_owned(),
            peer: self.peer.as_ref().map(|peer| peer.cluster.to_string()).unwrap_or_default(),
            peer_kind: self
                .peer
                .as_ref()
                .map_or(v1::TargetKind::Unspecified, |peer| kind_to_wire(peer.kind))
                .into(),
        }
    }
}

pub(super) const fn kind_to_wire(kind: TargetKind) -> v1::TargetKind {
    match kind {
        TargetKind::Node => v1::TargetKind::Node,
        TargetKind::Pod => v1::TargetKind::Pod,
        TargetKind::Service => v1::TargetKind::Service,
        TargetKind::DnsServer => v1::TargetKind::DnsServer,
        TargetKind::Endpoint => v1::TargetKind::Endpoint,
    }
}

pub(super) const fn address_to_wire(address: ServiceAddress) -> v1::ServiceAddress {
    match address {
        ServiceAddress::ClusterIp => v1::ServiceAddress::ClusterIp,
        ServiceAddress::NodePort => v1::ServiceAddress::NodePort,
        ServiceAddress::LoadBalancer => v1::ServiceAddress::LoadBalancer,
        ServiceAddress::ExternalIp => v1::ServiceAddress::ExternalIp,
        ServiceAddress::Endpoint => v1::ServiceAddress::Endpoint,
    }
}

/// Reads a kind of target.
///
/// # Errors
/// A value that is unspecified or unknown.
pub fn target_kind(field: &'static str, value: i32) -> Result<TargetKind, convert::InvalidField> {
    use TargetKind::{DnsServer, Endpoint, Node, Pod, Service};
    [Node, Pod, Service, DnsServer, Endpoint]
        .into_iter()
        .find(|&kind| kind_to_wire(kind) as i32 == value)
        .ok_or(convert::InvalidField::UnknownValue { field, value })
}

/// Reads a kind of address.
pub(crate) fn service_address(
    field: &'static str,
    value: i32,
) -> Result<ServiceAddress, convert::InvalidField> {
    use ServiceAddress::{ClusterIp, Endpoint, ExternalIp, LoadBalancer, NodePort};
    [ClusterIp, NodePort, LoadBalancer, ExternalIp, Endpoint]
        .into_iter()
        .find(|&address| address_to_wire(address) as i32 == value)
        .ok_or(convert::InvalidField::UnknownValue { field, value })
}

impl PlannedPath {
    /// The wire form.
    #[must_use]
    pub fn to_wire(&self) -> v1::PathSpec {
        let mut spec = v1::PathSpec {
            path_id: self.id.0,
            vantage: convert::vantage_to_wire(self.vantage).into(),
            kind: convert::kind_to_wire(self.probe.kind).into(),
            address: convert::address_bytes(self.probe.address),
            port: u32::from(self.probe.port),
            target: self.probe.target.id.to_string(),
            network: self.probe.target.network().unwrap_or_default().to_owned(),
            dns_name: self.probe.question.as_ref().map(|ask| ask.name.to_string()).unwrap_or_default(),
            dns_type: self.probe.question.as_ref().map_or(0, |ask| u32::from(ask.record_type)),
            ..Default::default()
        };
        if let Some(exchange) = &self.probe.exchange {
            exchange.write(&mut spec);
        }
        let target = &self.probe.target;
        spec.external |= target.peer.is_some() || target.requested.as_ref().is_some_and(|by| by.external);
        spec
    }
}

impl Plan {
    /// The change that turns `base` into this plan; of nothing when there is no base.
    #[must_use]
    pub fn delta(&self, base: Option<&Self>, node: &str, timing: &Timing) -> v1::PlanDelta {
        let known: BTreeMap<PathId, &Arc<PlannedPath>> =
            base.into_iter().flat_map(|base| &base.paths).map(|path| (path.id, path)).collect();
        let kept: BTreeSet<PathId> = self.paths.iter().map(|path| path.id).collect();
        let same_table =
            |base: &Self| base.addresses == self.addresses && base.watched_ports == self.watched_ports;
        v1::PlanDelta {
            version: self.version,
            base_version: base.map_or(0, |base| base.version),
            upsert: self
                .paths
                .iter()
                .filter(|path| !known.contains_key(&path.id))
                .map(|path| path.to_wire())
                .collect(),
            remove: known.keys().filter(|id| !kept.contains(id)).map(|id| id.0).collect(),
            addresses: (!base.is_some_and(same_table)).then(|| self.address_table(base, node)),
            interval: Some(wire_duration(timing.interval)),
            timeout: Some(wire_duration(timing.timeout)),
            window: Some(wire_duration(timing.window)),
            packets_per_second: 0,
            more: false,
            size_interval: Some(wire_duration(timing.sizes)),
            exchange_interval: Some(wire_duration(timing.exchange.interval)),
            exchange_timeout: Some(wire_duration(timing.exchange.timeout)),
            authorities: self.authorities.to_vec(),
            search_names: self.search_names.to_vec(),
        }
    }

    /// The table for `node`: what changed since `base`, or all of it.
    pub fn address_table(&self, base: Option<&Self>, node: &str) -> v1::AddressTable {
        v1::AddressTable {
            watched_ports: self.watched_ports.iter().map(|&port| u32::from(port)).collect(),
            ..self.addresses.to_wire(base.map(|base| &base.addresses), node)
        }
    }
}

/// The path as readers see it.
#[must_use]
pub fn wire_path(source: &str, zone: &str, path: &PlannedPath) -> v1::Path {
    v1::Path {
        source_node: source.to_owned(),
        source_zone: zone.to_owned(),
        vantage: convert::vantage_to_wire(path.vantage).into(),
        target: Some(path.probe.target.to_wire()),
        kind: convert::kind_to_wire(path.probe.kind).into(),
        family: convert::family_to_wire(Family::of(path.probe.address)).into(),
        address: path
            .probe
            .exchange
            .as_ref()
            .and_then(|exchange| exchange.lookup.clone())
            .unwrap_or_else(|| path.probe.address.to_string()),
        port: u32::from(path.probe.port),
        detail: path.probe.detail(),
    }
}
