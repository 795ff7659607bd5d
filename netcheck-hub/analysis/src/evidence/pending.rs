//! Drop records that wait for the loss that they explain: a kernel reports a drop at once, an agent a loss only
//! after the timeout. Bounded in number and age; most records here explain nothing: kernels drop the original
//! of every echo reply after a raw socket got its clone, with reason NO_SOCKET. Nobody's records drive out another's
//! before they are a fair part of all.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use super::{DropFact, Flow, Lost};
use crate::model::clock::SECOND_NS;
use crate::model::evidence::ProbeIdentity;

/// Records that wait at most. Where that is too few the oldest goes of whoever has most, and is counted.
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
    /// By number, which ascends with time.
    facts: BTreeMap<u64, (i64, Arc<DropFact>)>,
    next: u64,
    index: HashMap<Key, Vec<u64>>,
    /// The numbers of each reporter's; none without any.
    of_node: HashMap<Arc<str>, VecDeque<u64>>,
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
        self.of_node.entry(Arc::clone(&fact.node)).or_default().push_back(id);
        self.facts.insert(id, (now_ns, fact));
        if self.facts.len() > CAPACITY {
            self.evicted += 1;
            let most = self.of_node.values().max_by_key(|ids| ids.len());
            if let Some(&oldest) = most.and_then(VecDeque::front) {
                self.remove(oldest);
            }
        }
    }

    /// Forgets records that waited long enough.
    pub fn expire(&mut self, now_ns: i64) {
        while let Some((&id, &(since_ns, _))) = self.facts.first_key_value() {
            if now_ns - since_ns <= KEEP_NS {
                return;
            }
            self.remove(id);
        }
    }

    /// Takes out the oldest record of its reporter's.
    fn remove(&mut self, id: u64) {
        let Some((_, fact)) = self.facts.remove(&id) else { return };
        if let Some(ids) = self.of_node.get_mut(&fact.node) {
            ids.pop_front();
            if ids.is_empty() {
                self.of_node.remove(&fact.node);
            }
        }
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
        let ids = self.index.get(&key).into_iter().flatten();
        ids.filter_map(move |id| self.facts.get(id)).map(|(_, fact)| fact)
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
        && (-BEFORE_NS..=AFTER_NS).contains(&fact.observed_ns.saturating_sub(lost.sent_ns))
}
