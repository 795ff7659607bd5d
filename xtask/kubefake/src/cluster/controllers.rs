//! What controllers, the scheduler and kubelets come to, at once.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Objects, Shared, key};

/// An object with the status that its controller would write.
pub(super) fn ready(objects: &Objects, mut object: Value) -> Value {
    let generation = object["metadata"]["generation"].clone();
    let pulled = usize::from(is_pullable(objects, &object["spec"]["template"]["spec"]));
    match object["kind"].as_str() {
        Some("DaemonSet") => {
            let nodes = nodes(objects).count();
            let ready = nodes * pulled;
            object["status"] = json!({"observedGeneration": generation, "desiredNumberScheduled": nodes,
                "currentNumberScheduled": nodes, "updatedNumberScheduled": nodes, "numberReady": ready,
                "numberAvailable": ready});
        }
        Some("Deployment") => {
            let available = if pulled == 1 { "True" } else { "False" };
            object["status"] = json!({"observedGeneration": generation, "replicas": 1, "updatedReplicas": 1,
                "readyReplicas": pulled, "availableReplicas": pulled,
                "conditions": [{"type": "Available", "status": available}]});
        }
        Some("Job") => {
            object["status"] =
                json!({"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]});
        }
        Some("Service") if object["spec"]["clusterIP"].is_null() => {
            object["spec"]["clusterIP"] = "10.96.0.10".into();
        }
        Some("PersistentVolumeClaim") => object["status"] = json!({"phase": "Bound"}),
        Some("Namespace") => object["status"] = json!({"phase": "Active"}),
        Some("CustomResourceDefinition") => {
            object["status"] = json!({"conditions": [{"type": "Established", "status": "True"}]});
        }
        _ => {}
    }
    object
}

fn is_pullable(objects: &Objects, pod: &Value) -> bool {
    let images = pod["containers"].as_array().into_iter().flatten().filter_map(|one| one["image"].as_str());
    images.into_iter().all(|image| !objects.unpullable.contains(image))
}

fn nodes(objects: &Objects) -> impl Iterator<Item = (&str, &Value)> {
    objects.all.iter().filter(|(key, _)| key.1 == "nodes").map(|(key, node)| (key.3.as_str(), node))
}

/// The pods of a workload that was made.
pub(super) fn make_pods(shared: &Shared, workload: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (name, namespace) = (text(&workload["metadata"]["name"]), text(&workload["metadata"]["namespace"]));
    match workload["kind"].as_str() {
        Some("Deployment") => {
            let mut labels = workload["spec"]["template"]["metadata"]["labels"].clone();
            // As the controller does, for `kubectl exec deployment/…`.
            labels["pod-template-hash"] = "1".into();
            let replicas = json!({
                "apiVersion": "apps/v1", "kind": "ReplicaSet",
                "metadata": {
                    "name": format!("{name}-1"), "namespace": namespace, "labels": labels, "uid": format!("{name}-rs"),
                    "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": name,
                        "controller": true, "uid": workload["metadata"]["uid"]}],
                },
                "spec": {"replicas": 1, "selector": workload["spec"]["selector"],
                    "template": workload["spec"]["template"]},
                "status": {"replicas": 1, "readyReplicas": 1, "availableReplicas": 1},
            });
            shared.put(key("apps/v1", "replicasets", &namespace, &format!("{name}-1")), replicas);
            let made = pod(&shared.lock(), workload, &format!("{name}-1"), None);
            shared.put(key("v1", "pods", &namespace, &format!("{name}-1")), made);
        }
        Some("DaemonSet") => {
            let nodes: Vec<String> = nodes(&shared.lock()).map(|(name, _)| name.to_owned()).collect();
            for node in nodes {
                let named = format!("{name}-{node}");
                let made = pod(&shared.lock(), workload, &named, Some(&node));
                shared.put(key("v1", "pods", &namespace, &named), made);
            }
        }
        _ => {}
    }
}

/// The ports that a pod has on its node.
fn host_ports(pod: &Value) -> BTreeSet<u64> {
    let ports = pod["containers"].as_array().into_iter().flatten().flat_map(|one| one["ports"].as_array());
    let host = |port: &Value| match pod["hostNetwork"] == true {
        true => port["containerPort"].as_u64(),
        false => port["hostPort"].as_u64(),
    };
    ports.flatten().filter_map(host).collect()
}

/// A pod of a workload as its node has it: it runs, but where its ports are taken, its node is not Ready or its image is
/// not to be had.
fn pod(objects: &Objects, workload: &Value, name: &str, node: Option<&str>) -> Value {
    let mut spec = workload["spec"]["template"]["spec"].clone();
    let wanted = host_ports(&spec);
    let taken = objects.all.iter().any(|(key, other)| {
        let here = key.1 == "pods" && node.is_some_and(|node| other["spec"]["nodeName"] == node);
        here && !host_ports(&other["spec"]).is_disjoint(&wanted)
    });
    let condition =
        |kind: &str, status: bool| json!({"type": kind, "status": if status { "True" } else { "False" }});
    let is_up = node.is_none_or(|node| {
        let node = objects.all.get(&key("v1", "nodes", "", node));
        node.is_some_and(|node| node["status"]["conditions"][0]["status"] == "True")
    });
    let image = &spec["containers"][0]["image"];
    let status = if taken {
        json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "1 node(s) didn't have free ports for the requested pod ports."}]})
    } else if !is_up {
        json!({"phase": "Pending", "conditions": [condition("PodScheduled", true)]})
    } else if !is_pullable(objects, &spec) {
        let waiting =
            json!({"reason": "ImagePullBackOff", "message": format!("Back-off pulling image {image}")});
        json!({"phase": "Pending", "conditions": [condition("Ready", false)],
            "containerStatuses": [{"ready": false, "image": image, "state": {"waiting": waiting}}]})
    } else {
        json!({"phase": "Running", "conditions": [condition("Ready", true)],
            "containerStatuses": [{"ready": true, "image": image, "state": {"running": {}}}]})
    };
    if let Some(node) = node.filter(|_| !taken) {
        spec["nodeName"] = node.into();
    }
    let mut labels = workload["spec"]["template"]["metadata"]["labels"].clone();
    if workload["kind"] == "Deployment" {
        labels["pod-template-hash"] = "1".into();
    }
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": workload["metadata"]["namespace"], "labels": labels, "uid": name,
            "ownerReferences": [{"uid": workload["metadata"]["uid"]}]},
        "spec": spec,
        "status": status,
    })
}
