use super::*;

#[test]
fn chains_of_netfilter() {
    let drop = Facts { reason: "NETFILTER_DROP", function: "nft_do_chain", ..Facts::default() };
    for (facts, expected) in [
        (Facts { has_socket: true, has_route: true, route_ifindex: 2, ..drop }, Stage::NetfilterOutput),
        (
            Facts { has_socket: true, has_route: true, ifindex: 2, route_ifindex: 2, ..drop },
            Stage::NetfilterPostrouting,
        ),
        (Facts { ifindex: 2, input_ifindex: 2, ..drop }, Stage::NetfilterPrerouting),
        (Facts { ifindex: 3, input_ifindex: 2, ..drop }, Stage::NetfilterForward),
        (
            Facts { has_route: true, route_input: "ip_local_deliver", ifindex: 2, input_ifindex: 2, ..drop },
            Stage::NetfilterInput,
        ),
        (
            Facts {
                has_route: true,
                route_input: "ip6_forward",
                ifindex: 2,
                input_ifindex: 2,
                route_ifindex: 3,
                ..drop
            },
            Stage::NetfilterForward,
        ),
        (
            Facts {
                has_route: true,
                route_input: "ip_forward",
                ifindex: 3,
                input_ifindex: 2,
                route_ifindex: 3,
                ..drop
            },
            Stage::NetfilterPostrouting,
        ),
        (Facts { has_route: true, route_ifindex: 2, ..drop }, Stage::NetfilterOutput),
        // Inside a tunnel's packet, made here and passed on.
        (
            Facts { has_socket: true, has_route: true, ifindex: 4, route_ifindex: 2, ..drop },
            Stage::NetfilterOutput,
        ),
        (
            Facts {
                has_route: true,
                route_input: "dst_discard",
                ifindex: 4,
                input_ifindex: 3,
                route_ifindex: 2,
                ..drop
            },
            Stage::NetfilterOutput,
        ),
        (
            Facts {
                has_route: true,
                route_input: "dst_discard",
                ifindex: 2,
                input_ifindex: 3,
                route_ifindex: 2,
                ..drop
            },
            Stage::NetfilterPostrouting,
        ),
        // Rejected before it had a route.
        (
            Facts {
                has_route: true,
                route_input: "dst_discard",
                ifindex: 2,
                input_ifindex: 2,
                route_ifindex: 2,
                ..drop
            },
            Stage::NetfilterPrerouting,
        ),
        (
            Facts {
                has_route: true,
                route_input: "ip6_forward",
                ifindex: 2,
                input_ifindex: 2,
                route_ifindex: 2,
                to_self: true,
                ..drop
            },
            Stage::NetfilterPrerouting,
        ),
        // What comes from elsewhere for a pod of this node would go on to the pod, not back.
        (
            Facts {
                has_route: true,
                route_input: "ip6_forward",
                ifindex: 2,
                input_ifindex: 2,
                route_ifindex: 2,
                into_pod: true,
                ..drop
            },
            Stage::NetfilterPrerouting,
        ),
        (
            Facts {
                has_route: true,
                route_input: "ip6_forward",
                ifindex: 2,
                input_ifindex: 2,
                route_ifindex: 3,
                into_pod: true,
                ..drop
            },
            Stage::NetfilterForward,
        ),
        (
            Facts {
                has_route: true,
                route_input: "ip6_forward",
                ifindex: 2,
                input_ifindex: 2,
                route_ifindex: 2,
                ..drop
            },
            Stage::Unspecified,
        ),
    ] {
        assert_eq!(of(&facts), expected, "{facts:?}");
    }
}

#[test]
fn hooks_of_netfilter_by_their_callers() {
    for (frames, expected) in [
        ("nft_do_chain nft_do_chain_inet nf_hook_slow ip_local_deliver", Stage::NetfilterInput),
        ("nf_hook_slow ip_local_deliver ip_rcv", Stage::NetfilterInput),
        ("nf_hook_slow nf_hook_slow_list ip_sublist_rcv", Stage::NetfilterPrerouting),
        ("nft_do_chain nft_do_chain_ipv6 nf_hook_slow ip6_forward ipv6_rcv", Stage::NetfilterForward),
        ("nft_do_chain nft_do_chain_ipv4 nf_hook_slow __ip_local_out ip_send_skb", Stage::NetfilterOutput),
        ("nft_do_chain nft_do_chain_ipv4 nf_hook_slow ip_output", Stage::NetfilterPostrouting),
        // Rules of IP for what a bridge passes on (br_netfilter), and the bridge's own.
        (
            "nft_do_chain nft_do_chain_ipv4 nf_hook_slow br_nf_forward_ip nf_hook_slow __br_forward",
            Stage::NetfilterForward,
        ),
        ("nft_do_chain nft_do_chain_bridge nf_hook_slow __br_forward br_handle_frame", Stage::BridgeForward),
        ("nft_do_chain nft_do_chain_bridge nf_hook_slow __br_forward br_dev_xmit", Stage::BridgeOutput),
        ("nft_do_chain nft_do_chain_bridge nf_hook_slow br_forward_finish", Stage::BridgePostrouting),
        ("nft_do_chain nft_do_chain_bridge br_handle_frame", Stage::BridgePrerouting),
        ("nf_hook_slow br_pass_frame_up br_handle_frame", Stage::BridgeInput),
        ("nft_do_chain nft_do_chain_netdev nf_hook_slow __netif_receive_skb_core", Stage::NetdevIngress),
        ("nft_do_chain nft_do_chain_inet_ingress nf_hook_slow", Stage::NetdevIngress),
        // What arrives while something is sent.
        (
            "nft_do_chain nft_do_chain_netdev nf_hook_slow __netif_receive_skb_core process_backlog __dev_queue_xmit",
            Stage::NetdevIngress,
        ),
        (
            "nft_do_chain nft_do_chain_bridge nf_hook_slow __br_forward br_handle_frame net_rx_action br_dev_xmit",
            Stage::BridgeForward,
        ),
        ("nft_do_chain nft_do_chain_netdev nf_hook_slow __dev_queue_xmit ip_output", Stage::NetdevEgress),
        // Of a caller that nobody knows, the other facts show it.
        ("nft_do_chain nft_do_chain_inet nf_hook_slow something_new", Stage::NetfilterPrerouting),
    ] {
        let mut frames = frames.split(' ');
        let function = frames.next().unwrap();
        let callers: Vec<Arc<str>> = frames.map(Arc::from).collect();
        let facts = Facts {
            reason: "NETFILTER_DROP",
            function,
            callers: &callers,
            ifindex: 2,
            input_ifindex: 2,
            ..Facts::default()
        };
        assert_eq!(of(&facts), expected, "{function} {callers:?}");
    }
}

#[test]
fn reasons_then_functions() {
    for (reason, function, expected) in [
        ("NO_SOCKET", "icmp_rcv", Stage::Socket),
        ("IP_OUTNOROUTES", "ip_forward", Stage::Routing),
        ("IP_INHDR", "ip_forward", Stage::Routing),
        ("IP_INHDR", "ip6_forward", Stage::Routing),
        ("IP_INHDR", "ip_rcv_core", Stage::Ingress),
        ("XFRM_POLICY", "ip_forward", Stage::Routing),
        ("XFRM_POLICY", "tcp_v4_rcv", Stage::Socket),
        ("IPV6DISABLED", "ip6_rcv_core", Stage::Ingress),
        ("NOT_SPECIFIED", "br_nf_pre_routing_finish_ipv6", Stage::Routing),
        ("NEIGH_FAILED", "", Stage::Neighbour),
        ("QDISC_DROP", "", Stage::Qdisc),
        ("TC_INGRESS", "", Stage::Ingress),
        ("NOT_SPECIFIED", "ip_error", Stage::Routing),
        ("NOT_SPECIFIED", "icmpv6_rcv", Stage::Routing),
        ("ICMP_CSUM", "icmpv6_rcv", Stage::Socket),
        ("NOT_SPECIFIED", "do_xdp_generic", Stage::Ingress),
        ("NOT_SPECIFIED", "veth_xmit", Stage::Egress),
        // More than the port takes, and nothing back through the port that it came by.
        ("NOT_SPECIFIED", "br_dev_queue_push_xmit", Stage::Egress),
        ("NOT_SPECIFIED", "br_forward", Stage::Egress),
        ("NOT_SPECIFIED", "br_handle_frame_finish", Stage::Ingress),
        ("NOT_SPECIFIED", "", Stage::Unspecified),
        ("unknown(70000)", "something_new", Stage::Unspecified),
    ] {
        let facts = Facts { reason, function, ..Facts::default() };
        assert_eq!(of(&facts), expected, "{reason} in {function}");
    }
}

#[test]
fn what_is_too_big_is_so_for_where_it_was_to_go() {
    assert_eq!(place("PKT_TOO_BIG", 2, 5), 5);
    assert_eq!(place("PKT_TOO_BIG", 2, 0), 2);
    assert_eq!(place("NETFILTER_DROP", 2, 5), 2);
}
