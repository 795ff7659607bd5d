//! The agent's own end: listens for the vantage of its node, takes its sockets into a [`Pool`], and says when one has come or gone.
//!
//! In: connections. Out: [`VantageChange`]s. One vantage at a time: whoever serves keeps its place until it leaves or is gone,
//! and another one is refused and answered so, for anybody who gets to the socket's file could say to be a newer one. Who a
//! vantage is the kernel reports ([`Peer`]): only a process of the same user in the same network namespace replaces the
//! one that serves, as when its container was started anew, and what is handed over must be of the namespace that it is
//! handed over from. Whatever is not as agreed ends the connection, is counted, and costs nobody else anything.
//! Cancelling the task closes the connection.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, bail};
use netcheck_common::domain::Family;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinSet;
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::channel::{Channel, ChannelError, Peer, watched};
use super::frame::{Ask, Frame, Hello};
use super::origin::{Netns, NotTaken, check};
use super::pool::Pool;
use crate::model::status::VantageCounts;
use crate::net::socket::SocketKind;

/// Connections that have not shown yet what they are.
const ARRIVING_MAX: usize = 4;
const BACKLOG: i32 = 8;
/// Open files that are enough for all stocks and all probes in flight.
const DESCRIPTORS: u64 = 65_536;
/// How long the other side may take for an answer: it is on this very node.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// After accepting failed, for want of descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The pod vantage came or went.
#[derive(Debug)]
pub(crate) enum VantageChange {
    /// Its first sockets are in stock. Takes the place of another that may be there.
    Up(Arc<Pool>),
    /// It is about to go, on purpose.
    Leaving,
    /// It is gone: why, in one line.
    Down(String),
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
    #[error("malformed: {0}")]
    Unexpected(&'static str),
    #[error("it opens no sockets: {0}")]
    NoSockets(Errno),
    #[error("it did not answer within {} s", ANSWER_TIMEOUT.as_secs())]
    Silent(#[from] Elapsed),
    #[error("another one serves, {holder}, which says that it is pod {pod}; this one is {newcomer}")]
    Taken {
        /// As the one that serves says.
        pod: String,
        holder: Peer,
        newcomer: Peer,
    },
}

impl End {
    /// Whether the other side is to blame, and not just gone.
    const fn is_refusal(&self) -> bool {
        !matches!(self, Self::Channel(ChannelError::Closed | ChannelError::Io(_)))
    }
}

/// The task.
pub(crate) struct ListenTask {
    listener: AsyncFd<OwnedFd>,
    path: PathBuf,
    /// Device and inode of the socket's file.
    file: (u64, u64),
    own: Netns,
    counts: Arc<VantageCounts>,
    /// The last reason that was logged as a warning.
    last_logged: String,
}

/// The vantage that serves.
struct Serving {
    pool: Arc<Pool>,
    peer: Peer,
    task: JoinSet<End>,
}

impl Serving {
    /// Its end, where there is one.
    async fn ended(serving: &mut Option<Self>) -> End {
        let closed = End::Channel(ChannelError::Closed);
        match serving {
            Some(serving) => serving.task.join_next().await.and_then(Result::ok).unwrap_or(closed),
            None => std::future::pending().await,
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.pool.close();
    }
}

impl ListenTask {
    /// Makes the socket's file, in place of one that an earlier agent left.
    pub(crate) fn bind(path: &Path, counts: Arc<VantageCounts>) -> anyhow::Result<Self> {
        match fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => {
                fs::remove_file(path).context("can't remove the socket of an earlier agent")?;
            }
            Ok(_) => bail!("it exists and is no socket: name another path, or remove it"),
            Err(_) => {
                let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                if let Some(directory) = directory.filter(|directory| !directory.is_dir()) {
                    bail!("directory {} does not exist: make it, or mount it", directory.display());
                }
            }
        }
        raise_descriptors();
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let address = SocketAddrUnix::new(path).context("a socket's path has at most 107 bytes")?;
        bind(&listener, &address).context("can't make the socket")?;
        listen(&listener, BACKLOG)?;
        // The vantage has neither root's rights nor its group: whoever gets to the file may connect.
        fs::set_permissions(path, Permissions::from_mode(0o666))
            .context("can't open the socket to others")?;
        let file = fs::symlink_metadata(path)?;
        Ok(Self {
            listener: watched(listener, Interest::READABLE)?,
            path: path.to_owned(),
            file: (file.dev(), file.ino()),
            own: Netns::own()?,
            counts,
            last_logged: String::new(),
        })
    }

    /// Takes vantages until `shutdown`, and hands each change to `changed`.
    pub(crate) async fn run<C: Future<Output = ()>>(
        mut self,
        changed: impl Fn(VantageChange) -> C,
        shutdown: CancellationToken,
    ) {
        let mut arriving: JoinSet<Result<Introduced, End>> = JoinSet::new();
        let mut serving: Option<Serving> = None;
        let mut is_leaving = false;
        loop {
            let pool = serving.as_ref().map(|serving| Arc::clone(&serving.pool));
            let leaving = async {
                match &pool {
                    Some(pool) => pool.left().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // Before its end.
                biased;
                () = leaving => {
                    tracing::info!("the pod vantage is leaving");
                    is_leaving = true;
                    changed(VantageChange::Leaving).await;
                }
                accepted = self.accept(), if arriving.len() < ARRIVING_MAX => match accepted {
                    Ok(channel) => drop(arriving.spawn(introduce(channel, self.own, Arc::clone(&self.counts)))),
                    Err(error) => {
                        tracing::debug!(%error, "accept");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(introduced) = arriving.join_next() => match introduced {
                    Ok(Ok(newcomer)) => match taken(serving.as_ref(), is_leaving, newcomer.peer) {
                        Some(end) => {
                            let why = end.to_string();
                            let refused = Frame::Refused { why };
                            let _ = timeout(ANSWER_TIMEOUT, newcomer.channel.send(&refused, &[])).await;
                            drop(self.ended(&end, true));
                        }
                        None => {
                            is_leaving = false;
                            let pool = Arc::clone(&newcomer.pool);
                            serving = Some(self.begin(newcomer));
                            changed(VantageChange::Up(pool)).await;
                        }
                    },
                    Ok(Err(end)) => drop(self.ended(&end, serving.is_some())),
                    Err(_) => {}
                },
                end = Serving::ended(&mut serving) => {
                    serving = None;
                    is_leaving = false;
                    let why = self.ended(&end, false);
                    changed(VantageChange::Down(why)).await;
                }
                () = shutdown.cancelled() => break,
            }
        }
        // A newer agent may have put its own in that place.
        let is_own = fs::symlink_metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == self.file);
        if is_own {
            let _ = fs::remove_file(&self.path);
        }
    }

    /// Takes one on.
    fn begin(&self, Introduced { channel, peer, pool }: Introduced) -> Serving {
        let Hello { pod, addresses, .. } = &pool.hello;
        tracing::info!(pod, ?addresses, %peer, "pod vantage");
        let mut task = JoinSet::new();
        task.spawn(attend(channel, Arc::clone(&pool), self.own, Arc::clone(&self.counts)));
        Serving { pool, peer, task }
    }

    /// Counts and logs the end of a connection; the line for people. `other`: another one serves.
    fn ended(&mut self, end: &End, other: bool) -> String {
        let refused = end.is_refusal();
        let why = if refused {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
            format!("the pod vantage was refused: {end}")
        } else {
            format!("the pod vantage is gone: {end}")
        };
        if self.last_logged != why && (refused || !other) {
            tracing::warn!("{why}");
            self.last_logged.clone_from(&why);
        } else {
            tracing::debug!("{why}");
        }
        why
    }

    async fn accept(&self) -> io::Result<Channel> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let accept = |listener: &OwnedFd| Ok(accept_with(listener, flags)?);
        Channel::new(self.listener.async_io(Interest::READABLE, accept).await?)
    }
}

/// A connection that showed what it is.
struct Introduced {
    channel: Channel,
    peer: Peer,
    pool: Arc<Pool>,
}

/// Why one that comes can't have the place: another has it.
fn taken(serving: Option<&Serving>, is_leaving: bool, newcomer: Peer) -> Option<End> {
    let Serving { pool, peer: holder, .. } = serving.filter(|_| !is_leaving)?;
    let same = newcomer.uid == holder.uid && newcomer.netns.is_same(&holder.netns) == Some(true);
    (!same).then(|| End::Taken { pod: pool.hello.pod.clone(), holder: *holder, newcomer })
}

/// Sockets in stock are open files, of which a service that nobody configured may have 1024: as many as it may ask for.
fn raise_descriptors() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(DESCRIPTORS, |maximum| maximum.min(DESCRIPTORS));
    if current.is_some_and(|current| current < wanted)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })
    {
        tracing::debug!(%error, "the limit of open files stays");
    }
}

/// Lets a connection say who it is and hand over its first sockets.
async fn introduce(channel: Channel, own: Netns, counts: Arc<VantageCounts>) -> Result<Introduced, End> {
    let peer = channel.peer().map_err(ChannelError::Io)?;
    match first_sockets(&channel, peer, &own, &counts).await {
        Ok(pool) => Ok(Introduced { channel, peer, pool }),
        Err(end) => {
            // It may not listen any more.
            let why = end.to_string();
            let _ = timeout(ANSWER_TIMEOUT, channel.send(&Frame::Refused { why }, &[])).await;
            Err(end)
        }
    }
}

async fn first_sockets(
    channel: &Channel,
    peer: Peer,
    own: &Netns,
    counts: &VantageCounts,
) -> Result<Arc<Pool>, End> {
    let (Frame::Hello(hello), _) = timeout(ANSWER_TIMEOUT, channel.receive()).await?? else {
        return Err(End::Unexpected("it did not introduce itself"));
    };
    // The first one shows of which network all others have to be.
    let family = if hello.has(Family::V4) { Family::V4 } else { Family::V6 };
    let (sockets, errno) = answer(channel, Ask::new(family, SocketKind::Datagram, 1), None).await?;
    let Some(socket) = sockets.first() else { return Err(End::NoSockets(errno.unwrap_or(Errno::NODATA))) };
    let netns = check(socket, family, SocketKind::Datagram, own)?;
    if netns.is_same(&peer.netns) != Some(true) {
        return Err(NotTaken::NotItsOwn.into());
    }
    let pool = Arc::new(Pool::new(hello, netns));
    fill(channel, &pool, own, counts).await?;
    Ok(pool)
}

/// Keeps the stock up until the connection ends.
async fn attend(channel: Channel, pool: Arc<Pool>, own: Netns, counts: Arc<VantageCounts>) -> End {
    loop {
        tokio::select! {
            () = pool.low() => {
                if let Err(end) = fill(&channel, &pool, &own, &counts).await {
                    return end;
                }
            }
            received = channel.receive() => match received {
                Ok((Frame::Leaving, _)) => pool.leave(),
                Ok(_) => return End::Unexpected("it said something that it was not asked for"),
                Err(error) => return error.into(),
            },
        }
    }
}

/// Asks for all that is missing.
async fn fill(channel: &Channel, pool: &Pool, own: &Netns, counts: &VantageCounts) -> Result<(), End> {
    for ask in pool.asks() {
        let (sockets, errno) = answer(channel, ask, Some(pool)).await?;
        let (family, kind) = (ask.family(), ask.kind);
        for socket in &sockets {
            let netns = check(socket, family, kind, own)?;
            if netns.is_same(&pool.netns) != Some(true) {
                return Err(NotTaken::OtherNamespace.into());
            }
        }
        counts.sockets.fetch_add(sockets.len() as u64, Ordering::Relaxed);
        let none = sockets.is_empty();
        pool.put(family, kind, ask.count.into(), sockets);
        match errno {
            // Not for long, or not for all.
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {}
            Some(errno) if none => pool.refuse(family, kind, errno),
            _ => {}
        }
    }
    Ok(())
}

/// Asks, and waits for the answer. A vantage that serves may say in its stead that it leaves.
async fn answer(
    channel: &Channel,
    ask: Ask,
    serving: Option<&Pool>,
) -> Result<(Vec<OwnedFd>, Option<Errno>), End> {
    channel.send(&Frame::Ask(ask), &[]).await?;
    let (mut frame, mut sockets) = timeout(ANSWER_TIMEOUT, channel.receive()).await??;
    if let (Frame::Leaving, Some(pool)) = (&frame, serving) {
        pool.leave();
        (frame, sockets) = timeout(ANSWER_TIMEOUT, channel.receive()).await??;
    }
    let Frame::Sockets { errno } = frame else {
        return Err(End::Unexpected("something else than the sockets that were asked for"));
    };
    if sockets.len() > usize::from(ask.count) {
        return Err(ChannelError::TooManySockets.into());
    }
    if sockets.is_empty() && errno.is_none() {
        return Err(End::Unexpected("neither sockets nor why there are none"));
    }
    let errno = errno.filter(|errno| (1..4096).contains(errno)).map(Errno::from_raw_os_error);
    Ok((sockets, errno))
}
