//! What targets, sources and kinds of probe are called. Pure.

use std::collections::BTreeSet;

use netcheck_common::domain::ProbeKind;
use netcheck_proto::v1;

/// `service default/web:80`, `NodePort 30080 on n3 of service default/web:80`, `pod default/web-1`,
/// `pod default/web-1 on network default/storage`, `n2`.
#[must_use]
pub fn target_name(target: &v1::Target) -> String {
    let full = format!("{}/{}", target.namespace, target.name);
    match target.kind() {
        v1::TargetKind::Service => service_name(target, &full),
        v1::TargetKind::DnsServer => format!("DNS server {full}"),
        v1::TargetKind::Pod if !target.network.is_empty() => {
            format!("pod {full} on network {}", target.network)
        }
        v1::TargetKind::Pod => format!("pod {full}"),
        v1::TargetKind::Node | v1::TargetKind::Endpoint | v1::TargetKind::Unspecified => target.name.clone(),
    }
}

fn service_name(target: &v1::Target, full: &str) -> String {
    use v1::ServiceAddress::{ClusterIp, Endpoint, ExternalIp, LoadBalancer, NodePort, Unspecified};
    let service = format!("service {full}:{}", target.service_port);
    match target.service_address() {
        // Of a hub that knows no others.
        Unspecified => format!("service {full}:{}", target.port),
        ClusterIp => service,
        NodePort | LoadBalancer | ExternalIp | Endpoint => format!("{} of {service}", service_place(target)),
    }
}

/// Where a service is probed, in words: `NodePort 30080 on n3`, `load balancer 192.0.2.1`. Empty at its cluster IP.
#[must_use]
pub fn service_place(target: &v1::Target) -> String {
    let address = target.addresses.first().map_or("", String::as_str);
    match target.service_address() {
        v1::ServiceAddress::Unspecified | v1::ServiceAddress::ClusterIp => String::new(),
        v1::ServiceAddress::NodePort => format!("NodePort {} on {}", target.port, target.node),
        v1::ServiceAddress::LoadBalancer => format!("load balancer {address}"),
        v1::ServiceAddress::ExternalIp => format!("external IP {address}"),
        v1::ServiceAddress::Endpoint if target.pod.is_empty() => format!("endpoint {address}"),
        v1::ServiceAddress::Endpoint => format!("endpoint {}", target.pod),
    }
}

/// `n2`, `pods of n2`.
#[must_use]
pub fn source_name(node: &str, from_pod: bool) -> String {
    if from_pod { format!("pods of {node}") } else { node.to_owned() }
}

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
    match probe {
        ProbeKind::Icmp => "ICMP",
        ProbeKind::Udp => "UDP",
        ProbeKind::Tcp => "TCP",
        ProbeKind::Dns => "DNS",
        ProbeKind::Http => "HTTP",
    }
}
