//! Plans and what belongs to them as agents get them, and what agents say that plans hang on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use netcheck_common::domain::{Family, PathId};
use netcheck_proto::{convert, v1};

use super::target::{service_address, target_kind};
use crate::model::clock::{timestamp, wire_duration};
use crate::model::verdict::Verdict;
use crate::plan::addresses::{AddressOf, Addresses};
use crate::plan::coverage::Coverage;
use crate::plan::exchange::{Call, Exchange, Request, Talk};
use crate::plan::pod_source::{PodSource, cluster_domain};
use crate::plan::relays::{RelayNode, RelayTable};
use crate::plan::selector::Selector;
use crate::plan::{Plan, PlannedPath, Timing};

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

impl Exchange {
    /// Adds it to a path's wire form.
    pub fn write(&self, spec: &mut v1::PathSpec) {
        match &self.talk {
            Talk::Http(request) => {
                let asked = request.to_wire(self.lookup.as_ref());
                match &request.call {
                    None => spec.http = Some(asked),
                    Some(call) => spec.call = Some(call.to_wire(asked)),
                }
            }
            Talk::Dns => {
                let over = if self.tls.is_some() { v1::DnsTransport::Tls } else { v1::DnsTransport::Tcp };
                spec.dns_transport = over.into();
            }
        }
        spec.tls = self
            .tls
            .as_ref()
            .map(|check| v1::TlsCheck { name: check.name.clone(), authority: check.authority });
        spec.external = self.external;
    }
}

impl Request {
    fn to_wire(&self, lookup: Option<&String>) -> v1::HttpRequest {
        let range = |&(first, last): &(u16, u16)| v1::StatusRange { first: first.into(), last: last.into() };
        v1::HttpRequest {
            host: self.host.clone(),
            path: self.path.clone(),
            expected: self.expected.iter().map(range).collect(),
            resolve: lookup.cloned().unwrap_or_default(),
        }
    }
}

impl Call {
    fn to_wire(&self, request: v1::HttpRequest) -> v1::HttpCall {
        let header =
            |(name, value): &(String, String)| v1::HttpHeader { name: name.clone(), value: value.clone() };
        v1::HttpCall {
            request: Some(request),
            method: self.method.clone(),
            headers: self.headers.iter().map(header).collect(),
            body: self.body.clone(),
        }
    }
}

impl Addresses {
    /// What `node` is to be sent that has the older one, or none.
    #[must_use]
    pub fn to_wire(&self, older: Option<&Arc<Self>>, node: &str) -> v1::AddressTable {
        let entry = |of: &AddressOf| v1::AddressEntry {
            address: convert::address_bytes(of.address),
            node: of.node.clone(),
            pod: of.pod.clone().unwrap_or_default(),
            local: of.node == node,
            network: of.network.as_deref().unwrap_or_default().to_owned(),
        };
        let change = older.map(|older| self.change_from(older));
        match change.filter(|change| change.len() < self.len()) {
            Some(change) => v1::AddressTable {
                entries: change.fresh.iter().map(|&at| entry(&self[at])).collect(),
                change: true,
                gone: change.gone.iter().map(|&address| convert::address_bytes(address)).collect(),
                ..Default::default()
            },
            None => v1::AddressTable { entries: self.iter().map(entry).collect(), ..Default::default() },
        }
    }
}

impl RelayTable {
    /// The same in wire form.
    #[must_use]
    pub fn to_wire(&self, node: &str) -> v1::Relays {
        let relay = |(name, relay): (&str, &RelayNode)| v1::Relay {
            node: name.to_owned(),
            addresses: relay.addresses.iter().map(|&address| convert::address_bytes(address)).collect(),
            port: u32::from(relay.port),
        };
        v1::Relays { relays: self.of(node).into_iter().map(relay).collect() }
    }
}

impl Coverage {
    /// The wire form; none where all paths are probed all the time.
    #[must_use]
    pub fn to_wire(&self, wanted: Duration) -> Option<v1::Coverage> {
        (self.nodes > 0).then(|| v1::Coverage {
            nodes: self.nodes,
            paths: self.paths,
            at_once: self.at_once,
            covered: self.paths - self.inactive(Verdict::NoData),
            promised: Some(wire_duration(self.promised())),
            wanted: Some(wire_duration(wanted)),
            oldest_measured_at: self.oldest_ns.map(timestamp),
        })
    }
}

impl PodSource {
    /// What an agent says; none where none is connected.
    #[must_use]
    pub fn read(reported: &v1::PodVantage) -> Option<Self> {
        let addresses: Vec<IpAddr> = reported
            .addresses
            .iter()
            .filter_map(|address| convert::address("vantage", address).ok())
            .collect();
        let can = reported.can.iter().filter_map(|can| {
            let family = match can.ip_version {
                4 => Family::V4,
                6 => Family::V6,
                _ => return None,
            };
            Some((convert::kind("vantage.can", can.kind).ok()?, family))
        });
        let can = can.collect();
        let responder_port = u16::try_from(reported.responder_port).unwrap_or(0);
        let servers = reported.name_servers.iter();
        let name_servers =
            servers.filter_map(|server| convert::address("name_servers", server).ok()).collect();
        let domain = reported.search_domains.iter().find_map(|domain| cluster_domain(domain));
        let pod = reported.pod.clone();
        let source = Self { pod, addresses, responder_port, name_servers, domain, can };
        (!source.addresses.is_empty()).then_some(source)
    }
}

impl Selector {
    /// Reads the wire form; absent selects all.
    ///
    /// # Errors
    /// An enum value that is unspecified or unknown.
    pub fn read(wire: Option<v1::PathSelector>) -> Result<Self, convert::InvalidField> {
        let wire = wire.unwrap_or_default();
        let verdict = |value: i32| {
            let known = Verdict::ALL.into_iter().find(|verdict| verdict.to_wire() as i32 == value);
            known.ok_or(convert::InvalidField::UnknownValue { field: "selector.verdicts", value })
        };
        Ok(Self {
            kinds: wire
                .kinds
                .iter()
                .map(|&kind| convert::kind("selector.kinds", kind))
                .collect::<Result<_, _>>()?,
            families: wire
                .families
                .iter()
                .map(|&family| convert::family("selector.families", family))
                .collect::<Result<_, _>>()?,
            vantages: wire
                .vantages
                .iter()
                .map(|&vantage| convert::vantage("selector.vantages", vantage))
                .collect::<Result<_, _>>()?,
            verdicts: wire.verdicts.iter().map(|&value| verdict(value)).collect::<Result<_, _>>()?,
            target_kinds: wire
                .target_kinds
                .iter()
                .map(|&kind| target_kind("selector.target_kinds", kind))
                .collect::<Result<_, _>>()?,
            service_addresses: wire
                .service_addresses
                .iter()
                .map(|&address| service_address("selector.service_addresses", address))
                .collect::<Result<_, _>>()?,
            sources: wire.sources,
            targets: wire.targets,
        })
    }
}
