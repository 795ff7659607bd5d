//! Sockets as probers and vantages open them, and their options.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use netcheck_common::domain::Family;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, ipproto, socket_with};
use serde::{Deserialize, Serialize};

/// Wanted receive buffer of the sockets that all replies of a kind come in through: a second of 10,000 probes/s.
/// The kernel may give less to an agent without CAP_NET_ADMIN.
const RECEIVE_BUFFER: usize = 8 << 20;

/// How long what was sent on a connection to the hub, or for it, may stay without the other kernel's acknowledgement: as
/// many retransmissions as the kernel makes within 3 s (tcp(7), `TCP_USER_TIMEOUT`). A hub that is slow acknowledges all
/// the same.
pub(crate) const UNACKNOWLEDGED: Duration = Duration::from_secs(3);

/// The kinds of sockets that are handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SocketKind {
    /// UDP.
    Datagram,
    /// TCP.
    Stream,
    /// ICMP echo without CAP_NET_RAW (icmp(7), `ping_group_range`).
    Ping,
}

impl SocketKind {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Datagram, Self::Stream, Self::Ping];

    /// The same in the kernel's words.
    pub(crate) const fn socket(self, family: Family) -> (SocketType, Protocol) {
        match (self, family) {
            (Self::Datagram, _) => (SocketType::DGRAM, ipproto::UDP),
            (Self::Stream, _) => (SocketType::STREAM, ipproto::TCP),
            (Self::Ping, Family::V4) => (SocketType::DGRAM, ipproto::ICMP),
            (Self::Ping, Family::V6) => (SocketType::DGRAM, ipproto::ICMPV6),
        }
    }

    /// The kind that a prober means by these; none where it is never handed over.
    pub(crate) fn of(kind: SocketType, protocol: Option<Protocol>) -> Option<Self> {
        match (kind, protocol) {
            (SocketType::STREAM, None | Some(ipproto::TCP)) => Some(Self::Stream),
            (SocketType::DGRAM, None | Some(ipproto::UDP)) => Some(Self::Datagram),
            (SocketType::DGRAM, Some(ipproto::ICMP | ipproto::ICMPV6)) => Some(Self::Ping),
            _ => None,
        }
    }
}

/// The kernel's name of a family.
pub(crate) const fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::INET,
        Family::V6 => AddressFamily::INET6,
    }
}

/// A non-blocking socket.
pub(crate) fn open(
    family: Family,
    kind: SocketType,
    protocol: Option<Protocol>,
) -> rustix::io::Result<OwnedFd> {
    socket_with(address_family(family), kind, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, protocol)
}

/// Makes a socket one through which all replies of a kind come: large buffer, no path MTU memory.
///
/// Path MTU discovery is set to `PROBE`: packets have DF set, and the kernel's own memory of a smaller path MTU does
/// not fragment them, so that a large probe tests the path as it is.
pub(crate) fn share(socket: OwnedFd, family: Family, kind: SocketType) -> io::Result<OwnedFd> {
    if set(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &(RECEIVE_BUFFER as libc::c_int)).is_err() {
        set(&socket, libc::SOL_SOCKET, libc::SO_RCVBUF, &(RECEIVE_BUFFER as libc::c_int))?;
    }
    match family {
        Family::V4 => set(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, &libc::IP_PMTUDISC_PROBE)?,
        Family::V6 => {
            if kind == SocketType::DGRAM {
                set(&socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, &1)?;
            }
            set(&socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, &libc::IPV6_PMTUDISC_PROBE)?;
        }
    }
    Ok(socket)
}

/// Sets a socket option that has no safe wrapper. `T` must be the option's plain C type.
pub(crate) fn set<T: Copy>(
    socket: &OwnedFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: `value` is readable for its size, and the kernel copies it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const *value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads a socket option that is a C int.
pub(crate) fn get(socket: &OwnedFd, level: libc::c_int, name: libc::c_int) -> io::Result<libc::c_int> {
    get_as(socket, level, name)
}

/// Reads a socket option that is an integer of another size.
pub(crate) fn get_as<T: Default>(socket: &OwnedFd, level: libc::c_int, name: libc::c_int) -> io::Result<T> {
    let mut value = T::default();
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` is writable for the length given, and the kernel writes no more than that.
    let result =
        unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut len) };
    if result == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}
