//! Faults that people and programs make with one command: an address, a rule, a policy, a queue or a link is not what it
//! was. Each is done in the lab with the very command.

use super::{Families, ICMP, POD, Row, TCP, UDP, at, by_command as on, only, overlay, rare, slow, wire};

/// The tunnel's device gets another hardware address: others still send to the old one, and the kernel forgets what the
/// device knew of its neighbours (net/core/neighbour.c, neigh_changeaddr).
const VTEP: [&str; 2] = [
    "ip -br link show flannel.1 | awk '{print $3}' > /tmp/netcheck-lab-vtep; ip neigh show dev flannel.1 nud permanent > /tmp/netcheck-lab-neigh; ip link set flannel.1 address 02:ee:00:00:00:99",
    "ip link set flannel.1 address $(cat /tmp/netcheck-lab-vtep); awk '{print $1, $3}' /tmp/netcheck-lab-neigh | while read to mac; do ip neigh replace $to lladdr $mac dev flannel.1 nud permanent; done",
];
/// What is for n2's tunnel goes to an address that nobody has.
const FDB: [&str; 2] = [
    "bridge fdb replace $(bridge fdb show dev flannel.1 | awk '/172.30.0.12/{print $1; exit}') dev flannel.1 dst 172.30.0.99",
    "bridge fdb replace $(bridge fdb show dev flannel.1 | awk '/172.30.0.99/{print $1; exit}') dev flannel.1 dst 172.30.0.12",
];
/// Left by another address plan: it covers some of a peer's pods.
const PART: [&str; 2] = ["ip route add blackhole 10.244.2.10/31", "ip route del blackhole 10.244.2.10/31"];
const BRIDGE_RULE: [&str; 2] = [
    "nft 'add table bridge lab_hand; add chain bridge lab_hand o { type filter hook output priority 0; }; add rule bridge lab_hand o oifname vethweb-n2 drop'",
    "nft delete table bridge lab_hand",
];
const NETDEV_RULE: [&str; 2] = [
    "nft 'add table netdev lab_hand; add chain netdev lab_hand i { type filter hook ingress device eth0 priority 0; }; add rule netdev lab_hand i ip protocol icmp ip saddr 172.30.0.11 drop'",
    "nft delete table netdev lab_hand",
];
const LONG: [&str; 2] = [
    "nft 'add table inet lab_hand; add chain inet lab_hand i { type filter hook input priority 0; }; add rule inet lab_hand i meta l4proto { icmp, ipv6-icmp, udp } meta length > 1000 drop'",
    "nft delete table inet lab_hand",
];
const TTL: [&str; 2] = [
    "nft 'add table ip lab_hand; add chain ip lab_hand p { type filter hook postrouting priority -150; }; add rule ip lab_hand p ip daddr 10.244.2.0/24 ip ttl set 1'",
    "nft delete table ip lab_hand",
];
const LIMIT: [&str; 2] = [
    "nft 'add table inet lab_hand; add chain inet lab_hand i { type filter hook input priority 0; }; add rule inet lab_hand i icmp type echo-request limit rate over 1/second burst 1 packets drop'",
    "nft delete table inet lab_hand",
];
/// The bridge's hardware address is another since the pod learnt it.
const POD_NEIGHBOUR: [&str; 2] = [
    "ip neigh replace 10.244.2.1 lladdr 02:ee:00:00:00:98 dev eth0 nud permanent",
    "ip neigh del 10.244.2.1 dev eth0; true",
];
const UPLINK_MTU: [&str; 2] = ["ip link set eth0 mtu 1400", "ip link set eth0 mtu 1500"];
const XFRM_OUT: [&str; 2] = [
    "ip xfrm policy add dir out src 172.30.0.11/32 dst 172.30.0.12/32 action block",
    "ip xfrm policy deleteall",
];
const XFRM_IN: [&str; 2] = [
    "ip xfrm policy add dir in src 172.30.0.11/32 dst 172.30.0.12/32 action block",
    "ip xfrm policy deleteall",
];
/// Encryption is asked for and no key is there.
const XFRM_STATE: [&str; 2] = [
    "ip xfrm policy add dir out src 172.30.0.11/32 dst 172.30.0.12/32 tmpl src 172.30.0.11 dst 172.30.0.12 proto esp mode transport",
    "ip xfrm policy deleteall",
];
const IPTABLES: [&str; 2] = [
    "iptables -I FORWARD -d 10.244.2.0/24 -p tcp -m comment --comment 'quarantine 4711' -j DROP && ip6tables -I FORWARD -d fd00:10:244:2::/64 -p tcp -m comment --comment 'quarantine 4711' -j DROP",
    "iptables -D FORWARD -d 10.244.2.0/24 -p tcp -m comment --comment 'quarantine 4711' -j DROP; ip6tables -D FORWARD -d fd00:10:244:2::/64 -p tcp -m comment --comment 'quarantine 4711' -j DROP",
];
/// Its addresses of IPv6 would go with it.
const BRIDGE_DOWN: [&str; 2] = [
    "echo 1 > /proc/sys/net/ipv6/conf/cni0/keep_addr_on_down; ip link set cni0 down",
    "ip link set cni0 up; ip -6 route replace fd00:10:244:2::/64 dev cni0",
];
const DETACHED: [&str; 2] = [
    "ip link set vethweb-n2 nomaster",
    "ip link set vethweb-n2 master cni0 && bridge link set dev vethweb-n2 hairpin on",
];
const BLOCKED_PORT: [&str; 2] =
    ["bridge link set dev vethweb-n2 state 0", "bridge link set dev vethweb-n2 state 3"];
const ADDRESS_GONE: [&str; 2] = [
    "ip addr del 10.244.2.11/24 dev eth0",
    "ip addr add 10.244.2.11/24 dev eth0 && ip route replace default via 10.244.2.1",
];
/// The node hears no answers about hardware addresses any more, and has forgotten those that it knew.
const ARP: [&str; 2] = [
    "nft 'add table arp lab_hand; add chain arp lab_hand i { type filter hook input priority 0; policy drop; }' && ip -4 neigh flush dev eth0",
    "nft delete table arp lab_hand",
];
const RAW_UDP: [&str; 2] = [
    "nft 'add table inet lab_hand; add chain inet lab_hand p { type filter hook prerouting priority -300; }; add rule inet lab_hand p iifname eth0 udp dport 6100 drop'",
    "nft delete table inet lab_hand",
];
/// A node claims another's address for itself.
const CLAIMED: [&str; 2] = ["ip addr add 172.30.0.12/32 dev lo", "ip addr del 172.30.0.12/32 dev lo"];

/// The node's own address goes, and the default route with it. Its address of the other family stays.
const NO_ADDRESS: [&str; 2] = [
    "ip -4 route show default > /tmp/netcheck-lab-default; ip addr del 172.30.0.13/24 dev eth0",
    "ip addr add 172.30.0.13/24 dev eth0; ip route replace $(cat /tmp/netcheck-lab-default)",
];
/// A peer's hardware address was set by hand, and the machine was replaced since.
const NODE_NEIGHBOUR: [&str; 2] = [
    "ip neigh replace 172.30.0.12 lladdr 02:ee:00:00:00:97 dev eth0 nud permanent",
    "ip neigh del 172.30.0.12 dev eth0; true",
];
/// A firewall of the machine that knows nothing of the overlay.
const NO_OVERLAY_OUT: [&str; 2] = [
    "nft 'add table netdev lab_hand; add chain netdev lab_hand e { type filter hook egress device eth0 priority 0; }; add rule netdev lab_hand e udp dport 8472 drop'",
    "nft delete table netdev lab_hand",
];
const NO_OVERLAY_IN: [&str; 2] = [
    "nft 'add table ip lab_hand; add chain ip lab_hand p { type filter hook prerouting priority -300; }; add rule ip lab_hand p udp dport 8472 drop'",
    "nft delete table ip lab_hand",
];
/// What leaves through the tunnel waits behind a rate that is far too low.
const SLOW_TUNNEL: [&str; 2] = [
    "tc qdisc replace dev flannel.1 root tbf rate 1kbit burst 1600 limit 1700",
    "tc qdisc del dev flannel.1 root",
];

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    overlay(only(Families::V4, on("n1", FDB, POD, &[wire("n1", ""), at("n1", "", "neighbour|send", "")])).opens("one_way|place n1|n1>n2 ICMP?").by("neighbour n1 172.30.0.99")),
    only(Families::V4, on("n1", PART, POD, &[at("n1", "", "routing|netfilter_output", "")])).opens("place n1 routing"),
    on("n2", BRIDGE_RULE, POD, &[at("n2", "request", "bridge_output", "NETFILTER_DROP")]).opens("place n2 bridge_output").by("rule n2 lab_hand"),
    only(Families::V4, on("n2", NETDEV_RULE, ICMP, &[at("n2", "", "netdev", "NETFILTER_")])).opens("place n2 netdev_ingress"),
    slow(on("n2", LONG, ICMP, &[at("n2", "", "netfilter_input", "NETFILTER_DROP")])).opens("mtu n2 netfilter_input"),
    only(Families::V4, on("n1", TTL, POD, &[at("n2", "", "routing", "IP_INHDR|NOT_SPECIFIED")])).opens("place n2 routing"),
    only(Families::V4, rare(on("n2", LIMIT, ICMP, &[at("n2", "request", "netfilter_input", "NETFILTER_DROP")]))).opens("place n2 netfilter_input"),
    only(Families::V4, on("web-n2", POD_NEIGHBOUR, POD, &[at("n2", "reply", "", "")])).opens("place|target|backend n2|web-n2 IPv4").by("neighbour n2 10.244.2.1"),
    slow(on("n2", UPLINK_MTU, ICMP, &[wire("n2", ""), at("n2", "", "", "")])).opens("mtu n2").by("interface n2 eth0 1400"),
    only(Families::V4, on("n1", XFRM_OUT, ICMP, &[at("n1", "", "", "XFRM|EPERM|IP_OUTNOROUTES|NOT_SPECIFIED")])).opens("place n1").by("ipsec n1 172.30.0.12 block"),
    only(Families::V4, on("n2", XFRM_IN, ICMP, &[at("n2", "", "", "XFRM")])).opens("place n2").by("ipsec n2 dir|in block"),
    only(Families::V4, on("n1", XFRM_STATE, ICMP, &[at("n1", "", "", "")])).opens("place n1").by("ipsec n1 esp 172.30.0.12"),
    on("n2", IPTABLES, TCP, &[at("n2", "request", "netfilter_forward", "NETFILTER_DROP")]).opens("place n2 netfilter_forward").by("rule n2 FORWARD"),
    on("n2", DETACHED, POD, &[at("n2", "request", "neighbour|egress|send", "")]).opens("place|target n2|web-n2").by("interface n2 vethweb-n2"),
    on("n2", BLOCKED_PORT, POD, &[at("n2", "", "", "")]).opens("place n2").by("interface n2 vethweb-n2"),
    only(Families::V4, on("web-n2", ADDRESS_GONE, POD, &[at("n2", "request", "routing", "IP_INADDRERRORS")])).opens("place n2 routing"),
    only(Families::V4, on("n3", ARP, ICMP, &[at("n3", "", "neighbour|send", "")])).opens("node n3 IPv4"),
    on("n2", RAW_UDP, UDP, &[at("n2", "request", "netfilter_prerouting", "NETFILTER_DROP")]).opens("place n2 netfilter_prerouting").by("rule n2 lab_hand"),
    only(Families::V4, on("n3", CLAIMED, UDP, &[at("n3", "", "routing", "IP_LOCAL_SOURCE|IP_INHDR|NOT_SPECIFIED")])).opens("place n3 IP_LOCAL_SOURCE").by("interface n3 172.30.0.12 lo"),
    on("n2", BRIDGE_DOWN, POD, &[at("n2", "", "", ""), at("fd00:172:30::1", "", "routing", "")]).opens("pod_network|place|node n2").by("interface n2 cni0"),
    overlay(on("n2", VTEP, POD, &[at("n2", "", "ingress", "OTHERHOST"), at("n2", "", "neighbour", "NEIGH_|NOT_SPECIFIED"), at("n2", "", "send|netfilter_output", "")]).opens("pod_network n2")),
    only(Families::V4, on("n3", NO_ADDRESS, ICMP, &[at("n3", "", "", ""), wire("n3", "")])).opens("node|place n3"),
    only(Families::V4, on("n1", NODE_NEIGHBOUR, ICMP, &[wire("n1", ""), at("n1", "", "", ""), at("n2", "", "", "OTHERHOST")])).opens("one_way|place|link n1>n2|n1~n2|n1|n2 IPv4").by("neighbour n1 172.30.0.12"),
    overlay(on("n3", NO_OVERLAY_OUT, POD, &[at("n3", "", "netdev_egress|egress", "")]).opens("place n3 netdev_egress").by("rule n3 lab_hand")),
    overlay(on("n4", NO_OVERLAY_IN, POD, &[at("n4", "", "netfilter_prerouting", "NETFILTER_DROP")]).opens("place n4 netfilter_prerouting").by("rule n4 lab_hand")),
    overlay(rare(on("n2", SLOW_TUNNEL, &[], &[at("n2", "", "qdisc", "")])).opens("place n2 qdisc").by("queue n2 tbf")),
];
