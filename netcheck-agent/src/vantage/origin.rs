//! Whether a socket that was handed over is what it should be: fresh, of the kind that was asked for, and of the network
//! namespace that it should be of.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use netcheck_common::domain::Family;
use rustix::fs::fstat;
use rustix::io::ioctl_fionbio;
use rustix::net::sockopt::{socket_domain, socket_protocol, socket_type};
use rustix::net::{SocketType, getsockname};

use crate::net::socket;
use crate::net::socket::SocketKind;

/// `SIOCGSKNS` of linux/sockios.h: a descriptor of a socket's network namespace. Wants CAP_NET_ADMIN.
const SIOCGSKNS: libc::Ioctl = 0x894c;

/// A network namespace, as its sockets show it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Netns {
    /// `SO_NETNS_COOKIE`, Linux 5.14 and newer. Never used again.
    cookie: Option<u64>,
    /// Inode of the namespace, where it could be learnt.
    pub(crate) inode: Option<u32>,
}

impl Netns {
    /// The namespace of a socket.
    pub(crate) fn of(socket: &OwnedFd) -> Self {
        Self { cookie: cookie(socket).ok(), inode: inode(socket) }
    }

    /// The namespace of this process.
    pub(crate) fn own() -> io::Result<Self> {
        let open = |family| socket::open(family, SocketType::DGRAM, None);
        Ok(Self::of(&open(Family::V4).or_else(|_| open(Family::V6))?))
    }

    /// Whether both are one; none where that is not known.
    pub(crate) fn is_same(&self, other: &Self) -> Option<bool> {
        let pair = |one: Option<u64>, other: Option<u64>| one.zip(other).map(|(one, other)| one == other);
        let inodes = self.inode.zip(other.inode).map(|(one, other)| one == other);
        pair(self.cookie, other.cookie).or(inodes)
    }
}

fn cookie(socket: &OwnedFd) -> io::Result<u64> {
    socket::get_as(socket, libc::SOL_SOCKET, libc::SO_NETNS_COOKIE)
}

fn inode(socket: &OwnedFd) -> Option<u32> {
    // SAFETY: SIOCGSKNS takes no argument and returns a new descriptor.
    let fd = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS) };
    if fd < 0 {
        return None;
    }
    // SAFETY: the descriptor is new, and nobody else's.
    let namespace = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd) };
    u32::try_from(fstat(&namespace).ok()?.st_ino).ok()
}

/// Why a socket is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotTaken {
    #[error("what was handed over is no socket: {0}")]
    NoSocket(#[source] io::Error),
    #[error("a socket of another kind than was asked for")]
    OtherKind,
    #[error("a socket that is bound or connected already")]
    Used,
    #[error(
        "the vantage runs in the node's own network: probes from there would not be a pod's \
         (its pod must not have hostNetwork)"
    )]
    HostNetwork,
    #[error("a socket of another network namespace than that of the process that hands it over")]
    NotItsOwn,
    #[error("a socket of another network namespace than the others")]
    OtherNamespace,
    #[error(
        "this kernel does not say of which network namespace a socket is: Linux 5.14 or newer is needed, or \
         capability CAP_NET_ADMIN"
    )]
    Unknown,
}

/// Checks one socket, and makes it non-blocking. `own`: the agent's namespace. Returns the socket's.
///
/// The other side may keep a copy, and with it the power over what a copy shares, such as that flag: a vantage that is
/// hostile can hold up the thread that sends, until the agent's liveness probe has it restarted. It can't make the agent
/// send anything else, or in another namespace.
pub(crate) fn check(
    socket: &OwnedFd,
    family: Family,
    kind: SocketKind,
    own: &Netns,
) -> Result<Netns, NotTaken> {
    let no_socket = |errno: rustix::io::Errno| NotTaken::NoSocket(errno.into());
    let domain = socket_domain(socket.as_fd()).map_err(no_socket)?;
    let (wanted_type, wanted_protocol) = kind.socket(family);
    let is_wanted = domain == socket::address_family(family)
        && socket_type(socket.as_fd()).map_err(no_socket)? == wanted_type
        && socket_protocol(socket.as_fd()).map_err(no_socket)? == Some(wanted_protocol);
    if !is_wanted {
        return Err(NotTaken::OtherKind);
    }
    let local = getsockname(socket).and_then(SocketAddr::try_from).map_err(no_socket)?;
    if local.port() != 0 || !local.ip().is_unspecified() {
        return Err(NotTaken::Used);
    }
    ioctl_fionbio(socket, true).map_err(no_socket)?;
    let netns = Netns::of(socket);
    match netns.is_same(own) {
        Some(false) => Ok(netns),
        Some(true) => Err(NotTaken::HostNetwork),
        None => Err(NotTaken::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use rustix::net::{SocketType, bind, ipproto};

    use super::*;

    #[test]
    fn only_a_fresh_socket_of_that_kind_in_another_namespace_is_taken() {
        let own = Netns::own().unwrap();
        assert!(own.inode.is_some() && own.cookie.is_some(), "run the tests as root");
        let open = |family, kind, protocol| socket::open(family, kind, protocol).unwrap();
        let udp = || open(Family::V4, SocketType::DGRAM, None);
        let word = |socket: &OwnedFd, family, kind, own: &Netns| {
            check(socket, family, kind, own).unwrap_err().to_string()
        };
        assert!(word(&udp(), Family::V4, SocketKind::Datagram, &own).contains("hostNetwork"));
        let elsewhere = Netns { cookie: Some(u64::MAX), inode: Some(1) };
        assert_eq!(check(&udp(), Family::V4, SocketKind::Datagram, &elsewhere).unwrap(), own);
        for (family, kind) in [
            (Family::V6, SocketKind::Datagram),
            (Family::V4, SocketKind::Stream),
            (Family::V4, SocketKind::Ping),
        ] {
            assert!(word(&udp(), family, kind, &elsewhere).contains("another kind"));
        }
        let raw = open(Family::V4, SocketType::RAW, Some(ipproto::ICMP));
        assert!(word(&raw, Family::V4, SocketKind::Ping, &elsewhere).contains("another kind"));
        let bound = udp();
        bind(&bound, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        assert!(word(&bound, Family::V4, SocketKind::Datagram, &elsewhere).contains("bound"));
        let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        assert!(word(&file, Family::V4, SocketKind::Datagram, &elsewhere).contains("no socket"));
        let nameless = Netns::default();
        assert!(word(&udp(), Family::V4, SocketKind::Datagram, &nameless).contains("5.14"));
    }
}
