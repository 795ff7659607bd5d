//! The most specific route to an address, where it leads nowhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures::TryStreamExt as _;
use ipnet::IpNet;
use netcheck_proto::v1;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use rtnetlink::{RouteMessageBuilder, new_connection};

/// Routes that are looked at: a router with the whole Internet's is not asked for all of them.
const MOST: usize = 100_000;

/// Asks the kernel. None where a route leads on, and where it can't be asked.
pub(super) async fn find(to: IpAddr) -> Option<v1::Culprit> {
    let (connection, handle, _) = new_connection().ok()?;
    let talking = tokio::spawn(connection);
    let message = match to {
        IpAddr::V4(_) => RouteMessageBuilder::<Ipv4Addr>::new().build(),
        IpAddr::V6(_) => RouteMessageBuilder::<Ipv6Addr>::new().build(),
    };
    let mut all = std::pin::pin!(handle.route().get(message).execute());
    let (mut best, mut seen) = (None, 0);
    let read = loop {
        match all.try_next().await {
            Ok(Some(route)) if seen < MOST => {
                seen += 1;
                best = better(best, route, to);
            }
            Ok(None) => break true,
            Ok(Some(_)) | Err(_) => break false,
        }
    };
    talking.abort();
    if !read {
        return None;
    }
    culprit(best.as_ref(), to)
}

/// The more specific of two routes to an address; of two that are equally so, the first.
fn better(best: Option<RouteMessage>, route: RouteMessage, to: IpAddr) -> Option<RouteMessage> {
    let covers = network(&route, to).is_some_and(|network| network.contains(&to));
    let length = |route: &RouteMessage| route.header.destination_prefix_length;
    if covers && best.as_ref().is_none_or(|best| length(&route) > length(best)) { Some(route) } else { best }
}

fn network(route: &RouteMessage, to: IpAddr) -> Option<IpNet> {
    let told = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    });
    // A default route names no destination.
    let any = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    IpNet::new(told.unwrap_or(any), route.header.destination_prefix_length).ok()
}

/// In the words of ip-route(8); none where the route leads on.
fn culprit(best: Option<&RouteMessage>, to: IpAddr) -> Option<v1::Culprit> {
    let tool = if to.is_ipv4() { "ip" } else { "ip -6" };
    let dead = |route: &RouteMessage| {
        Some(match route.header.kind {
            RouteType::BlackHole => "blackhole",
            RouteType::Unreachable => "unreachable",
            RouteType::Prohibit => "prohibit",
            RouteType::Throw => "throw",
            _ => return None,
        })
    };
    let (object, see, mend) = match best {
        None => (
            format!("no route to {to}"),
            format!("{tool} route get {to}"),
            format!("a route that covers {to}; where the CNI sets routes, its daemon on this node"),
        ),
        Some(route) => {
            let (word, network) = (dead(route)?, network(route, to)?);
            let (network, table) = (network.trunc(), table(route));
            (
                format!("route {word} {network} in table {table}"),
                format!("{tool} route show {network} table {table}"),
                format!("unless it is meant: {tool} route del {word} {network} table {table}"),
            )
        }
    };
    Some(v1::Culprit {
        kind: v1::CulpritKind::Route.into(),
        object,
        see,
        mend,
        certainty: v1::Certainty::Inferred.into(),
        ..Default::default()
    })
}

fn table(route: &RouteMessage) -> String {
    let whole = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    match whole.unwrap_or_else(|| route.header.table.into()) {
        253 => "default".to_owned(),
        254 => "main".to_owned(),
        255 => "local".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(kind: RouteType, network: &str) -> RouteMessage {
        let network: IpNet = network.parse().unwrap();
        let mut route = RouteMessage::default();
        route.header.kind = kind;
        route.header.destination_prefix_length = network.prefix_len();
        route.header.table = 254;
        if network.prefix_len() > 0 {
            route.attributes.push(RouteAttribute::Destination(network.addr().into()));
        }
        route
    }

    #[test]
    fn the_most_specific_route_is_the_one() {
        let to = "10.244.3.7".parse().unwrap();
        let named = |routes: Vec<RouteMessage>| {
            let best = routes.into_iter().fold(None, |best, route| better(best, route, to));
            culprit(best.as_ref(), to).map(|culprit| culprit.object)
        };
        let way = |network| route(RouteType::Unicast, network);
        let hole = |network| route(RouteType::BlackHole, network);
        let told = Some("route blackhole 10.244.3.0/24 in table main".to_owned());
        assert_eq!(named(vec![way("0.0.0.0/0"), hole("10.244.3.0/24"), hole("10.0.0.0/8")]), told);
        assert_eq!(named(vec![hole("10.244.0.0/16"), way("10.244.3.0/24")]), None);
        assert_eq!(named(vec![hole("10.245.0.0/16"), way("0.0.0.0/0")]), None);
        assert_eq!(named(vec![way("10.245.0.0/16")]), Some("no route to 10.244.3.7".to_owned()));
    }
}
