//! Wiring, in data order: bind, read the inventory, then run until a signal or the first task that ends.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::future::{BoxFuture, FutureExt as _};
use kube::Client;
use netcheck_proto::usage::read_token;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::config::{self, AgentAuth, Config};
use crate::deliver::Deliveries;
use crate::inventory::file::InventoryTask;
use crate::inventory::kubernetes::{self, Access, ApiHealth, KubernetesTask};
use crate::scheduled::{ControllerTask, LeaseSettings};
use crate::serve::accept::{self, AcceptTask, HTTP1_BEGIN, HTTP2_BEGIN, Limits};
use crate::serve::http::Accepted;
use crate::serve::identity::{Identity, Reviewer};
use crate::serve::readers::Readers;
use crate::serve::report_log::ReportLogTask;
use crate::serve::tls::{Certificates, TlsTask};
use crate::serve::{health, http, server};
use crate::state::Hub;
use crate::state::HubTask;
use crate::state::history::{Archive, HistoryTask};
use netcheck_analysis::model::clock::unix_now_ns;
use netcheck_history::writer::WriterTask;

/// How long connections may take to end after a signal. Shorter than a pod's grace period.
const DRAIN: Duration = Duration::from_secs(5);

/// Who makes rosters.
enum Inventory {
    Kubernetes(KubernetesTask),
    File(InventoryTask),
}

impl Inventory {
    async fn run(self, shutdown: CancellationToken) {
        match self {
            Self::Kubernetes(task) => task.run(shutdown).await,
            Self::File(task) => task.run(shutdown).await,
        }
    }
}

/// Everything that can fail at the start, done; nothing running yet.
pub struct App {
    hub: Arc<Hub>,
    writer: WriterTask,
    identity: Arc<Identity>,
    inventory: Inventory,
    scheduled: Option<ControllerTask>,
    deliveries: Deliveries,
    readers: Readers,
    tls: Option<(TlsTask, Certificates)>,
    http_tls: bool,
    log: ReportLogTask,
    grpc: TcpListener,
    http: TcpListener,
    health: Option<TcpListener>,
}

impl App {
    /// Reads the inventory and binds the ports.
    ///
    /// # Errors
    /// An inventory that is missing or broken, a port that is taken.
    pub async fn build(config: &Config) -> anyhow::Result<Self> {
        let settings = config.settings()?;
        let now_ns = unix_now_ns();
        // Whatever becomes of the disk: there is a history, if only in memory.
        let (hub, writer) =
            Hub::with_history(settings, Archive::open(config.history.keeping(), now_ns), now_ns);
        let access = Access {
            kubeconfig: config.kubeconfig.clone(),
            ingresses: config.http.http_ingress,
            gateways: config.http.http_gateway,
            ..Access::default()
        };
        let health = Arc::new(ApiHealth::default());
        let client = match (&config.inventory, config.agents_prove()) {
            (config::Inventory::File(_), AgentAuth::None)
                if !config.scheduled.scheduled_checks && !config.deliver.kubernetes_events =>
            {
                None
            }
            _ => Some(kubernetes::connect(&access, &health).await?),
        };
        let scheduled = client.clone().filter(|_| config.scheduled.scheduled_checks).map(|client| {
            let lease = config
                .scheduled
                .scheduled_lease
                .as_ref()
                .map(|lease| LeaseSettings::new(&lease.namespace, &lease.name, &identity_of(&hub)));
            let secrets = config.scheduled.check_secrets.clone();
            ControllerTask { hub: Arc::clone(&hub), client, lease, secrets }
        });
        let identity = identity(config, client.clone());
        let data_dir = config.history.data_dir.as_deref();
        let deliveries = Deliveries::build(&hub, config.deliver.settings(), data_dir, client.clone())?;
        let inventory = match (&config.inventory, client) {
            (config::Inventory::Kubernetes, Some(client)) => {
                Inventory::Kubernetes(KubernetesTask::new(hub.taker(), client, access, health))
            }
            (config::Inventory::File(path), _) => {
                Inventory::File(InventoryTask::start(path.clone(), hub.taker())?)
            }
            (config::Inventory::Kubernetes, None) => anyhow::bail!("no client of the Kubernetes API"),
        };
        let listen =
            |addr, what| accept::listen(addr).with_context(|| format!("cannot listen on {addr} for {what}"));
        let grpc = listen(config.grpc_addr, "gRPC")?;
        let http = listen(config.http_addr, "HTTP")?;
        let health = config.health_addr.map(|addr| listen(addr, "health")).transpose()?;
        let tls = config.tls().map(|files| TlsTask::start(files, Arc::clone(&hub))).transpose()?;
        let readers = config.readers();
        if let Readers::Token(path) = &readers {
            read_token(path).map_err(|error| anyhow::anyhow!("--read-token-file {error}"))?;
        }
        warn(config, &identity, tls.is_some());
        tracing::info!(grpc = %grpc.local_addr()?, http = %http.local_addr()?, "listening");
        let (identity, http_tls) = (Arc::new(identity), config.http_tls);
        let log = ReportLogTask { hub: Arc::clone(&hub), interval: config.report_interval };
        Ok(Self {
            hub,
            writer,
            identity,
            inventory,
            scheduled,
            deliveries,
            readers,
            tls,
            http_tls,
            log,
            grpc,
            http,
            health,
        })
    }

    /// Runs until SIGTERM, SIGINT, or a task that fails.
    ///
    /// # Errors
    /// That task's error.
    pub async fn run(self) -> anyhow::Result<()> {
        let shutdown = CancellationToken::new();
        let mut signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut tasks: JoinSet<(&str, anyhow::Result<()>)> = JoinSet::new();
        let (hub, token) = (self.hub, || shutdown.clone());

        let mut spawn = |name, work: BoxFuture<'static, ()>| {
            tasks.spawn(async move {
                work.await;
                (name, Ok(()))
            });
        };
        spawn("inventory", self.inventory.run(token()).boxed());
        // It waits for the disk: a thread of its own, which ends with the process. What it has when it does is written, for
        // the history's task waits for that.
        let writer = self.writer;
        std::thread::Builder::new().name("history".to_owned()).spawn(|| writer.run())?;
        spawn("history", HistoryTask { hub: Arc::clone(&hub) }.run(token()).boxed());
        if let Some(controller) = self.scheduled {
            spawn("scheduled checks", controller.run(token()).boxed());
        }
        spawn("hub", HubTask { hub: Arc::clone(&hub) }.run(token()).boxed());
        spawn("report", self.log.run(token()).boxed());
        spawn("deliveries", self.deliveries.run(token()).boxed());
        let (renewal, certificates) = self.tls.unzip();
        if let Some(renewal) = renewal {
            spawn("certificate", renewal.run(token()).boxed());
        }
        let address = self.http.local_addr()?;
        let mut accept = |listener, tls, limits, begin| {
            let (server, connections) = mpsc::channel(accept::DEPTH);
            let task = AcceptTask { listener, tls, limits, begin, hub: Arc::clone(&hub), server };
            spawn("accept", task.run(token()).boxed());
            connections
        };
        let grpc_tls = certificates.as_ref().map(|certificates| certificates.grpc.clone());
        let http_tls = certificates.filter(|_| self.http_tls).map(|certificates| certificates.http);
        let incoming = ReceiverStream::new(accept(self.grpc, grpc_tls, Limits::default(), HTTP2_BEGIN));
        let connections = accept(self.http, http_tls, Limits::of_http(), HTTP1_BEGIN);
        let grpc = server::serve(Arc::clone(&hub), self.identity, self.readers.clone(), incoming, token());
        tasks.spawn(async { ("gRPC", grpc.await) });
        if let Some(listener) = self.health {
            // It ends with the token, and is not waited for.
            drop(health::start(Arc::clone(&hub), listener.into_std()?, token())?);
        }
        let http = http::serve(hub, self.readers, Accepted { connections, address }, token());
        tasks.spawn(async { ("HTTP", http.await) });

        let first = tokio::select! {
            _ = signals.0.recv() => None,
            _ = signals.1.recv() => None,
            ended = tasks.join_next() => ended,
        };
        if first.is_none() {
            tracing::info!("signal received, draining");
        }
        shutdown.cancel();
        let drained = tokio::time::timeout(DRAIN, async {
            let mut result = Ok(());
            while let Some(ended) = tasks.join_next().await {
                result = result.and(outcome(ended, true));
            }
            result
        });
        let rest = drained.await.unwrap_or_else(|_| {
            tracing::warn!("connections still open after {DRAIN:?}: closing them");
            Ok(())
        });
        first.map_or(Ok(()), |ended| outcome(ended, false)).and(rest)
    }
}

/// How agents prove who they are.
fn identity(config: &Config, client: Option<Client>) -> Identity {
    let reviewer = client.filter(|_| config.agents_prove() == AgentAuth::Token).map(Reviewer::new);
    match reviewer {
        None => Identity::Unchecked,
        Some(reviewer) => Identity::Tokens {
            reviewer: Box::new(reviewer),
            account: config.agent_service_account.clone(),
            all_pods: config.inventory == config::Inventory::Kubernetes,
        },
    }
}

/// Says what is not as safe as it could be.
fn warn(config: &Config, identity: &Identity, encrypted: bool) {
    if !encrypted {
        tracing::warn!("serving without encryption (--insecure)");
    }
    match identity {
        Identity::Unchecked => tracing::warn!("not checking who agents are (--insecure)"),
        Identity::Tokens { account: None, .. } => tracing::warn!(
            "whoever has a token for this hub is taken for an agent: --agent-service-account says whose tokens are \
             agents'"
        ),
        Identity::Tokens { .. } => {}
    }
    if config.client_ca.is_some() {
        tracing::info!("agents and readers must show a certificate (--client-ca)");
    }
    match config.readers() {
        Readers::Anybody => {
            tracing::info!("whoever reaches the hub may read (--read-token-file restricts it)");
        }
        Readers::Certified => tracing::info!("by HTTP, only health and metrics are served (--client-ca)"),
        Readers::Token(_) => {}
    }
}

type Ended = Result<(&'static str, anyhow::Result<()>), tokio::task::JoinError>;

/// A task that ends without being asked to is an error, too.
fn outcome(ended: Ended, asked: bool) -> anyhow::Result<()> {
    let (name, result) = ended.context("a task panicked")?;
    result.with_context(|| format!("{name} task failed"))?;
    anyhow::ensure!(asked, "{name} task ended unexpectedly");
    Ok(())
}

/// Whom a Lease names: the pod, and which of its starts.
fn identity_of(hub: &Hub) -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_default();
    let host = if host.is_empty() { "hub" } else { &host };
    format!("{host}_{}", hub.instance)
}
