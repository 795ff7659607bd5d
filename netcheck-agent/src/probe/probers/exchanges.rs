//! Exchanges over TCP: their sockets are made here, and handed over to be carried out ([`crate::probe::exchange`]).
//!
//! Some probes come to that only after something else: the server's name is looked up, or an answer over UDP was
//! truncated. Both begin without a socket of TCP. Once it is known where they go, they go on as exchanges of the same
//! probe: what was before is a part of it.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use netcheck_common::domain::PathId;
use netcheck_proto::v1;
use rustix::io::Errno;

use super::{Observers, Probers, SLACK_NS, ending};
use crate::host::clock::monotonic_ns;
use crate::measure::merge::Merge;
use crate::model::observation::ProbeKey;
use crate::model::sample::Probe;
use crate::plan::Question;
use crate::plan::exchange::{Exchange, Lookup};
use crate::probe::SendFailure;
use crate::probe::exchange::lookup::Found;
use crate::probe::exchange::{Job, Prior, Query};
use crate::probe::stream::TOO_MANY;

/// From so many look-ups under way on, it is made sure that they are.
const PENDING: usize = 512;

/// A DNS question whose answer over UDP was truncated.
#[derive(Debug)]
pub(super) struct Truncated {
    pub(super) key: ProbeKey,
    pub(super) target: SocketAddr,
    pub(super) question: Arc<Question>,
}

/// What is looked up just now, and what must not be gone to.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    pending: HashMap<ProbeKey, Arc<Exchange>>,
    /// Paths whose server's address is none that this agent goes to, and why.
    barred: BTreeMap<PathId, String>,
    /// The latter changed since it was asked last.
    changed: bool,
}

impl Lookups {
    /// A probe ended; if it was being looked up, without an address.
    pub(super) fn end(&mut self, key: ProbeKey) {
        if self.pending.remove(&key).is_some() {
            self.changed |= self.barred.remove(&key.path).is_some();
        }
    }

    fn bar(&mut self, path: PathId, why: String) {
        if self.barred.get(&path) != Some(&why) {
            tracing::warn!("path {}: {why}", path.0);
            self.changed = true;
            self.barred.insert(path, why);
        }
    }
}

impl Probers {
    /// Whether paths are barred, or no longer barred, since this was asked last.
    pub(crate) fn bars_changed(&mut self) -> bool {
        std::mem::take(&mut self.lookups.changed)
    }

    /// Paths whose server's name leads to an address that this agent does not go to, and why.
    pub(crate) fn barred(&self) -> impl Iterator<Item = v1::RefusedPath> {
        let barred = self.lookups.barred.iter();
        barred.map(|(path, why)| v1::RefusedPath { path_id: path.0, why: why.clone() })
    }

    /// These paths are no more, or are others.
    pub(crate) fn forget(&mut self, gone: &[PathId]) {
        for path in gone {
            self.lookups.barred.remove(path);
        }
        self.lookups.pending.retain(|key, _| gone.binary_search(&key.path).is_err());
    }

    /// Makes the socket of an exchange over TCP, and hands it over to be carried out.
    pub(super) fn exchange(
        &mut self,
        mut probe: Probe,
        exchange: &Arc<Exchange>,
        before_ns: u64,
        seen_by: &mut Observers<'_>,
    ) -> u64 {
        let (kernel, merge) = (&mut *seen_by.kernel, &mut *seen_by.merge);
        if let Some(lookup) = &exchange.lookup {
            return self.look_up(probe, lookup, exchange, merge);
        }
        let Probe { key, target, .. } = probe;
        probe.timeout_ns = self.terms.timeout_ns + SLACK_NS;
        let Some(one) = self.socket_sets.get_mut(probe.socket_set, probe.family()) else {
            return monotonic_ns();
        };
        let prepared = match one.stream.as_mut() {
            None => Err(SendFailure::Refused(Errno::AFNOSUPPORT)),
            Some(stream) => stream.prepare(key, target, before_ns, kernel),
        };
        let t0_ns = monotonic_ns();
        let ended = match prepared {
            Err(failure) => Some(failure),
            Ok((slot, watched, socket)) => {
                (probe.slot, probe.watched) = (slot, watched);
                let job = Job {
                    key,
                    target,
                    socket,
                    exchange: Arc::clone(exchange),
                    authorities: Arc::clone(&self.terms.authorities),
                    timeout_ns: self.terms.timeout_ns,
                    prior: Prior::default(),
                };
                (!self.exchanges.start(job)).then_some(TOO_MANY)
            }
        };
        // What comes back of it is read later, on this same thread.
        merge.sent(probe, t0_ns);
        if let Some(failure) = ended {
            merge.ended(key, ending(failure));
        }
        t0_ns
    }

    /// Has the server's name looked up.
    pub(super) fn look_up(
        &mut self,
        mut probe: Probe,
        lookup: &Lookup,
        exchange: &Arc<Exchange>,
        merge: &mut Merge,
    ) -> u64 {
        // The look-up and the exchange have the same time each.
        probe.timeout_ns = 2 * self.terms.timeout_ns + SLACK_NS;
        // No hook watches it yet.
        probe.watched = false;
        let sockets =
            self.socket_sets.get(probe.socket_set, probe.family()).and_then(|one| one.stream.as_ref());
        let sockets = sockets.map(|stream| stream.sockets().clone());
        let t0_ns = monotonic_ns();
        merge.sent(probe, t0_ns);
        let started = match sockets {
            None => Err(SendFailure::Refused(Errno::AFNOSUPPORT)),
            Some(sockets) => {
                let query = Query {
                    key: probe.key,
                    name: Arc::clone(&lookup.name),
                    family: probe.family(),
                    sockets,
                    timeout_ns: self.terms.timeout_ns,
                };
                self.exchanges.look_up(query).then_some(()).ok_or(TOO_MANY)
            }
        };
        match started {
            Ok(()) => {
                let pending = &mut self.lookups.pending;
                if pending.len() >= PENDING {
                    // Their end was lost on its way here, and their own deadlines have ended them.
                    pending.retain(|&key, _| merge.on_its_way(key).is_some());
                }
                pending.insert(probe.key, Arc::clone(exchange));
            }
            Err(failure) => merge.ended(probe.key, ending(failure)),
        }
        t0_ns
    }

    /// A server's name was looked up: goes there, if it may.
    pub(super) fn found(&mut self, key: ProbeKey, found: Found, took_ns: u64, seen_by: &mut Observers<'_>) {
        let merge = &mut *seen_by.merge;
        let exchange = self.lookups.pending.remove(&key);
        let (Some(exchange), Some(probe)) = (exchange, merge.on_its_way(key)) else { return };
        let Some(lookup) = &exchange.lookup else { return };
        if let Some(why) = self.terms.bounds.refusal(&lookup.name, found.address, lookup.external) {
            self.lookups.bar(key.path, why);
            merge.not_sent(key);
            return;
        }
        self.lookups.changed |= self.lookups.barred.remove(&key.path).is_some();
        let target = SocketAddr::new(found.address, probe.target.port());
        let prior = Prior { took_ns, resolved: Some(found), truncated: false };
        self.continue_over_tcp(Probe { target, ..probe }, exchange, prior, seen_by);
    }

    /// An answer over UDP was truncated: asks again over TCP.
    pub(super) fn again(&mut self, truncated: Truncated, now_ns: u64, seen_by: &mut Observers<'_>) {
        let (Truncated { key, target, question }, merge) = (truncated, &mut *seen_by.merge);
        let Some((probe, t0_ns)) = merge.on_its_way(key).zip(merge.sent_at(key)) else { return };
        let took_ns = now_ns.saturating_sub(t0_ns);
        let prior = Prior { took_ns, resolved: None, truncated: true };
        let exchange = Arc::new(Exchange::again(question));
        self.continue_over_tcp(Probe { target, ..probe }, exchange, prior, seen_by);
    }

    fn continue_over_tcp(
        &mut self,
        mut probe: Probe,
        exchange: Arc<Exchange>,
        prior: Prior,
        seen_by: &mut Observers<'_>,
    ) {
        let (kernel, merge) = (&mut *seen_by.kernel, &mut *seen_by.merge);
        let Probe { key, target, socket_set, .. } = probe;
        let now_ns = monotonic_ns();
        let until_ns = now_ns.saturating_add(self.terms.timeout_ns + SLACK_NS);
        probe.timeout_ns = self.terms.timeout_ns + SLACK_NS;
        let one = self.socket_sets.get_mut(socket_set, probe.family());
        let prepared = match one.and_then(|one| one.stream.as_mut()) {
            None => Err(SendFailure::Refused(Errno::AFNOSUPPORT)),
            Some(stream) => stream.prepare(key, target, now_ns, kernel),
        };
        let failed = match prepared {
            Err(failure) => {
                merge.continue_over_tcp(probe, until_ns);
                Some(failure)
            }
            Ok((slot, watched, socket)) => {
                (probe.slot, probe.watched) = (slot, watched);
                // Before its first packet can be seen by any hook.
                merge.continue_over_tcp(probe, until_ns);
                let authorities = Arc::clone(&self.terms.authorities);
                let timeout_ns = self.terms.timeout_ns;
                let job = Job { key, target, socket, exchange, authorities, timeout_ns, prior };
                (!self.exchanges.start(job)).then_some(TOO_MANY)
            }
        };
        if let Some(failure) = failed {
            merge.ended(key, ending(failure));
        }
    }
}
