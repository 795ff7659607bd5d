//! One session that is passed on: bytes both ways until both ends are done, with as many in between as two buffers hold. An
//! end that does not read holds up the other one and nobody else.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::io::InspectReader;

use crate::net::socket::UNACKNOWLEDGED;
use crate::relay::LiveRelayCounts;

/// Bytes on their way, in each direction.
const BUFFER_BYTES: usize = 16 << 10;
/// What the kernel may hold for each socket and direction; it doubles that for its own needs (socket(7)). Without a bound
/// it takes megabytes for an end that does not read.
const SOCKET_BUFFER_BYTES: usize = 64 << 10;
/// Agents ask every 10 s whether their hub is there: who says nothing for so long is gone.
const IDLE: Duration = Duration::from_secs(60);
/// Then the agent must come anew, and looks for a better way first.
const LIFETIME: Duration = Duration::from_secs(3600);

/// Bounds what a socket holds and how long it waits for a peer that is gone.
pub(super) fn bound(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    stream.set_nodelay(true)
}

/// Passes bytes on until both ends are done, one fails, nothing is said for long, or time is up.
pub(super) async fn pass_on(agent: TcpStream, hub: TcpStream, counts: &LiveRelayCounts) {
    let begun = Instant::now();
    let heard_ms = AtomicU64::new(0);
    let hear = || heard_ms.store(begun.elapsed().as_millis() as u64, Ordering::Relaxed);
    let mut agent = InspectReader::new(agent, |bytes: &[u8]| {
        hear();
        counts.to_hub_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    });
    let mut hub = InspectReader::new(hub, |bytes: &[u8]| {
        hear();
        counts.from_hub_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    });
    let idle = async {
        let end = || begun + Duration::from_millis(heard_ms.load(Ordering::Relaxed)) + IDLE;
        while Instant::now() < end() {
            sleep_until(end()).await;
        }
    };
    tokio::select! {
        ended = copy_bidirectional_with_sizes(&mut agent, &mut hub, BUFFER_BYTES, BUFFER_BYTES) => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a session that was passed on broke");
            }
        }
        () = idle => tracing::debug!("a session that was passed on was silent for long"),
        () = sleep(LIFETIME) => tracing::debug!("a session was passed on for long: its agent looks for a way anew"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let far = far.unwrap().0;
        bound(&far).unwrap();
        (near.unwrap(), far)
    }

    #[tokio::test]
    async fn one_end_may_be_done_before_the_other() {
        let ((mut agent, inner_agent), (mut hub, inner_hub)) = (pair().await, pair().await);
        let counts = LiveRelayCounts::default();
        let ends = async {
            agent.write_all(b"question").await.unwrap();
            agent.shutdown().await.unwrap();
            let mut said = String::new();
            hub.read_to_string(&mut said).await.unwrap();
            assert_eq!(said, "question", "the end is passed on as well");
            hub.write_all(b"a long answer").await.unwrap();
            drop(hub);
            said.clear();
            agent.read_to_string(&mut said).await.unwrap();
            assert_eq!(said, "a long answer");
        };
        let both = async { tokio::join!(pass_on(inner_agent, inner_hub, &counts), ends) };
        timeout(PATIENCE, both).await.unwrap();
        let counts = counts.read();
        assert_eq!((counts.to_hub_bytes, counts.from_hub_bytes), (8, 13));
    }

    #[tokio::test]
    async fn an_end_that_does_not_read_stops_the_other_one_soon() {
        let ((mut agent, inner_agent), (mut hub, inner_hub)) = (pair().await, pair().await);
        let counts = LiveRelayCounts::default();
        let flood = async {
            let chunk = vec![7u8; 64 << 10];
            let mut sent = 0;
            while let Ok(wrote) = timeout(Duration::from_millis(300), agent.write(&chunk)).await {
                sent += wrote.unwrap();
                assert!(sent < 64 << 20, "somebody keeps all of it");
            }
            // What was held up is not lost.
            drop(agent);
            let mut left = 0;
            let mut buffer = vec![0; 64 << 10];
            while let Ok(read @ 1..) = hub.read(&mut buffer).await {
                left += read;
            }
            assert_eq!(left, sent);
            drop(hub);
        };
        let both = async { tokio::join!(pass_on(inner_agent, inner_hub, &counts), flood) };
        timeout(PATIENCE, both).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_it() {
        let ((_agent, inner_agent), (_hub, inner_hub)) = (pair().await, pair().await);
        let begun = Instant::now();
        pass_on(inner_agent, inner_hub, &LiveRelayCounts::default()).await;
        assert!(begun.elapsed() >= IDLE && begun.elapsed() < 2 * IDLE, "{:?}", begun.elapsed());
    }
}
