//! Pod vantages that come and go: plans anew, and where one is missing.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Settings, State};
use crate::report::listed;

impl State {
    /// Where the responders of pods listen.
    pub(super) fn pod_responders(&self) -> BTreeMap<IpAddr, u16> {
        let known = self.agents.iter().filter_map(|agent| agent.vantage.known());
        known.flat_map(|pod| pod.addresses.iter().map(|&address| (address, pod.responder_port))).collect()
    }

    /// Makes the plans anew where a pod vantage came, changed, or was forgotten: once for all that did since the last tick.
    pub(super) fn follow_vantages(&mut self, settings: &Settings, now_ns: i64) {
        let mut changed = false;
        for agent in &mut self.agents {
            changed |= agent.vantage.take_changed();
        }
        if changed {
            self.replan(settings, now_ns);
        }
    }

    /// Where nothing is measured from pods, though it is or should be: one line for all nodes of one reason.
    pub(super) fn vantages_missing(&self) -> Vec<String> {
        let live = || self.each().map(|(_, agent)| agent).filter(|agent| agent.live.is_some());
        let any = live().any(|agent| agent.vantage.known().is_some());
        let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for agent in live().filter(|agent| agent.status.is_some()) {
            let none = agent.vantage.known().is_none().then_some("its agent was not told to expect one");
            let why = agent.vantage.missing().or(none.filter(|_| any));
            if let Some(why) = why {
                by_reason.entry(why).or_default().push(&agent.name);
            }
        }
        let line = |(why, nodes): (&str, Vec<&str>)| {
            format!(
                "no pod vantage on {}: nothing is measured from pods there ({why})",
                listed(nodes.into_iter().map(ToOwned::to_owned))
            )
        };
        by_reason.into_iter().map(line).collect()
    }
}
