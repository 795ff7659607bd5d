//! Sockets that no probe to the same destination left from before, so that each of its packets is a flow of its own: one
//! at a time, which all destinations have in turn. The one that comes a second time gets the next socket.
//!
//! A mesh needs one socket in a round so, however many paths it has. A socket stays open until its answers are in.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::event::epoll;
use rustix::io::Errno;

use crate::model::report::PORTS;

/// Sockets that are open at once, at most: more than a path's first loss asks for ([`crate::measure::new_flows::AGAIN`])
/// within the time that answers take.
const OPEN_MAX: usize = 64;

/// How to wait for what comes in.
pub(crate) struct Waiting<'a> {
    pub(crate) epoll: &'a OwnedFd,
    /// The token of a slot.
    pub(crate) token: &'a dyn Fn(u32) -> u64,
    pub(crate) now_ns: u64,
    /// How long answers are read.
    pub(crate) linger_ns: u64,
}

/// One socket. Its slot is above those of the sockets that are open for good.
#[derive(Debug)]
pub(crate) struct NewFlowSocket {
    pub(crate) slot: u32,
    pub(crate) socket: OwnedFd,
    /// Its own; 0 where that does not matter.
    pub(crate) port: u16,
    /// When it is closed; the newest has no such time.
    until_ns: Option<u64>,
}

/// All of one prober.
#[derive(Debug, Default)]
pub(crate) struct NewFlowSockets {
    /// Oldest first.
    open: VecDeque<NewFlowSocket>,
    /// Destinations that have had the newest one.
    met: HashSet<SocketAddr>,
    opened: u32,
}

impl NewFlowSockets {
    /// One that nothing left from for `target`; `make` opens another and says its port.
    pub(crate) fn take(
        &mut self,
        target: SocketAddr,
        waiting: &Waiting<'_>,
        make: impl FnOnce() -> io::Result<(OwnedFd, u16)>,
    ) -> Result<&NewFlowSocket, Errno> {
        let over = |one: &NewFlowSocket| one.until_ns.is_some_and(|until_ns| until_ns <= waiting.now_ns);
        while let Some(one) = self.open.pop_front_if(|one| over(one)) {
            // The other side of a vantage may keep copies, which would stay in the set.
            let _ = epoll::delete(waiting.epoll, &one.socket);
        }
        if self.open.is_empty() || !self.met.insert(target) {
            if self.open.len() >= OPEN_MAX {
                return Err(Errno::NOBUFS);
            }
            let (socket, port) =
                make().map_err(|error| error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error))?;
            let slot = PORTS as u32 + self.opened;
            let data = epoll::EventData::new_u64((waiting.token)(slot));
            epoll::add(waiting.epoll, &socket, data, epoll::EventFlags::IN)?;
            if let Some(newest) = self.open.back_mut() {
                newest.until_ns = Some(waiting.now_ns.saturating_add(waiting.linger_ns));
            }
            // There are fewer than 2³² in any agent's life.
            self.opened = self.opened.wrapping_add(1);
            self.open.push_back(NewFlowSocket { slot, socket, port, until_ns: None });
            self.met.clear();
            self.met.insert(target);
        }
        self.open.back().ok_or(Errno::NOBUFS)
    }

    /// The open one with a slot.
    pub(crate) fn get(&self, slot: u32) -> Option<&NewFlowSocket> {
        self.open.iter().find(|one| one.slot == slot)
    }

    /// The slot of the open one that has a port.
    pub(crate) fn slot_of(&self, port: u16) -> Option<u32> {
        self.open.iter().find(|one| one.port == port).map(|one| one.slot)
    }

    /// Those that are open, with their slots.
    pub(crate) fn fds(&self) -> impl Iterator<Item = (BorrowedFd<'_>, u32)> {
        self.open.iter().map(|one| (one.socket.as_fd(), one.slot))
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn no_destination_meets_a_socket_twice_and_old_ones_are_closed() {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let mut sockets = NewFlowSockets::default();
        let make = || {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            let port = socket.local_addr()?.port();
            Ok((OwnedFd::from(socket), port))
        };
        let at = |now_ns| Waiting { epoll: &epoll, token: &u64::from, now_ns, linger_ns: 10 };
        let to = |host: u8| SocketAddr::from(([10, 0, 0, host], 1));
        let mut slots = Vec::new();
        for (host, now_ns) in [(1, 0), (2, 0), (1, 1), (2, 1), (3, 1), (3, 2), (3, 3)] {
            slots.push(sockets.take(to(host), &at(now_ns), make).unwrap().slot - PORTS as u32);
        }
        assert_eq!(slots, [0, 0, 1, 1, 1, 2, 3]);
        assert_eq!(sockets.fds().count(), 4);
        let newest = sockets.take(to(1), &at(12), make).unwrap();
        assert_eq!(newest.slot, 3 + PORTS as u32);
        let (slot, port) = (newest.slot, newest.port);
        assert_eq!(
            (sockets.slot_of(port), sockets.get(slot).is_some(), sockets.get(8).is_some()),
            (Some(slot), true, false)
        );
        let left: Vec<u32> = sockets.fds().map(|(_, slot)| slot - PORTS as u32).collect();
        assert_eq!(left, [2, 3], "those that the rest was waited for are closed");
        for _ in 0..OPEN_MAX {
            let _ = sockets.take(to(1), &at(12), make);
        }
        assert_eq!(sockets.take(to(1), &at(12), make).unwrap_err(), Errno::NOBUFS);
        assert_eq!(sockets.fds().count(), OPEN_MAX);
    }
}
