//! TCP handshakes: a real `connect()` each, for a service's translation may happen at connect time.
//!
//! Where kernel hooks watch, the socket is first bound to the address that the route gives and to a probe port, and
//! the flow is registered before the SYN leaves.
//! A connection that came about is closed by RST (`SO_LINGER` 0): no TIME_WAIT piles up here or in connection
//! tracking on the way, and the target's socket is gone at once.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use netcheck_common::domain::{Family, Outcome};
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_linger, socket_error};
use rustix::net::{SocketType, connect, getsockname};

use crate::model::observation::{KernelSource, OwnFlow, ProbeKey};
use crate::model::sample::{Detail, Ending, Seen};
use crate::probe::ports::ProbePorts;
use crate::probe::route::{Registered, Routes};
use crate::probe::slots::Slots;
use crate::probe::socket::Sockets;
use crate::probe::{SendFailure, errors};

/// One connection attempt.
#[derive(Debug)]
struct Attempt {
    key: ProbeKey,
    target: SocketAddr,
    socket: OwnedFd,
    /// The flow, where it is registered with the hooks.
    flow: Option<OwnFlow>,
    local_port: u16,
}

/// All attempts of one family.
#[derive(Debug)]
pub(crate) struct TcpProber {
    family: Family,
    sockets: Sockets,
    routes: Routes,
    attempts: Slots<Attempt>,
}

impl TcpProber {
    pub(crate) fn open(family: Family, sockets: Sockets, ports: ProbePorts) -> io::Result<Self> {
        let routes = Routes::open(family, &sockets, ports)?;
        Ok(Self { family, routes, sockets, attempts: Slots::default() })
    }

    /// Makes the socket of one probe, and registers its flow: its number, and whether hooks watch it.
    pub(crate) fn prepare(
        &mut self,
        key: ProbeKey,
        target: SocketAddr,
        now_ns: u64,
        kernel: &mut dyn KernelSource,
    ) -> Result<(u32, bool), SendFailure> {
        let socket = self.sockets.open(self.family, SocketType::STREAM, None).map_err(SendFailure::of)?;
        let Registered { flow, local_port } = self.routes.register(&socket, key, target, now_ns, kernel)?;
        let watched = flow.is_some();
        Ok((self.attempts.insert(Attempt { key, target, socket, flow, local_port }), watched))
    }

    /// Sends the SYN. `Some` where it ended at once.
    pub(crate) fn launch(&mut self, slot: u32, epoll: &OwnedFd, token: u64) -> Option<Ending> {
        let attempt = self.attempts.get(slot)?;
        let failed = match connect(&attempt.socket, &attempt.target) {
            // Even where it is through already, the reading half of the loop finds out.
            Ok(()) | Err(Errno::INPROGRESS) => {
                let ready = epoll::EventFlags::OUT | epoll::EventFlags::ET;
                let data = epoll::EventData::new_u64(token);
                match epoll::add(epoll, &attempt.socket, data, ready) {
                    Ok(()) => return None,
                    Err(errno) => SendFailure::Own(errno),
                }
            }
            Err(Errno::CONNREFUSED) => {
                return Some(Ending::Failed { outcome: Outcome::Refused, detail: Detail::default() });
            }
            Err(errno @ Errno::ADDRNOTAVAIL) => {
                self.routes.forget(attempt.target);
                SendFailure::Own(errno)
            }
            Err(errno) => SendFailure::of(errno),
        };
        Some(match failed {
            SendFailure::Refused(_) => {
                Ending::Failed { outcome: Outcome::SendError, detail: failed.detail() }
            }
            SendFailure::Own(_) => Ending::OwnFault { detail: failed.detail() },
        })
    }

    /// A socket is ready: how its probe ended.
    pub(crate) fn ready(&mut self, slot: u32, seen: Seen) -> Option<(ProbeKey, Ending)> {
        let attempt = self.attempts.get(slot)?;
        let ending = match socket_error(&attempt.socket) {
            // Where the other end has closed already, and then sent a reset, the handshake was through all the same
            // (tcp_reset() in net/ipv4/tcp_input.c, CLOSE_WAIT).
            Ok(Ok(()) | Err(Errno::PIPE)) => {
                // Failing to set it costs a TIME_WAIT, no more.
                let _ = set_socket_linger(&attempt.socket, Some(Duration::ZERO));
                Ending::Reply { seen, reflected: None }
            }
            Ok(Err(errno)) => {
                let mut detail = detail_of(errno);
                if let Sockets::Pod(_) | Sockets::Secondary(..) = self.sockets {
                    detail.icmp = errors::newest(attempt.socket.as_fd(), self.family);
                }
                Ending::Failed { outcome: outcome_of(errno), detail }
            }
            Err(errno) => Ending::OwnFault { detail: SendFailure::Own(errno).detail() },
        };
        Some((attempt.key, ending))
    }

    /// A probe is over, however: closes its socket and ends its flow. The number may be someone else's by now.
    pub(crate) fn close(&mut self, slot: u32, key: ProbeKey, kernel: &mut dyn KernelSource) {
        if self.attempts.get(slot).is_some_and(|attempt| attempt.key == key)
            && let Some(flow) = self.attempts.remove(slot).and_then(|attempt| attempt.flow)
        {
            kernel.forget_flow(&flow);
        }
    }

    /// The attempt that an ICMP error quotes.
    pub(crate) fn quoted(&self, local_port: u16, target: SocketAddr) -> Option<ProbeKey> {
        let port_of = |attempt: &Attempt| match attempt.local_port {
            0 => getsockname(&attempt.socket).and_then(SocketAddr::try_from).map_or(0, |local| local.port()),
            port => port,
        };
        let mut towards = self.attempts.iter().filter(|attempt| attempt.target == target);
        towards.find(|attempt| port_of(attempt) == local_port).map(|attempt| attempt.key)
    }

    /// Attempts under way.
    #[cfg(test)]
    pub(crate) fn open_sockets(&self) -> usize {
        self.attempts.len()
    }
}

/// What the error of a handshake means: RST, an ICMP error or a neighbour that does not answer, the kernel's own
/// patience.
pub(crate) const fn outcome_of(errno: Errno) -> Outcome {
    match errno {
        Errno::CONNREFUSED | Errno::CONNRESET => Outcome::Refused,
        Errno::TIMEDOUT => Outcome::Timeout,
        _ => Outcome::Unreachable,
    }
}

/// An RST needs no errno beside the outcome.
pub(crate) fn detail_of(errno: Errno) -> Detail {
    Detail { errno: (errno != Errno::CONNREFUSED).then_some(errno), ..Detail::default() }
}

#[cfg(test)]
mod tests;
