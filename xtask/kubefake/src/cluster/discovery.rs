//! Which kinds of objects there are, as clients ask for them.

use serde_json::{Value, json};

/// Group and version, kind, plural, whether it is in a namespace.
pub(super) const KINDS: [(&str, &str, &str, bool); 26] = [
    ("v1", "Namespace", "namespaces", false),
    ("v1", "Node", "nodes", false),
    ("v1", "PersistentVolume", "persistentvolumes", false),
    ("v1", "PersistentVolumeClaim", "persistentvolumeclaims", true),
    ("v1", "Pod", "pods", true),
    ("v1", "Service", "services", true),
    ("v1", "Secret", "secrets", true),
    ("v1", "ConfigMap", "configmaps", true),
    ("v1", "ServiceAccount", "serviceaccounts", true),
    ("v1", "Event", "events", true),
    ("events.k8s.io/v1", "Event", "events", true),
    ("apps/v1", "DaemonSet", "daemonsets", true),
    ("apps/v1", "Deployment", "deployments", true),
    ("apps/v1", "ReplicaSet", "replicasets", true),
    ("apps/v1", "ControllerRevision", "controllerrevisions", true),
    ("batch/v1", "Job", "jobs", true),
    ("discovery.k8s.io/v1", "EndpointSlice", "endpointslices", true),
    ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", true),
    ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", true),
    ("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", false),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings", false),
    ("rbac.authorization.k8s.io/v1", "Role", "roles", true),
    ("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings", true),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", false),
    ("netcheck.io/v1alpha1", "ReachabilityCheck", "reachabilitychecks", false),
    ("scheduling.k8s.io/v1", "PriorityClass", "priorityclasses", false),
];

pub(super) fn groups() -> Value {
    let mut names: Vec<&str> = KINDS.iter().map(|kind| kind.0).filter(|group| *group != "v1").collect();
    names.dedup();
    let group = |full: &&str| {
        let (name, version) = full.split_once('/').unwrap_or((full, ""));
        let version = json!({"groupVersion": full, "version": version});
        json!({"name": name, "versions": [version], "preferredVersion": version})
    };
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": names.iter().map(group).collect::<Vec<_>>()})
}

pub(super) fn resources(group: &str) -> Value {
    let of_group = KINDS.iter().filter(|kind| kind.0 == group);
    let resource = |&(_, kind, plural, namespaced): &(&str, &str, &str, bool)| {
        json!({"name": plural, "singularName": kind.to_lowercase(), "namespaced": namespaced, "kind": kind,
               "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"]})
    };
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group,
           "resources": of_group.map(resource).collect::<Vec<_>>()})
}
