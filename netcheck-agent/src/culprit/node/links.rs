//! The node's links, addresses and routed interfaces, as far as rtnetlink shows them.

use futures::TryStreamExt as _;
use ipnet::IpNet;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::link::{
    InfoBridgePort, InfoKind, InfoPortData, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{RouteAttribute, RouteMessage};
use rtnetlink::RouteMessageBuilder;

use super::netlink::Connection;

/// Links, addresses and routes that are looked at.
const MOST: usize = 65_536;

/// An address of this network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) network: IpNet,
    pub(super) interface: u32,
}

/// A link, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Port {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) up: bool,
    /// It takes part in the resolution of hardware addresses.
    pub(super) resolves: bool,
    pub(super) bridge: bool,
    /// It is one of a pair of virtual links, and the other is in the network namespace of this number.
    pub(super) of_pod: Option<i32>,
    /// Number of the bridge or other interface that it is a port of.
    pub(super) controller: Option<u32>,
    pub(super) settings: PortSettings,
}

/// What a bridge is told of one of its ports (bridge(8), `bridge link set`). As it is by default where nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PortSettings {
    /// It takes nothing from hardware addresses that it was not told to expect there.
    pub(super) locked: bool,
    /// Hardware addresses that are seen behind it are remembered.
    pub(super) learns: bool,
    /// Frames for hardware addresses that are behind no known port leave by it, too.
    pub(super) floods: bool,
}

impl Default for PortSettings {
    fn default() -> Self {
        Self { locked: false, learns: true, floods: true }
    }
}

/// What is known of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Links {
    pub(super) own: Vec<Own>,
    pub(super) ports: Vec<Port>,
    /// Interfaces that some route leads through.
    pub(super) routed: Vec<u32>,
}

impl Links {
    /// None where the kernel can't be asked.
    pub(super) async fn read(routes: bool) -> Option<Self> {
        let connection = Connection::open()?;
        let mut links = Self::default();
        let mut addresses = std::pin::pin!(connection.handle.address().get().execute());
        while let Some(message) = addresses.try_next().await.ok()? {
            let local = message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Local(ip) => Some(*ip),
                _ => None,
            });
            let any = message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Address(ip) => Some(*ip),
                _ => None,
            });
            let network = local.or(any).and_then(|ip| IpNet::new(ip, message.header.prefix_len).ok());
            links.own.extend(network.map(|network| Own { network, interface: message.header.index }));
            (links.own.len() < MOST).then_some(())?;
        }
        let mut all = std::pin::pin!(connection.handle.link().get().execute());
        while let Some(message) = all.try_next().await.ok()? {
            links.ports.push(port(&message));
            (links.ports.len() < MOST).then_some(())?;
        }
        if routes {
            let both = [
                RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(),
                RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
            ];
            for question in both {
                let mut all = std::pin::pin!(connection.handle.route().get(question).execute());
                while let Some(route) = all.try_next().await.ok()? {
                    links.routed.extend(global(&route));
                    (links.routed.len() < MOST).then_some(())?;
                }
            }
        }
        Some(links)
    }

    pub(super) fn name(&self, index: u32) -> Option<&Port> {
        self.ports.iter().find(|port| port.index == index)
    }

    /// The bridge of this number; none where it is another kind of interface.
    pub(super) fn bridge(&self, index: u32) -> Option<&Port> {
        self.name(index).filter(|port| port.bridge)
    }

    /// A link of the pod in this network namespace.
    pub(super) fn link_of(&self, namespace: i32) -> Option<&Port> {
        self.ports.iter().find(|port| port.of_pod == Some(namespace))
    }

    /// The link of the pod in this network namespace that is a port of this bridge.
    pub(super) fn of_pod(&self, namespace: i32, bridge: u32) -> Option<&Port> {
        self.ports.iter().find(|port| port.of_pod == Some(namespace) && port.controller == Some(bridge))
    }
}

/// The interface of a route that leads to more than the link's own addresses.
fn global(route: &RouteMessage) -> Option<u32> {
    let link_only = route.attributes.iter().any(|attribute| match attribute {
        RouteAttribute::Destination(netlink_packet_route::route::RouteAddress::Inet6(to)) => {
            to.is_unicast_link_local() || to.is_multicast()
        }
        _ => false,
    });
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) if !link_only => Some(*index),
        _ => None,
    })
}

impl PortSettings {
    fn of(told: &[InfoBridgePort]) -> Self {
        told.iter().fold(Self::default(), |settings, one| match one {
            InfoBridgePort::Locked(locked) => Self { locked: *locked, ..settings },
            InfoBridgePort::Learning(learns) => Self { learns: *learns, ..settings },
            InfoBridgePort::UnicastFlood(floods) => Self { floods: *floods, ..settings },
            _ => settings,
        })
    }
}

fn port(message: &LinkMessage) -> Port {
    let mut port = Port {
        index: message.header.index,
        up: message.header.flags.contains(LinkFlags::Up),
        resolves: !message.header.flags.contains(LinkFlags::Noarp),
        ..Port::default()
    };
    let (mut pair, mut elsewhere) = (false, None);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => port.name.clone_from(name),
            LinkAttribute::LinkNetNsId(namespace) => elsewhere = Some(*namespace),
            LinkAttribute::Controller(of) => port.controller = Some(*of),
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(kind) => {
                            port.bridge = *kind == InfoKind::Bridge;
                            pair = *kind == InfoKind::Veth;
                        }
                        LinkInfo::PortData(InfoPortData::BridgePort(told)) => {
                            port.settings = PortSettings::of(told);
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    port.of_pod = elsewhere.filter(|_| pair);
    port
}
