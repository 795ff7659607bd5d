//! The hub wants some paths probed more often for a while.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use netcheck_common::domain::{PathId, ProbeKind, Vantage};
use netcheck_proto::v1;

use super::Engine;
use crate::host::clock::MILLISECOND_NS;
use crate::plan::PathPlan;

/// Longest that one wish lasts: the hub says it again.
const LONGEST: Duration = Duration::from_secs(30);
/// Shortest distance of a path's probes: what is wanted more often than the loop ticks is not sent.
const SHORTEST_NS: u64 = 5 * MILLISECOND_NS;
/// Of the numbers that flows are told apart by, so many in a hundred are for probes that are sent without any wish.
const USUAL: u64 = 10;

/// Whose source ports are shared: of one vantage, over TCP or not, to one destination.
type Ports = (Vantage, bool, SocketAddr, Option<Arc<str>>);

impl Engine {
    /// Takes a wish. Each probe over TCP and each question to a DNS server is a flow of its own: no more of them leave for one
    /// destination than there are source ports that connection tracking has forgotten.
    pub(super) fn hasten(&mut self, wish: &v1::Hasten, now_ns: u64) {
        let nanos = |wire: Option<prost_types::Duration>| {
            wire.and_then(|wire| Duration::try_from(wire).ok()).filter(|duration| !duration.is_zero())
        };
        let (interval, duration) = (nanos(wish.interval), nanos(wish.duration));
        let mut paths = Vec::new();
        if let Some(interval_ns) = interval.map(whole_ns) {
            let known = || {
                wish.path_ids
                    .iter()
                    .map(|&path| PathId(path))
                    .filter_map(|path| Some((path, self.plan.paths.get(&path)?)))
            };
            let mut sharing: HashMap<Ports, u64> = HashMap::new();
            for ports in known().filter_map(|(_, plan)| ports_of(plan)) {
                *sharing.entry(ports).or_default() += 1;
            }
            paths = known()
                .map(|(path, plan)| {
                    let least_ns = ports_of(plan).map_or(0, |ports| {
                        let others = sharing.get(&ports).copied().unwrap_or(1);
                        self.flow_distance_ns(ports.0, ports.1).saturating_mul(others)
                    });
                    (path, interval_ns.max(least_ns).max(SHORTEST_NS))
                })
                .collect();
        }
        let until_ns = now_ns.saturating_add(whole_ns(duration.unwrap_or_default().min(LONGEST)));
        self.schedule.hasten(wish.id, paths, until_ns, now_ns);
        self.set_pace();
    }

    /// How far apart flows to one destination are at least, so that no source port comes back too soon.
    fn flow_distance_ns(&self, vantage: Vantage, tcp: bool) -> u64 {
        let timeouts = self.probers.quarantine().timeouts;
        let timeout_ns = if tcp { timeouts.tcp_ns } else { timeouts.udp_ns };
        let ports = crate::probe::socket::probe_ports(vantage);
        // A turn of all numbers lasts 5/4 of the time-out.
        timeout_ns * 5 / 4 / u64::from(ports) * 100 / (100 - USUAL)
    }
}

/// The source ports that a path's probes take from, where each takes a new one.
fn ports_of(plan: &PathPlan) -> Option<Ports> {
    let tcp = match plan.kind {
        ProbeKind::Icmp | ProbeKind::Udp => return None,
        ProbeKind::Dns => plan.exchange.is_some(),
        ProbeKind::Tcp | ProbeKind::Http => true,
    };
    let lookup = plan.exchange.as_ref().and_then(|exchange| exchange.lookup.as_ref());
    Some((plan.vantage, tcp, plan.target, lookup.map(|lookup| Arc::clone(&lookup.name))))
}

fn whole_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
