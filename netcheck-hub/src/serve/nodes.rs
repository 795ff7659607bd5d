//! Nodes and their agents for readers, and which versions there are.

use netcheck_proto::v1;

use crate::state::Hub;
use crate::state::agent::Agent;
use netcheck_analysis::model::clock::timestamp;

impl Hub {
    /// Which hub this is, and which agents there are.
    pub(super) fn version(&self) -> v1::GetVersionResponse {
        let mut agents: Vec<v1::AgentVersion> = Vec::new();
        for agent in &self.lock().agents {
            let Some(hello) = &agent.hello else { continue };
            let connected = u32::from(agent.live.is_some());
            match agents.iter_mut().find(|of| of.version == hello.agent_version) {
                Some(of) => {
                    of.agents += 1;
                    of.connected += connected;
                }
                None => {
                    agents.push(v1::AgentVersion {
                        version: hello.agent_version.clone(),
                        agents: 1,
                        connected,
                    });
                }
            }
        }
        agents.sort_by_key(|of| std::cmp::Reverse(of.agents));
        v1::GetVersionResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: self.instance.clone(),
            started_at: Some(timestamp(self.started_ns)),
            agents,
        }
    }

    /// All nodes: the roster's, and those whose agents the roster does not know.
    #[must_use]
    pub fn nodes(&self) -> Vec<v1::Node> {
        let state = self.lock();
        let mut nodes: Vec<v1::Node> = Vec::new();
        for node in state.roster.nodes.values() {
            let agent = state.find(&node.name).map(|at| state.agent(at));
            nodes.push(v1::Node {
                name: node.name.clone(),
                zone: node.zone.clone(),
                addresses: node.addresses.iter().map(ToString::to_string).collect(),
                ready: node.ready,
                cordoned: node.cordoned,
                expected_absent: node.unanswering().unwrap_or_default(),
                agent: agent.and_then(wire_agent),
            });
        }
        let strangers = state.agents.iter().filter(|agent| !state.roster.nodes.contains_key(&*agent.name));
        for agent in strangers.filter(|agent| agent.hello.is_some()) {
            nodes.push(v1::Node {
                name: agent.name.to_string(),
                expected_absent: format!("node {} is not in the roster", agent.name),
                agent: wire_agent(agent),
                ..Default::default()
            });
        }
        nodes
    }
}

fn wire_agent(agent: &Agent) -> Option<v1::NodeAgent> {
    let hello = agent.hello.as_ref()?;
    let applied = agent.plan_applied.as_ref();
    Some(v1::NodeAgent {
        connected: agent.live.is_some(),
        connected_since: agent.live.as_ref().map(|live| timestamp(live.since_ns)),
        last_batch: agent.last_batch_ns.map(timestamp),
        version: hello.agent_version.clone(),
        kernel_release: hello.kernel_release.clone(),
        plan_version: applied.map_or(0, |applied| applied.version),
        paths: agent.plan.plan().paths.len() as u32,
        effective_interval: applied.and_then(|applied| applied.effective_interval),
        status: agent.status.clone(),
        refused_batches: agent.refused_batches,
        duplicate_batches: agent.duplicate_batches,
        dropped_samples: agent.dropped_samples,
        samples: agent.samples,
        contested: agent.contested(),
        relayed_by: agent.relayed_by().unwrap_or_default().to_owned(),
        relay_doubt: agent.relay_doubt().unwrap_or_default().to_owned(),
    })
}
