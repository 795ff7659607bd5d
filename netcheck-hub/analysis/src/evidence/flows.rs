//! Which paths' lost probes had which flow, for drop records that come after the loss was reported.
//!
//! A flow is known by its client's end as it was after any translation at the source: that address may be one that no
//! roster knows, as a tunnel's. Bounded in age, and by the lost probes that are kept.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use netcheck_common::domain::PathId;

use super::Flow;
use crate::model::NodeIx;
use crate::model::clock::SECOND_NS;

/// Flows that are remembered at most. The oldest goes first: its late records then say nothing.
const CAPACITY: usize = 65_536;
/// How long a record may come after its loss.
const KEEP_NS: i64 = 30 * SECOND_NS;

type Key = (bool, SocketAddr);

/// The flows.
#[derive(Debug, Default)]
pub struct LostFlows {
    paths: HashMap<Key, Vec<(NodeIx, PathId)>>,
    order: VecDeque<(i64, Key, (NodeIx, PathId))>,
}

impl LostFlows {
    /// Remembers the flow of a lost probe.
    pub fn add(&mut self, flow: &Flow, path: (NodeIx, PathId), now_ns: i64) {
        let key = (flow.tcp(), flow.source);
        self.paths.entry(key).or_default().push(path);
        self.order.push_back((now_ns, key, path));
        if self.order.len() > CAPACITY {
            self.pop();
        }
    }

    /// Paths that lost a probe one end of whose flow is an end of this packet's.
    #[must_use]
    pub fn of(&self, packet: &Flow) -> Vec<(NodeIx, PathId)> {
        let ends = [packet.source, packet.destination];
        let found = ends.into_iter().filter_map(|end| self.paths.get(&(packet.tcp(), end)));
        let mut paths: Vec<(NodeIx, PathId)> = found.flatten().copied().collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    }

    /// Forgets what is too old.
    pub fn expire(&mut self, now_ns: i64) {
        while self.order.front().is_some_and(|(since_ns, ..)| now_ns - since_ns > KEEP_NS) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        let Some((_, key, path)) = self.order.pop_front() else { return };
        let Some(paths) = self.paths.get_mut(&key) else { return };
        if let Some(at) = paths.iter().position(|&known| known == path) {
            paths.swap_remove(at);
        }
        if paths.is_empty() {
            self.paths.remove(&key);
        }
    }
}
