//! Warnings about the measurement itself.

use super::State;
use crate::clock::unix_now_ns;

impl State {
    /// Warnings about the measurement itself, and of servers' certificates that expire soon; one line each.
    #[must_use]
    pub fn caveats(&self) -> Vec<String> {
        let mut caveats = Vec::new();
        if let Some(error) = &self.inventory_error {
            let then =
                if self.roster_ns == 0 { "there is no roster yet" } else { "showing the last good roster" };
            caveats.push(format!("{error}; {then}"));
        }
        caveats.extend(self.inventory_caveat.clone());
        caveats.extend(self.catalog.troubles.iter().cloned());
        if let Some(error) = &self.tls_error {
            caveats.push(format!("the hub's renewed certificate is of no use: {error}"));
        }
        let missing: Vec<&str> = self
            .roster
            .nodes
            .values()
            .filter(|node| node.absent.is_none())
            .filter(|node| self.find(&node.name).is_none_or(|at| self.agent(at).live.is_none()))
            .map(|node| node.name.as_str())
            .collect();
        if !missing.is_empty() {
            caveats.push(format!(
                "no agent connected on {}: nothing is measured from there",
                missing.join(", ")
            ));
        }
        caveats.extend(self.vantages_missing());
        caveats.extend(self.certificates_expiring(self.certificate_warning, unix_now_ns()));
        caveats.extend(self.long_searches(unix_now_ns()));
        for (_, agent) in self.each() {
            caveats.extend(agent.caveats());
            if agent.live.is_some() && !self.roster.nodes.contains_key(&*agent.name) {
                caveats
                    .push(format!("{}: an agent is connected, but the roster has no such node", agent.name));
            }
        }
        caveats.extend(self.catalog.left_out.iter().cloned());
        caveats
    }
}
