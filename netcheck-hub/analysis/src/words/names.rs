//! What targets, sources and kinds of probe are called. Pure.

use std::collections::BTreeSet;

use netcheck_common::domain::ProbeKind;
use netcheck_proto::convert::kind_to_wire;
use netcheck_proto::words::kind_name;
pub use netcheck_proto::words::{service_address, source_name, target_name};

/// Sources in short: nodes, and those probed from their pods, `(node, from its pods)`.
#[must_use]
pub fn sources_listed(sources: impl Iterator<Item = (String, bool)>) -> String {
    let (pods, nodes): (BTreeSet<_>, BTreeSet<_>) = sources.partition(|(_, from_pod)| *from_pod);
    let names = |of: BTreeSet<(String, bool)>| of.into_iter().map(|(node, _)| node).collect::<BTreeSet<_>>();
    let (pods, nodes) = (names(pods), names(nodes));
    let same = pods == nodes;
    let (any_pods, any_nodes) = (!pods.is_empty(), !nodes.is_empty());
    let (pods, nodes) = (listed(pods.into_iter()), listed(nodes.into_iter()));
    match (any_nodes, any_pods) {
        (_, false) => nodes,
        (false, true) => format!("pods of {pods}"),
        (true, true) if same && nodes.contains(',') => format!("{nodes} and their pods"),
        (true, true) if same => format!("{nodes} and its pods"),
        (true, true) => format!("{nodes} and pods of {pods}"),
    }
}

/// Up to three names, and how many more there are.
#[must_use]
pub fn listed(names: impl Iterator<Item = String>) -> String {
    let mut all: Vec<String> = names.collect();
    all.sort();
    all.dedup();
    if all.len() <= 3 {
        return all.join(", ");
    }
    format!("{} and {} more", all[..2].join(", "), all.len() - 2)
}

/// As people write it.
#[must_use]
pub const fn probe_name(probe: ProbeKind) -> &'static str {
    kind_name(kind_to_wire(probe))
}
