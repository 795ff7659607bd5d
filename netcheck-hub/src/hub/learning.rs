//! What the hub knows of the cluster by its agents, and no inventory tells.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::{Settings, State};

impl State {
    /// Whether no agent is meant to run on a node.
    pub(crate) fn is_agentless(&self, node: &str) -> bool {
        self.roster.nodes.get(node).is_some_and(|node| node.agentless.is_some())
    }

    /// Whom pods ask for names.
    fn name_servers(&self) -> BTreeSet<IpAddr> {
        let vantages = self.agents.iter().filter_map(|agent| agent.vantage.known());
        vantages.flat_map(|vantage| vantage.name_servers.iter().copied()).collect()
    }

    /// The name that DNS servers are asked for: the operator's, else that of the API server's service in the domain that
    /// most vantages' short names are completed with.
    pub(super) fn dns_name(&self, settings: &Settings) -> String {
        let mut domains: BTreeMap<&str, usize> = BTreeMap::new();
        for domain in self.agents.iter().filter_map(|agent| agent.vantage.known()?.domain.as_deref()) {
            *domains.entry(domain).or_default() += 1;
        }
        let most =
            domains.into_iter().max_by_key(|&(domain, vantages)| (vantages, std::cmp::Reverse(domain)));
        match most {
            Some((domain, _)) if settings.dns.follow_domain => format!("kubernetes.default.svc.{domain}"),
            _ => settings.dns_name.clone(),
        }
    }

    /// Adds to the roster what is known besides it.
    pub(super) fn learn(&mut self, settings: &Settings) {
        let archs = &settings.agent_archs;
        let without = self.roster.nodes.values().filter(|node| {
            node.agentless.is_none()
                && !node.arch.is_empty()
                && !archs.is_empty()
                && !archs.contains(&node.arch)
        });
        let without: Vec<String> = without.map(|node| node.name.clone()).collect();
        if !without.is_empty() {
            let roster = Arc::make_mut(&mut self.roster);
            for node in roster.nodes.values_mut().filter(|node| without.contains(&node.name)) {
                node.agentless = Some(format!("there is no image for {}", node.arch));
            }
        }
        let servers = self.name_servers();
        if !self.roster.is_settled(&servers) {
            Arc::make_mut(&mut self.roster).settle_dns(&servers);
        }
        // Whoever has one can run one, whatever its labels say.
        let has_one = |node: &str| self.find(node).is_some_and(|at| self.agent(at).hello.is_some());
        let agentless = self.roster.nodes.values().filter(|node| node.agentless.is_some());
        let wrong: Vec<String> =
            agentless.map(|node| node.name.clone()).filter(|node| has_one(node)).collect();
        if !wrong.is_empty() {
            let roster = Arc::make_mut(&mut self.roster);
            for name in wrong {
                roster.nodes.entry(name).and_modify(|node| node.agentless = None);
            }
        }
    }
}
