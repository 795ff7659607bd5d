//! When plans are made: the catalog where something of it changed, then the plans of all agents that are due, a few at a
//! time.
//!
//! Everything is computed from snapshots, without the state's lock, and taken over under it in short pieces. Only one
//! thread plans at a time, and it ends what it began: a catalog that changes all the time is taken once for each pass over
//! the agents. What is changed meanwhile is marked, and seen by the next pass. In between, agents are on two catalogs; each
//! knows which its paths and its last verdicts speak of.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::turns::input_of;
use super::{Hub, Settings, State};
use crate::state::agent::Agent;
use netcheck_analysis::model::NodeIx;
use netcheck_analysis::plan::Catalog;
use netcheck_analysis::plan::dns::Found;
use netcheck_analysis::plan::drafting::{PlanInput, PlanResult, Planner};
use netcheck_analysis::plan::rotation::Rotation;

/// How long one piece of work on many agents holds the lock, and the one agent more that it was about to begin.
const PIECE: Duration = Duration::from_millis(3);
/// How many agents are planned between two pieces.
const BATCH: usize = 16;

impl Hub {
    /// Makes plans where they are due: because the roster or who answers changed, because a turn is over, or because
    /// somebody asked. Returns when all are made, or when the hub ends.
    pub fn plan_due(&self, now_ns: i64) {
        let _alone = self.planning.lock().unwrap_or_else(PoisonError::into_inner);
        self.renew_relays();
        // Kept until the end: nothing large is freed under the lock.
        let _older = self.renew_catalog(now_ns);
        let mut state = self.lock();
        state.returned.retain(|_, until_ns| *until_ns > now_ns);
        let due: Vec<NodeIx> =
            state.each().filter(|(_, agent)| state.is_due(agent, now_ns)).map(|(at, _)| at).collect();
        let expedited = std::mem::take(&mut state.expedited);
        let rotation = state.rotation(&self.settings);
        let plans_of = (Arc::clone(&state.planned_roster), Arc::clone(&state.catalog));
        let mut planner = Planner::new(plans_of, &rotation, now_ns);
        let returned = if due.is_empty() { BTreeMap::new() } else { state.returned.clone() };
        drop(state);
        planner.keep(&returned);
        for batch in due.chunks(BATCH) {
            if self.is_ending() {
                return;
            }
            let mut state = self.lock();
            let seed = self.settings.path_seed;
            let inputs: Vec<PlanInput> =
                batch.iter().map(|&at| input_of(at, state.agent_mut(at), seed, now_ns)).collect();
            drop(state);
            let results: Vec<PlanResult> = inputs.into_iter().map(|input| planner.draft(input)).collect();
            let catalog = planner.catalog();
            self.in_pieces(results.iter(), |state, result| state.take_over(result, catalog, now_ns));
        }
        if !expedited.is_empty() {
            let agents = self.lock().agents.len();
            self.in_pieces((0..agents).map(NodeIx), |state, at| state.expedite(at, &expedited));
        }
    }

    /// Makes the catalog anew where something that it is made of changed. Returns the one before.
    fn renew_catalog(&self, now_ns: i64) -> Option<Arc<Catalog>> {
        let mut state = self.lock();
        let mut stale =
            std::mem::take(&mut state.stale) | state.watch_leaving(now_ns) | state.peers.expire(now_ns);
        for agent in &mut state.agents {
            stale |= agent.vantage.take_changed() | std::mem::take(&mut agent.caches_changed);
        }
        if !stale {
            return None;
        }
        state.learn(&self.settings, now_ns);
        let roster = Arc::clone(&state.roster);
        for name in roster.nodes.keys() {
            state.intern(name);
        }
        let (responders, pods, older) =
            (state.responders(), state.pod_responders(), Arc::clone(&state.catalog));
        let (caches, peers) = (state.dns_caches(), state.peers.probes());
        let requested: Vec<_> = state.requested.values().cloned().collect();
        let dns_name = state.dns_name(&self.settings);
        drop(state);
        let settings = &self.settings;
        let catalog = Catalog::of(&roster, &settings.selection, &responders, &dns_name)
            .with_dns(&roster, &dns_name, &settings.dns, &caches)
            .with_http(&roster, &settings.selection, &settings.http)
            .with_responders(&pods)
            .with_peers(&peers)
            .with_requested(&roster, &requested)
            .grouped(&older);
        let mut state = self.lock();
        state.catalog = Arc::new(catalog);
        let before = std::mem::replace(&mut state.planned_roster, roster);
        drop(state);
        drop(before);
        Some(older)
    }

    /// Does something with each of these under the lock, which whoever waits for it has in between.
    pub(crate) fn in_pieces<T>(&self, each: impl Iterator<Item = T>, mut work: impl FnMut(&mut State, T)) {
        let mut each = each.peekable();
        while each.peek().is_some() {
            let mut state = self.lock();
            let began = Instant::now();
            while let Some(next) = each.next_if(|_| began.elapsed() < PIECE) {
                work(&mut state, next);
            }
        }
    }

    /// Plans that are being made are left as they are.
    pub(super) fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }
}

impl State {
    /// How paths take turns in the plans of the catalog that stands: of the nodes that it was made for, none probes more than
    /// the hub's memory holds.
    pub(crate) fn rotation(&self, settings: &Settings) -> Rotation {
        let sources = self.planned_roster.nodes.values().filter(|node| node.unanswering().is_none());
        settings.rotation.within(settings.paths_held(), sources.count())
    }

    /// Ports of the responders of nodes whose agents reported them.
    fn responders(&self) -> BTreeMap<String, u16> {
        let reported = self.agents.iter().filter_map(|agent| {
            let hello = agent.hello.as_ref()?;
            Some((agent.name.to_string(), u16::try_from(hello.responder_port).ok()?))
        });
        reported.collect()
    }

    /// DNS caches that agents found, and on which nodes.
    fn dns_caches(&self) -> Found {
        let mut found = Found::new();
        for agent in &self.agents {
            for &address in &agent.dns_caches {
                found.entry(address).or_default().insert(agent.name.to_string());
            }
        }
        found
    }

    /// Whether its plan is to be made anew.
    fn is_due(&self, agent: &Agent, now_ns: i64) -> bool {
        !Arc::ptr_eq(&agent.catalog, &self.catalog)
            || agent.turns.is_some_and(|turns| turns.ends_ns <= now_ns || agent.in_demand)
    }
}
