//! The one shared state: roster, agents with their rows, evidence. Short critical sections under one lock.
//!
//! In: rosters ([`netcheck_analysis::cluster::inventory`]), sessions and batches ([`crate::serve::session`], [`crate::state::ingest`]), the clock's tick
//! ([`HubTask`]). Out: plans and questions to the sessions, everything that readers ask for. Nothing is held across an
//! await.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use netcheck_common::domain::PathId;
use netcheck_history::writer::WriterTask;
use tokio::sync::watch;

use crate::state::agent::Agent;
use crate::state::culprits::Culprits;
use crate::state::history::{Archive, Opened, Recording};
use crate::state::locating::questions::Questions;
use crate::state::relays::Relaying;
use netcheck_analysis::cluster::roster::{LeftOut, Roster};
use netcheck_analysis::evidence::flows::LostFlows;
use netcheck_analysis::evidence::pending::PendingDrops;
use netcheck_analysis::evidence::seen_networks::SeenNetworks;
use netcheck_analysis::incident::IncidentTracker;
use netcheck_analysis::meter::Meters;
use netcheck_analysis::model::NodeIx;
use netcheck_analysis::model::clock::{nanos, unix_now_ns};
use netcheck_analysis::model::leave::Leaves;
use netcheck_analysis::plan::Catalog;
use netcheck_analysis::plan::peers::leases::Leases;
use netcheck_analysis::plan::requested::Requested;

pub mod agent;
mod agents;
pub mod cells;
mod counters;
mod culprits;
pub mod evaluating;
mod fitting;
mod guard;
pub mod history;
pub mod ingest;
mod learning;
mod locating;
mod metering;
mod news;
mod planning;
pub mod relays;
pub mod scheduled;
mod sessions;
mod settings;
mod task;
mod turns;
mod vantages;

pub use counters::Counters;
use guard::Lock;
pub use guard::StateGuard;
pub use settings::Settings;
pub use task::{HubTask, TICK};

/// Lost probes that are kept with their evidence, over all paths. The loss itself is counted in windows either way.
pub const LOST_TOTAL: usize = 200_000;

/// Everything that is known.
pub struct State {
    /// The cluster.
    pub roster: Arc<Roster>,
    /// What is probed. Plans that are not made of it yet are due.
    pub catalog: Arc<Catalog>,
    /// The roster that the catalog is made of.
    planned_roster: Arc<Roster>,
    /// What the catalog is made of has changed.
    pub stale: bool,
    /// When the roster was taken.
    pub roster_ns: i64,
    /// What is wrong with the newest inventory; the roster is then an older one.
    pub inventory_error: Option<String>,
    /// Objects of the inventory that are left out of the roster in use.
    pub left_out: LeftOut,
    /// What else is missing in it.
    pub inventory_caveat: Option<String>,
    /// What is wrong with the newest certificate; an older one is in use.
    pub tls_error: Option<String>,
    /// Every node that the roster or an agent named, until it is gone for long; vacant places among them.
    pub agents: Vec<Agent>,
    vacant: Vec<NodeIx>,
    by_name: HashMap<String, NodeIx>,
    /// Whose probe headers carry this session.
    pub by_probe_session: HashMap<u64, NodeIx>,
    /// Drop records that wait for their loss.
    pub drops: PendingDrops,
    /// Whose lost probes had which flow.
    pub lost_flows: LostFlows,
    /// Questions that wait for their answer.
    pub questions: Questions,
    /// What did it, where probes die.
    pub culprits: Culprits,
    /// Whose hooks see which secondary network of pods.
    pub seen_networks: SeenNetworks,
    /// Responders that said good-bye.
    pub leaves: Leaves,
    /// Who passes on the sessions of others.
    pub relaying: Relaying,
    /// Targets of other clusters, for as long as somebody wants them.
    pub peers: Leases,
    /// What scheduled checks ask for themselves whose rounds run, by their names.
    pub requested: BTreeMap<Arc<str>, Arc<Requested>>,
    /// Paths with lost probes whose facts changed.
    pub dirty: BTreeSet<(NodeIx, PathId)>,
    /// Nodes that reported a pod's link that went down: what died there is looked at anew with the next tick.
    pub link_reports: BTreeSet<Arc<str>>,
    /// Lost probes that are kept.
    pub lost_kept: usize,
    /// Causes of bad paths.
    pub incidents: IncidentTracker,
    /// Samples, counted for metrics.
    pub meters: Meters,
    /// When causes are looked for next.
    pub evaluate_ns: i64,
    /// Nodes that came back, and until when the paths to them stay in the plans.
    returned: BTreeMap<String, i64>,
    /// Those of them whose paths are probed at once when the plans are made.
    expedited: BTreeSet<String>,
    /// When the hub started.
    pub(crate) started_ns: i64,
    /// Nodes that are meant to leave, and since when they are (unix time).
    leaving: BTreeMap<String, i64>,
    /// Certificates that expire sooner are warned of.
    pub certificate_warning: Duration,
    /// Events.
    pub counters: Counters,
    /// What is to be recorded in history.
    pub recording: Recording,
    /// What became of what was sent to others.
    pub deliveries: netcheck_outbound::Board,
    /// Numbers of sessions.
    pub next_generation: u64,
    expired_ns: i64,
}

/// The hub.
pub struct Hub {
    /// What the operator asked for.
    pub settings: Settings,
    /// New for every start.
    pub instance: String,
    /// When it started.
    pub started_ns: i64,
    state: Lock<State>,
    /// Whoever makes plans has it. Taken before the state's lock, never after.
    planning: Mutex<()>,
    ending: AtomicBool,
    ticks: watch::Sender<i64>,
    /// What was; none where nothing is kept.
    pub archive: Option<Arc<Archive>>,
    /// Checks that Kubernetes objects ask for, as their controller left them.
    pub scheduled: scheduled::Board,
}

impl Hub {
    /// A hub that knows nothing yet, and keeps nothing.
    #[must_use]
    pub fn new(settings: Settings) -> Arc<Self> {
        Arc::new(Self::begin(settings, unix_now_ns()))
    }

    /// One that begins now with what an earlier one left.
    #[must_use]
    pub fn with_history(settings: Settings, opened: Opened, now_ns: i64) -> (Arc<Self>, WriterTask) {
        let Opened { archive, task, standing } = opened;
        let hub = Self { archive: Some(Arc::clone(&archive)), ..Self::begin(settings, now_ns) };
        hub.lock().restore(&archive, standing, now_ns);
        (Arc::new(hub), task)
    }

    fn begin(settings: Settings, started_ns: i64) -> Self {
        let state = State {
            roster: Arc::default(),
            catalog: Arc::default(),
            planned_roster: Arc::default(),
            stale: false,
            roster_ns: 0,
            inventory_error: None,
            left_out: LeftOut::default(),
            inventory_caveat: None,
            tls_error: None,
            agents: Vec::new(),
            vacant: Vec::new(),
            by_name: HashMap::new(),
            by_probe_session: HashMap::new(),
            drops: PendingDrops::default(),
            lost_flows: LostFlows::default(),
            questions: Questions::default(),
            culprits: Culprits::default(),
            seen_networks: SeenNetworks::default(),
            leaves: Leaves::default(),
            relaying: Relaying::default(),
            peers: Leases::default(),
            requested: BTreeMap::new(),
            dirty: BTreeSet::new(),
            link_reports: BTreeSet::new(),
            lost_kept: 0,
            incidents: IncidentTracker::default(),
            meters: Meters::new(settings.pair_metrics),
            evaluate_ns: 0,
            returned: BTreeMap::new(),
            expedited: BTreeSet::new(),
            started_ns,
            leaving: BTreeMap::new(),
            certificate_warning: settings.certificate_warning,
            counters: Counters::default(),
            recording: Recording::default(),
            deliveries: netcheck_outbound::Board::default(),
            next_generation: 0,
            expired_ns: 0,
        };
        Self {
            settings,
            instance: format!("{:016x}", rand::random::<u64>()),
            started_ns,
            state: Lock::new(state),
            planning: Mutex::new(()),
            ending: AtomicBool::new(false),
            ticks: watch::Sender::new(0),
            archive: None,
            scheduled: scheduled::Board::default(),
        }
    }

    /// The state. Held for the length of one message or one answer; what is done to many agents is done in pieces.
    pub fn lock(&self) -> StateGuard<'_, State> {
        self.state.hold()
    }

    /// The longest that the state was held since this was asked last.
    #[must_use]
    pub fn longest_held(&self) -> Duration {
        self.state.take_longest()
    }

    /// All agents that there are, in the order of their indices, and vacant places among them.
    pub(crate) fn indices(&self) -> impl Iterator<Item = NodeIx> + use<> {
        (0..self.lock().agents.len()).map(NodeIx)
    }

    /// Changes with every tick.
    #[must_use]
    pub fn ticks(&self) -> watch::Receiver<i64> {
        self.ticks.subscribe()
    }

    /// Takes a roster, and sends the agents what changes for them: when it returns, the plans are made. That may take
    /// long where there are many; the state is not locked meanwhile.
    pub fn set_roster(&self, roster: Roster, now_ns: i64) {
        self.set_roster_despite(roster, None, now_ns);
    }

    /// The same, while something is wrong with the inventory that the roster does not mend.
    pub fn set_roster_despite(&self, roster: Roster, trouble: Option<String>, now_ns: i64) {
        let mut state = self.lock();
        let returned = roster.returned_since(&state.roster);
        let leaves = |name: &String| roster.nodes.get(name).is_some_and(|node| node.leaving_since.is_some());
        state.leaving.retain(|name, _| leaves(name));
        state.meters.follow(&roster);
        let older = std::mem::replace(&mut state.roster, Arc::new(roster));
        state.roster_ns = now_ns;
        state.inventory_error = trouble;
        state.counters.rosters += 1;
        state.keep(returned.iter().cloned(), now_ns);
        state.expedited.extend(returned);
        state.stale = true;
        state.relaying.mark_stale();
        drop(state);
        drop(older);
        self.plan_due(now_ns);
    }

    /// Does what a tick does, and makes the plans that are due.
    pub fn tick(&self, now_ns: i64) {
        self.observe(now_ns);
        self.plan_due(now_ns);
    }

    /// Renews verdicts and incidents, locates losses, asks for evidence, forgets what is old.
    pub fn observe(&self, now_ns: i64) {
        let mut state = self.lock();
        state.locate_dirty(&self.settings, now_ns);
        state.ask(self.settings.timing.timeout, now_ns);
        let link_reports = std::mem::take(&mut state.link_reports);
        let expire = now_ns - state.expired_ns > netcheck_analysis::model::clock::SECOND_NS;
        if expire {
            state.expired_ns = now_ns;
            state.drops.expire(now_ns);
            state.lost_flows.expire(now_ns);
            state.leaves.expire(now_ns - nanos(self.settings.expire));
        }
        drop(state);
        let oldest_ns = now_ns - nanos(self.settings.expire);
        self.in_pieces(self.indices(), |state, index| {
            state.judge(index, &self.settings, now_ns);
            if !link_reports.is_empty() {
                state.locate_again(index, &link_reports, &self.settings, now_ns);
            }
            if expire {
                state.expire(index, oldest_ns, now_ns);
            }
        });
        if expire {
            self.lock().end_silent(now_ns);
            self.lock().forget_meters(&self.settings, now_ns);
        }
        self.evaluate(now_ns);
        self.record_incidents(now_ns);
        self.lock().ask_culprits(now_ns);
        self.ticks.send_replace(now_ns);
    }
}

impl State {
    fn judge(&mut self, index: NodeIx, settings: &Settings, now_ns: i64) {
        let from_ns = now_ns - nanos(settings.default_range());
        let agent = &mut self.agents[index.0];
        let rules = agent.rules(&settings.timing);
        let absent = self.roster.node_absent(&agent.name).is_some();
        for row in agent.rows.iter_mut() {
            let absent = absent || self.leaves.is_away(row.path.probe.kind, row.path.probe.to(), now_ns);
            let verdict = netcheck_analysis::matrix::judging::verdict(row, &rules, absent, from_ns, now_ns);
            if verdict != row.verdict {
                row.verdict = verdict;
                row.since_ns = now_ns;
            }
            self.recording.judged(&agent.name, row, now_ns);
        }
    }

    fn expire(&mut self, index: NodeIx, oldest_ns: i64, now_ns: i64) {
        let agent = &mut self.agents[index.0];
        if agent.is_vacant() {
            return;
        }
        let wanted = self.roster.nodes.contains_key(&*agent.name);
        let (lost, over) = agent.expire(wanted, oldest_ns, now_ns);
        self.recording.gone(agent.rows.take_gone(), now_ns);
        self.lost_kept = self.lost_kept.saturating_sub(lost);
        if over {
            self.vacate(index);
        }
    }
}
