//! HTTP/1 behind a door: a head has to come whole in time, the first as every later one.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt as _};

use crate::{Guarded, Slots};

/// How long a head may take, and how long a connection may say nothing between two requests.
const HEAD: Duration = Duration::from_secs(10);
/// The largest head.
const HEAD_BYTES: usize = 32 << 10;
/// After accepting failed, for want of descriptors say.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves one connection until it ends, or `shutdown` and then the request that is being answered. Each request has the
/// connection's slot (`Arc<Slot>`) among its extensions.
pub async fn connection<IO, S, B>(io: Guarded<IO>, service: S, shutdown: CancellationToken)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let slot = Arc::clone(io.slot());
    let service = service.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Arc::clone(&slot));
        request
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(io), TowerToHyperService::new(service));
    let mut served = std::pin::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = shutdown.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("an HTTP connection ended: {error}");
    }
}

/// Accepts, and serves each connection in a task of its own, until `shutdown`; then until those have ended.
pub async fn serve<S, B>(listener: TcpListener, slots: Arc<Slots>, service: S, shutdown: CancellationToken)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut connections = JoinSet::new();
    loop {
        let (stream, peer): (_, SocketAddr) = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!("cannot accept a connection: {error}");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
        };
        let Some(slot) = slots.enter(peer.ip().to_canonical()) else { continue };
        // Answers are small and somebody waits for them.
        drop(stream.set_nodelay(true));
        let io = Guarded::new(stream, Arc::new(slot), 1);
        connections.spawn(connection(io, service.clone(), shutdown.clone()));
    }
    while connections.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;
    use crate::Limits;

    async fn open(limits: Limits) -> (SocketAddr, Arc<Slots>, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (slots, shutdown) = (Slots::new(limits), CancellationToken::new());
        let service = tower::service_fn(|_: Request<Incoming>| async {
            Ok::<_, Infallible>(Response::new("ok\n".to_owned()))
        });
        tokio::spawn(serve(listener, Arc::clone(&slots), service, shutdown.clone()));
        (address, slots, shutdown)
    }

    fn limits() -> Limits {
        let begin = Duration::from_millis(300);
        Limits { connections: 64, from_one_address: 32, beginning: 64, begin, stall: begin }
    }

    async fn get(address: SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn who_holds_all_places_keeps_nobody_out() {
        let (address, slots, shutdown) = open(limits()).await;
        let mut held = Vec::new();
        for _ in 0..200 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HT").await.unwrap();
            held.push(stream);
        }
        assert!(get(address).await.ends_with("ok\n"));
        assert!(slots.counts().evicted >= 169, "{:?}", slots.counts());
        shutdown.cancel();
    }

    #[tokio::test]
    async fn who_says_nothing_is_hung_up_on() {
        let (address, _, shutdown) = open(limits()).await;
        let mut silent = TcpStream::connect(address).await.unwrap();
        let mut end = Vec::new();
        let hung_up = silent.read_to_end(&mut end);
        tokio::time::timeout(Duration::from_secs(20), hung_up).await.expect("it is closed").unwrap();
        shutdown.cancel();
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_end_is_not_waited_for() {
        let (client, server) = tokio::io::duplex(1024);
        let slots = Slots::new(limits());
        let slot = Arc::new(slots.enter([127, 0, 0, 1].into()).unwrap());
        let service = tower::service_fn(|_: Request<Incoming>| async {
            Ok::<_, Infallible>(Response::new(String::new()))
        });
        let served = connection(Guarded::new(server, slot, 1), service, CancellationToken::new());
        let (mut from, mut to) = tokio::io::split(client);
        let slow = async {
            to.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
            while to.write_all(b"x: y\r\n").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let read = async { from.read_to_end(&mut Vec::new()).await };
        let all = async { tokio::join!(served, slow, read) };
        tokio::time::timeout(Duration::from_secs(60), all)
            .await
            .expect("its head is not awaited for ever")
            .2
            .unwrap();
    }
}
