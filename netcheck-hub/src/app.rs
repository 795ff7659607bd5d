//! Wiring, in data order: bind, read the inventory, then run until a signal or the first task that ends.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use netcheck_proto::usage::read_token;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::config::{self, AgentAuth, Config};
use crate::inventory::file::InventoryTask;
use crate::inventory::kubernetes::{self, Access, ApiHealth, KubernetesTask};
use crate::serve::accept::{self, AcceptTask, Limits};
use crate::serve::http::Accepted;
use crate::serve::identity::{Identity, Reviewer};
use crate::serve::readers::Readers;
use crate::serve::tls::{Certificates, TlsTask};
use crate::serve::{http, server};
use crate::state::Hub;
use crate::state::HubTask;

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
    identity: Arc<Identity>,
    inventory: Inventory,
    readers: Readers,
    tls: Option<(TlsTask, Certificates)>,
    http_tls: bool,
    grpc: TcpListener,
    http: TcpListener,
}

impl App {
    /// Reads the inventory and binds the ports.
    ///
    /// # Errors
    /// An inventory that is missing or broken, a port that is taken.
    pub async fn build(config: &Config) -> anyhow::Result<Self> {
        let hub = Hub::new(config.settings()?);
        let access = Access {
            kubeconfig: config.kubeconfig.clone(),
            ingresses: config.http.http_ingress,
            gateways: config.http.http_gateway,
            ..Access::default()
        };
        let health = Arc::new(ApiHealth::default());
        let client = match (&config.inventory, config.agents_prove()) {
            (config::Inventory::File(_), AgentAuth::None) => None,
            _ => Some(kubernetes::connect(&access, &health).await?),
        };
        let reviewer =
            client.clone().filter(|_| config.agents_prove() == AgentAuth::Token).map(Reviewer::new);
        let identity = match reviewer {
            None => Identity::Unchecked,
            Some(reviewer) => Identity::Tokens {
                reviewer: Box::new(reviewer),
                account: config.agent_service_account.clone(),
                all_pods: config.inventory == config::Inventory::Kubernetes,
            },
        };
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
        let tls = config.tls().map(|files| TlsTask::start(files, Arc::clone(&hub))).transpose()?;
        let readers = config.readers();
        if let Readers::Token(path) = &readers {
            read_token(path).map_err(|error| anyhow::anyhow!("--read-token-file {error}"))?;
        }
        warn(config, &identity, tls.is_some());
        tracing::info!(grpc = %grpc.local_addr()?, http = %http.local_addr()?, "listening");
        let (identity, http_tls) = (Arc::new(identity), config.http_tls);
        Ok(Self { hub, identity, inventory, readers, tls, http_tls, grpc, http })
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

        let (inventory, stop) = (self.inventory, token());
        tasks.spawn(async {
            inventory.run(stop).await;
            ("inventory", Ok(()))
        });
        let (ticker, stop) = (HubTask { hub: Arc::clone(&hub) }, token());
        tasks.spawn(async {
            ticker.run(stop).await;
            ("hub", Ok(()))
        });
        let (renewal, certificates) = self.tls.unzip();
        if let Some(renewal) = renewal {
            let stop = token();
            tasks.spawn(async {
                renewal.run(stop).await;
                ("certificate", Ok(()))
            });
        }
        let address = self.http.local_addr()?;
        let mut accept = |listener, tls, limits| {
            let (server, connections) = mpsc::channel(accept::DEPTH);
            let task = AcceptTask { listener, tls, limits, hub: Arc::clone(&hub), server };
            let stop = token();
            tasks.spawn(async {
                task.run(stop).await;
                ("accept", Ok(()))
            });
            connections
        };
        let grpc_tls = certificates.as_ref().map(|certificates| certificates.grpc.clone());
        let http_tls = certificates.filter(|_| self.http_tls).map(|certificates| certificates.http);
        let incoming = ReceiverStream::new(accept(self.grpc, grpc_tls, Limits::default()));
        let connections = accept(self.http, http_tls, Limits::of_http());
        let grpc = server::serve(Arc::clone(&hub), self.identity, self.readers.clone(), incoming, token());
        tasks.spawn(async { ("gRPC", grpc.await) });
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
