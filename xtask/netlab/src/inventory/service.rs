//! Services and their endpoint slices. Pure.

use serde_json::{Value, json};

use super::{CREATED, uid};
use crate::service::kube_proxy::AFFINITY_SECONDS;
use crate::service::{Backend, Service};
use crate::topology::{API_PORT, Topology, dual};

/// A service, as the control plane has it.
pub(super) fn service_object(topology: &Topology, service: &Service) -> Value {
    let cluster_ips = match service.cluster_ips {
        Some((v4, v6)) => vec![v4.to_string(), v6.to_string()],
        None => vec!["None".to_owned()],
    };
    let ports: Vec<Value> = service
        .ports
        .iter()
        .map(|port| {
            let mut object = json!({
                "name": port.name, "port": port.port, "protocol": port.transport.kubernetes(),
                "targetPort": port.target,
            });
            if let Some(number) = port.node_port {
                object["nodePort"] = json!(number);
            }
            object
        })
        .collect();
    let policy = |local: bool| if local { "Local" } else { "Cluster" };
    let mut spec = json!({
        "clusterIP": cluster_ips[0],
        "clusterIPs": cluster_ips,
        "internalTrafficPolicy": policy(service.internal_local),
        "ipFamilies": ["IPv4", "IPv6"],
        "ipFamilyPolicy": "RequireDualStack",
        "ports": ports,
        "sessionAffinity": if service.affinity { "ClientIP" } else { "None" },
        "type": "ClusterIP",
    });
    if service.affinity {
        spec["sessionAffinityConfig"] = json!({ "clientIP": { "timeoutSeconds": AFFINITY_SECONDS } });
    }
    if let Some((key, value)) = service.selector {
        spec["selector"] = json!({ key: value });
    }
    if service.ports.iter().any(|port| port.node_port.is_some()) {
        spec["type"] = json!(if service.balancer.is_some() { "LoadBalancer" } else { "NodePort" });
        spec["externalTrafficPolicy"] = json!(policy(service.external_local));
    }
    if let Some((v4, v6)) = service.external {
        spec["externalIPs"] = json!(dual(v4, v6));
    }
    let ingress: Vec<Value> = service
        .balancer
        .iter()
        .flat_map(|&(v4, v6)| dual(v4, v6))
        .map(|address| json!({ "ip": address, "ipMode": "VIP" }))
        .collect();
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": service.name,
            "namespace": service.namespace,
            "uid": uid(topology, "service", service.name),
            "resourceVersion": "1",
            "creationTimestamp": CREATED,
            "labels": service_labels(service),
        },
        "spec": spec,
        "status": { "loadBalancer": {} },
    });
    if !ingress.is_empty() {
        object["status"]["loadBalancer"]["ingress"] = json!(ingress);
    }
    if let Some(probe) = service.probe {
        object["metadata"]["annotations"] = json!({ "netcheck.io/probe": probe });
    }
    object
}

fn service_labels(service: &Service) -> Value {
    if !service.labels.is_empty() {
        return service.labels.iter().map(|&(key, value)| (key.to_owned(), json!(value))).collect();
    }
    match service.name {
        "kubernetes" => json!({ "component": "apiserver", "provider": "kubernetes" }),
        "kube-dns" => json!({ "k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS" }),
        _ => json!({ "app": "web" }),
    }
}

/// Who is behind it, in one family.
pub(super) fn slice_object(topology: &Topology, service: &Service, v6: bool) -> Value {
    let endpoints: Vec<Value> =
        service.backends.iter().map(|backend| endpoint(topology, service, backend, v6)).collect();
    let target =
        |port: &crate::service::Port| if service.selector.is_some() { port.target } else { API_PORT };
    let ports: Vec<Value> = service
        .ports
        .iter()
        .map(|port| json!({ "name": port.name, "port": target(port), "protocol": port.transport.kubernetes() }))
        .collect();
    let name = format!("{}-{}", service.name, if v6 { "ipv6" } else { "ipv4" });
    let mut labels = service_labels(service);
    labels["kubernetes.io/service-name"] = json!(service.name);
    if service.selector.is_some() {
        labels["endpointslice.kubernetes.io/managed-by"] = json!("endpointslice-controller.k8s.io");
    }
    if service.cluster_ips.is_none() {
        labels["service.kubernetes.io/headless"] = json!("");
    }
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "addressType": if v6 { "IPv6" } else { "IPv4" },
        "metadata": {
            "name": name,
            "namespace": service.namespace,
            "uid": uid(topology, "endpointslice", &name),
            "resourceVersion": "1",
            "creationTimestamp": CREATED,
            "labels": labels,
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "Service", "name": service.name, "controller": true,
                "blockOwnerDeletion": true, "uid": uid(topology, "service", service.name),
            }],
        },
        "endpoints": endpoints,
        "ports": ports,
    })
}

fn endpoint(topology: &Topology, service: &Service, backend: &Backend, v6: bool) -> Value {
    let address = if v6 { backend.v6.to_string() } else { backend.v4.to_string() };
    let mut endpoint = json!({
        "addresses": [address],
        "conditions": { "ready": backend.ready, "serving": backend.ready, "terminating": false },
    });
    if let (Some(pod), Some(node)) = (&backend.pod, &backend.node) {
        endpoint["nodeName"] = json!(node);
        if let Ok(node) = topology.node(node) {
            endpoint["zone"] = json!(node.zone);
        }
        endpoint["targetRef"] = json!({
            "kind": "Pod", "name": pod, "namespace": service.namespace, "uid": uid(topology, "pod", pod),
        });
    }
    endpoint
}
