//! What each agent probes now: what its plan is made from, and how it is taken over.

use std::sync::Arc;

use super::State;
use crate::state::agent::Agent;
use netcheck_analysis::model::NodeIx;
use netcheck_analysis::model::clock::SECOND_NS;
use netcheck_analysis::model::verdict::Verdict;
use netcheck_analysis::plan::Catalog;
use netcheck_analysis::plan::coverage::LastVerdict;
use netcheck_analysis::plan::drafting::{PlanInput, PlanResult};

/// How long paths to a node that came back stay in the plan, and those that somebody asked for.
const KEPT_NS: i64 = 60 * SECOND_NS;
/// Targets that somebody asked for, per source.
const ASKED: usize = 64;

/// What an agent's next plan is made from, as of now.
pub(super) fn input_of(node: NodeIx, agent: &mut Agent, path_seed: u64, now_ns: i64) -> PlanInput {
    agent.in_demand = false;
    agent.asked.retain(|_, until_ns| *until_ns > now_ns);
    let bad = agent.rows.iter().filter(|row| row.retired_ns.is_none());
    let bad = bad.filter(|row| matches!(row.verdict, Verdict::Degraded | Verdict::Unreachable));
    PlanInput {
        node,
        name: Arc::clone(&agent.name),
        book: agent.plan.clone().seeded(path_seed),
        catalog: Arc::clone(&agent.catalog),
        share: agent.share.clone(),
        pod: agent.vantage.known().cloned(),
        turns: agent.turns,
        retired: agent.rows.retired().cloned().collect(),
        bad: bad.map(|row| Arc::clone(&row.path)).collect(),
        asked: agent.asked.keys().cloned().collect(),
        remembers: !agent.last_verdicts.is_empty(),
    }
}

impl State {
    /// Gives an agent its plan, if it is still the one that it was made for.
    pub(super) fn take_over(&mut self, result: &PlanResult, catalog: &Arc<Catalog>, now_ns: i64) {
        let started_ns = self.started_ns;
        let agent = self.agent_mut(result.input.node);
        if !Arc::ptr_eq(&agent.name, &result.input.name) {
            return;
        }
        if let Some(moved) = &result.moved {
            agent.last_verdicts.follow(moved, |vantage, at| result.remembers(catalog, vantage, at));
        }
        agent.catalog = Arc::clone(catalog);
        agent.share = Some(Arc::clone(&result.share));
        agent.turns = result.turns;
        agent.plan = result.book.clone();
        for &(id, at) in &result.over {
            let Some(row) = agent.rows.get_mut(id) else { continue };
            row.rest(now_ns);
            let judged = row.verdict != Verdict::NoData;
            let now = judged.then_some(LastVerdict { verdict: row.verdict, measured_ns: now_ns });
            if let Some(last_verdict) = now.or(row.last_verdict) {
                agent.last_verdicts.note(row.path.vantage, at, last_verdict, started_ns);
            }
        }
        if result.turns.is_none() {
            agent.last_verdicts.clear();
        }
        agent.rows.follow(&agent.plan.plan().paths, now_ns);
        for row in agent.rows.iter_mut().filter(|row| row.retired_ns.is_none()) {
            let known = agent.last_verdicts.take(row.path.vantage, row.path.at, started_ns);
            row.last_verdict = known.or(row.last_verdict.take());
        }
        if let Some(plan) = &result.news {
            agent.plans.send_replace(Arc::clone(plan));
        }
    }

    /// Paths to these nodes are wanted now.
    pub(super) fn keep(&mut self, nodes: impl Iterator<Item = String>, now_ns: i64) {
        self.returned.extend(nodes.map(|node| (node, now_ns + KEPT_NS)));
    }

    /// Somebody looks at a path that is not in turn: it is probed for a while.
    pub fn ask_for(&mut self, index: NodeIx, target: &str, now_ns: i64) {
        let agent = self.agent_mut(index);
        if agent.asked.len() < ASKED || agent.asked.contains_key(target) {
            agent.asked.insert(target.into(), now_ns + KEPT_NS);
            agent.in_demand = true;
        }
    }
}

#[cfg(test)]
mod tests;
