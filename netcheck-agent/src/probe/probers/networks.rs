//! Sockets that stay in a secondary network of the vantage's pod: a set for each network and family that the plan names.
//!
//! They are bound to the pod's address there and to the interface that has it, so that nothing leaves by another way:
//! what they report is about that network, or nothing. Where the pod has no such address (any more), there are none, and
//! nothing is measured.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use netcheck_common::domain::{Family, ProbeKind};
use rustix::io::Errno;
use rustix::net::{SocketType, bind};

use super::family::OneFamily;
use super::watch;
use crate::plan::Missing;
use crate::plan::addresses::{NetworkKey, WantedNetworks};
use crate::probe::ports::Quarantine;
use crate::probe::socket::{Origin, Sockets};
use crate::vantage::pool::Pool;

/// Socket sets of the host and of the pod's own network come before those of secondary networks.
const FIRST: u32 = 2;

/// The probers of one network and family.
#[derive(Debug)]
pub(super) struct SecondaryNetwork {
    key: NetworkKey,
    origin: Arc<Origin>,
    pub(super) socket_set: u32,
    pub(super) one: OneFamily,
    missing: Vec<Missing>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Networks {
    quarantine: Quarantine,
    pool: Option<Arc<Pool>>,
    wanted: WantedNetworks,
    open: Vec<SecondaryNetwork>,
    /// Socket sets are never used again: what the kernel says of a closed one is nobody's.
    socket_sets: u32,
    /// Why some can't be opened.
    wrong: BTreeMap<NetworkKey, String>,
}

impl Networks {
    /// None yet.
    pub(super) fn new(quarantine: Quarantine) -> Self {
        Self {
            quarantine,
            pool: None,
            wanted: WantedNetworks::new(),
            open: Vec::new(),
            socket_sets: 0,
            wrong: BTreeMap::new(),
        }
    }

    /// Takes the pool of a vantage that has come; none: it is gone, and all sockets with it.
    pub(super) fn serve(&mut self, epoll: &OwnedFd, pool: Option<&Arc<Pool>>) {
        self.want(epoll, WantedNetworks::new());
        self.pool = pool.map(Arc::clone);
    }

    /// Those that are open and not wanted so.
    pub(super) fn stale(&self, wanted: &WantedNetworks) -> Vec<NetworkKey> {
        let stale = |one: &&SecondaryNetwork| wanted.get(&one.key) != Some(&one.origin.address);
        self.open.iter().filter(stale).map(|one| one.key.clone()).collect()
    }

    /// Closes what is not wanted any more, whose probes must be forgotten, and opens the rest.
    pub(super) fn want(&mut self, epoll: &OwnedFd, wanted: WantedNetworks) {
        let stale = self.stale(&wanted);
        self.open.retain(|one| {
            let keep = !stale.contains(&one.key);
            if !keep {
                // The other side may keep copies, which would stay in the set.
                for (fd, _) in one.one.shared(one.socket_set) {
                    let _ = rustix::event::epoll::delete(epoll, fd);
                }
            }
            keep
        });
        self.wrong.retain(|key, _| wanted.contains_key(key));
        self.wanted = wanted;
        self.open_missing(epoll);
    }

    /// Tries again what could not be opened. Whether anything could now.
    pub(super) fn open_missing(&mut self, epoll: &OwnedFd) -> bool {
        let Some(pool) = &self.pool else { return false };
        let mut opened = false;
        for (key, &address) in &self.wanted {
            if self.open.iter().any(|one| one.key == *key) {
                continue;
            }
            let interface = pool.hello.interface_of(address).unwrap_or_default().to_owned();
            let origin = Arc::new(Origin { address, interface });
            let socket_set = FIRST + self.socket_sets;
            let vantage = Vantage { pool, quarantine: &self.quarantine };
            match open(epoll, vantage, key, &origin, socket_set) {
                Ok((one, missing)) => {
                    self.socket_sets += 1;
                    self.wrong.remove(key);
                    self.open.push(SecondaryNetwork { key: key.clone(), origin, socket_set, one, missing });
                    opened = true;
                }
                // That the pod has no such address is reported by whoever says that it should.
                Err(Errno::ADDRNOTAVAIL | Errno::NOBUFS) => drop(self.wrong.remove(key)),
                Err(errno) => {
                    let why = format!("no probes over {} on network {}: {errno}", key.1, key.0);
                    self.wrong.insert(key.clone(), why);
                }
            }
        }
        opened
    }

    /// Whether something that is wanted is not open.
    pub(super) fn incomplete(&self) -> bool {
        self.pool.is_some() && self.open.len() < self.wanted.len()
    }

    pub(super) fn find(&self, network: &str, family: Family) -> Option<&SecondaryNetwork> {
        self.open.iter().find(|one| *one.key.0 == *network && one.key.1 == family)
    }

    pub(super) fn socket_set(&self, socket_set: u32) -> Option<&OneFamily> {
        self.open.iter().find(|one| one.socket_set == socket_set).map(|one| &one.one)
    }

    pub(super) fn socket_set_mut(&mut self, socket_set: u32) -> Option<&mut OneFamily> {
        self.open.iter_mut().find(|one| one.socket_set == socket_set).map(|one| &mut one.one)
    }

    /// Whether such probes can be sent now.
    pub(super) fn can(&self, network: &str, kind: ProbeKind, family: Family) -> bool {
        let lacks = |one: &SecondaryNetwork| one.missing.iter().any(|missing| missing.kind == kind);
        self.find(network, family).is_some_and(|one| !lacks(one))
    }

    /// Whether the address and the interface of a socket set are still there.
    pub(super) fn is_there(&self, socket_set: u32) -> bool {
        let one = self.open.iter().find(|one| one.socket_set == socket_set);
        let Some((one, pool)) = one.zip(self.pool.as_ref()) else { return false };
        // Without a socket to try it with, nobody knows better.
        !matches!(present(pool, one.key.1, &one.origin), Err(Errno::ADDRNOTAVAIL))
    }

    /// What is wrong, one line each.
    pub(super) fn wrong(&self) -> impl Iterator<Item = &String> {
        self.wrong.values()
    }
}

/// Where the sockets come from, and how long their numbers rest.
#[derive(Clone, Copy)]
struct Vantage<'a> {
    pool: &'a Arc<Pool>,
    quarantine: &'a Quarantine,
}

fn open(
    epoll: &OwnedFd,
    Vantage { pool, quarantine }: Vantage<'_>,
    (_, family): &NetworkKey,
    origin: &Arc<Origin>,
    socket_set: u32,
) -> Result<(OneFamily, Vec<Missing>), Errno> {
    present(pool, *family, origin)?;
    let mut missing = Vec::new();
    let sockets = Sockets::Secondary(Arc::clone(pool), Arc::clone(origin));
    let one = OneFamily::of_pod(*family, pool, &sockets, quarantine, &mut missing);
    // The stock is empty just now: later all of it will be had.
    let lacks = |missing: &Missing| pool.refusal(*family, missing.stock()).is_none();
    if missing.iter().any(lacks) {
        return Err(Errno::NOBUFS);
    }
    let failed = |error: io::Error| error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error);
    watch(epoll, socket_set, &[&one]).map_err(failed)?;
    Ok((one, missing))
}

/// Whether a socket can be bound there.
fn present(pool: &Arc<Pool>, family: Family, origin: &Arc<Origin>) -> Result<(), Errno> {
    let sockets = Sockets::Secondary(Arc::clone(pool), Arc::clone(origin));
    let socket = sockets.open(family, SocketType::DGRAM, None)?;
    bind(&socket, &SocketAddr::new(origin.address, 0))
}
