//! A hub that serves in-memory connections, and ([`agent`]) an agent that does what a test says.

mod agent;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use netcheck_analysis::cluster::inventory;
use netcheck_analysis::model::clock::unix_now_ns;
use netcheck_analysis::plan::rotation::Rotation;
use netcheck_hub::serve::accept::{AcceptTask, DEPTH, HTTP1_BEGIN, HTTP2_BEGIN, Limits};
use netcheck_hub::serve::http::{self, Accepted};
use netcheck_hub::serve::identity::Identity;
use netcheck_hub::serve::readers::Readers;
use netcheck_hub::serve::server;
use netcheck_hub::state::Hub;
use netcheck_hub::state::HubTask;
use netcheck_hub::state::Settings;
use netcheck_hub::state::State;
use netcheck_proto::v1;
use netcheck_proto::v1::reachability_service_client::ReachabilityServiceClient;
use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_rustls::rustls::ServerConfig;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream, UnboundedReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Uri};

pub(crate) use self::agent::{FakeAgent, eth0, healthy, hello, lost};

/// Three nodes, one pod each, a service with two backends, a DNS server.
pub(crate) const CLUSTER: &str = include_str!("cluster.yaml");
/// Anything that takes longer has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Rig {
    pub(crate) hub: Arc<Hub>,
    connections: mpsc::UnboundedSender<Result<DuplexStream, std::io::Error>>,
    shutdown: CancellationToken,
}

/// Where a hub listens.
pub(crate) struct Gate {
    pub(crate) address: SocketAddr,
}

impl Gate {
    /// Without encryption.
    pub(crate) async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub(crate) fn set_roster(hub: &Hub, text: &str) {
    set_roster_at(hub, text, unix_now_ns());
}

pub(crate) fn set_roster_at(hub: &Hub, text: &str, now_ns: i64) {
    let objects = inventory::parse(Path::new("test.yaml"), text).unwrap();
    hub.set_roster(objects.roster(), now_ns);
}

impl Rig {
    pub(crate) fn start() -> Self {
        Self::start_with(Identity::Unchecked)
    }

    /// A hub that admits agents by this.
    pub(crate) fn start_with(identity: Identity) -> Self {
        let settings = Settings {
            rotation: Rotation { paths_per_node: 100_000, ..Rotation::default() },
            ..Settings::every(Duration::from_secs(1))
        };
        Self::begin(settings, identity)
    }

    /// A hub with these settings, which asks nobody who he is.
    pub(crate) fn of(settings: Settings) -> Self {
        Self::begin(settings, Identity::Unchecked)
    }

    fn begin(settings: Settings, identity: Identity) -> Self {
        let hub = Hub::new(settings);
        set_roster(&hub, CLUSTER);
        let (connections, incoming) = mpsc::unbounded_channel();
        let shutdown = CancellationToken::new();
        let incoming = UnboundedReceiverStream::new(incoming);
        tokio::spawn(server::serve(
            Arc::clone(&hub),
            Arc::new(identity),
            Readers::Anybody,
            incoming,
            shutdown.clone(),
        ));
        tokio::spawn(HubTask { hub: Arc::clone(&hub) }.run(shutdown.clone()));
        Self { hub, connections, shutdown }
    }

    pub(crate) async fn channel(&self) -> Channel {
        let (client, server) = tokio::io::duplex(1 << 20);
        self.connections.send(Ok(server)).unwrap();
        let mut client = Some(client);
        let connector = tower::service_fn(move |_: Uri| {
            let client = client.take().ok_or_else(|| std::io::Error::other("connected once"));
            async move { client.map(TokioIo::new) }
        });
        Endpoint::from_static("http://hub.test").connect_with_connector(connector).await.unwrap()
    }

    /// The same as the hub itself listens: limits, and a certificate if there is one.
    pub(crate) async fn gate(&self, tls: Option<watch::Receiver<Arc<ServerConfig>>>, limits: Limits) -> Gate {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (server, incoming) = mpsc::channel(DEPTH);
        let hub = Arc::clone(&self.hub);
        let accept = AcceptTask { listener, tls, limits, begin: HTTP2_BEGIN, hub, server };
        tokio::spawn(accept.run(self.shutdown.clone()));
        let identity = Arc::new(Identity::Unchecked);
        let incoming = ReceiverStream::new(incoming);
        tokio::spawn(server::serve(
            Arc::clone(&self.hub),
            identity,
            Readers::Anybody,
            incoming,
            self.shutdown.clone(),
        ));
        Gate { address }
    }

    /// Its HTTP port, as it listens itself, for these readers.
    pub(crate) async fn http(
        &self,
        readers: Readers,
        tls: Option<watch::Receiver<Arc<ServerConfig>>>,
    ) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (server, connections) = mpsc::channel(DEPTH);
        let limits = Limits::of_http();
        let hub = Arc::clone(&self.hub);
        let accept = AcceptTask { listener, tls, limits, begin: HTTP1_BEGIN, hub, server };
        tokio::spawn(accept.run(self.shutdown.clone()));
        let accepted = Accepted { connections, address };
        tokio::spawn(http::serve(Arc::clone(&self.hub), readers, accepted, self.shutdown.clone()));
        address
    }

    /// Where it listens over TCP, for these readers.
    pub(crate) async fn tcp(&self, readers: Readers) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let identity = Arc::new(Identity::Unchecked);
        let incoming = TcpListenerStream::new(listener);
        let hub = Arc::clone(&self.hub);
        tokio::spawn(server::serve(hub, identity, readers, incoming, self.shutdown.clone()));
        address
    }

    /// The same as [`Rig::channel`] over TCP, where the hub sees an address.
    pub(crate) async fn tcp_channel(&self) -> Channel {
        let url = format!("http://{}", self.tcp(Readers::Anybody).await);
        Endpoint::from_shared(url).unwrap().connect().await.unwrap()
    }

    pub(crate) async fn reader(&self) -> ReachabilityServiceClient<Channel> {
        ReachabilityServiceClient::new(self.channel().await)
    }

    pub(crate) async fn agent(&self, node: &str) -> FakeAgent {
        FakeAgent::start(self.channel().await, hello(node, "boot-1")).await
    }

    /// The cells from one node to one target, once all of them are as wanted.
    pub(crate) async fn cells(
        &self,
        source: &str,
        target: &str,
        wanted: impl Fn(&v1::MatrixCell) -> bool,
    ) -> Vec<v1::MatrixCell> {
        let selector = v1::PathSelector {
            sources: vec![source.to_owned()],
            targets: vec![target.to_owned()],
            ..Default::default()
        };
        let mut reader = self.reader().await;
        let mut ticks = self.hub.ticks();
        let asking = async {
            loop {
                let request = v1::GetMatrixRequest { selector: Some(selector.clone()), ..Default::default() };
                let cells = reader.get_matrix(request).await.unwrap().into_inner().cells;
                if !cells.is_empty() && cells.iter().all(&wanted) {
                    return cells;
                }
                ticks.changed().await.unwrap();
            }
        };
        tokio::time::timeout(DEADLINE, asking).await.expect("the cells become as wanted")
    }

    /// Waits until the hub's state is as wanted; it is looked at after every tick.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&State) -> bool) {
        let mut ticks = self.hub.ticks();
        let waiting = ticks.wait_for(|_| wanted(&self.hub.lock()));
        tokio::time::timeout(DEADLINE, waiting).await.expect(what).unwrap();
    }
}

pub(crate) fn is(verdict: v1::Verdict) -> impl Fn(&v1::MatrixCell) -> bool {
    move |cell| cell.verdict() == verdict
}
