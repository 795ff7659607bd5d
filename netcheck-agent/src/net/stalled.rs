//! Whether the way to a TCP peer is dead, by what the kernel knows of the connection. A peer that is slow acknowledges all
//! the same: its kernel does.
//!
//! Counting retransmissions would not do. What this node's own filter drops was never sent, to TCP; and where packets pass
//! one way only, the peer's own retransmissions count as signs of life (net/ipv4/tcp_timer.c, tcp_probe_timer).

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::time::Duration;

use tokio::time::Instant;

/// How long something waits to be acknowledged, and nothing at all is. By then a packet was retransmitted at least three
/// times where the round trip is short (RFC 6298; the kernel begins with 200 ms: include/net/tcp.h).
pub(crate) const STALLED: Duration = Duration::from_secs(2);

/// The head of `struct tcp_info` (include/uapi/linux/tcp.h), which only ever grows at its end.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct TcpInfoHead {
    state: u8,
    _before_unacked: [u8; 23],
    unacked: u32,
    _before_bytes_acked: [u32; 23],
    bytes_acked: u64,
    _before_notsent_bytes: [u8; 16],
    notsent_bytes: u32,
    _end: u32,
}

const _: () = assert!(size_of::<TcpInfoHead>() == 152);

/// How far a connection has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Bytes that the peer's kernel acknowledged.
    pub(crate) acked_bytes: u64,
    /// Some are not yet.
    pub(crate) waits: bool,
}

impl Sent {
    /// As the kernel has it.
    ///
    /// # Errors
    /// The socket is none of TCP.
    pub(crate) fn of(socket: BorrowedFd<'_>) -> io::Result<Self> {
        let info = head(socket)?;
        Ok(Self { acked_bytes: info.bytes_acked, waits: info.unacked > 0 || info.notsent_bytes > 0 })
    }
}

fn head(socket: BorrowedFd<'_>) -> io::Result<TcpInfoHead> {
    let mut info = TcpInfoHead::default();
    let mut len = size_of::<TcpInfoHead>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes to `info`, which holds integers alone.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut len,
        )
    };
    if result == 0 { Ok(info) } else { Err(io::Error::last_os_error()) }
}

/// Watches a connection. Pure; takes `now`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    sent: Sent,
    since: Instant,
}

impl Progress {
    pub(crate) fn new(now: Instant) -> Self {
        Self { sent: Sent::default(), since: now }
    }

    /// Whether it is stalled, as of this look at it.
    pub(crate) fn stalled(&mut self, sent: Sent, now: Instant) -> bool {
        if !sent.waits || !self.sent.waits || sent.acked_bytes != self.sent.acked_bytes {
            self.since = now;
        }
        self.sent = sent;
        now.duration_since(self.since) >= STALLED
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsFd as _;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_peer_that_does_not_read_acknowledges_all_the_same() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        let before = Sent::of(near.as_fd()).unwrap();
        near.write_all(b"never read").unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while Sent::of(near.as_fd()).unwrap().waits {
            assert!(std::time::Instant::now() < deadline);
        }
        assert_eq!(Sent::of(near.as_fd()).unwrap().acked_bytes, before.acked_bytes + 10);
        // TCP_ESTABLISHED (include/net/tcp_states.h).
        assert_eq!(head(near.as_fd()).unwrap().state, 1);
        // More than both kernels hold: that does wait.
        near.set_nonblocking(true).unwrap();
        while near.write(&[0; 1 << 16]).is_ok() {}
        assert!(Sent::of(near.as_fd()).unwrap().waits);
        far.read_exact(&mut [0; 10]).unwrap();
        assert!(Sent::of(UdpSocket::bind("127.0.0.1:0").unwrap().as_fd()).is_err());
    }

    proptest! {
        #[test]
        fn it_is_stalled_exactly_while_something_waited_for_long_without_progress(
            looks in prop::collection::vec((0u64..700, any::<bool>(), prop::bool::weighted(0.2)), 1..200),
        ) {
            let mut now = Instant::now();
            let mut progress = Progress::new(now);
            let mut sent = Sent::default();
            let mut waits_since = None;
            for (ms, waits, moves) in looks {
                now += Duration::from_millis(ms);
                let next = Sent { acked_bytes: sent.acked_bytes + u64::from(moves), waits: waits || ms % 3 > 0 };
                let still_waits = next.waits && sent.waits && !moves;
                waits_since = Some(waits_since.filter(|_| still_waits).unwrap_or(now));
                let stalled = progress.stalled(next, now);
                prop_assert_eq!(stalled, waits_since.is_some_and(|since| now.duration_since(since) >= STALLED));
                prop_assert!(!stalled || (next.waits && !moves));
                sent = next;
            }
        }
    }
}
