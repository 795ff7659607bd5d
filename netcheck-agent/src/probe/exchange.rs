//! Exchanges over TCP: HTTP(S) requests, DNS queries over TCP and TLS.
//!
//! In: [`Job`]s of the probe engine, each with a socket that is bound and whose flow is known to the kernel's hooks.
//! Out: how each ended ([`Done`]), through a bounded channel; the engine is woken for each. [`ExchangeTask`]
//! carries them out, each as a task of its own, so many at once at most; cancelling it drops what is under way: the
//! connections are reset.
//!
//! All times are CLOCK_MONOTONIC, taken when the runtime gets round to it. Whether it was late with that is shown by
//! its own timer: then silence proves nothing.

pub(crate) mod dns;
pub(crate) mod http;
pub(crate) mod lookup;
pub(crate) mod search;
pub(crate) mod tls;

use std::io;
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use netcheck_common::domain::{Family, Outcome};
use netcheck_proto::v1;
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_linger;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::lookup::{Configuration, Found};
use self::search::look_up;
use crate::host::clock::{MILLISECOND_NS, monotonic_ns};
use crate::host::waker::Waker;
use crate::model::observation::ProbeKey;
use crate::model::sample::{Detail, Ending, ExchangeSeen, Searched, StepTimes, Trouble};
use crate::plan::exchange::{Authorities, Exchange, Talk};
use crate::probe::socket::Sockets;
use crate::probe::tcp::{detail_of, outcome_of};

/// Most at once: each holds a socket, and for a while up to [`BYTES_MAX`].
const AT_ONCE: usize = 64;
/// Jobs that wait for their turn; where there are more, the agent is too small for its plan, and the probe is suspect.
const JOBS: usize = 256;
/// As many as there can be at once, and some more: the engine reads them in each of its turns.
const DONE: usize = 1024;
/// Most that is read of an answer.
pub(crate) const BYTES_MAX: usize = 64 << 10;
/// A timer that is later than this shows that the runtime did not get to run.
const LATE_NS: u64 = 50 * MILLISECOND_NS;

/// One exchange to carry out.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) key: ProbeKey,
    pub(crate) target: SocketAddr,
    /// Not connected yet.
    pub(crate) socket: OwnedFd,
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) authorities: Arc<Authorities>,
    pub(crate) timeout_ns: u64,
    pub(crate) prior: Prior,
}

/// What came before the connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Prior {
    /// How long it took.
    pub(crate) took_ns: u64,
    /// The server's name was looked up.
    pub(crate) resolved: Option<Found>,
    /// The question was asked over UDP, and the answer was truncated.
    pub(crate) truncated: bool,
}

/// A server whose name is to be looked up, before its probe goes on.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) key: ProbeKey,
    pub(crate) name: Arc<str>,
    pub(crate) family: Family,
    /// Of the vantage that the probe starts from.
    pub(crate) sockets: Sockets,
    pub(crate) timeout_ns: u64,
}

/// What there is to do.
#[derive(Debug)]
enum Work {
    Exchange(Job),
    LookUp(Query),
    /// Short names to look up.
    Search(Vec<String>),
}

/// What was done.
#[derive(Debug)]
pub(crate) enum Done {
    /// An exchange ended.
    Ended { key: ProbeKey, ending: Ending },
    /// A server's name was looked up; the probe goes on.
    Found { key: ProbeKey, found: Found, took_ns: u64 },
    /// Names were looked up.
    Searched(Vec<Searched>),
}

/// The engine's end.
#[derive(Debug)]
pub(crate) struct ExchangeLink {
    jobs: mpsc::Sender<Work>,
    done: mpsc::Receiver<Done>,
}

/// The task's end.
#[derive(Debug)]
pub(crate) struct ExchangeEnd {
    jobs: mpsc::Receiver<Work>,
    done: mpsc::Sender<Done>,
}

/// Makes both ends.
pub(crate) fn open() -> (ExchangeLink, ExchangeEnd) {
    let (to_task, jobs) = mpsc::channel(JOBS);
    let (to_engine, done) = mpsc::channel(DONE);
    (ExchangeLink { jobs: to_task, done }, ExchangeEnd { jobs, done: to_engine })
}

impl ExchangeLink {
    /// Hands over a job; false where there are too many, or nobody takes them any more.
    pub(crate) fn start(&self, job: Job) -> bool {
        self.jobs.try_send(Work::Exchange(job)).is_ok()
    }

    /// Has a server's name looked up; false where there is too much to do, or nobody does it any more.
    pub(crate) fn look_up(&self, query: Query) -> bool {
        self.jobs.try_send(Work::LookUp(query)).is_ok()
    }

    /// Has names looked up. Where there is too much to do, not this time.
    pub(crate) fn search(&self, names: Vec<String>) {
        let _ = self.jobs.try_send(Work::Search(names));
    }

    pub(crate) fn next_done(&mut self) -> Option<Done> {
        self.done.try_recv().ok()
    }
}

/// Carries exchanges out.
#[derive(Debug)]
pub(crate) struct ExchangeTask {
    pub(crate) end: ExchangeEnd,
    /// Wakes the engine when something is done.
    pub(crate) waker: Waker,
    /// Whose servers and search list are this node's.
    pub(crate) resolv_conf: PathBuf,
}

impl ExchangeTask {
    /// Until cancelled, or until the engine is gone.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let Self { mut end, waker, resolv_conf } = self;
        let mut under_way = JoinSet::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(done) = under_way.join_next() => {
                    // One that panicked has said nothing: the engine's own deadline ends its probe.
                    let Ok(done) = done else { continue };
                    // A full channel is one that the engine does not read: its deadlines end these probes.
                    let _ = end.done.try_send(done);
                    waker.wake();
                }
                job = end.jobs.recv(), if under_way.len() < AT_ONCE => match job {
                    Some(Work::Exchange(job)) => drop(under_way.spawn(carry_out(job))),
                    Some(Work::LookUp(query)) => {
                        let configuration = match &query.sockets {
                            Sockets::Host => Configuration::File(resolv_conf.clone()),
                            Sockets::Pod(pool) | Sockets::Secondary(pool, _) => Configuration::Text(pool.hello.resolv_conf.clone()),
                        };
                        under_way.spawn(lookup::resolve(query, configuration, lookup::PORT));
                    }
                    Some(Work::Search(names)) => {
                        let path = resolv_conf.clone();
                        under_way.spawn(async move { Done::Searched(look_up(&path, &names).await) });
                    }
                    None => return,
                },
            }
        }
    }
}

/// Why an exchange did not end as expected.
#[derive(Debug)]
pub(crate) enum Broke {
    /// There was no connection.
    Connect(io::Error),
    /// The connection broke.
    Stream(io::Error),
    /// What is wrong with the server's certificate, or the handshake.
    Tls(Trouble),
    /// The answer was not the expected one.
    Status(u16),
    /// The DNS server's rcode.
    Rcode(Arc<str>),
    /// What came back is no answer, in a few words.
    Nonsense(&'static str),
}

/// What is known of an exchange while it goes on.
#[derive(Debug)]
pub(crate) struct Log {
    step: v1::ExchangeStep,
    /// When the step began.
    since_ns: u64,
    times: StepTimes,
    not_after: Option<i64>,
    /// The connection's socket, for a look when it is over.
    socket: Option<OwnedFd>,
    prior: Prior,
}

impl Log {
    fn begin(prior: Prior) -> Self {
        Self {
            step: v1::ExchangeStep::Connect,
            since_ns: monotonic_ns(),
            times: StepTimes { dns_ns: prior.resolved.map(|_| prior.took_ns), ..StepTimes::default() },
            not_after: None,
            socket: None,
            prior,
        }
    }

    /// A step is over, and the next one begins.
    pub(crate) fn reach(&mut self, next: v1::ExchangeStep) {
        let now_ns = monotonic_ns();
        let took_ns = Some(now_ns.saturating_sub(self.since_ns));
        match self.step {
            v1::ExchangeStep::Connect => self.times.connect_ns = took_ns,
            v1::ExchangeStep::Tls => self.times.tls_ns = took_ns,
            v1::ExchangeStep::Answer => self.times.first_byte_ns = took_ns,
            v1::ExchangeStep::Body | v1::ExchangeStep::Resolve | v1::ExchangeStep::Unspecified => {}
        }
        (self.step, self.since_ns) = (next, now_ns);
    }

    /// What went well ends by FIN: a reset would have what is still on its way dropped.
    fn part_in_peace(&self) {
        if let Some(socket) = &self.socket {
            // Failing to set it costs a drop that is counted, no more.
            let _ = set_socket_linger(socket, None);
        }
    }

    fn seen(&self) -> ExchangeSeen {
        ExchangeSeen {
            step: self.step,
            waited_ns: monotonic_ns().saturating_sub(self.since_ns),
            acknowledged: self.socket.as_ref().is_some_and(|socket| unsent_bytes(socket) == Ok(0)),
            not_after: self.not_after,
            resolved: self.prior.resolved.map(|found| found.address),
            resolver: self.prior.resolved.map(|found| found.server),
            truncated: self.prior.truncated,
            ..ExchangeSeen::default()
        }
    }
}

/// Bytes in a socket's queue that were not sent, or not acknowledged (`SIOCOUTQ`, tcp(7)).
fn unsent_bytes(socket: &OwnedFd) -> Result<libc::c_int, Errno> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one int where it is told to.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 {
        Ok(bytes)
    } else {
        Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
    }
}

/// Carries one out, within its time.
async fn carry_out(job: Job) -> Done {
    let Job { key, target, socket, exchange, authorities, timeout_ns, prior } = job;
    let (began_ns, mut log) = (monotonic_ns(), Log::begin(prior));
    let talk = talk(target, socket, &exchange, &authorities, &mut log);
    let ending = match timeout(Duration::from_nanos(timeout_ns), talk).await {
        Ok(Ok(())) => {
            log.part_in_peace();
            let total_ns = monotonic_ns().saturating_sub(began_ns).saturating_add(prior.took_ns);
            Ending::Exchanged { steps: StepTimes { total_ns, ..log.times }, not_after: log.not_after }
        }
        Ok(Err(broke)) => ending(broke, log.seen()),
        Err(_) => {
            let late_ns = monotonic_ns().saturating_sub(began_ns).saturating_sub(timeout_ns);
            let seen = ExchangeSeen { late: late_ns > LATE_NS, ..log.seen() };
            failed(Outcome::Timeout, seen)
        }
    };
    Done::Ended { key, ending }
}

async fn talk(
    target: SocketAddr,
    socket: OwnedFd,
    exchange: &Exchange,
    authorities: &Authorities,
    log: &mut Log,
) -> Result<(), Broke> {
    let socket = TcpSocket::from_std_stream(StdTcpStream::from(socket));
    let stream = socket.connect(target).await.map_err(Broke::Connect)?;
    log.socket = stream.as_fd().try_clone_to_owned().ok();
    let Some(check) = &exchange.tls else {
        log.reach(v1::ExchangeStep::Answer);
        return converse(stream, &exchange.talk, log).await;
    };
    log.reach(v1::ExchangeStep::Tls);
    let shaken = tls::shake_hands(stream, target.ip(), check, authorities).await;
    log.not_after = shaken.not_after;
    let stream = shaken.stream?;
    log.reach(v1::ExchangeStep::Answer);
    converse(stream, &exchange.talk, log).await
}

/// What comes of a conversation over this stream, for whoever tries answers on it.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) async fn read<S>(stream: S, talk: &Talk)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let prior = Prior::default();
    let mut log = Log::begin(prior);
    if let Err(broke) = converse(stream, talk, &mut log).await {
        drop(ending(broke, log.seen()));
    }
}

async fn converse<S>(stream: S, talk: &Talk, log: &mut Log) -> Result<(), Broke>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match talk {
        Talk::Http(request) => http::ask(stream, request, log).await,
        Talk::Dns(question) => dns::ask(stream, question, log).await,
    }
}

fn failed(outcome: Outcome, seen: ExchangeSeen) -> Ending {
    Ending::Failed { outcome, detail: Detail { exchange: Some(Box::new(seen)), ..Detail::default() } }
}

fn ending(broke: Broke, seen: ExchangeSeen) -> Ending {
    let errno = |error: &io::Error| Errno::from_io_error(error);
    match broke {
        Broke::Connect(error) | Broke::Stream(error)
            if errno(&error).is_some_and(|errno| !matches!(errno, Errno::CONNRESET | Errno::PIPE))
                || seen.step == v1::ExchangeStep::Connect =>
        {
            let Some(errno) = errno(&error) else {
                return failed(Outcome::HttpError, ExchangeSeen { broke: "connection failed", ..seen });
            };
            if matches!(errno, Errno::NOMEM | Errno::NOBUFS | Errno::MFILE | Errno::NFILE) {
                return Ending::OwnFault { detail: detail_of(errno) };
            }
            let detail = Detail { exchange: Some(Box::new(seen)), ..detail_of(errno) };
            let outcome = match errno {
                // What the source's own netfilter says.
                Errno::PERM | Errno::ACCESS | Errno::INVAL | Errno::NETUNREACH => Outcome::SendError,
                other => outcome_of(other),
            };
            Ending::Failed { outcome, detail }
        }
        Broke::Connect(error) | Broke::Stream(error) => {
            let broke = match error.kind() {
                io::ErrorKind::ConnectionReset => "connection reset",
                _ => "connection closed without an answer",
            };
            failed(Outcome::HttpError, ExchangeSeen { broke, ..seen })
        }
        Broke::Tls(trouble) => failed(Outcome::HttpError, ExchangeSeen { tls: Some(trouble), ..seen }),
        Broke::Status(status) => failed(Outcome::HttpError, ExchangeSeen { status, ..seen }),
        Broke::Nonsense(broke) => failed(Outcome::HttpError, ExchangeSeen { broke, ..seen }),
        Broke::Rcode(rcode) => {
            let detail = Detail { rcode: Some(rcode), exchange: Some(Box::new(seen)), ..Detail::default() };
            Ending::Failed { outcome: Outcome::DnsError, detail }
        }
    }
}

#[cfg(test)]
mod tests;
