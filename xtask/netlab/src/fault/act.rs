//! What faults do to the kernel: rules, links, routes, neighbours, processes. What they do to servers,
//! services and the inventory follows from the list of active faults, see `servers.rs`, `service.rs` and
//! `inventory.rs`.

use anyhow::{Result, ensure};

use super::{Fault, rules};
use crate::spec::Mode;
use crate::topology::{Node, Topology};
use crate::{netns, process, wiring};

/// A hardware address that nobody has.
const NOBODY: &str = "02:de:ad:00:00:01";

/// Breaks what the fault says.
pub(crate) fn inject(fault: &Fault, topology: &Topology) -> Result<()> {
    check(fault, topology)?;
    for script in rules::scripts(fault, topology)? {
        netns::nft(&script.netns, &script.inject)?;
    }
    match fault {
        Fault::Route { node, kind, to } => {
            let (v4, v6) = rules::prefixes(topology, to)?;
            let kind = kind.name();
            let v4 = v4.iter().map(|prefix| format!("route replace {kind} {prefix}"));
            // A lower metric than other IPv6 routes have: it goes first instead of in their place.
            let v6 = v6.iter().map(|prefix| format!("route replace {kind} {prefix} metric 1"));
            netns::ip(&topology.node(node)?.netns, &v4.chain(v6).collect::<Vec<_>>())
        }
        Fault::VethDown { pod } => {
            let pod = topology.pod(pod)?;
            netns::ip(&topology.node_of(pod)?.netns, &[format!("link set {} down", pod.veth)])
        }
        Fault::PodLinkDown { pod } => {
            netns::ip(&topology.pod(pod)?.netns, &["link set eth0 down".to_owned()])
        }
        Fault::UplinkDown { node } => {
            netns::ip(&topology.node(node)?.netns, &["link set eth0 down".to_owned()])
        }
        Fault::NodeKilled { node } => {
            let node = topology.node(node)?;
            netns::ip(&topology.underlay_ns, &[format!("link set {} down", node.switch_port())])?;
            let pods = node.pods.iter().map(|pod| pod.netns.clone());
            process::kill_all(&pods.chain([node.netns.clone()]).collect::<Vec<_>>())
        }
        Fault::WrongNeighbour { node, to } => {
            let node = topology.node(node)?;
            let lines: Vec<String> = neighbours(topology, node, to)?
                .into_iter()
                .map(|(address, dev)| {
                    format!("neigh replace {address} lladdr {NOBODY} dev {dev} nud permanent")
                })
                .collect();
            netns::ip(&node.netns, &lines)
        }
        Fault::MtuBlackhole { node, mtu_bytes } => {
            let (node, dev) = (topology.node(node)?, tunnel(topology));
            netns::ip(&node.netns, &[format!("link set {dev} mtu {mtu_bytes}")])
        }
        _ => Ok(()),
    }
}

/// Mends what the fault broke; whole things stay whole.
pub(crate) fn heal(fault: &Fault, topology: &Topology) -> Result<()> {
    for script in rules::scripts(fault, topology)? {
        netns::nft(&script.netns, &script.heal)?;
    }
    match fault {
        Fault::Route { node, kind, to } => {
            let node = topology.node(node)?;
            let (v4, v6) = rules::prefixes(topology, to)?;
            let kind = kind.name();
            let v4 = v4.iter().map(|prefix| format!("route del {kind} {prefix}"));
            let v6 = v6.iter().map(|prefix| format!("route del {kind} {prefix} metric 1"));
            netns::ip_forgiving(&node.netns, &v4.chain(v6).collect::<Vec<_>>());
            wiring::restore_node(topology, node)
        }
        Fault::VethDown { pod } => {
            let pod = topology.pod(pod)?;
            netns::ip(&topology.node_of(pod)?.netns, &[format!("link set {} up", pod.veth)])
        }
        Fault::PodLinkDown { pod } => wiring::restore_pod(topology, topology.pod(pod)?),
        Fault::UplinkDown { node } => wiring::restore_node(topology, topology.node(node)?),
        Fault::NodeKilled { node } => {
            let port = topology.node(node)?.switch_port();
            netns::ip(&topology.underlay_ns, &[format!("link set {port} up")])
        }
        Fault::WrongNeighbour { node, to } => {
            let node = topology.node(node)?;
            let lines: Vec<String> = neighbours(topology, node, to)?
                .into_iter()
                .map(|(address, dev)| format!("neigh del {address} dev {dev}"))
                .collect();
            netns::ip_forgiving(&node.netns, &lines);
            wiring::restore_node(topology, node)
        }
        Fault::MtuBlackhole { node, .. } => {
            let (node, dev) = (topology.node(node)?, tunnel(topology));
            let mtu = if dev == "eth0" { 1500 } else { topology.pod_mtu_bytes() };
            netns::ip(&node.netns, &[format!("link set {dev} mtu {mtu}")])?;
            // An MTU that was too small for a while may have cost addresses and routes.
            wiring::restore_node(topology, node)
        }
        _ => Ok(()),
    }
}

/// Whether what the fault names is there, for faults that the kernel part does not look up itself.
fn check(fault: &Fault, topology: &Topology) -> Result<()> {
    match fault {
        Fault::BackendRefuses { pod } | Fault::BackendDead { pod } => {
            let found = topology.pod(pod)?;
            let backs = topology.services.iter().flat_map(|service| &service.backends);
            let known = backs.into_iter().any(|backend| backend.pod.as_ref() == Some(&found.name));
            ensure!(known, "pod `{pod}` stands behind no service");
        }
        Fault::PodGone { pod } => _ = topology.pod(pod)?,
        Fault::NodeState { node, .. } => _ = topology.node(node)?,
        Fault::NoEndpoints { service } => _ = topology.service(service)?,
        _ => {}
    }
    Ok(())
}

fn tunnel(topology: &Topology) -> &'static str {
    match topology.mode {
        Mode::Vxlan => "flannel.1",
        Mode::Routed => "eth0",
    }
}

/// The neighbours through which a node reaches another node or a pod, with their interfaces.
fn neighbours(topology: &Topology, node: &Node, to: &str) -> Result<[(String, &'static str); 2]> {
    let pair =
        |v4: std::net::Ipv4Addr, v6: std::net::Ipv6Addr, dev| [(v4.to_string(), dev), (v6.to_string(), dev)];
    if let Ok(pod) = topology.pod(to) {
        let home = topology.node_of(pod)?;
        return Ok(match topology.mode {
            _ if home.name == node.name => pair(pod.v4, pod.v6, "cni0"),
            Mode::Vxlan => pair(home.overlay_v4(), home.overlay_v6(), "flannel.1"),
            Mode::Routed => pair(home.v4, home.v6, "eth0"),
        });
    }
    let (v4, v6) = topology.addresses(to)?;
    ensure!(to != node.name, "node `{to}` is no neighbour of itself");
    Ok(pair(v4, v6, "eth0"))
}
