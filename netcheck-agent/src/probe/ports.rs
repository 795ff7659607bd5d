//! Source ports of probes that are flows of their own: which one comes next ([`Numbers`]), and binding to it.
//!
//! TCP probes and exchanges of one vantage and family share theirs, for they may go to the same address and port.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use netcheck_common::hash::fnv1a;
use rustix::io::Errno;
use rustix::net::bind;

use crate::host::clock::{monotonic_ns, unix_offset_ns};
use crate::host::conntrack::ConntrackTimeouts;
use crate::measure::numbers::{Number, Numbers};
use crate::probe::socket::Sockets;

/// How many of the probe ports are tried before any other will do.
const PORT_TRIES: u16 = 8;
/// ICMP identifiers of new flows; those above are for what goes on in one flow.
pub(crate) const NEW_IDENTIFIERS: u16 = 0xf000;

/// How long numbers rest, and how often one came back too soon.
#[derive(Clone, Debug)]
pub(crate) struct Quarantine {
    pub(crate) timeouts: ConntrackTimeouts,
    /// The clock of [`Numbers`] goes on when the agent starts anew, even on a node that started anew. It is not set anew
    /// while the agent runs, for it must not go back.
    unix_offset_ns: i64,
    node: u64,
    again: Arc<AtomicU64>,
}

impl Quarantine {
    pub(crate) fn read() -> Self {
        let (timeouts, again) = (ConntrackTimeouts::read(), Arc::default());
        Self { timeouts, unix_offset_ns: unix_offset_ns(), node: node(), again }
    }

    /// Flows whose number came back before its time was over, since the agent's start.
    pub(crate) fn again(&self) -> u64 {
        self.again.load(Ordering::Relaxed)
    }

    fn now_ns(&self) -> u64 {
        (monotonic_ns() as i64).saturating_add(self.unix_offset_ns).max(0) as u64
    }

    /// The next of some numbers, and counts it where it comes too soon.
    fn next(&self, numbers: &mut Numbers, destination: SocketAddr) -> u16 {
        let Number { offset, again } = numbers.next(destination, self.now_ns());
        self.again.fetch_add(again.into(), Ordering::Relaxed);
        offset
    }
}

/// A number of this node's network: its kernel's boot id, and its network namespace, for several nodes may run on one
/// kernel. 0 where neither can be read.
fn node() -> u64 {
    let boot_id = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let network = std::fs::read_link("/proc/self/ns/net").unwrap_or_default();
    fnv1a(&[&boot_id[..], network.as_os_str().as_encoded_bytes()].concat())
}

/// The source ports of one vantage and family. A copy shares them.
#[derive(Clone, Debug)]
pub(crate) struct ProbePorts {
    quarantine: Quarantine,
    tcp: Arc<Mutex<Numbers>>,
    udp: Arc<Mutex<Numbers>>,
}

impl ProbePorts {
    pub(crate) fn new(sockets: &Sockets, quarantine: &Quarantine) -> Self {
        let numbers = |timeout_ns| {
            let numbers = Numbers::new(sockets.probe_ports(), timeout_ns).of_node(quarantine.node);
            Arc::new(Mutex::new(numbers))
        };
        let ConntrackTimeouts { tcp_ns, udp_ns, .. } = quarantine.timeouts;
        Self { quarantine: quarantine.clone(), tcp: numbers(tcp_ns), udp: numbers(udp_ns) }
    }

    /// Binds a TCP socket that is for `target`.
    pub(crate) fn bind_tcp(
        &self,
        sockets: &Sockets,
        socket: &OwnedFd,
        address: IpAddr,
        target: SocketAddr,
    ) -> rustix::io::Result<()> {
        self.bind(&self.tcp, sockets, socket, SocketAddr::new(address, 0), target)
    }

    /// Binds a UDP socket that is for `target`; for none: for all.
    pub(crate) fn bind_udp(
        &self,
        sockets: &Sockets,
        socket: &OwnedFd,
        address: IpAddr,
        target: Option<SocketAddr>,
    ) -> rustix::io::Result<()> {
        let target = target.unwrap_or(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0));
        self.bind(&self.udp, sockets, socket, SocketAddr::new(address, 0), target)
    }

    /// Binds to one of the ports that destinations know probes by; on the host, to any where too many are taken.
    fn bind(
        &self,
        numbers: &Mutex<Numbers>,
        sockets: &Sockets,
        socket: &OwnedFd,
        any: SocketAddr,
        target: SocketAddr,
    ) -> rustix::io::Result<()> {
        // Nothing in here panics half-way.
        let mut numbers = numbers.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..PORT_TRIES {
            let port = sockets.probe_port(self.quarantine.next(&mut numbers, target));
            match bind(socket, &SocketAddr::new(any.ip(), port)) {
                Err(Errno::ADDRINUSE) => {}
                done => return done,
            }
        }
        match sockets {
            Sockets::Host => bind(socket, &any),
            Sockets::Pod(_) | Sockets::Secondary(..) => Err(Errno::ADDRINUSE),
        }
    }
}

/// ICMP identifiers of new flows, for whoever chooses them himself.
#[derive(Debug)]
pub(crate) struct Identifiers {
    quarantine: Quarantine,
    numbers: Numbers,
}

impl Identifiers {
    pub(crate) fn new(quarantine: &Quarantine) -> Self {
        let numbers = Numbers::new(NEW_IDENTIFIERS, quarantine.timeouts.icmp_ns).of_node(quarantine.node);
        Self { quarantine: quarantine.clone(), numbers }
    }

    pub(crate) fn next(&mut self, target: SocketAddr) -> u16 {
        self.quarantine.next(&mut self.numbers, target)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::UdpSocket;

    use netcheck_common::abi::probe_ports;
    use netcheck_common::domain::Family;
    use rustix::net::{SocketType, getsockname};

    use super::*;

    #[test]
    fn each_flow_to_a_destination_has_another_port_even_while_some_are_taken() {
        let ports = ProbePorts::new(&Sockets::Host, &Quarantine::read());
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        let target = SocketAddr::new(loopback, 9);
        let mut taken = HashSet::new();
        for round in 0..100 {
            let socket = Sockets::Host.open(Family::V4, SocketType::DGRAM, None).unwrap();
            ports.bind_udp(&Sockets::Host, &socket, loopback, Some(target)).unwrap();
            let port = SocketAddr::try_from(getsockname(&socket).unwrap()).unwrap().port();
            assert!(probe_ports::contain(port) && taken.insert(port), "{port}");
            if round == 50 {
                drop(socket);
                // Somebody else's.
                let next =
                    (port + 1..=probe_ports::LAST).find_map(|port| UdpSocket::bind((loopback, port)).ok());
                assert!(next.is_some());
            }
        }
        assert_eq!(ports.quarantine.again(), 0);
    }

    #[test]
    fn what_comes_back_too_soon_is_counted() {
        let quarantine = Quarantine::read();
        let mut identifiers = Identifiers::new(&quarantine);
        let target = "192.0.2.1:0".parse().unwrap();
        for _ in 0..NEW_IDENTIFIERS {
            assert!(identifiers.next(target) < NEW_IDENTIFIERS);
        }
        assert!(quarantine.again() > 0);
    }
}
