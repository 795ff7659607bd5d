//! The plan of one node as of one moment: what it is made from ([`PlanInput`]), how ([`Planner`]), and what came of it
//! ([`PlanResult`]). Pure; takes `now`.

use std::collections::BTreeMap;
use std::sync::Arc;

use netcheck_common::domain::PathId;

use super::rotation::{Rotation, RotationSlot};
use super::{Catalog, NodeAssignment, PathIdAllocator, Plan, PlannedPath, Prober};
use crate::cluster::roster::Roster;
use crate::model::NodeIx;
use crate::plan::pod_source::PodSource;

/// What the plan of one agent is made from.
pub struct PlanInput {
    /// The agent's number.
    pub node: NodeIx,
    /// Its node's name.
    pub name: Arc<str>,
    /// The plan that it has.
    pub book: PathIdAllocator,
    /// What that was made of.
    pub catalog: Arc<Catalog>,
    /// What of that catalog was its own.
    pub share: Option<Arc<NodeAssignment>>,
    /// Its pod vantage.
    pub pod: Option<PodSource>,
    /// Where its rotation stands.
    pub turns: Option<RotationSlot>,
    /// Paths that left the plan and are not forgotten yet.
    pub retired: Vec<Arc<PlannedPath>>,
    /// Paths that lose probes: they stay in the plan.
    pub bad: Vec<Arc<PlannedPath>>,
    /// Targets that somebody asked for.
    pub asked: Vec<Arc<str>>,
    /// There is something to be taken along to a new catalog.
    pub remembers: bool,
}

/// Where each probe of a catalog was in an older one.
pub type Places = Arc<Vec<Option<u32>>>;

/// A plan that waits to be taken over.
pub struct PlanResult {
    /// What it was made from.
    pub input: PlanInput,
    /// What of the catalog is this node's.
    pub share: Arc<NodeAssignment>,
    /// Where its rotation stands now.
    pub turns: Option<RotationSlot>,
    /// The new plan.
    pub book: PathIdAllocator,
    /// What the agent has to be sent.
    pub news: Option<Arc<Plan>>,
    /// Paths that leave the plan because their turn is over, and their places in the catalog.
    pub over: Vec<(PathId, u32)>,
    /// Where the paths whose last verdicts are kept were in the node's catalog.
    pub moved: Option<Places>,
}

impl PlanResult {
    /// Whether what was known of the older catalog's probe `at` from there still is of a path of this node.
    #[must_use]
    pub fn remembers(&self, catalog: &Catalog, vantage: netcheck_common::domain::Vantage, at: u32) -> bool {
        let same = self.input.share.as_ref().is_some_and(|was| was.prober == self.share.prober);
        same && catalog.groups.is_common(at) || self.share.prober.takes(vantage, &catalog.probes[at as usize])
    }
}

/// What the planning of one agent needs to know besides the agent.
pub struct Planner<'a> {
    roster: Arc<Roster>,
    catalog: Arc<Catalog>,
    rotation: &'a Rotation,
    /// Groups to be kept in all plans.
    kept: Vec<u32>,
    now_ns: i64,
    places: Option<(Arc<Catalog>, Places)>,
}

impl<'a> Planner<'a> {
    /// By this catalog and the roster that it was made from.
    #[must_use]
    pub fn new((roster, catalog): (Arc<Roster>, Arc<Catalog>), rotation: &'a Rotation, now_ns: i64) -> Self {
        Self { roster, catalog, rotation, kept: Vec::new(), now_ns, places: None }
    }

    /// What plans are made of.
    #[must_use]
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// Keeps the paths to nodes that came back.
    pub fn keep(&mut self, returned: &BTreeMap<String, i64>) {
        if returned.is_empty() {
            return;
        }
        let Catalog { groups, probes, .. } = &*self.catalog;
        let node = |group: &u32| &probes[groups.places(*group).start as usize].target.node;
        self.kept = (0..groups.len()).filter(|group| returned.contains_key(node(group))).collect();
    }

    /// Makes the plan of now.
    pub fn draft(&mut self, input: PlanInput) -> PlanResult {
        let catalog = Arc::clone(&self.catalog);
        let groups = &catalog.groups;
        let same = Arc::ptr_eq(&input.catalog, &catalog);
        let share = input.share.clone().filter(|_| same).unwrap_or_else(|| self.share(&input));
        let find = |target: &str| groups.find(&catalog.probes, target);
        let bad = input.bad.iter().filter_map(|path| {
            if same { Some(groups.holding(path.at)) } else { find(&path.probe.target.id) }
        });
        let asked = input.asked.iter().filter_map(|target| find(target));
        let keep = bad.chain(asked).chain(self.kept.iter().copied());
        let choice = self.rotation.choose(&share, &catalog, input.turns.as_ref(), keep, self.now_ns);
        let wanted = share.wanted(&catalog, &choice.picks);
        let mut book = input.book.clone();
        let news = book.update(&input.name, &wanted, &catalog, &input.retired);
        let over = if choice.turns.is_some() { over(&input, &book, &catalog, &share) } else { Vec::new() };
        let moved = (input.remembers && !same).then(|| self.places(&input.catalog));
        PlanResult { input, share, turns: choice.turns, book, news, over, moved }
    }

    fn share(&self, input: &PlanInput) -> Arc<NodeAssignment> {
        let node = self.roster.nodes.get(&*input.name);
        // One without an address of its own can probe all the same.
        let addresses = node.map_or(&[][..], |node| match node.addresses.as_slice() {
            [] => self.roster.first_family(),
            own => own,
        });
        let prober = Prober::new(&self.catalog, Arc::clone(&input.name), addresses, input.pod.clone());
        Arc::new(NodeAssignment::of(prober, &self.catalog, self.rotation))
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
}

/// The paths that were in the plan and are wanted, but not now.
fn over(
    input: &PlanInput,
    book: &PathIdAllocator,
    catalog: &Arc<Catalog>,
    share: &NodeAssignment,
) -> Vec<(PathId, u32)> {
    let same = Arc::ptr_eq(&input.catalog, catalog);
    let mut planned = book.plan().paths.iter().map(|path| path.id).peekable();
    let mut over = Vec::new();
    for path in &input.book.plan().paths {
        while planned.next_if(|id| *id < path.id).is_some() {}
        if planned.peek() != Some(&path.id) {
            let at = if same { Some(path.at) } else { catalog.place_of(path, &share.prober) };
            over.extend(at.map(|at| (path.id, at)));
        }
    }
    over
}
