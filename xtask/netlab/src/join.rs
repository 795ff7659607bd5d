//! Two labs on one wire: a cable between their gateways, and routes to what the other one has.

use anyhow::{Result, ensure};

use crate::lab::Lab;
use crate::netns;
use crate::topology::Topology;

/// The cable's end in each lab's underlay namespace.
const CABLE: &str = "to-peer";
/// Addresses of its ends.
const ENDS: [[&str; 2]; 2] = [["172.29.0.1", "fd00:172:29::1"], ["172.29.0.2", "fd00:172:29::2"]];

impl Lab {
    /// Lays a cable between the gateways of two labs, with routes to the nodes of each in the other. It lasts as long as both
    /// labs.
    ///
    /// # Errors
    /// If the second's block of addresses is not the higher one, or the kernel refuses.
    pub fn join(&self, other: &Self) -> Result<()> {
        let (one, two) = (self.topology(), other.topology());
        ensure!(
            one.block < two.block,
            "of two labs that are joined the second has the higher block of addresses"
        );
        let cable = format!("link add name {CABLE} type veth peer name {CABLE} netns {}", two.underlay_ns);
        netns::ip(&one.underlay_ns, &[cable])?;
        for (own, peer, ends) in [(one, two, ENDS), (two, one, [ENDS[1], ENDS[0]])] {
            let [[v4, v6], _] = ends;
            let mut lines = vec![
                format!("addr replace {v4}/30 dev {CABLE}"),
                format!("addr replace {v6}/64 dev {CABLE} nodad"),
                format!("link set {CABLE} up"),
            ];
            // The gateway is no node, and knows none of its own lab's pods without this.
            for node in &own.nodes {
                lines.push(format!("route replace {} via {}", node.pod_cidr_v4(), node.v4));
                lines.push(format!("route replace {} via {}", node.pod_cidr_v6(), node.v6));
            }
            let [nodes, _] = peer.networks();
            lines.extend(routes("replace", &nodes, ends[1]));
            netns::ip(&own.underlay_ns, &lines)?;
        }
        Ok(())
    }

    /// Routes in this lab's gateway to the pods of another that it is joined with; or takes them away.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn route_pods_of(&self, other: &Self, on: bool) -> Result<()> {
        let own: &Topology = self.topology();
        let [_, pods] = other.topology().networks();
        let via = if own.block < other.topology().block { ENDS[1] } else { ENDS[0] };
        netns::ip(&own.underlay_ns, &routes(if on { "replace" } else { "del" }, &pods, via))
    }
}

fn routes<'a>(verb: &'a str, networks: &'a [String; 2], via: [&'a str; 2]) -> Vec<String> {
    networks.iter().zip(via).map(|(network, via)| format!("route {verb} {network} via {via}")).collect()
}
