//! Kubernetes objects → [`Roster`]. Pure, and the only place that reads their fields.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{
    Namespace as NamespaceObject, Node as NodeObject, Pod as PodObject, Service as ServiceObject,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress as IngressObject;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use netcheck_proto::text;

use super::frontend::HttpFrontend;
use super::gateway::{GatewayObject, HttpRouteObject, gateway, join, route};
use super::owners::{self, Contested};
use super::{Backend, LeftOut, Node, Pod, ProbeAnnotation, Roster, Service, network};

pub use super::frontend::ingress;
pub use super::node::node;
pub use super::service::{service, slice};

const PROBE: &str = "netcheck.io/probe";
/// On a pod that is kept from being reached on purpose: why. Its paths are expected to be silent.
const UNREACHABLE: &str = "netcheck.io/unreachable";

/// The objects that a roster is made of.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// Nodes.
    pub nodes: Vec<NodeObject>,
    /// Pods of all namespaces.
    pub pods: Vec<PodObject>,
    /// Services of all namespaces.
    pub services: Vec<ServiceObject>,
    /// Endpoint slices of all namespaces.
    pub endpoint_slices: Vec<EndpointSlice>,
    /// Namespaces, for their annotations alone: a cluster may have none of them here.
    pub namespaces: Vec<NamespaceObject>,
    /// Ingresses of all namespaces: only where they are to be probed.
    pub ingresses: Vec<IngressObject>,
    /// Gateways of all namespaces, as above.
    pub gateways: Vec<GatewayObject>,
    /// HTTPRoutes of all namespaces, as above.
    pub http_routes: Vec<HttpRouteObject>,
    /// Objects of kinds that are of no use here.
    pub ignored: usize,
    /// What does not hold together.
    pub left_out: LeftOut,
    /// Objects that are meant to be here and are not, or not with their addresses.
    pub missing: u64,
}

impl Objects {
    /// Normalises them. Objects without a name or an address are left out.
    #[must_use]
    pub fn roster(&self) -> Roster {
        let gateways: Vec<_> = self.gateways.iter().filter_map(gateway).collect();
        let routes: Vec<_> = self.http_routes.iter().filter_map(route).collect();
        let ingresses = self.ingresses.iter().filter_map(ingress).map(|(_, frontend)| frontend);
        let parts = Parts {
            frontends: ingresses.chain(join(gateways.iter(), routes.iter())).collect(),
            nodes: self.nodes.iter().filter_map(node).collect(),
            pods: self.pods.iter().filter_map(pod).collect(),
            services: self.services.iter().filter_map(service).collect(),
            backends: self.endpoint_slices.iter().filter_map(slice).collect(),
            namespaces: self.namespaces.iter().filter_map(namespace).collect(),
            missing: self.missing,
        };
        parts.roster()
    }
}

/// What is kept of objects, each by itself: a roster before its parts know of each other.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// By name.
    pub nodes: BTreeMap<String, Node>,
    /// By `namespace/name`.
    pub pods: BTreeMap<String, Pod>,
    /// By `namespace/name`, without backends.
    pub services: BTreeMap<String, Service>,
    /// Of each slice: the service, as `namespace/name`, and who is behind it.
    pub backends: Vec<(String, Vec<Backend>)>,
    /// Namespaces whose annotation says something.
    pub namespaces: BTreeMap<String, ProbeAnnotation>,
    /// Ingresses and Gateways.
    pub frontends: Vec<HttpFrontend>,
    /// Objects that are known to be missing.
    pub missing: u64,
}

impl Parts {
    /// Puts them together.
    #[must_use]
    pub fn roster(self) -> Roster {
        let Self { nodes, pods, services, backends, namespaces, frontends, missing } = self;
        let mut misannotated = misannotated(&pods, &services, &namespaces);
        let odd = frontends.iter().filter(|frontend| frontend.annotation == ProbeAnnotation::Odd);
        misannotated.extend(odd.map(HttpFrontend::full_name));
        let of_namespace = |name: &str| namespaces.get(name).copied().unwrap_or_default();
        let marked = |mut frontend: HttpFrontend| {
            frontend.annotation = frontend.annotation.or(of_namespace(&frontend.namespace));
            (frontend.full_name(), frontend)
        };
        let frontends = frontends.into_iter().map(marked).collect();
        let mut roster = Roster {
            nodes,
            pods,
            services,
            frontends,
            misannotated,
            contested: Contested::new(),
            shared_addresses: BTreeSet::new(),
            missing,
            owners: HashMap::new(),
        };
        for pod in roster.pods.values_mut() {
            pod.annotation = pod.annotation.or(of_namespace(&pod.namespace));
        }
        for (service, backends) in backends {
            if let Some(service) = roster.services.get_mut(&service) {
                service.backends.extend(backends);
            }
        }
        for service in roster.services.values_mut() {
            service.annotation = service.annotation.or(of_namespace(&service.namespace));
            service.merge_backends();
        }
        owners::settle(&mut roster);
        owners::add_endpoints(&mut roster);
        roster.settle_dns(&BTreeSet::new());
        roster.shared_addresses = network::settle(&mut roster.pods, &mut roster.owners);
        roster
    }
}

fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

pub(super) fn label<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.labels.as_ref()?.get(key).map(String::as_str)
}

/// What an object's annotation says.
pub(crate) fn probe_annotation(meta: &ObjectMeta) -> ProbeAnnotation {
    match annotation(meta, PROBE) {
        None => ProbeAnnotation::None,
        Some("true") => ProbeAnnotation::Probe,
        Some("false") => ProbeAnnotation::Skip,
        Some(_) => ProbeAnnotation::Odd,
    }
}

/// The labels that the chart gives to the vantage's pods and to the service in front of them.
pub(super) fn is_vantage(meta: &ObjectMeta) -> bool {
    // The name is the operator's to change.
    let ours = ["app.kubernetes.io/name", "app.kubernetes.io/part-of"];
    ours.iter().any(|key| label(meta, key) == Some("netcheck"))
        && label(meta, "app.kubernetes.io/component") == Some("vantage")
}

fn misannotated(
    pods: &BTreeMap<String, Pod>,
    services: &BTreeMap<String, Service>,
    namespaces: &BTreeMap<String, ProbeAnnotation>,
) -> BTreeSet<String> {
    let pods = pods.iter().map(|(id, pod)| ("pod", id, pod.annotation));
    let services = services.iter().map(|(id, service)| ("service", id, service.annotation));
    let namespaces = namespaces.iter().map(|(name, &annotation)| ("namespace", name, annotation));
    let all =
        pods.chain(services).chain(namespaces).filter(|(.., annotation)| *annotation == ProbeAnnotation::Odd);
    all.map(|(kind, name, _)| format!("{kind} {name}")).collect()
}

pub(super) fn namespaced(meta: &ObjectMeta, name: &str) -> String {
    format!("{}/{name}", meta.namespace.as_deref().unwrap_or("default"))
}

/// A pod that has a node and an address, with its `namespace/name`.
#[must_use]
pub fn pod(object: &PodObject) -> Option<(String, Pod)> {
    let name = object.metadata.name.clone()?;
    let spec = object.spec.as_ref()?;
    let status = object.status.as_ref()?;
    let phase = status.phase.as_deref().unwrap_or("Unknown");
    if matches!(phase, "Succeeded" | "Failed") {
        return None;
    }
    let mut addresses: Vec<IpAddr> = Vec::new();
    let all = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str()).chain(status.pod_ip.as_deref());
    for ip in all.filter_map(|ip| ip.parse().ok()) {
        if !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    let node = spec.node_name.clone().filter(|node| !node.is_empty())?;
    if addresses.is_empty() {
        return None;
    }
    let conditions = status.conditions.as_ref();
    let ready = conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let id = namespaced(&object.metadata, &name);
    let terminating = object.metadata.deletion_timestamp.is_some();
    let absent = if terminating {
        Some(format!("pod {id} is terminating"))
    } else if phase != "Running" {
        Some(text::line(&format!("pod {id} is {phase}")))
    } else if ready {
        annotation(&object.metadata, UNREACHABLE).map(|why| text::line(&format!("pod {id}: {why}")))
    } else {
        Some(format!("pod {id} is not ready"))
    };
    let host_network = spec.host_network.unwrap_or(false);
    // A pod in its node's network has no other.
    let note = network::KEYS.iter().find_map(|key| annotation(&object.metadata, key));
    let note = note.filter(|_| !host_network).unwrap_or_default();
    let (networks, networks_wrong) = network::attachments(note, &addresses);
    let pod = Pod {
        namespace: object.metadata.namespace.clone().unwrap_or_else(|| "default".to_owned()),
        name,
        node,
        addresses,
        networks,
        networks_wrong,
        host_network,
        absent,
        terminating,
        vantage: is_vantage(&object.metadata),
        annotation: probe_annotation(&object.metadata),
    };
    Some((id, pod))
}

/// What a namespace's annotation says, with its name, where there is one.
#[must_use]
pub fn namespace(object: &NamespaceObject) -> Option<(String, ProbeAnnotation)> {
    let annotation = probe_annotation(&object.metadata);
    object
        .metadata
        .name
        .clone()
        .filter(|_| annotation != ProbeAnnotation::None)
        .map(|name| (name, annotation))
}

/// Counts by kind, for the log.
impl std::fmt::Display for Roster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let backends: BTreeMap<&str, usize> =
            self.services.iter().map(|(id, service)| (id.as_str(), service.backends.len())).collect();
        write!(
            f,
            "{} nodes, {} pods, {} services, {} endpoints",
            self.nodes.len(),
            self.pods.len(),
            self.services.len(),
            backends.values().sum::<usize>()
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::pod;

    #[test]
    fn a_pod_that_nobody_may_reach_says_so_itself() {
        let why = "its NetworkPolicy lets no ICMP in";
        for (annotations, ready, expected) in [
            (json!({}), "True", None),
            (
                json!({"netcheck.io/unreachable": why}),
                "True",
                Some("pod default/p: its NetworkPolicy lets no ICMP in"),
            ),
            (json!({"netcheck.io/unreachable": why}), "False", Some("pod default/p is not ready")),
        ] {
            let object = json!({
                "metadata": {"name": "p", "namespace": "default", "annotations": annotations},
                "spec": {"nodeName": "n1", "containers": []},
                "status": {
                    "phase": "Running", "podIP": "10.0.0.1",
                    "conditions": [{"type": "Ready", "status": ready}],
                },
            });
            let (_, pod) = pod(&serde_json::from_value(object).unwrap()).unwrap();
            assert_eq!(pod.absent.as_deref(), expected);
        }
    }
}
