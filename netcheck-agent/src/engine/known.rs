//! Whose addresses are whose, for the kernel side: the plan's table, and what this host has besides.
//!
//! The plan knows what Kubernetes knows. A tunnel's or a bridge's own address is not among that, and yet packets to a
//! service may leave with it, by masquerading: the hooks must take it for this node's.

use std::collections::HashSet;
use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;

use crate::observation::KnownAddress;

/// The table, and the kernel side's idea of it.
#[derive(Debug, Default)]
pub(crate) struct KnownAddresses {
    told: Vec<KnownAddress>,
    told_ports: Vec<u16>,
}

impl KnownAddresses {
    /// The whole table, if it or the watched ports are not what the kernel side has been told already.
    pub(crate) fn changed(&mut self, planned: &[KnownAddress], ports: &[u16]) -> Option<&[KnownAddress]> {
        let table = with_own(planned, own_addresses());
        if table == self.told && ports == self.told_ports {
            return None;
        }
        self.told = table;
        self.told_ports = ports.to_vec();
        Some(&self.told)
    }
}

/// The plan's word counts where both know an address.
fn with_own(planned: &[KnownAddress], own: Vec<IpAddr>) -> Vec<KnownAddress> {
    let known: HashSet<IpAddr> = planned.iter().map(|known| known.address).collect();
    let more = own.into_iter().filter(|address| !known.contains(address));
    planned
        .iter()
        .cloned()
        .chain(more.map(|address| KnownAddress { address, pod: None, local: true }))
        .collect()
}

/// Addresses of this network namespace's interfaces that packets to elsewhere can have, sorted. Empty where the kernel
/// does not tell.
fn own_addresses() -> Vec<IpAddr> {
    let interfaces = getifaddrs().into_iter().flatten();
    let addresses = interfaces.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    });
    let local = |address: &IpAddr| match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
    };
    let mut addresses: Vec<IpAddr> = addresses.filter(|address| !local(address)).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(address: &str, pod: Option<&str>, local: bool) -> KnownAddress {
        KnownAddress { address: address.parse().unwrap(), pod: pod.map(Into::into), local }
    }

    #[test]
    fn the_plan_comes_first_and_own_addresses_are_local() {
        let planned = [known("10.0.0.1", None, true), known("10.1.0.2", Some("ns/p"), true)];
        let own = ["10.0.0.1", "10.1.0.0"].map(|address| address.parse().unwrap()).to_vec();
        let expected = [planned[0].clone(), planned[1].clone(), known("10.1.0.0", None, true)];
        assert_eq!(with_own(&planned, own), expected);
    }

    #[test]
    fn a_table_is_told_once() {
        let mut addresses = KnownAddresses::default();
        let planned = [known("10.0.0.1", None, true)];
        assert!(addresses.changed(&planned, &[]).is_some());
        assert!(addresses.changed(&planned, &[]).is_none());
        assert!(addresses.changed(&planned, &[80]).is_some());
    }
}
