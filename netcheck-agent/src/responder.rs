//! What other agents' probes talk to: UDP echo, TCP accept and `GET /health`, all on one port, both families.
//!
//! In: probes of other agents. Out: the same bytes back (the kernel programs fill in their part on the way out), and
//! counts. [`Responder::bind`] takes the port, [`echo`] runs on a thread of its own, [`accept`] is a task.

pub(crate) mod accept;
pub(crate) mod echo;
mod limit;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::host::clock::SECOND_NS;

/// Seconds that a connection may stay silent before it is handed to user space. A probe that connects and closes
/// never is: the kernel answers it alone.
const DEFER_ACCEPT_SECONDS: libc::c_int = 5;
const BACKLOG: i32 = 1024;

/// What the responder counted since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResponderCounts {
    pub(crate) echoed: u64,
    /// UDP packets that were no probes.
    pub(crate) refused: u64,
    /// Probes beyond what one source is answered.
    pub(crate) limited: u64,
    /// TCP connections that said something.
    pub(crate) connections: u64,
    /// TCP connections above the limit.
    pub(crate) turned_away: u64,
}

/// The same, as its tasks count.
#[derive(Debug, Default)]
pub(crate) struct LiveCounts {
    echoed: AtomicU64,
    refused: AtomicU64,
    limited: AtomicU64,
    /// Whose probe was the last beyond the limit, and when.
    last_limited: Mutex<Option<(IpAddr, u64)>>,
    connections: AtomicU64,
    turned_away: AtomicU64,
}

/// How long it is said that a source was limited.
const SAID_NS: u64 = 60 * SECOND_NS;

impl LiveCounts {
    pub(crate) fn read(&self) -> ResponderCounts {
        ResponderCounts {
            echoed: self.echoed.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            limited: self.limited.load(Ordering::Relaxed),
            connections: self.connections.load(Ordering::Relaxed),
            turned_away: self.turned_away.load(Ordering::Relaxed),
        }
    }
}

impl LiveCounts {
    /// A probe of that source was not echoed (monotonic nanoseconds).
    fn limited(&self, from: IpAddr, now_ns: u64) {
        self.limited.fetch_add(1, Ordering::Relaxed);
        *self.last_limited.lock().unwrap_or_else(PoisonError::into_inner) = Some((from, now_ns));
    }

    /// What is to be said of probes that were not echoed lately, as a line of what is degraded.
    pub(crate) fn degraded(&self, now_ns: u64) -> Option<String> {
        let last = *self.last_limited.lock().unwrap_or_else(PoisonError::into_inner);
        let (from, at_ns) = last?;
        let limited = self.limited.load(Ordering::Relaxed);
        (now_ns.saturating_sub(at_ns) < SAID_NS).then(|| {
            format!(
                "more than {} UDP probes a second came from {from}: this node's responder did not answer {limited} since it \
                 started, so UDP probes from that address are lost here without any fault of the network",
                limit::RATE
            )
        })
    }
}

/// The port, taken.
pub(crate) struct Responder {
    pub(crate) udp: Socket,
    pub(crate) tcp: Socket,
    pub(crate) port: u16,
    pub(crate) counts: Arc<LiveCounts>,
}

impl Responder {
    /// Takes the port for UDP and TCP.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let udp = socket(address, Type::DGRAM, Protocol::UDP)?;
        let address = both_families(address);
        own_address(&udp, address)?;
        udp.bind(&address.into())?;
        let port = udp.local_addr()?.as_socket().map_or(0, |local| local.port());
        // With port 0, TCP takes the port that UDP got.
        let address = SocketAddr::new(address.ip(), port);
        let tcp = socket(address, Type::STREAM, Protocol::TCP)?;
        tcp.set_reuse_address(true)?;
        defer_accept(&tcp)?;
        tcp.bind(&address.into())?;
        tcp.listen(BACKLOG)?;
        tcp.set_nonblocking(true)?;
        Ok(Self { udp, tcp, port, counts: Arc::default() })
    }
}

/// Binds a listening TCP socket, for both families where the address is `0.0.0.0`.
pub(crate) fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = socket(address, Type::STREAM, Protocol::TCP)?;
    socket.set_reuse_address(true)?;
    socket.bind(&both_families(address).into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(OwnedFd::from(socket).into())
}

/// `0.0.0.0` means all addresses, of both families where this host has both.
fn both_families(address: SocketAddr) -> SocketAddr {
    let v6 = || Socket::new(Domain::IPV6, Type::DGRAM, None).is_ok();
    if address.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED) && v6() {
        SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), address.port())
    } else {
        address
    }
}

fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let address = both_families(address);
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    Ok(socket)
}

/// Asks for each packet's own destination address, so that replies can leave from it.
fn own_address(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    let (level, name) = match address {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
    };
    set(socket, level, name, 1)
}

fn defer_accept(socket: &Socket) -> io::Result<()> {
    set(socket, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, DEFER_ACCEPT_SECONDS)
}

fn set(socket: &Socket, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;

    // SAFETY: the option is an int, and `value` is one; the kernel copies it.
    let result = unsafe {
        libc::setsockopt(
            SockRef::from(socket).as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests;
