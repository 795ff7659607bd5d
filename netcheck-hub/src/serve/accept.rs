//! Connections before anybody says anything on them: counted, limited, encrypted.
//!
//! In: a listener. Out: connections for the gRPC server, or the HTTP server. [`AcceptTask`] accepts, and owns the handshakes, which are
//! tasks of its own set; cancelling it drops those that are not done. Who comes in, and who has to go for him, is the door's
//! to say ([`netcheck_doors`]); both are counted.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

pub use netcheck_doors::Limits;
use netcheck_doors::{Counts, Guarded, Slot, Slots};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use crate::serve::role::Role;
use crate::state::Hub;

/// Connections that wait for the server to take them, which it does at once.
pub const DEPTH: usize = 64;

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

/// What an HTTP/2 connection begins with at the least: the preface and an empty SETTINGS frame (RFC 9113 §3.4).
pub const HTTP2_BEGIN: usize = 24 + 9;
/// The same of HTTP/1: how long a head may take is the server's to say.
pub const HTTP1_BEGIN: usize = 1;

/// Accepts.
pub struct AcceptTask {
    /// Where.
    pub listener: TcpListener,
    /// The certificate; none: without encryption.
    pub tls: Option<watch::Receiver<Arc<ServerConfig>>>,
    /// How much.
    pub limits: Limits,
    /// Bytes that a connection has to say before it has begun.
    pub begin: usize,
    /// Who counts.
    pub hub: Arc<Hub>,
    /// To whom.
    pub server: mpsc::Sender<io::Result<Connection>>,
}

impl AcceptTask {
    /// Accepts until cancelled, or until the server is gone.
    pub async fn run(self, shutdown: CancellationToken) {
        let slots = Slots::new(self.limits.clone());
        let mut handshakes: JoinSet<()> = JoinSet::new();
        let mut counted = Counts::default();
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
            let slot = slots.enter(peer.ip());
            self.count(&slots, &mut counted);
            let Some(slot) = slot else {
                tracing::debug!("too many connections: closing one of {peer}");
                continue;
            };
            // Answers are small and somebody waits for them.
            drop(stream.set_nodelay(true));
            let handshake = Handshake {
                tls: self.tls.as_ref().map(|tls| TlsAcceptor::from(Arc::clone(&tls.borrow()))),
                caller: Caller { peer, slot: Arc::new(slot), role: Role::Either },
                begin: self.begin,
                hub: Arc::clone(&self.hub),
                server: self.server.clone(),
            };
            handshakes.spawn(handshake.run(stream));
        }
    }

    /// Adds what the door counted to the hub's counters.
    fn count(&self, slots: &Slots, counted: &mut Counts) {
        let counts = slots.counts();
        if counts == *counted {
            return;
        }
        let mut state = self.hub.lock();
        state.counters.connections_refused += counts.refused - counted.refused;
        state.counters.connections_evicted += counts.evicted - counted.evicted;
        *counted = counts;
    }
}

/// One connection on its way to the server.
struct Handshake {
    tls: Option<TlsAcceptor>,
    caller: Caller,
    begin: usize,
    hub: Arc<Hub>,
    server: mpsc::Sender<io::Result<Connection>>,
}

impl Handshake {
    async fn run(mut self, stream: TcpStream) {
        let slot = &self.caller.slot;
        let io = match self.tls {
            None => Ok(Io::Plain(stream)),
            Some(tls) => {
                let shaken = tokio::time::timeout(slot.limits().begin, tls.accept(stream));
                let shaken = tokio::select! {
                    shaken = shaken => shaken.unwrap_or_else(|_late| Err(io::ErrorKind::TimedOut.into())),
                    () = slot.out() => Err(io::ErrorKind::ConnectionAborted.into()),
                };
                shaken.map(|stream| Io::Tls(Box::new(stream)))
            }
        };
        match io {
            Ok(io) => {
                if let Io::Tls(stream) = &io {
                    let shown = stream.get_ref().1.peer_certificates();
                    self.caller.role = Role::of(shown, self.hub.settings.agent_cert_name.as_deref());
                }
                let guarded = Guarded::new(io, Arc::clone(slot), self.begin);
                let connection = Connection { guarded, caller: self.caller };
                // The server is gone when it is shutting down.
                drop(self.server.send(Ok(connection)).await);
            }
            Err(error) => {
                self.hub.lock().counters.handshakes_failed += 1;
                tracing::debug!("no TLS with {}: {error}", self.caller.peer);
            }
        }
    }
}

#[derive(Debug)]
enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Who is at the other end of a connection, and its slot. Requests over gRPC have it among their extensions.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Where it connects from.
    pub peer: SocketAddr,
    /// May be taken from it.
    pub slot: Arc<Slot>,
    /// What its certificate says.
    pub role: Role,
}

/// A connection that may speak.
#[derive(Debug)]
pub struct Connection {
    guarded: Guarded<Io>,
    caller: Caller,
}

impl Connection {
    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.caller.peer
    }

    /// What is behind the door.
    pub(crate) fn into_guarded(self) -> Guarded<impl AsyncRead + AsyncWrite + Unpin + Send + 'static> {
        self.guarded
    }
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.guarded).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.guarded).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.guarded).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.guarded).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::state::Settings;

    #[tokio::test]
    async fn one_default_does_for_clusters_of_either_family() {
        for any in ["0.0.0.0:0", "[::]:0"] {
            let listener = listen(any.parse().unwrap()).unwrap();
            let port = listener.local_addr().unwrap().port();
            let (server, mut connections) = mpsc::channel(DEPTH);
            let hub = Hub::new(Settings::every(Duration::from_secs(1)));
            let limits = Limits::default();
            let task = AcceptTask { listener, tls: None, limits, begin: HTTP1_BEGIN, hub, server };
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
