//! Who passes on the sessions of agents that can't reach the hub: what sessions are given of it, and what is said of a
//! session that came so.
//!
//! In: rosters, hellos. Out: a table that sessions follow; each sends its agent its own few of it.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;

use super::{Hub, State};
use netcheck_analysis::plan::relays::{RelayNode, RelayTable};

/// The table of relays, which the sessions follow.
#[derive(Debug, Default)]
pub struct Relaying {
    /// What it is made of may have changed.
    stale: bool,
    table: watch::Sender<Arc<RelayTable>>,
}

impl Relaying {
    /// A roster came, or an agent said where it listens.
    pub fn mark_stale(&mut self) {
        self.stale = true;
    }

    /// The table as it is, and as it will be. What is there already counts as unseen.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<Arc<RelayTable>> {
        let mut follower = self.table.subscribe();
        follower.mark_changed();
        follower
    }
}

/// A session that another agent passes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relayed {
    /// The node of the other agent, by the word of this one.
    pub by: String,
    /// Why that is in doubt, in one line; empty where it is not.
    pub doubt: String,
}

impl Hub {
    /// Makes the table anew where something of it may have changed.
    pub(super) fn renew_relays(&self) {
        let mut state = self.lock();
        if !std::mem::take(&mut state.relaying.stale) {
            return;
        }
        let table = state.relay_table();
        state.relaying.table.send_if_modified(|current| {
            let changed = **current != table;
            if changed {
                *current = Arc::new(table);
            }
            changed
        });
    }
}

impl State {
    fn relay_table(&self) -> RelayTable {
        let nodes = self.roster.nodes.values().filter(|node| node.unanswering().is_none());
        let relay = |node: &netcheck_analysis::cluster::roster::Node| {
            let hello = self.find(&node.name).and_then(|at| self.agent(at).hello.as_ref());
            let port = hello.and_then(|hello| u16::try_from(hello.relay_port).ok()).unwrap_or_default();
            RelayNode { zone: node.zone.clone(), addresses: node.addresses.clone(), port }
        };
        RelayTable(nodes.map(|node| (node.name.clone(), relay(node))).collect())
    }

    /// What is to be said of a session whose agent says that `by` passes it on, and whose connection comes from `peer`.
    /// It should come from an address of that node, or from where that node's own session comes from: between a node and
    /// a Service there may be translation.
    pub(crate) fn relayed(&self, by: &str, peer: Option<SocketAddr>) -> Option<Relayed> {
        if by.is_empty() {
            return None;
        }
        let doubt = match (self.roster.nodes.get(by), peer.map(|peer| peer.ip().to_canonical())) {
            (_, None) => String::new(),
            (None, Some(peer)) => {
                format!("it says that {by} passes its session on, which is no node; it comes from {peer}")
            }
            (Some(node), Some(peer)) => {
                let own = self.find(by).and_then(|at| self.agent(at).live.as_ref()?.peer);
                let own = own.map(|own| own.ip().to_canonical());
                if node.addresses.contains(&peer) || own == Some(peer) {
                    String::new()
                } else {
                    format!("it says that {by} passes its session on, but it comes from {peer}")
                }
            }
        };
        Some(Relayed { by: by.to_owned(), doubt })
    }
}
