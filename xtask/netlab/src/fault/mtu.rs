//! The fault `mtu-blackhole`: somewhere on the way a link takes only packets up to a size, and no sender learns of it.

use anyhow::Result;

use crate::spec::Mode;
use crate::topology::Topology;
use crate::{netns, wiring};

/// Which link is narrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Narrow {
    /// The node's tunnel; over plain routes its uplink.
    Tunnel,
    /// What the node forwards to its pods through.
    Pods,
    /// The switch's port of the node: no kernel on any node sees the drop. It takes 4 bytes more than it is told to,
    /// the room for a VLAN tag.
    Cable,
}

impl Narrow {
    fn link(self, topology: &Topology, node: &str) -> Result<(String, String, u16)> {
        let node = topology.node(node)?;
        Ok(match (self, topology.mode) {
            (Self::Tunnel, Mode::Vxlan) => {
                (node.netns.clone(), "flannel.1".to_owned(), topology.pod_mtu_bytes())
            }
            (Self::Tunnel, Mode::Routed) => (node.netns.clone(), "eth0".to_owned(), 1500),
            (Self::Pods, _) => (node.netns.clone(), "cni0".to_owned(), topology.pod_mtu_bytes()),
            (Self::Cable, _) => (topology.underlay_ns.clone(), node.switch_port(), 1500),
        })
    }

    /// Makes it narrow.
    pub(super) fn set(self, topology: &Topology, node: &str, mtu_bytes: u16) -> Result<()> {
        let (netns, link, _) = self.link(topology, node)?;
        netns::ip(&netns, &[format!("link set {link} mtu {mtu_bytes}")])
    }

    /// Makes it as wide as it was.
    pub(super) fn unset(self, topology: &Topology, node: &str) -> Result<()> {
        let (netns, link, mtu_bytes) = self.link(topology, node)?;
        netns::ip(&netns, &[format!("link set {link} mtu {mtu_bytes}")])?;
        // An MTU that was too small for a while may have cost addresses and routes.
        wiring::restore_node(topology, topology.node(node)?)
    }

    /// The rules, for the node's output hook, that keep senders in the dark.
    pub(super) fn rules(self) -> Vec<String> {
        match self {
            Self::Tunnel | Self::Pods => vec![
                "icmp type destination-unreachable icmp code frag-needed counter drop".to_owned(),
                "icmpv6 type packet-too-big counter drop".to_owned(),
            ],
            // A switch sends no such thing.
            Self::Cable => Vec::new(),
        }
    }
}
