//! Which addresses follow from a block, a node's number and a pod's. Pure.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Node, Topology};

/// Lengths of the prefixes of all pods, IPv4 first.
pub(crate) const CLUSTER_PREFIXES: [u8; 2] = [16, 48];

impl Node {
    /// Network of its pods, as `ADDRESS/LEN`.
    #[must_use]
    pub fn pod_cidr_v4(&self) -> String {
        format!("10.{}.{}.0/24", 244 + self.block, self.number)
    }

    /// Network of its pods, as `ADDRESS/LEN`.
    #[must_use]
    pub fn pod_cidr_v6(&self) -> String {
        format!("{}/64", self.overlay_v6())
    }

    /// Network of all nodes' pods, as `ADDRESS/LEN`.
    #[must_use]
    pub fn cluster_cidr_v4(&self) -> String {
        cluster_cidr_v4(self.block)
    }

    /// Network of all nodes' pods, as `ADDRESS/LEN`.
    #[must_use]
    pub fn cluster_cidr_v6(&self) -> String {
        cluster_cidr_v6(self.block)
    }

    /// Address of `cni0`, the pods' gateway.
    #[must_use]
    pub fn bridge_v4(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 244 + self.block, self.number, 1)
    }

    /// Address of `cni0`, the pods' gateway.
    #[must_use]
    pub fn bridge_v6(&self) -> Ipv6Addr {
        pod_v6(self.block, self.number, 1)
    }

    /// Address of `flannel.1`.
    #[must_use]
    pub fn overlay_v4(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 244 + self.block, self.number, 0)
    }

    /// Address of `flannel.1`.
    #[must_use]
    pub fn overlay_v6(&self) -> Ipv6Addr {
        pod_v6(self.block, self.number, 0)
    }

    /// Hardware address of `flannel.1`.
    #[must_use]
    pub fn overlay_mac(&self) -> String {
        format!("02:f1:00:00:00:{:02x}", self.number)
    }

    /// Hardware address of `cni0`.
    #[must_use]
    pub fn bridge_mac(&self) -> String {
        format!("02:c0:00:00:00:{:02x}", self.number)
    }

    /// The switch's port for this node, in the underlay namespace.
    #[must_use]
    pub fn switch_port(&self) -> String {
        format!("port-{}", self.name)
    }
}

impl Topology {
    /// Address of the underlay's gateway, which leads nowhere but makes a default route possible; where labs are joined, to
    /// the other one.
    #[must_use]
    pub const fn gateway_v4(&self) -> Ipv4Addr {
        underlay_v4(self.block, 1)
    }

    /// The same of the other family.
    #[must_use]
    pub const fn gateway_v6(&self) -> Ipv6Addr {
        underlay_v6(self.block, 1)
    }

    /// The networks of its nodes, then those of its pods, as `ADDRESS/LEN`, IPv4 first.
    #[must_use]
    pub fn networks(&self) -> [[String; 2]; 2] {
        let underlay =
            [format!("172.{}.0.0/24", 30 + self.block), format!("{}/64", underlay_v6(self.block, 0))];
        [underlay, [cluster_cidr_v4(self.block), cluster_cidr_v6(self.block)]]
    }
}

/// `number` written in decimal digits, read as hexadecimal: 12 → 0x12.
pub(super) const fn digits(number: u8) -> u16 {
    let number = number as u16;
    number / 100 * 0x100 + number / 10 % 10 * 0x10 + number % 10
}

pub(super) const fn underlay_v4(block: u8, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(172, 30 + block, 0, host)
}

pub(super) const fn underlay_v6(block: u8, host: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x172, digits(30 + block), 0, 0, 0, 0, digits(host))
}

pub(super) const fn pod_v6(block: u8, node: u8, host: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x10, digits(244 + block), digits(node), 0, 0, 0, digits(host))
}

fn cluster_cidr_v4(block: u8) -> String {
    format!("10.{}.0.0/{}", 244 + block, CLUSTER_PREFIXES[0])
}

fn cluster_cidr_v6(block: u8) -> String {
    format!("fd00:10:{}::/{}", 244 + block, CLUSTER_PREFIXES[1])
}
