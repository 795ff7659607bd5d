//! What a lab shall be: its name, size, mode and lifetime. Pure; checked before anything is created.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// How pods on different nodes reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Plain routes to each node's pod network through the node's underlay address.
    Routed,
    /// A VXLAN overlay (`flannel.1`, VNI 1, UDP port 8472) with static forwarding, as flannel makes it.
    Vxlan,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Routed => "routed",
            Self::Vxlan => "vxlan",
        })
    }
}

impl FromStr for Mode {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "routed" => Ok(Self::Routed),
            "vxlan" => Ok(Self::Vxlan),
            _ => bail!("mode is `routed` or `vxlan`, not `{text}`"),
        }
    }
}

/// Who translates services on the nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proxy {
    /// One nftables table of the lab's own, with the least rules that do it.
    #[default]
    Plain,
    /// The chains of kube-proxy's iptables mode, and bridges whose frames go through netfilter.
    KubeProxyIptables,
    /// The tables of kube-proxy's nftables mode, and bridges whose frames go through netfilter.
    KubeProxyNftables,
}

impl Proxy {
    /// All of them, by their names.
    pub const NAMES: &[(&str, Self)] = &[
        ("plain", Self::Plain),
        ("kube-proxy-iptables", Self::KubeProxyIptables),
        ("kube-proxy-nftables", Self::KubeProxyNftables),
    ];
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(_, proxy)| proxy == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

impl FromStr for Proxy {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::NAMES.iter().find(|(name, _)| *name == text);
        let names: Vec<&str> = Self::NAMES.iter().map(|(name, _)| *name).collect();
        found.map(|(_, proxy)| *proxy).with_context(|| format!("`{text}` is none of {}", names.join(", ")))
    }
}

/// How long a lab lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lifetime {
    /// As long as the [`crate::Lab`] value: dropping it tears the lab down, and its processes die with the
    /// driver even when that is killed. (Namespaces then stay until the next `up` or `down` of that name.)
    Driver,
    /// Until [`crate::Lab::down`]: it outlives the program that raised it.
    Detached,
}

/// What to build. `LabSpec::default()` is four nodes in two zones with two pods each over VXLAN, dual stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabSpec {
    /// Part of every name the lab leaves on the machine: lower-case letters, digits and `-`, at most 20.
    pub name: String,
    /// Number of nodes, `n1` to `nN`; 2 to 64.
    pub nodes: u8,
    /// Pod namespaces on each node; 1 to 99, and with two nodes at least 2 (somebody has to serve DNS).
    pub pods_per_node: u8,
    /// Routes or overlay between the pods.
    pub mode: Mode,
    /// Zone names; nodes are dealt to them in blocks (4 nodes, 2 zones: n1 n2 | n3 n4).
    pub zones: Vec<String>,
    /// One more pod on each node, `vantage-nN` in namespace `netcheck`, for netcheck's own vantage.
    #[serde(default)]
    pub vantage: bool,
    /// Whether the lab ends with its driver.
    pub lifetime: Lifetime,
    /// Services of every type besides the plain ones: node ports, load balancers, headless, Local traffic policies, UDP.
    #[serde(default)]
    pub all_services: bool,
    /// A secondary network of pods, `default/storage`, as Multus would attach it: of the vantages and the `app` pods.
    #[serde(default)]
    pub storage: bool,
    /// Who translates services.
    #[serde(default)]
    pub proxy: Proxy,
    /// Whether the CNI plugins `bridge` and `host-local` attach the pods, as a container runtime has them do it.
    #[serde(default)]
    pub cni_plugins: bool,
    /// Which block of addresses it has, 0 to 5; labs that are joined have different ones.
    #[serde(default)]
    pub block: u8,
}

impl Default for LabSpec {
    fn default() -> Self {
        Self {
            name: "lab".to_owned(),
            nodes: 4,
            pods_per_node: 2,
            mode: Mode::Vxlan,
            zones: vec!["zone-a".to_owned(), "zone-b".to_owned()],
            vantage: false,
            lifetime: Lifetime::Driver,
            all_services: false,
            storage: false,
            proxy: Proxy::Plain,
            cni_plugins: false,
            block: 0,
        }
    }
}

impl LabSpec {
    /// The default lab under another name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Checks the bounds that the address plan and the naming rest on.
    ///
    /// # Errors
    /// Says which bound is broken.
    pub fn check(&self) -> Result<()> {
        check_name(&self.name)?;
        ensure!((2..=64).contains(&self.nodes), "nodes must be 2 to 64, not {}", self.nodes);
        ensure!(
            (1..=99).contains(&self.pods_per_node),
            "pods_per_node must be 1 to 99, not {}",
            self.pods_per_node
        );
        ensure!(
            self.nodes > 3 || self.pods_per_node > 1,
            "with fewer than 4 nodes, pods_per_node must be at least 2"
        );
        ensure!(self.block <= 5, "block must be 0 to 5, not {}", self.block);
        ensure!(
            self.block == 0 || self.proxy == Proxy::Plain,
            "a lab with kube-proxy's rules has block 0, not {}",
            self.block
        );
        ensure!(!self.zones.is_empty(), "at least one zone is needed");
        ensure!(
            self.zones.len() <= usize::from(self.nodes),
            "{} zones are too many for {} nodes",
            self.zones.len(),
            self.nodes
        );
        for zone in &self.zones {
            check_name(zone)?;
        }
        Ok(())
    }
}

/// Checks a name that becomes part of file and namespace names.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let ok = (1..=20).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !name.starts_with('-');
    ensure!(ok, "`{name}` is no lab or zone name: 1 to 20 lower-case letters, digits and `-`");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::LabSpec;
    use crate::topology::Topology;

    #[test]
    fn bounds() {
        let named = |name: &str| LabSpec::named(name).check().is_ok();
        assert!(named("lab") && named("t-1") && named("a23456789012345678-0"));
        assert!(!named("") && !named("Lab") && !named("a.b") && !named("../x") && !named("-a"));
        assert!(!named("a23456789012345678901"));
        let sized = |nodes, pods_per_node, zones: u8| {
            let zones = (1..=zones).map(|i| format!("z{i}")).collect();
            LabSpec { nodes, pods_per_node, zones, ..LabSpec::default() }.check().is_ok()
        };
        assert!(sized(2, 2, 1) && sized(4, 1, 2) && sized(64, 99, 64));
        assert!(!sized(1, 2, 1) && !sized(65, 2, 1) && !sized(4, 0, 1) && !sized(4, 100, 1));
        assert!(!sized(3, 1, 1) && !sized(4, 2, 0) && !sized(4, 2, 5));
    }

    #[test]
    fn the_largest_lab_fits_into_names_and_addresses() {
        let zones = vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let spec = LabSpec {
            nodes: 64,
            pods_per_node: 99,
            zones,
            vantage: true,
            storage: true,
            ..LabSpec::default()
        };
        let topology = Topology::new(&spec);
        // IFNAMSIZ is 16, with the zero at the end.
        assert!(topology.pods().all(|pod| pod.veth.len() <= 15));
        let storage = || topology.pods().filter_map(|pod| pod.storage.as_ref());
        assert!(storage().count() > 0 && storage().all(|storage| storage.veth.len() <= 15));
        assert!(topology.nodes.iter().all(|node| node.switch_port().len() <= 15));
        let mut addresses: Vec<_> = topology.pods().map(|pod| pod.v6).collect();
        addresses.extend(storage().map(|storage| storage.v6));
        addresses
            .extend(topology.nodes.iter().flat_map(|node| [node.v6, node.bridge_v6(), node.overlay_v6()]));
        let count = addresses.len();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), count);
        let sizes =
            ["a", "b", "c"].map(|zone| topology.nodes.iter().filter(|node| node.zone == zone).count());
        assert_eq!(sizes, [22, 21, 21]);
        assert_eq!(topology.pods().filter(|pod| pod.app == "web").count(), 3);
        assert_eq!(topology.pods().filter(|pod| pod.app == "kube-dns").count(), 1);
    }
}
