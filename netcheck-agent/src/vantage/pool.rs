//! Sockets of the vantage that wait to be used: the probe engine takes them, the task that talks to the vantage fills up.
//!
//! A TCP or DNS probe uses one up, and a new flow of ICMP or UDP. The engine never waits: where there is none left, its probe is not judged, and the
//! stock grows.

use std::array;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use netcheck_common::domain::Family;
use rustix::io::Errno;
use tokio::sync::Notify;

use super::frame::{Ask, Hello, SOCKETS_MAX};
use super::origin::Netns;
use crate::net::socket::SocketKind;

/// Sockets of a kind and family at first: what its probers open for good, and a turn's probes.
const FIRST: usize = 64;
/// Ping sockets beside those that are open for good on each of the pod's networks, of which it has an interface each:
/// what a round's new flow and those after a loss use up.
const PINGS: usize = 8;
/// Largest stock of a kind and family: the descriptors count against the agent's own limit.
const LARGEST: usize = 512;

/// Sockets of one kind and family.
#[derive(Debug)]
struct Stock {
    sockets: Vec<OwnedFd>,
    /// How many there should be.
    wanted: usize,
    /// Asked for and not there yet.
    coming: usize,
    /// Why the vantage can't open any.
    refused: Option<Errno>,
}

/// The sockets of one vantage.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) hello: Hello,
    pub(crate) netns: Netns,
    /// By [`place`].
    stocks: Mutex<[Stock; 6]>,
    low: Notify,
    leaving: Notify,
}

const fn place(family: Family, kind: SocketKind) -> usize {
    kind as usize * 2 + family as usize
}

impl Pool {
    /// An empty one for the vantage that introduced itself so. It asks for sockets of the families that its pod has.
    pub(crate) fn new(hello: Hello, netns: Netns) -> Self {
        let stocks = array::from_fn(|at| {
            let kind = SocketKind::ALL[at / 2];
            let family = if at % 2 == 0 { Family::V4 } else { Family::V6 };
            let most = if kind == SocketKind::Ping { PINGS + hello.links.len() } else { FIRST };
            let wanted = if hello.has(family) { most } else { 0 };
            let refused = (wanted == 0).then_some(Errno::AFNOSUPPORT);
            Stock { sockets: Vec::new(), wanted, coming: 0, refused }
        });
        Self { hello, netns, stocks: Mutex::new(stocks), low: Notify::new(), leaving: Notify::new() }
    }

    /// The vantage said that it ends.
    pub(crate) fn leave(&self) {
        self.leaving.notify_one();
    }

    /// Waits until the vantage says that it ends; once.
    pub(crate) async fn left(&self) {
        self.leaving.notified().await;
    }

    fn stocks(&self) -> MutexGuard<'_, [Stock; 6]> {
        // Nothing in here panics half-way.
        self.stocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one. `NOBUFS` where there is none just now, else why there never is.
    pub(crate) fn take(&self, family: Family, kind: SocketKind) -> Result<OwnedFd, Errno> {
        let mut stocks = self.stocks();
        let stock = &mut stocks[place(family, kind)];
        if let Some(errno) = stock.refused {
            return Err(errno);
        }
        let taken = stock.sockets.pop();
        if taken.is_none() {
            stock.wanted = (stock.wanted * 2).min(LARGEST);
        }
        let low = stock.sockets.len() + stock.coming <= stock.wanted / 2;
        drop(stocks);
        if low {
            self.low.notify_one();
        }
        taken.ok_or(Errno::NOBUFS)
    }

    /// Why the vantage can't open such sockets; none where it can.
    pub(crate) fn refusal(&self, family: Family, kind: SocketKind) -> Option<Errno> {
        self.stocks()[place(family, kind)].refused
    }

    /// Puts in what came; `asked` of them had been asked for.
    pub(crate) fn put(&self, family: Family, kind: SocketKind, asked: usize, sockets: Vec<OwnedFd>) {
        let mut stocks = self.stocks();
        let stock = &mut stocks[place(family, kind)];
        stock.coming = stock.coming.saturating_sub(asked);
        stock.sockets.extend(sockets);
    }

    /// The vantage can't open such sockets.
    pub(crate) fn refuse(&self, family: Family, kind: SocketKind, errno: Errno) {
        let mut stocks = self.stocks();
        let stock = &mut stocks[place(family, kind)];
        stock.coming = 0;
        stock.refused = Some(errno);
    }

    /// Waits until something runs low.
    pub(crate) async fn low(&self) {
        self.low.notified().await;
    }

    /// What is to be asked for now; it counts as coming from then on.
    pub(crate) fn asks(&self) -> Vec<Ask> {
        let mut stocks = self.stocks();
        let mut asks = Vec::new();
        for kind in SocketKind::ALL {
            for family in [Family::V4, Family::V6] {
                let stock = &mut stocks[place(family, kind)];
                if stock.refused.is_some() {
                    continue;
                }
                let mut missing = stock.wanted.saturating_sub(stock.sockets.len() + stock.coming);
                stock.coming += missing;
                while missing > 0 {
                    let count = missing.min(SOCKETS_MAX);
                    asks.push(Ask::new(family, kind, count as u8));
                    missing -= count;
                }
            }
        }
        asks
    }

    /// Closes all that is in stock: the vantage is gone.
    pub(crate) fn close(&self) {
        for stock in &mut *self.stocks() {
            stock.sockets.clear();
            // Nobody's fault, and no property of the network.
            stock.refused = Some(Errno::NOBUFS);
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::SocketType;

    use super::super::frame::VERSION;
    use super::*;
    use crate::net::socket;

    fn pool() -> Pool {
        let hello = Hello {
            version: VERSION,
            pod: "p".into(),
            addresses: vec!["10.0.0.1".parse().unwrap()],
            responder_port: 0,
            links: Vec::new(),
            resolv_conf: "".into(),
        };
        Pool::new(hello, Netns::default())
    }

    fn sockets(count: usize) -> Vec<OwnedFd> {
        (0..count).map(|_| socket::open(Family::V4, SocketType::DGRAM, None).unwrap()).collect()
    }

    #[test]
    fn asks_once_for_what_is_missing_and_for_more_where_that_was_too_little() {
        let pool = pool();
        let first: Vec<_> = pool.asks().iter().map(|ask| (ask.kind, ask.ip_version, ask.count)).collect();
        assert_eq!(
            first,
            [(SocketKind::Datagram, 4, 64), (SocketKind::Stream, 4, 64), (SocketKind::Ping, 4, 8)]
        );
        assert!(pool.asks().is_empty(), "they are coming");
        assert_eq!(pool.take(Family::V4, SocketKind::Datagram).unwrap_err(), Errno::NOBUFS);
        pool.put(Family::V4, SocketKind::Datagram, 64, sockets(64));
        assert_eq!(pool.asks(), [Ask::new(Family::V4, SocketKind::Datagram, 64)], "twice as many");
        pool.put(Family::V4, SocketKind::Datagram, 64, sockets(64));
        for _ in 0..128 {
            pool.take(Family::V4, SocketKind::Datagram).unwrap();
        }
        assert_eq!(pool.asks().iter().map(|ask| usize::from(ask.count)).sum::<usize>(), 128);
    }

    #[test]
    fn why_there_is_none_is_reported() {
        let pool = pool();
        assert_eq!(pool.take(Family::V6, SocketKind::Stream).unwrap_err(), Errno::AFNOSUPPORT);
        pool.refuse(Family::V4, SocketKind::Ping, Errno::ACCESS);
        assert_eq!(pool.take(Family::V4, SocketKind::Ping).unwrap_err(), Errno::ACCESS);
        pool.put(Family::V4, SocketKind::Stream, 1, sockets(1));
        pool.close();
        assert_eq!(pool.take(Family::V4, SocketKind::Stream).unwrap_err(), Errno::NOBUFS);
    }
}
