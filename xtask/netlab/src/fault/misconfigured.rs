//! Faults of configuration: a node or a pod that is set up wrongly, and forwards or answers accordingly.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Fault;
use crate::spec::{Mode, Proxy};
use crate::topology::{CLUSTER_PREFIXES, Node, Pod, Topology};
use crate::{netns, wiring};

/// An underlay address that nobody has.
const GONE: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 250);
/// How long the kernel may take to find an address in use; it asks once and waits a second.
const DETECTION: Duration = Duration::from_secs(6);
const POLL: Duration = Duration::from_millis(50);

/// Breaks it, if the fault is one of these.
pub(super) fn inject(fault: &Fault, topology: &Topology) -> Result<()> {
    match fault {
        Fault::NoHairpin { pod } => {
            ensure!(
                topology.proxy != Proxy::Plain,
                "without kube-proxy's rules (`--services`) no packet goes back through its port"
            );
            set_hairpin(topology, pod, false)
        }
        Fault::WrongVni { node } => remake_overlay(topology, node, wiring::OVERLAY_VNI + 1),
        Fault::StaleTunnel { node, to } => {
            ensure!(topology.mode == Mode::Vxlan, "this lab has no tunnels");
            ensure!(node != to, "node `{node}` has no tunnel to itself");
            let (node, to) = (topology.node(node)?, topology.node(to)?);
            let line = format!("fdb replace {} dev flannel.1 dst {GONE} self", to.overlay_mac());
            netns::bridge(&node.netns, &[line])
        }
        Fault::PodMtu { node, mtu_bytes } => set_pod_mtu(topology, topology.node(node)?, *mtu_bytes),
        Fault::PodMask { pod } => {
            let pod = topology.pod(pod)?;
            netns::ip_forgiving(&pod.netns, &addresses("del", pod, [24, 64]));
            netns::ip(&pod.netns, &addresses("replace", pod, CLUSTER_PREFIXES))?;
            netns::ip(&pod.netns, &wiring::pod_routes(topology.node_of(pod)?))
        }
        Fault::EchoIgnored { at } => set_echo_ignored(topology, at, "1"),
        Fault::ForwardingOff { node } => set_forwarding(topology, node, "0"),
        Fault::DadFailed { pod } => fail_detection(topology, topology.pod(pod)?),
        Fault::DuplicateAddress { of, at } => duplicate(topology, topology.pod(of)?, topology.pod(at)?),
        _ => Ok(()),
    }
}

/// Mends what [`inject`] broke.
pub(super) fn heal(fault: &Fault, topology: &Topology) -> Result<()> {
    match fault {
        Fault::NoHairpin { pod } => set_hairpin(topology, pod, true),
        Fault::WrongVni { node } => remake_overlay(topology, node, wiring::OVERLAY_VNI),
        Fault::StaleTunnel { node, .. } => wiring::restore_node(topology, topology.node(node)?),
        Fault::PodMtu { node, .. } => set_pod_mtu(topology, topology.node(node)?, topology.pod_mtu_bytes()),
        Fault::PodMask { pod } => {
            let pod = topology.pod(pod)?;
            netns::ip_forgiving(&pod.netns, &addresses("del", pod, CLUSTER_PREFIXES));
            wiring::restore_pod(topology, pod)
        }
        Fault::EchoIgnored { at } => set_echo_ignored(topology, at, "0"),
        Fault::ForwardingOff { node } => set_forwarding(topology, node, "1"),
        Fault::DadFailed { pod } => {
            let pod = topology.pod(pod)?;
            netns::sysctl(&pod.netns, &[("ipv6/conf/eth0/accept_dad", "0")])?;
            // An address that failed stays failed until it is given anew.
            netns::ip_forgiving(&pod.netns, &[format!("addr del {}/64 dev eth0", pod.v6)]);
            wiring::restore_pod(topology, pod)
        }
        Fault::DuplicateAddress { of, at } => {
            let (of, at) = (topology.pod(of)?, topology.pod(at)?);
            netns::ip_forgiving(&at.netns, &addresses("del", of, [32, 128]));
            let forget = dual(of).map(|address| format!("neigh del {address} dev cni0"));
            netns::ip_forgiving(&topology.node_of(of)?.netns, &forget);
            Ok(())
        }
        _ => Ok(()),
    }
}

fn dual(pod: &Pod) -> [String; 2] {
    [pod.v4.to_string(), pod.v6.to_string()]
}

/// Commands for a pod's addresses under other prefixes than those it has.
fn addresses(verb: &str, pod: &Pod, [v4, v6]: [u8; 2]) -> [String; 2] {
    let nodad = if verb == "del" { "" } else { " nodad" };
    [format!("addr {verb} {}/{v4} dev eth0", pod.v4), format!("addr {verb} {}/{v6} dev eth0{nodad}", pod.v6)]
}

fn set_hairpin(topology: &Topology, pod: &str, on: bool) -> Result<()> {
    let pod = topology.pod(pod)?;
    netns::ip(&topology.node_of(pod)?.netns, &[wiring::hairpin(&pod.veth, on)])
}

/// The identifier is fixed when the interface is made, so it is made again.
fn remake_overlay(topology: &Topology, node: &str, vni: u32) -> Result<()> {
    ensure!(topology.mode == Mode::Vxlan, "this lab has no overlay");
    let node = topology.node(node)?;
    netns::ip_forgiving(&node.netns, &["link del flannel.1".to_owned()]);
    netns::ip(&node.netns, &[wiring::overlay_link(topology, node, vni)])?;
    wiring::restore_node(topology, node)
}

/// Sets the MTU of both ends of the pods' links. The bridge is set as well: it follows its smallest port otherwise.
fn set_pod_mtu(topology: &Topology, node: &Node, mtu_bytes: u16) -> Result<()> {
    let ports = node.pods.iter().map(|pod| format!("link set {} mtu {mtu_bytes}", pod.veth));
    let bridge = format!("link set cni0 mtu {}", topology.pod_mtu_bytes());
    netns::ip(&node.netns, &ports.chain([bridge]).collect::<Vec<_>>())?;
    node.pods.iter().try_for_each(|pod| {
        netns::ip(&pod.netns, &[format!("link set eth0 mtu {mtu_bytes}")])?;
        netns::ip(&pod.netns, &wiring::pod_routes(node))
    })
}

fn set_echo_ignored(topology: &Topology, at: &str, value: &str) -> Result<()> {
    let netns = match topology.pod(at) {
        Ok(pod) => &pod.netns,
        Err(_) => &topology.node(at).context("neither a pod nor a node")?.netns,
    };
    netns::sysctl(netns, &[("ipv4/icmp_echo_ignore_all", value), ("ipv6/icmp/echo_ignore_all", value)])
}

fn set_forwarding(topology: &Topology, node: &str, value: &str) -> Result<()> {
    let netns = &topology.node(node)?.netns;
    netns::sysctl(netns, &[("ipv4/ip_forward", value), ("ipv6/conf/all/forwarding", value)])
}

/// Another pod on the bridge has the address while the pod asks whether anybody has.
fn fail_detection(topology: &Topology, pod: &Pod) -> Result<()> {
    let node = topology.node_of(pod)?;
    let other = node.pods.iter().find(|other| other.name != pod.name);
    let other = other.with_context(|| format!("`{}` is alone on its bridge", pod.name))?;
    if has_failed(pod)? {
        return Ok(());
    }
    netns::ip(&other.netns, &[format!("addr replace {}/128 dev eth0 nodad", pod.v6)])?;
    let failed = ask_for_address(topology, pod);
    netns::ip(&other.netns, &[format!("addr del {}/128 dev eth0", pod.v6)])?;
    failed
}

fn ask_for_address(topology: &Topology, pod: &Pod) -> Result<()> {
    netns::sysctl(&pod.netns, &[("ipv6/conf/eth0/accept_dad", "1")])?;
    netns::ip(
        &pod.netns,
        &[format!("addr del {}/64 dev eth0", pod.v6), format!("addr add {}/64 dev eth0", pod.v6)],
    )?;
    netns::ip(&pod.netns, &wiring::pod_routes(topology.node_of(pod)?))?;
    let deadline = Instant::now() + DETECTION;
    while !has_failed(pod)? {
        ensure!(Instant::now() < deadline, "pod `{}` does not find its address in use", pod.name);
        std::thread::sleep(POLL);
    }
    Ok(())
}

fn has_failed(pod: &Pod) -> Result<bool> {
    let mut ip = Command::new("ip");
    ip.args(["-n", &pod.netns, "-6", "-o", "addr", "show", "dev", "eth0", "dadfailed"]);
    let failed = netns::output(&mut ip, "").context("listing addresses that failed")?;
    Ok(failed.contains(&format!("{}/64", pod.v6)))
}

/// The node asks the other pod, as if that had answered first, and goes on doing so.
fn duplicate(topology: &Topology, of: &Pod, at: &Pod) -> Result<()> {
    ensure!(of.node == at.node && of.name != at.name, "two pods of one node are needed");
    netns::ip(&at.netns, &addresses("replace", of, [32, 128]))?;
    let mac = hardware_address(at)?;
    let answers =
        dual(of).map(|address| format!("neigh replace {address} lladdr {mac} dev cni0 nud permanent"));
    netns::ip(&topology.node_of(of)?.netns, &answers)
}

fn hardware_address(pod: &Pod) -> Result<String> {
    let mut ip = Command::new("ip");
    ip.args(["-n", &pod.netns, "-j", "link", "show", "dev", "eth0"]);
    let links: Value =
        serde_json::from_str(&netns::output(&mut ip, "")?).context("reading what `ip` says")?;
    let address = links[0]["address"].as_str();
    address.map(str::to_owned).with_context(|| format!("eth0 of pod `{}` has no address", pod.name))
}
