//! A fake of the Kubernetes HTTP API, for tests: a real HTTP server that lists and watches objects, reviews tokens,
//! keeps leases, and breaks in the ways in which the real one does.
//!
//! In: objects ([`FakeApi::apply`], [`FakeApi::load`]) and faults ([`Faults`]). Out: what kube asks for, and a record
//! of every call ([`FakeApi::calls`]) to hold a role's rules against. Its tasks end when the [`FakeApi`] is dropped.

pub mod cluster;
mod fault;
mod objects;
mod resource;
mod review;
mod serve;
mod store;
pub mod synthetic;
mod watch;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch as changes;
use tokio::task::JoinHandle;

pub use fault::Faults;
pub use resource::Resource;
pub use review::Token;
use store::Store;

fn kubeconfig(address: SocketAddr) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: fake\n\
         clusters: [{{name: fake, cluster: {{server: 'http://{address}'}}}}]\n\
         contexts: [{{name: fake, context: {{cluster: fake, user: fake}}}}]\n\
         users: [{{name: fake, user: {{}}}}]\n"
    )
}

/// What was called, as a role's rules name it: verb and resource (with its group, as in `discovery.k8s.io/endpointslices`).
pub type Calls = BTreeMap<(String, String), usize>;

/// State that all connections share.
#[derive(Default)]
struct State {
    store: Store,
    faults: Faults,
    tokens: BTreeMap<String, Token>,
    calls: Calls,
    /// Lists without a limit.
    unbounded_lists: usize,
    /// Bookmarks that were sent.
    bookmarks: usize,
}

/// What handlers hold.
#[derive(Clone)]
struct Shared {
    state: Arc<Mutex<State>>,
    /// Changes whenever a watch may have something to say.
    changed: Arc<changes::Sender<u64>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        self.changed.send_modify(|version| *version += 1);
    }
}

/// A running fake.
pub struct FakeApi {
    shared: Shared,
    address: SocketAddr,
    server: Option<JoinHandle<()>>,
}

impl FakeApi {
    /// Starts one on a free port of 127.0.0.1, without objects.
    ///
    /// # Errors
    /// No port is to be had.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts one there.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn start_at(address: SocketAddr) -> anyhow::Result<Self> {
        let shared = Shared { state: Arc::default(), changed: Arc::new(changes::Sender::new(0)) };
        let mut fake = Self { shared, address, server: None };
        fake.listen().await?;
        Ok(fake)
    }

    async fn listen(&mut self) -> anyhow::Result<()> {
        let listener = TcpListener::bind(self.address)
            .await
            .with_context(|| format!("the fake Kubernetes API cannot listen on {}", self.address))?;
        self.address = listener.local_addr()?;
        self.server = Some(tokio::spawn(serve::run(listener, serve::router(self.shared.clone()))));
        Ok(())
    }

    /// Goes away: every connection breaks, new ones are refused. Objects stay.
    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            // Its connections are gone when it is.
            drop(server.await);
        }
    }

    /// Comes back at the same address.
    ///
    /// # Errors
    /// Somebody else took the port meanwhile.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.stop().await;
        self.listen().await
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A kubeconfig that leads here.
    #[must_use]
    pub fn kubeconfig(&self) -> String {
        kubeconfig(self.address)
    }

    /// Adds or replaces an object; watches hear of it.
    ///
    /// # Panics
    /// If it has no kind that the fake serves, or no name: the test is wrong.
    pub fn apply(&self, object: Value) {
        self.shared.lock().store.apply(object).expect("an object that the fake serves");
        self.shared.wake();
    }

    /// Adds all items of a `v1.List`. Kinds that the fake does not serve are left out.
    pub fn load(&self, list: &Value) {
        let mut state = self.shared.lock();
        for item in list["items"].as_array().into_iter().flatten() {
            // A list of anything may hold kinds that nobody asks for.
            drop(state.store.apply(item.clone()));
        }
        drop(state);
        self.shared.wake();
    }

    /// Deletes an object, and whether it was there; watches hear of it. `namespace` is empty for nodes and namespaces.
    pub fn delete(&self, resource: Resource, namespace: &str, name: &str) -> bool {
        let deleted = self.shared.lock().store.delete(resource, namespace, name);
        self.shared.wake();
        deleted
    }

    /// The object as it is served.
    #[must_use]
    pub fn get(&self, resource: Resource, namespace: &str, name: &str) -> Option<Value> {
        self.shared.lock().store.get(resource, namespace, name)
    }

    /// All objects of a resource as they are served, in order of their names.
    #[must_use]
    pub fn all(&self, resource: Resource) -> Vec<Value> {
        let state = self.shared.lock();
        let (found, _) = state.store.page(resource, &store::Filter::default(), "", usize::MAX);
        found.iter().map(|stored| serde_json::from_str(&stored.json).unwrap_or_default()).collect()
    }

    /// Changes an object; watches hear of it.
    ///
    /// # Panics
    /// If there is no such object: the test is wrong.
    pub fn edit(&self, resource: Resource, namespace: &str, name: &str, edit: impl FnOnce(&mut Value)) {
        let mut object = self.get(resource, namespace, name).expect("an object that is there");
        edit(&mut object);
        self.apply(object);
    }

    /// Forgets all history: whoever resumes from an older state than that of now gets 410 Gone.
    pub fn compact(&self) {
        self.shared.lock().store.compact();
        self.shared.wake();
    }

    /// Makes something break, or stop breaking.
    pub fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.shared.lock().faults);
        self.shared.wake();
    }

    /// Makes a token known to TokenReview.
    pub fn token(&self, secret: &str, token: Token) {
        self.shared.lock().tokens.insert(secret.to_owned(), token);
    }

    /// What was called so far, and how often.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.shared.lock().calls.clone()
    }

    /// How often this was called.
    #[must_use]
    pub fn called(&self, verb: &str, resource: &str) -> usize {
        self.shared.lock().calls.get(&(verb.to_owned(), resource.to_owned())).copied().unwrap_or(0)
    }

    /// How many bookmarks were sent.
    #[must_use]
    pub fn bookmarks(&self) -> usize {
        self.shared.lock().bookmarks
    }

    /// Lists that asked for everything in one answer: at 50,000 pods nobody should.
    #[must_use]
    pub fn unbounded_lists(&self) -> usize {
        self.shared.lock().unbounded_lists
    }
}

impl Drop for FakeApi {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}
