//! How far a dropped packet had come, from what the kernel reports of it. Pure.

use std::sync::Arc;

use netcheck_proto::v1::Stage;

/// What is known of a dropped packet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Facts<'a> {
    /// Name of the drop reason.
    pub(crate) reason: &'a str,
    /// Function that dropped it; empty where hidden.
    pub(crate) function: &'a str,
    /// Those that called it, innermost first; of what netfilter dropped, as far as the kernel reports it.
    pub(crate) callers: &'a [Arc<str>],
    /// It belonged to a local socket.
    pub(crate) has_socket: bool,
    /// A route had been chosen.
    pub(crate) has_route: bool,
    /// Name of the route's input function: `ip_forward`, `ip_local_deliver`, `ip_error`, ...
    pub(crate) route_input: &'a str,
    /// The packet's device; 0 for none.
    pub(crate) ifindex: u32,
    /// Where it came in; 0 for made here.
    pub(crate) input_ifindex: u32,
    /// Where its route leads.
    pub(crate) route_ifindex: u32,
    /// It was sent to an address of this node: nothing to be passed on.
    pub(crate) to_self: bool,
    /// It came from elsewhere and was sent to a pod of this node: nothing leads back to where it came in.
    pub(crate) into_pod: bool,
}

/// Where a bridge gives up what it has chosen a port for: the packet's device is that port already (net/bridge/br_forward.c,
/// br_device.c).
const BRIDGE_EGRESS: [&str; 5] =
    ["br_dev_queue_push_xmit", "br_forward", "__br_forward", "br_dev_xmit", "maybe_deliver"];

/// The stage. `Unspecified` where the facts don't show it.
pub(crate) fn of(facts: &Facts<'_>) -> Stage {
    let Facts { reason, function, .. } = *facts;
    if reason == "NETFILTER_DROP" || function.starts_with("nf_") || function.starts_with("nft_") {
        return by_caller(facts).unwrap_or_else(|| netfilter(facts));
    }
    // The time to live was up, or a policy of IPsec forbids to pass it on: it was fine on its way in, and what gave up is the
    // choice of the way on.
    if matches!(reason, "IP_INHDR" | "XFRM_POLICY") && matches!(function, "ip_forward" | "ip6_forward") {
        return Stage::Routing;
    }
    if let Some(stage) = by_reason(reason) {
        return stage;
    }
    by_function(facts)
}

/// Which hook of netfilter, by the function that runs it (callers of NF_HOOK and nf_hook in net/).
fn by_caller(facts: &Facts<'_>) -> Option<Stage> {
    let frames = || std::iter::once(facts.function).chain(facts.callers.iter().map(AsRef::as_ref));
    // What arrives is often handled on the stack of what was sent before: the innermost frame decides.
    let innermost = |first: &[&str], second: &[&str]| {
        let among = |frame: &str, names: &[&str]| names.iter().any(|name| frame.starts_with(name));
        frames().find(|frame| among(frame, first) || among(frame, second)).map(|frame| among(frame, first))
    };
    // A device's hooks run rules of the family netdev, and of inet's hook ingress (nft_chain_filter.c).
    if innermost(&["nft_do_chain_netdev", "nft_do_chain_inet_ingress"], &[]).is_some() {
        let leaves =
            innermost(&["__dev_queue_xmit", "nf_hook_egress"], &["__netif_receive_skb"]) == Some(true);
        return Some(if leaves { Stage::NetdevEgress } else { Stage::NetdevIngress });
    }
    frames().find_map(|frame| {
        Some(match frame {
            "ip_rcv"
            | "ipv6_rcv"
            | "ip_list_rcv"
            | "ipv6_list_rcv"
            | "ip_sublist_rcv"
            | "ip6_sublist_rcv"
            | "br_nf_pre_routing"
            | "br_nf_pre_routing_ipv6" => Stage::NetfilterPrerouting,
            "ip_local_deliver" | "ip6_input" => Stage::NetfilterInput,
            "ip_forward" | "ip6_forward" | "br_nf_forward" | "br_nf_forward_ip" => Stage::NetfilterForward,
            "ip_output" | "ip6_output" | "ip_mc_output" | "br_nf_post_routing" => Stage::NetfilterPostrouting,
            "__ip_local_out" | "__ip6_local_out" | "ip_local_out" | "ip6_local_out" | "ip6_xmit"
            | "raw_sendmsg" | "rawv6_sendmsg" | "raw_send_hdrinc" | "rawv6_send_hdrinc" => {
                Stage::NetfilterOutput
            }
            "br_handle_frame" => Stage::BridgePrerouting,
            "br_pass_frame_up" => Stage::BridgeInput,
            "br_forward_finish" => Stage::BridgePostrouting,
            // What the node itself sends into the bridge comes from the bridge's own device.
            "__br_forward" if innermost(&["br_dev_xmit"], &["br_handle_frame"]) == Some(true) => {
                Stage::BridgeOutput
            }
            "__br_forward" => Stage::BridgeForward,
            _ => return None,
        })
    })
}

/// Which chain of netfilter, for want of who called it (net/ipv4/ip_output.c, ip_input.c, ip_forward.c show what is set when).
fn netfilter(facts: &Facts<'_>) -> Stage {
    if facts.input_ifindex == 0 && facts.has_socket {
        return leaving(facts);
    }
    if !facts.has_route {
        // A bridge asks no route: what it has chosen a port for has that port's device (__br_forward() in
        // net/bridge/br_forward.c).
        let bridged = facts.input_ifindex != 0 && facts.ifindex != 0 && !arriving(facts);
        return if bridged { Stage::NetfilterForward } else { Stage::NetfilterPrerouting };
    }
    let arriving = arriving(facts);
    match facts.route_input {
        // A packet that is rejected before it has a route gets one back to its sender, for the answer
        // (nf_reject_fill_skb_dst). IPv4's can't be taken for another; IPv6's looks like one that leads on.
        "dst_discard" if arriving => Stage::NetfilterPrerouting,
        "ip6_forward" if arriving && facts.to_self => Stage::NetfilterPrerouting,
        "ip6_forward" if arriving && facts.ifindex == facts.route_ifindex && facts.into_pod => {
            Stage::NetfilterPrerouting
        }
        "ip6_forward" if arriving && facts.ifindex == facts.route_ifindex => Stage::Unspecified,
        "ip_local_deliver" | "ip6_input" => Stage::NetfilterInput,
        "ip_forward" | "ip6_forward"
            if facts.ifindex == facts.route_ifindex && facts.ifindex != facts.input_ifindex =>
        {
            Stage::NetfilterPostrouting
        }
        "ip_forward" | "ip6_forward" => Stage::NetfilterForward,
        // Replies that the kernel itself makes (echo, reset) have no socket of a program.
        _ if facts.ifindex == 0 => Stage::NetfilterOutput,
        // What a tunnel wraps is sent by this node, whoever sent what is inside.
        "dst_discard" => leaving(facts),
        _ => Stage::Unspecified,
    }
}

/// It is still at the device that it came in through.
fn arriving(facts: &Facts<'_>) -> bool {
    facts.input_ifindex != 0 && facts.ifindex == facts.input_ifindex
}

/// ip_output() sets the device to the route's before POSTROUTING. LOCAL_OUT comes before that: there is none yet, or
/// still the tunnel's, or (IPv6, rejected) the loopback.
fn leaving(facts: &Facts<'_>) -> Stage {
    if facts.ifindex != 0 && facts.ifindex == facts.route_ifindex {
        Stage::NetfilterPostrouting
    } else {
        Stage::NetfilterOutput
    }
}

fn by_reason(reason: &str) -> Option<Stage> {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| reason.starts_with(prefix));
    Some(match reason {
        "NO_SOCKET" | "PROTO_MEM" | "UNHANDLED_PROTO" => Stage::Socket,
        "IP_OUTNOROUTES" | "IP_INNOROUTES" | "IP_RPFILTER" | "PKT_TOO_BIG" | "PKT_TOO_SMALL"
        | "IP_INADDRERRORS" | "IP_LOCALNET" | "IP_INVALID_DEST" | "IP_INVALID_SOURCE" => Stage::Routing,
        "TC_EGRESS" | "DEV_READY" | "DEV_HDR" | "FULL_RING" | "HDR_TRUNC" => Stage::Egress,
        "TC_INGRESS"
        | "XDP"
        | "CPU_BACKLOG"
        | "OTHERHOST"
        | "DEV_GSO"
        | "UNICAST_IN_L2_MULTICAST"
        | "DUP_FRAG"
        | "FRAG_REASM_TIMEOUT"
        | "FRAG_TOO_FAR"
        | "IP_CSUM"
        | "IP_INHDR" => Stage::Ingress,
        _ if starts(&["SOCKET_", "TCP_", "UDP_", "ICMP_", "XFRM_", "LISTEN"]) => Stage::Socket,
        _ if starts(&["NEIGH_"]) => Stage::Neighbour,
        _ if starts(&["QDISC_"]) => Stage::Qdisc,
        _ if starts(&["VXLAN_", "IP_TUNNEL_", "BRIDGE_", "MAC_", "LOCAL_MAC"]) => Stage::Ingress,
        _ if starts(&["IPV6_NDISC_"]) => Stage::Neighbour,
        _ => return None,
    })
}

fn by_function(facts: &Facts<'_>) -> Stage {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| facts.function.starts_with(prefix));
    let no_route =
        ["ip_error", "ip6_pkt_drop", "ip6_pkt_discard", "ip6_pkt_prohibit", "dst_discard", "dst_blackhole"];
    // The kernel answers an ICMPv6 echo inside icmpv6_rcv() and gives the request up where no route leads back.
    // A bridge looks for a route where a service's address was translated (net/bridge/br_netfilter_hooks.c).
    let bridged = starts(&["br_nf_pre_routing_finish"]);
    let no_way_back = facts.reason == "NOT_SPECIFIED" && facts.function == "icmpv6_rcv";
    if no_way_back
        || bridged
        || starts(&no_route)
        || starts(&["ip_route_", "ip6_route_", "fib_", "ip_forward", "ip6_forward", "ip_rcv_finish"])
    {
        Stage::Routing
    } else if starts(&["neigh_", "arp_", "ndisc_", "ip_finish_output2", "ip6_finish_output2"]) {
        Stage::Neighbour
    } else if starts(&["tcp_", "udp", "raw_", "sk_", "sock_", "icmp", "ping_", "__udp", "__tcp"]) {
        Stage::Socket
    } else if starts(&BRIDGE_EGRESS) {
        Stage::Egress
    } else if starts(&[
        "br_",
        "__netif_receive",
        "netif_receive",
        "ip_rcv",
        "ipv6_rcv",
        "ip6_rcv",
        "vxlan_rcv",
        "enqueue_to",
        "do_xdp",
        "veth_xdp",
    ]) {
        Stage::Ingress
    } else if starts(&[
        "sch_",
        "__dev_queue_xmit",
        "dev_",
        "veth_xmit",
        "vxlan_xmit",
        "__dev_",
        "tbf_",
        "validate",
    ]) {
        Stage::Egress
    } else {
        Stage::Unspecified
    }
}

/// The interface to name for a drop. What a packet does not fit into is the interface that its route leads to: IPv4
/// drops it while it still belongs to the one that it came from, IPv6 does not.
#[must_use]
pub(crate) fn place(reason: &str, ifindex: u32, route_ifindex: u32) -> u32 {
    if reason == "PKT_TOO_BIG" && route_ifindex != 0 { route_ifindex } else { ifindex }
}

#[cfg(test)]
mod tests;
