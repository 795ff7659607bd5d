//! What the hub sends to others: incidents to Alertmanager, webhooks and the Kubernetes API; its metrics to other
//! databases.
//!
//! In: the incidents, looked at with every tick (`notices`); metrics, taken every so often (`samples`). Out: one task for
//! each receiver of incidents (crate `netcheck-notify`), two for remote write (crate `netcheck-remote-write`). They show what
//! became of it on the hub's [`Board`](netcheck_outbound::Board). Cancelling the tasks loses nothing that was sent:
//! that is kept under the data directory.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _, join_all};
use netcheck_notify::alertmanager::{self, Alertmanager};
use netcheck_notify::webhook::Webhook;
use netcheck_notify::{FileStore, Label, MemoryStore, Notice, NotifyTask, Receiver, SentStore};
use netcheck_outbound::{Client, ClientError, Endpoint};
use netcheck_remote_write::queue::Limits;
use netcheck_remote_write::{Labels, Queue, SenderTask, TakerTask, Wanted};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::events::Events;
use self::notices::NoticesTask;
use self::samples::Samples;
use crate::state::Hub;

mod events;
mod notices;
mod samples;

/// How long a receiver may take for one request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Whom to notify.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Alertmanagers.
    pub alertmanagers: Vec<Endpoint>,
    /// Webhooks.
    pub webhooks: Vec<Endpoint>,
    /// Labels of every alert and document.
    pub labels: Vec<Label>,
    /// Make Events of incidents.
    pub kubernetes_events: bool,
    /// Where metrics are written to.
    pub remote_write: Option<RemoteWrite>,
}

/// Where metrics are written to, and how.
#[derive(Clone, Debug)]
pub struct RemoteWrite {
    /// Where.
    pub endpoint: Endpoint,
    /// In which version of the protocol.
    pub version: Wanted,
    /// Labels of all series that have none of that name.
    pub labels: Labels,
    /// How often.
    pub every: Duration,
    /// How much may wait on disk, in bytes.
    pub queue_bytes: u64,
}

/// Why somebody can't be notified.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// There is no client for it.
    #[error("{flag} {url}: {source}")]
    Client {
        /// Which flag named the receiver.
        flag: &'static str,
        /// Which one.
        url: String,
        /// Why.
        source: ClientError,
    },
    /// Events need an API to be sent to.
    #[error("--kubernetes-events needs the Kubernetes API: say --kubeconfig, or run as a pod of the cluster")]
    NoApi,
}

type Task = Box<dyn FnOnce(CancellationToken) -> BoxFuture<'static, ()> + Send>;

/// All receivers' tasks, made and not running yet.
#[derive(Default)]
pub struct Deliveries(Vec<Task>);

impl Deliveries {
    /// Reads what was sent by an earlier run. Nothing is sent yet. `api`: a client of the Kubernetes API, where there is
    /// one.
    ///
    /// # Errors
    /// See [`DeliverError`].
    pub fn build(
        hub: &Arc<Hub>,
        settings: Settings,
        data_dir: Option<&Path>,
        api: Option<kube::Client>,
    ) -> Result<Self, DeliverError> {
        let (publish, notices) = watch::channel(Arc::default());
        let mut built = Building { hub, notices, data_dir, tasks: Vec::new() };
        for endpoint in settings.alertmanagers {
            let client = client("--alertmanager-url", endpoint)?;
            let (url, target) = (client.url().to_string(), client.url().host().to_owned());
            let receiver = Alertmanager::new(client, settings.labels.clone(), alertmanager::EVERY);
            built.add(receiver, &url, &target);
        }
        for endpoint in settings.webhooks {
            let client = client("--webhook-url", endpoint)?;
            let (url, target) = (client.url().to_string(), client.url().host().to_owned());
            built.add(Webhook::new(client, settings.labels.clone()), &url, &target);
        }
        if settings.kubernetes_events {
            let events = Events::new(api.ok_or(DeliverError::NoApi)?, &hub.instance);
            built.add(events, "kubernetes", "events");
        }
        if !built.tasks.is_empty() {
            let task = NoticesTask::new(Arc::clone(hub), publish);
            built.tasks.push(Box::new(|shutdown| task.run(shutdown).boxed()));
        }
        if let Some(remote) = settings.remote_write {
            built.write_remotely(remote)?;
        }
        Ok(Self(built.tasks))
    }

    /// Sends until cancelled.
    pub async fn run(self, shutdown: CancellationToken) {
        join_all(self.0.into_iter().map(|task| task(shutdown.clone()))).await;
        shutdown.cancelled().await;
    }
}

fn client(flag: &'static str, endpoint: Endpoint) -> Result<Client, DeliverError> {
    let url = endpoint.url.to_string();
    Client::new(endpoint, TIMEOUT).map_err(|source| DeliverError::Client { flag, url, source })
}

struct Building<'a> {
    hub: &'a Arc<Hub>,
    notices: watch::Receiver<Arc<Vec<Notice>>>,
    data_dir: Option<&'a Path>,
    tasks: Vec<Task>,
}

impl Building<'_> {
    /// `name` distinguishes it from others of its kind, over restarts; `target` is what it is called.
    fn add<R: Receiver>(&mut self, receiver: R, name: &str, target: &str) {
        let store: Arc<dyn SentStore> = match self.data_dir {
            Some(dir) => Arc::new(FileStore::new(&dir.join("notify"), &format!("{} {name}", R::NAME))),
            None => Arc::new(MemoryStore::default()),
        };
        let entry = self.hub.lock().deliveries.enter(R::NAME, target, "notifications");
        let task = NotifyTask::new(receiver, self.notices.clone(), store, entry);
        self.tasks.push(Box::new(|shutdown| task.run(shutdown).boxed()));
    }

    fn write_remotely(&mut self, remote: RemoteWrite) -> Result<(), DeliverError> {
        let client = client("--remote-write", remote.endpoint)?;
        let entry = self.hub.lock().deliveries.enter("remote_write", client.url().host(), "samples");
        let dir = self.data_dir.map(|dir| dir.join("remote-write"));
        let limits = Limits { disk: remote.queue_bytes, ..Limits::default() };
        let queue = Queue::open(dir.as_deref(), limits);
        let source = Arc::new(Samples(Arc::clone(self.hub)));
        let taker = TakerTask::new(source, remote.labels, queue, remote.every, entry);
        let sender = SenderTask::new(client, &taker, remote.version);
        self.tasks.push(Box::new(|shutdown| taker.run(shutdown).boxed()));
        self.tasks.push(Box::new(|shutdown| sender.run(shutdown).boxed()));
        Ok(())
    }
}
