//! The route that a packet is sent by, or the rule of the routing policy database, where it leads nowhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures::{Stream, TryStreamExt as _};
use ipnet::IpNet;
use netcheck_proto::v1;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteType,
};
use netlink_packet_route::rule::RuleMessage;
use rtnetlink::{IpVersion, RouteMessageBuilder};

use super::netlink::Connection;
use policy::{Packet, Taken};

mod missing;
mod policy;
#[cfg(test)]
mod tests;

/// Routes and rules that are looked at: a router with the whole Internet's is not asked for all of them.
const MOST: usize = 100_000;

/// Asks the kernel. None where a route leads on, and where it can't be asked. `from`: the packet's source, where it is known.
pub(super) async fn find(to: IpAddr, from: Option<IpAddr>) -> Option<v1::Culprit> {
    let connection = Connection::open()?;
    let version = if to.is_ipv4() { IpVersion::V4 } else { IpVersion::V6 };
    let routes = routes(&connection, to).await?;
    let rules = all(connection.handle.rule().get(version).execute()).await?;
    culprit(&rules, &routes, Packet { to, from })
}

/// A network of pods that there is no route to, though there are to others: the default route takes what is for it.
pub(super) async fn missing(to: IpAddr) -> Option<v1::Culprit> {
    let way = way(to).await.filter(|way| way.prefix == 0)?;
    missing::judge(&routes(&Connection::open()?, to).await?, &way, to)
}

/// Whether both may be addresses of one cluster's pods, by their first bits.
pub(super) fn is_of_same_range(a: IpAddr, b: IpAddr) -> bool {
    let bits = if a.is_ipv4() { 16 } else { 48 };
    IpNet::new(a, bits).is_ok_and(|range| range.contains(&b))
}

/// All routes of this address's family.
async fn routes(connection: &Connection, of: IpAddr) -> Option<Vec<RouteMessage>> {
    let message = match of {
        IpAddr::V4(_) => RouteMessageBuilder::<Ipv4Addr>::new().build(),
        IpAddr::V6(_) => RouteMessageBuilder::<Ipv6Addr>::new().build(),
    };
    all(connection.handle.route().get(message).execute()).await
}

/// Where the kernel would send a packet for this address: the route as it stands in its table.
pub(super) struct Way {
    /// Whom it hands the packet to: a gateway, or the destination itself.
    pub(super) hop: IpAddr,
    /// Length of the prefix that the route covers (bits); 0 for a default route.
    pub(super) prefix: u8,
    /// Index of the interface.
    pub(super) interface: u32,
    /// In the words of ip-route(8).
    pub(super) text: String,
    /// What the route itself allows.
    pub(super) mtu: Option<u32>,
}

/// Asks the kernel which route matches (`RTM_F_FIB_MATCH`). None where none does. Of a route with several next hops, the first.
pub(super) async fn way(to: IpAddr) -> Option<Way> {
    ways(to).await?.into_iter().next()
}

/// The same with all next hops of the route: which one a flow takes its hash decides.
pub(super) async fn ways(to: IpAddr) -> Option<Vec<Way>> {
    let connection = Connection::open()?;
    let mut message = match to {
        IpAddr::V4(to) => RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(to, 32).build(),
        IpAddr::V6(to) => RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(to, 128).build(),
    };
    message.header.flags |= RouteFlags::FibMatch;
    // A question is for no table and of no origin.
    (message.header.table, message.header.kind) = (0, RouteType::Unspec);
    let route = std::pin::pin!(connection.handle.route().get(message).execute()).try_next().await.ok()??;
    Some(as_ways(&route, to))
}

fn as_ways(route: &RouteMessage, to: IpAddr) -> Vec<Way> {
    let several = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::MultiPath(hops) => Some(hops),
        _ => None,
    });
    let own = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    });
    let own = own.and_then(|interface| as_way(route, interface, gateway(&route.attributes), to));
    let hops = several.into_iter().flatten();
    own.into_iter()
        .chain(hops.filter_map(|hop| as_way(route, hop.interface_index, gateway(&hop.attributes), to)))
        .collect()
}

fn gateway(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::Gateway(RouteAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })
}

fn as_way(route: &RouteMessage, interface: u32, gateway: Option<IpAddr>, to: IpAddr) -> Option<Way> {
    let metrics = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Metrics(metrics) => Some(metrics),
        _ => None,
    });
    let mtu = metrics.into_iter().flatten().find_map(|metric| match metric {
        RouteMetric::Mtu(mtu) => Some(*mtu),
        _ => None,
    });
    let network = network(route, to)?;
    let mut text = network.trunc().to_string();
    if let Some(gateway) = gateway {
        text += &format!(" via {gateway}");
    }
    if metric(route) != 0 {
        text += &format!(" metric {}", metric(route));
    }
    text += &format!(" in table {}", table_name(table_of(route)));
    Some(Way { hop: gateway.unwrap_or(to), prefix: network.prefix_len(), interface, text, mtu })
}

/// Everything that is listed, as far as it is not too much; none where the kernel stops listing.
async fn all<T>(stream: impl Stream<Item = Result<T, rtnetlink::Error>>) -> Option<Vec<T>> {
    let mut stream = std::pin::pin!(stream);
    let mut all = Vec::new();
    while all.len() < MOST {
        match stream.try_next().await {
            Ok(Some(one)) => all.push(one),
            Ok(None) => return Some(all),
            Err(_) => return None,
        }
    }
    None
}

fn network(route: &RouteMessage, to: IpAddr) -> Option<IpNet> {
    let destination = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    });
    // A default route names no destination.
    let any = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    IpNet::new(destination.unwrap_or(any), route.header.destination_prefix_length).ok()
}

/// The lower one is preferred.
fn metric(route: &RouteMessage) -> u32 {
    let own = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Priority(metric) => Some(*metric),
        _ => None,
    });
    own.unwrap_or(0)
}

/// The word for a route that leads nowhere.
fn dead(route: &RouteMessage) -> Option<&'static str> {
    Some(match route.header.kind {
        RouteType::BlackHole => "blackhole",
        RouteType::Unreachable => "unreachable",
        RouteType::Prohibit => "prohibit",
        RouteType::Throw => "throw",
        _ => return None,
    })
}

/// In the words of ip-route(8) and ip-rule(8); none where a route leads on.
fn culprit(rules: &[RuleMessage], routes: &[RouteMessage], packet: Packet) -> Option<v1::Culprit> {
    let to = packet.to;
    let tool = if to.is_ipv4() { "ip" } else { "ip -6" };
    let mut found = v1::Culprit {
        kind: v1::CulpritKind::Route.into(),
        certainty: v1::Certainty::Inferred.into(),
        ..Default::default()
    };
    match policy::taken(rules, routes, packet) {
        Taken::Nothing => {
            found.object = format!("no route to {to}");
            found.see = format!("{tool} route get {to}");
            found.mend =
                format!("a route that covers {to}; where the CNI sets routes, its daemon on this node");
        }
        Taken::Route(route, rule) => {
            let (word, network) = (dead(route)?, network(route, to)?.trunc());
            let table = table_name(table_of(route));
            found.object = format!("route {word} {network} in table {table}");
            found.see = format!("{tool} route show {network} table {table}");
            found.mend = format!("unless it is meant: {tool} route del {word} {network} table {table}");
            if !["main", "local", "default"].contains(&table.as_str()) {
                found.kind = v1::CulpritKind::RoutingRule.into();
                found.object += &format!(", to which ip rule {} leads", policy::priority(rule));
                found.text = policy::text(rule);
                found.see += &format!("; {tool} rule show");
            }
        }
        Taken::Rule(rule) => {
            let priority = policy::priority(rule);
            found.kind = v1::CulpritKind::RoutingRule.into();
            found.object = format!("ip rule {priority} leads nowhere");
            found.text = policy::text(rule);
            found.see = format!("{tool} rule show");
            found.mend = format!("unless it is meant: {tool} rule del pref {priority}");
        }
    }
    Some(found)
}

fn table_of(route: &RouteMessage) -> u32 {
    let whole = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    whole.unwrap_or_else(|| route.header.table.into())
}

fn table_name(table: u32) -> String {
    match table {
        253 => "default".to_owned(),
        254 => "main".to_owned(),
        255 => "local".to_owned(),
        other => other.to_string(),
    }
}
