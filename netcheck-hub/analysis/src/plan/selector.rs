//! Which paths a reader asks for, by the names that people use.

use std::net::SocketAddr;

use crate::model::target::{ServiceAddress, TargetKind};
use crate::model::verdict::Verdict;
use crate::plan::{PlannedPath, Probe, Target};
use netcheck_common::domain::{Family, ProbeKind, Vantage};

/// A selector whose enums are checked.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    pub(crate) sources: Vec<String>,
    pub(crate) targets: Vec<String>,
    pub(crate) kinds: Vec<ProbeKind>,
    pub(crate) families: Vec<Family>,
    pub(crate) vantages: Vec<Vantage>,
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) target_kinds: Vec<TargetKind>,
    pub(crate) service_addresses: Vec<ServiceAddress>,
}

fn any<T: PartialEq>(wanted: &[T], is: &T) -> bool {
    wanted.is_empty() || wanted.contains(is)
}

impl Selector {
    /// The same, from one source to one target.
    #[must_use]
    pub fn between(self, source: &str, target: &str) -> Self {
        Self { sources: vec![source.to_owned()], targets: vec![target.to_owned()], ..self }
    }

    /// The same, whatever the verdict.
    #[must_use]
    pub fn any_verdict(self) -> Self {
        Self { verdicts: Vec::new(), ..self }
    }

    /// Whether it asks for verdicts.
    #[must_use]
    pub fn by_verdict(&self) -> bool {
        !self.verdicts.is_empty()
    }

    /// Whether it selects paths of this source.
    #[must_use]
    pub fn takes_source(&self, source: &str) -> bool {
        self.sources.is_empty() || self.sources.iter().any(|wanted| wanted == source)
    }

    /// Whether it selects a path of this source, whatever its verdict.
    #[must_use]
    pub fn takes(&self, source: &str, path: &PlannedPath) -> bool {
        self.takes_source(source) && self.takes_vantage(path.vantage) && self.takes_probe(&path.probe)
    }

    /// Whether it selects paths that start there.
    #[must_use]
    pub fn takes_vantage(&self, vantage: Vantage) -> bool {
        any(&self.vantages, &vantage)
    }

    /// Whether it selects paths of this probe, whoever sends it.
    #[must_use]
    pub fn takes_probe(&self, probe: &Probe) -> bool {
        any(&self.kinds, &probe.kind)
            && any(&self.target_kinds, &probe.target.kind)
            && self.takes_address(&probe.target)
            // What a scheduled check asks for is no part of what others select.
            && (probe.target.requested.is_none() || !self.targets.is_empty())
            && any(&self.families, &Family::of(probe.address))
            && (self.targets.is_empty() || self.targets.iter().any(|wanted| is_called(probe, wanted)))
    }

    /// Whether it selects paths to a service at this kind of address. All that are no services have none.
    fn takes_address(&self, target: &Target) -> bool {
        target.at.as_ref().is_none_or(|at| any(&self.service_addresses, &at.address))
    }

    /// Whether it selects this verdict.
    #[must_use]
    pub fn takes_verdict(&self, verdict: Verdict) -> bool {
        any(&self.verdicts, &verdict)
    }
}

/// Whether people call a probe's target so: by id, node name, pod name, service name, or address, with or without port;
/// `POD@NETWORK` or `@NETWORK` for secondary networks of pods alone; `peer/CLUSTER` for all that another cluster has;
/// `check/NAME` for all that a scheduled check asks for itself, which is selected by this or its id alone.
fn is_called(probe: &Probe, text: &str) -> bool {
    let target: &Target = &probe.target;
    if *target.id == *text || target.name == text {
        return true;
    }
    if let Some(cluster) = text.strip_prefix("peer/") {
        return target.peer.as_ref().is_some_and(|peer| *peer.cluster == *cluster);
    }
    if let Some(by) = &target.requested {
        return text.strip_prefix("check/").is_some_and(|check| *by.check == *check);
    }
    if let Some((pod, network)) = text.split_once('@') {
        let called = |own: &str| own == network || own.rsplit('/').next() == Some(network);
        let own = match pod.split_once('/') {
            _ if pod.is_empty() => true,
            Some((namespace, name)) => target.namespace == namespace && target.name == name,
            None => target.name == pod,
        };
        return own && target.network().is_some_and(called);
    }
    if let Ok(address) = text.parse() {
        // A node port is not what people mean by its node's address.
        let whole = !target.is_at(ServiceAddress::NodePort);
        return whole && (probe.address == address || target.addresses.contains(&address));
    }
    if let Ok(end) = text.parse::<SocketAddr>() {
        return probe.port == end.port() && target.addresses.contains(&end.ip());
    }
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, port.parse::<u16>().ok()),
        None => (text, None),
    };
    let service_port = target.at.as_ref().map(|at| at.port);
    let port_ok =
        !text.contains(':') || (port.is_some() && (port == Some(target.port) || port == service_port));
    port_ok
        && match name.split_once('/') {
            Some((namespace, name)) => target.namespace == namespace && target.name == name,
            None => target.name == name,
        }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::target::TargetKind;
    use crate::plan::{Probe, Sources};

    fn called(id: &str, text: &str) -> bool {
        let target = Target {
            id: id.into(),
            kind: TargetKind::Pod,
            namespace: "default".into(),
            name: "db-1".into(),
            node: "n2".into(),
            addresses: vec![[10, 1, 0, 2].into()],
            ..Target::default()
        };
        let probe = Probe {
            target: Arc::new(target),
            kind: ProbeKind::Icmp,
            address: [10, 1, 0, 2].into(),
            port: 0,
            question: None,
            sources: Sources::All,
            exchange: None,
        };
        is_called(&probe, text)
    }

    #[test]
    fn a_pod_on_a_secondary_network_is_called_by_both() {
        let (own, secondary) = ("pod/default/db-1", "pod/default/db-1@a/storage");
        for text in
            ["db-1@a/storage", "db-1@storage", "default/db-1@a/storage", "@a/storage", "@storage", secondary]
        {
            assert!(called(secondary, text) && !called(own, text), "{text}");
        }
        for text in ["db-2@storage", "db-1@a/db", "other/db-1@storage", "@stor", own] {
            assert!(!called(secondary, text), "{text}");
        }
        for text in ["db-1", "default/db-1", "10.1.0.2"] {
            assert!(called(secondary, text) && called(own, text), "{text}: on any network");
        }
    }
}
