//! Faults as operators meet them: a change on one node that shows on another, one that hurts a family or a layer alone, two
//! at once. Each says what is true before anybody tried it.

use super::{
    ALL, Change, DNS, FILTERED, Families, ICMP, POD, Row, TCP, at, commands, only, rare, several, slow, wire,
};

const fn change(at: &'static str, inject: &'static str, heal: &'static str) -> Change {
    Change { at, inject, heal }
}

const NO_TABLE: &str = "nft delete table inet lab_field";
const NO_IP_TABLE: &str = "nft delete table ip lab_field";

/// What n2 sends to n1 takes a detour over n4, whose filter wants to have seen both ways of a connection.
const DETOUR: &[Change] = &[
    change(
        "n4",
        "nft 'add table inet lab_field; add chain inet lab_field f { type filter hook forward priority -10; }; add rule inet lab_field f ct state invalid drop'",
        NO_TABLE,
    ),
    change(
        "n2",
        "ip rule add pref 50 to 172.30.0.11 lookup 77 && ip route add default via 172.30.0.14 dev eth0 table 77",
        "ip rule del pref 50; ip route flush table 77; true",
    ),
];
/// Without a connection there is no translation: a raw rule meant for the load of something else.
const NOTRACK: [&str; 2] = [
    "nft 'add table ip lab_field; add chain ip lab_field o { type filter hook output priority -300; }; add chain ip lab_field p { type filter hook prerouting priority -300; }; add rule ip lab_field o ip daddr 10.96.0.0/16 notrack; add rule ip lab_field p ip daddr 10.96.0.0/16 notrack'",
    NO_IP_TABLE,
];
/// A filter that knows no neighbour discovery. What was known is forgotten.
const NO_NDP: &[Change] = &[
    change(
        "n2",
        "nft 'add table inet lab_field; add chain inet lab_field i { type filter hook input priority 0; }; add rule inet lab_field i iifname eth0 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } drop' && ip -6 neigh flush dev eth0",
        NO_TABLE,
    ),
    change("n1", "ip -6 neigh flush dev eth0", "true"),
    change("n3", "ip -6 neigh flush dev eth0", "true"),
    change("n4", "ip -6 neigh flush dev eth0", "true"),
];
/// One node's proxy missed that an endpoint is gone, and sends a third of all connections there.
const GONE_ENDPOINT: [&str; 2] = [
    "nft 'add table ip lab_field; add chain ip lab_field o { type nat hook output priority -110; }; add rule ip lab_field o ip daddr 10.96.0.20 tcp dport 80 numgen random mod 3 0 dnat to 10.244.2.77:8080'",
    NO_IP_TABLE,
];
const XFRM_FORWARD: [&str; 2] = [
    "ip xfrm policy add dir fwd dst 10.244.2.0/24 action block && ip xfrm policy add dir fwd dst fd00:10:244:2::/64 action block",
    "ip xfrm policy deleteall",
];
/// What a program marks goes to a table of its own, and that program is gone.
const MARKED: [&str; 2] = [
    "nft 'add table ip lab_field; add chain ip lab_field o { type route hook output priority mangle; }; add rule ip lab_field o ip daddr 172.30.0.13 meta mark set meta mark or 0x100' && ip rule add pref 60 fwmark 0x100/0x100 lookup 88 && ip route add blackhole default table 88",
    "nft delete table ip lab_field; ip rule del pref 60; ip route flush table 88; true",
];
/// Addresses that somebody blocked are in a map.
const VERDICTS: [&str; 2] = [
    "nft 'add table ip lab_field; add map ip lab_field m { type ipv4_addr : verdict; }; add element ip lab_field m { 10.244.3.11 : drop, 192.0.2.1 : accept }; add chain ip lab_field f { type filter hook forward priority -5; }; add rule ip lab_field f ip daddr vmap @m'",
    NO_IP_TABLE,
];
/// Between the pods of one node, which no routing sees.
const SAME_NODE: [&str; 2] = [
    "nft 'add table bridge lab_field; add chain bridge lab_field f { type filter hook forward priority 0; }; add set bridge lab_field open { type ipv4_addr; }; add rule bridge lab_field f oifname vethweb-n2 tcp dport 8080 ip saddr != @open drop'",
    "nft delete table bridge lab_field",
];
/// A capture that takes the packets and does not copy them.
const MIRROR: [&str; 2] = [
    "tc qdisc add dev eth0 ingress && tc filter add dev eth0 parent ffff: protocol ip pref 7 u32 match ip src 172.30.0.11/32 action mirred egress redirect dev lo",
    "tc qdisc del dev eth0 ingress",
];
/// Somebody who looked for the cause of something else.
const ROUTE_MTU: [&str; 2] = [
    "ip route show 10.244.2.0/24 > \"/tmp/netcheck-lab-$(readlink /proc/self/ns/net)\" && ip route replace $(cat \"/tmp/netcheck-lab-$(readlink /proc/self/ns/net)\") mtu lock 1300",
    "ip route replace $(cat \"/tmp/netcheck-lab-$(readlink /proc/self/ns/net)\")",
];
/// A route by hand over a gateway that is switched off since.
const OLD_GATEWAY: [&str; 2] = [
    "ip route show 10.244.3.0/24 > \"/tmp/netcheck-lab-$(readlink /proc/self/ns/net)\" && ip route replace 10.244.3.0/24 via 172.30.0.99 dev eth0",
    "ip route replace $(cat \"/tmp/netcheck-lab-$(readlink /proc/self/ns/net)\")",
];
/// Two people change something at the same time.
const TWO: &[Change] = &[
    change(
        "n2",
        "nft 'add table inet lab_field; add chain inet lab_field f { type filter hook forward priority -10; }; add rule inet lab_field f tcp dport 8080 drop'",
        NO_TABLE,
    ),
    change(
        "n4",
        "nft 'add table inet lab_field; add chain inet lab_field i { type filter hook input priority -10; }; add rule inet lab_field i ip saddr 172.30.0.11 icmp type echo-request drop'",
        NO_TABLE,
    ),
];
/// A rule of n2 and, beside it, a switch that loses the same kind of packets from another node: no kernel of a node reports
/// those.
const RULE_AND_SWITCH: &[Change] = &[
    change(
        "n2",
        "nft 'add table inet lab_field; add chain inet lab_field i { type filter hook input priority -10; }; add rule inet lab_field i ip saddr 172.30.0.13 icmp type echo-request drop'",
        NO_TABLE,
    ),
    change(
        "net",
        "nft 'add table bridge lab_field; add chain bridge lab_field f { type filter hook forward priority 0; }; add rule bridge lab_field f ip saddr 172.30.0.11 ip daddr 172.30.0.12 icmp type echo-request drop'",
        "nft delete table bridge lab_field",
    ),
];
/// Ports of a bridge that may not speak with each other.
const ISOLATED: [&str; 2] = [
    "bridge link set dev vethweb-n2 isolated on && bridge link set dev vethvantage-n2 isolated on",
    "bridge link set dev vethweb-n2 isolated off && bridge link set dev vethvantage-n2 isolated off",
];
/// The bridge neither learns where the pod is nor asks for it.
const UNKNOWN_PORT: [&str; 2] = [
    "bridge link set dev vethweb-n2 learning off flood off && bridge fdb flush dev cni0 brport vethweb-n2 dynamic",
    "bridge link set dev vethweb-n2 learning on flood on",
];
/// What comes in is another zone's than what went out: no answer belongs to a connection.
const ZONE: [&str; 2] = [
    "nft 'add table ip lab_field; add chain ip lab_field p { type filter hook prerouting priority -300; }; add rule ip lab_field p iifname { eth0, flannel.1 } ct zone set 7'",
    NO_IP_TABLE,
];
/// A filter for what the node itself sends, with what its owner thought of.
const POLICY: [&str; 2] = [
    "nft 'add table inet lab_field; add chain inet lab_field o { type filter hook output priority 10; policy drop; }; add rule inet lab_field o ct state established,related accept; add rule inet lab_field o tcp dport 7070 accept; add rule inet lab_field o udp dport 8472 accept; add rule inet lab_field o oifname lo accept; add rule inet lab_field o icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit } accept'",
    NO_TABLE,
];
/// Hardening that was meant for another machine.
const NO_IPV6: [&str; 2] = [
    "ip -6 route show dev eth0 | grep -v '^fe80' > \"/tmp/netcheck-lab-$(readlink /proc/self/ns/net)\"; echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6",
    "echo 0 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6; ip -6 addr replace fd00:172:30::12/64 dev eth0 nodad; while read route; do ip -6 route replace $route dev eth0; done < \"/tmp/netcheck-lab-$(readlink /proc/self/ns/net)\"",
];

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    // What one node does shows on another.
    only(Families::V4, several(DETOUR, POD, &[at("n4", "reply", "netfilter_forward", "NETFILTER_DROP")])).opens("place n4 netfilter_forward").by("rule n4 lab_field"),
    Row { patience_s: 25, ..only(Families::V6, several(NO_NDP, ICMP, &[at("", "", "neighbour", ""), at("", "", "send", "EHOSTUNREACH"), at("n2", "", "netfilter_input", "NETFILTER_DROP"), wire("n2", "")])) }.opens("node n2 IPv6"),
    only(Families::V6, commands("n2", NO_IPV6[0], NO_IPV6[1], ICMP, &[at("", "", "neighbour", ""), at("", "", "send", ""), at("n2", "", "", ""), wire("n2", "")])).opens("node|place n2 IPv6?").by("sysctl|interface|route n2"),
    commands("n3", POLICY[0], POLICY[1], ALL, &[at("n3", "request", "netfilter_output|send", FILTERED)]).opens("place n3 netfilter_output").by("policy n3 lab_field"),
    // Routes, marks and policies.
    only(Families::V4, commands("n1", MARKED[0], MARKED[1], ALL, &[at("n1", "", "routing|send|netfilter_output", "")])).opens("place n1").by("routing_rule n1 60 88"),
    commands("n2", XFRM_FORWARD[0], XFRM_FORWARD[1], POD, &[at("n2", "", "", "XFRM")]).opens("place n2").by("n2 policy block"),
    only(Families::V4, commands("n1", OLD_GATEWAY[0], OLD_GATEWAY[1], POD, &[at("n1", "", "neighbour|send", "")])).opens("one_way|link|place n1|n1>n3|n1~n3 IPv4?").by("neighbour n1 172.30.0.99"),
    only(Families::V4, slow(commands("n1", ROUTE_MTU[0], ROUTE_MTU[1], ICMP, &[at("n1", "", "send|routing", "")]))).opens("mtu n1").by("route n1 1300"),
    // Filters by what they are made of.
    only(Families::V4, commands("n3", VERDICTS[0], VERDICTS[1], POD, &[at("n3", "", "netfilter_forward", "NETFILTER_DROP")])).opens("place n3 netfilter_forward").by("rule n3 lab_field"),
    only(Families::V4, commands("n2", SAME_NODE[0], SAME_NODE[1], TCP, &[at("n2", "request", "bridge_forward", "NETFILTER_DROP")])).opens("place n2 bridge_forward").by("rule n2 lab_field"),
    only(Families::V4, commands("n3", MIRROR[0], MIRROR[1], ALL, &[at("n3", "", "ingress", "")])).opens("place|one_way|link n3|n1>n3|n1~n3 IPv4?").by("program n3 eth0"),
    // Ports of a bridge.
    commands("n2", ISOLATED[0], ISOLATED[1], POD, &[at("n2", "", "ingress|egress|bridge", "")]).opens("place|target|pod_network n2|web-n2").by("interface n2 isolated"),
    commands("n2", UNKNOWN_PORT[0], UNKNOWN_PORT[1], POD, &[at("n2", "request", "egress|neighbour", "")]).opens("place|target|backend n2|web-n2").by("interface n2 vethweb-n2"),
    // Translation.
    only(Families::V4, commands("n1", NOTRACK[0], NOTRACK[1], DNS, &[at("", "request", "", "")])).opens("service|target|node|place n1 IPv4?"),
    only(Families::V4, rare(commands("n3", GONE_ENDPOINT[0], GONE_ENDPOINT[1], TCP, &[at("n2", "request", "neighbour", "NEIGH_")]))).opens("service|target|backend n3|10.244.2.77 IPv4?"),
    only(Families::V4, commands("n2", ZONE[0], ZONE[1], DNS, &[at("n2", "reply", "", "")])).opens("place|service|target|node n2 IPv4?"),
    // Two at once.
    several(TWO, TCP, &[at("n2", "request", "netfilter_forward", "NETFILTER_DROP"), at("n4", "request", "netfilter_input", "NETFILTER_DROP")]).opens("place n2 netfilter_forward + place n4 netfilter_input").by("rule n2 lab_field + rule n4 lab_field"),
    only(Families::V4, several(RULE_AND_SWITCH, ICMP, &[at("n2", "request", "netfilter_input", "NETFILTER_DROP"), wire("n1", "request")])).opens("place n2 netfilter_input + one_way|link|target n1|n1>n2|n1~n2 ICMP? IPv4?").by("rule n2 lab_field"),
];
