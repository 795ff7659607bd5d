//! What the kernel reports of routes, neighbours and queues: typed where rtnetlink knows the form, else as raw messages.

use std::io;
use std::time::Duration;

use netlink_sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket};
use rtnetlink::{Handle, new_connection};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::culprit::nft::attributes::messages;

/// How long a dump may take.
const ANSWER: Duration = Duration::from_secs(1);
/// Messages of one dump that are read.
const MOST: usize = 4096;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;
/// `NLMSG_DONE`.
const DONE: u16 = 3;
/// `NLMSG_ERROR`.
const ERROR: u16 = 2;

/// A connection to rtnetlink of this network namespace, closed when dropped.
pub(super) struct Connection {
    pub(super) handle: Handle,
    talking: JoinHandle<()>,
}

impl Connection {
    /// None where the kernel can't be asked.
    pub(super) fn open() -> Option<Self> {
        let (connection, handle, _) = new_connection().ok()?;
        Some(Self { handle, talking: tokio::spawn(connection) })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.talking.abort();
    }
}

/// The payloads that answer a dump of this kind, each without its header. `body`: what follows the request's header.
///
/// # Errors
/// The kernel can't be asked, refuses, or does not answer.
pub(super) async fn dump(protocol: isize, kind: u16, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let mut socket = TokioSocket::new(protocol)?;
    socket.socket_mut().bind(&SocketAddr::new(0, 0))?;
    let length = u32::try_from(16 + body.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut request = Vec::with_capacity(16 + body.len());
    request.extend_from_slice(&length.to_ne_bytes());
    request.extend_from_slice(&kind.to_ne_bytes());
    request.extend_from_slice(&DUMP.to_ne_bytes());
    // Sequence, and the kernel's own port.
    request.extend_from_slice(&1u32.to_ne_bytes());
    request.extend_from_slice(&0u32.to_ne_bytes());
    request.extend_from_slice(body);
    socket.send_to(&request, &SocketAddr::new(0, 0)).await?;
    let end = Instant::now() + ANSWER;
    let mut found = Vec::new();
    while found.len() < MOST {
        let received = timeout_at(end, socket.recv_from_full()).await;
        let (datagram, _) = received.map_err(|_elapsed| io::ErrorKind::TimedOut)??;
        for message in messages(&datagram) {
            match message.kind {
                DONE => return Ok(found),
                ERROR => return Err(io::Error::from_raw_os_error(message.errno().unwrap_or(libc::EIO))),
                _ => found.push(message.payload.to_vec()),
            }
        }
    }
    Ok(found)
}

/// A number of four bytes at this place, in this machine's order; none where the bytes end before.
pub(super) fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_ne_bytes(*chunk))
}
