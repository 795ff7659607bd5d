//! A fake of a whole cluster, as far as `kubectl` and `helm` look at one: discovery, objects of many kinds that can be
//! made, changed, watched and deleted, workloads that are ready at once, and commands in pods.
//!
//! What runs in it is up to whoever starts it: [`FakeCluster::start`] takes what answers `kubectl exec`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch as changes;
use tokio::task::JoinHandle;

use self::discovery::{KINDS, groups, resources};
use self::exec::exec;
use self::portforward::portforward;
use crate::serve::{self, failure, json_body};

mod act;
mod controllers;
mod discovery;
mod events;
mod exec;
mod portforward;
mod query;
mod removal;
mod review;
mod watch;

/// What a command in a pod comes to: its words → standard output, standard error, exit code.
pub type Exec = Arc<dyn Fn(&[String]) -> (String, String, u8) + Send + Sync>;

/// Group and version, plural, namespace, name.
type Key = (String, String, String, String);

#[derive(Default)]
struct Objects {
    all: BTreeMap<Key, Value>,
    version: u64,
    /// What is behind the ports of pods, by their names.
    forwards: BTreeMap<String, SocketAddr>,
    /// The same by a label's name and value.
    labelled_forwards: BTreeMap<(String, String), SocketAddr>,
    /// Resources and their parts that nobody may have.
    forbidden: BTreeSet<(String, String)>,
    /// Images that nodes can't pull.
    unpullable: BTreeSet<String>,
    /// How long what ends gracefully takes.
    grace: Duration,
    /// How long every request takes before anything comes of it.
    delay: Duration,
}

#[derive(Clone)]
struct Shared {
    objects: Arc<Mutex<Objects>>,
    changed: Arc<changes::Sender<u64>>,
    /// Changes when the server goes away.
    away: Arc<changes::Sender<u64>>,
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
    server: Option<JoinHandle<()>>,
    /// At further addresses.
    others: Vec<JoinHandle<()>>,
}

impl FakeCluster {
    /// Starts one on a free port of 127.0.0.1, with these nodes, all of them ready.
    ///
    /// # Errors
    /// No port is to be had.
    pub async fn start(nodes: &[&str], exec: Exec) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("the fake cluster cannot listen")?;
        let address = listener.local_addr()?;
        let sender = || Arc::new(changes::Sender::new(0));
        let shared = Shared { objects: Arc::default(), changed: sender(), away: sender(), exec };
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
        let mut fake = Self { shared, address, server: None, others: Vec::new() };
        fake.listen(listener);
        Ok(fake)
    }

    fn listen(&mut self, listener: TcpListener) {
        let router = Router::new().fallback(answered).with_state(self.shared.clone());
        self.server = Some(tokio::spawn(serve::run(listener, router)));
    }

    /// Listens there, too, as in another network namespace, until it goes away or is dropped. A kubeconfig that leads there.
    ///
    /// # Errors
    /// The listener is of no use.
    pub fn also_on(&mut self, listener: std::net::TcpListener) -> anyhow::Result<String> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let router = Router::new().fallback(answered).with_state(self.shared.clone());
        self.others.push(tokio::spawn(serve::run(TcpListener::from_std(listener)?, router)));
        Ok(crate::kubeconfig(address))
    }

    /// Goes away: every connection breaks, also those to pods, and new ones are refused. Objects stay.
    pub async fn stop(&mut self) {
        self.others.drain(..).for_each(|other| other.abort());
        if let Some(server) = self.server.take() {
            server.abort();
            // Its connections are gone when it is.
            drop(server.await);
            self.shared.away.send_modify(|times| *times += 1);
        }
    }

    /// Comes back at the same address.
    ///
    /// # Errors
    /// Somebody else took the port meanwhile.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.stop().await;
        let listener = TcpListener::bind(self.address).await.context("the fake cluster cannot come back")?;
        self.listen(listener);
        Ok(())
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

    /// Puts an object there as it is, as its controller would.
    pub fn set(&self, group: &str, plural: &str, namespace: &str, name: &str, object: Value) {
        self.shared.put(key(group, plural, namespace, name), object);
    }

    /// What connections to a pod's ports are forwarded to.
    pub fn forward(&self, pod: &str, to: SocketAddr) {
        self.shared.lock().forwards.insert(pod.to_owned(), to);
    }

    /// The same of every pod with this label.
    pub fn forward_labelled(&self, label: &str, value: &str, to: SocketAddr) {
        self.shared.lock().labelled_forwards.insert((label.to_owned(), value.to_owned()), to);
    }

    /// No node can pull this image.
    pub fn unpullable(&self, image: &str) {
        self.shared.lock().unpullable.insert(image.to_owned());
    }

    /// From now on pods, what makes them and namespaces take so long to go, and each request so long to be carried out.
    pub fn slow(&self, grace: Duration, delay: Duration) {
        let mut objects = self.shared.lock();
        (objects.grace, objects.delay) = (grace, delay);
    }

    /// Every object, with what it is called; what changes by itself is left out.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<String, Value> {
        let objects = self.shared.lock();
        let named = |(key, object): (&Key, &Value)| {
            let (group, plural, namespace, name) = key;
            (format!("{group} {plural} {namespace}/{name}"), object.clone())
        };
        objects.all.iter().map(named).collect()
    }

    /// From now on nobody may have this: a resource, or a part of one (`portforward` of `pods`).
    pub fn forbid(&self, plural: &str, part: &str) {
        self.shared.lock().forbidden.insert((plural.to_owned(), part.to_owned()));
    }

    /// An object as it is.
    #[must_use]
    pub fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        self.shared.lock().all.get(&key(group, plural, namespace, name)).cloned()
    }
}

impl Drop for FakeCluster {
    fn drop(&mut self) {
        self.server.iter().chain(&self.others).for_each(JoinHandle::abort);
    }
}

fn key(group: &str, plural: &str, namespace: &str, name: &str) -> Key {
    (group.to_owned(), plural.to_owned(), namespace.to_owned(), name.to_owned())
}

fn not_found(what: &str) -> Response {
    failure(StatusCode::NOT_FOUND, "NotFound", &format!("{what} not found"))
}

/// A request is carried out also where nobody waits for its answer any more, as by the real server; but not one that is
/// answered by a stream.
async fn answered(State(shared): State<Shared>, request: Request) -> Response {
    let delay = shared.lock().delay;
    if request.method() == Method::GET {
        tokio::time::sleep(delay).await;
        return answer_to(shared, request).await;
    }
    let done = tokio::spawn(async move {
        tokio::time::sleep(delay).await;
        answer_to(shared, request).await
    });
    let broken = |_| failure(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "the fake is broken");
    done.await.unwrap_or_else(broken)
}

async fn answer_to(shared: Shared, request: Request) -> Response {
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
    if rest == ["selfsubjectaccessreviews"] {
        return review::access(&shared, request).await;
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
    if shared.lock().forbidden.contains(&(plural.to_owned(), part.unwrap_or_default().to_owned())) {
        return failure(StatusCode::FORBIDDEN, "Forbidden", &format!("{plural} is forbidden"));
    }
    if (plural, part) == ("pods", Some("portforward")) {
        let pod = name.to_owned();
        return portforward(shared, &pod, request).await;
    }
    if (plural, part) == ("pods", Some("exec")) {
        return exec(shared, request).await;
    }
    // Events of either group are the same objects.
    let group = if plural == events::PLURAL { "v1" } else { &group };
    let key = key(group, plural, &namespace, name);
    act::act(&shared, request, key, (kind, part)).await
}

fn answer(value: &Value) -> Response {
    json_body(value.to_string())
}
