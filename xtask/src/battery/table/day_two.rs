//! Faults of a cluster's second day: what an upgrade, a VPN, a restarted network manager, a node that joined again or another
//! firewall left behind. Each says what is true before anybody tried it.

use super::{
    Change, DNS, DNS_TCP, Families, ICMP, NO_HOST, POD, Row, TCP, at, by_command as on, only, overlay, rare,
    several, wire,
};

const NO_TABLE: &str = "nft delete table ip lab_day_two";

/// A VPN client in a pod took all routes, and its tunnel has no other end any more.
const VPN_IN_POD: [&str; 2] = [
    "ip tuntap add dev tun0 mode tun && ip link set tun0 up && ip addr add 10.8.0.6/24 dev tun0 && ip route add 0.0.0.0/1 dev tun0 && ip route add 128.0.0.0/1 dev tun0",
    "ip tuntap del dev tun0 mode tun",
];
/// What a pod sends takes a detour over a queue, whose rate was meant in another unit.
const BANDWIDTH: [&str; 2] = [
    "ip link add bwp0c9f2a1b type ifb && ip link set bwp0c9f2a1b up && tc qdisc add dev bwp0c9f2a1b root tbf rate 8kbit burst 400 limit 160 && tc qdisc add dev vethweb-n2 ingress && tc filter add dev vethweb-n2 parent ffff: protocol all u32 match u32 0 0 action mirred egress redirect dev bwp0c9f2a1b",
    "tc qdisc del dev vethweb-n2 ingress; ip link del bwp0c9f2a1b",
];
/// The DNS server's process is stopped: its kernel takes questions and connections, and nobody reads them.
const STOPPED: [&str; 2] = [
    "kill -STOP $(ss -Hlnup 'sport = :53' | grep -o 'pid=[0-9]*' | cut -d= -f2 | sort -u)",
    "kill -CONT $(ss -Hlnup 'sport = :53' | grep -o 'pid=[0-9]*' | cut -d= -f2 | sort -u)",
];
/// The DNS server's answers bear another address of its pod than the one that was asked, but for those on its own link. TCP
/// is well.
const OTHER_ADDRESS: [&str; 2] = [
    "ip addr add 10.244.4.50/24 dev eth0 && ip route replace default via 10.244.4.1 src 10.244.4.50",
    "ip route replace default via 10.244.4.1; ip addr del 10.244.4.50/24 dev eth0",
];
/// A pod that is gone had this address before, and the route to its link stayed.
const STALE_VETH: [&str; 2] = [
    "ip link add vethc0ffee12 type veth peer name vethc0ffee12p && ip link set vethc0ffee12 up && ip route add 10.244.2.11/32 dev vethc0ffee12",
    "ip link del vethc0ffee12",
];
/// A firewall that knows no zone for the pods' interfaces: it lets known connections and translated ones pass, and no
/// neighbour discovery between pods of the node.
const FIREWALLD: [&str; 2] = [
    "nft 'add table inet firewalld; add chain inet firewalld filter_FORWARD { type filter hook forward priority 10; }; add rule inet firewalld filter_FORWARD ct state { established, related } accept; add rule inet firewalld filter_FORWARD ct status dnat accept; add rule inet firewalld filter_FORWARD reject with icmpx admin-prohibited'",
    "nft delete table inet firewalld",
];
/// Who connects more often than a person would is shut out for five minutes.
const BANNED: [&str; 2] = [
    "nft 'add table ip lab_day_two; add set ip lab_day_two seen { type ipv4_addr; size 1024; flags dynamic; }; add set ip lab_day_two banned { type ipv4_addr; size 1024; flags dynamic, timeout; timeout 5m; }; add chain ip lab_day_two f { type filter hook forward priority -5; }; add rule ip lab_day_two f tcp dport 8080 ip saddr @banned drop; add rule ip lab_day_two f tcp dport 8080 ct state new add @seen { ip saddr limit rate over 2/minute burst 2 packets } add @banned { ip saddr }'",
    NO_TABLE,
];
/// A transparent proxy was removed, and its rule was not: without a socket to give the packet to, it drops.
const TPROXY: [&str; 2] = [
    "iptables -t mangle -A PREROUTING -d 10.244.2.0/24 -p tcp --dport 8080 -m comment --comment 'TPROXY to host proxy' -j TPROXY --on-port 15001 --tproxy-mark 0x200",
    "iptables -t mangle -D PREROUTING -d 10.244.2.0/24 -p tcp --dport 8080 -m comment --comment 'TPROXY to host proxy' -j TPROXY --on-port 15001 --tproxy-mark 0x200",
];
/// Another container engine was updated: it forbids forwarding of IPv6 alone, and reloaded its chains over those of the CNI.
const DOCKER_IPV6: [&str; 2] = [
    "ip6tables -P FORWARD DROP && { ip6tables -D FORWARD -m comment --comment 'flanneld forward' -j FLANNEL-FWD 2>/dev/null; true; }",
    "if ip6tables -nL FLANNEL-FWD >/dev/null 2>&1; then ip6tables -A FORWARD -m comment --comment 'flanneld forward' -j FLANNEL-FWD; fi; ip6tables -P FORWARD ACCEPT",
];
/// The distribution's upgrade changed the tool to nftables, and what the old one set is in force still.
const LEGACY: [&str; 2] = ["iptables-legacy -P FORWARD DROP", "iptables-legacy -P FORWARD ACCEPT"];
/// Somebody in the VPN announces a network that covers all pods, and its table comes before the main one.
const TAILNET: [&str; 2] = [
    "ip tuntap add dev tailscale0 mode tun && ip link set tailscale0 up && ip addr add 100.64.0.13/32 dev tailscale0 && ip route add 10.244.0.0/16 dev tailscale0 table 52 && ip rule add pref 5270 lookup 52",
    "ip rule del pref 5270; ip tuntap del dev tailscale0 mode tun; ip route flush table 52 2>/dev/null; true",
];
/// Of two ways to a node's pods one ends at a router that is gone; connections are dealt to both.
const ONE_OF_TWO: [&str; 2] = [
    "f=\"/tmp/netcheck-lab-$(readlink /proc/self/ns/net)\"; ip route show 10.244.2.0/24 > \"$f\" && echo 1 > /proc/sys/net/ipv4/fib_multipath_hash_policy && ip route replace 10.244.2.0/24 nexthop $(cut -d' ' -f2- \"$f\") nexthop via 172.30.0.99 dev eth0",
    "ip route replace $(cat \"/tmp/netcheck-lab-$(readlink /proc/self/ns/net)\"); echo 0 > /proc/sys/net/ipv4/fib_multipath_hash_policy",
];
/// A router's advertisement said how far packets may go: to the next node, and not to its pods.
const HOP_LIMIT: [&str; 2] = [
    "for link in eth0 flannel.1; do f=/proc/sys/net/ipv6/conf/$link/hop_limit; [ ! -e $f ] || echo 1 > $f; done",
    "for link in eth0 flannel.1; do f=/proc/sys/net/ipv6/conf/$link/hop_limit; [ ! -e $f ] || echo 64 > $f; done",
];
/// One CNI moved the rule for the node's own addresses, and a network manager that was restarted took it for a stranger's. The
/// kernel heeds that it is gone once there were other rules.
const NO_LOCAL_RULE: [&str; 2] = [
    "ip -6 rule add pref 9 fwmark 0x200/0xf00 lookup 2004 && ip -6 rule add pref 100 lookup local && ip -6 rule del pref 0 && ip -6 rule del pref 100 && ip -6 rule del pref 9",
    "ip -6 rule add pref 0 lookup local",
];
/// The tunnel's own end is an address that moved to another node: nothing can be sent from it. What comes in is taken.
const MOVED_VIP: [&str; 2] = [
    "ip link set flannel.1 type vxlan id 1 local 172.30.0.200",
    "ip link set flannel.1 type vxlan id 1 local 172.30.0.12",
];
/// A node joined again, and another one learned its tunnel's hardware address for IPv4 only.
const NO_TUNNEL_NEIGHBOUR: [&str; 2] = [
    "ip -6 neigh show fd00:10:244:2:: dev flannel.1 > \"/tmp/netcheck-lab-$(readlink /proc/self/ns/net)\" && ip -6 neigh del fd00:10:244:2:: dev flannel.1",
    "ip -6 neigh replace fd00:10:244:2:: lladdr $(sed 's/.*lladdr \\([0-9a-f:]*\\).*/\\1/' \"/tmp/netcheck-lab-$(readlink /proc/self/ns/net)\") dev flannel.1 nud permanent",
];
/// A node lost its lease and was given a network that another one has: it looks for that one's pods on its own bridge.
const SAME_LEASE: [&str; 2] = [
    "ip route show 10.244.2.0/24 > \"/tmp/netcheck-lab-$(readlink /proc/self/ns/net)\" && ip route del 10.244.2.0/24 && ip addr add 10.244.2.1/24 dev cni0",
    "ip addr del 10.244.2.1/24 dev cni0; ip route replace $(cat \"/tmp/netcheck-lab-$(readlink /proc/self/ns/net)\")",
];
/// One node's proxy missed that the backends listen on another port since.
const OLD_PORT: [&str; 2] = [
    "nft 'add table ip lab_day_two; add chain ip lab_day_two o { type nat hook output priority -110; }; add chain ip lab_day_two p { type nat hook prerouting priority -110; }; add rule ip lab_day_two o ip daddr 10.96.0.20 tcp dport 80 dnat to numgen random mod 3 map { 0 : 10.244.1.11, 1 : 10.244.2.11, 2 : 10.244.3.11 }:8081; add rule ip lab_day_two p ip daddr 10.96.0.20 tcp dport 80 dnat to numgen random mod 3 map { 0 : 10.244.1.11, 1 : 10.244.2.11, 2 : 10.244.3.11 }:8081'",
    NO_TABLE,
];
/// One node's proxy could not write its rules of IPv6, of no service.
const NO_IPV6_SERVICES: [&str; 2] = [
    "f=\"/tmp/netcheck-lab-$(readlink /proc/self/ns/net)\"; if nft list chain ip6 kube-proxy services > \"$f\" 2>/dev/null; then nft flush chain ip6 kube-proxy services; else ip6tables-save -t nat > \"$f\" && ip6tables -t nat -F KUBE-SERVICES; fi",
    "f=\"/tmp/netcheck-lab-$(readlink /proc/self/ns/net)\"; if grep -q '^table' \"$f\"; then nft -f \"$f\"; else ip6tables-restore -T nat < \"$f\"; fi",
];
/// What looks wrong and costs nothing: a CNI's rules that outlived it, with the one for the node's own addresses behind them,
/// and a node to which nobody said that its neighbours are on its link, so that all of IPv6 goes by the router.
const UNTIDY: &[Change] = &[
    Change {
        at: "n1",
        inject: "ip rule add pref 100 lookup local && ip rule del pref 0 && ip -6 rule add pref 100 lookup local && ip -6 rule del pref 0 && ip rule add pref 9 fwmark 0x200/0xf00 lookup 2004 && ip route add local 0.0.0.0/0 dev lo table 2004",
        heal: "ip rule add pref 0 lookup local; ip rule del pref 100; ip -6 rule add pref 0 lookup local; ip -6 rule del pref 100; ip rule del pref 9; ip route flush table 2004; true",
    },
    Change {
        at: "n3",
        inject: "ip -6 route del fd00:172:30::/64 dev eth0",
        heal: "ip -6 route add fd00:172:30::/64 dev eth0 proto kernel metric 256",
    },
];

const fn v4(row: Row) -> Row {
    only(Families::V4, row)
}

const fn v6(row: Row) -> Row {
    only(Families::V6, row)
}

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    // Of one pod.
    v4(on("web-n2", VPN_IN_POD, POD, &[at("n2", "reply", "", "")])).opens("place|target|backend n2|web-n2 IPv4?").by("n2 tun0|0.0.0.0/1|128.0.0.0/1"),
    on("n2", BANDWIDTH, ICMP, &[at("n2", "reply", "qdisc", "QDISC_")]).opens("place n2 qdisc").by("queue n2 tbf bwp0c9f2a1b"),
    on("dns-n4", STOPPED, DNS, &[at("n4", "request", "application|socket", "")]).opens("dns_server").by("socket|process n4 53"),
    // Nobody on the way drops them: who asked does not take them, or n4 lets them pass untranslated.
    v4(on("dns-n4", OTHER_ADDRESS, DNS, &[at("n4", "reply", "", ""), at("", "reply", "socket|netfilter_input|application", "")])).opens("dns_server|target|place DNS? IPv4?").by("n4 10.244.4.50"),
    v4(on("n2", STALE_VETH, POD, &[at("n2", "request", "neighbour|send|egress|qdisc", "")])).opens("place|target|backend n2|web-n2 IPv4?").by("n2 vethc0ffee12"),
    // Filters.
    on("n2", FIREWALLD, POD, &[at("n2", "", "netfilter_forward", ""), at("n2", "", "neighbour|send", "")]).opens("place n2 netfilter_forward").by("rule n2 firewalld"),
    v4(on("n2", BANNED, TCP, &[at("n2", "request", "netfilter_forward", "NETFILTER_DROP")])).opens("place n2 netfilter_forward").by("rule n2 lab_day_two"),
    v4(on("n2", TPROXY, TCP, &[at("n2", "request", "netfilter_prerouting", "NETFILTER_DROP")])).opens("place n2 netfilter_prerouting").by("rule n2 mangle PREROUTING"),
    v6(on("n2", DOCKER_IPV6, POD, &[at("n2", "", "netfilter_forward", "NETFILTER_DROP"), at("n2", "", "neighbour|send", "")])).opens("place n2 netfilter_forward").by("policy n2 FORWARD"),
    // Routes and rules.
    v4(on("n3", TAILNET, POD, &[at("n3", "", "egress|qdisc|routing|send", "")])).opens("place|pod_network|node n3 IPv4?").by("routing_rule|route|interface n3 5270|tailscale0"),
    Row { settle_s: 12, ..rare(v4(on("n1", ONE_OF_TWO, TCP, &[at("n1", "", "neighbour|send|routing", "")]))) }.opens("place|one_way|link|source_ports n1|n1>n2|n1~n2 IPv4?").by("neighbour n1 172.30.0.99"),
    // It runs out where it would be passed on, which is a place for each peer and one cause.
    v6(on("n3", HOP_LIMIT, POD, &[at("n1|n2|n4", "", "routing", "IP_INHDR|NOT_SPECIFIED")])).opens("node|place|one_way n3 IPv6?").by("sysctl n3 hop_limit"),
    // n2 passes on what is for itself, and looks for its own address on the cable.
    v6(on("n2", NO_LOCAL_RULE, ICMP, &[at("n2", "", "", ""), at("", "", "neighbour", ""), NO_HOST, wire("n2", "")])).opens("node|place n2 IPv6?").by("routing_rule n2 local"),
    // Tunnels and bridges.
    overlay(on("n2", MOVED_VIP, POD, &[at("n2", "", "egress|routing|send", "")])).opens("pod_network|place n2").by("interface n2 flannel.1"),
    overlay(v6(on("n1", NO_TUNNEL_NEIGHBOUR, POD, &[at("n1", "", "neighbour|send", "")]))).opens("one_way|place|link n1|n1>n2|n1~n2 IPv6?").by("neighbour n1 fd00:10:244:2::"),
    v4(on("n3", SAME_LEASE, POD, &[at("n3", "", "neighbour|send|routing", "")])).opens("one_way|link|place n3|n3>n2|n2~n3|n3~n2 IPv4?").by("n3 10.244.2."),
    // Services.
    v4(on("n3", OLD_PORT, TCP, &[at("n1|n2|n3", "request", "socket", "")])).opens("service|target|place n3|web:80 TCP? IPv4?").by("rule n3 lab_day_two"),
    // What is not translated leaves for the router, which knows no such network, or meets the proxy's own refusal.
    v6(on("n3", NO_IPV6_SERVICES, DNS_TCP, &[at("n3", "request", "", ""), at("fd00:172:30::1", "request", "routing", ""), wire("n3", "request")])).opens("node|place|service n3 IPv6?"),
    // Nothing is lost by it.
    several(UNTIDY, &[], &[]).opens("none"),
    // A namespace that once had tables of the old kind keeps them, if empty: so it comes last.
    v4(on("n2", LEGACY, POD, &[at("n2", "", "netfilter_forward", "NETFILTER_DROP")])).opens("place n2 netfilter_forward").by("n2 legacy FORWARD"),
];
