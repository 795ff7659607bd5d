//! The pod that sends probes for an agent in the pod network, as far as plans depend on it. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netcheck_common::domain::{Family, ProbeKind};
use netcheck_proto::{convert, v1};

/// A vantage: what its agent's plan depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodSource {
    /// `namespace/name`, or the name.
    pub pod: String,
    /// The pod's addresses.
    pub addresses: Vec<IpAddr>,
    /// Port of its responder; 0 for none.
    pub responder_port: u16,
    can: BTreeSet<(ProbeKind, Family)>,
}

impl PodSource {
    /// What an agent says; none where none is connected.
    #[must_use]
    pub fn read(told: &v1::PodVantage) -> Option<Self> {
        let addresses: Vec<IpAddr> =
            told.addresses.iter().filter_map(|address| convert::address("vantage", address).ok()).collect();
        let can = told.can.iter().filter_map(|can| {
            let family = match can.ip_version {
                4 => Family::V4,
                6 => Family::V6,
                _ => return None,
            };
            Some((convert::kind("vantage.can", can.kind).ok()?, family))
        });
        let can = can.collect();
        let responder_port = u16::try_from(told.responder_port).unwrap_or(0);
        (!addresses.is_empty()).then(|| Self { pod: told.pod.clone(), addresses, responder_port, can })
    }

    /// Whether such probes can be sent from it.
    #[must_use]
    pub fn can(&self, kind: ProbeKind, family: Family) -> bool {
        self.can.contains(&(kind, family))
    }

    /// Its address of a family.
    #[must_use]
    pub fn address(&self, v4: bool) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|address| address.is_ipv4() == v4)
    }
}
