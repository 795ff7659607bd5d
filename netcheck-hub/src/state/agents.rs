//! Agents by their nodes: each has an index, which is short, and which another node's agent gets once it is forgotten.

use netcheck_analysis::model::NodeIx;

use super::State;
use super::agent::Agent;

impl State {
    /// The node of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<NodeIx> {
        self.by_name.get(name).copied()
    }

    /// The node of that name, made known where it was not.
    pub fn intern(&mut self, name: &str) -> NodeIx {
        if let Some(found) = self.find(name) {
            return found;
        }
        let index = match self.vacant.pop() {
            Some(index) => {
                self.agents[index.0] = Agent::new(name);
                index
            }
            None => {
                self.agents.push(Agent::new(name));
                NodeIx(self.agents.len() - 1)
            }
        };
        self.by_name.insert(name.to_owned(), index);
        index
    }

    /// Makes an agent's place free for the next one.
    pub(super) fn vacate(&mut self, index: NodeIx) {
        let old = std::mem::replace(self.agent_mut(index), Agent::new(""));
        self.by_name.remove(&*old.name);
        self.seen_networks.forget(&old.name);
        self.by_probe_session.retain(|_, owner| *owner != index);
        self.dirty.retain(|(owner, _)| *owner != index);
        self.vacant.push(index);
        tracing::info!(node = %old.name, "forgotten: it is neither in the inventory nor connected");
    }

    /// An agent. Indices stay valid; one whose agent is forgotten is given to another later.
    #[must_use]
    pub fn agent(&self, index: NodeIx) -> &Agent {
        &self.agents[index.0]
    }

    /// The same, to change it.
    pub fn agent_mut(&mut self, index: NodeIx) -> &mut Agent {
        &mut self.agents[index.0]
    }

    /// The agent of a session that just said something; none where the session is not the node's any more.
    pub fn spoken(&mut self, node: NodeIx, generation: u64, now_ns: i64) -> Option<&mut Agent> {
        let agent = self.agent_mut(node);
        let live = agent.live.as_mut().filter(|live| live.generation == generation)?;
        live.heard_ns = now_ns;
        Some(agent)
    }

    /// All agents with their indices.
    pub fn each(&self) -> impl Iterator<Item = (NodeIx, &Agent)> {
        let all = self.agents.iter().enumerate().map(|(index, agent)| (NodeIx(index), agent));
        all.filter(|(_, agent)| !agent.is_vacant())
    }
}
