//! A network of pods that a node has no route to, though it has routes to others of its kind: what is for it goes by the default
//! route, to a router that knows nothing of pods.

use std::net::IpAddr;

use ipnet::IpNet;
use netcheck_proto::v1;
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteType};

use super::{Way, network, table_name, table_of};

/// How many bits two networks of pods of one cluster differ in at most (IPv4, IPv6): flannel and host-local take a /24 of a /16
/// for each node, Calico a /26, and a /64 of a /48.
const BITS: [u8; 2] = [8, 16];
/// Routes that are named.
const NAMED: usize = 2;

/// Names what is missing, where the way to this address is the default route.
pub(super) fn judge(routes: &[RouteMessage], way: &Way, to: IpAddr) -> Option<v1::Culprit> {
    let mut siblings: Vec<IpNet> = routes
        .iter()
        .filter(|route| way.prefix == 0 && leads_on(route))
        .filter_map(|route| network(route, to))
        .filter(|other| is_sibling(*other, to))
        .collect();
    siblings.sort();
    siblings.dedup();
    let example = siblings.first()?;
    let wanted = IpNet::new(to, example.prefix_len()).ok()?.trunc();
    let named: Vec<String> = siblings.iter().take(NAMED).map(ToString::to_string).collect();
    let tool = if to.is_ipv4() { "ip" } else { "ip -6" };
    Some(v1::Culprit {
        kind: v1::CulpritKind::Route.into(),
        object: format!("no route to {wanted}: the default route {} takes what is for {to}", way.text),
        text: format!(
            "there are routes to {} networks of the same kind ({}{})",
            siblings.len(),
            named.join(", "),
            if siblings.len() > NAMED { ", …" } else { "" }
        ),
        see: format!("{tool} route get {to}; {tool} route show"),
        mend: "what sets routes to other nodes' pods: the CNI's daemon on this node (its log), or the cloud's routes"
            .to_owned(),
        certainty: v1::Certainty::Inferred.into(),
        ..Default::default()
    })
}

/// It leads to another machine.
fn leads_on(route: &RouteMessage) -> bool {
    let gateway = route.attributes.iter().any(|attribute| matches!(attribute, RouteAttribute::Gateway(_)));
    let main = table_name(table_of(route)) == "main";
    route.header.kind == RouteType::Unicast && gateway && main
}

/// A network that differs from the one of this address in its last bits alone.
fn is_sibling(other: IpNet, to: IpAddr) -> bool {
    let bits = BITS[usize::from(to.is_ipv6())];
    let host = if to.is_ipv4() { 32 } else { 128 };
    let length = other.prefix_len();
    let shared = length.checked_sub(bits).and_then(|shared| IpNet::new(other.addr(), shared).ok());
    // A default route, an address alone, and the whole cluster's range are no network of one node's pods.
    let least = if to.is_ipv4() { 12 } else { 40 };
    length > least
        && length < host
        && !other.contains(&to)
        && shared.is_some_and(|shared| shared.contains(&to))
}
