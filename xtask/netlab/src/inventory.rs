//! The inventory: a `v1.List` of nodes, pods, services and endpoint slices, as
//! `kubectl get nodes,pods,services,endpointslices -A -o json` prints it. Pure: topology and faults in, JSON
//! out. (JSON is YAML too.)

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::fault::{Fault, NodeState};
use crate::service::Service;
use crate::topology::{Node, Pod, STORAGE, Topology, VANTAGE_NAMESPACE, WEB_PORT, dual};

mod service;

use service::{service_object, slice_object};

/// When everything in the lab "was created"; constant, so that equal labs give equal files.
const CREATED: &str = "2026-01-01T00:00:00Z";

/// The whole list under the active faults.
pub(crate) fn list(topology: &Topology, services: &[Service], faults: &[Fault]) -> Value {
    // Everything of the lab is to be probed.
    let namespaces = ["default", "kube-system"].map(|name| namespace_object(topology, name));
    let mut items = Vec::from(namespaces);
    let there = |node: &&Node| state(faults, &node.name) != Some(NodeState::Deleted);
    for node in topology.nodes.iter().filter(there) {
        items.push(node_object(topology, node, state(faults, &node.name)));
    }
    for node in topology.nodes.iter().filter(there) {
        let ready = state(faults, &node.name) != Some(NodeState::NotReady);
        items.push(proxy_object(topology, node, ready));
        let gone = |pod: &&Pod| {
            faults.iter().any(|f| matches!(f, Fault::PodGone { pod: name } if *name == pod.name))
        };
        for pod in node.pods.iter().filter(|pod| !gone(pod)) {
            items.push(pod_object(topology, node, pod, ready));
        }
    }
    for service in services {
        items.push(service_object(topology, service));
    }
    for service in services {
        items.push(slice_object(topology, service, false));
        items.push(slice_object(topology, service, true));
    }
    json!({ "apiVersion": "v1", "kind": "List", "metadata": { "resourceVersion": "" }, "items": items })
}

/// The last state that was injected counts.
fn state(faults: &[Fault], node: &str) -> Option<NodeState> {
    faults.iter().rev().find_map(|fault| match fault {
        Fault::NodeState { node: name, state } if name == node => Some(*state),
        _ => None,
    })
}

/// A UUID that is always the same for the same object of the same lab.
fn uid(topology: &Topology, kind: &str, name: &str) -> String {
    let text = format!("{}/{kind}/{name}", topology.lab);
    let (a, b) = (crate::fault::hash(&text), crate::fault::hash(&format!("{text}/")));
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        a >> 32,
        a >> 16 & 0xffff,
        a & 0xfff,
        b >> 48 & 0xfff,
        b & 0xffff_ffff_ffff
    )
}

fn namespace_object(topology: &Topology, name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "uid": uid(topology, "namespace", name),
            "resourceVersion": "1",
            "creationTimestamp": CREATED,
            "labels": { "kubernetes.io/metadata.name": name },
            "annotations": { "netcheck.io/probe": "true" },
        },
        "spec": { "finalizers": ["kubernetes"] },
        "status": { "phase": "Active" },
    })
}

fn node_object(topology: &Topology, node: &Node, state: Option<NodeState>) -> Value {
    let ready = state != Some(NodeState::NotReady);
    let mut spec = json!({
        "podCIDR": node.pod_cidr_v4(),
        "podCIDRs": [node.pod_cidr_v4(), node.pod_cidr_v6()],
        "providerID": format!("netlab://{}/{}", topology.lab, node.name),
    });
    let taint = |key: &str, effect: &str| json!({ "key": key, "effect": effect, "timeAdded": CREATED });
    if !ready {
        let key = "node.kubernetes.io/unreachable";
        spec["taints"] = json!([taint(key, "NoSchedule"), taint(key, "NoExecute")]);
    }
    if state == Some(NodeState::Cordoned) {
        spec["unschedulable"] = json!(true);
        spec["taints"] = json!([taint("node.kubernetes.io/unschedulable", "NoSchedule")]);
    }
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": node.name,
            "uid": uid(topology, "node", &node.name),
            "resourceVersion": "1",
            "creationTimestamp": CREATED,
            "labels": {
                "beta.kubernetes.io/arch": "amd64",
                "beta.kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/hostname": node.name,
                "kubernetes.io/os": "linux",
                "topology.kubernetes.io/region": "lab",
                "topology.kubernetes.io/zone": node.zone,
            },
            "annotations": {
                "flannel.alpha.coreos.com/backend-type": match topology.mode {
                    crate::Mode::Vxlan => "vxlan",
                    crate::Mode::Routed => "host-gw",
                },
                "flannel.alpha.coreos.com/public-ip": node.v4,
                "node.alpha.kubernetes.io/ttl": "0",
            },
        },
        "spec": spec,
        "status": node_status(topology, node, ready),
    })
}

fn node_status(topology: &Topology, node: &Node, ready: bool) -> Value {
    let condition = |kind: &str, healthy: &str, reason: &str, message: &str| {
        let (status, reason, message) = if ready {
            (healthy, reason, message)
        } else {
            ("Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.")
        };
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": CREATED, "lastTransitionTime": CREATED,
        })
    };
    json!({
        "addresses": [
            { "type": "InternalIP", "address": node.v4 },
            { "type": "InternalIP", "address": node.v6 },
            { "type": "Hostname", "address": node.name },
        ],
        "allocatable": { "cpu": "2", "memory": "4Gi", "pods": "110" },
        "capacity": { "cpu": "2", "memory": "4Gi", "pods": "110" },
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory",
                "kubelet has sufficient memory available"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID",
                "kubelet has sufficient PID available"),
            condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        ],
        "daemonEndpoints": { "kubeletEndpoint": { "Port": 10250 } },
        "nodeInfo": {
            "architecture": "amd64",
            "bootID": uid(topology, "boot", &node.name),
            "containerRuntimeVersion": "containerd://2.0.0",
            "kernelVersion": "",
            "kubeProxyVersion": "",
            "kubeletVersion": "v1.34.0",
            "machineID": uid(topology, "machine", &node.name),
            "operatingSystem": "linux",
            "osImage": "netlab",
            "systemUUID": uid(topology, "system", &node.name),
        },
    })
}

fn pod_object(topology: &Topology, node: &Node, pod: &Pod, ready: bool) -> Value {
    let label = if pod.namespace == "kube-system" { "k8s-app" } else { "app" };
    let ports = match pod.app.as_str() {
        "web" => json!([{ "name": "http", "containerPort": WEB_PORT, "protocol": "TCP" }]),
        "kube-dns" => json!([
            { "name": "dns", "containerPort": 53, "protocol": "UDP" },
            { "name": "dns-tcp", "containerPort": 53, "protocol": "TCP" },
        ]),
        _ => json!([]),
    };
    let spec = json!({
        "containers": [{
            "name": pod.app,
            "image": format!("netlab/{}:1", pod.app),
            "imagePullPolicy": "IfNotPresent",
            "ports": ports,
        }],
        "dnsPolicy": "ClusterFirst",
        "nodeName": node.name,
        "restartPolicy": "Always",
        "serviceAccountName": "default",
    });
    let vantage = pod.namespace == VANTAGE_NAMESPACE;
    let kind = if vantage { "DaemonSet" } else { "ReplicaSet" };
    let owner = json!([owner(topology, kind, &pod.app)]);
    let addresses = dual(pod.v4, pod.v6).map(|address| address.to_string());
    // Those of the chart.
    let labels = if vantage {
        json!({ "app.kubernetes.io/name": "netcheck", "app.kubernetes.io/component": "vantage" })
    } else {
        json!({ label: pod.app })
    };
    let status = pod_status(node, &addresses, ready);
    let mut object = object(topology, (&pod.namespace, &pod.name), (&labels, &owner), (&spec, &status));
    if let Some(note) = network_status(pod) {
        object["metadata"]["annotations"] = json!({ "k8s.v1.cni.cncf.io/network-status": note });
    }
    object
}

/// What Multus notes on a pod that it attached to secondary networks, as text.
fn network_status(pod: &Pod) -> Option<String> {
    let storage = pod.storage.as_ref()?;
    let entry = |name: &str, interface: &str, ips: [IpAddr; 2], default: bool| {
        let mut entry = json!({ "name": name, "interface": interface, "ips": ips, "dns": {} });
        if default {
            entry["default"] = json!(true);
        }
        entry
    };
    let list = json!([
        entry("cbr0", "eth0", dual(pod.v4, pod.v6), true),
        entry(STORAGE, "net1", dual(storage.v4, storage.v6), false),
    ]);
    Some(list.to_string())
}

/// A pod in the node's own network, as every cluster has some.
fn proxy_object(topology: &Topology, node: &Node, ready: bool) -> Value {
    let name = format!("kube-proxy-{}", node.name);
    let spec = json!({
        "containers": [{ "name": "kube-proxy", "image": "netlab/kube-proxy:1" }],
        "dnsPolicy": "ClusterFirst",
        "hostNetwork": true,
        "nodeName": node.name,
        "priorityClassName": "system-node-critical",
        "restartPolicy": "Always",
        "serviceAccountName": "kube-proxy",
        "tolerations": [{ "operator": "Exists" }],
    });
    let owner = json!([owner(topology, "DaemonSet", "kube-proxy")]);
    let addresses = dual(node.v4, node.v6).map(|address| address.to_string());
    let labels = json!({ "k8s-app": "kube-proxy" });
    let status = pod_status(node, &addresses, ready);
    object(topology, ("kube-system", &name), (&labels, &owner), (&spec, &status))
}

fn owner(topology: &Topology, kind: &str, name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": kind, "name": name, "controller": true, "blockOwnerDeletion": true,
        "uid": uid(topology, kind, name),
    })
}

fn object(
    topology: &Topology,
    (namespace, name): (&str, &str),
    (labels, owners): (&Value, &Value),
    (spec, status): (&Value, &Value),
) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid(topology, "pod", name),
            "resourceVersion": "1",
            "creationTimestamp": CREATED,
            "labels": labels,
            "ownerReferences": owners,
        },
        "spec": spec,
        "status": status,
    })
}

fn pod_status(node: &Node, addresses: &[String; 2], ready: bool) -> Value {
    let condition = |kind: &str, status: bool| {
        let status = if status { "True" } else { "False" };
        json!({ "type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": CREATED })
    };
    json!({
        "phase": "Running",
        "conditions": [
            condition("PodReadyToStartContainers", true),
            condition("Initialized", true),
            condition("Ready", ready),
            condition("ContainersReady", true),
            condition("PodScheduled", true),
        ],
        "hostIP": node.v4,
        "hostIPs": [{ "ip": node.v4 }, { "ip": node.v6 }],
        "podIP": addresses[0],
        "podIPs": [{ "ip": addresses[0] }, { "ip": addresses[1] }],
        "qosClass": "BestEffort",
        "startTime": CREATED,
    })
}

#[cfg(test)]
mod tests;
