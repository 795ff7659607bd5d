//! What each agent probes now: its plan from the catalog, and the turns where it can't probe all at once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use netcheck_common::domain::{Family, PathId, Vantage};
use netcheck_proto::v1;

use super::{NodeIx, Settings, State};
use crate::agent::Agent;
use crate::clock::{SECOND_NS, timestamp};
use crate::coverage::{Coverage, Rested, resting, standing};
use crate::plan::rotation::{Rotation, choose};
use crate::plan::{Catalog, Identity, PlannedPath, Wanted};
use crate::query::{Selector, wire_path};
use crate::roster::Roster;
use crate::verdict::Verdict;

/// How long paths to a node that came back stay in the plan, and those that somebody asked for.
const KEPT_NS: i64 = 60 * SECOND_NS;
/// Targets that somebody asked for, per source.
const ASKED: usize = 64;

/// What an agent is meant to probe, now or in turn.
fn wanted<'a>(agent: &Agent, roster: &Roster, catalog: &'a Catalog) -> Vec<Wanted<'a>> {
    let addresses = roster.nodes.get(&*agent.name).map_or(&[][..], |node| &node.addresses);
    let mut families: Vec<Family> = addresses.iter().map(|&address| Family::of(address)).collect();
    families.sort_unstable();
    families.dedup();
    catalog.of_node_and_pod(&agent.name, &families, agent.vantage.known())
}

/// The paths that are in its plan, by vantage and place in the catalog.
fn in_turn(agent: &Agent) -> HashSet<(Vantage, u32)> {
    agent.plan.plan().paths.iter().map(|path| (path.vantage, path.at)).collect()
}

/// What the planning of one agent needs to know besides the agent.
pub(super) struct Planner<'a> {
    pub(super) roster: &'a Roster,
    pub(super) catalog: &'a Catalog,
    pub(super) rotation: &'a Rotation,
    /// Nodes that came back, and until when paths to them are kept.
    pub(super) returned: &'a BTreeMap<String, i64>,
    pub(super) started_ns: i64,
    pub(super) now_ns: i64,
}

impl Planner<'_> {
    /// Gives an agent the plan of now.
    pub(super) fn plan(&self, agent: &mut Agent) {
        let now_ns = self.now_ns;
        agent.asked.retain(|_, until_ns| *until_ns > now_ns);
        let wanted = wanted(agent, self.roster, self.catalog);
        let bad: HashSet<Identity> = agent
            .rows
            .iter()
            .filter(|row| row.retired_ns.is_none())
            .filter(|row| matches!(row.verdict, Verdict::Degraded | Verdict::Unreachable))
            .map(|row| row.path.identity())
            .collect();
        let keep = |path: &Wanted<'_>| {
            let target = &path.probe.target;
            self.returned.contains_key(&target.node)
                || agent.asked.contains_key(&target.id)
                || (!bad.is_empty() && bad.contains(&path.probe.identity(path.vantage)))
        };
        let choice = choose(&agent.name, &wanted, keep, self.rotation, now_ns);
        agent.turns = choice.turns;
        let picks: Vec<Wanted<'_>> = choice.picks.iter().map(|&at| wanted[at]).collect();
        let retired: Vec<_> = agent.rows.retired().cloned().collect();
        let changed = agent.plan.update(&agent.name, &picks, self.catalog, &retired);
        if choice.turns.is_some() {
            self.rest(agent, &wanted);
        } else {
            agent.ledger.clear();
        }
        agent.rows.follow(&agent.plan.plan().paths, now_ns);
        for row in agent.rows.iter_mut().filter(|row| row.retired_ns.is_none()) {
            let known = agent.ledger.take(row.path.vantage, row.path.at, self.started_ns);
            row.rested = known.or(row.rested.take());
        }
        if let Some(plan) = changed {
            agent.plans.send_replace(plan);
        }
    }

    /// Notes what the paths are that leave the plan because their turn is over.
    fn rest(&self, agent: &mut Agent, wanted: &[Wanted<'_>]) {
        let active = in_turn(agent);
        let waiting: HashMap<Identity, u32> =
            resting(wanted, &active).map(|path| (path.probe.identity(path.vantage), path.at)).collect();
        for row in agent.rows.iter_mut().filter(|row| row.retired_ns.is_none()) {
            let Some(&at) = waiting.get(&row.path.identity()) else { continue };
            row.rest(self.now_ns);
            let judged = row.verdict != Verdict::NoData;
            let now = judged.then_some(Rested { verdict: row.verdict, measured_ns: self.now_ns });
            if let Some(rested) = now.or(row.rested) {
                agent.ledger.note(row.path.vantage, at, rested, self.started_ns);
            }
        }
    }
}

impl State {
    /// Ends the turns that are over.
    pub(super) fn take_turns(&mut self, settings: &Settings, now_ns: i64) {
        self.returned.retain(|_, until_ns| *until_ns > now_ns);
        let over = |agent: &Agent| {
            !agent.is_vacant() && agent.turns.is_some_and(|turns| turns.ends_ns <= now_ns || agent.in_demand)
        };
        self.plan_agents(settings, now_ns, over);
    }

    /// Plans anew for some agents.
    pub(super) fn plan_agents(&mut self, settings: &Settings, now_ns: i64, which: impl Fn(&Agent) -> bool) {
        let (roster, catalog) = (Arc::clone(&self.roster), Arc::clone(&self.catalog));
        let planner = Planner {
            roster: &roster,
            catalog: &catalog,
            rotation: &settings.rotation,
            returned: &self.returned,
            started_ns: self.started_ns,
            now_ns,
        };
        for agent in self.agents.iter_mut().filter(|agent| which(agent)) {
            agent.in_demand = false;
            planner.plan(agent);
        }
    }

    /// Paths to these nodes are wanted now.
    pub(super) fn keep(&mut self, nodes: impl Iterator<Item = String>, now_ns: i64) {
        self.returned.extend(nodes.map(|node| (node, now_ns + KEPT_NS)));
    }

    /// How far the paths are covered of those nodes that can't probe all of theirs at once.
    #[must_use]
    pub fn coverage(&self, now_ns: i64) -> Coverage {
        let mut coverage = Coverage::default();
        for (_, agent) in self.each() {
            let Some(turns) = &agent.turns else { continue };
            let active = in_turn(agent);
            let wanted = wanted(agent, &self.roster, &self.catalog);
            let known = resting(&wanted, &active)
                .map(|path| agent.ledger.get(path.vantage, path.at, self.started_ns));
            coverage.add(turns, active.len(), known, now_ns);
        }
        coverage
    }

    /// The cells of paths that are not in turn: what they were when they were probed last.
    #[must_use]
    pub fn resting_cells(&self, selector: &Selector, now_ns: i64) -> Vec<(NodeIx, v1::MatrixCell)> {
        let mut cells = Vec::new();
        for (index, agent) in self.each() {
            let Some(turns) = agent.turns.as_ref().filter(|_| selector.takes_source(&agent.name)) else {
                continue;
            };
            let active = in_turn(agent);
            for path in resting(&wanted(agent, &self.roster, &self.catalog), &active) {
                let rested = agent.ledger.get(path.vantage, path.at, self.started_ns);
                let verdict = standing(rested, turns, now_ns);
                let Wanted { vantage, at, probe } = *path;
                let path = PlannedPath { id: PathId(0), vantage, at, probe: probe.clone() };
                if selector.takes(&agent.name, &path) && selector.takes_verdict(verdict) {
                    let cell = v1::MatrixCell {
                        path: Some(wire_path(&agent.name, self.roster.zone(&agent.name), &path)),
                        verdict: verdict.to_wire().into(),
                        resting: true,
                        measured_at: rested.map(|rested| timestamp(rested.measured_ns)),
                        ..Default::default()
                    };
                    cells.push((index, cell));
                }
            }
        }
        cells
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
