//! Connections before anybody says anything on them: counted, limited, encrypted.
//!
//! In: a listener. Out: connections for the gRPC server, or the HTTP server. [`AcceptTask`] accepts, and owns the handshakes, which are
//! tasks of its own set; cancelling it drops those that are not done. A connection beyond a limit is closed at once
//! and counted.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::state::Hub;

/// Connections that wait for the server to take them, which it does at once.
pub const DEPTH: usize = 64;

/// How much is taken.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections, all together: an agent has one, a reader a few.
    pub connections: usize,
    /// Connections from one address. Many agents may share one where addresses are translated.
    pub from_one_address: usize,
    /// TLS handshakes at the same time.
    pub handshakes: usize,
    /// How long a handshake may take, and then again the first word.
    pub handshake: Duration,
}

impl Limits {
    /// Those of the HTTP port: a few readers, scrapers and probes.
    #[must_use]
    pub fn of_http() -> Self {
        Self { connections: 1_024, from_one_address: 256, handshakes: 64, ..Self::default() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            from_one_address: 2_048,
            handshakes: 512,
            handshake: Duration::from_secs(5),
        }
    }
}

/// Connections that wait in the kernel to be accepted: all agents come at once after a hub's start.
const BACKLOG: i32 = 4_096;

/// Listens at an address. `0.0.0.0` and `[::]` mean all addresses of both families, as far as this host has them: a
/// cluster's Services and kubelets come by IPv4, by IPv6 or by both, and one default has to do for all of them.
///
/// # Errors
/// If the port is taken, or the address is none of this host's.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let tcp = |domain| Socket::new(domain, Type::STREAM, Some(Protocol::TCP));
    let both = address.ip().is_unspecified().then(|| tcp(Domain::IPV6));
    let (socket, address) = match both {
        Some(Ok(socket)) => {
            socket.set_only_v6(false)?;
            (socket, SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), address.port()))
        }
        // Kernels can be told to know nothing of IPv6.
        Some(Err(_)) => (tcp(Domain::IPV4)?, SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port())),
        None => (tcp(Domain::for_address(address))?, address),
    };
    // A restarted hub takes its port at once, whatever connections of the older one still linger.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// Who is connected.
#[derive(Debug, Default)]
struct Places {
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection's place; free again when it is dropped.
#[derive(Debug)]
struct Place {
    places: Arc<Places>,
    address: IpAddr,
}

impl Places {
    fn take(self: &Arc<Self>, address: IpAddr, limits: &Limits) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = taken.values().sum();
        let here = taken.get(&address).copied().unwrap_or(0);
        if all >= limits.connections || here >= limits.from_one_address {
            return None;
        }
        taken.insert(address, here + 1);
        Some(Place { places: Arc::clone(self), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.address);
            }
        }
    }
}

/// Accepts.
pub struct AcceptTask {
    /// Where.
    pub listener: TcpListener,
    /// The certificate; none: without encryption.
    pub tls: Option<watch::Receiver<Arc<ServerConfig>>>,
    /// How much.
    pub limits: Limits,
    /// Who counts.
    pub hub: Arc<Hub>,
    /// To whom.
    pub server: mpsc::Sender<io::Result<Connection>>,
}

impl AcceptTask {
    /// Accepts until cancelled, or until the server is gone.
    pub async fn run(self, shutdown: CancellationToken) {
        let places = Arc::new(Places::default());
        let mut handshakes: JoinSet<()> = JoinSet::new();
        loop {
            let (stream, peer) = tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.server.closed() => return,
                Some(_) = handshakes.join_next() => continue,
                accepted = self.listener.accept() => match accepted {
                    // On a socket of both families IPv4 addresses look like `::ffff:192.0.2.1`.
                    Ok((stream, peer)) => (stream, SocketAddr::new(peer.ip().to_canonical(), peer.port())),
                    Err(error) => {
                        // Out of file descriptors, or the peer was gone already: trying on at once would spin.
                        tracing::warn!("cannot accept a connection: {error}");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
            };
            let place = places.take(peer.ip(), &self.limits);
            let Some(place) = place.filter(|_| handshakes.len() < self.limits.handshakes) else {
                self.hub.lock().counters.connections_refused += 1;
                tracing::debug!("too many connections: closing one of {peer}");
                continue;
            };
            // Answers are small and somebody waits for them.
            drop(stream.set_nodelay(true));
            let server = self.server.clone();
            let (hub, limits) = (Arc::clone(&self.hub), self.limits.clone());
            let tls = self.tls.as_ref().map(|tls| TlsAcceptor::from(Arc::clone(&tls.borrow())));
            handshakes.spawn(async move {
                let io = match tls {
                    None => Ok(Io::Plain(stream)),
                    Some(tls) => {
                        let shaken = tokio::time::timeout(limits.handshake, tls.accept(stream)).await;
                        let shaken = shaken.unwrap_or_else(|_late| Err(io::ErrorKind::TimedOut.into()));
                        shaken.map(|stream| Io::Tls(Box::new(stream)))
                    }
                };
                match io {
                    Ok(io) => {
                        let silence = Box::pin(tokio::time::sleep(limits.handshake));
                        let connection = Connection { io, peer, silence: Some(silence), _place: place };
                        // The server is gone when it is shutting down.
                        drop(server.send(Ok(connection)).await);
                    }
                    Err(error) => {
                        hub.lock().counters.handshakes_failed += 1;
                        tracing::debug!("no TLS with {peer}: {error}");
                    }
                }
            });
        }
    }
}

#[derive(Debug)]
enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection that may speak.
#[derive(Debug)]
pub struct Connection {
    io: Io,
    peer: SocketAddr,
    /// Runs until the first word is said.
    silence: Option<Pin<Box<Sleep>>>,
    _place: Place,
}

impl Connection {
    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        let stream = match &self.io {
            Io::Plain(stream) => stream,
            Io::Tls(stream) => stream.get_ref().0,
        };
        TcpConnectInfo { local_addr: stream.local_addr().ok(), remote_addr: Some(self.peer) }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Io::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        };
        if read.is_ready() {
            self.silence = None;
        } else if let Some(silence) = &mut self.silence
            && silence.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Io::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_flush(context),
            Io::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Settings;

    #[tokio::test]
    async fn one_default_does_for_clusters_of_either_family() {
        for any in ["0.0.0.0:0", "[::]:0"] {
            let listener = listen(any.parse().unwrap()).unwrap();
            let port = listener.local_addr().unwrap().port();
            let (server, mut connections) = mpsc::channel(DEPTH);
            let hub = Hub::new(Settings::every(Duration::from_secs(1)));
            let task = AcceptTask { listener, tls: None, limits: Limits::default(), hub, server };
            let shutdown = CancellationToken::new();
            let task = tokio::spawn(task.run(shutdown.clone()));
            for host in ["127.0.0.1", "::1"] {
                let _client = TcpStream::connect((host, port)).await.unwrap();
                let connection = connections.recv().await.unwrap().unwrap();
                assert_eq!(connection.peer().ip(), host.parse::<IpAddr>().unwrap(), "{any}");
            }
            shutdown.cancel();
            task.await.unwrap();
        }
    }

    #[tokio::test]
    async fn an_address_of_its_own_is_taken_alone() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(TcpStream::connect(("127.0.0.1", port)).await.is_ok());
        assert!(TcpStream::connect(("127.0.0.2", port)).await.is_err());
        assert!(listen(SocketAddr::from(([127, 0, 0, 1], port))).is_err(), "the port is taken");
    }
}
