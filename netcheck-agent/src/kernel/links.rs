//! This network namespace's links, by netlink: a snapshot, and a word whenever it may have changed.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use netcheck_common::domain::Family;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::link::{
    InfoData, InfoGeneve, InfoKind, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{RouteAttribute, RouteMessage};
use rtnetlink::{Handle, MulticastGroup, RouteMessageBuilder, new_multicast_connection};
use tokio::task::JoinHandle;

use super::interfaces::Link;
use crate::model::observation::Down;

/// This namespace at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) links: Vec<Link>,
    /// Addresses of all its interfaces but link-local ones, tunnels' among them.
    pub(crate) own_addresses: BTreeSet<IpAddr>,
}

/// A netlink connection. Dropping it ends its task.
pub(crate) struct Netlink {
    handle: Handle,
    changes: Box<dyn futures::Stream<Item = ()> + Send + Unpin>,
    connection: JoinHandle<()>,
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Netlink {
    /// Opens it and asks for notifications of changes of links, addresses and routes. Must run in a tokio runtime.
    pub(crate) fn open() -> std::io::Result<Self> {
        let (connection, handle, messages) = new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
        ])?;
        let connection = tokio::spawn(connection);
        Ok(Self { handle, changes: Box::new(messages.map(|_| ())), connection })
    }

    /// Waits for a change. Cancel safe. `None` when the connection is gone.
    pub(crate) async fn changed(&mut self) -> Option<()> {
        self.changes.next().await
    }

    /// Passes over the changes that are known already: the next snapshot shows them all.
    pub(crate) fn forget_changes(&mut self) {
        while self.changes.next().now_or_never().flatten().is_some() {}
    }

    /// All links and own addresses as they are now.
    pub(crate) async fn snapshot(&self) -> Result<Snapshot, rtnetlink::Error> {
        let mut own = BTreeSet::new();
        let leading_out = self.leading_out(&mut own).await?;
        let mut messages = self.handle.link().get().execute();
        let mut links = Vec::new();
        while let Some(message) = messages.try_next().await? {
            let mut link = read_link(&message);
            link.leads_out = leading_out.contains(&link.ifindex);
            links.push(link);
        }
        Ok(Snapshot { links, own_addresses: own })
    }

    /// Interfaces that a default route leads through, or that have an address with a network around it. Notes all
    /// addresses on the way.
    async fn leading_out(&self, own: &mut BTreeSet<IpAddr>) -> Result<HashSet<u32>, rtnetlink::Error> {
        let mut indices = HashSet::new();
        let mut addresses = self.handle.address().get().execute();
        while let Some(address) = addresses.try_next().await? {
            let full = if address.header.family == AddressFamily::Inet { 32 } else { 128 };
            // On point-to-point links `Address` is the peer's; `Local` comes first there.
            let ip = address.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Local(ip) | AddressAttribute::Address(ip) => Some(*ip),
                _ => None,
            });
            let Some(ip) = ip.filter(|ip| !is_link_local(*ip)) else { continue };
            own.insert(ip);
            if address.header.prefix_len < full {
                indices.insert(address.header.index);
            }
        }
        for route in [
            RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(),
            RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
        ] {
            let mut routes = self.handle.route().get(route).execute();
            while let Some(route) = routes.try_next().await? {
                indices.extend(default_route_device(&route));
            }
        }
        Ok(indices)
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn default_route_device(route: &RouteMessage) -> Option<u32> {
    if route.header.destination_prefix_length != 0 {
        return None;
    }
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })
}

fn read_link(message: &LinkMessage) -> Link {
    let mut link = Link {
        ifindex: message.header.index,
        hardware_type: message.header.link_layer_type.into(),
        down: down(message.header.flags),
        ..Link::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::LinkNetNsId(_) => link.peer_elsewhere = true,
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(kind) => link.kind = kind_name(kind),
                        LinkInfo::Data(data) => link.outer = outer_family(data),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    // These kinds leave no choice.
    link.outer = match link.kind.as_str() {
        "ipip" | "sit" | "gre" | "gretap" => Some(Family::V4),
        "ip6tnl" | "ip6gre" | "ip6gretap" => Some(Family::V6),
        _ => link.outer,
    };
    link
}

/// The family of what a tunnel sends: that of the addresses of its ends, which are of one family
/// (drivers/net/vxlan/vxlan_core.c, vxlan_config_validate). None where each packet says where it goes.
fn outer_family(data: &InfoData) -> Option<Family> {
    let of = |v4: bool| Some(if v4 { Family::V4 } else { Family::V6 });
    match data {
        InfoData::Vxlan(settings) => settings.iter().find_map(|setting| match setting {
            InfoVxlan::Local(_) | InfoVxlan::Group(_) => of(true),
            InfoVxlan::Local6(_) | InfoVxlan::Group6(_) => of(false),
            _ => None,
        }),
        InfoData::Geneve(settings) => settings.iter().find_map(|setting| match setting {
            InfoGeneve::Local(_) | InfoGeneve::Remote(_) => of(true),
            InfoGeneve::Local6(_) | InfoGeneve::Remote6(_) => of(false),
            _ => None,
        }),
        _ => None,
    }
}

/// Up is what was asked for, lower up what the other end allows (include/uapi/linux/if.h).
const fn down(flags: LinkFlags) -> Option<Down> {
    match (flags.contains(LinkFlags::Up), flags.contains(LinkFlags::LowerUp)) {
        (false, _) => Some(Down::Itself),
        (true, false) => Some(Down::Peer),
        (true, true) => None,
    }
}

fn kind_name(kind: &InfoKind) -> String {
    // The library's own Display gives the kernel's word for all kinds.
    kind.to_string()
}

/// What is new and what is gone between two snapshots: (appeared, vanished ifindexes). A link whose name or role
/// changed is both: an index may have been used again.
pub(crate) fn difference(before: &HashMap<u32, Link>, after: &[Link]) -> (Vec<Link>, Vec<u32>) {
    let same = |link: &Link| {
        before.get(&link.ifindex).is_some_and(|old| old.name == link.name && old.role() == link.role())
    };
    let appeared = after.iter().filter(|link| !same(link)).cloned().collect();
    let now: HashMap<u32, &Link> = after.iter().map(|link| (link.ifindex, link)).collect();
    let vanished =
        before.keys().copied().filter(|index| now.get(index).is_none_or(|link| !same(link))).collect();
    (appeared, vanished)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn loopback_is_among_the_links() {
        let netlink = Netlink::open().unwrap();
        let snapshot = netlink.snapshot().await.unwrap();
        assert!(snapshot.own_addresses.contains(&IpAddr::from([127, 0, 0, 1])));
        let loopback = snapshot.links.iter().find(|link| link.name == "lo").unwrap();
        assert_eq!((loopback.ifindex, loopback.hardware_type, loopback.role()), (1, 772, None));
        assert_eq!(loopback.down, None);
    }

    #[test]
    fn what_a_links_flags_say() {
        let (up, lower) = (LinkFlags::Up, LinkFlags::LowerUp);
        assert_eq!((down(up | lower), down(up)), (None, Some(Down::Peer)));
        assert_eq!((down(lower), down(LinkFlags::empty())), (Some(Down::Itself), Some(Down::Itself)));
    }

    #[test]
    fn an_index_used_again_is_gone_and_new() {
        let link = |ifindex, name: &str| Link {
            ifindex,
            name: name.into(),
            kind: "bridge".into(),
            ..Link::default()
        };
        let before = HashMap::from([(1, link(1, "a")), (2, link(2, "b")), (3, link(3, "c"))]);
        let (appeared, mut vanished) = difference(&before, &[link(1, "a"), link(2, "x"), link(4, "d")]);
        vanished.sort_unstable();
        assert_eq!(appeared.iter().map(|link| link.ifindex).collect::<Vec<_>>(), [2, 4]);
        assert_eq!(vanished, [2, 3]);
    }
}
