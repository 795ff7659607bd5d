//! The kinds of objects that runs make, in the order in which they are made. They are removed in the opposite order.

use std::fmt;

use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::{Api, Client};

/// A kind of object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) group: &'static str,
    version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) namespaced: bool,
    /// Objects of one stage are removed together, before those of the stage below.
    pub(crate) stage: u8,
}

const fn kind(names: (&'static str, &'static str, &'static str, bool), stage: u8) -> Kind {
    let (group, kind, plural, namespaced) = names;
    Kind { group, version: "v1", kind, plural, namespaced, stage }
}

/// What is in no namespace comes first and goes last: while anything of a run is there, one of these says where.
pub(crate) const KINDS: [Kind; 10] = [
    kind(("", "Namespace", "namespaces", false), 0),
    kind(("rbac.authorization.k8s.io", "ClusterRole", "clusterroles", false), 1),
    kind(("rbac.authorization.k8s.io", "ClusterRoleBinding", "clusterrolebindings", false), 1),
    kind(("", "ServiceAccount", "serviceaccounts", true), 2),
    kind(("", "Secret", "secrets", true), 3),
    kind(("", "ConfigMap", "configmaps", true), 3),
    kind(("networking.k8s.io", "NetworkPolicy", "networkpolicies", true), 4),
    kind(("", "Service", "services", true), 4),
    kind(("apps", "Deployment", "deployments", true), 5),
    kind(("apps", "DaemonSet", "daemonsets", true), 5),
];

impl Kind {
    /// The kind of that name.
    pub(crate) fn of(name: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.kind == name)
    }

    pub(crate) fn resource(&self) -> ApiResource {
        let kind = GroupVersionKind::gvk(self.group, self.version, self.kind);
        ApiResource::from_gvk_with_plural(&kind, self.plural)
    }

    /// As a role's rules name it.
    pub(crate) fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }
}

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRef {
    pub(crate) kind: &'static Kind,
    /// Empty where the kind is in no namespace.
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl ObjectRef {
    pub(crate) fn api(&self, client: &Client) -> Api<DynamicObject> {
        let resource = self.kind.resource();
        if self.kind.namespaced {
            Api::namespaced_with(client.clone(), &self.namespace, &resource)
        } else {
            Api::all_with(client.clone(), &resource)
        }
    }
}

impl fmt::Display for ObjectRef {
    /// As in `daemonset netcheck/netcheck-agent`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ", self.kind.kind.to_lowercase())?;
        if self.kind.namespaced {
            write!(out, "{}/{}", self.namespace, self.name)
        } else {
            out.write_str(&self.name)
        }
    }
}
