//! A Node object → [`Node`]. Pure.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Node as NodeObject, NodeSystemInfo};
use netcheck_proto::text;

use super::build::{label, probe_annotation};
use super::{Node, ProbeAnnotation};

const ZONE: &str = "topology.kubernetes.io/zone";
/// Unix time, seconds: what is less is another number.
const YEAR_2001: i64 = 1_000_000_000;

/// The cloud's controller has not seen the node yet.
const UNINITIALIZED: &str = "node.cloudprovider.kubernetes.io/uninitialized";
/// Taints that say that the node is on its way out, or in. `node.kubernetes.io/unschedulable` only mirrors the cordon.
const LEAVING: [&str; 9] = [
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
    "node.kubernetes.io/out-of-service",
    "node.cloudprovider.kubernetes.io/shutdown",
    UNINITIALIZED,
    "ToBeDeletedByClusterAutoscaler",
    "DeletionCandidateOfClusterAutoscaler",
    "karpenter.sh/disrupted",
    "karpenter.sh/disruption",
];

/// A node, with its name.
#[must_use]
pub fn node(object: &NodeObject) -> Option<(String, Node)> {
    let name = object.metadata.name.clone()?;
    let (spec, status) = (object.spec.as_ref(), object.status.as_ref());
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in status.and_then(|status| status.addresses.as_ref()).into_iter().flatten() {
        if let ("InternalIP", Ok(ip)) = (address.type_.as_str(), address.address.parse())
            && !addresses.contains(&ip)
        {
            addresses.push(ip);
        }
    }
    let ready_condition = status
        .and_then(|status| status.conditions.as_ref())
        .into_iter()
        .flatten()
        .find(|condition| condition.type_ == "Ready");
    let ready = ready_condition.is_some_and(|condition| condition.status == "True");
    let taints = spec.and_then(|spec| spec.taints.as_ref()).into_iter().flatten();
    // A soft taint only asks the scheduler for something better: the node stays, and may have it for ever.
    let mut hard = taints.filter(|taint| taint.effect != "PreferNoSchedule");
    let leaving = hard.find(|taint| LEAVING.contains(&taint.key.as_str()));
    let cordoned = spec.and_then(|spec| spec.unschedulable).unwrap_or(false);
    let mut since = None;
    let absent = if object.metadata.deletion_timestamp.is_some() {
        Some(format!("node {name} is being deleted"))
    } else if let Some(condition) = ready_condition.filter(|_| !ready) {
        // A node of which nobody says whether it is ready, as in files without status, is not known to be away.
        let reason = condition.reason.as_deref().unwrap_or(&condition.status);
        Some(text::line(&format!("node {name} is NotReady ({reason})")))
    } else if let Some(taint) = leaving {
        // The autoscaler writes down when it began (unix time, seconds).
        let reported = taint.value.as_deref().and_then(|value| value.parse::<i64>().ok());
        since = Some(reported.filter(|&seconds| seconds > YEAR_2001).unwrap_or(0));
        let doing = if taint.key == UNINITIALIZED { "not ready for use yet" } else { "leaving" };
        Some(format!("node {name} is {doing} (taint {})", taint.key))
    } else {
        // While it still serves, its paths are reachable and shown so; when it no longer does, that is no alarm.
        cordoned.then(|| format!("node {name} is cordoned"))
    };
    let node = Node {
        zone: text::line(label(&object.metadata, ZONE).unwrap_or_default()),
        addresses,
        ready,
        lost: ready_condition.is_some_and(|condition| condition.status == "Unknown"),
        cordoned,
        absent,
        leaving_since: since,
        no_host: is_fargate(object) || is_virtual(object),
        agentless: agentless(object),
        arch: reported_or_labelled(object, "arch", |info| &info.architecture),
        opted_out: probe_annotation(&object.metadata) == ProbeAnnotation::Skip,
        name,
    };
    Some((node.name.clone(), node))
}

/// What the node reports of itself, or its label `kubernetes.io/KEY`; empty where neither does.
fn reported_or_labelled(object: &NodeObject, key: &str, of: fn(&NodeSystemInfo) -> &String) -> String {
    let reported = object.status.as_ref().and_then(|status| status.node_info.as_ref()).map(of);
    let labels = ["kubernetes.io", "beta.kubernetes.io"];
    let mut labels = labels.iter().filter_map(|prefix| label(&object.metadata, &format!("{prefix}/{key}")));
    let reported =
        reported.map(String::as_str).filter(|reported| !reported.is_empty()).or_else(|| labels.next());
    text::line(reported.unwrap_or_default())
}

/// AWS Fargate runs each pod on a machine of its own, which stands for a node.
fn is_fargate(object: &NodeObject) -> bool {
    label(&object.metadata, "eks.amazonaws.com/compute-type") == Some("fargate")
}

/// A virtual kubelet stands for machines that are somewhere else.
fn is_virtual(object: &NodeObject) -> bool {
    let mut taints = object.spec.as_ref().and_then(|spec| spec.taints.as_ref()).into_iter().flatten();
    label(&object.metadata, "type") == Some("virtual-kubelet")
        || taints.any(|taint| taint.key.starts_with("virtual-kubelet.io/"))
}

/// Why no agent can run on a node, where that is so.
fn agentless(object: &NodeObject) -> Option<String> {
    let os = reported_or_labelled(object, "os", |info| &info.operating_system);
    if is_fargate(object) {
        Some("it is Fargate's, which runs no DaemonSet".to_owned())
    } else if is_virtual(object) {
        Some("it is a virtual kubelet's, which runs no DaemonSet".to_owned())
    } else if !os.is_empty() && !os.eq_ignore_ascii_case("linux") {
        Some(format!("it runs {os}"))
    } else {
        None
    }
}
