//! Agents as the hub knows them, and what their nodes' kernels drop.

use super::collect::Families;
use super::family::Labels;
use crate::state::State;
use crate::state::agent::Agent;

/// Writes what the hub knows of agents.
pub(super) fn write(families: &mut Families, state: &State) {
    let each = |value: &dyn Fn(&Agent) -> f64| {
        let named = |(_, agent): (_, &Agent)| (vec![("node", agent.name.to_string())], value(agent));
        state.each().map(named).collect::<Vec<(Labels, f64)>>()
    };
    let flag = |set: bool| f64::from(u8::from(set));
    let connected = each(&|agent| flag(agent.live.is_some()));
    let hooks = each(&|agent| flag(agent.has_hooks()));
    let contested = each(&|agent| flag(agent.claims.contest().is_some()));
    let samples = each(&|agent| agent.samples as f64);
    let dropped = each(&|agent| agent.dropped_samples as f64);
    families.gauge("agent_connected", "1 while the node's agent has a session.", connected);
    families.gauge("agent_kernel_hooks", "1 where the agent's kernel hooks see packets.", hooks);
    let help = "1 while another living agent claims the node's name.";
    families.gauge("agent_name_contested", help, contested);
    families.counter("agent_samples", "Samples that were applied.", samples);
    families.counter("agent_dropped_samples", "Samples that the agent's buffer had to drop.", dropped);
    let drops = state.agents.iter().flat_map(|agent| {
        agent.kernel_drops.iter().map(|((class, reason), packets)| {
            let node = ("node", agent.name.to_string());
            let labels = vec![node, ("interface", (*class).to_owned()), ("reason", reason.clone())];
            (labels, *packets as f64)
        })
    });
    let help =
        "Packets of anybody that the node's kernel dropped, by class of interface and the kernel's reason.";
    families.counter("node_kernel_drops", help, drops);
}
