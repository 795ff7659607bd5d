//! Warnings about the measurement itself.

use std::collections::BTreeMap;

use crate::state::{Hub, Settings, State};
use netcheck_analysis::model::clock::unix_now_ns;
use netcheck_analysis::words::names::listed;

/// Most lines about agents: a report is read by people.
const LINES: usize = 32;

impl Hub {
    /// Warnings about the measurement itself and about history; one line each.
    #[must_use]
    pub fn caveats(&self) -> Vec<String> {
        let state = self.lock();
        let mut caveats = state.caveats();
        caveats.extend(state.short_of_memory(&self.settings));
        drop(state);
        caveats.extend(self.archive.iter().flat_map(|archive| archive.caveats()));
        caveats
    }
}

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
        caveats.extend(self.left_out.report_lines());
        caveats.extend(self.inventory_caveat.clone());
        caveats.extend(self.unprobed());
        caveats.extend(self.catalog.troubles.iter().cloned());
        if let Some(error) = &self.tls_error {
            caveats.push(format!("the hub's renewed certificate is of no use: {error}"));
        }
        caveats.extend(self.deliveries.standings().iter().flat_map(netcheck_outbound::Standing::caveats));
        let missing: Vec<String> = self
            .roster
            .nodes
            .values()
            .filter(|node| node.unanswering().is_none())
            .filter(|node| self.find(&node.name).is_none_or(|at| self.agent(at).live.is_none()))
            .map(|node| node.name.clone())
            .collect();
        if !missing.is_empty() {
            caveats.push(format!(
                "no agent connected on {}: nothing is measured from there",
                listed(missing.into_iter())
            ));
        }
        caveats.extend(self.vantages_missing());
        caveats.extend(self.vantage_addresses_missing());
        caveats.extend(self.certificates_expiring(self.certificate_warning, unix_now_ns()));
        caveats.extend(self.long_searches(unix_now_ns()));
        caveats.extend(self.each().map(|(_, agent)| agent.contested()).filter(|line| !line.is_empty()));
        caveats.extend(self.of_agents());
        caveats.extend(self.catalog.left_out.iter().cloned());
        caveats
    }

    /// Nodes probe fewer paths at a time than was asked for.
    fn short_of_memory(&self, settings: &Settings) -> Option<String> {
        let (asked, now) = (settings.rotation.paths_per_node, self.rotation(settings).paths_per_node);
        let limit = settings.memory_limit.filter(|_| now < asked)?;
        let nodes = self.each().filter(|(_, agent)| agent.turns.is_some()).count() as u64;
        let needed = settings.memory_for(nodes * asked as u64);
        (nodes > 0).then(|| {
            format!(
                "the hub may take {} MiB of memory, so that each node probes {now} paths at a time rather than {asked}, \
                 and rounds take longer; for {asked} raise the limit (hub.resources.limits.memory, --memory-limit) to \
                 some {} MiB",
                limit >> 20,
                needed.div_ceil(1 << 20),
            )
        })
    }

    /// What nobody can probe, though it is meant to be there: whatever is measured, not all is known to be well.
    fn unprobed(&self) -> Vec<String> {
        let contested = self.roster.contested.iter().map(|(address, names)| {
            format!(
                "{} objects have the address {address} ({}): nobody can tell which of them answers there, so that it \
                 is not probed",
                names.len(),
                listed(names.iter().cloned())
            )
        });
        let mut lines: Vec<String> = contested.take(LINES).collect();
        let more = self.roster.contested.len() - lines.len();
        if more > 0 {
            lines.push(format!("{more} more addresses belong to several objects and are not probed"));
        }
        let without: Vec<String> = self.roster.addressless().map(|node| node.name.clone()).collect();
        if !without.is_empty() {
            let names = listed(without.into_iter());
            lines.push(format!("no address of type InternalIP on {names}: nobody can probe what has none"));
        }
        lines
    }

    /// What is to be said of agents: one line for all of which the same is, and of the many lines of a large cluster the
    /// first.
    fn of_agents(&self) -> Vec<String> {
        let mut nodes_of: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (_, agent) in self.each() {
            let stranger = agent.live.is_some() && !self.roster.nodes.contains_key(&*agent.name);
            let stranger =
                stranger.then(|| "an agent is connected, but the roster has no such node".to_owned());
            let addresses = self.roster.nodes.get(&*agent.name).map(|node| &node.addresses[..]);
            let leaving = addresses.and_then(|addresses| self.leaves.line(addresses, unix_now_ns()));
            for caveat in agent.caveats().into_iter().chain(stranger).chain(leaving) {
                nodes_of.entry(caveat).or_default().push(agent.name.to_string());
            }
        }
        let mut lines: Vec<(Vec<String>, String)> =
            nodes_of.into_iter().map(|(caveat, nodes)| (nodes, caveat)).collect();
        // What concerns most nodes goes first, then by node.
        lines.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        let rest = lines.split_off(lines.len().min(LINES));
        let mut lines: Vec<String> = lines
            .into_iter()
            .map(|(nodes, caveat)| format!("{}: {caveat}", listed(nodes.into_iter())))
            .collect();
        if !rest.is_empty() {
            let count = rest.len();
            let nodes = listed(rest.into_iter().flat_map(|(nodes, _)| nodes));
            lines.push(format!("{nodes}: {count} more warnings like these"));
        }
        lines
    }
}

#[cfg(test)]
mod tests;
