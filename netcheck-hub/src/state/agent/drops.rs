//! What a node's kernel dropped of anybody's packets, by class of interface and reason.

use std::collections::BTreeMap;

use netcheck_proto::v1;

/// The class, and the reason, of all that have no series of their own.
const OTHER: &str = "other";
/// Kept apart even where nobody says how many may be.
const LEAST: usize = 4;

/// Packets since the hub's start, by class of interface and by reason.
#[derive(Debug, Default)]
pub struct KernelDrops {
    packets: BTreeMap<(&'static str, String), u64>,
}

impl KernelDrops {
    /// Adds what an agent counted. `status` knows its interfaces. Beyond `most` of them all others are one.
    pub fn add(&mut self, counters: Vec<v1::DropCounter>, status: Option<&v1::AgentStatus>, most: usize) {
        for counter in counters {
            let mut key = (class(&counter, status), counter.reason);
            if !self.packets.contains_key(&key) && self.packets.len() >= most.max(LEAST) {
                key = (OTHER, OTHER.to_owned());
            }
            let total = self.packets.entry(key).or_default();
            *total = total.saturating_add(counter.packets);
        }
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&(&'static str, String), &u64)> {
        self.packets.iter()
    }
}

/// The word for an interface's class; nothing shows more of it than its hooks.
fn class(counter: &v1::DropCounter, status: Option<&v1::AgentStatus>) -> &'static str {
    if counter.interface.is_empty() {
        return "elsewhere";
    }
    let mut hooks = status.into_iter().flat_map(|status| &status.hooks);
    let hook = hooks.find(|hook| hook.interface == counter.interface);
    match hook.map(v1::HookStatus::role) {
        Some(v1::InterfaceRole::Uplink) => "uplink",
        Some(v1::InterfaceRole::Tunnel) => "tunnel",
        Some(v1::InterfaceRole::Bridge) => "bridge",
        Some(v1::InterfaceRole::PodVeth) => "pod",
        Some(v1::InterfaceRole::Loopback) => "loopback",
        Some(v1::InterfaceRole::Unspecified) | None => OTHER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(interface: &str, reason: &str) -> v1::DropCounter {
        let (interface, reason) = (interface.to_owned(), reason.to_owned());
        v1::DropCounter { interface, reason, packets: 2, ..Default::default() }
    }

    #[test]
    fn by_class_and_reason_within_a_bound() {
        let hook = |interface: &str, role: v1::InterfaceRole| v1::HookStatus {
            interface: interface.to_owned(),
            role: role.into(),
            ..Default::default()
        };
        let hooks = vec![hook("eth0", v1::InterfaceRole::Uplink), hook("veth1", v1::InterfaceRole::PodVeth)];
        let status = v1::AgentStatus { hooks, ..Default::default() };
        let mut drops = KernelDrops::default();
        let four = vec![counter("eth0", "A"), counter("veth1", "A"), counter("", "B"), counter("x", "A")];
        drops.add(four, Some(&status), 4);
        drops.add(vec![counter("eth0", "A"), counter("eth0", "C"), counter("eth0", "D")], Some(&status), 4);
        let all: Vec<(&str, &str, u64)> =
            drops.iter().map(|((class, reason), packets)| (*class, reason.as_str(), *packets)).collect();
        let expected = [
            ("elsewhere", "B", 2),
            ("other", "A", 2),
            ("other", "other", 4),
            ("pod", "A", 2),
            ("uplink", "A", 4),
        ];
        assert_eq!(all, expected);
    }
}
