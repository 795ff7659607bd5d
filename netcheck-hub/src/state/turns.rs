//! What each agent probes now: its plan from the catalog, and the turns where it can't probe all at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use netcheck_common::domain::PathId;

use super::{NodeIx, State};
use crate::cluster::roster::Roster;
use crate::model::clock::SECOND_NS;
use crate::model::verdict::Verdict;
use crate::plan::coverage::Rested;
use crate::plan::rotation::{Rotation, Turns, choose};
use crate::plan::{Catalog, Plan, PlanBook, PlannedPath, Prober, Share};
use crate::state::agent::Agent;
use crate::state::agent::vantage::PodSource;

/// How long paths to a node that came back stay in the plan, and those that somebody asked for.
const KEPT_NS: i64 = 60 * SECOND_NS;
/// Targets that somebody asked for, per source.
const ASKED: usize = 64;

/// What the plan of one agent is made from, as of one moment.
pub(super) struct Brief {
    index: NodeIx,
    name: Arc<str>,
    book: PlanBook,
    catalog: Arc<Catalog>,
    share: Option<Arc<Share>>,
    pod: Option<PodSource>,
    turns: Option<Turns>,
    /// Paths that left the plan and are not forgotten yet.
    retired: Vec<Arc<PlannedPath>>,
    bad: Vec<Arc<PlannedPath>>,
    asked: Vec<Arc<str>>,
    /// There is something to be taken along to a new catalog.
    remembers: bool,
}

impl Brief {
    /// Of this agent.
    pub(super) fn of(index: NodeIx, agent: &mut Agent, now_ns: i64) -> Self {
        agent.in_demand = false;
        agent.asked.retain(|_, until_ns| *until_ns > now_ns);
        let bad = agent.rows.iter().filter(|row| row.retired_ns.is_none());
        let bad = bad.filter(|row| matches!(row.verdict, Verdict::Degraded | Verdict::Unreachable));
        Self {
            index,
            name: Arc::clone(&agent.name),
            book: agent.plan.clone(),
            catalog: Arc::clone(&agent.catalog),
            share: agent.share.clone(),
            pod: agent.vantage.known().cloned(),
            turns: agent.turns,
            retired: agent.rows.retired().cloned().collect(),
            bad: bad.map(|row| Arc::clone(&row.path)).collect(),
            asked: agent.asked.keys().cloned().collect(),
            remembers: !agent.ledger.is_empty(),
        }
    }
}

/// Where each probe of a catalog was in an older one.
type Places = Arc<Vec<Option<u32>>>;

/// A plan that waits to be taken over.
pub(super) struct Draft {
    brief: Brief,
    share: Arc<Share>,
    turns: Option<Turns>,
    book: PlanBook,
    /// What the agent has to be told.
    news: Option<Arc<Plan>>,
    /// Paths that leave the plan because their turn is over, and their places in the catalog.
    over: Vec<(PathId, u32)>,
    /// Where the ledger's paths were in its catalog.
    moved: Option<Places>,
}

/// What the planning of one agent needs to know besides the agent.
pub(super) struct Planner<'a> {
    roster: Arc<Roster>,
    catalog: Arc<Catalog>,
    rotation: &'a Rotation,
    /// Groups to be kept in all plans.
    kept: Vec<u32>,
    started_ns: i64,
    now_ns: i64,
    places: Option<(Arc<Catalog>, Places)>,
}

impl<'a> Planner<'a> {
    /// By this catalog and the roster that it was made from.
    pub(super) fn new(
        (roster, catalog): (Arc<Roster>, Arc<Catalog>),
        rotation: &'a Rotation,
        (started_ns, now_ns): (i64, i64),
    ) -> Self {
        Self { roster, catalog, rotation, kept: Vec::new(), started_ns, now_ns, places: None }
    }

    /// Keeps the paths to nodes that came back.
    pub(super) fn keep(&mut self, returned: &BTreeMap<String, i64>) {
        if returned.is_empty() {
            return;
        }
        let Catalog { groups, probes, .. } = &*self.catalog;
        let node = |group: &u32| &probes[groups.places(*group).start as usize].target.node;
        self.kept = (0..groups.len()).filter(|group| returned.contains_key(node(group))).collect();
    }

    /// Makes the plan of now.
    pub(super) fn draft(&mut self, brief: Brief) -> Draft {
        let catalog = Arc::clone(&self.catalog);
        let groups = &catalog.groups;
        let same = Arc::ptr_eq(&brief.catalog, &catalog);
        let share = brief.share.clone().filter(|_| same).unwrap_or_else(|| self.share(&brief));
        let find = |target: &str| groups.find(&catalog.probes, target);
        let bad = brief.bad.iter().filter_map(|path| {
            if same { Some(groups.holding(path.at)) } else { find(&path.probe.target.id) }
        });
        let asked = brief.asked.iter().filter_map(|target| find(target));
        let keep = bad.chain(asked).chain(self.kept.iter().copied());
        let choice = choose(&share, &catalog, brief.turns.as_ref(), keep, self.rotation, self.now_ns);
        let wanted = share.wanted(&catalog, &choice.picks);
        let mut book = brief.book.clone();
        let news = book.update(&brief.name, &wanted, &catalog, &brief.retired);
        let over = if choice.turns.is_some() { over(&brief, &book, &catalog, &share) } else { Vec::new() };
        let moved = (brief.remembers && !same).then(|| self.places(&brief.catalog));
        Draft { brief, share, turns: choice.turns, book, news, over, moved }
    }

    fn share(&self, brief: &Brief) -> Arc<Share> {
        let addresses = self.roster.nodes.get(&*brief.name).map_or(&[][..], |node| &node.addresses);
        let prober = Prober::new(&self.catalog, Arc::clone(&brief.name), addresses, brief.pod.clone());
        Arc::new(Share::of(prober, &self.catalog, self.rotation))
    }

    fn places(&mut self, older: &Arc<Catalog>) -> Places {
        match &self.places {
            Some((of, places)) if Arc::ptr_eq(of, older) => Arc::clone(places),
            _ => {
                let places = Arc::new(self.catalog.places_in(older));
                self.places = Some((Arc::clone(older), Arc::clone(&places)));
                places
            }
        }
    }

    /// Gives an agent its plan, if it is still the one that it was made for.
    pub(super) fn take_over(&self, state: &mut State, draft: &Draft) {
        let agent = state.agent_mut(draft.brief.index);
        if !Arc::ptr_eq(&agent.name, &draft.brief.name) {
            return;
        }
        let share = &draft.share;
        if let Some(moved) = &draft.moved {
            let same = draft.brief.share.as_ref().is_some_and(|was| was.prober == share.prober);
            agent.ledger.follow(moved, |vantage, at| {
                same && self.catalog.groups.is_common(at)
                    || share.prober.takes(vantage, &self.catalog.probes[at as usize])
            });
        }
        agent.catalog = Arc::clone(&self.catalog);
        agent.share = Some(Arc::clone(share));
        agent.turns = draft.turns;
        agent.plan = draft.book.clone();
        for &(id, at) in &draft.over {
            let Some(row) = agent.rows.get_mut(id) else { continue };
            row.rest(self.now_ns);
            let judged = row.verdict != Verdict::NoData;
            let now = judged.then_some(Rested { verdict: row.verdict, measured_ns: self.now_ns });
            if let Some(rested) = now.or(row.rested) {
                agent.ledger.note(row.path.vantage, at, rested, self.started_ns);
            }
        }
        if draft.turns.is_none() {
            agent.ledger.clear();
        }
        agent.rows.follow(&agent.plan.plan().paths, self.now_ns);
        for row in agent.rows.iter_mut().filter(|row| row.retired_ns.is_none()) {
            let known = agent.ledger.take(row.path.vantage, row.path.at, self.started_ns);
            row.rested = known.or(row.rested.take());
        }
        if let Some(plan) = &draft.news {
            agent.plans.send_replace(Arc::clone(plan));
        }
    }
}

/// The paths that were in the plan and are wanted, but not now.
fn over(brief: &Brief, book: &PlanBook, catalog: &Arc<Catalog>, share: &Share) -> Vec<(PathId, u32)> {
    let same = Arc::ptr_eq(&brief.catalog, catalog);
    let mut planned = book.plan().paths.iter().map(|path| path.id).peekable();
    let mut over = Vec::new();
    for path in &brief.book.plan().paths {
        while planned.next_if(|id| *id < path.id).is_some() {}
        if planned.peek() != Some(&path.id) {
            let at = if same { Some(path.at) } else { catalog.place_of(path, &share.prober) };
            over.extend(at.map(|at| (path.id, at)));
        }
    }
    over
}

impl State {
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
