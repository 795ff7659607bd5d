//! Targets and paths as readers get them.

use netcheck_common::domain::Family;
use netcheck_proto::words::target_name;
use netcheck_proto::{convert, v1};

use crate::model::target::{ServiceAddress, TargetKind};
use crate::plan::{PlannedPath, Target};

impl Target {
    /// Its name for people.
    #[must_use]
    pub fn label(&self) -> String {
        target_name(&self.to_wire())
    }

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
pub(super) fn service_address(
    field: &'static str,
    value: i32,
) -> Result<ServiceAddress, convert::InvalidField> {
    use ServiceAddress::{ClusterIp, Endpoint, ExternalIp, LoadBalancer, NodePort};
    [ClusterIp, NodePort, LoadBalancer, ExternalIp, Endpoint]
        .into_iter()
        .find(|&address| address_to_wire(address) as i32 == value)
        .ok_or(convert::InvalidField::UnknownValue { field, value })
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
