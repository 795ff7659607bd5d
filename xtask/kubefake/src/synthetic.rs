//! Clusters of any size, with objects as large as real ones are.

use serde_json::{Value, json};

/// Pods behind each service.
const BACKENDS: usize = 10;

/// Address number `index` of 10.0.0.0/8 from an offset on.
fn address(offset: u32, index: usize) -> String {
    let number = 0x0a00_0000_u32 + offset + u32::try_from(index).unwrap_or(u32::MAX >> 8);
    std::net::Ipv4Addr::from(number).to_string()
}

/// A node that is Ready.
#[must_use]
pub fn node(index: usize) -> Value {
    let conditions: Vec<Value> = ["MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable"]
        .iter()
        .map(|kind| json!({"type": kind, "status": "False", "reason": "KubeletIsFine", "message": "ok"}))
        .chain([json!({"type": "Ready", "status": "True", "reason": "KubeletReady",
                       "lastHeartbeatTime": "2026-01-01T00:00:00Z", "message": "kubelet is posting ready status"})])
        .collect();
    let images: Vec<Value> = (0..50)
        .map(|image| json!({"names": [format!("registry.example/team/app-{image}@sha256:{image:064x}")], "sizeBytes": 100_000_000}))
        .collect();
    json!({
        "kind": "Node", "apiVersion": "v1",
        "metadata": {"name": format!("node-{index:05}"), "uid": uid(1, index), "managedFields": managed(),
                     "labels": {"topology.kubernetes.io/zone": format!("zone-{}", index % 3),
                                "kubernetes.io/hostname": format!("node-{index:05}")}},
        "spec": {"podCIDR": format!("{}/24", address(0x40_0000, index * 256))},
        "status": {"addresses": [{"type": "InternalIP", "address": address(0x1_0000, index)},
                                 {"type": "Hostname", "address": format!("node-{index:05}")}],
                   "conditions": conditions, "images": images,
                   "capacity": {"cpu": "64", "memory": "256Gi", "pods": "110"}}
    })
}

/// A pod that runs, one container, with the usual ballast.
#[must_use]
pub fn pod(index: usize, nodes: usize) -> Value {
    let env: Vec<Value> =
        (0..20).map(|number| json!({"name": format!("SETTING_{number}"), "value": "x".repeat(40)})).collect();
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": format!("app-{}-{index:06}", index / BACKENDS), "namespace": format!("team-{}", index % 50),
                     "uid": uid(2, index), "managedFields": managed(),
                     "labels": {"app": format!("app-{}", index / BACKENDS), "pod-template-hash": "7d4b9c6f5d"},
                     "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "app", "uid": uid(3, index)}]},
        "spec": {"nodeName": format!("node-{:05}", index % nodes.max(1)), "serviceAccountName": "default",
                 "containers": [{"name": "app", "image": "registry.example/team/app:1.2.3", "env": env,
                                 "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
                                 "volumeMounts": [{"name": "token", "mountPath": "/var/run/secrets/tokens"}]}],
                 "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}]},
        "status": {"phase": "Running", "podIP": address(0x40_0000, index), "hostIP": "10.1.0.1",
                   "podIPs": [{"ip": address(0x40_0000, index)}],
                   "conditions": [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": "True"},
                                  {"type": "PodScheduled", "status": "True"}],
                   "containerStatuses": [{"name": "app", "ready": true, "restartCount": 0, "image": "app", "imageID": "sha256:0",
                                          "containerID": format!("containerd://{index:064x}")}]}
    })
}

/// Service number `index` and its slice: over the pods `index × 10` and following.
#[must_use]
pub fn service(index: usize, nodes: usize) -> [Value; 2] {
    let name = format!("app-{index}");
    let endpoints: Vec<Value> = (index * BACKENDS..(index + 1) * BACKENDS)
        .map(|pod| {
            json!({"addresses": [address(0x40_0000, pod)], "conditions": {"ready": true, "serving": true},
                   "nodeName": format!("node-{:05}", pod % nodes.max(1)),
                   "targetRef": {"kind": "Pod", "namespace": "team-0", "name": format!("app-{index}-{pod:06}")}})
        })
        .collect();
    let service = json!({
        "kind": "Service", "apiVersion": "v1",
        "metadata": {"name": name, "namespace": "team-0", "uid": uid(4, index), "managedFields": managed()},
        "spec": {"clusterIP": address(0x0, index + 1), "clusterIPs": [address(0x0, index + 1)],
                 "selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]}
    });
    let slice = json!({
        "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
        "metadata": {"name": format!("{name}-abcde"), "namespace": "team-0", "uid": uid(5, index),
                     "labels": {"kubernetes.io/service-name": name}, "managedFields": managed()},
        "addressType": "IPv4", "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}], "endpoints": endpoints
    });
    [service, slice]
}

/// What the API server notes about who wrote what: a good part of every object.
fn managed() -> Value {
    json!([{"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1",
            "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1",
            "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                         "f:spec": {"f:containers": {"k:{\"name\":\"app\"}": {".": {}, "f:image": {}, "f:env": {}}}}}}])
}

fn uid(kind: usize, index: usize) -> String {
    format!("{kind:08x}-0000-4000-8000-{index:012x}")
}
