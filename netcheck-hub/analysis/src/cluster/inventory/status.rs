//! Objects whose status was taken away, as `kubectl neat`, GitOps and backups do it: it has the addresses. Pure.

use k8s_openapi::api::core::v1::{Node, Pod};
use netcheck_proto::text;

use super::COMMAND;
use crate::cluster::roster::Objects;

/// Says so in one line.
pub(super) fn report(objects: &mut Objects) {
    let nodes = objects.nodes.iter().filter(|node| !node_has_one(node)).count();
    let pods = objects.pods.iter().filter(|pod| !pod_has_one(pod)).count();
    // Nodes without an address count by themselves.
    objects.missing += pods as u64;
    let many = |count: usize, kind: &str| match count {
        0 => None,
        1 => Some(format!("1 {kind}")),
        count => Some(format!("{count} {kind}s")),
    };
    let all: Vec<String> = many(nodes, "Node").into_iter().chain(many(pods, "Pod")).collect();
    let has = if nodes + pods == 1 { "has" } else { "have" };
    if !all.is_empty() {
        let line =
            format!("{} {has} no status, so that nobody knows their addresses: {COMMAND}", all.join(" and "));
        objects.left_out.add_first(text::line(&line));
    }
}

fn node_has_one(node: &Node) -> bool {
    let Some(status) = &node.status else { return false };
    let any = |empty: Option<bool>| empty.is_some_and(|empty| !empty);
    any(status.conditions.as_ref().map(Vec::is_empty)) || any(status.addresses.as_ref().map(Vec::is_empty))
}

/// Pods that no node has yet need none.
fn pod_has_one(pod: &Pod) -> bool {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
    node.is_empty()
        || pod.status.as_ref().is_some_and(|status| status.phase.is_some() || status.pod_ip.is_some())
}
