//! From which address this host would send to a target.
//!
//! A TCP probe must know its own address and port before its SYN leaves, so that the hooks can recognise its packets; only
//! a socket bound to both does. The kernel is asked by connecting a UDP socket, which sends nothing.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use netcheck_common::domain::{Family, ProbeKind};
use rustix::io::Errno;
use rustix::net::{SocketType, connect, connect_unspec, getsockname};

use crate::host::clock::SECOND_NS;
use crate::model::observation::{KernelSource, OwnFlow, ProbeKey};
use crate::net::socket;
use crate::probe::ports::ProbePorts;
use crate::probe::socket::Sockets;
use crate::probe::{SendFailure, bare};

/// How long an answer is believed; routes and addresses seldom change, and a failed bind asks anew.
const FRESH_NS: u64 = 10 * SECOND_NS;
/// Most answers kept.
const ANSWERS_MAX: usize = 8192;

/// Source addresses of one family, remembered for a while.
#[derive(Debug)]
pub(crate) struct Routes {
    sockets: Sockets,
    ports: ProbePorts,
    socket: OwnedFd,
    known: HashMap<IpAddr, (IpAddr, u64)>,
}

impl Routes {
    pub(crate) fn open(family: Family, sockets: &Sockets, ports: ProbePorts) -> io::Result<Self> {
        let socket = sockets.open(family, SocketType::DGRAM, None)?;
        Ok(Self { sockets: sockets.clone(), ports, socket, known: HashMap::new() })
    }

    /// The source address for `target`.
    pub(crate) fn source(&mut self, target: SocketAddr, now_ns: u64) -> Result<IpAddr, Errno> {
        match self.known.get(&target.ip()) {
            Some(&(source, until_ns)) if now_ns < until_ns => return Ok(source),
            _ => {}
        }
        // A second connect would keep the first one's source address.
        connect_unspec(&self.socket)?;
        connect(&self.socket, &target)?;
        let source = SocketAddr::try_from(getsockname(&self.socket)?)?.ip();
        if self.known.len() >= ANSWERS_MAX {
            self.known.clear();
        }
        self.known.insert(target.ip(), (source, now_ns + FRESH_NS));
        Ok(source)
    }

    /// Binds a TCP socket that is for `target` and registers its flow with the hooks, where there are any. One that has
    /// to stay in a secondary network of its pod is bound in any case.
    pub(crate) fn register(
        &mut self,
        socket: &OwnedFd,
        key: ProbeKey,
        target: SocketAddr,
        now_ns: u64,
        kernel: &mut dyn KernelSource,
    ) -> Result<Registered, SendFailure> {
        let source = match self.sockets.origin() {
            Some(origin) => origin,
            None if !kernel.stamps() => return Ok(Registered::default()),
            None => self.source(target, now_ns).map_err(SendFailure::of)?,
        };
        if let Err(errno) = self.ports.bind_tcp(&self.sockets, socket, source, target) {
            self.forget(target);
            return Err(SendFailure::Own(errno));
        }
        let local = getsockname(socket).and_then(SocketAddr::try_from).map_err(SendFailure::Own)?;
        let flow = OwnFlow { probe: key, transport: ProbeKind::Tcp, local: bare(local) };
        Ok(Registered { flow: kernel.watch_flow(&flow).then_some(flow), local_port: local.port() })
    }

    /// The answer for `target` turned out to be wrong.
    pub(crate) fn forget(&mut self, target: SocketAddr) {
        self.known.remove(&target.ip());
    }
}

/// A TCP socket before it connects.
#[derive(Debug, Default)]
pub(crate) struct Registered {
    /// The flow, where it is registered with the hooks.
    pub(crate) flow: Option<OwnFlow>,
    /// 0 where it is not bound.
    pub(crate) local_port: u16,
}

/// What this host would send at most to each target of one family.
#[derive(Debug)]
pub(crate) struct RouteMtu {
    family: Family,
    socket: OwnedFd,
}

impl RouteMtu {
    pub(crate) fn open(family: Family, sockets: &Sockets) -> io::Result<Self> {
        Ok(Self { family, socket: sockets.open(family, SocketType::DGRAM, None)? })
    }

    /// The largest IP packet that the kernel would send to `target`, by its route and by what routers have reported.
    /// None where it has no way there.
    pub(crate) fn bytes(&self, target: SocketAddr) -> Option<u16> {
        connect_unspec(&self.socket).ok()?;
        connect(&self.socket, &target).ok()?;
        let (level, name) = match self.family {
            Family::V4 => (libc::IPPROTO_IP, libc::IP_MTU),
            Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_MTU),
        };
        let mtu = socket::get(&self.socket, level, name).ok()?;
        Some(u16::try_from(mtu).unwrap_or(if mtu > 0 { u16::MAX } else { 0 }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::ports::Quarantine;

    #[test]
    fn loopback_takes_the_largest() {
        for (family, target) in [(Family::V4, "127.0.0.1:1"), (Family::V6, "[::1]:1")] {
            let mtu = std::fs::read_to_string("/sys/class/net/lo/mtu").unwrap();
            let mtu = mtu.trim().parse::<u32>().unwrap().min(u16::MAX.into());
            let routes = RouteMtu::open(family, &Sockets::Host).unwrap();
            assert_eq!(routes.bytes(target.parse().unwrap()).map(u32::from), Some(mtu));
        }
    }

    #[test]
    fn loopback_is_reached_from_loopback() {
        for (family, target) in [(Family::V4, "127.0.0.1:1"), (Family::V6, "[::1]:1")] {
            let target: SocketAddr = target.parse().unwrap();
            let mut routes =
                Routes::open(family, &Sockets::Host, ProbePorts::new(&Sockets::Host, &Quarantine::read()))
                    .unwrap();
            assert_eq!(routes.source(target, 0), Ok(target.ip()));
            assert_eq!(routes.source(target, FRESH_NS), Ok(target.ip()));
            routes.forget(target);
            assert!(routes.known.is_empty());
        }
    }
}
