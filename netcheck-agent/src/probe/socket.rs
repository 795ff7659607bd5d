//! Making the probers' sockets.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;

use netcheck_common::abi::probe_ports;
use netcheck_common::domain::{Family, Vantage};
use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, bind, socket_with};

use crate::probe::errors;
use crate::vantage::frame::Kind;
use crate::vantage::pool::Pool;

/// Wanted receive buffer of the sockets that all replies of a kind come in through: a second of 10,000 probes/s.
/// The kernel may give less to an agent without CAP_NET_ADMIN.
const RECEIVE_BUFFER: usize = 8 << 20;

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

/// Where the probers of a vantage have their sockets from.
#[derive(Clone, Debug)]
pub(crate) enum Sockets {
    /// Their own, in the node's network namespace.
    Host,
    /// Those that the vantage handed over.
    Pod(Arc<Pool>),
    /// The same, bound to one of the pod's further networks.
    Further(Arc<Pool>, Arc<Origin>),
}

/// Where probes on a further network of a pod leave from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The pod's address there.
    pub(crate) address: IpAddr,
    /// The interface that has it; empty where the vantage does not say.
    pub(crate) interface: String,
}

impl Sockets {
    pub(crate) const fn vantage(&self) -> Vantage {
        match self {
            Self::Host => Vantage::Host,
            Self::Pod(_) | Self::Further(..) => Vantage::Pod,
        }
    }

    /// The address that its sockets have to be bound to; none: the kernel chooses.
    pub(crate) fn origin(&self) -> Option<IpAddr> {
        match self {
            Self::Host | Self::Pod(_) => None,
            Self::Further(_, origin) => Some(origin.address),
        }
    }

    /// A non-blocking socket. A pod's tells of ICMP errors in its error queue ([`errors`]).
    pub(crate) fn open(
        &self,
        family: Family,
        kind: SocketType,
        protocol: Option<Protocol>,
    ) -> rustix::io::Result<OwnedFd> {
        match self {
            Self::Host => open(family, kind, protocol),
            Self::Pod(pool) | Self::Further(pool, _) => {
                let socket = pool.take(family, Kind::of(kind, protocol).ok_or(Errno::PROTONOSUPPORT)?)?;
                // Without the queue an error is one without details.
                let _ = errors::enable(&socket, family);
                if let Self::Further(_, origin) = self {
                    bind_interface(&socket, &origin.interface)?;
                }
                Ok(socket)
            }
        }
    }

    /// A socket through which all replies of a kind come: see [`share`].
    pub(crate) fn open_shared(
        &self,
        family: Family,
        kind: SocketType,
        protocol: Option<Protocol>,
    ) -> io::Result<OwnedFd> {
        share(self.open(family, kind, protocol)?, family, kind)
    }

    /// Binds to one of the ports that destinations know probes by; on the host, to any where too many are taken.
    pub(crate) fn bind_probe_port(&self, socket: &OwnedFd, address: IpAddr) -> rustix::io::Result<()> {
        let count = probe_ports::LAST - probe_ports::FIRST + 1;
        let start = rand::random_range(0..count);
        for step in 0..PORT_TRIES {
            // A step that shares no divisor with the number of ports never meets the same port twice.
            let offset = (u32::from(start) + u32::from(step) * 997).rem_euclid(count.into()) as u16;
            match bind(socket, &SocketAddr::new(address, self.probe_port(offset))) {
                Err(Errno::ADDRINUSE) => {}
                done => return done,
            }
        }
        match self {
            Self::Host => bind(socket, &SocketAddr::new(address, 0)),
            Self::Pod(_) | Self::Further(..) => Err(Errno::ADDRINUSE),
        }
    }

    /// The probe port with this offset, or its neighbour: the host, the pod, and the pod on its further networks never
    /// have the same one, for the hooks of this node tell flows of all by the port alone.
    pub(crate) const fn probe_port(&self, offset: u16) -> u16 {
        let offset = match self {
            Self::Host => offset & !LANE,
            Self::Pod(_) => offset & !FURTHER | LANE,
            Self::Further(..) => offset | LANE | FURTHER,
        };
        probe_ports::FIRST + offset
    }
}

/// Binds a socket to an interface of its network namespace (`SO_BINDTODEVICE`, socket(7)). Needs no capability where it
/// is not bound yet, since Linux 5.7. An interface that is gone is an address that is gone.
fn bind_interface(socket: &OwnedFd, interface: &str) -> rustix::io::Result<()> {
    if interface.is_empty() {
        return Ok(());
    }
    let mut name = [0u8; libc::IFNAMSIZ];
    for (to, from) in name.iter_mut().take(libc::IFNAMSIZ - 1).zip(interface.bytes()) {
        *to = from;
    }
    let bound = set(socket, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, &name);
    bound.map_err(|error| match error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error) {
        Errno::NODEV | Errno::NXIO => Errno::ADDRNOTAVAIL,
        errno => errno,
    })
}

/// How many of the probe ports are tried before any other will do.
const PORT_TRIES: u16 = 8;
/// The bit of a probe port's offset that tells pods from hosts; above the three that the UDP sockets differ in.
const LANE: u16 = 8;
/// The bit that tells a pod's further networks from its own.
const FURTHER: u16 = 16;
const _: () = assert!((probe_ports::LAST - probe_ports::FIRST + 1).is_multiple_of(2 * FURTHER));

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
