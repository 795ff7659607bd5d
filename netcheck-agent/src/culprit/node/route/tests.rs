use netlink_packet_route::route::RouteNextHop;
use netlink_packet_route::rule::{RuleAction, RuleAttribute};

use super::*;
use crate::culprit::node::tests::pasteable;

fn route(kind: RouteType, network: &str, table: u8) -> RouteMessage {
    let network: IpNet = network.parse().unwrap();
    let mut route = RouteMessage::default();
    route.header.kind = kind;
    route.header.destination_prefix_length = network.prefix_len();
    route.header.table = table;
    if network.prefix_len() > 0 {
        route.attributes.push(RouteAttribute::Destination(network.addr().into()));
    }
    route
}

fn rule(priority: u32, table: u8) -> RuleMessage {
    let mut rule = RuleMessage::default();
    rule.header.action = RuleAction::ToTable;
    rule.header.table = table;
    rule.attributes.push(RuleAttribute::Priority(priority));
    rule
}

fn to(mut rule: RuleMessage, network: &str) -> RuleMessage {
    let network: IpNet = network.parse().unwrap();
    rule.header.dst_len = network.prefix_len();
    rule.attributes.push(RuleAttribute::Destination(network.addr()));
    rule
}

/// The three rules that there always are.
fn usual() -> Vec<RuleMessage> {
    vec![rule(0, 255), rule(32_766, 254), rule(32_767, 253)]
}

fn named(rules: &[RuleMessage], routes: &[RouteMessage]) -> Option<String> {
    let packet = Packet { to: "10.244.3.7".parse().unwrap(), from: Some("10.0.0.1".parse().unwrap()) };
    culprit(rules, routes, packet).map(|culprit| {
        pasteable(&culprit);
        culprit.object
    })
}

fn way(network: &str) -> RouteMessage {
    route(RouteType::Unicast, network, 254)
}

fn hole(network: &str) -> RouteMessage {
    route(RouteType::BlackHole, network, 254)
}

#[test]
fn the_most_specific_route_is_the_one() {
    let expected = Some("route blackhole 10.244.3.0/24 in table main".to_owned());
    let named = |routes: &[RouteMessage]| named(&usual(), routes);
    assert_eq!(named(&[way("0.0.0.0/0"), hole("10.244.3.0/24"), hole("10.0.0.0/8")]), expected);
    assert_eq!(named(&[hole("10.244.0.0/16"), way("10.244.3.0/24")]), None);
    assert_eq!(named(&[hole("10.245.0.0/16"), way("0.0.0.0/0")]), None);
    assert_eq!(named(&[way("10.245.0.0/16")]), Some("no route to 10.244.3.7".to_owned()));
    // Of two that are as specific, the one with the lower metric.
    let mut spare = hole("10.244.3.0/24");
    spare.attributes.push(RouteAttribute::Priority(4_278_198_272));
    assert_eq!(named(&[spare, way("10.244.3.0/24")]), None);
    // What is thrown back is looked for in the next table.
    let thrown = route(RouteType::Throw, "10.244.3.0/24", 254);
    assert_eq!(named(&[thrown.clone(), route(RouteType::Unicast, "0.0.0.0/0", 253)]), None);
    assert_eq!(named(&[thrown]), Some("route throw 10.244.3.0/24 in table main".to_owned()));
}

#[test]
fn rules_come_in_their_order_and_may_lead_nowhere_themselves() {
    let with = |rule: RuleMessage| [usual(), vec![rule]].concat();
    let routes = [way("0.0.0.0/0"), route(RouteType::BlackHole, "0.0.0.0/0", 99)];
    let dead = Some("route blackhole 0.0.0.0/0 in table 99, to which ip rule 100 leads".to_owned());
    assert_eq!(named(&with(to(rule(100, 99), "10.244.3.0/24")), &routes), dead);
    assert_eq!(named(&with(to(rule(100, 99), "10.244.4.0/24")), &routes), None);
    assert_eq!(named(&with(to(rule(40_000, 99), "10.244.3.0/24")), &routes), None, "main comes first");
    let mut prohibit = rule(7, 0);
    prohibit.header.action = RuleAction::Prohibit;
    let found =
        culprit(&with(prohibit.clone()), &routes, Packet { to: "10.244.3.7".parse().unwrap(), from: None })
            .unwrap();
    assert_eq!(
        (found.object.as_str(), found.text.as_str()),
        ("ip rule 7 leads nowhere", "7: from all prohibit")
    );
    prohibit.header.src_len = 24;
    prohibit.attributes.push(RuleAttribute::Source("10.9.0.0".parse().unwrap()));
    assert_eq!(named(&with(prohibit), &routes), None, "not from there");
    // Nobody knows the packet's mark: where the way of all others leads on, such a rule is the one that fits.
    let mut marked = rule(100, 99);
    marked.attributes.push(RuleAttribute::FwMark(1));
    assert_eq!(named(&with(marked.clone()), &routes), dead);
    assert_eq!(
        named(&with(marked), &[hole("0.0.0.0/0")]),
        Some("route blackhole 0.0.0.0/0 in table main".to_owned())
    );
    // All but the default route of a table, as WireGuard's scripts have it.
    let mut all_but_default = rule(50, 254);
    all_but_default.attributes.push(RuleAttribute::SuppressPrefixLen(0));
    let routes = [hole("0.0.0.0/0"), route(RouteType::Unicast, "0.0.0.0/0", 51)];
    assert_eq!(named(&[usual(), vec![all_but_default, rule(60, 51)]].concat(), &routes), None);
}

#[test]
fn the_way_of_a_route_is_reported_with_its_gateway_and_metric() {
    let mut message = way("10.244.3.0/24");
    message.attributes.extend([
        RouteAttribute::Oif(7),
        RouteAttribute::Gateway("10.0.0.3".parse::<Ipv4Addr>().unwrap().into()),
        RouteAttribute::Priority(5),
    ]);
    let [described] = &as_ways(&message, "10.244.3.7".parse().unwrap())[..] else { panic!("one next hop") };
    assert_eq!((described.hop.to_string().as_str(), described.interface), ("10.0.0.3", 7));
    assert_eq!(described.text, "10.244.3.0/24 via 10.0.0.3 metric 5 in table main");
    // Of a route with several next hops, all.
    let hop = |gateway: &str, interface_index| {
        let mut hop = RouteNextHop::default();
        hop.interface_index = interface_index;
        hop.attributes.push(RouteAttribute::Gateway(gateway.parse::<Ipv4Addr>().unwrap().into()));
        hop
    };
    let mut several = way("10.244.3.0/24");
    several.attributes.push(RouteAttribute::MultiPath(vec![hop("10.0.0.3", 7), hop("10.0.0.9", 8)]));
    let ways = as_ways(&several, "10.244.3.7".parse().unwrap());
    let hops: Vec<_> = ways.iter().map(|way| (way.hop.to_string(), way.interface)).collect();
    assert_eq!(hops, [("10.0.0.3".to_owned(), 7), ("10.0.0.9".to_owned(), 8)]);
}

#[test]
fn a_network_without_a_route_is_told_from_its_siblings() {
    let sibling = |network: &str| {
        let mut route = way(network);
        let gateway = network.parse::<IpNet>().unwrap().addr();
        route.attributes.push(RouteAttribute::Gateway(gateway.into()));
        route
    };
    let missing = |routes: &[RouteMessage], prefix: u8, to: &str| {
        let to: IpAddr = to.parse().unwrap();
        let taken =
            Way { hop: to, prefix, interface: 2, text: "0.0.0.0/0 via 172.30.0.1".to_owned(), mtu: None };
        missing::judge(routes, &taken, to).map(|found| {
            pasteable(&found);
            found.object
        })
    };
    let others = [sibling("10.244.1.0/24"), sibling("10.244.3.0/24"), way("0.0.0.0/0")];
    let expected =
        "no route to 10.244.2.0/24: the default route 0.0.0.0/0 via 172.30.0.1 takes what is for 10.244.2.11";
    assert_eq!(missing(&others, 0, "10.244.2.11").as_deref(), Some(expected));
    assert_eq!(missing(&others, 24, "10.244.2.11"), None, "it has a route of its own");
    assert_eq!(missing(&others, 0, "192.0.2.1"), None, "no pod's");
    assert_eq!(
        missing(&[way("10.244.1.0/24"), way("0.0.0.0/0")], 0, "10.244.2.11"),
        None,
        "its own pods' alone"
    );
    assert_eq!(
        missing(&[sibling("10.244.1.7/32")], 0, "10.244.2.11"),
        None,
        "an address alone is no network"
    );
    assert_eq!(missing(&[sibling("10.0.0.0/8")], 0, "11.244.2.11"), None, "a whole range says nothing");
    let v6 = [sibling("fd00:10:244:1::/64"), sibling("fd00:10:244:3::/64")];
    assert!(missing(&v6, 0, "fd00:10:244:2::11").unwrap().starts_with("no route to fd00:10:244:2::/64"));
    assert_eq!(missing(&v6, 0, "fd00:172:30::12"), None);
}
