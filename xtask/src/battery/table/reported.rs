//! Faults of a kind that people report of their clusters: what another program left behind, what a firewall's owner did not
//! think of, a setting of a bridge or a pod. Each says what is true before anybody tried it.

use super::{
    ALL, Change, DNS, Families, ICMP, POD, Row, TCP, at, by_command as on, only, overlay, several, wire,
};

const NO_TABLE: &str = "nft delete table inet lab_reported";
const NO_IP_TABLE: &str = "nft delete table ip lab_reported";

/// A filter that resets what it does not want, as if the pod had done so.
const RESET: [&str; 2] = [
    "nft 'add table inet lab_reported; add chain inet lab_reported f { type filter hook forward priority -5; }; add rule inet lab_reported f tcp dport 8080 reject with tcp reset'",
    NO_TABLE,
];
/// A transparent proxy is gone, and what sent the connections to it is not.
const REDIRECT: [&str; 2] = [
    "nft 'add table ip lab_reported; add chain ip lab_reported p { type nat hook prerouting priority -110; }; add rule ip lab_reported p ip daddr 10.244.2.0/24 tcp dport 8080 redirect to :9999'",
    NO_IP_TABLE,
];
/// The same in a pod: a mesh's sidecar is gone.
const SIDECAR: [&str; 2] = [
    "nft 'add table ip lab_reported; add chain ip lab_reported p { type nat hook prerouting priority -100; }; add rule ip lab_reported p tcp dport 8080 redirect to :15006'",
    NO_IP_TABLE,
];
/// A pod that filters what comes to it.
const POD_FILTER: [&str; 2] = [
    "nft 'add table inet lab_reported; add chain inet lab_reported i { type filter hook input priority 0; }; add rule inet lab_reported i tcp dport 8080 drop'",
    NO_TABLE,
];
/// One node's questions go to a server that was taken away.
const OTHER_DNS: [&str; 2] = [
    "nft 'add table ip lab_reported; add chain ip lab_reported o { type nat hook output priority -110; }; add rule ip lab_reported o ip daddr 10.96.0.0/16 udp dport 53 dnat to 172.30.0.99'",
    NO_IP_TABLE,
];
/// What goes to pods bears an address that nobody has.
const WRONG_SOURCE: [&str; 2] = [
    "nft 'add table ip lab_reported; add chain ip lab_reported p { type nat hook postrouting priority 90; }; add rule ip lab_reported p oifname { eth0, flannel.1 } ip daddr 10.244.0.0/16 snat to 192.0.2.7'",
    NO_IP_TABLE,
];
/// The pod's way out leads to an address that is nobody's.
const WRONG_GATEWAY: [&str; 2] =
    ["ip route replace default via 10.244.2.99", "ip route replace default via 10.244.2.1"];
/// What a bridge passes on is not shown to the translation.
const NO_BRIDGE_FILTER: [&str; 2] = [
    "echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables; echo 0 > /proc/sys/net/bridge/bridge-nf-call-ip6tables",
    "echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables; echo 1 > /proc/sys/net/bridge/bridge-nf-call-ip6tables",
];
/// The node is on no network of its own pods any more.
const NO_BRIDGE_ADDRESS: [&str; 2] =
    ["ip addr del 10.244.2.1/24 dev cni0", "ip addr add 10.244.2.1/24 dev cni0"];
/// One node has no route to another one's pods, and sends what is for them to its router.
const NO_ROUTE: [&str; 2] = [
    "ip route show 10.244.2.0/24 > \"/tmp/netcheck-lab-$(readlink /proc/self/ns/net)\" && ip route del 10.244.2.0/24",
    "ip route replace $(cat \"/tmp/netcheck-lab-$(readlink /proc/self/ns/net)\")",
];
/// A node that does not say where its addresses are.
const ARP_IGNORE: &[Change] = &[
    Change {
        at: "n3",
        inject: "echo 8 > /proc/sys/net/ipv4/conf/eth0/arp_ignore",
        heal: "echo 0 > /proc/sys/net/ipv4/conf/eth0/arp_ignore",
    },
    // What others know of it is forgotten in time.
    Change { at: "n1", inject: "ip -4 neigh flush dev eth0", heal: "true" },
    Change { at: "n2", inject: "ip -4 neigh flush dev eth0", heal: "true" },
    Change { at: "n4", inject: "ip -4 neigh flush dev eth0", heal: "true" },
];
/// A port of a bridge that takes nothing from whom it was not told to expect.
const LOCKED: [&str; 2] = [
    "bridge link set dev vethweb-n2 learning off locked on && bridge fdb flush dev cni0 brport vethweb-n2 dynamic",
    "bridge link set dev vethweb-n2 learning on locked off",
];
/// Somebody told the bridge that a pod is behind another port.
const WRONG_PORT: [&str; 2] = [
    "ip neigh show 10.244.2.11 dev cni0 | sed 's/.*lladdr \\([0-9a-f:]*\\).*/\\1/' > \"/tmp/netcheck-lab-$(readlink /proc/self/ns/net)\" && bridge fdb replace $(cat \"/tmp/netcheck-lab-$(readlink /proc/self/ns/net)\") dev vethvantage-n2 master static sticky",
    "bridge fdb del $(cat \"/tmp/netcheck-lab-$(readlink /proc/self/ns/net)\") dev vethvantage-n2 master",
];
/// A rule takes packets away and drops none.
const FORWARDED: [&str; 2] = [
    "nft 'add table netdev lab_reported; add chain netdev lab_reported i { type filter hook ingress device eth0 priority 0; }; add rule netdev lab_reported i ip saddr 172.30.0.11 fwd to cni0'",
    "nft delete table netdev lab_reported",
];
const RAW: [&str; 2] = [
    "iptables -t raw -I PREROUTING -s 172.30.0.12 -p icmp -m comment --comment 'incident 17' -j DROP",
    "iptables -t raw -D PREROUTING -s 172.30.0.12 -p icmp -m comment --comment 'incident 17' -j DROP",
];
/// What comes out of pods is not passed on.
const NO_FORWARDING: [&str; 2] =
    ["echo 0 > /proc/sys/net/ipv4/conf/cni0/forwarding", "echo 1 > /proc/sys/net/ipv4/conf/cni0/forwarding"];
/// A program that wanted the tunnel's packets for itself.
const OTHER_TUNNEL: [&str; 2] = [
    "nft 'add table ip lab_reported; add chain ip lab_reported p { type filter hook prerouting priority -300; }; add rule ip lab_reported p udp dport 8472 udp dport set 8473'",
    NO_IP_TABLE,
];
/// A node's firewall as its owner thought of it: sessions that stand, and the tunnel.
const FIREWALL: [&str; 2] = [
    "iptables -A INPUT -i lo -j ACCEPT && iptables -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT && iptables -A INPUT -p udp --dport 8472 -j ACCEPT && iptables -P INPUT DROP",
    "iptables -P INPUT ACCEPT; iptables -F INPUT",
];
const NO_IPV6_IN_POD: [&str; 2] = [
    "ip -6 addr show dev eth0 scope global | awk '/inet6/{print $2}' > \"/tmp/netcheck-lab-$(readlink /proc/self/ns/net)\"; ip -6 route show default > \"/tmp/netcheck-lab-$(readlink /proc/self/ns/net)r\"; echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6",
    "echo 0 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6; ip -6 addr replace $(cat \"/tmp/netcheck-lab-$(readlink /proc/self/ns/net)\") dev eth0 nodad; ip -6 route replace $(cat \"/tmp/netcheck-lab-$(readlink /proc/self/ns/net)r\")",
];
/// The tunnel's device is down, and its routes went with it.
const TUNNEL_DOWN: [&str; 2] = [
    "f=\"/tmp/netcheck-lab-$(readlink /proc/self/ns/net)\"; ip -4 route show dev flannel.1 > ${f}4; ip -6 route show dev flannel.1 | grep -v '^fe80' > ${f}6; ip neigh show dev flannel.1 nud permanent > ${f}n; echo 1 > /proc/sys/net/ipv6/conf/flannel.1/keep_addr_on_down; ip link set flannel.1 down",
    "f=\"/tmp/netcheck-lab-$(readlink /proc/self/ns/net)\"; ip link set flannel.1 up; awk '{print $1, $3}' ${f}n | while read to mac; do ip neigh replace $to lladdr $mac dev flannel.1 nud permanent; done; while read route; do ip route replace $route dev flannel.1; done < ${f}4; while read route; do ip -6 route replace $route dev flannel.1; done < ${f}6; true",
];
/// All pods' packets bear their node's address: nobody loses any.
const MASQUERADE: [&str; 2] = [
    "nft 'add table ip lab_reported; add chain ip lab_reported p { type nat hook postrouting priority 90; }; add rule ip lab_reported p ip saddr 10.244.0.0/16 oifname { eth0, flannel.1 } masquerade'",
    NO_IP_TABLE,
];

const fn v4(row: Row) -> Row {
    only(Families::V4, row)
}

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    // What answers in a pod's place, or is asked in its place.
    on("n2", RESET, TCP, &[at("n2", "request", "netfilter_forward", "")]).opens("place n2 netfilter_forward").by("rule n2 lab_reported"),
    v4(on("n2", REDIRECT, TCP, &[at("n2", "request", "", "")])).opens("place|target|backend n2|web-n2 IPv4?").by("rule n2 lab_reported"),
    v4(on("web-n2", SIDECAR, TCP, &[at("n2", "request", "socket", "")])).opens("place|target|backend n2|web-n2 IPv4?"),
    on("web-n2", POD_FILTER, TCP, &[at("n2", "request", "netfilter_input", "NETFILTER_DROP")]).opens("place n2 netfilter_input"),
    v4(on("n1", OTHER_DNS, DNS, &[at("n1", "request", "", ""), at("", "", "neighbour", "")])).opens("node|place|dns_server|target n1|172.30.0.99|kube-dns IPv4?"),
    v4(on("n1", WRONG_SOURCE, POD, &[at("", "reply", "", "")])).opens("node|place|one_way n1 IPv4?"),
    // Of one pod.
    v4(on("web-n2", WRONG_GATEWAY, POD, &[at("n2", "reply", "", "")])).opens("place|target|backend n2|web-n2 IPv4?").by("route|neighbour n2 10.244.2.99"),
    only(Families::V6, on("web-n2", NO_IPV6_IN_POD, POD, &[at("n2", "request", "neighbour|send|routing|ingress", "")])).opens("place|target|backend n2|web-n2 IPv6?").by("n2 ipv6|IPv6|fd00"),
    // Bridges.
    v4(on("n2", NO_BRIDGE_FILTER, TCP, &[at("n2", "reply", "", "")])).opens("place|service|target n2|web:80 IPv4?").by("sysctl n2 bridge-nf-call-ip"),
    v4(on("n2", NO_BRIDGE_ADDRESS, POD, &[at("n2", "", "", "")])).opens("pod_network|place|node n2 IPv4?").by("route n2"),
    on("n2", LOCKED, POD, &[at("n2", "reply", "ingress", ""), at("n2", "request", "neighbour", "")]).opens("place|target|backend n2|web-n2").by("interface n2 vethweb-n2 locked"),
    v4(on("n2", WRONG_PORT, POD, &[at("n2", "request", "", "")])).opens("place|target|backend n2|web-n2 IPv4?").by("n2 vethvantage-n2"),
    // Routes and neighbours.
    v4(on("n1", NO_ROUTE, POD, &[at("n1", "", "", ""), at("", "", "routing", "")])).opens("one_way|place|link|pod_network n1|n1>n2|n1~n2 IPv4?").by("route n1 default"),
    v4(several(ARP_IGNORE, ICMP, &[at("", "", "neighbour|send", ""), wire("n3", "")])).opens("node n3 IPv4").by("sysctl n3 arp_ignore"),
    v4(on("n2", NO_FORWARDING, POD, &[at("n2", "", "routing", "")])).opens("place n2 routing").by("sysctl n2 cni0.forwarding"),
    // Filters.
    v4(on("n3", FORWARDED, ALL, &[at("n3", "", "netdev_ingress|ingress", "")])).opens("place|one_way|link n3|n1>n3|n1~n3 IPv4?").by("rule n3 lab_reported"),
    v4(on("n3", RAW, ICMP, &[at("n3", "", "netfilter_prerouting", "NETFILTER_DROP")])).opens("place n3 netfilter_prerouting").by("rule n3 raw PREROUTING"),
    v4(on("n3", FIREWALL, ALL, &[at("n3", "request", "netfilter_input", "NETFILTER_DROP")])).opens("place n3 netfilter_input").by("policy|rule n3 INPUT"),
    // The tunnel.
    overlay(v4(on("n2", OTHER_TUNNEL, POD, &[at("n2", "", "socket|netfilter_prerouting", "")]))).opens("place|pod_network n2"),
    overlay(on("n2", TUNNEL_DOWN, POD, &[at("n2", "", "", ""), wire("n2", ""), at("", "", "routing", "")])).opens("pod_network|place n2").by("n2 flannel.1"),
    // Nothing is lost by it.
    v4(on("n1", MASQUERADE, &[], &[])).opens("none"),
];
