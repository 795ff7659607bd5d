//! What interfaces say of their drops, from `/proc/net/dev` (proc_pid_net(5)): the last resort where the kernel does not
//! say why and where it drops. No probe is ever located by it; it only shows that something drops.
//!
//! In: that file of this network namespace. Out: [`DropCount`]s since the agent's start.

use std::collections::HashMap;
use std::sync::Arc;

use netcheck_proto::v1;

use crate::model::observation::{DropCount, KernelSource, KernelStatus};

/// This thread's network namespace; `/proc/net` itself is the main thread's.
const FILE: &str = "/proc/thread-self/net/dev";
/// What stands for the kernel's reason.
const RECEIVED: &str = "INTERFACE_RX";
const SENT: &str = "INTERFACE_TX";

/// The kernel side where there is none: switched off, refused, or not built in.
#[derive(Debug)]
pub(crate) struct NoKernelSource {
    /// Off by flag, or failed.
    state: v1::EbpfState,
    /// Why, one line each.
    degraded: Vec<String>,
    drops: InterfaceDrops,
}

impl NoKernelSource {
    /// What interfaces count is all that there will be.
    pub(crate) fn new(state: v1::EbpfState, degraded: Vec<String>) -> Self {
        Self { state, degraded, drops: InterfaceDrops::start() }
    }
}

impl KernelSource for NoKernelSource {
    fn drop_counts(&mut self) -> Vec<DropCount> {
        self.drops.counts()
    }
    fn status(&self) -> KernelStatus {
        KernelStatus { state: self.state, degraded: self.degraded.clone(), ..KernelStatus::default() }
    }
}

/// Totals as they were at the start.
#[derive(Debug)]
pub(crate) struct InterfaceDrops {
    before: HashMap<(Arc<str>, &'static str), u64>,
}

impl InterfaceDrops {
    /// Starts counting.
    pub(crate) fn start() -> Self {
        Self { before: read().map(|(name, reason, packets)| ((name, reason), packets)).collect() }
    }

    /// Drops since then. A total that shrank began anew.
    pub(crate) fn counts(&self) -> Vec<DropCount> {
        read()
            .filter_map(|(interface, reason, packets)| {
                let before = self.before.get(&(Arc::clone(&interface), reason)).copied().unwrap_or(0);
                let packets = packets.checked_sub(before).unwrap_or(packets);
                let reason = Arc::from(reason);
                (packets > 0).then_some(DropCount { netns: 0, ifindex: 0, interface, reason, packets })
            })
            .collect()
    }
}

fn read() -> impl Iterator<Item = (Arc<str>, &'static str, u64)> {
    parse(&std::fs::read_to_string(FILE).unwrap_or_default()).into_iter()
}

/// Two header lines, then `name: 8 received columns, 8 sent columns`; the fourth of each is drops.
fn parse(text: &str) -> Vec<(Arc<str>, &'static str, u64)> {
    let mut drops = Vec::new();
    for line in text.lines().skip(2) {
        let Some((name, columns)) = line.split_once(':') else { continue };
        let columns: Vec<u64> = columns.split_whitespace().map_while(|column| column.parse().ok()).collect();
        let name: Arc<str> = Arc::from(name.trim());
        for (reason, index) in [(RECEIVED, 3), (SENT, 11)] {
            if let Some(&packets) = columns.get(index) {
                drops.push((Arc::clone(&name), reason, packets));
            }
        }
    }
    drops
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_the_right_ones_and_noise_is_passed_over() {
        let text = "Inter-| Receive | Transmit\n face |bytes packets errs drop|bytes\n\
                      eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n  lo: 1 2\nnoise\n";
        let drops = parse(text);
        assert_eq!(drops, [(Arc::from("eth0"), RECEIVED, 4), (Arc::from("eth0"), SENT, 12)]);
    }

    #[test]
    fn this_machine_has_loopback() {
        assert!(read().any(|(name, _, _)| &*name == "lo"));
        assert!(InterfaceDrops::start().counts().iter().all(|count| count.packets > 0));
    }
}
