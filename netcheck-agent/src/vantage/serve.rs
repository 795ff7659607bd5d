//! The vantage's own end: connects to the agent, says who it is, and opens the sockets that it is asked for.
//!
//! The agent may come and go: a connection that ends is made anew, by growing delays. When told to shut down, it says that
//! it leaves and closes the connection, and the agent lets go of every socket at once.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::channel::{Channel, ChannelError};
use super::frame::{Ask, Frame, Hello, RESOLV_CONF_MAX, VERSION};
use crate::net::backoff::Backoff;
use crate::net::own_addresses::{self, own_links};
use crate::net::socket;

/// Longest wait between attempts: the agent is on this very node, and its probes wait for it.
const LONGEST_DELAY: Duration = Duration::from_secs(10);
/// How often the pod's addresses are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long saying good-bye may take: the agent is on this very node.
const FAREWELL: Duration = Duration::from_millis(500);
/// A connection that lived for so long was no accident.
const STEADY: Duration = Duration::from_secs(5);

/// The task.
pub(crate) struct ServeTask {
    /// The agent's socket.
    pub(crate) path: PathBuf,
    /// `namespace/name` of this pod, or its name.
    pub(crate) pod: String,
    pub(crate) responder_port: u16,
    /// How programs of this pod look names up.
    pub(crate) resolv_conf: PathBuf,
}

impl ServeTask {
    /// Serves the agent until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut backoff = Backoff::up_to(LONGEST_DELAY);
        let mut last_logged = None;
        loop {
            let begun = Instant::now();
            let late = async {
                shutdown.cancelled().await;
                sleep(FAREWELL).await;
            };
            let ended = tokio::select! {
                ended = self.connection(&shutdown) => ended,
                () = late => return,
            };
            if shutdown.is_cancelled() {
                return;
            }
            if begun.elapsed() >= STEADY {
                backoff.reset();
                last_logged = None;
            }
            let delay = backoff.next_delay();
            let (why, retry_in_ms) = (ended.to_string(), delay.as_millis() as u64);
            if last_logged.as_ref() == Some(&why) {
                tracing::debug!(retry_in_ms, "{why}");
            } else {
                tracing::warn!(retry_in_ms, "{why}");
                last_logged = Some(why);
            }
            tokio::select! {
                () = sleep(delay) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    /// One connection, to its end.
    async fn connection(&self, shutdown: &CancellationToken) -> ServeError {
        let channel = match self.connect() {
            Ok(channel) => channel,
            Err(error) => return ServeError::Connect { path: self.path.clone(), source: error },
        };
        match self.serve(&channel, shutdown).await {
            Ok(Over::Refused(why)) => ServeError::Refused(why),
            Ok(Over::Moved) => ServeError::Moved,
            Ok(Over::Left) => ServeError::Left,
            Err(error) => error.into(),
        }
    }

    fn connect(&self) -> io::Result<Channel> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        connect(&socket, &SocketAddrUnix::new(&self.path)?)?;
        Channel::new(socket)
    }

    /// Serves until the agent refuses it, what it said of itself is not true any more, or it has to leave.
    async fn serve(&self, channel: &Channel, shutdown: &CancellationToken) -> Result<Over, ChannelError> {
        let links = own_links()?;
        let hello = Hello {
            version: VERSION,
            pod: self.pod.clone(),
            addresses: own_addresses::all(&links),
            responder_port: self.responder_port,
            links: links.clone(),
            resolv_conf: resolv_conf(&self.resolv_conf),
        };
        let addresses: Vec<String> = hello.addresses.iter().map(ToString::to_string).collect();
        channel.send(&Frame::Hello(hello), &[]).await?;
        let mut taken = false;
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let received = tokio::select! {
                received = channel.receive() => received?,
                () = shutdown.cancelled() => {
                    channel.send(&Frame::Leaving, &[]).await?;
                    return Ok(Over::Left);
                }
                // Sockets are bound to addresses: what is said of these must be true.
                _ = look.tick() => match own_links() {
                    Ok(now) if now != links => return Ok(Over::Moved),
                    _ => continue,
                },
            };
            match received.0 {
                Frame::Ask(ask) => {
                    if !std::mem::replace(&mut taken, true) {
                        tracing::info!(pod = self.pod, addresses = addresses.join(" "), "serving the agent");
                    }
                    let (sockets, errno) = open(ask);
                    let frame = Frame::Sockets { errno: errno.map(Errno::raw_os_error) };
                    let sockets: Vec<_> = sockets.iter().map(OwnedFd::as_fd).collect();
                    channel.send(&frame, &sockets).await?;
                }
                Frame::Refused { why } => return Ok(Over::Refused(why)),
                // The agent is newer than this, and knows what this can't do: nothing depends on it.
                Frame::Hello(_) | Frame::Sockets { .. } | Frame::Leaving => {}
            }
        }
    }
}

/// Why it stopped serving.
enum Over {
    Refused(String),
    Moved,
    Left,
}

/// Why there is no connection any more.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error("can't connect to the agent at {path}: {source}", path = path.display())]
    Connect { path: PathBuf, source: io::Error },
    #[error("the agent refuses this vantage: {0}")]
    Refused(String),
    #[error("the pod's addresses changed: introducing it anew")]
    Moved,
    #[error("leaving")]
    Left,
    #[error("the connection to the agent ended: {0}")]
    Ended(#[from] ChannelError),
}

/// Opens what was asked for: all of it, or as much as there is, and the error where there is none.
fn open(ask: Ask) -> (Vec<OwnedFd>, Option<Errno>) {
    let (kind, protocol) = ask.kind.socket(ask.family());
    let mut sockets = Vec::new();
    for _ in 0..ask.count {
        match socket::open(ask.family(), kind, Some(protocol)) {
            Ok(socket) => sockets.push(socket),
            Err(errno) => return (sockets, Some(errno)),
        }
    }
    (sockets, None)
}

/// The text of a resolv.conf, as far as it can be sent: whole lines, none of which is a comment.
fn resolv_conf(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut kept = String::new();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';']));
    for line in lines {
        if kept.len() + line.len() < RESOLV_CONF_MAX {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// How this pod is called where nobody said: in Kubernetes the host's name is the pod's.
pub(crate) fn pod_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let namespace = fs::read_to_string("/var/run/secrets/kubernetes.io/serviceaccount/namespace");
    namespace.map_or(name.clone(), |namespace| format!("{}/{name}", namespace.trim()))
}
