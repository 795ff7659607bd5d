//! One object as the API sends it → what a roster keeps of it, the moment it is read.
//!
//! An object that does not hold together is not an error of the list or the watch that it came with.

use std::borrow::Cow;
use std::fmt::Debug;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::ClusterResourceScope;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::table::{Table, Tables};
use netcheck_analysis::cluster::inventory::{self, Sound};
use netcheck_analysis::cluster::roster::frontend::HttpFrontend;
use netcheck_analysis::cluster::roster::gateway::{self, Gateway, GatewayObject, HttpRoute, HttpRouteObject};
use netcheck_analysis::cluster::roster::{Backend, Node, Pod, ProbeAnnotation, Service, build};

/// What is kept of one kind of object.
pub(super) trait Kept: Clone + Debug + PartialEq + Send + 'static {
    /// The whole object.
    type Object: DeserializeOwned + Sound + Resource<DynamicType = ()>;
    /// What the API need not send.
    const FIELDS: Option<&'static str> = None;
    /// Not every cluster has this kind: where it is missing there are none, and nothing is wrong.
    const MAY_BE_MISSING: bool = false;

    /// Keeps what is needed; nothing of objects that are of no use.
    fn keep(object: &Self::Object) -> Option<Self>;

    /// Where it is kept.
    fn table(tables: &mut Tables) -> &mut Table<Self>;

    /// `pods`.
    fn plural() -> Cow<'static, str> {
        Self::Object::plural(&())
    }
}

impl Kept for Node {
    type Object = core::Node;

    fn keep(object: &core::Node) -> Option<Self> {
        build::node(object).map(|(_, node)| node)
    }

    fn table(tables: &mut Tables) -> &mut Table<Self> {
        &mut tables.nodes
    }
}

impl Kept for Pod {
    type Object = core::Pod;
    // Pods that are done have no address; of some clusters they are the most.
    const FIELDS: Option<&'static str> = Some("status.phase!=Succeeded,status.phase!=Failed");

    fn keep(object: &core::Pod) -> Option<Self> {
        build::pod(object).map(|(_, pod)| pod)
    }

    fn table(tables: &mut Tables) -> &mut Table<Self> {
        &mut tables.pods
    }
}

impl Kept for Service {
    type Object = core::Service;

    fn keep(object: &core::Service) -> Option<Self> {
        build::service(object).map(|(_, service)| service)
    }

    fn table(tables: &mut Tables) -> &mut Table<Self> {
        &mut tables.services
    }
}

impl Kept for (String, Vec<Backend>) {
    type Object = EndpointSlice;

    fn keep(object: &EndpointSlice) -> Option<Self> {
        build::slice(object)
    }

    fn table(tables: &mut Tables) -> &mut Table<Self> {
        &mut tables.slices
    }
}

impl Kept for HttpFrontend {
    type Object = Ingress;

    fn keep(object: &Ingress) -> Option<Self> {
        build::ingress(object).map(|(_, frontend)| frontend)
    }

    fn table(tables: &mut Tables) -> &mut Table<Self> {
        &mut tables.ingresses
    }
}

impl Kept for Gateway {
    type Object = GatewayObject;
    const MAY_BE_MISSING: bool = true;

    fn keep(object: &GatewayObject) -> Option<Self> {
        gateway::gateway(object)
    }

    fn table(tables: &mut Tables) -> &mut Table<Self> {
        &mut tables.gateways
    }
}

impl Kept for HttpRoute {
    type Object = HttpRouteObject;
    const MAY_BE_MISSING: bool = true;

    fn keep(object: &HttpRouteObject) -> Option<Self> {
        gateway::route(object)
    }

    fn table(tables: &mut Tables) -> &mut Table<Self> {
        &mut tables.http_routes
    }
}

impl Kept for ProbeAnnotation {
    type Object = core::Namespace;

    fn keep(object: &core::Namespace) -> Option<Self> {
        build::namespace(object).map(|(_, annotation)| annotation)
    }

    fn table(tables: &mut Tables) -> &mut Table<Self> {
        &mut tables.namespaces
    }
}

/// What came of reading one object.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Read<K> {
    /// Kept, and what of it was left out, if anything.
    Kept(K, Option<String>),
    /// Whole, but of no use: a pod without an address.
    Unused,
    /// It does not hold together, and why.
    Broken(String),
}

/// An object of the API, as far as it is kept.
#[derive(Clone, Debug)]
pub(super) struct Watched<K> {
    /// Name, namespace and version alone.
    metadata: ObjectMeta,
    pub(super) read: Read<K>,
}

impl<K> Watched<K> {
    /// `namespace/name`, or the name where there is no namespace. Empty for what has neither.
    pub(super) fn key(&self) -> String {
        let name = self.metadata.name.as_deref().unwrap_or_default();
        match &self.metadata.namespace {
            Some(namespace) => format!("{namespace}/{name}"),
            None => name.to_owned(),
        }
    }
}

impl<'de, K: Kept> Deserialize<'de> for Watched<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut value = Value::deserialize(deserializer)?;
        let text = |name: &str| value["metadata"][name].as_str().map(ToOwned::to_owned);
        let metadata = ObjectMeta {
            name: text("name"),
            namespace: text("namespace"),
            resource_version: text("resourceVersion"),
            ..ObjectMeta::default()
        };
        if let Some(object) = value.as_object_mut() {
            object.retain(|key, _| !inventory::is_type(key));
        }
        let read = match inventory::judge::<K::Object, _>(value) {
            Ok(judged) => K::keep(&judged.object).map_or(Read::Unused, |kept| Read::Kept(kept, judged.parts)),
            Err(why) => Read::Broken(why.to_string()),
        };
        Ok(Self { metadata, read })
    }
}

impl<K: Kept> Resource for Watched<K> {
    type DynamicType = ();
    // All namespaces at once.
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        K::Object::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::Object::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::Object::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::Object::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
