//! TCP on the responder's port. The kernel completes handshakes on its own and wakes this task only for connections
//! that say something (`TCP_DEFER_ACCEPT`); those get an answer to `GET /health`, or are closed.
//!
//! Limits keep slow or many peers from costing more than a little: connections at a time, bytes and seconds each. Who
//! has most of them drives out his own, so that a kubelet always gets in.
//! Cancelling the task drops the connections that it has open.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use netcheck_doors::{Counts, Limits, Slot, Slots};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::responder::LiveCounts;

/// Connections at a time, and those of one address: whoever holds more drives out his own.
const CONNECTIONS_MAX: usize = 128;
/// See above.
const FROM_ONE_ADDRESS: usize = 8;
/// Longest request head.
const REQUEST_MAX: usize = 4096;
/// All that a peer may take.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(3);
/// After accepting failed, for want of descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The task.
pub(crate) struct AcceptTask {
    pub(crate) listener: TcpListener,
    pub(crate) counts: Arc<LiveCounts>,
}

impl AcceptTask {
    /// Accepts until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut connections = JoinSet::new();
        let slots = Slots::new(Limits {
            connections: CONNECTIONS_MAX,
            from_one_address: FROM_ONE_ADDRESS,
            beginning: CONNECTIONS_MAX,
            begin: CONNECTION_TIMEOUT,
            stall: CONNECTION_TIMEOUT,
        });
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let slot = slots.enter(peer.ip().to_canonical());
                        let Counts { refused, evicted } = slots.counts();
                        self.counts.turned_away.store(refused + evicted, Ordering::Relaxed);
                        let Some(slot) = slot else { continue };
                        self.counts.connections.fetch_add(1, Ordering::Relaxed);
                        connections.spawn(timeout(CONNECTION_TIMEOUT, attend(stream, slot)));
                    }
                    Err(error) => {
                        tracing::debug!(%error, "accept");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = connections.join_next() => {}
                () = shutdown.cancelled() => return,
            }
        }
    }
}

/// Answers one request, unless its slot is a newer connection's before.
async fn attend(stream: TcpStream, slot: Slot) {
    tokio::select! {
        served = serve(stream) => drop(served),
        () = slot.out() => {}
    }
}

/// Answers one request.
async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = [0; REQUEST_MAX];
    let mut len = 0;
    while !ends_head(&head[..len]) {
        let read = stream.read(&mut head[len..]).await?;
        if read == 0 {
            return Ok(());
        }
        len += read;
    }
    stream.write_all(answer(&head[..len]).as_bytes()).await?;
    stream.shutdown().await?;
    // Closing with unread bytes would reset the connection, perhaps before the answer is read.
    while stream.read(&mut head).await? > 0 {}
    Ok(())
}

fn ends_head(head: &[u8]) -> bool {
    head.windows(4).any(|four| four == b"\r\n\r\n")
}

fn answer(head: &[u8]) -> String {
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|&byte| byte == b' ');
    let (status, body) = match (words.next(), words.next()) {
        (Some(b"GET" | b"HEAD"), Some(b"/health")) => ("200 OK", "ok\n"),
        (Some(b"GET" | b"HEAD"), Some(_)) => ("404 Not Found", "not found\n"),
        _ => ("400 Bad Request", "bad request\n"),
    };
    let shown = if line.starts_with(b"HEAD") { "" } else { body };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{shown}",
        body.len()
    )
}
