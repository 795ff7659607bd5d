//! DNS queries over UDP: a socket each, with a source port that none had lately ([`ProbePorts`]), so that each query is a
//! new flow to connection tracking, and chooses a backend anew where a service is translated by it. Forgers have to guess
//! the id, and to be this server: the socket is connected (which sends nothing), so only the server's own packets
//! get in, and its flow is registered before the query leaves.
//!
//! An answer counts as reply if id and question match and the server answers what was asked. A truncated one (TC) is
//! none: the same question is asked again over TCP, as RFC 7766 §5 wants, and what comes of that is what counts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::RecordType;
use netcheck_common::domain::{Family, Outcome, ProbeKind};
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketType, connect, getsockname, recv, send};

use crate::model::observation::{KernelSource, OwnFlow, ProbeKey};
use crate::model::sample::{Detail, Ending, Seen};
use crate::plan::Question;
use crate::probe::ports::ProbePorts;
use crate::probe::slots::Slots;
use crate::probe::socket::Sockets;
use crate::probe::{SendFailure, bare, errors};

/// Largest answer without EDNS (RFC 1035 §4.2.1), and some more: servers are liberal.
const ANSWER_MAX: usize = 4096;

#[derive(Debug)]
struct Asked {
    key: ProbeKey,
    target: SocketAddr,
    socket: OwnedFd,
    local_port: u16,
    flow: Option<OwnFlow>,
    id: u16,
    question: Arc<Question>,
}

/// All queries of one family.
#[derive(Debug)]
pub(crate) struct DnsProber {
    family: Family,
    sockets: Sockets,
    ports: ProbePorts,
    asked: Slots<Asked>,
}

/// What came of reading a probe's socket.
#[derive(Debug)]
pub(crate) enum Read {
    /// The probe ended.
    Ended(Ending),
    /// The answer was truncated: it goes on over TCP.
    Truncated { target: SocketAddr, question: Arc<Question> },
}

/// What a datagram from the server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// What was asked for.
    Answered,
    /// A part of it: the rest is to be had over TCP.
    Truncated,
    /// The server said something else; the rcode's name.
    Error(Arc<str>),
    /// Not an answer to this query.
    Strange,
}

impl DnsProber {
    pub(crate) fn new(family: Family, sockets: Sockets, ports: ProbePorts) -> Self {
        Self { family, sockets, ports, asked: Slots::default() }
    }

    /// Makes the socket of one probe, and registers its flow: its number, and whether hooks watch it.
    pub(crate) fn prepare(
        &mut self,
        key: ProbeKey,
        target: SocketAddr,
        question: Arc<Question>,
        kernel: &mut dyn KernelSource,
    ) -> Result<(u32, bool), SendFailure> {
        let socket = self.sockets.open(self.family, SocketType::DGRAM, None).map_err(SendFailure::of)?;
        let any = if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        self.ports.bind_udp(&self.sockets, &socket, any, Some(target)).map_err(SendFailure::Own)?;
        connect(&socket, &target).map_err(SendFailure::of)?;
        let local = getsockname(&socket).and_then(SocketAddr::try_from).map_err(SendFailure::Own)?;
        let own = OwnFlow { probe: key, transport: ProbeKind::Udp, local: bare(local) };
        let flow = (kernel.stamps() && kernel.watch_flow(&own)).then_some(own);
        let (watched, id, local_port) = (flow.is_some(), rand::random(), local.port());
        Ok((self.asked.insert(Asked { key, target, socket, local_port, flow, id, question }), watched))
    }

    /// Sends the query. `Some` where it ended at once.
    pub(crate) fn launch(&mut self, slot: u32, epoll: &OwnedFd, token: u64) -> Option<Ending> {
        let asked = self.asked.get(slot)?;
        let mut message = [0; 512];
        let message = &mut message[..asked.question.message.len()];
        message.copy_from_slice(&asked.question.message);
        message[..2].copy_from_slice(&asked.id.to_be_bytes());
        let ready = epoll::EventFlags::IN | epoll::EventFlags::ET;
        let left = epoll::add(epoll, &asked.socket, epoll::EventData::new_u64(token), ready)
            .map_err(SendFailure::Own)
            .and_then(|()| send(&asked.socket, message, SendFlags::DONTWAIT).map_err(SendFailure::of));
        match left {
            Ok(_) => None,
            Err(SendFailure::Refused(Errno::CONNREFUSED)) => {
                Some(Ending::Failed { outcome: Outcome::Refused, detail: Detail::default() })
            }
            Err(failure @ SendFailure::Refused(_)) => {
                Some(Ending::Failed { outcome: Outcome::SendError, detail: failure.detail() })
            }
            Err(failure @ SendFailure::Own(_)) => Some(Ending::OwnFault { detail: failure.detail() }),
        }
    }

    /// A socket is ready: how its probe ended, if it did. Packets that are no answer are counted in `strange`.
    pub(crate) fn ready(&mut self, slot: u32, seen: Seen, strange: &mut u64) -> Option<(ProbeKey, Read)> {
        let asked = self.asked.get(slot)?;
        let mut bytes = [0; ANSWER_MAX];
        loop {
            let ending = match recv(&asked.socket, &mut bytes, RecvFlags::DONTWAIT) {
                Ok((len, _)) => match read_answer(&bytes[..len], asked.id, &asked.question) {
                    Answer::Answered => Ending::Reply { seen, reflected: None },
                    Answer::Truncated => {
                        let (target, question) = (asked.target, Arc::clone(&asked.question));
                        return Some((asked.key, Read::Truncated { target, question }));
                    }
                    Answer::Error(rcode) => {
                        let detail = Detail { rcode: Some(rcode), ..Detail::default() };
                        Ending::Failed { outcome: Outcome::DnsError, detail }
                    }
                    Answer::Strange => {
                        *strange += 1;
                        continue;
                    }
                },
                Err(Errno::AGAIN | Errno::INTR) => return None,
                Err(errno) => {
                    let refused = errno == Errno::CONNREFUSED;
                    let icmp = match self.sockets {
                        Sockets::Host => None,
                        Sockets::Pod(_) | Sockets::Secondary(..) => {
                            errors::newest(asked.socket.as_fd(), self.family)
                        }
                    };
                    let errno = (!refused).then_some(errno);
                    Ending::Failed {
                        outcome: if refused { Outcome::Refused } else { Outcome::Unreachable },
                        detail: Detail { errno, icmp, ..Detail::default() },
                    }
                }
            };
            return Some((asked.key, Read::Ended(ending)));
        }
    }

    /// A probe is over, however: closes its socket and ends its flow. The number may be someone else's by now.
    pub(crate) fn close(&mut self, slot: u32, key: ProbeKey, kernel: &mut dyn KernelSource) {
        if self.asked.get(slot).is_some_and(|asked| asked.key == key)
            && let Some(flow) = self.asked.remove(slot).and_then(|asked| asked.flow)
        {
            kernel.forget_flow(&flow);
        }
    }

    /// The query that an ICMP error quotes.
    pub(crate) fn quoted(&self, local_port: u16, target: SocketAddr) -> Option<ProbeKey> {
        self.asked
            .iter()
            .find(|asked| asked.local_port == local_port && asked.target == target)
            .map(|asked| asked.key)
    }
}

/// Reads a datagram that came from the server.
pub(crate) fn read_answer(bytes: &[u8], id: u16, question: &Question) -> Answer {
    if bytes.first_chunk::<2>() != Some(&id.to_be_bytes()) {
        return Answer::Strange;
    }
    let Ok(message) = Message::from_vec(bytes) else { return Answer::Error("malformed".into()) };
    if message.metadata.message_type != MessageType::Response {
        return Answer::Strange;
    }
    let rcode = message.metadata.response_code;
    match message.queries.as_slice() {
        [query] if *query == question.query => {}
        // A server that could not read the query need not repeat it.
        [] if rcode != ResponseCode::NoError => {}
        _ => return Answer::Strange,
    }
    let wanted = question.query.query_type();
    if rcode != ResponseCode::NoError {
        Answer::Error(rcode_name(rcode))
    } else if message.metadata.truncation {
        // Whatever it holds may be a part of it only (RFC 2181 §9).
        Answer::Truncated
    } else if message.answers.iter().any(|answer| answer.record_type() == wanted) {
        Answer::Answered
    } else {
        Answer::Error("NODATA".into())
    }
}

/// The addresses of this type that an answer holds, in its order.
pub(crate) fn addresses(bytes: &[u8], wanted: RecordType) -> Vec<IpAddr> {
    let Ok(message) = Message::from_vec(bytes) else { return Vec::new() };
    let of_type = message.answers.iter().filter(|answer| answer.record_type() == wanted);
    of_type.filter_map(|answer| answer.data.ip_addr()).collect()
}

/// The name that operators know an rcode by (IANA DNS RCODEs).
fn rcode_name(rcode: ResponseCode) -> Arc<str> {
    match rcode {
        ResponseCode::FormErr => "FORMERR".into(),
        ResponseCode::ServFail => "SERVFAIL".into(),
        ResponseCode::NXDomain => "NXDOMAIN".into(),
        ResponseCode::NotImp => "NOTIMP".into(),
        ResponseCode::Refused => "REFUSED".into(),
        ResponseCode::YXDomain => "YXDOMAIN".into(),
        ResponseCode::YXRRSet => "YXRRSET".into(),
        ResponseCode::NXRRSet => "NXRRSET".into(),
        ResponseCode::NotAuth => "NOTAUTH".into(),
        ResponseCode::NotZone => "NOTZONE".into(),
        other => format!("rcode {}", u16::from(other)).into(),
    }
}

#[cfg(test)]
mod tests;
