//! Whose a rule looks like, by the names of its table and chain and by its comment. Pure.
//!
//! Names are what the programs' own sources call their tables and chains. A name is no proof: anybody may use it.

/// Whose, and how its rules are meant to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// `kube-proxy`.
    pub(crate) name: &'static str,
    /// Where its rules come from; it would put back what somebody deletes.
    pub(crate) mend: &'static str,
}

/// What a name must begin with.
enum Sign {
    Table(&'static str),
    Chain(&'static str),
    Comment(&'static str),
}

use Sign::{Chain, Comment, Table};

const POLICY: &str = "a NetworkPolicy that selects one of the two ends: kubectl get networkpolicies -A";

/// The first that fits counts: what is more special stands first.
const OWNERS: &[(Sign, &str, &str)] = &[
    (Chain("KUBE-NWPLCY"), "kube-router", POLICY),
    (Chain("KUBE-POD-FW"), "kube-router", POLICY),
    (Chain("KUBE-ROUTER"), "kube-router", POLICY),
    (
        Chain("KUBE-FIREWALL"),
        "kubelet",
        "packets marked 0x8000, or to 127.0.0.0/8 from elsewhere: look for who sets that mark",
    ),
    (
        Chain("KUBE-"),
        "kube-proxy",
        "a Service: its endpoints, loadBalancerSourceRanges and traffic policy; \
         of `ct state invalid`: packets that connection tracking does not know",
    ),
    (
        Table("kube-proxy"),
        "kube-proxy",
        "a Service: its endpoints, loadBalancerSourceRanges and traffic policy",
    ),
    (Table("kube-network-policies"), "kube-network-policies", POLICY),
    (Table("kindnet-network-policies"), "kindnet", POLICY),
    (Comment("cali:"), "Calico", POLICY),
    (Chain("cali-"), "Calico", POLICY),
    (Chain("cali:"), "Calico", POLICY),
    (Table("calico"), "Calico", POLICY),
    (
        Chain("CILIUM"),
        "Cilium",
        "the CiliumNetworkPolicies of the two ends, and: kubectl -n kube-system exec ds/cilium -- cilium-dbg status",
    ),
    (
        Chain("OLD_CILIUM"),
        "Cilium",
        "the CiliumNetworkPolicies of the two ends, and: kubectl -n kube-system exec ds/cilium -- cilium-dbg status",
    ),
    (Chain("FLANNEL"), "flannel", "the subnets of flannel's configuration: kubectl -n kube-flannel get cm"),
    (Table("flannel"), "flannel", "the subnets of flannel's configuration: kubectl -n kube-flannel get cm"),
    (Chain("ANTREA"), "Antrea", POLICY),
    (Table("antrea"), "Antrea", POLICY),
    (Chain("WEAVE"), "Weave Net", POLICY),
    (Chain("CNI-"), "CNI plugins", "the hostPorts of pods on this node"),
    (Table("cni_"), "CNI plugins", "the hostPorts of pods on this node"),
    (Chain("ISTIO"), "Istio", "the sidecar's or ambient mode's redirection of this pod"),
    (Chain("PROXY_INIT"), "Linkerd", "the sidecar's redirection of this pod"),
    (Table("firewalld"), "firewalld", "the zone of the interface: firewall-cmd --list-all-zones"),
    (Chain("DOCKER"), "Docker", "accept it in the chain DOCKER-USER, which Docker leaves alone"),
    (Table("docker"), "Docker", "accept it in the chain DOCKER-USER, which Docker leaves alone"),
    (
        Chain("ufw"),
        "ufw",
        "accept it by ufw allow, or ufw route allow where it is passed on: ufw status verbose",
    ),
    (Chain("f2b"), "fail2ban", "an address is banned: fail2ban-client banned"),
    (Table("f2b"), "fail2ban", "an address is banned: fail2ban-client banned"),
    (Chain("LIBVIRT"), "libvirt", "the forward mode of the network: virsh net-list --all"),
    (Table("libvirt"), "libvirt", "the forward mode of the network: virsh net-list --all"),
    (Table("nm-"), "NetworkManager", "a shared connection: nmcli connection show"),
];

/// Whose it looks like.
pub(crate) fn owner(table: &str, chain: &str, comment: &str) -> Option<Owner> {
    let fits = |sign: &Sign| match sign {
        Table(begin) => table.starts_with(begin),
        Chain(begin) => chain.starts_with(begin),
        Comment(begin) => comment.starts_with(begin),
    };
    let found = OWNERS.iter().find(|(sign, ..)| fits(sign));
    found.map(|&(_, name, mend)| Owner { name, mend })
}

/// Tables that iptables-nft makes: it takes them for its own, whatever else may be in them.
pub(crate) fn is_iptables(family: u8, table: &str) -> bool {
    let tables = ["filter", "nat", "mangle", "raw", "security"];
    matches!(family, 2 | 10) && tables.contains(&table)
}

#[cfg(test)]
mod tests {
    use super::OWNERS;
    use crate::culprit::forms;

    #[test]
    fn what_mends_it_can_be_pasted() {
        let commands: Vec<&str> = OWNERS.iter().flat_map(|(.., mend)| forms::commands(mend)).collect();
        assert!(commands.len() > 10, "{commands:?}");
        commands.into_iter().for_each(forms::pasteable);
    }
}
