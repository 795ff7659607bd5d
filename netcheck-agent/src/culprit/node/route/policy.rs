//! Which route the routing policy database leads to, as the kernel goes through it (ip-rule(8), net/core/fib_rules.c). Pure.
//!
//! The kernel itself does not say: asked for a route to an address that a dead route covers, it answers with the errno alone.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::route::{RouteMessage, RouteType};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};

use super::{metric, network, table_name, table_of};

/// A packet as far as its flow shows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet {
    pub(super) to: IpAddr,
    pub(super) from: Option<IpAddr>,
}

/// What takes it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Taken<'a> {
    /// A route, by this rule.
    Route(&'a RouteMessage, &'a RuleMessage),
    /// A rule that leads nowhere itself.
    Rule(&'a RuleMessage),
    /// None.
    Nothing,
}

/// Follows the rules. Where an ordinary way leads on, a rule that looks at more than addresses (an interface, a mark) may
/// have taken the packet before: the first of these that leads nowhere.
pub(super) fn taken<'a>(rules: &'a [RuleMessage], routes: &'a [RouteMessage], packet: Packet) -> Taken<'a> {
    let mut ordered: Vec<&RuleMessage> = rules.iter().collect();
    ordered.sort_by_key(|rule| priority(rule));
    let plain: Vec<&RuleMessage> = ordered.iter().copied().filter(|rule| !selects_more(rule)).collect();
    let way = follow(&plain, routes, packet);
    if !leads_on(&way) {
        return way;
    }
    let special = ordered.iter().filter(|rule| selects_more(rule) && selects(rule, packet));
    let mut nowhere = special.map(|rule| follow(&[*rule], routes, packet));
    nowhere.find(|way| !leads_on(way) && *way != Taken::Nothing).unwrap_or(way)
}

fn leads_on(way: &Taken<'_>) -> bool {
    matches!(way, Taken::Route(route, _) if super::dead(route).is_none())
}

fn follow<'a>(rules: &[&'a RuleMessage], routes: &'a [RouteMessage], packet: Packet) -> Taken<'a> {
    let mut thrown = Taken::Nothing;
    let mut from = 0;
    for rule in rules.iter().filter(|rule| selects(rule, packet)) {
        if priority(rule) < from {
            continue;
        }
        match rule.header.action {
            RuleAction::ToTable => {
                let own = routes.iter().filter(|route| table_of(route) == table(rule));
                let covers = |route: &&RouteMessage| {
                    network(route, packet.to).is_some_and(|net| net.contains(&packet.to))
                };
                let best = own.filter(covers).max_by_key(|route| {
                    (route.header.destination_prefix_length, std::cmp::Reverse(metric(route)))
                });
                let Some(route) = best.filter(|route| !suppressed(rule, route)) else { continue };
                if route.header.kind != RouteType::Throw {
                    return Taken::Route(route, rule);
                }
                thrown = Taken::Route(route, rule);
            }
            RuleAction::Blackhole | RuleAction::Unreachable | RuleAction::Prohibit => {
                return Taken::Rule(rule);
            }
            RuleAction::Goto => from = goto(rule).unwrap_or(from),
            _ => {}
        }
    }
    // What was thrown back was taken by nobody else.
    thrown
}

fn suppressed(rule: &RuleMessage, route: &RouteMessage) -> bool {
    rule.attributes.iter().any(|attribute| match attribute {
        // All bits set: none.
        RuleAttribute::SuppressPrefixLen(u32::MAX) => false,
        RuleAttribute::SuppressPrefixLen(length) => {
            u32::from(route.header.destination_prefix_length) <= *length
        }
        _ => false,
    })
}

pub(super) fn priority(rule: &RuleMessage) -> u32 {
    let own = rule.attributes.iter().find_map(|attribute| match attribute {
        RuleAttribute::Priority(priority) => Some(*priority),
        _ => None,
    });
    own.unwrap_or(0)
}

fn goto(rule: &RuleMessage) -> Option<u32> {
    rule.attributes.iter().find_map(|attribute| match attribute {
        RuleAttribute::Goto(priority) => Some(*priority),
        _ => None,
    })
}

fn table(rule: &RuleMessage) -> u32 {
    let whole = rule.attributes.iter().find_map(|attribute| match attribute {
        RuleAttribute::Table(table) => Some(*table),
        _ => None,
    });
    whole.unwrap_or_else(|| rule.header.table.into())
}

/// It looks at more than addresses.
fn selects_more(rule: &RuleMessage) -> bool {
    let more = |attribute: &RuleAttribute| match attribute {
        RuleAttribute::FwMark(mark) => *mark != 0,
        RuleAttribute::TunId(id) => *id != 0,
        RuleAttribute::L3MDev(on) => *on,
        RuleAttribute::Iifname(_)
        | RuleAttribute::Oifname(_)
        | RuleAttribute::UidRange(_)
        | RuleAttribute::IpProtocol(_)
        | RuleAttribute::SourcePortRange(_)
        | RuleAttribute::DestinationPortRange(_) => true,
        _ => false,
    };
    rule.header.tos != 0 || rule.attributes.iter().any(more)
}

/// Its addresses take the packet. Where the packet's source is not known, any does.
fn selects(rule: &RuleMessage, packet: Packet) -> bool {
    let within = |prefix: &IpAddr, length: u8, address: IpAddr| {
        IpNet::new(*prefix, length).is_ok_and(|net| net.contains(&address))
    };
    let all = rule.attributes.iter().all(|attribute| match attribute {
        RuleAttribute::Destination(prefix) => within(prefix, rule.header.dst_len, packet.to),
        RuleAttribute::Source(prefix) => {
            packet.from.is_none_or(|from| within(prefix, rule.header.src_len, from))
        }
        _ => true,
    });
    all != rule.header.flags.contains(RuleFlags::Invert)
}

/// In the words of ip-rule(8).
pub(super) fn text(rule: &RuleMessage) -> String {
    let mut words = vec![format!("{}:", priority(rule))];
    if rule.header.flags.contains(RuleFlags::Invert) {
        words.push("not".to_owned());
    }
    let find = |find: &dyn Fn(&RuleAttribute) -> Option<String>| rule.attributes.iter().find_map(find);
    let from = find(&|attribute| match attribute {
        RuleAttribute::Source(prefix) => Some(format!("from {prefix}/{}", rule.header.src_len)),
        _ => None,
    });
    words.push(from.unwrap_or_else(|| "from all".to_owned()));
    words.extend(find(&|attribute| match attribute {
        RuleAttribute::Destination(prefix) => Some(format!("to {prefix}/{}", rule.header.dst_len)),
        _ => None,
    }));
    words.extend(find(&|attribute| match attribute {
        RuleAttribute::FwMark(mark) if *mark != 0 => Some(format!("fwmark {mark:#x}")),
        _ => None,
    }));
    words.extend(find(&|attribute| match attribute {
        RuleAttribute::Iifname(name) => Some(format!("iif {name}")),
        _ => None,
    }));
    words.extend(find(&|attribute| match attribute {
        RuleAttribute::Oifname(name) => Some(format!("oif {name}")),
        _ => None,
    }));
    words.push(match rule.header.action {
        RuleAction::ToTable => format!("lookup {}", table_name(table(rule))),
        RuleAction::Blackhole => "blackhole".to_owned(),
        RuleAction::Unreachable => "unreachable".to_owned(),
        RuleAction::Prohibit => "prohibit".to_owned(),
        _ => "…".to_owned(),
    });
    words.join(" ")
}
