//! Drop records that wait for the loss that they explain: a kernel reports a drop at once, an agent a loss only
//! after the timeout. Bounded in number and age; most records here explain nothing: kernels drop the original
//! of every echo reply after a raw socket got its clone, with reason NO_SOCKET.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use super::{DropFact, Flow, Lost};
use crate::model::clock::SECOND_NS;
use crate::model::evidence::ProbeIdentity;

/// Records that wait at most. The oldest goes first, and is counted.
const CAPACITY: usize = 65_536;
/// How long a record waits.
const KEEP_NS: i64 = 30 * SECOND_NS;
/// How far before t0 of a probe a drop of its flow may be stamped: the error of moving clocks onto one axis.
const BEFORE_NS: i64 = SECOND_NS;
/// How long after t0 a packet of its flow may be dropped: retransmissions of a SYN, a late reply.
const AFTER_NS: i64 = 6 * SECOND_NS;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Probe(ProbeIdentity),
    /// One end of a flow. A client's ephemeral port names the flow on both sides of any translation.
    End {
        tcp: bool,
        end: SocketAddr,
    },
}

/// The records.
#[derive(Debug, Default)]
pub struct PendingDrops {
    facts: VecDeque<(u64, i64, Arc<DropFact>)>,
    next: u64,
    index: HashMap<Key, Vec<u64>>,
    /// Records that had to go before their time.
    pub evicted: u64,
}

fn keys(fact: &DropFact) -> Vec<Key> {
    let record = &fact.record;
    if let Some(probe) = record.probe {
        return vec![Key::Probe(probe)];
    }
    let ends = |flow: Flow| {
        let tcp = flow.tcp();
        vec![Key::End { tcp, end: flow.source }, Key::End { tcp, end: flow.destination }]
    };
    record.flow.map(ends).unwrap_or_default()
}

impl PendingDrops {
    /// Takes a record in.
    pub fn add(&mut self, fact: Arc<DropFact>, now_ns: i64) {
        let id = self.next;
        self.next += 1;
        for key in keys(&fact) {
            self.index.entry(key).or_default().push(id);
        }
        self.facts.push_back((id, now_ns, fact));
        if self.facts.len() > CAPACITY {
            self.evicted += 1;
            self.pop();
        }
    }

    /// Forgets records that waited long enough.
    pub fn expire(&mut self, now_ns: i64) {
        while self.facts.front().is_some_and(|(_, since_ns, _)| now_ns - since_ns > KEEP_NS) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        let Some((id, _, fact)) = self.facts.pop_front() else { return };
        for key in keys(&fact) {
            if let Some(ids) = self.index.get_mut(&key) {
                ids.retain(|&other| other != id);
                if ids.is_empty() {
                    self.index.remove(&key);
                }
            }
        }
    }

    fn get(&self, key: Key) -> impl Iterator<Item = &Arc<DropFact>> {
        let first = self.facts.front().map_or(0, |&(id, ..)| id);
        let ids = self.index.get(&key).into_iter().flatten();
        ids.filter_map(move |&id| self.facts.get((id - first) as usize)).map(|(_, _, fact)| fact)
    }

    /// Records of one lost probe, by its identity or by its flow.
    #[must_use]
    pub fn of(&self, session: u64, lost: &Lost) -> Vec<Arc<DropFact>> {
        let probe =
            Key::Probe(ProbeIdentity { session, path: lost.sample.path, sequence: lost.sample.sequence });
        let mut found: Vec<Arc<DropFact>> = self.get(probe).map(Arc::clone).collect();
        if let Some(flow) = lost.flow {
            let end = Key::End { tcp: flow.tcp(), end: flow.source };
            found.extend(self.get(end).filter(|fact| matches(fact, lost)).map(Arc::clone));
        }
        found
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.facts.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }
}

/// Whether a record that carries no probe identity is of a packet of this probe's flow: the probe's own end of it,
/// and the time of the probe.
#[must_use]
pub fn matches(fact: &DropFact, lost: &Lost) -> bool {
    let (Some(flow), Some(dropped)) = (lost.flow, fact.record.flow) else {
        return false;
    };
    flow.tcp() == dropped.tcp()
        && flow.source.port() != 0
        && (dropped.source == flow.source || dropped.destination == flow.source)
        && (-BEFORE_NS..=AFTER_NS).contains(&(fact.observed_ns - lost.sent_ns))
}
