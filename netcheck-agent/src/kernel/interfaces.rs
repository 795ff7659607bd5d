//! Which interfaces of this node get hooks, and in which role. Pure, but for the shared table.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use netcheck_common::domain::Family;
use netcheck_proto::v1;

use crate::model::observation::{Down, InterfaceRole};

/// A link as netlink shows it, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) ifindex: u32,
    pub(crate) name: String,
    /// `veth`, `bridge`, `vxlan`, ...; empty for hardware.
    pub(crate) kind: String,
    /// ARPHRD type (include/uapi/linux/if_arp.h).
    pub(crate) hardware_type: u16,
    /// Its other end is in another network namespace.
    pub(crate) peer_elsewhere: bool,
    /// A default route leads through it, or it has an address with a network around it.
    pub(crate) leads_out: bool,
    /// It takes no packets now.
    pub(crate) down: Option<Down>,
    /// Of a tunnel: the family of the packets that carry others. None where its settings leave it open.
    pub(crate) outer: Option<Family>,
}

const ARPHRD_ETHER: u16 = 1;

impl Link {
    /// What it is for; `None` where hooks would show nothing: loopback, dummies, what is unknown.
    pub(crate) fn role(&self) -> Option<InterfaceRole> {
        match self.kind.as_str() {
            "" | "vlan" | "bond" | "team" | "macvlan" | "ipvlan" if self.hardware_type == ARPHRD_ETHER => {
                Some(InterfaceRole::Uplink)
            }
            "bridge" => Some(InterfaceRole::Bridge),
            "vxlan" | "geneve" | "ipip" | "sit" | "gre" | "gretap" | "ip6gre" | "ip6gretap" | "ip6tnl"
            | "wireguard" => Some(InterfaceRole::Tunnel),
            // Nodes that are containers themselves have a veth for uplink; a pod's host end has at most an
            // address for itself alone.
            "veth" | "netkit" if self.leads_out => Some(InterfaceRole::Uplink),
            "veth" | "netkit" if self.peer_elsewhere => Some(InterfaceRole::PodVeth),
            _ => None,
        }
    }

    /// Whether packets start with an Ethernet header there.
    pub(crate) fn has_link_layer(&self) -> bool {
        self.hardware_type == ARPHRD_ETHER
    }
}

/// What the table knows of an interface.
#[derive(Clone, Debug)]
pub(crate) struct Interface {
    pub(crate) name: Arc<str>,
    pub(crate) role: InterfaceRole,
    /// It takes no packets, since when (CLOCK_MONOTONIC).
    pub(crate) down: Option<(Down, u64)>,
}

/// State that the attacher writes and the source reads.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    inner: Mutex<State>,
    /// Counts the changes of [`State::own_addresses`].
    addresses_version: AtomicU64,
    /// Counts the links that went up or down.
    links_version: AtomicU64,
}

/// Under the lock.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// By ifindex. Entries of interfaces that went stay until the index is used again: late events name them.
    pub(crate) interfaces: HashMap<u32, Interface>,
    /// By (ifindex, egress).
    pub(crate) hooks: HashMap<(u32, bool), v1::HookStatus>,
    /// Addresses of this namespace's interfaces.
    pub(crate) own_addresses: BTreeSet<IpAddr>,
    /// What is missing on the whole, one line each.
    pub(crate) degraded: Vec<String>,
}

impl Shared {
    /// The state. A thread that panicked with the lock held left plain data behind.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the node's own addresses.
    pub(crate) fn set_own_addresses(&self, addresses: BTreeSet<IpAddr>) {
        let mut state = self.lock();
        if state.own_addresses != addresses {
            state.own_addresses = addresses;
            self.addresses_version.fetch_add(1, Ordering::Release);
        }
    }

    /// Takes note of the links that went up or down, or away.
    pub(crate) fn set_down(&self, links: &HashMap<u32, Link>, now_ns: u64) {
        let mut changed = false;
        for (ifindex, interface) in &mut self.lock().interfaces {
            let down = links.get(ifindex).and_then(|link| link.down);
            if interface.down.map(|(why, _)| why) != down {
                interface.down = down.map(|why| (why, now_ns));
                changed = true;
            }
        }
        if changed {
            self.links_version.fetch_add(1, Ordering::Release);
        }
    }

    /// Differs from an earlier answer if a link has gone up or down. Takes no lock.
    pub(crate) fn links_version(&self) -> u64 {
        self.links_version.load(Ordering::Acquire)
    }

    /// Differs from an earlier answer if the node's own addresses have changed. Takes no lock.
    pub(crate) fn addresses_version(&self) -> u64 {
        self.addresses_version.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_go_down_once_and_up_and_away() {
        let shared = Shared::default();
        let entry = Interface { name: Arc::from("a"), role: InterfaceRole::PodVeth, down: None };
        shared.lock().interfaces.insert(7, entry);
        let link = |down| HashMap::from([(7, Link { ifindex: 7, down, ..Link::default() })]);
        let at = |links: &HashMap<u32, Link>, now_ns| {
            shared.set_down(links, now_ns);
            (shared.lock().interfaces[&7].down, shared.links_version())
        };
        assert_eq!(at(&link(None), 1), (None, 0));
        assert_eq!(at(&link(Some(Down::Itself)), 2), (Some((Down::Itself, 2)), 1));
        assert_eq!(at(&link(Some(Down::Itself)), 3), (Some((Down::Itself, 2)), 1), "since then");
        assert_eq!(at(&link(Some(Down::Peer)), 4), (Some((Down::Peer, 4)), 2));
        assert_eq!(at(&HashMap::new(), 5), (None, 3));
    }

    #[test]
    fn roles() {
        let link = |kind: &str| Link { kind: kind.into(), hardware_type: ARPHRD_ETHER, ..Link::default() };
        let pod = Link { peer_elsewhere: true, ..link("veth") };
        assert_eq!(link("").role(), Some(InterfaceRole::Uplink));
        assert_eq!(Link { hardware_type: 772, ..link("") }.role(), None, "loopback");
        assert_eq!(link("dummy").role(), None);
        assert_eq!(link("bridge").role(), Some(InterfaceRole::Bridge));
        assert_eq!(pod.role(), Some(InterfaceRole::PodVeth));
        assert_eq!(Link { leads_out: true, ..pod }.role(), Some(InterfaceRole::Uplink));
        assert_eq!(link("veth").role(), None, "both ends here");
        let wireguard = Link { hardware_type: 0xfffe, ..link("wireguard") };
        assert_eq!((wireguard.role(), wireguard.has_link_layer()), (Some(InterfaceRole::Tunnel), false));
    }
}
