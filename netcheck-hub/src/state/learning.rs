//! What the hub knows of the cluster by its agents, and no inventory has.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Settings, State};
use netcheck_analysis::model::clock::{SECOND_NS, nanos};

/// How long a node may be on its way out; draining takes minutes. A taint that is there for longer is one that stays.
const LEAVE: Duration = Duration::from_secs(3600);

impl State {
    /// Whether no agent is meant to run on a node.
    pub(crate) fn is_agentless(&self, node: &str) -> bool {
        self.roster.nodes.get(node).is_some_and(|node| node.agentless.is_some())
    }

    fn has_agent(&self, node: &str) -> bool {
        self.find(node).is_some_and(|at| self.agent(at).hello.is_some())
    }

    /// Nodes that were meant to leave and stay: their taint says nothing any more. `now_ns` is unix time.
    fn stayed(&self, now_ns: i64) -> Vec<String> {
        let leaving = self.roster.nodes.values().filter_map(|node| Some((node, node.leaving_since?)));
        let stayed = leaving.filter(|(node, reported)| {
            let seen_ns = self.leaving.get(&node.name).copied().unwrap_or(now_ns);
            let since_ns =
                if *reported > 0 { seen_ns.min(reported.saturating_mul(SECOND_NS)) } else { seen_ns };
            now_ns.saturating_sub(since_ns) > nanos(LEAVE)
        });
        stayed.map(|(node, _)| node.name.clone()).collect()
    }

    /// Notes which nodes are about to leave. Returns whether one stayed.
    pub(super) fn watch_leaving(&mut self, now_ns: i64) -> bool {
        let leaving = self.roster.nodes.values().filter(|node| node.leaving_since.is_some());
        let leaving: Vec<String> = leaving.map(|node| node.name.clone()).collect();
        for name in leaving {
            self.leaving.entry(name).or_insert(now_ns);
        }
        !self.stayed(now_ns).is_empty()
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
    pub(super) fn learn(&mut self, settings: &Settings, now_ns: i64) {
        self.watch_leaving(now_ns);
        let stayed = self.stayed(now_ns);
        if !stayed.is_empty() {
            let roster = Arc::make_mut(&mut self.roster);
            for node in roster.nodes.values_mut().filter(|node| stayed.contains(&node.name)) {
                node.leaving_since = None;
                node.absent = node.cordoned.then(|| format!("node {} is cordoned", node.name));
            }
        }
        let archs = &settings.agent_archs;
        let without = self.roster.nodes.values().filter(|node| {
            node.agentless.is_none()
                && !self.has_agent(&node.name)
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
        let agentless = self.roster.nodes.values().filter(|node| node.agentless.is_some());
        let wrong: Vec<String> =
            agentless.map(|node| node.name.clone()).filter(|node| self.has_agent(node)).collect();
        if !wrong.is_empty() {
            let roster = Arc::make_mut(&mut self.roster);
            for name in wrong {
                roster.nodes.entry(name).and_modify(|node| node.agentless = None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::state::{Hub, Settings};
    use netcheck_analysis::cluster::inventory;
    use netcheck_analysis::model::clock::SECOND_NS;

    #[test]
    fn a_taint_that_stays_is_no_leave() {
        let roster = |taint: &str| {
            let text = format!(
                "kind: List\nitems:\n- kind: Node\n  metadata: {{name: n1}}\n  spec: {{taints: [{{{taint}}}]}}\n  \
                 status: {{addresses: [{{type: InternalIP, address: 10.0.0.1}}], conditions: [{{type: Ready, status: 'True'}}]}}\n"
            );
            inventory::parse(Path::new("f"), &text).unwrap().roster()
        };
        let start_ns = 1_800_000_000 * SECOND_NS;
        let minutes = |minutes: i64| start_ns + minutes * 60 * SECOND_NS;
        let plain = "key: node.cloudprovider.kubernetes.io/shutdown, effect: NoSchedule";
        let hub = Hub::new(Settings::every(std::time::Duration::from_secs(1)));
        let absent = || hub.lock().roster.node_absent("n1");
        hub.set_roster(roster(plain), start_ns);
        assert!(absent().is_some());
        // A new roster begins no new hour.
        hub.set_roster(roster(plain), minutes(50));
        hub.tick(minutes(59));
        assert!(absent().is_some());
        hub.tick(minutes(61));
        assert_eq!(absent(), None);
        hub.set_roster(roster(plain), minutes(62));
        assert_eq!(absent(), None, "it has stayed");

        // The taint itself may say how long it has been there.
        let reported = "key: ToBeDeletedByClusterAutoscaler, effect: NoSchedule, value: ";
        let other = Hub::new(Settings::every(std::time::Duration::from_secs(1)));
        other.set_roster(roster(&format!("{reported}'{}'", minutes(-120) / SECOND_NS)), start_ns);
        assert_eq!(other.lock().roster.node_absent("n1"), None);
        other.set_roster(roster(&format!("{reported}'{}'", minutes(-5) / SECOND_NS)), start_ns);
        assert!(other.lock().roster.node_absent("n1").is_some());
        other.set_roster(roster("key: a, effect: NoSchedule"), minutes(1));
        other.set_roster(roster(&format!("{reported}'7'")), minutes(62));
        assert!(other.lock().roster.node_absent("n1").is_some(), "a taint that was gone begins anew");
    }
}
