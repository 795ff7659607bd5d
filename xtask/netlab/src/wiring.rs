//! Turns a [`Topology`] into interfaces, addresses and routes. What is written as `replace` is written again
//! when a fault that removed it heals.

use std::path::Path;

use anyhow::Result;

use crate::spec::{Mode, Proxy};
use crate::topology::{Node, Pod, STORAGE_BRIDGE, STORAGE_UPLINK, Topology, VXLAN_PORT};
use crate::{cni, netns};

/// For every namespace, before it has interfaces: addresses are usable at once, nothing is filtered by
/// source, a link that went down keeps its IPv6 addresses, and ping needs no privilege (as in pods).
const SYSCTLS: &[(&str, &str)] = &[
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/ping_group_range", "0 2147483647"),
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/all/accept_ra", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/all/keep_addr_on_down", "1"),
    ("ipv6/conf/default/keep_addr_on_down", "1"),
    ("bridge/bridge-nf-call-iptables", "0"),
    ("bridge/bridge-nf-call-ip6tables", "0"),
    ("bridge/bridge-nf-call-arptables", "0"),
];

/// For namespaces that forward: the nodes, and the switch, whose gateway answers that it knows no way.
const FORWARDING: &[(&str, &str)] =
    &[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1"), ("ipv6/conf/default/forwarding", "1")];

/// For nodes with kube-proxy's rules, which need to see what bridges pass on between pods.
const BRIDGE_NETFILTER: &[(&str, &str)] =
    &[("bridge/bridge-nf-call-iptables", "1"), ("bridge/bridge-nf-call-ip6tables", "1")];

/// Creates the namespaces and everything in them that carries packets; CNI plugins keep their state below `state`.
pub(crate) fn wire(topology: &Topology, state: &Path) -> Result<()> {
    let namespaces: Vec<String> = topology.namespaces().collect();
    netns::create(&namespaces)?;
    for ns in &namespaces {
        netns::sysctl(ns, SYSCTLS)?;
    }
    netns::sysctl(&topology.underlay_ns, FORWARDING)?;
    netns::ip(&topology.underlay_ns, &switch(topology))?;
    netns::ip(&topology.hub_ns, &hub(topology))?;
    netns::each(&topology.nodes, |node| {
        netns::sysctl(&node.netns, FORWARDING)?;
        if topology.proxy != Proxy::Plain {
            netns::sysctl(&node.netns, BRIDGE_NETFILTER)?;
        }
        netns::ip(&node.netns, &node_links(topology, node))?;
        if topology.cni_plugins {
            // Their `ipam` locks a folder, so one pod comes after the other.
            node.pods.iter().try_for_each(|pod| cni::attach(topology, node, pod, state))?;
        }
        restore_node(topology, node)?;
        for pod in &node.pods {
            netns::ip(&pod.netns, &pod_addresses(topology, node, pod))?;
        }
        Ok(())
    })
}

/// Puts a node's addresses, routes and neighbours back.
pub(crate) fn restore_node(topology: &Topology, node: &Node) -> Result<()> {
    netns::ip(&node.netns, &node_addresses(topology, node))?;
    netns::bridge(&node.netns, &forwarding(topology, node))
}

/// Puts a pod's addresses and routes back.
pub(crate) fn restore_pod(topology: &Topology, pod: &Pod) -> Result<()> {
    netns::ip(&pod.netns, &pod_addresses(topology, topology.node_of(pod)?, pod))
}

fn switch(topology: &Topology) -> Vec<String> {
    let (gateway_v4, gateway_v6) = (topology.gateway_v4(), topology.gateway_v6());
    let mut lines = vec![
        "link set lo up".to_owned(),
        "link add name switch type bridge forward_delay 0 mcast_snooping 0".to_owned(),
        "link set switch up".to_owned(),
        format!("addr replace {gateway_v4}/24 dev switch"),
        format!("addr replace {gateway_v6}/64 dev switch nodad"),
    ];
    let nodes = topology.nodes.iter().map(|node| (node.switch_port(), &node.netns));
    for (port, ns) in nodes.chain([("port-hub".to_owned(), &topology.hub_ns)]) {
        lines.push(format!("link add name {port} type veth peer name eth0 netns {ns}"));
        lines.push(format!("link set {port} master switch up"));
    }
    lines
}

fn hub(topology: &Topology) -> Vec<String> {
    vec![
        "link set lo up".to_owned(),
        "link set eth0 up".to_owned(),
        format!("addr replace {}/24 dev eth0", topology.hub_v4),
        format!("addr replace {}/64 dev eth0 nodad", topology.hub_v6),
        format!("route replace 0.0.0.0/0 via {}", topology.gateway_v4()),
        format!("route replace ::/0 via {}", topology.gateway_v6()),
    ]
}

fn node_links(topology: &Topology, node: &Node) -> Vec<String> {
    let mut lines = vec!["link set lo up".to_owned()];
    if !topology.cni_plugins {
        lines.extend(bridge_links(topology, node));
    }
    if topology.has_storage() {
        lines.extend(storage_links(node));
    }
    if topology.mode == Mode::Vxlan {
        lines.push(overlay_link(topology, node, OVERLAY_VNI));
    }
    lines
}

/// The overlay's network identifier, the same on all nodes.
pub(crate) const OVERLAY_VNI: u32 = 1;

/// Makes the node's overlay end, with this network identifier.
pub(crate) fn overlay_link(topology: &Topology, node: &Node, vni: u32) -> String {
    format!(
        "link add name flannel.1 address {} mtu {} type vxlan id {vni} local {} dev eth0 dstport {VXLAN_PORT} \
         nolearning",
        node.overlay_mac(),
        topology.pod_mtu_bytes(),
        node.v4
    )
}

/// The pods' bridge and its ports.
fn bridge_links(topology: &Topology, node: &Node) -> Vec<String> {
    let mtu = topology.pod_mtu_bytes();
    let mut lines = vec![
        // With an address of its own, as CNI plugins give it: otherwise it takes the lowest of its ports, and pods send
        // to the old one whenever a port comes or goes.
        format!(
            "link add name cni0 address {} type bridge forward_delay 0 mcast_snooping 0",
            node.bridge_mac()
        ),
        format!("link set cni0 mtu {mtu} up"),
    ];
    for Pod { veth, netns, .. } in &node.pods {
        lines.push(format!("link add name {veth} mtu {mtu} type veth peer name eth0 netns {netns}"));
        lines.push(format!("link set {veth} master cni0 up"));
        if topology.proxy != Proxy::Plain {
            // A pod's request to a service that it serves itself goes back through the port that it came by.
            lines.push(hairpin(veth, true));
        }
    }
    lines
}

/// Whether the bridge sends frames back through a pod's port.
pub(crate) fn hairpin(veth: &str, on: bool) -> String {
    format!("link set {veth} type bridge_slave hairpin {}", if on { "on" } else { "off" })
}

/// Largest packet of the network `default/storage`: the underlay's 1500 bytes less the overlay's 50.
const STORAGE_MTU: u16 = 1450;

/// The bridge of the network `default/storage`, its pods' ports and the one towards other nodes.
fn storage_links(node: &Node) -> Vec<String> {
    let mtu = STORAGE_MTU;
    let mut lines = vec![
        format!("link add name {STORAGE_BRIDGE} type bridge forward_delay 0 mcast_snooping 0"),
        format!("link set {STORAGE_BRIDGE} mtu {mtu} up"),
        format!(
            "link add name {STORAGE_UPLINK} mtu {mtu} type vxlan id 2 local {} dev eth0 dstport {VXLAN_PORT}",
            node.v4
        ),
        format!("link set {STORAGE_UPLINK} master {STORAGE_BRIDGE}"),
    ];
    for (pod, storage) in node.pods.iter().filter_map(|pod| Some((pod, pod.storage.as_ref()?))) {
        let (veth, netns) = (&storage.veth, &pod.netns);
        lines.push(format!("link add name {veth} mtu {mtu} type veth peer name net1 netns {netns}"));
        lines.push(format!("link set {veth} master {STORAGE_BRIDGE} up"));
    }
    lines
}

fn node_addresses(topology: &Topology, node: &Node) -> Vec<String> {
    let mut lines = vec![
        "link set eth0 up".to_owned(),
        format!("addr replace {}/24 dev eth0", node.v4),
        format!("addr replace {}/64 dev eth0 nodad", node.v6),
        format!("route replace 0.0.0.0/0 via {}", topology.gateway_v4()),
        format!("route replace ::/0 via {}", topology.gateway_v6()),
        format!("addr replace {}/24 dev cni0", node.bridge_v4()),
        format!("addr replace {}/64 dev cni0 nodad", node.bridge_v6()),
    ];
    if topology.mode == Mode::Vxlan {
        lines.push(format!("link set flannel.1 mtu {} up", topology.pod_mtu_bytes()));
        lines.push(format!("addr replace {}/32 dev flannel.1", node.overlay_v4()));
        lines.push(format!("addr replace {}/128 dev flannel.1 nodad", node.overlay_v6()));
    }
    if topology.has_storage() {
        lines.push(format!("link set {STORAGE_UPLINK} up"));
    }
    for peer in topology.nodes.iter().filter(|peer| peer.number != node.number) {
        let ends = [
            (peer.pod_cidr_v4(), peer.v4.to_string(), peer.overlay_v4().to_string()),
            (peer.pod_cidr_v6(), peer.v6.to_string(), peer.overlay_v6().to_string()),
        ];
        for (pods, underlay, overlay) in ends {
            match topology.mode {
                Mode::Routed => lines.push(format!("route replace {pods} via {underlay} dev eth0")),
                Mode::Vxlan => {
                    let mac = peer.overlay_mac();
                    lines.push(format!("route replace {pods} via {overlay} dev flannel.1 onlink"));
                    lines.push(format!("neigh replace {overlay} lladdr {mac} dev flannel.1 nud permanent"));
                }
            }
        }
    }
    lines
}

fn forwarding(topology: &Topology, node: &Node) -> Vec<String> {
    let mut lines = Vec::new();
    for peer in topology.nodes.iter().filter(|peer| peer.number != node.number) {
        if topology.mode == Mode::Vxlan {
            lines.push(format!("fdb replace {} dev flannel.1 dst {} self", peer.overlay_mac(), peer.v4));
        }
        if topology.has_storage() {
            // What it knows no node for goes to all. The same line again changes nothing.
            lines.push(format!("fdb append 00:00:00:00:00:00 dev {STORAGE_UPLINK} dst {} self", peer.v4));
        }
    }
    lines
}

/// A pod's ways out, through its node.
pub(crate) fn pod_routes(node: &Node) -> [String; 2] {
    [
        format!("route replace 0.0.0.0/0 via {}", node.bridge_v4()),
        format!("route replace ::/0 via {}", node.bridge_v6()),
    ]
}

fn pod_addresses(topology: &Topology, node: &Node, pod: &Pod) -> Vec<String> {
    let mut lines = vec![
        "link set lo up".to_owned(),
        format!("link set eth0 mtu {} up", topology.pod_mtu_bytes()),
        format!("addr replace {}/24 dev eth0", pod.v4),
        format!("addr replace {}/64 dev eth0 nodad", pod.v6),
    ];
    lines.extend(pod_routes(node));
    if let Some(storage) = &pod.storage {
        lines.extend([
            format!("link set net1 mtu {STORAGE_MTU} up"),
            format!("addr replace {}/16 dev net1", storage.v4),
            format!("addr replace {}/64 dev net1 nodad", storage.v6),
        ]);
    }
    lines
}
