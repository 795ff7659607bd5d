//! What readers are shown of paths that are not in turn.
//!
//! Of each agent a snapshot is taken under the lock, as far as the selector takes its paths; all else is done without it.

use std::collections::HashSet;
use std::sync::Arc;

use netcheck_common::domain::{PathId, Vantage};
use netcheck_proto::v1;

use crate::state::{Hub, State};
use netcheck_analysis::model::NodeIx;
use netcheck_analysis::model::clock::timestamp;
use netcheck_analysis::model::verdict::Verdict;
use netcheck_analysis::plan::coverage::{Coverage, LastVerdict, NodeCoverage, standing};
use netcheck_analysis::plan::rotation::RotationSlot;
use netcheck_analysis::plan::selector::Selector;
use netcheck_analysis::plan::{Catalog, NodeAssignment, Plan, PlannedPath, Probe};
use netcheck_analysis::wire::target::wire_path;

/// Cells of such paths in one answer, of about a kilobyte each. The largest clusters have a hundred times as many.
const MOST: usize = 500_000;

const VANTAGES: [Vantage; 2] = [Vantage::Host, Vantage::Pod];

/// More paths that are not in turn than one answer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "up to {0} paths match that are not in turn now, and one answer holds {MOST}: name sources, targets or verdicts"
)]
pub struct TooMany(usize);

/// Which probes of a catalog a selector takes, whoever sends them. Found once for all agents.
pub(crate) struct Chosen {
    selector: Selector,
    catalog: Arc<Catalog>,
    places: Arc<[u32]>,
}

impl Chosen {
    fn of(selector: &Selector, catalog: &Arc<Catalog>) -> Self {
        let taken = (0u32..).zip(&catalog.probes).filter(|(_, probe)| selector.takes_probe(probe));
        let places = taken.map(|(at, _)| at).collect();
        Self { selector: selector.clone(), catalog: Arc::clone(catalog), places }
    }

    /// What was found, to be kept until the next agent is asked.
    pub(crate) fn found(self) -> Found {
        Found { catalog: self.catalog, places: self.places }
    }
}

/// What a selector took of a catalog, without the selector.
pub(crate) struct Found {
    catalog: Arc<Catalog>,
    places: Arc<[u32]>,
}

impl Found {
    /// Of the selector that it was found by.
    pub(crate) fn by(self, selector: &Selector) -> Chosen {
        Chosen { selector: selector.clone(), catalog: self.catalog, places: self.places }
    }
}

/// One agent's paths that are not in turn, as of one moment.
pub(crate) struct Inactive {
    zone: String,
    catalog: Arc<Catalog>,
    share: Arc<NodeAssignment>,
    plan: Arc<Plan>,
    turns: RotationSlot,
    places: Arc<[u32]>,
    /// By place, then by vantage.
    last_verdicts: Vec<[Option<LastVerdict>; 2]>,
}

/// A path that is not in turn.
pub(crate) struct InactivePath {
    vantage: Vantage,
    at: u32,
    last_verdict: Option<LastVerdict>,
    /// What it counts as.
    pub(crate) verdict: Verdict,
}

impl InactivePath {
    /// Where its probes start.
    pub(crate) const fn vantage(&self) -> Vantage {
        self.vantage
    }

    /// Whether it had a turn that ended then or later.
    pub(crate) fn measured_since(&self, from_ns: i64) -> bool {
        self.last_verdict.is_some_and(|last_verdict| last_verdict.measured_ns >= from_ns)
    }
}

impl Inactive {
    /// The id of its target.
    pub(crate) fn target(&self, path: &InactivePath) -> &str {
        &self.probe(path).target.id
    }

    /// What it sends.
    pub(crate) fn probe(&self, path: &InactivePath) -> &Probe {
        &self.catalog.probes[path.at as usize]
    }

    /// Those that the selector takes.
    pub(crate) fn paths(&self, selector: &Selector, now_ns: i64) -> Vec<InactivePath> {
        let in_turn: HashSet<(Vantage, u32)> =
            self.plan.paths.iter().map(|path| (path.vantage, path.at)).collect();
        let mut paths = Vec::new();
        for (&at, last_verdict) in self.places.iter().zip(&self.last_verdicts) {
            let probe = &self.catalog.probes[at as usize];
            for (vantage, &last_verdict) in VANTAGES.into_iter().zip(last_verdict) {
                let verdict = standing(last_verdict, &self.turns, now_ns);
                if selector.takes_vantage(vantage)
                    && selector.takes_verdict(verdict)
                    && !in_turn.contains(&(vantage, at))
                    && self.share.prober.takes(vantage, probe)
                {
                    paths.push(InactivePath { vantage, at, last_verdict, verdict });
                }
            }
        }
        paths
    }

    /// As readers see it: what it was when it was probed last.
    pub(crate) fn cell(&self, path: &InactivePath) -> v1::MatrixCell {
        let InactivePath { vantage, at, last_verdict, verdict } = *path;
        let probe = self.catalog.probes[at as usize].clone();
        let path = PlannedPath { id: PathId(0), vantage, at, probe };
        v1::MatrixCell {
            path: Some(wire_path(&self.share.prober.node, &self.zone, &path)),
            verdict: verdict.to_wire().into(),
            inactive: true,
            measured_at: last_verdict.map(|last_verdict| timestamp(last_verdict.measured_ns)),
            ..Default::default()
        }
    }
}

impl Hub {
    /// What a selector takes of the catalog in use.
    pub(crate) fn chosen(&self, selector: &Selector) -> Chosen {
        let catalog = Arc::clone(&self.lock().catalog);
        Chosen::of(selector, &catalog)
    }

    /// Whether all that a selector takes fits into one answer.
    ///
    /// # Errors
    /// If there may be too much. By verdict, only what is well or unknown is that much.
    pub fn fits(&self, selector: &Selector) -> Result<(), TooMany> {
        if ![Verdict::Reachable, Verdict::NoData].iter().any(|verdict| selector.takes_verdict(*verdict)) {
            return Ok(());
        }
        let most = self.chosen(selector).places.len() * VANTAGES.len();
        let mut sum = 0;
        self.in_pieces(self.indices(), |state, source| {
            let agent = state.agent(source);
            let share = agent.share.as_ref().filter(|_| agent.turns.is_some());
            if let Some(share) = share.filter(|_| selector.takes_source(&agent.name)) {
                sum += most.min(share.paths as usize);
            }
        });
        if sum > MOST { Err(TooMany(sum)) } else { Ok(()) }
    }

    /// How far the paths are covered of those nodes that can't probe all of theirs at once.
    #[must_use]
    pub fn coverage(&self, now_ns: i64) -> Coverage {
        let mut coverage = Coverage::default();
        self.in_pieces(self.indices(), |state, source| state.cover(source, &mut coverage, now_ns));
        coverage
    }
}

impl State {
    /// The paths of one agent that are not in turn; none where all of its paths are.
    pub(crate) fn inactive(&self, source: NodeIx, chosen: &mut Chosen) -> Option<Inactive> {
        let agent = self.agent(source);
        let (share, turns) = (agent.share.as_ref()?, agent.turns?);
        if !chosen.selector.takes_source(&agent.name) {
            return None;
        }
        // One whose plan is not yet made of the newest.
        let older = (!Arc::ptr_eq(&chosen.catalog, &agent.catalog))
            .then(|| Chosen::of(&chosen.selector, &agent.catalog));
        if let Some(older) = older {
            *chosen = older;
        }
        let last_verdict =
            |&at: &u32| VANTAGES.map(|vantage| agent.last_verdicts.get(vantage, at, self.started_ns));
        Some(Inactive {
            zone: self.roster.zone(&agent.name).to_owned(),
            catalog: Arc::clone(&agent.catalog),
            share: Arc::clone(share),
            plan: Arc::clone(agent.plan.plan()),
            turns,
            last_verdicts: chosen.places.iter().map(last_verdict).collect(),
            places: Arc::clone(&chosen.places),
        })
    }

    /// Adds an agent's part to the coverage.
    pub(crate) fn cover(&self, source: NodeIx, coverage: &mut Coverage, now_ns: i64) {
        let agent = self.agent(source);
        if let Some((share, turns)) = agent.share.as_ref().zip(agent.turns.as_ref()) {
            let in_turn = agent.plan.plan().paths.len();
            let node =
                NodeCoverage { turns, in_turn, paths: share.paths, last_verdicts: &agent.last_verdicts };
            coverage.add(&node, self.started_ns, now_ns);
        }
    }
}
