//! Loss locations, hooks and ICMP errors in words for people. Pure.

use crate::model::evidence::{HookSeen, IcmpError};
use crate::model::location::{Certainty, Direction, Location, Stage};
use crate::model::reason::UNTRANSLATED;
use std::net::IpAddr;

/// `eth0`, with what it carries there.
#[must_use]
pub fn hook_name(hook: &HookSeen) -> String {
    let name = if hook.interface.is_empty() { "an interface that is gone" } else { &hook.interface };
    if hook.encapsulated { format!("{name} (inside a tunnel's packet)") } else { name.to_owned() }
}

/// `arriving at eth0`.
#[must_use]
pub fn passing(hook: &HookSeen) -> String {
    let way = if hook.egress { "leaving through" } else { "arriving at" };
    format!("{way} {}", hook_name(hook))
}

/// RFC 792, RFC 1812 §5.2.7, RFC 4443.
#[must_use]
pub fn icmp_name(from: IpAddr, error: &IcmpError) -> String {
    let name = match (from, error.kind, error.code) {
        (IpAddr::V4(_), 3, 0) => "net unreachable",
        (IpAddr::V4(_), 3, 1) => "host unreachable",
        (IpAddr::V4(_), 3, 2) => "protocol unreachable",
        (IpAddr::V4(_), 3, 3) | (IpAddr::V6(_), 1, 4) => "port unreachable",
        (IpAddr::V4(_), 3, 4) => "fragmentation needed",
        (IpAddr::V4(_), 3, 9) => "net administratively prohibited",
        (IpAddr::V4(_), 3, 10) => "host administratively prohibited",
        (IpAddr::V4(_), 3, 13) | (IpAddr::V6(_), 1, 1) => "administratively prohibited",
        (IpAddr::V4(_), 11, _) | (IpAddr::V6(_), 3, _) => "time exceeded",
        (IpAddr::V6(_), 1, 0) => "no route",
        (IpAddr::V6(_), 1, 3) => "address unreachable",
        (IpAddr::V6(_), 1, 5) => "source address failed policy",
        (IpAddr::V6(_), 1, 6) => "reject route",
        (IpAddr::V6(_), 2, _) => "packet too big",
        _ => return format!("ICMP type {} code {}", error.kind, error.code),
    };
    format!("ICMP {name}")
}

/// `netfilter forward`.
#[must_use]
pub const fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Unknown => "an unknown stage",
        Stage::Send => "sending",
        Stage::NetfilterOutput => "netfilter output",
        Stage::Routing => "routing",
        Stage::Neighbour => "neighbour resolution",
        Stage::NetfilterPostrouting => "netfilter postrouting",
        Stage::Qdisc => "the queueing discipline",
        Stage::Egress => "egress",
        Stage::Wire => "the wire",
        Stage::Ingress => "ingress",
        Stage::NetfilterPrerouting => "netfilter prerouting",
        Stage::NetfilterForward => "netfilter forward",
        Stage::NetfilterInput => "netfilter input",
        Stage::Socket => "the socket",
        Stage::Application => "the application",
        Stage::BridgePrerouting => "bridge netfilter prerouting",
        Stage::BridgeInput => "bridge netfilter input",
        Stage::BridgeForward => "bridge netfilter forward",
        Stage::BridgeOutput => "bridge netfilter output",
        Stage::BridgePostrouting => "bridge netfilter postrouting",
        Stage::NetdevIngress => "netdev ingress",
        Stage::NetdevEgress => "netdev egress",
    }
}

/// What an errno of send() means to people (ip-route(8), and nft's drop in the output hook), and a reason that is short
/// of words; nothing for other reasons.
fn meaning(reason: &str) -> &'static str {
    match reason {
        "EINVAL" => " (blackhole route)",
        "EACCES" => " (prohibit route)",
        "EHOSTUNREACH" => " (unreachable route, or the neighbour does not answer)",
        "ENETUNREACH" => " (no route)",
        "ENETDOWN" => " (the interface is down)",
        "ENOLINK" => " (the interface has no carrier)",
        "EPERM" => " (a firewall rule)",
        "OTHERHOST" => " (sent to another's hardware address)",
        "IP_LOCAL_SOURCE" => " (it bears an address of this very node)",
        UNTRANSLATED => " (it left under the service's own address)",
        "EMSGSIZE" => " (more than the route's own interface takes)",
        _ => "",
    }
}

/// `request`, `reply`.
#[must_use]
pub const fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Unknown => "packet",
        Direction::Request => "request",
        Direction::Reply => "reply",
    }
}

/// `at n2, interface eth0, netfilter forward`; `on the wire between n1 eth0 and n2 eth0`; where no drop was reported, `on n2, last
/// seen arriving at eth0`.
#[must_use]
pub fn whereabouts(at: &Location) -> String {
    let observed = at.certainty == Certainty::Observed;
    if at.stage == Stage::Wire {
        return wire(at);
    }
    let interface = if at.interface.is_empty() { "an interface" } else { &at.interface };
    let mut text = match (observed, at.stage) {
        (false, Stage::Unknown) => format!("on or behind {}", at.node),
        // Concluded: where it was seen last.
        (false, Stage::Ingress) => format!("on {}, last seen arriving at {interface}", at.node),
        (false, Stage::Egress) if at.reason.is_empty() => {
            format!("on {}, last seen leaving through {interface}", at.node)
        }
        (false, Stage::Send) => format!("on {}, seen at no interface", at.node),
        (_, of) if at.interface.is_empty() => format!("at {}, {}", at.node, stage(of)),
        (_, of) => format!("at {}, interface {}, {}", at.node, at.interface, stage(of)),
    };
    if !at.pod.is_empty() {
        text += &format!(" (pod {})", at.pod);
    }
    text
}

fn wire(at: &Location) -> String {
    let end = |node: &str, interface: &str| match (node, interface) {
        (node, "") => node.to_owned(),
        (node, interface) => format!("{node} {interface}"),
    };
    let from = end(&at.node, &at.interface);
    let to = end(&at.next_node, &at.next_interface);
    let half = if at.direction == Direction::Unknown { ", or on its way back" } else { "" };
    format!("on the wire between {from} and {to}{half}")
}

/// `: NETFILTER_DROP in nft_do_chain`; empty where nothing is known.
#[must_use]
pub fn reason(at: &Location) -> String {
    match (at.reason.as_str(), at.function.as_str()) {
        ("", "") => String::new(),
        (reason, "") => format!(": {reason}{}", meaning(reason)),
        ("", function) => format!(": in {function}"),
        (reason, function) => format!(": {reason}{} in {function}", meaning(reason)),
    }
}

/// One line: what was lost where, why, and how sure that is.
#[must_use]
pub fn place(at: &Location) -> String {
    let observed = at.certainty == Certainty::Observed;
    let verb = if observed && at.stage != Stage::Wire { "dropped" } else { "lost" };
    let sure = if observed { "observed" } else { "inferred" };
    format!("{} {verb} {}{} [{sure}]", direction(at.direction), whereabouts(at), reason(at))
}
