//! The nftables rules that faults consist of. Pure: fault and topology in, scripts out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, bail, ensure};

use super::{Direction, DnsAnswer, End, Family, Fault, Hook, Leg, Match, Proto, Verdict};
use crate::spec::Mode;
use crate::topology::{Node, Topology, VXLAN_PORT};

/// Neighbour discovery passes every fault: without it all of IPv6 dies of something else.
const DISCOVERY: &str = "icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, \
                         nd-neighbor-advert } accept";

/// A script for one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Script {
    pub(super) netns: String,
    /// Puts the rules in force; twice is the same as once.
    pub(super) inject: String,
    /// Takes them away; no error if they are not there.
    pub(super) heal: String,
}

/// Rules of one chain in one namespace.
struct Chain<'a> {
    netns: &'a str,
    /// `inet` or `bridge`.
    table_family: &'a str,
    hook: Hook,
    rules: Vec<String>,
}

/// Before connection tracking puts fragments together (NF_IP_PRI_CONNTRACK_DEFRAG is -400).
const BEFORE_REASSEMBLY: i32 = -450;
/// What has been through the cable's detour already.
pub(crate) const MARK: &str = "0x77";

/// Everything that a fault puts into nftables.
pub(super) fn scripts(fault: &Fault, topology: &Topology) -> Result<Vec<Script>> {
    let table = format!("netlab_fault_{:016x}", hash(&fault.to_string()));
    if let Fault::Duplicate { node, percent } = fault {
        return Ok(vec![doubled(&table, topology, topology.node(node)?, *percent)]);
    }
    let chains = chains(fault, topology)?;
    let priority = matches!(fault, Fault::FragmentsDropped { .. }).then_some(BEFORE_REASSEMBLY);
    Ok(chains.iter().map(|chain| script(&table, chain, priority)).collect())
}

/// Sends a copy of every packet through the node's port of the switch before the packet itself. The mark keeps the
/// copy, which comes by here too, from being copied again.
fn doubled(table: &str, topology: &Topology, node: &Node, percent: u8) -> Script {
    let (port, chance) = (node.switch_port(), chance(percent));
    let heal = format!("table netdev {table}\ndelete table netdev {table}\n");
    let inject = format!(
        "{heal}table netdev {table} {{\n  chain fault {{\n    \
         type filter hook egress device \"{port}\" priority 0; policy accept;\n    \
         meta mark != {MARK} {chance}meta mark set {MARK} counter dup to \"{port}\"\n  }}\n}}\n"
    );
    Script { netns: topology.underlay_ns.clone(), inject, heal }
}

fn script(table: &str, chain: &Chain<'_>, priority: Option<i32>) -> Script {
    let (hook, family) = (chain.hook.name(), chain.table_family);
    // Before translation of addresses where there is one, so that rules see what is on the wire.
    let priority = priority.unwrap_or(match chain.hook {
        Hook::Prerouting | Hook::Postrouting => -150,
        Hook::Input | Hook::Forward | Hook::Output => 0,
    });
    let heal = format!("table {family} {table}\ndelete table {family} {table}\n");
    let rules: String = chain.rules.iter().map(|rule| format!("    {rule}\n")).collect();
    let inject = format!(
        "{heal}table {family} {table} {{\n  chain fault {{\n    type filter hook {hook} priority {priority}; \
         policy accept;\n    {DISCOVERY}\n{rules}  }}\n}}\n"
    );
    Script { netns: chain.netns.to_owned(), inject, heal }
}

fn chains<'a>(fault: &'a Fault, topology: &'a Topology) -> Result<Vec<Chain<'a>>> {
    let inet = |netns, hook, rules| vec![Chain { netns, table_family: "inet", hook, rules }];
    let switch = topology.underlay_ns.as_str();
    let on_switch = |rules| vec![Chain { netns: switch, table_family: "bridge", hook: Hook::Forward, rules }];
    Ok(match fault {
        Fault::Filter { node, hook, verdict, matching } => {
            let verdict = match verdict {
                Verdict::Drop => "drop",
                Verdict::Reject => "reject",
            };
            let rules = rules(topology, matching, verdict)?;
            inet(&topology.node(node)?.netns, *hook, rules)
        }
        Fault::ResponderFiltered { node, port, family } => {
            let matching =
                Match { family: *family, proto: Some(Proto::Udp), dport: Some(*port), ..Match::default() };
            inet(&topology.node(node)?.netns, Hook::Input, rules(topology, &matching, "drop")?)
        }
        Fault::OneWay { leg, from, to, at, family, proto, port, percent } => {
            let (host, hook) = one_way_hook(topology, from, to, *leg, *at)?;
            let (family, proto, port, percent) = (*family, *proto, *port, *percent);
            let packets = OneWay { from, to, leg: *leg, family, proto, port, percent };
            inet(&host.netns, hook, one_way_rules(topology, &packets)?)
        }
        Fault::WireLoss { node, direction, percent, family, longer_bytes } => {
            let port = topology.node(node)?.switch_port();
            let (iif, oif) = match direction {
                Direction::Out => (Some(port), None),
                Direction::In => (None, Some(port)),
            };
            let matching = Match {
                family: *family,
                percent: Some(*percent),
                iif,
                oif,
                longer_bytes: *longer_bytes,
                ..Match::default()
            };
            on_switch(rules(topology, &matching, "drop")?)
        }
        Fault::SourcePorts { from, to, way, family } => {
            on_switch(source_port_rules(topology, (from.as_str(), to.as_str()), *way, *family)?)
        }
        Fault::ZoneCut { a, b, family, proto } => {
            zone_chains(topology, (a.as_str(), b.as_str()), *family, *proto)?
        }
        Fault::TunnelBlocked { a, b } => {
            ensure!(topology.mode == Mode::Vxlan, "this lab has no tunnels");
            on_switch(vec![tunnel_rule(topology, a, b)?, tunnel_rule(topology, b, a)?])
        }
        Fault::NewDenied { node } => {
            let rules = ["ct state established,related accept", "ct state new counter drop"];
            inet(&topology.node(node)?.netns, Hook::Forward, rules.map(str::to_owned).to_vec())
        }
        Fault::PolicyDeny { pod } => {
            let pod = topology.pod(pod)?;
            let established = "ct state established,related accept".to_owned();
            let denied = ["saddr", "daddr"].into_iter().flat_map(|way| {
                [format!("ip {way} {} counter drop", pod.v4), format!("ip6 {way} {} counter drop", pod.v6)]
            });
            let rules = std::iter::once(established).chain(denied).collect();
            inet(&topology.node_of(pod)?.netns, Hook::Forward, rules)
        }
        Fault::MtuBlackhole { node, at, .. } => inet(&topology.node(node)?.netns, Hook::Output, at.rules()),
        Fault::FragmentsDropped { node, .. } => inet(
            &topology.node(node)?.netns,
            Hook::Prerouting,
            // All but the last say that more follow, and all but the first where they belong.
            vec![
                "ip frag-off & 0x3fff != 0 counter drop".to_owned(),
                "meta protocol ip6 exthdr frag exists counter drop".to_owned(),
            ],
        ),
        Fault::Dns { answer: DnsAnswer::Truncated } => {
            let servers = topology.pods().filter(|pod| pod.app == "kube-dns");
            let rule = || vec!["iifname != \"lo\" tcp dport 53 counter drop".to_owned()];
            servers.flat_map(|pod| inet(&pod.netns, Hook::Input, rule())).collect()
        }
        _ => Vec::new(),
    })
}

/// What the switch drops between two nodes: one of eight source ports.
fn source_port_rules(
    topology: &Topology,
    (from, to): (&str, &str),
    way: u8,
    family: Option<Family>,
) -> Result<Vec<String>> {
    let (iif, oif) = (topology.node(from)?.switch_port(), topology.node(to)?.switch_port());
    let mut rules = vec![format!("udp dport {VXLAN_PORT} accept")];
    for (is, protocol) in [(Family::V4, "ip"), (Family::V6, "ip6")] {
        if family.is_none_or(|family| family == is) {
            rules.push(format!(
                "meta protocol {protocol} udp sport & 7 == {way} iifname \"{iif}\" oifname \"{oif}\" counter drop"
            ));
        }
    }
    Ok(rules)
}

/// What each node of two zones drops of the other zone's.
fn zone_chains<'a>(
    topology: &'a Topology,
    (a, b): (&str, &str),
    family: Option<Family>,
    proto: Option<Proto>,
) -> Result<Vec<Chain<'a>>> {
    let mut chains = Vec::new();
    for (here, there) in [(a, b), (b, a)] {
        let mut nodes = topology.nodes.iter().filter(|node| node.zone == *here).peekable();
        ensure!(nodes.peek().is_some(), "no zone `{here}` in lab `{}`", topology.lab);
        for node in nodes {
            let matching = Match { family, proto, src: Some(there.to_owned()), ..Match::default() };
            let mut rules = rules(topology, &matching, "drop")?;
            if topology.mode == Mode::Vxlan && proto.is_some() {
                // The overlay's own packets carry the other protocols.
                rules.insert(0, format!("udp dport {VXLAN_PORT} accept"));
            }
            chains.push(Chain { netns: &node.netns, table_family: "inet", hook: Hook::Prerouting, rules });
        }
    }
    Ok(chains)
}

/// What the switch drops of the overlay from one zone to another.
fn tunnel_rule(topology: &Topology, from: &str, to: &str) -> Result<String> {
    let ports = |zone: &str| -> Result<String> {
        let nodes = topology.nodes.iter().filter(|node| node.zone == zone);
        let ports: Vec<String> = nodes.map(|node| format!("\"{}\"", node.switch_port())).collect();
        ensure!(!ports.is_empty(), "no zone `{zone}` in lab `{}`", topology.lab);
        Ok(ports.join(", "))
    };
    Ok(format!(
        "meta protocol ip udp dport {VXLAN_PORT} iifname {{ {} }} oifname {{ {} }} counter drop",
        ports(from)?,
        ports(to)?
    ))
}

/// Where a leg passes: through the own stack of a node, or through the one that forwards for a pod.
fn one_way_hook<'a>(
    topology: &'a Topology,
    from: &str,
    to: &str,
    leg: Leg,
    at: End,
) -> Result<(&'a Node, Hook)> {
    let end = match at {
        End::Source => from,
        End::Destination => to,
    };
    if let Ok(pod) = topology.pod(end) {
        let other = if end == from { to } else { from };
        let same_node = topology.pod(other).is_ok_and(|other| other.node == pod.node);
        ensure!(!same_node, "`{from}` and `{to}` are on one bridge, where no rule sees their packets");
        return Ok((topology.node_of(pod)?, forward_or_local(topology, other, &pod.node, leg, at)));
    }
    let node = topology.node(end).context("`from` and `to` are nodes or pods")?;
    let leaves = matches!((leg, at), (Leg::Request, End::Source) | (Leg::Reply, End::Destination));
    Ok((node, if leaves { Hook::Output } else { Hook::Input }))
}

/// Between a pod and its own node nothing is forwarded.
fn forward_or_local(topology: &Topology, other: &str, pod_node: &str, leg: Leg, at: End) -> Hook {
    if topology.node(other).is_ok_and(|node| node.name == pod_node) {
        let to_pod = matches!((leg, at), (Leg::Request, End::Destination) | (Leg::Reply, End::Source));
        return if to_pod { Hook::Output } else { Hook::Input };
    }
    Hook::Forward
}

/// Packets of one leg of probes between two ends.
struct OneWay<'a> {
    from: &'a str,
    to: &'a str,
    leg: Leg,
    family: Option<Family>,
    proto: Option<Proto>,
    port: u16,
    percent: Option<u8>,
}

fn one_way_rules(topology: &Topology, packets: &OneWay<'_>) -> Result<Vec<String>> {
    let &OneWay { from, to, leg, family, proto, port, percent } = packets;
    let (src, dst, echo, port_is) = match leg {
        Leg::Request => (from, to, "echo-request", "dport"),
        Leg::Reply => (to, from, "echo-reply", "sport"),
    };
    let (src, dst) = (topology.addresses(src)?, topology.addresses(dst)?);
    let chance = percent.map(chance).unwrap_or_default();
    let mut rules = Vec::new();
    for (is, ip, icmp, src, dst) in [
        (Family::V4, "ip", "icmp", src.0.to_string(), dst.0.to_string()),
        (Family::V6, "ip6", "icmpv6", src.1.to_string(), dst.1.to_string()),
    ] {
        if family.is_some_and(|family| family != is) {
            continue;
        }
        // From a node, what goes to a pod carries the address of the interface that leads there.
        let pair = if topology.node(from).is_ok() && topology.pod(to).is_ok() {
            match leg {
                Leg::Request => format!("{ip} daddr {dst}"),
                Leg::Reply => format!("{ip} saddr {src}"),
            }
        } else {
            format!("{ip} saddr {src} {ip} daddr {dst}")
        };
        for one in [Proto::Icmp, Proto::Udp, Proto::Tcp] {
            if proto.is_some_and(|proto| proto != one) {
                continue;
            }
            let what = match one {
                Proto::Icmp => format!("{icmp} type {echo}"),
                Proto::Udp => format!("udp {port_is} {port}"),
                Proto::Tcp => format!("tcp {port_is} {port}"),
            };
            rules.push(format!("{pair} {what} {chance}counter drop"));
        }
    }
    Ok(rules)
}

/// One rule for each family that the match can take.
fn rules(topology: &Topology, matching: &Match, verdict: &str) -> Result<Vec<String>> {
    let src = matching.src.as_deref().map(|place| prefixes(topology, place)).transpose()?;
    let dst = matching.dst.as_deref().map(|place| prefixes(topology, place)).transpose()?;
    let mut rules = Vec::new();
    for (is, ip, protocol, icmp) in [(Family::V4, "ip", "ip", "icmp"), (Family::V6, "ip6", "ip6", "icmpv6")] {
        if matching.family.is_some_and(|family| family != is) {
            continue;
        }
        let mut rule = format!("meta protocol {protocol} ");
        let mut possible = true;
        for (what, place) in [("saddr", &src), ("daddr", &dst)] {
            let Some((v4, v6)) = place else { continue };
            let these = if is == Family::V4 { v4 } else { v6 };
            possible &= !these.is_empty();
            rule.push_str(&format!("{ip} {what} {{ {} }} ", these.join(", ")));
        }
        if !possible {
            continue;
        }
        rule.push_str(&match matching.proto {
            Some(Proto::Icmp) => format!("{icmp} type {{ echo-request, echo-reply }} "),
            Some(Proto::Udp) => "meta l4proto udp ".to_owned(),
            Some(Proto::Tcp) => "meta l4proto tcp ".to_owned(),
            None if matching.sport.or(matching.dport).is_some() => "meta l4proto { tcp, udp } ".to_owned(),
            None => String::new(),
        });
        for (what, value) in [("sport", matching.sport), ("dport", matching.dport)] {
            rule.push_str(&value.map(|port| format!("th {what} {port} ")).unwrap_or_default());
        }
        for (what, value) in [("iifname", &matching.iif), ("oifname", &matching.oif)] {
            rule.push_str(&value.as_ref().map(|name| format!("{what} \"{name}\" ")).unwrap_or_default());
        }
        rule.push_str(
            &matching.longer_bytes.map(|bytes| format!("meta length > {bytes} ")).unwrap_or_default(),
        );
        rule.push_str(&matching.percent.map(chance).unwrap_or_default());
        rules.push(format!("{rule}counter {verdict}"));
    }
    ensure!(!rules.is_empty(), "source, destination and family rule each other out");
    Ok(rules)
}

pub(crate) fn chance(percent: u8) -> String {
    if percent >= 100 { String::new() } else { format!("numgen random mod 100 < {percent} ") }
}

/// The prefixes of a place, by family.
pub(super) fn prefixes(topology: &Topology, place: &str) -> Result<(Vec<String>, Vec<String>)> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for part in place.split(',') {
        let zone: Vec<&Node> = topology.nodes.iter().filter(|node| node.zone == part).collect();
        if !zone.is_empty() {
            for node in zone {
                v4.extend([node.v4.to_string(), node.pod_cidr_v4()]);
                v6.extend([node.v6.to_string(), node.pod_cidr_v6()]);
            }
        } else if let Some(node) = part.strip_suffix("/pods") {
            let node = topology.node(node)?;
            v4.push(node.pod_cidr_v4());
            v6.push(node.pod_cidr_v6());
        } else if let Ok((a, b)) = topology.addresses(part) {
            v4.push(a.to_string());
            v6.push(b.to_string());
        } else {
            match prefix(part)? {
                IpAddr::V4(_) => v4.push(part.to_owned()),
                IpAddr::V6(_) => v6.push(part.to_owned()),
            }
        }
    }
    Ok((v4, v6))
}

fn prefix(text: &str) -> Result<IpAddr> {
    let (address, len) = text.split_once('/').map_or((text, None), |(address, len)| (address, Some(len)));
    let longest = match address.parse() {
        Ok(IpAddr::V4(_)) => Ipv4Addr::BITS,
        Ok(IpAddr::V6(_)) => Ipv6Addr::BITS,
        Err(_) => {
            bail!("`{text}` is no place: a node, a pod, hub, NODE/pods, a zone, an address or a prefix")
        }
    };
    if let Some(len) = len {
        let fits = len.parse::<u32>().is_ok_and(|len| len <= longest);
        ensure!(fits, "`{text}`: the length of the prefix is 0 to {longest}");
    }
    address.parse().context("an address that was just read")
}

/// FNV-1a: names must be the same in every process.
pub(crate) fn hash(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}
