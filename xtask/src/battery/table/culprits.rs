//! Faults whose object an agent must name, by what the lab did: the interface, the rule, the program that it knows to be there.

use super::{
    ALL, At, FILTERED, Families, FaultAction, ICMP, POD, Place, Row, TCP, at, commands, lab, only, rare, row,
    slow, wire,
};

/// A table of its own, which leads nowhere, for one node's pods.
const RULE: &str =
    "ip rule add pref 100 to 10.244.2.0/24 lookup 99 && ip route add blackhole default table 99";
const NO_RULE: &str = "ip rule del pref 100; ip route flush table 99; true";
/// A rule that leads nowhere itself.
const PROHIBIT: &str = "ip -6 rule add pref 90 to fd00:10:244:2::/64 prohibit";
const NO_PROHIBIT: &str = "ip -6 rule del pref 90; true";
/// A queue that takes one packet.
const QUEUE: &str = "tc qdisc replace dev vethweb-n2 root tbf rate 2kbit burst 400 limit 400";
const NO_QUEUE: &str = "tc qdisc del dev vethweb-n2 root; true";
/// A pod that has lost its way out.
const NO_WAY: &str = "ip route del default";
const WAY: &str = "ip route replace default via 10.244.2.1";

/// What n3 itself sends to a service's backend there: the translation finds no route.
const BY_N3: Place = at("n3", "request", "netfilter_output", "NETFILTER_DROP");

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    // Routes and rules.
    only(Families::V4, commands("n3", RULE, NO_RULE, POD, &[at("n3", "", "routing", ""), BY_N3])).opens("place n3 routing").by("routing_rule n3 100 99"),
    only(Families::V6, commands("n3", PROHIBIT, NO_PROHIBIT, POD, &[at("n3", "", "routing|send", ""), BY_N3])).opens("place n3 routing").by("routing_rule n3 90"),
    lab("route node=n3 type=blackhole to=n1", ALL, &[at("n3", "", "routing", ""), at("n3", "reply", "routing", "")]).opens("place n3 routing").by("route n3 blackhole"),
    // Queues and links.
    commands("n2", QUEUE, NO_QUEUE, ICMP, &[at("n2", "request", "qdisc", "QDISC_")]).opens("place n2 qdisc").by("queue n2 tbf vethweb-n2 400"),
    lab("veth-down pod=web-n2", POD, &[at("n2", "request", "egress", "ENETDOWN")]).opens("place n2 egress").by("interface n2 vethweb-n2 down"),
    lab("pod-link-down pod=web-n2", POD, &[at("n2", "request", "egress", "ENOLINK|NOT_SPECIFIED")]).opens("place n2 egress").by("interface n2 vethweb-n2 carrier"),
    slow(lab("mtu-blackhole node=n2 mtu=1400 at=pods", ICMP, &[at("n2", "request", "routing|netfilter_forward", "PKT_TOO_BIG")])).opens("mtu n2").by("interface n2 cni0 1400"),
    // Programs.
    row(FaultAction::Foreign { node: "n2", interface: "vethweb-n2", at: At::TcEgress }, POD, &[at("n2", "request", "egress", "TC_EGRESS")]).opens("place n2 egress").by("program n2 tcx egress vethweb-n2"),
    row(FaultAction::Foreign { node: "n2", interface: "vethweb-n2", at: At::Xdp }, POD, &[at("n2", "reply", "ingress", "XDP|NOT_SPECIFIED")]).opens("place n2 ingress").by("program n2 XDP vethweb-n2"),
    // Neighbours.
    lab("wrong-neighbour node=n1 to=n2", ICMP, &[wire("n1", ""), at("n2", "", "ingress", "OTHERHOST"), at("n1", "", "neighbour", "")]).opens("one_way n1>n2").by("neighbour n1|n2 PERMANENT"),
    // Tables and sockets.
    lab("conntrack-full node=n2", ALL, &[at("n2", "", "netfilter_prerouting|netfilter_output", FILTERED)]).opens("place n2 netfilter").by("conntrack n2 full"),
    rare(lab("backend-stuck pod=web-n1", TCP, &[at("n1", "request", "socket", "")])).opens("backend web-n1").by("socket n1 queue 8080"),
    // Of a pod's own network.
    lab("pod-mask pod=web-n2", POD, &[at("n2", "reply", "neighbour", "NEIGH_|NOT_SPECIFIED"), at("n2", "reply", "send|routing", "EHOSTUNREACH")]).opens("place n2 web-n2").by("route n2 link"),
    only(Families::V4, commands("web-n2", NO_WAY, WAY, POD, &[at("n2", "reply", "", "")])).opens("place|target|backend n2|web-n2 IPv4").by("route n2 default"),
    only(Families::V6, lab("dad-failed pod=web-n2", POD, &[at("n2", "request", "neighbour", "NEIGH_"), at("n2", "request", "send", "EHOSTUNREACH")])).opens("place|target n2|web-n2 IPv6").by("interface n2 duplicate"),
];
