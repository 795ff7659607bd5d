//! Many agents, each a task.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::agent::{Agent, Order};
use crate::fault::Fault;
use crate::figures::{Counters, Figures};

/// Orders that an agent has not carried out yet.
const ORDERS: usize = 4;
/// Agents whose loopback addresses share three bytes.
const BLOCK: usize = 250;
/// How often it is looked whether all is as it is waited for.
const LOOK: Duration = Duration::from_millis(20);

/// What holds for all agents.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Where the hub serves gRPC, without encryption.
    pub hub: SocketAddr,
    /// Most packets a second of each agent, as `netcheck-agent --pps`.
    pub packets_per_second: u32,
}

/// What all agents share.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) fault: watch::Receiver<Fault>,
    pub(crate) counters: Counters,
    begun: Instant,
    names: Mutex<HashSet<Arc<str>>>,
    trouble: Mutex<String>,
    /// How often sessions broke, by why.
    broken: Mutex<BTreeMap<String, u64>>,
}

/// Reasons that are told apart; all others are one.
const REASONS: usize = 16;

impl Shared {
    /// The monotonic clock, nanoseconds.
    pub(crate) fn now_ns(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// A target's name, which a thousand agents have each and keep once.
    pub(crate) fn name(&self, target: &str) -> Arc<str> {
        let mut names = self.names.lock();
        if let Some(name) = names.get(target) {
            return Arc::clone(name);
        }
        let name: Arc<str> = target.into();
        names.insert(Arc::clone(&name));
        name
    }

    /// Why a session broke, for whoever asks.
    pub(crate) fn remember(&self, node: &str, why: String) {
        *self.trouble.lock() = format!("{node}: {why}");
        let mut broken = self.broken.lock();
        let is_known = broken.len() < REASONS || broken.contains_key(&why);
        *broken.entry(if is_known { why } else { "others".to_owned() }).or_default() += 1;
    }
}

struct Member {
    orders: mpsc::Sender<Order>,
    task: JoinHandle<()>,
}

/// The fleet did not become as it was waited for.
#[derive(Clone, Debug, thiserror::Error)]
#[error("after {} s: {figures:?}; the newest session that broke: {trouble:?}", waited.as_secs())]
pub struct Late {
    /// How long was waited.
    pub waited: Duration,
    /// How it stands.
    pub figures: Figures,
    /// Node and reason of the newest session that broke; empty: none did.
    pub trouble: String,
}

/// Agents, by node. They end when it is dropped.
pub struct Fleet {
    shared: Arc<Shared>,
    fault: watch::Sender<Fault>,
    members: BTreeMap<String, Member>,
    next: usize,
}

impl Fleet {
    /// Starts an agent for each of these nodes.
    pub fn start(options: Options, nodes: impl IntoIterator<Item = String>) -> Self {
        let (fault, watched) = watch::channel(Fault::None);
        let shared = Arc::new(Shared {
            options,
            fault: watched,
            counters: Counters::default(),
            begun: Instant::now(),
            names: Mutex::default(),
            trouble: Mutex::default(),
            broken: Mutex::default(),
        });
        let mut fleet = Self { shared, fault, members: BTreeMap::new(), next: 0 };
        for node in nodes {
            fleet.join(node);
        }
        fleet
    }

    /// Starts an agent of one more node; nothing where there is one.
    pub fn join(&mut self, node: String) {
        if self.members.contains_key(&node) {
            return;
        }
        let number = self.next;
        self.next += 1;
        let (orders, receiver) = mpsc::channel(ORDERS);
        let agent = Agent::new(node.clone(), address(number), Arc::clone(&self.shared), receiver);
        let task = tokio::spawn(agent.run());
        self.members.insert(node, Member { orders, task });
    }

    /// From now on probes come to this.
    pub fn set_fault(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// The agent begins anew, as after a crash; whether there is such an agent.
    pub async fn restart(&self, node: &str) -> bool {
        self.order(node, Order::Restart).await
    }

    /// The agent opens another session, as after a broken connection; whether there is such an agent.
    pub async fn reconnect(&self, node: &str) -> bool {
        self.order(node, Order::Reconnect).await
    }

    /// The agent says that it leaves, and is gone when this returns; whether there was such an agent.
    pub async fn leave(&mut self, node: &str) -> bool {
        if !self.order(node, Order::Leave).await {
            return false;
        }
        if let Some(member) = self.members.remove(node) {
            // A task that panicked has said so.
            drop(member.task.await);
        }
        true
    }

    async fn order(&self, node: &str, order: Order) -> bool {
        match self.members.get(node) {
            Some(member) => member.orders.send(order).await.is_ok(),
            None => false,
        }
    }

    /// What all agents did. The peaks begin anew.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.shared.counters.take()
    }

    /// How often sessions broke, by why.
    #[must_use]
    pub fn broken(&self) -> BTreeMap<String, u64> {
        self.shared.broken.lock().clone()
    }

    /// Waits until the figures are as wanted. The peaks begin anew.
    ///
    /// # Errors
    /// They are not within that time.
    pub async fn until(&self, wanted: impl Fn(&Figures) -> bool, within: Duration) -> Result<Figures, Late> {
        let begun = Instant::now();
        loop {
            let figures = self.figures();
            if wanted(&figures) {
                return Ok(figures);
            }
            if begun.elapsed() > within {
                let trouble = self.shared.trouble.lock().clone();
                return Err(Late { waited: within, figures, trouble });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until every agent has paths to probe.
    ///
    /// # Errors
    /// Some have none within that time.
    pub async fn until_probing(&self, within: Duration) -> Result<Figures, Late> {
        self.until(|figures| figures.probing == figures.agents, within).await
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for member in self.members.values() {
            member.task.abort();
        }
    }
}

/// The loopback address of an agent: a hub bounds how many connections come from one address.
fn address(number: usize) -> IpAddr {
    let byte = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
    Ipv4Addr::new(
        127,
        byte(1 + number / BLOCK / BLOCK % BLOCK),
        byte(number / BLOCK % BLOCK),
        byte(1 + number % BLOCK),
    )
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_agents_have_one_address() {
        let all: HashSet<IpAddr> = (0..70_000).map(address).collect();
        assert_eq!(all.len(), 70_000);
        assert!(all.iter().all(IpAddr::is_loopback));
    }
}
