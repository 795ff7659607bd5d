//! Flows whose probe is over, and which are watched for a little longer: a packet may wait for seconds before its
//! kernel gives it up (for a neighbour that does not answer, three), and a late answer says that nothing was lost. Pure.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use netcheck_common::domain::ProbeKind;

use crate::model::observation::OwnFlow;

/// How long a flow is watched after its probe.
const LINGER: Duration = Duration::from_secs(5);
/// Flows that linger at most: the oldest go first, so that probes in flight find room in the kernel's table.
const CAPACITY: usize = 4096;

type Key = (ProbeKind, u16, bool);

fn key(flow: &OwnFlow) -> Key {
    (flow.transport, flow.local.port(), flow.local.is_ipv4())
}

/// The flows.
#[derive(Debug, Default)]
pub(crate) struct Lingering {
    /// Which watch of a port is the newest: an older one has nothing in the kernel's table any more.
    newest: HashMap<Key, u64>,
    watches: u64,
    /// Ports whose probes are not over.
    active: HashSet<Key>,
    over: VecDeque<(Instant, u64, OwnFlow)>,
}

impl Lingering {
    /// Whether a flow with the same port is not over: two interfaces of a pod may have the same one at the same time.
    pub(crate) fn is_taken(&self, flow: &OwnFlow) -> bool {
        self.active.contains(&key(flow))
    }

    /// A flow is watched from now on, whoever had its port before.
    pub(crate) fn began(&mut self, flow: &OwnFlow) {
        self.active.insert(key(flow));
        self.watches += 1;
        self.newest.insert(key(flow), self.watches);
    }

    /// Its probe is over.
    pub(crate) fn ended(&mut self, flow: &OwnFlow, now: Instant) {
        self.active.remove(&key(flow));
        let watch = self.newest.get(&key(flow)).copied().unwrap_or_default();
        self.over.push_back((now, watch, *flow));
    }

    /// A flow that has been watched long enough, and whether it is the newest of its port.
    pub(crate) fn next(&mut self, now: Instant) -> Option<(OwnFlow, bool)> {
        let &(since, watch, flow) = self.over.front()?;
        if self.over.len() <= CAPACITY && now.saturating_duration_since(since) < LINGER {
            return None;
        }
        self.over.pop_front();
        let newest = self.newest.get(&key(&flow)) == Some(&watch);
        if newest {
            self.newest.remove(&key(&flow));
        }
        Some((flow, newest))
    }
}

#[cfg(test)]
mod tests {
    use netcheck_common::domain::{PathId, Sequence};

    use super::*;
    use crate::model::observation::ProbeKey;

    fn flow(port: u16, sequence: u32) -> OwnFlow {
        OwnFlow {
            probe: ProbeKey { path: PathId(1), sequence: Sequence(sequence) },
            transport: ProbeKind::Tcp,
            local: ([10, 0, 0, 1], port).into(),
        }
    }

    #[test]
    fn a_flow_lingers_and_a_port_that_is_taken_again_is_the_newer_probes() {
        let (mut flows, start) = (Lingering::default(), Instant::now());
        flows.began(&flow(7, 1));
        assert!(flows.is_taken(&flow(7, 2)) && !flows.is_taken(&flow(8, 2)));
        flows.ended(&flow(7, 1), start);
        assert!(!flows.is_taken(&flow(7, 2)));
        assert!(flows.next(start + LINGER / 2).is_none());
        flows.began(&flow(7, 2));
        let (gone, newest) = flows.next(start + LINGER).unwrap();
        assert_eq!((gone.probe.sequence, newest), (Sequence(1), false));
        flows.ended(&flow(7, 2), start + LINGER);
        let (gone, newest) = flows.next(start + LINGER * 2).unwrap();
        assert_eq!((gone.probe.sequence, newest), (Sequence(2), true));
        assert!(flows.next(start + LINGER * 9).is_none() && flows.newest.is_empty());
    }

    #[test]
    fn flows_that_linger_are_bounded() {
        let (mut flows, start) = (Lingering::default(), Instant::now());
        for port in 1..=CAPACITY as u16 + 1 {
            flows.began(&flow(port, 1));
            flows.ended(&flow(port, 1), start);
        }
        assert_eq!(flows.next(start).map(|(gone, _)| gone.local.port()), Some(1));
        assert!(flows.next(start).is_none());
    }
}
