//! Which addresses may be probed at all, whoever asks: the last word is the agent's, not the plan's.
//!
//! Pure. A probe to an address refused here would say something of the agent's own host (loopback), of a link
//! without routing, of a group of hosts, or of a cloud's metadata service, and never of the cluster's network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Metadata services outside the link-local ranges.
const METADATA_V4: [Ipv4Addr; 1] = [Ipv4Addr::new(100, 100, 100, 200)];
const METADATA_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

const LINK_LOCAL: &str = "a link-local address";

/// What no object of the cluster has, and may be probed none the less.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Allowed {
    networks: Vec<IpNet>,
    node_local_dns: Vec<IpAddr>,
    found_dns: Vec<IpAddr>,
}

impl Allowed {
    /// These networks, and DNS servers at these very addresses, link-local ones too.
    pub(crate) const fn new(networks: Vec<IpNet>, node_local_dns: Vec<IpAddr>) -> Self {
        Self { networks, node_local_dns, found_dns: Vec::new() }
    }

    /// DNS caches that were found on this node, in place of those that were found before.
    pub(crate) fn set_found_dns(&mut self, found: Vec<IpAddr>) {
        self.found_dns = found;
    }

    /// Whether one of the networks holds the address.
    pub(crate) fn holds(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Whether a DNS server of this node is there, for all that the policy says of its address.
    pub(crate) fn is_node_local_dns(&self, address: IpAddr) -> bool {
        self.node_local_dns.contains(&address) || self.found_dns.contains(&address)
    }
}

/// Says why an address must not be probed; `None` where it may.
pub(crate) type AddressPolicy = fn(IpAddr) -> Option<&'static str>;

/// What holds for addresses that are known only when a probe is sent.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) policy: AddressPolicy,
    pub(crate) allowed: Allowed,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { policy: refusal, allowed: Allowed::default() }
    }
}

impl Bounds {
    /// Why what `name` was looked up to must not be probed; `None` where it may. `external`: it is named by no object of the
    /// cluster.
    pub(crate) fn refusal(&self, name: &str, address: IpAddr, external: bool) -> Option<String> {
        if let Some(why) = (self.policy)(address) {
            return Some(format!("{name} is {address}, which is {why}"));
        }
        (external && !self.allowed.holds(address)).then(|| {
            format!("{name} is {address}, which is not in --allow-cidr of this agent: nothing is sent there")
        })
    }
}

/// Whether a node's own cache may be there: an address that may be probed, or one for this link alone, as caches have
/// them. Metadata services are name servers on some clouds, and never asked.
pub(crate) fn may_be_cache(address: IpAddr) -> bool {
    matches!((refusal(address), address), (None, _) | (Some(LINK_LOCAL), IpAddr::V4(_)))
}

/// The policy of every agent.
#[must_use]
pub(crate) fn refusal(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => refusal_v4(v4),
        IpAddr::V6(v6) => refusal_v6(v6),
    }
}

fn refusal_v4(address: Ipv4Addr) -> Option<&'static str> {
    if address.octets()[0] == 0 {
        Some("an unspecified address")
    } else if address.is_loopback() {
        Some("a loopback address")
    } else if address == Ipv4Addr::new(169, 254, 169, 254) || METADATA_V4.contains(&address) {
        Some("a metadata service's address")
    } else if address.is_link_local() {
        Some(LINK_LOCAL)
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if address.is_broadcast() {
        Some("the broadcast address")
    } else {
        None
    }
}

fn refusal_v6(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_unspecified() {
        Some("an unspecified address")
    } else if address.is_loopback() {
        Some("a loopback address")
    } else if METADATA_V6.contains(&address) {
        Some("a metadata service's address")
    } else if address.is_unicast_link_local() {
        Some(LINK_LOCAL)
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if address.to_ipv4_mapped().is_some() {
        Some("an IPv4-mapped address, which is not on any wire")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "169.254.1.1",
            "224.0.0.1",
            "239.255.255.255",
            "255.255.255.255",
            "100.100.100.200",
            "::",
            "::1",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
        ] {
            assert!(refusal(text.parse().unwrap()).is_some(), "{text}");
        }
    }

    #[test]
    fn networks_that_are_allowed() {
        let networks = ["192.0.2.0/24", "2001:db8::/32", "198.51.100.7/32"].map(|text| text.parse().unwrap());
        let allowed = Allowed::new(networks.into(), Vec::new());
        for (address, expected) in [
            ("192.0.2.255", true),
            ("192.0.3.0", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
            ("198.51.100.7", true),
            ("198.51.100.8", false),
            ("::ffff:192.0.2.1", false),
        ] {
            assert_eq!(allowed.holds(address.parse().unwrap()), expected, "{address}");
        }
        assert!(!Allowed::default().holds([192, 0, 2, 1].into()));
        let bounds = Bounds { policy: refusal, allowed };
        for (address, external, word) in [
            ("192.0.2.1", true, None),
            ("10.0.0.1", true, Some("--allow-cidr")),
            ("10.0.0.1", false, None),
            ("127.0.0.1", false, Some("loopback")),
            ("169.254.169.254", true, Some("metadata")),
        ] {
            let why = bounds.refusal("a.b", address.parse().unwrap(), external);
            let reported = why.as_ref().map(|why| word.is_some_and(|word| why.contains(word)));
            assert_eq!(reported, word.map(|_| true), "{address}: {why:?}");
        }
    }

    #[test]
    fn where_caches_may_be() {
        for (text, expected) in [
            ("169.254.20.10", true),
            ("10.0.0.1", true),
            ("fd00::10", true),
            ("127.0.0.53", false),
            ("169.254.169.254", false),
            ("100.100.100.200", false),
            ("fe80::1", false),
            ("::1", false),
        ] {
            assert_eq!(may_be_cache(text.parse().unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn allowed() {
        for text in
            ["10.0.0.1", "192.168.1.1", "172.20.3.4", "1.1.1.1", "100.64.0.1", "fd00:1::1", "2001:db8::1"]
        {
            assert_eq!(refusal(text.parse().unwrap()), None, "{text}");
        }
    }
}
