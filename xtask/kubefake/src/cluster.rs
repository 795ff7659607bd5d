//! A fake of a whole cluster, as far as `kubectl` and `helm` look at one: discovery, objects of many kinds that can be
//! made, changed, watched and deleted, workloads that are ready at once, and commands in pods.
//!
//! What runs in it is up to whoever starts it: [`FakeCluster::start`] takes what answers `kubectl exec`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch as changes;
use tokio::task::JoinHandle;

use self::discovery::{KINDS, groups, resources};
use self::exec::exec;
use self::watch::follow;
use crate::serve::{failure, json_body};

mod discovery;
mod exec;
mod watch;

/// What a command in a pod comes to: its words → standard output, standard error, exit code.
pub type Exec = Arc<dyn Fn(&[String]) -> (String, String, u8) + Send + Sync>;

/// Group and version, plural, namespace, name.
type Key = (String, String, String, String);

#[derive(Default)]
struct Objects {
    all: BTreeMap<Key, Value>,
    version: u64,
}

#[derive(Clone)]
struct Shared {
    objects: Arc<Mutex<Objects>>,
    changed: Arc<changes::Sender<u64>>,
    exec: Exec,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, key: Key, mut object: Value) -> Value {
        let mut objects = self.lock();
        objects.version += 1;
        object["metadata"]["resourceVersion"] = objects.version.to_string().into();
        objects.all.insert(key, object.clone());
        let version = objects.version;
        drop(objects);
        self.changed.send_replace(version);
        object
    }
}

/// A running fake.
pub struct FakeCluster {
    shared: Shared,
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl FakeCluster {
    /// Starts one on a free port of 127.0.0.1, with these nodes, all of them ready.
    ///
    /// # Errors
    /// No port is to be had.
    pub async fn start(nodes: &[&str], exec: Exec) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("the fake cluster cannot listen")?;
        let address = listener.local_addr()?;
        let shared = Shared { objects: Arc::default(), changed: Arc::new(changes::Sender::new(0)), exec };
        for name in nodes {
            let node = json!({
                "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "uid": name}, "spec": {},
                "status": {
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "nodeInfo": {"kernelVersion": "6.18.0", "containerRuntimeVersion": "fake://1"},
                },
            });
            shared.put(key("v1", "nodes", "", name), node);
        }
        let router = Router::new().fallback(serve).with_state(shared.clone());
        let server = tokio::spawn(async move {
            // It ends when it is aborted.
            drop(axum::serve(listener, router).await);
        });
        Ok(Self { shared, address, server })
    }

    /// A kubeconfig that leads here.
    #[must_use]
    pub fn kubeconfig(&self) -> String {
        crate::kubeconfig(self.address)
    }

    /// Kind, namespace and name of every object but the nodes, ascending.
    #[must_use]
    pub fn objects(&self) -> Vec<(String, String, String)> {
        let objects = self.shared.lock();
        let named = objects.all.keys().filter(|key| key.1 != "nodes");
        named.map(|(_, kind, namespace, name)| (kind.clone(), namespace.clone(), name.clone())).collect()
    }

    /// An object as it is.
    #[must_use]
    pub fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        self.shared.lock().all.get(&key(group, plural, namespace, name)).cloned()
    }
}

impl Drop for FakeCluster {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn key(group: &str, plural: &str, namespace: &str, name: &str) -> Key {
    (group.to_owned(), plural.to_owned(), namespace.to_owned(), name.to_owned())
}

fn not_found(what: &str) -> Response {
    failure(StatusCode::NOT_FOUND, "NotFound", &format!("{what} not found"))
}

async fn serve(State(shared): State<Shared>, request: Request) -> Response {
    let path = request.uri().path().trim_matches('/').to_owned();
    let words: Vec<&str> = path.split('/').collect();
    match words.as_slice() {
        ["version"] => return answer(&json!({"major": "1", "minor": "36", "gitVersion": "v1.36.0"})),
        ["api"] => return answer(&json!({"kind": "APIVersions", "versions": ["v1"]})),
        ["apis"] => return answer(&groups()),
        ["openapi", "v3"] => return answer(&json!({"paths": {}})),
        // An empty document: nothing is known of any kind, so nothing is held against it.
        ["openapi", "v2"] => {
            let kind = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
            return ([(header::CONTENT_TYPE, kind)], Body::empty()).into_response();
        }
        _ => {}
    }
    let (group, rest) = match words.as_slice() {
        ["api", "v1", rest @ ..] => ("v1".to_owned(), rest),
        ["apis", group, version, rest @ ..] => (format!("{group}/{version}"), rest),
        _ => return not_found(&path),
    };
    if rest.is_empty() {
        return answer(&resources(&group));
    }
    // A namespace is an object, and where others are.
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => ((*namespace).to_owned(), rest),
        _ => (String::new(), rest),
    };
    let Some(&(_, kind, ..)) = KINDS.iter().find(|kind| kind.0 == group && rest.first() == Some(&kind.2))
    else {
        return not_found(&path);
    };
    let (plural, name, part) = (rest[0], rest.get(1).copied().unwrap_or_default(), rest.get(2).copied());
    if (plural, part) == ("pods", Some("exec")) {
        return exec(shared, request).await;
    }
    let key = key(&group, plural, &namespace, name);
    act(&shared, request, key, kind).await
}

async fn act(shared: &Shared, request: Request, at: Key, kind: &str) -> Response {
    let (group, plural, namespace, name) = at.clone();
    let query = query_of(&request);
    let method = request.method().clone();
    let patch =
        request.headers().get(header::CONTENT_TYPE).map(|kind| kind.as_bytes().to_vec()).unwrap_or_default();
    let Ok(body) = axum::body::to_bytes(request.into_body(), 16 << 20).await else {
        return failure(StatusCode::BAD_REQUEST, "BadRequest", "no body");
    };
    match (&method, name.is_empty()) {
        (&Method::GET, _) if query.get("watch").is_some_and(|watch| watch == "true" || watch == "1") => {
            follow(shared.clone(), group, plural, namespace, query)
        }
        (&Method::GET, true) => {
            let objects = shared.lock();
            let items: Vec<&Value> =
                chosen(&objects, &group, &plural, &namespace, &query).map(|(_, value)| value).collect();
            answer(&json!({
                "apiVersion": group, "kind": format!("{kind}List"),
                "metadata": {"resourceVersion": objects.version.to_string()}, "items": items,
            }))
        }
        (&Method::GET, false) => match shared.lock().all.get(&at) {
            Some(object) => answer(object),
            None => not_found(&format!("{plural} {name:?}")),
        },
        (&Method::POST, true) => create(shared, &group, &plural, &namespace, &body),
        (&Method::PUT | &Method::PATCH, false) => {
            let applied = patch.starts_with(b"application/apply-patch");
            let Ok(change) = serde_json::from_slice::<Value>(&body) else {
                return failure(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    "UnsupportedMediaType",
                    "JSON is all it reads",
                );
            };
            let old = shared.lock().all.get(&at).cloned();
            match old {
                Some(mut object) if method == Method::PATCH && !applied => {
                    merge(&mut object, &change);
                    answer(&shared.put(at, object))
                }
                Some(old) => {
                    let mut object = change;
                    object["metadata"]["uid"] = old["metadata"]["uid"].clone();
                    answer(&shared.put(at, ready(object)))
                }
                None => not_found(&format!("{plural} {name:?}")),
            }
        }
        (&Method::DELETE, _) => delete(shared, &at),
        _ => failure(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "the fake does not do that"),
    }
}

fn create(shared: &Shared, group: &str, plural: &str, namespace: &str, body: &Bytes) -> Response {
    let Ok(mut object) = serde_json::from_slice::<Value>(body) else {
        return failure(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", "JSON is all it reads");
    };
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let at = key(group, plural, namespace, &name);
    if shared.lock().all.contains_key(&at) {
        return failure(StatusCode::CONFLICT, "AlreadyExists", &format!("{plural} {name:?} already exists"));
    }
    if !namespace.is_empty() && !shared.lock().all.contains_key(&key("v1", "namespaces", "", namespace)) {
        return not_found(&format!("namespaces {namespace:?}"));
    }
    object["metadata"]["namespace"] = if namespace.is_empty() { Value::Null } else { namespace.into() };
    object["metadata"]["uid"] = format!("{plural}-{namespace}-{name}").into();
    object["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
    object["metadata"]["generation"] = 1.into();
    let object = shared.put(at, ready(object));
    if plural == "deployments" {
        let mut labels = object["spec"]["template"]["metadata"]["labels"].clone();
        // As the controller does, for `kubectl exec deployment/…`.
        labels["pod-template-hash"] = "1".into();
        let replicas = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "name": format!("{name}-1"), "namespace": namespace, "labels": labels, "uid": format!("{name}-rs"),
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "controller": true,
                    "uid": object["metadata"]["uid"]}],
            },
            "spec": {"replicas": 1, "selector": object["spec"]["selector"], "template": object["spec"]["template"]},
            "status": {"replicas": 1, "readyReplicas": 1, "availableReplicas": 1},
        });
        shared.put(key("apps/v1", "replicasets", namespace, &format!("{name}-1")), replicas);
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("{name}-1"), "namespace": namespace, "labels": labels, "uid": format!("{name}-1"),
                "ownerReferences": [{"uid": object["metadata"]["uid"]}]},
            "spec": object["spec"]["template"]["spec"],
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"ready": true}]},
        });
        shared.put(key("v1", "pods", namespace, &format!("{name}-1")), pod);
    }
    (StatusCode::CREATED, answer(&object)).into_response()
}

fn delete(shared: &Shared, at: &Key) -> Response {
    let mut objects = shared.lock();
    let Some(gone) = objects.all.remove(at) else { return not_found(&format!("{} {:?}", at.1, at.3)) };
    let uid = gone["metadata"]["uid"].clone();
    let in_it = |other: &Key| at.1 == "namespaces" && other.2 == at.3;
    let owned = |object: &Value| object["metadata"]["ownerReferences"][0]["uid"] == uid && !uid.is_null();
    objects.all.retain(|other, object| !in_it(other) && !owned(object));
    objects.version += 1;
    let version = objects.version;
    drop(objects);
    shared.changed.send_replace(version);
    answer(&gone)
}

/// What controllers would come to, at once.
fn ready(mut object: Value) -> Value {
    let generation = object["metadata"]["generation"].clone();
    match object["kind"].as_str() {
        Some("DaemonSet") => {
            object["status"] = json!({"observedGeneration": generation, "desiredNumberScheduled": 1,
                "currentNumberScheduled": 1, "updatedNumberScheduled": 1, "numberReady": 1, "numberAvailable": 1});
        }
        Some("Deployment") => {
            object["status"] = json!({"observedGeneration": generation, "replicas": 1, "updatedReplicas": 1,
                "readyReplicas": 1, "availableReplicas": 1,
                "conditions": [{"type": "Available", "status": "True"}]});
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
        _ => {}
    }
    object
}

/// RFC 7386. A strategic merge patch of what kubectl changes here comes to the same.
fn merge(object: &mut Value, change: &Value) {
    let Value::Object(change) = change else {
        *object = change.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    for (name, value) in change {
        match (value, object.as_object_mut()) {
            (Value::Null, Some(fields)) => drop(fields.remove(name)),
            (value, _) => merge(&mut object[name.as_str()], value),
        }
    }
}

type Query = BTreeMap<String, String>;

fn query_of(request: &Request) -> Query {
    let pairs = axum::extract::Query::<BTreeMap<String, String>>::try_from_uri(request.uri());
    pairs.map(|pairs| pairs.0).unwrap_or_default()
}

fn chosen<'a>(
    objects: &'a Objects,
    group: &'a str,
    plural: &'a str,
    namespace: &'a str,
    query: &'a Query,
) -> impl Iterator<Item = (&'a Key, &'a Value)> {
    let term = |selector: &str, value: &dyn Fn(&str) -> Option<String>| {
        selector.split(',').filter(|term| !term.is_empty()).all(|term| match term.split_once('=') {
            Some((name, wanted)) => {
                value(name.trim_end_matches('!')).as_deref() == Some(wanted.trim_start_matches('='))
            }
            None => value(term).is_some(),
        })
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    objects.all.iter().filter(move |(key, object)| {
        let labels = |name: &str| text(&object["metadata"]["labels"][name]);
        let fields = |name: &str| text(&name.split('.').fold(*object, |at, field| &at[field]).clone());
        key.0 == group
            && key.1 == plural
            && (namespace.is_empty() || key.2 == namespace)
            && query.get("labelSelector").is_none_or(|selector| term(selector, &labels))
            && query.get("fieldSelector").is_none_or(|selector| term(selector, &fields))
    })
}

fn answer(value: &Value) -> Response {
    json_body(value.to_string())
}
