//! What connection tracking itself counts as dropped, node by node: a second witness. It drops a packet now and then whose
//! entry clashes with another's, faults or not, and whoever says so is right.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::{Cluster, Location};

/// This network namespace's counters (net/netfilter/nf_conntrack_standalone.c).
const FILE: &str = "/proc/thread-self/net/stat/nf_conntrack";

/// Packets that were dropped for want of an entry, by node.
pub(super) type Dropped = BTreeMap<String, u64>;

/// Reads them on all nodes. One that is gone shows nothing.
pub(super) fn dropped(cluster: &Cluster) -> Dropped {
    let nodes = cluster.lab.topology().nodes.iter().map(|node| node.name.clone());
    let read = |node: String| {
        let text = cluster.lab.enter(&node, || std::fs::read_to_string(FILE)).ok()?.ok()?;
        Some((node, parse(&text)))
    };
    nodes.filter_map(read).collect()
}

/// A line of names, then one of hexadecimal numbers for each CPU.
fn parse(text: &str) -> u64 {
    let mut lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let names = lines.next().unwrap_or_default();
    let wanted = |name: &str| matches!(name, "insert_failed" | "drop");
    lines
        .flat_map(|numbers| names.iter().copied().zip(numbers).collect::<Vec<_>>())
        .filter(|(name, _)| wanted(name))
        .filter_map(|(_, number)| u64::from_str_radix(number, 16).ok())
        .sum()
}

/// Nodes on which it dropped something in between.
pub(super) fn grown(before: &Dropped, after: &Dropped) -> BTreeSet<String> {
    let more = |(node, count): &(&String, &u64)| before.get(*node).is_some_and(|before| before < *count);
    after.iter().filter(more).map(|(node, _)| node.clone()).collect()
}

/// Whether a loss is said to be its doing.
pub(super) fn is_its(at: &Location) -> bool {
    at.certainty == "observed" && at.reason == "NETFILTER_DROP" && at.function == "nf_hook_slow"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_columns_of_all_cpus_count() {
        let text = "entries  searched found insert insert_failed drop early_drop\n\
                    000000a2  00000000 00000000 00000000 00000002 00000001 00000000\n\
                    000000a2  00000000 00000000 00000000 00000010 00000000 00000005\n";
        assert_eq!(parse(text), 19);
        assert_eq!(parse(""), 0);
    }

    #[test]
    fn a_node_counts_where_it_dropped_more_than_before() {
        let counts = |n1, n2| Dropped::from([("n1".to_owned(), n1), ("n2".to_owned(), n2)]);
        assert_eq!(grown(&counts(1, 5), &counts(1, 6)), BTreeSet::from(["n2".to_owned()]));
        assert!(
            grown(&Dropped::new(), &counts(1, 1)).is_empty(),
            "of a node that came meanwhile nothing is known"
        );
    }
}
