//! The table of faults: what each breaks, and what must be said of it.

use super::foreign::At;

mod by_hand;
mod culprits;
mod day_two;
mod field;
mod kube_proxy;
mod new;
mod reported;
mod sets;

pub(crate) use sets::RowSet;

/// What is done to the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultAction {
    /// A fault of the lab, in its textual form.
    Lab(&'static str),
    /// Commands in a namespace, of a node or a pod, for faults that nobody made a fault of the lab of.
    Commands { at: &'static str, inject: &'static str, heal: &'static str },
    /// The same in several namespaces, one after the other.
    Several(&'static [Change]),
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

/// Commands in one namespace, and those that take back what they did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) at: &'static str,
    pub(crate) inject: &'static str,
    pub(crate) heal: &'static str,
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
    pub(crate) action: FaultAction,
    pub(crate) families: Families,
    /// Kinds of probes that it must take down or degrade.
    pub(crate) kinds: &'static [&'static str],
    pub(crate) places: &'static [Place],
    /// The one incident that must be open while it lasts: its kind, then parts of its cause's name, `|` between
    /// choices of one word and `?` behind what may be missing. `none`: there must be none. With `maybe` before it, there may be one. Empty: not stated. Of
    /// faults that are several, each has its own, with ` + ` between them.
    pub(crate) incident: &'static str,
    /// What must be named as what did it: words of which each must be in the culprit's kind, node, object or text, `|` between
    /// choices. Empty: not stated. Of faults that are several, ` + ` is between them.
    pub(crate) culprit: &'static str,
    /// How long it may take until it shows, in seconds.
    pub(crate) patience_s: u64,
    /// How long it stays after it was detected, in seconds: a place that is wrong later is wrong too.
    pub(crate) settle_s: u64,
    /// It is done to what only an overlay has.
    pub(crate) overlay: bool,
    /// Arguments that the hub is started anew with, for this row.
    pub(crate) hub_args: &'static [&'static str],
}

impl Row {
    /// It costs no packet, so that nothing may be said to be lost.
    pub(crate) fn is_harmless(&self) -> bool {
        self.incident == "none" && self.action != FaultAction::Starve
    }

    /// Says which incident it must open.
    const fn opens(self, incident: &'static str) -> Self {
        Self { incident, ..self }
    }

    /// Says what must be named as what did it. Agents are asked once the incident is open.
    const fn by(self, culprit: &'static str) -> Self {
        Self { culprit, settle_s: self.settle_s + 8, ..self }
    }
}

impl FaultAction {
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
            Self::Commands { at, inject, .. } => format!("at {at}: {inject}"),
            Self::Several(changes) => {
                let all = changes.iter().map(|Change { at, inject, .. }| format!("at {at}: {inject}"));
                all.collect::<Vec<_>>().join("; ")
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

const fn row(action: FaultAction, kinds: &'static [&'static str], places: &'static [Place]) -> Row {
    Row {
        action,
        families: Families::Both,
        kinds,
        places,
        incident: "",
        culprit: "",
        patience_s: 8,
        settle_s: 4,
        overlay: false,
        hub_args: &[],
    }
}

/// What one command breaks in the namespace of a node or a pod, and another mends.
const fn commands(
    node: &'static str,
    inject: &'static str,
    heal: &'static str,
    kinds: &'static [&'static str],
    places: &'static [Place],
) -> Row {
    row(FaultAction::Commands { at: node, inject, heal }, kinds, places)
}

/// The same, of commands that are kept together.
const fn by_command(
    node: &'static str,
    [inject, heal]: [&'static str; 2],
    kinds: &'static [&'static str],
    places: &'static [Place],
) -> Row {
    commands(node, inject, heal, kinds, places)
}

/// It is done to what only an overlay has.
const fn overlay(row: Row) -> Row {
    Row { overlay: true, ..row }
}

/// What commands in several namespaces break.
const fn several(
    changes: &'static [Change],
    kinds: &'static [&'static str],
    places: &'static [Place],
) -> Row {
    row(FaultAction::Several(changes), kinds, places)
}

/// Nothing may be said to be lost.
const fn harmless(fault: &'static str) -> Row {
    row(FaultAction::Harmless(fault), &[], &[]).opens("none")
}

const fn lab(fault: &'static str, kinds: &'static [&'static str], places: &'static [Place]) -> Row {
    row(FaultAction::Lab(fault), kinds, places)
}

const fn foreign(at: At, place: &'static [Place]) -> Row {
    row(FaultAction::Foreign { node: "n2", interface: "vethweb-n2", at }, POD, place)
}

const fn only(families: Families, row: Row) -> Row {
    Row { families, ..row }
}

/// A fault that takes only some packets, by chance.
const fn rare(row: Row) -> Row {
    Row { patience_s: 25, ..row }
}

/// A fault that takes one packet in a hundred, by chance.
const fn seldom(row: Row) -> Row {
    Row { patience_s: 45, ..row }
}

/// Ten probes a second of each path: for faults that are rare, and for probes that overtake each other.
const fn fast(row: Row) -> Row {
    Row { hub_args: &["--interval", "100ms", "--timeout", "500ms"], ..row }
}

/// A fault that only rare probes show, which are sent on one path after the other.
const fn slow(row: Row) -> Row {
    Row { patience_s: 30, settle_s: 20, ..row }
}

const ALL: &[&str] = &["icmp", "udp", "tcp"];
const ICMP: &[&str] = &["icmp"];
const UDP: &[&str] = &["udp"];
const TCP: &[&str] = &["tcp"];
const POD: &[&str] = &["icmp", "tcp"];
const DNS: &[&str] = &["dns"];
/// What is asked over UDP has its answer over TCP.
const DNS_TCP: &[&str] = &["dns", "tcp"];
/// What a sender learns of its own kernel's filter.
const FILTERED: &str = "NETFILTER_DROP|EPERM";
/// A service's address is translated in the output hook, which looks for a route to the backend and drops for want of
/// one: the kernel says no more than that.
const TRANSLATED: Place = at("n1|n2", "request", "netfilter_output", "NETFILTER_DROP");
/// What a route that leads nowhere is called: by its node's own senders (an errno for each kind), and for what is
/// passed on or wrapped (IPv4 and IPv6, both modes, in their own words).
const DEAD: &str = "EINVAL|EACCES|ENETUNREACH|IP_OUTNOROUTES|IP_INNOROUTES";
/// A reply that a blackhole or unreachable route swallows: the kernel names the function alone (net/ipv6/route.c,
/// ip6_route_info_create; net/ipv4/route.c, ip_error).
const DISCARDED: Place = at("n3", "reply", "routing", "NOT_SPECIFIED");
/// An errno that a route and a silent neighbour share: what it was is left open.
const NO_HOST: Place = at("", "request", "send", "EHOSTUNREACH");
/// Nodes on the same cable ask for a dead node's hardware address and get no answer.
const NEIGHBOUR: Place = at("", "request", "neighbour", "NEIGH_");
/// The lab starts its DNS server anew where endpoints or its answers change, and its port is closed for that moment.
const RESTARTED: Place = at("n4", "request", "socket", "refused");

/// All rows. Those that destroy most come last.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    // Filters, at each hook.
    lab("drop node=n2 hook=prerouting src=n1", ALL, &[at("n2", "", "netfilter_prerouting", "NETFILTER_DROP")]).opens("place n2 netfilter_prerouting"),
    lab("drop node=n2 hook=input proto=icmp src=n1", ICMP, &[at("n2", "", "netfilter_input", "NETFILTER_DROP")]).opens("place n2 netfilter_input"),
    lab("drop node=n2 hook=forward", POD, &[at("n2", "", "netfilter_forward", "NETFILTER_DROP")]).opens("place n2 netfilter_forward"),
    lab("drop node=n2 hook=output dst=n1", ALL, &[at("n2", "", "netfilter_output", FILTERED)]).opens("place n2 netfilter_output"),
    lab("drop node=n2 hook=postrouting dst=n1", ALL, &[at("n2", "", "netfilter_postrouting", FILTERED)]).opens("place n2 netfilter_postrouting"),
    lab("reject node=n2 hook=prerouting src=n1", ALL, &[at("n2", "", "netfilter_prerouting", "")]).opens("place n2 netfilter_prerouting"),
    lab("reject node=n2 hook=input proto=udp dport=6100", UDP, &[at("n2", "request", "netfilter_input", "")]).opens("place n2 netfilter_input"),
    lab("reject node=n2 hook=forward", POD, &[at("n2", "", "netfilter_forward", "")]).opens("place n2 netfilter_forward"),
    lab("reject node=n2 hook=output dst=n1", ALL, &[at("n2", "", "netfilter_output", "")]).opens("place n2 netfilter_output"),
    lab("responder-filtered node=n2", UDP, &[at("n2", "request", "netfilter_input", "NETFILTER_DROP")]).opens("place n2 netfilter_input"),
    // One direction, at either end.
    lab("request-loss from=n1 to=n2 at=source", ALL, &[at("n1", "request", "netfilter_output", FILTERED)]).opens("place n1 netfilter_output"),
    lab("request-loss from=n1 to=n2 at=destination", ALL, &[at("n2", "request", "netfilter_input", "NETFILTER_DROP")]).opens("place n2 netfilter_input"),
    lab("reply-loss from=n1 to=n2 at=source", ALL, &[at("n1", "reply", "netfilter_input", "NETFILTER_DROP")]).opens("place n1 netfilter_input"),
    lab("reply-loss from=n1 to=n2 at=destination", ALL, &[at("n2", "reply", "netfilter_output", "NETFILTER_DROP")]).opens("place n2 netfilter_output"),
    lab("request-loss from=n1 to=web-n2 at=destination port=8080", POD, &[at("n2", "request", "netfilter_forward", "NETFILTER_DROP")]).opens("place n2 netfilter_forward"),
    lab("reply-loss from=n1 to=web-n2 at=destination port=8080", POD, &[at("n2", "reply", "netfilter_forward", "NETFILTER_DROP")]).opens("place n2 netfilter_forward"),
    // Chance.
    rare(lab("request-loss from=n1 to=n2 at=destination percent=50", ICMP, &[at("n2", "request", "netfilter_input", "NETFILTER_DROP")])).opens("place n2 netfilter_input"),
    rare(lab("reply-loss from=n1 to=n2 at=destination percent=50", ICMP, &[at("n2", "reply", "netfilter_output", "NETFILTER_DROP")])).opens("place n2 netfilter_output"),
    rare(lab("request-loss from=n1 to=n2 at=destination percent=10", &[], &[at("n2", "request", "netfilter_input", "NETFILTER_DROP")])).opens("maybe place n2 netfilter_input"),
    rare(lab("reply-loss from=n1 to=n2 at=destination percent=10", &[], &[at("n2", "reply", "netfilter_output", "NETFILTER_DROP")])).opens("maybe place n2 netfilter_output"),
    fast(seldom(lab("request-loss from=n1 to=n2 at=destination percent=1", &[], &[at("n2", "request", "netfilter_input", "NETFILTER_DROP")]))).opens("maybe place n2 netfilter_input"),
    fast(seldom(lab("reply-loss from=n1 to=n2 at=destination percent=1", &[], &[at("n2", "reply", "netfilter_output", "NETFILTER_DROP")]))).opens("maybe place n2 netfilter_output"),
    // The cable. The agents' session to the hub is IPv4 and must live.
    only(Families::V6, lab("loss node=n2 direction=in percent=100 family=ipv6", ICMP, &[wire("n2", "")])).opens("node n2 IPv6"),
    only(Families::V6, lab("loss node=n2 direction=out percent=100 family=ipv6", ICMP, &[wire("n2", "")])).opens("node n2 IPv6"),
    only(Families::V6, rare(lab("loss node=n2 direction=in percent=50 family=ipv6", ICMP, &[wire("n2", "")]))).opens("node n2 IPv6"),
    only(Families::V6, rare(lab("loss node=n2 direction=out percent=10 family=ipv6", &[], &[wire("n2", "")]))).opens("maybe node n2 IPv6"),
    // Nothing is lost by it.
    fast(harmless("duplicate node=n2")),
    fast(harmless("reorder node=n2 delay-ms=300")),
    // One of several parallel ways is dead. The losses themselves are of every eighth packet.
    Row { settle_s: 45, ..rare(lab("source-ports from=n1 to=n3", UDP, &[wire("n3", "request")])) }.opens("source_ports n1 n3"),
    // Links that take no large packets, and nobody says so.
    slow(lab("mtu-blackhole node=n2 mtu=1400 at=pods", ICMP, &[at("n2", "request", "routing|netfilter_forward", "PKT_TOO_BIG")])).opens("mtu n2"),
    slow(lab("mtu-blackhole node=n2 mtu=1400 at=cable", &["icmp", "udp"], &[wire("n2", ""), at("n2", "", "egress", "NOT_SPECIFIED")])).opens("mtu n2"),
    // What n2 answers to large packets is cut into pieces, and so is what it sends through a tunnel; a firewall takes none
    // of these.
    slow(lab("fragments-dropped node=n1 from=n2", &["icmp", "udp"], &[at("n1", "", "netfilter_prerouting", "NETFILTER_DROP")])).opens("mtu n1 netfilter_prerouting"),
    // Over IPv4 the way back from a pod cuts echo replies into pieces: they bear no DF.
    only(Families::V6, slow(lab("mtu-blackhole node=n2 mtu=1400", ICMP, &[at("n2", "reply", "routing|netfilter_forward", "PKT_TOO_BIG"), wire("n2", "")]))).opens("mtu n2"),
    // Routes.
    lab("route node=n3 type=blackhole to=n1", ALL, &[at("n3", "", "routing", DEAD), DISCARDED]).opens("place n3 routing"),
    lab("route node=n3 type=unreachable to=n1", ALL, &[at("n3", "", "routing", DEAD), DISCARDED, at("n3", "", "send", "EHOSTUNREACH")]).opens("place n3 routing"),
    lab("route node=n3 type=prohibit to=n1", ALL, &[at("n3", "", "routing", DEAD)]).opens("place n3 routing"),
    lab("route node=n3 type=throw to=n1", ALL, &[at("n3", "", "routing", DEAD)]).opens("place n3 routing"),
    lab("route node=n2 type=blackhole to=web-n2", POD, &[at("n2", "request", "routing", ""), TRANSLATED]).opens("place n2 routing"),
    lab("route node=n1 type=throw to=n2/pods", POD, &[at("n1", "", "routing", DEAD), TRANSLATED]).opens("place n1 routing"),
    // Its time to live runs out, or it comes back to the node whose own address it bears.
    lab("route-loop a=n1 b=n2 to=n3/pods", POD, &[at("n1|n2", "", "routing", "IP_INHDR|IP_LOCAL_SOURCE|routing loop")]).opens("pod_network n3"),
    only(Families::V4, lab("reverse-path node=n2 from=n1", ICMP, &[// n2's own way to n1 leads into its bridge, where nobody is n1.
        at("n2", "", "routing", "IP_RPFILTER"), at("n2", "", "neighbour", "NEIGH_"), at("n2", "", "send", "EHOSTUNREACH")])).opens("place n2 routing"),
    // Neighbours and links.
    lab("wrong-neighbour node=n1 to=n2", ICMP, &[wire("n1", ""), at("n2", "", "ingress", "OTHERHOST"), at("n1", "", "neighbour", "")]).opens("one_way n1>n2"),
    lab("wrong-neighbour node=n2 to=web-n2", POD, &[at("n2", "request", "ingress", "OTHERHOST")]).opens("place n2 web-n2"),
    lab("veth-down pod=web-n2", POD, &[at("n2", "request", "egress", "ENETDOWN")]).opens("place n2 egress"),
    lab("pod-link-down pod=web-n2", POD, &[at("n2", "request", "egress", "ENOLINK|NOT_SPECIFIED")]).opens("place n2 egress"),
    lab("uplink-down node=n3", ICMP, &[at("n3", "request", "routing", "ENETUNREACH|ENETDOWN"), NEIGHBOUR, NO_HOST]).opens("node n3"),
    lab("slow-link pod=web-n2", ICMP, &[at("n2", "request", "qdisc", "QDISC_")]).opens("place n2 qdisc"),
    // Other people's programs.
    foreign(At::TcIngress, &[at("n2", "reply", "ingress", "TC_INGRESS")]).opens("place n2 ingress"),
    foreign(At::TcEgress, &[at("n2", "request", "egress", "TC_EGRESS")]).opens("place n2 egress"),
    foreign(At::Xdp, &[at("n2", "reply", "ingress", "XDP|NOT_SPECIFIED")]).opens("place n2 ingress"),
    // Zones.
    lab("zone-cut a=zone-a b=zone-b", ALL, &[at("", "", "netfilter_prerouting", "NETFILTER_DROP")]).opens("link zone-a~zone-b"),
    lab("zone-cut a=zone-a b=zone-b proto=udp", UDP, &[at("", "", "netfilter_prerouting", "NETFILTER_DROP")]).opens("link zone-a~zone-b UDP"),
    // Tables and queues.
    lab("conntrack-full node=n2", ALL, &[at("n2", "", "netfilter_prerouting|netfilter_output", FILTERED)]).opens("place n2 netfilter"),
    // The kernel frees a SYN that the full queue takes no more as it frees one that it answered: no drop is reported,
    // and no other packet shows it. What is known is that it went into the pod and nothing came out.
    rare(lab("backend-stuck pod=web-n1", TCP, &[at("n1", "request", "socket", "")])).opens("backend web-n1"),
    // Services and DNS.
    lab("backend-refuses pod=web-n1", TCP, &[at("n1", "request", "socket", "")]).opens("backend web-n1"),
    // IPv6 gives up what waits for a neighbour without a reason (net/ipv6/ndisc.c, ndisc_error_report).
    rare(lab("backend-dead pod=web-n1", TCP, &[at("n1", "request", "neighbour", "NEIGH_|NOT_SPECIFIED"), RESTARTED])).opens("backend web-n1"),
    lab("no-endpoints service=web", TCP, &[at("", "request", "netfilter_output", "NETFILTER_DROP"), RESTARTED]).opens("service web:80"),
    lab("dns answer=servfail", DNS, &[at("n4", "", "application|socket", "")]).opens("dns_server"),
    lab("dns answer=nxdomain", DNS, &[at("n4", "", "application|socket", "")]).opens("dns_server"),
    lab("dns answer=silent", DNS, &[at("n4", "", "application|socket", "")]).opens("dns_server"),
    lab("dns answer=truncated", DNS_TCP, &[at("n4", "request", "netfilter_input", "NETFILTER_DROP"), RESTARTED]).opens("place n4 netfilter_input"),
    lab("dns answer=slow delay-ms=1000", DNS, &[at("n4", "", "application|socket", "")]).opens("dns_server"),
    // Programs and nodes that end, and a starved machine.
    row(FaultAction::Starve, &[], &[]).opens("none"),
    row(FaultAction::KillAgent("n2"), UDP, &[at("n2", "request", "socket", "")]).opens("place n2 socket"),
    Row { patience_s: 12, ..row(FaultAction::KillNode("n3"), ICMP, &[NEIGHBOUR, NO_HOST]).opens("node n3") },
];
