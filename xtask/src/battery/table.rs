//! The table of faults: what each breaks, and what must be said of it.

use super::foreign::At;

/// What is done to the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// A fault of the lab, in its textual form.
    Lab(&'static str),
    /// Another program drops what passes an interface of a node.
    Foreign { node: &'static str, interface: &'static str, at: At },
    /// A node's agent, which is also its responder, ends.
    KillAgent(&'static str),
    /// A node ends, and its agent has to be started again.
    KillNode(&'static str),
    /// A fault of the lab that costs no packet.
    Harmless(&'static str),
    /// All cores are busy. Nothing is broken.
    Starve,
}

/// Where a loss may be said to be. An empty word stands for anything, `|` separates choices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) nodes: &'static str,
    /// `request` or `reply`.
    pub(crate) direction: &'static str,
    /// Beginnings of the stage's name.
    pub(crate) stages: &'static str,
    /// Beginnings of the reason.
    pub(crate) reasons: &'static str,
    /// For the wire: the end where the packet never came, or the one that it left.
    pub(crate) wire_end: &'static str,
}

/// Which address families a fault breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Families {
    Both,
    V4,
    V6,
}

/// One fault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) deed: Deed,
    pub(crate) families: Families,
    /// Kinds of probes that it must take down or degrade.
    pub(crate) kinds: &'static [&'static str],
    pub(crate) places: &'static [Place],
    /// How long it may take until it shows, in seconds.
    pub(crate) patience_s: u64,
    /// Arguments that the hub is started anew with, for this row.
    pub(crate) hub_args: &'static [&'static str],
}

impl Deed {
    /// As it is shown.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Lab(fault) | Self::Harmless(fault) => fault.to_owned(),
            Self::Foreign { node, interface, at } => {
                let hook = match at {
                    At::TcIngress => "tc ingress",
                    At::TcEgress => "tc egress",
                    At::Xdp => "xdp",
                };
                format!("foreign {hook} program node={node} interface={interface}")
            }
            Self::KillAgent(node) => format!("agent killed node={node}"),
            Self::KillNode(node) => format!("node-killed node={node}"),
            Self::Starve => "all cores busy".to_owned(),
        }
    }
}

const fn at(
    nodes: &'static str,
    direction: &'static str,
    stages: &'static str,
    reasons: &'static str,
) -> Place {
    Place { nodes, direction, stages, reasons, wire_end: "" }
}

/// The wire at this node's uplink.
const fn wire(wire_end: &'static str, direction: &'static str) -> Place {
    Place { nodes: "", direction, stages: "wire", reasons: "", wire_end }
}

const fn row(deed: Deed, kinds: &'static [&'static str], places: &'static [Place]) -> Row {
    Row { deed, families: Families::Both, kinds, places, patience_s: 8, hub_args: &[] }
}

/// Nothing may be said to be lost.
const fn harmless(fault: &'static str) -> Row {
    row(Deed::Harmless(fault), &[], &[])
}

const fn lab(fault: &'static str, kinds: &'static [&'static str], places: &'static [Place]) -> Row {
    row(Deed::Lab(fault), kinds, places)
}

const fn foreign(at: At, place: &'static [Place]) -> Row {
    row(Deed::Foreign { node: "n2", interface: "vethweb-n2", at }, POD, place)
}

const fn only(families: Families, row: Row) -> Row {
    Row { families, ..row }
}

/// A fault that takes only some packets, by chance.
const fn rare(row: Row) -> Row {
    Row { patience_s: 25, ..row }
}

/// With ten probes a second of each path: for what is seldom, and for probes that overtake each other.
const fn fast(row: Row) -> Row {
    Row { hub_args: &["--interval", "100ms", "--timeout", "500ms"], ..row }
}

const ALL: &[&str] = &["icmp", "udp", "tcp"];
const ICMP: &[&str] = &["icmp"];
const UDP: &[&str] = &["udp"];
const TCP: &[&str] = &["tcp"];
const POD: &[&str] = &["icmp", "tcp"];
const DNS: &[&str] = &["dns"];
/// What a sender is told of its own kernel's filter.
const FILTERED: &str = "NETFILTER_DROP|EPERM";
/// A service's address is translated in the output hook, which looks for a route to the backend and drops for want of
/// one: the kernel says no more than that.
const TRANSLATED: Place = at("n1|n2", "request", "netfilter_output", "NETFILTER_DROP");
/// What a sender is told of a route that leads nowhere; over a tunnel, its device finds out.
const DEAD: &str = "routing|egress|send";

/// All rows. What destroys most comes last.
#[rustfmt::skip]
pub(crate) const ROWS: &[Row] = &[
    // Filters, at each hook.
    lab("drop node=n2 hook=prerouting src=n1", ALL, &[at("n2", "", "netfilter_prerouting", "NETFILTER_DROP")]),
    lab("drop node=n2 hook=input proto=icmp src=n1", ICMP, &[at("n2", "", "netfilter_input", "NETFILTER_DROP")]),
    lab("drop node=n2 hook=forward", POD, &[at("n2", "", "netfilter_forward", "NETFILTER_DROP")]),
    lab("drop node=n2 hook=output dst=n1", ALL, &[at("n2", "", "netfilter_output", FILTERED)]),
    lab("drop node=n2 hook=postrouting dst=n1", ALL, &[at("n2", "", "netfilter_postrouting", FILTERED)]),
    lab("reject node=n2 hook=prerouting src=n1", ALL, &[at("n2", "", "netfilter_prerouting", "")]),
    lab("reject node=n2 hook=input proto=udp dport=6100", UDP, &[at("n2", "request", "netfilter_input", "")]),
    lab("reject node=n2 hook=forward", POD, &[at("n2", "", "netfilter_forward", "")]),
    lab("reject node=n2 hook=output dst=n1", ALL, &[at("n2", "", "netfilter_output", "")]),
    lab("responder-filtered node=n2", UDP, &[at("n2", "request", "netfilter_input", "NETFILTER_DROP")]),
    // One direction, at either end.
    lab("request-loss from=n1 to=n2 at=source", ALL, &[at("n1", "request", "netfilter_output", FILTERED)]),
    lab("request-loss from=n1 to=n2 at=destination", ALL, &[at("n2", "request", "netfilter_input", "NETFILTER_DROP")]),
    lab("reply-loss from=n1 to=n2 at=source", ALL, &[at("n1", "reply", "netfilter_input", "NETFILTER_DROP")]),
    lab("reply-loss from=n1 to=n2 at=destination", ALL, &[at("n2", "reply", "netfilter_output", "NETFILTER_DROP")]),
    lab("request-loss from=n1 to=web-n2 at=destination port=8080", POD, &[at("n2", "request", "netfilter_forward", "NETFILTER_DROP")]),
    lab("reply-loss from=n1 to=web-n2 at=destination port=8080", POD, &[at("n2", "reply", "netfilter_forward", "NETFILTER_DROP")]),
    // Chance.
    rare(lab("request-loss from=n1 to=n2 at=destination percent=50", ICMP, &[at("n2", "request", "netfilter_input", "NETFILTER_DROP")])),
    rare(lab("reply-loss from=n1 to=n2 at=destination percent=50", ICMP, &[at("n2", "reply", "netfilter_output", "NETFILTER_DROP")])),
    rare(lab("request-loss from=n1 to=n2 at=destination percent=10", &[], &[at("n2", "request", "netfilter_input", "NETFILTER_DROP")])),
    rare(lab("reply-loss from=n1 to=n2 at=destination percent=10", &[], &[at("n2", "reply", "netfilter_output", "NETFILTER_DROP")])),
    fast(rare(lab("request-loss from=n1 to=n2 at=destination percent=1", &[], &[at("n2", "request", "netfilter_input", "NETFILTER_DROP")]))),
    fast(rare(lab("reply-loss from=n1 to=n2 at=destination percent=1", &[], &[at("n2", "reply", "netfilter_output", "NETFILTER_DROP")]))),
    // The cable. The agents' session to the hub is IPv4 and must live.
    only(Families::V6, lab("loss node=n2 direction=in percent=100 family=ipv6", ICMP, &[wire("n2", "")])),
    only(Families::V6, lab("loss node=n2 direction=out percent=100 family=ipv6", ICMP, &[wire("n2", "")])),
    only(Families::V6, rare(lab("loss node=n2 direction=in percent=50 family=ipv6", ICMP, &[wire("n2", "")]))),
    only(Families::V6, rare(lab("loss node=n2 direction=out percent=10 family=ipv6", &[], &[wire("n2", "")]))),
    // Nothing is lost by it.
    fast(harmless("duplicate node=n2")),
    fast(harmless("reorder node=n2 delay-ms=400")),
    // Routes.
    lab("route node=n3 type=blackhole to=n1", ALL, &[at("n3", "", DEAD, "")]),
    lab("route node=n3 type=unreachable to=n1", ALL, &[at("n3", "", DEAD, "")]),
    lab("route node=n3 type=prohibit to=n1", ALL, &[at("n3", "", DEAD, "")]),
    lab("route node=n3 type=throw to=n1", ALL, &[at("n3", "", DEAD, "")]),
    lab("route node=n2 type=blackhole to=web-n2", POD, &[at("n2", "request", "routing", ""), TRANSLATED]),
    lab("route node=n1 type=throw to=n2/pods", POD, &[at("n1", "", DEAD, ""), TRANSLATED]),
    lab("route-loop a=n1 b=n2 to=n3/pods", POD, &[at("n1|n2", "", "routing", "")]),
    only(Families::V4, lab("reverse-path node=n2 from=n1", ICMP, &[at("n2", "", "routing", "IP_RPFILTER|EHOSTUNREACH"), at("n2", "", "neighbour", "")])),
    // Neighbours and links.
    lab("wrong-neighbour node=n1 to=n2", ICMP, &[wire("n1", ""), at("n2", "", "ingress", "OTHERHOST"), at("n1", "", "neighbour", "")]),
    lab("wrong-neighbour node=n2 to=web-n2", POD, &[at("n2", "request", "", "")]),
    lab("veth-down pod=web-n2", POD, &[at("n2", "request", "", "")]),
    lab("pod-link-down pod=web-n2", POD, &[at("n2", "request", "", "")]),
    lab("uplink-down node=n3", ICMP, &[wire("n3", ""), at("n3", "", "", ""), at("", "request", "neighbour", ""), at("", "request", "routing", "EHOSTUNREACH")]),
    lab("slow-link pod=web-n2", ICMP, &[at("n2", "request", "qdisc", "QDISC_")]),
    // Other people's programs.
    foreign(At::TcIngress, &[at("n2", "reply", "ingress", "TC_INGRESS")]),
    foreign(At::TcEgress, &[at("n2", "request", "egress", "TC_EGRESS")]),
    foreign(At::Xdp, &[at("n2", "reply", "ingress", "XDP|NOT_SPECIFIED")]),
    // Zones.
    lab("zone-cut a=zone-a b=zone-b", ALL, &[at("", "", "netfilter_prerouting", "NETFILTER_DROP")]),
    lab("zone-cut a=zone-a b=zone-b proto=udp", UDP, &[at("", "", "netfilter_prerouting", "NETFILTER_DROP")]),
    // Tables and queues.
    lab("conntrack-full node=n2", ALL, &[at("n2", "", "netfilter_prerouting|netfilter_output", FILTERED)]),
    // The kernel frees a SYN that the full queue takes no more as it frees one that it answered: no drop is reported,
    // and no other packet tells. What is known is that it went into the pod and nothing came out.
    rare(lab("backend-stuck pod=web-n1", TCP, &[at("n1", "request", "socket", "")])),
    // Services and DNS.
    lab("backend-refuses pod=web-n1", TCP, &[at("n1", "request", "socket", "")]),
    rare(lab("backend-dead pod=web-n1", TCP, &[at("n1", "request", "neighbour|routing", "")])),
    lab("no-endpoints service=web", TCP, &[at("", "request", "netfilter_output", "")]),
    lab("dns answer=servfail", DNS, &[at("n4", "", "application|socket", "")]),
    lab("dns answer=nxdomain", DNS, &[at("n4", "", "application|socket", "")]),
    lab("dns answer=silent", DNS, &[at("n4", "", "application|socket", "")]),
    lab("dns answer=truncated", TCP, &[at("n4", "request", "netfilter_input", "NETFILTER_DROP")]),
    lab("dns answer=slow delay-ms=1000", DNS, &[at("n4", "", "application|socket", "")]),
    // Programs and nodes that end, and a starved machine.
    row(Deed::Starve, &[], &[]),
    row(Deed::KillAgent("n2"), UDP, &[at("n2", "request", "socket", "")]),
    Row { patience_s: 12, ..row(Deed::KillNode("n3"), ICMP, &[wire("n3", ""), at("n3", "", "", ""), at("", "request", "neighbour", ""), at("", "request", "routing", "EHOSTUNREACH")]) },
];
