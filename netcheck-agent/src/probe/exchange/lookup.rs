//! Looking a server's name up before a probe, as a program where the probe starts would (getaddrinfo(3), of one
//! family): servers, search list and patience of its resolv.conf(5), over UDP, and over TCP where an answer is
//! truncated. DNS alone is asked, neither `/etc/hosts` nor any cache: it is DNS that is measured.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream as StdTcpStream, UdpSocket as StdUdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use netcheck_common::domain::{Family, Outcome};
use netcheck_proto::v1;
use rustix::io::Errno;
use rustix::net::SocketType;
use tokio::net::{TcpSocket, UdpSocket};
use tokio::time::timeout;

use super::dns::over_stream;
use super::{Done, LATE_NS, Query as Job};
use crate::host::clock::monotonic_ns;
use crate::model::sample::{Detail, Ending, ExchangeSeen};
use crate::net::resolv::ResolvConf;
use crate::plan::Question;
use crate::probe::dns::{Answer, addresses, read_answer};
use crate::probe::socket::Sockets;
use crate::probe::tcp::detail_of;

/// Where DNS servers listen.
pub(super) const PORT: u16 = 53;
/// Largest answer without EDNS, and some more: servers are liberal.
const ANSWER_MAX: usize = 4096;

/// Whose resolver's configuration counts.
#[derive(Clone, Debug)]
pub(super) enum Configuration {
    /// The node's, which may change.
    File(PathBuf),
    /// The pod's, as its vantage reported it.
    Text(String),
}

impl Configuration {
    pub(super) fn read(&self) -> ResolvConf {
        match self {
            // Without the file the C library asks the host itself; here nobody is asked.
            Self::File(path) => ResolvConf::parse(&std::fs::read_to_string(path).unwrap_or_default()),
            Self::Text(text) => ResolvConf::parse(text),
        }
    }
}

/// What one server says of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Its addresses, at least one.
    Addresses(Vec<IpAddr>),
    /// It has none: the rcode's name, or `NODATA`.
    Error(Arc<str>),
}

/// A name's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) address: IpAddr,
    /// Who said so.
    pub(crate) server: IpAddr,
}

/// Why there is no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotFound {
    /// What the server that was asked last said, `timeout`, or why it could not be asked; in a few words that stay the
    /// same.
    Said { server: Option<IpAddr>, what: Arc<str> },
    /// The agent is out of sockets: nothing is known.
    Own(Errno),
}

/// Looks a server's name up, within its time.
pub(super) async fn resolve(query: Job, configuration: Configuration, port: u16) -> Done {
    let Job { key, name, family, sockets, timeout_ns } = query;
    let (began_ns, mut asked) = (monotonic_ns(), None);
    let conf = configuration.read();
    let resolver = Resolver { conf: &conf, sockets: &sockets, port };
    let looking = resolver.look_up(&name, family, &mut asked);
    let looked = timeout(Duration::from_nanos(timeout_ns), looking).await;
    let took_ns = monotonic_ns().saturating_sub(began_ns);
    let (server, what, late) = match looked {
        Ok(Ok(found)) => return Done::Found { key, found, took_ns },
        Ok(Err(NotFound::Said { server, what })) => (server, what, false),
        Ok(Err(NotFound::Own(errno))) => {
            return Done::Ended { key, ending: Ending::OwnFault { detail: detail_of(errno) } };
        }
        Err(_) => (asked, "timeout".into(), took_ns.saturating_sub(timeout_ns) > LATE_NS),
    };
    let seen = ExchangeSeen {
        step: v1::ExchangeStep::Resolve,
        waited_ns: took_ns,
        resolver: server,
        late,
        ..ExchangeSeen::default()
    };
    let detail = Detail { rcode: Some(what), exchange: Some(Box::new(seen)), ..Detail::default() };
    Done::Ended { key, ending: Ending::Failed { outcome: Outcome::DnsError, detail } }
}

/// Who looks names up: the configuration of one host's or pod's resolver, and where its sockets are from.
#[derive(Debug)]
pub(super) struct Resolver<'a> {
    pub(super) conf: &'a ResolvConf,
    pub(super) sockets: &'a Sockets,
    /// Where the servers listen.
    pub(super) port: u16,
}

impl Resolver<'_> {
    /// Looks a name up; without end, where nobody answers in a longer time than anybody waits: `asked` is whom it waits for.
    pub(super) async fn look_up(
        &self,
        name: &str,
        family: Family,
        asked: &mut Option<IpAddr>,
    ) -> Result<Found, NotFound> {
        let record = match family {
            Family::V4 => RecordType::A,
            Family::V6 => RecordType::AAAA,
        };
        let said = |server, what: &str| NotFound::Said { server, what: what.into() };
        if self.conf.servers.is_empty() {
            return Err(said(None, "no DNS server configured"));
        }
        // As res_nsearch(3): a name of which there is nothing of this type says more than one that is not there, and a
        // server that failed more than both, for the name may be there.
        let (mut failed, mut empty, mut last) = (None, None, None);
        for candidate in self.conf.candidates(name) {
            // Too long with this domain.
            let Ok(candidate) = Name::from_ascii(&candidate) else { continue };
            match self.of_candidate(&candidate, record, asked).await {
                Ok(found) => return Ok(found),
                Err(NotFound::Said { server, what }) => match &*what {
                    "NXDOMAIN" => last = Some((server, what)),
                    "NODATA" => empty = Some((server, what)),
                    "SERVFAIL" => failed = Some((server, what)),
                    // No other name has better prospects.
                    _ => return Err(NotFound::Said { server, what }),
                },
                Err(own) => return Err(own),
            }
        }
        let (server, what) =
            failed.or(empty).or(last).unwrap_or_else(|| (None, "the name is too long".into()));
        Err(NotFound::Said { server, what })
    }

    /// All servers in turn, until one knows.
    async fn of_candidate(
        &self,
        name: &Name,
        record: RecordType,
        asked: &mut Option<IpAddr>,
    ) -> Result<Found, NotFound> {
        let Self { conf, sockets, port } = self;
        let mut last: Option<(IpAddr, Arc<str>)> = None;
        for _ in 0..conf.attempts {
            for &server in &conf.servers {
                *asked = Some(server);
                let asking = ask(SocketAddr::new(server, *port), name, record, sockets);
                let what: Arc<str> = match timeout(conf.timeout, asking).await {
                    Ok(Ok(Said::Addresses(addresses))) => {
                        if let Some(&address) = addresses.first() {
                            return Ok(Found { address, server });
                        }
                        "NODATA".into()
                    }
                    Ok(Ok(Said::Error(rcode))) if matches!(&*rcode, "NXDOMAIN" | "NODATA") => {
                        return Err(NotFound::Said { server: Some(server), what: rcode });
                    }
                    Ok(Ok(Said::Error(rcode))) => rcode,
                    Ok(Err(error)) => refusal(&error)?,
                    Err(_) => "timeout".into(),
                };
                // A server's answer says more than another one's silence.
                if last.is_none() || &*what != "timeout" {
                    last = Some((server, what));
                }
            }
        }
        let (server, what) =
            last.map_or_else(|| (None, "timeout".into()), |(server, what)| (Some(server), what));
        Err(NotFound::Said { server, what })
    }
}

/// Why a server could not be asked.
fn refusal(error: &io::Error) -> Result<Arc<str>, NotFound> {
    let errno = Errno::from_io_error(error);
    match errno {
        Some(errno @ (Errno::NOBUFS | Errno::NOMEM | Errno::MFILE | Errno::NFILE)) => {
            Err(NotFound::Own(errno))
        }
        Some(Errno::CONNREFUSED) => Ok("port closed".into()),
        Some(Errno::PERM | Errno::ACCESS) => Ok("not allowed to ask".into()),
        Some(_) => Ok("unreachable".into()),
        None => Ok("no answer".into()),
    }
}

/// Asks one server for one name, once.
pub(super) async fn ask(
    server: SocketAddr,
    name: &Name,
    record: RecordType,
    sockets: &Sockets,
) -> io::Result<Said> {
    let query = Query::query(name.clone(), record);
    let id: u16 = rand::random();
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(query.clone());
    let message = message.to_vec().map_err(io::Error::other)?;
    let question = Question { query, message };
    let family = Family::of(server.ip());
    let socket = StdUdpSocket::from(sockets.open(family, SocketType::DGRAM, None)?);
    let socket = UdpSocket::from_std(socket)?;
    socket.connect(server).await?;
    socket.send(&question.message).await?;
    let mut bytes = [0; ANSWER_MAX];
    loop {
        let len = socket.recv(&mut bytes).await?;
        let answer = read_answer(&bytes[..len], id, &question);
        if answer != Answer::Truncated {
            match said(answer, &bytes[..len], record) {
                Some(said) => return Ok(said),
                None => continue,
            }
        }
        let socket = StdTcpStream::from(sockets.open(family, SocketType::STREAM, None)?);
        let mut stream = TcpSocket::from_std_stream(socket).connect(server).await?;
        let bytes = over_stream(&mut stream, &question, id, |_| {}).await?;
        let said = said(read_answer(&bytes, id, &question), &bytes, record);
        return Ok(said.unwrap_or_else(|| Said::Error("malformed".into())));
    }
}

/// What an answer says; `None` where it is none.
fn said(answer: Answer, bytes: &[u8], record: RecordType) -> Option<Said> {
    match answer {
        Answer::Answered => Some(Said::Addresses(addresses(bytes, record))),
        Answer::Error(rcode) => Some(Said::Error(rcode)),
        Answer::Strange | Answer::Truncated => None,
    }
}

#[cfg(test)]
mod tests;
