//! Making the probers' sockets.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use netcheck_common::abi::probe_ports;
use netcheck_common::domain::{Family, Vantage};
use rustix::io::Errno;
use rustix::net::{Protocol, SocketType};

use crate::net::socket::{SocketKind, open, set, share};
use crate::probe::errors;
use crate::vantage::pool::Pool;

/// Where the probers of a vantage have their sockets from.
#[derive(Clone, Debug)]
pub(crate) enum Sockets {
    /// Their own, in the node's network namespace.
    Host,
    /// Those that the vantage handed over.
    Pod(Arc<Pool>),
    /// The same, bound to one of the pod's secondary networks.
    Secondary(Arc<Pool>, Arc<Origin>),
}

/// Where probes on a secondary network of a pod leave from.
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
            Self::Pod(_) | Self::Secondary(..) => Vantage::Pod,
        }
    }

    /// The address that its sockets have to be bound to; none: the kernel chooses.
    pub(crate) fn origin(&self) -> Option<IpAddr> {
        match self {
            Self::Host | Self::Pod(_) => None,
            Self::Secondary(_, origin) => Some(origin.address),
        }
    }

    /// A non-blocking socket. A pod's reports ICMP errors in its error queue ([`errors`]).
    pub(crate) fn open(
        &self,
        family: Family,
        kind: SocketType,
        protocol: Option<Protocol>,
    ) -> rustix::io::Result<OwnedFd> {
        match self {
            Self::Host => open(family, kind, protocol),
            Self::Pod(pool) | Self::Secondary(pool, _) => {
                let socket =
                    pool.take(family, SocketKind::of(kind, protocol).ok_or(Errno::PROTONOSUPPORT)?)?;
                // Without the queue an error is one without details.
                let _ = errors::enable(&socket, family);
                if let Self::Secondary(_, origin) = self {
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

    /// How many probe ports it has.
    pub(crate) const fn probe_ports(&self) -> u16 {
        probe_ports(match self {
            Self::Host => Vantage::Host,
            Self::Pod(_) | Self::Secondary(..) => Vantage::Pod,
        })
    }

    /// The probe port with this number, below their count: the host, the pod, and the pod on its secondary networks never
    /// have the same one, for the hooks of this node recognise flows of all by the port alone. The lowest three bits are
    /// those of the number.
    pub(crate) const fn probe_port(&self, number: u16) -> u16 {
        let (low, high) = (number % POD_BIT, number / POD_BIT);
        let (step, bits) = match self {
            Self::Host => (2 * POD_BIT, 0),
            Self::Pod(_) => (2 * SECONDARY_BIT, POD_BIT),
            Self::Secondary(..) => (2 * SECONDARY_BIT, POD_BIT | SECONDARY_BIT),
        };
        probe_ports::FIRST + high * step + bits + low
    }
}

/// How many probe ports a vantage has.
pub(crate) const fn probe_ports(vantage: Vantage) -> u16 {
    let all = probe_ports::LAST - probe_ports::FIRST + 1;
    match vantage {
        Vantage::Host => all / 2,
        Vantage::Pod => all / 4,
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

/// The bit of a probe port's offset that distinguishes pods from hosts; above the three that the UDP sockets differ in.
const POD_BIT: u16 = 8;
/// The bit that distinguishes a pod's secondary networks from its own.
const SECONDARY_BIT: u16 = 16;
const _: () = assert!((probe_ports::LAST - probe_ports::FIRST + 1).is_multiple_of(2 * SECONDARY_BIT));
