//! What the hub says to sessions of its own accord, and when it gives one up.

use std::collections::BTreeSet;

use netcheck_proto::v1;

use super::State;
use netcheck_analysis::model::NodeIx;

impl State {
    /// Agents of nodes that the roster does not know.
    #[must_use]
    pub fn strangers(&self) -> usize {
        self.each().filter(|(_, agent)| !self.roster.nodes.contains_key(&*agent.name)).count()
    }

    /// Has an agent probe its paths to and from these nodes at once.
    pub(super) fn expedite(&mut self, index: NodeIx, nodes: &BTreeSet<String>) {
        let agent = self.agent(index);
        if agent.live.is_none() {
            return;
        }
        let from_here = nodes.contains(&*agent.name);
        let paths = agent.plan.plan().paths.iter();
        let path_ids: Vec<u32> = paths
            .filter(|path| from_here || nodes.contains(&path.probe.target.node))
            .map(|path| path.id.0)
            .collect();
        if !path_ids.is_empty() {
            self.send(index, v1::session_response::Message::Expedite(v1::Expedite { path_ids }));
        }
    }

    /// Ends the sessions of agents that neither read nor speak.
    pub(super) fn end_silent(&mut self, now_ns: i64) {
        for agent in &mut self.agents {
            if let Some(silent) = agent.live.take_if(|live| live.is_silent(now_ns)) {
                tracing::warn!(node = %agent.name, "nothing came of the agent for long: its session ends");
                silent.superseded.cancel();
                self.counters.sessions_silent += 1;
            }
        }
    }

    /// What an agent's newest status says of responders that go or are back.
    pub fn hear_of_leaves(&mut self, node: NodeIx, now_ns: i64) {
        let agent = &mut self.agents[node.0];
        let vantage_left = agent.vantage.take_left();
        let Some(status) = &agent.status else { return };
        if status.leaving {
            let port = agent.hello.as_ref().and_then(|hello| u16::try_from(hello.responder_port).ok());
            let addresses = self.roster.nodes.get(&*agent.name).map_or(&[][..], |node| &node.addresses);
            self.leaves.say(addresses, port.unwrap_or_default(), now_ns);
            tracing::info!(node = %agent.name, "the agent says that it ends, for a restart or an upgrade");
        }
        let (Some(reported), Some(known)) = (&status.vantage, agent.vantage.known()) else { return };
        if vantage_left {
            self.leaves.say(&known.addresses, known.responder_port, now_ns);
        } else if !reported.leaving && !reported.addresses.is_empty() {
            self.leaves.back(&known.addresses, now_ns);
        }
    }

    /// An agent says hello. One that was started since its node said good-bye has its responder up.
    pub fn hear_of_return(&mut self, node: NodeIx, boot_id: &str, now_ns: i64) {
        let agent = &self.agents[node.0];
        if agent.hello.as_ref().is_some_and(|hello| hello.boot_id != boot_id)
            && let Some(node) = self.roster.nodes.get(&*agent.name)
        {
            self.leaves.back(&node.addresses, now_ns);
        }
    }

    /// Sends a message to an agent's session, if there is one with room.
    pub fn send(&mut self, to: NodeIx, message: v1::session_response::Message) -> bool {
        let sent = self.agent(to).live.as_ref().map(|live| live.control.try_send(message).is_ok());
        if sent == Some(false) {
            self.counters.control_dropped += 1;
        }
        sent == Some(true)
    }
}
