//! What faults do to the kernel: rules, links, routes, neighbours, processes. What they do to servers,
//! services and the inventory follows from the list of active faults, see `servers.rs`, `service.rs` and
//! `inventory.rs`.

use anyhow::{Result, ensure};

use super::{Fault, conntrack, misconfigured, rules};
use crate::spec::Mode;
use crate::topology::{Node, STORAGE, STORAGE_UPLINK, Topology};
use crate::{netns, process, wiring};

/// A hardware address that nobody has.
const NOBODY: &str = "02:de:ad:00:00:01";

impl Fault {
    /// Whether it changes servers, services or the inventory, beyond rules and links.
    pub(crate) fn changes_cluster(&self) -> bool {
        matches!(
            self,
            Self::Dns { .. }
                | Self::Reorder { .. }
                | Self::BackendRefuses { .. }
                | Self::BackendStuck { .. }
                | Self::BackendDead { .. }
                | Self::NoEndpoints { .. }
                | Self::NoNodePort { .. }
                | Self::NoTranslation { .. }
                | Self::NodeKilled { .. }
                | Self::NodeState { .. }
                | Self::PodGone { .. }
        )
    }
}

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
        Fault::RouteLoop { a, b, to } => {
            let (a, b) = (topology.node(a)?, topology.node(b)?);
            for (here, there) in [(a, b), (b, a)] {
                netns::ip(&here.netns, &towards(topology, "replace", there, to)?)?;
            }
            Ok(())
        }
        Fault::ReversePath { node, from } => {
            let (node, from) = (topology.node(node)?, topology.node(from)?);
            netns::ip(&node.netns, &[format!("route replace {} dev cni0", from.v4)])?;
            netns::sysctl(&node.netns, &[("ipv4/conf/eth0/rp_filter", "1")])
        }
        Fault::SlowLink { pod, rate_kbit } => {
            let pod = topology.pod(pod)?;
            // The shortest queue that still takes one probe of every kind.
            let shape = format!("rate {rate_kbit}kbit burst 400 limit 400");
            netns::tc(
                &topology.node_of(pod)?.netns,
                &format!("qdisc replace dev {} root tbf {shape}", pod.veth),
            )
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
        Fault::StorageDown { node } => {
            let node = topology.node(node)?;
            ensure!(topology.has_storage(), "this lab has no network {STORAGE}");
            netns::ip(&node.netns, &[format!("link set {STORAGE_UPLINK} down")])
        }
        Fault::StorageAddressGone { pod } => {
            let pod = topology.pod(pod)?;
            ensure!(pod.storage.is_some(), "pod `{}` is not on network {STORAGE}", pod.name);
            // Both families; IPv6's link-local address stays.
            netns::ip(&pod.netns, &["addr flush dev net1 scope global".to_owned()])
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
        Fault::FragmentsDropped { node, from: Some(from) } => {
            netns::ip(&topology.node(from)?.netns, &in_pieces(topology, "replace", node)?)
        }
        Fault::ConntrackFull { node } => conntrack::fill(&topology.node(node)?.netns),
        Fault::MtuBlackhole { node, at, mtu_bytes } => at.set(topology, node, *mtu_bytes),
        other => misconfigured::inject(other, topology),
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
        Fault::RouteLoop { a, b, to } => {
            let (a, b) = (topology.node(a)?, topology.node(b)?);
            for (here, there) in [(a, b), (b, a)] {
                netns::ip_forgiving(&here.netns, &towards(topology, "del", there, to)?);
                wiring::restore_node(topology, here)?;
            }
            Ok(())
        }
        Fault::ReversePath { node, from } => {
            let (node, from) = (topology.node(node)?, topology.node(from)?);
            netns::ip_forgiving(&node.netns, &[format!("route del {} dev cni0", from.v4)]);
            netns::sysctl(&node.netns, &[("ipv4/conf/eth0/rp_filter", "0")])
        }
        Fault::SlowLink { pod, .. } => {
            let pod = topology.pod(pod)?;
            // An error says that there is none to take away.
            _ = netns::tc(&topology.node_of(pod)?.netns, &format!("qdisc del dev {} root", pod.veth));
            Ok(())
        }
        Fault::PodLinkDown { pod } | Fault::StorageAddressGone { pod } => {
            wiring::restore_pod(topology, topology.pod(pod)?)
        }
        Fault::UplinkDown { node } | Fault::StorageDown { node } => {
            wiring::restore_node(topology, topology.node(node)?)
        }
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
        Fault::FragmentsDropped { node, from: Some(from) } => {
            netns::ip_forgiving(&topology.node(from)?.netns, &in_pieces(topology, "del", node)?);
            Ok(())
        }
        Fault::ConntrackFull { node } => conntrack::empty(&topology.node(node)?.netns),
        Fault::MtuBlackhole { node, at, .. } => at.unset(topology, node),
        other => misconfigured::heal(other, topology),
    }
}

/// Takes away what kernels remember of a fault, once the services are as they were: a SYN that was never answered is
/// known for two minutes, and what leaves from the same port meanwhile goes to the same dead address.
pub(crate) fn forget(fault: &Fault, topology: &Topology) -> Result<()> {
    match fault {
        Fault::BackendDead { .. } => {
            topology.nodes.iter().try_for_each(|node| conntrack::forget(&node.netns))
        }
        _ => Ok(()),
    }
}

/// Whether what the fault names is there, for faults that the kernel part does not look up itself.
fn check(fault: &Fault, topology: &Topology) -> Result<()> {
    match fault {
        Fault::BackendRefuses { pod } | Fault::BackendDead { pod } | Fault::BackendStuck { pod } => {
            let found = topology.pod(pod)?;
            let backs = topology.services.iter().flat_map(|service| &service.backends);
            let known = backs.into_iter().any(|backend| backend.pod.as_ref() == Some(&found.name));
            ensure!(known, "pod `{pod}` stands behind no service");
        }
        Fault::PodGone { pod } => _ = topology.pod(pod)?,
        Fault::NodeState { node, .. } | Fault::Reorder { node, .. } => _ = topology.node(node)?,
        Fault::FragmentsDropped { node, from: Some(from) } => {
            ensure!(node != from, "what node `{node}` sends to itself is not cut into pieces");
        }
        Fault::NoEndpoints { service } => _ = topology.service(service)?,
        Fault::NoNodePort { node, service } | Fault::NoTranslation { node, service } => {
            topology.node(node)?;
            topology.service(service)?;
        }
        _ => {}
    }
    Ok(())
}

/// Routes to a place through another node's underlay address, before all others of that length.
fn towards(topology: &Topology, verb: &str, there: &Node, to: &str) -> Result<Vec<String>> {
    let (v4, v6) = rules::prefixes(topology, to)?;
    let v4 = v4.iter().map(|prefix| format!("route {verb} {prefix} via {} dev eth0", there.v4));
    let v6 = v6.iter().map(|prefix| format!("route {verb} {prefix} via {} dev eth0 metric 1", there.v6));
    Ok(v4.chain(v6).collect())
}

/// A route to a node that whole packets don't fit through. Its MTU is locked: senders that leave it to the kernel whether
/// their packets may be cut are not asked for smaller ones (net/ipv4/ip_output.c, ip_dont_fragment).
fn in_pieces(topology: &Topology, verb: &str, to: &str) -> Result<[String; 2]> {
    let node = topology.node(to)?;
    let route = |prefix: String, metric| format!("route {verb} {prefix} dev eth0 mtu lock 1400{metric}");
    Ok([route(format!("{}/32", node.v4), ""), route(format!("{}/128", node.v6), " metric 1")])
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
