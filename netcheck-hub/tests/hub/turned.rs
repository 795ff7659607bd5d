//! A hub under simulated time, with history.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use netcheck_analysis::matrix::Row;
use netcheck_analysis::matrix::range::Range;
use netcheck_analysis::model::NodeIx;
use netcheck_analysis::model::clock::{SECOND_NS, unix_now_ns};
use netcheck_common::domain::Outcome;
use netcheck_common::window::PathWindow;
use netcheck_history::retention::Retention;
use netcheck_hub::state::agent::Live;
use netcheck_hub::state::history::{Archive, Keeping};
use netcheck_hub::state::ingest::Decoded;
use netcheck_hub::state::{Hub, Settings};
use netcheck_hub::view::past::When;
use netcheck_proto::v1;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::rig::{CLUSTER, set_roster_at};

pub(crate) const RANGE: Duration = Duration::from_secs(10);

/// A hub whose clock a test turns.
pub(crate) struct Turned {
    pub(crate) hub: Arc<Hub>,
    writer: JoinHandle<()>,
    pub(crate) now_ns: i64,
    pub(crate) sequence: u64,
}

/// A while ago, at the begin of ten seconds, so that all that is simulated is past.
pub(crate) fn begin_ns() -> i64 {
    (unix_now_ns() / (10 * SECOND_NS) - 360) * 10 * SECOND_NS
}

impl Turned {
    pub(crate) fn start(dir: Option<&Path>, now_ns: i64) -> Self {
        let turned = Self::with(Settings::every(Duration::from_secs(1)), dir, now_ns);
        set_roster_at(&turned.hub, CLUSTER, now_ns);
        turned
    }

    /// Without nodes.
    pub(crate) fn with(settings: Settings, dir: Option<&Path>, now_ns: i64) -> Self {
        let keeping = Keeping { dir: dir.map(ToOwned::to_owned), retention: Retention::default() };
        let (hub, task) = Hub::with_history(settings, Archive::open(keeping, now_ns), now_ns);
        let writer = std::thread::spawn(|| task.run());
        Self { hub, writer, now_ns, sequence: 0 }
    }

    pub(crate) fn connect(&self) {
        let mut state = self.hub.lock();
        for (generation, agent) in (1_u64..).zip(state.agents.iter_mut()) {
            let (control, _closed) = mpsc::channel(1);
            agent.live = Some(Live {
                generation,
                since_ns: self.now_ns,
                heard_ns: self.now_ns,
                peer: None,
                relayed: None,
                control,
                superseded: CancellationToken::new(),
            });
        }
    }

    /// A second passes, in which probes end so.
    pub(crate) fn second(&mut self, outcome: &dyn Fn(&str, &Row) -> Outcome) {
        let start_ns = self.now_ns;
        self.now_ns += SECOND_NS;
        self.sequence += 1;
        let agents = self.hub.lock().agents.len();
        for at in 0..agents {
            let mut state = self.hub.lock();
            let agent = state.agent(NodeIx(at));
            let Some(generation) = agent.live.as_ref().map(|live| live.generation) else { continue };
            // What left the plan is not probed any more.
            let planned = agent.rows.iter().filter(|row| row.retired_ns.is_none());
            let windows = planned.map(|row| {
                let mut window = PathWindow::empty(row.id());
                let outcome = outcome(&agent.name, row);
                window.count(outcome);
                if outcome == Outcome::Reply {
                    window.round_trip.record(400_000 + u64::from(row.id().0 % 7) * 20_000);
                }
                window
            });
            let windows: Vec<PathWindow> = windows.collect();
            let batch = Decoded {
                sequence: self.sequence,
                windows: vec![(start_ns, SECOND_NS, windows)],
                ..Decoded::default()
            };
            state.apply(NodeIx(at), generation, batch, self.now_ns).unwrap();
        }
        self.hub.tick(self.now_ns);
        self.hub.remember(self.now_ns);
    }

    pub(crate) fn seconds(&mut self, seconds: usize, outcome: &dyn Fn(&str, &Row) -> Outcome) {
        (0..seconds).for_each(|_| self.second(outcome));
    }

    pub(crate) fn live(&self) -> v1::Report {
        self.hub.report(&Range::newest(RANGE, self.now_ns))
    }

    /// What was recorded is on the disk.
    pub(crate) fn written(&self) {
        self.hub.archive.as_ref().unwrap().flush(self.now_ns);
    }

    pub(crate) fn past(&self, at_ns: i64) -> v1::Report {
        self.hub.past_report(&When { at_ns, range: RANGE, judged: false }).unwrap()
    }

    /// It ends without a good-bye, and what it had not handed over is lost.
    pub(crate) fn kill(self) -> i64 {
        drop(self.hub);
        self.writer.join().unwrap();
        self.now_ns
    }
}

pub(crate) fn well(_: &str, _: &Row) -> Outcome {
    Outcome::Reply
}

/// Nobody reaches this node or its pod.
pub(crate) fn cut_off(node: &'static str) -> impl Fn(&str, &Row) -> Outcome {
    move |source, row| {
        let target = &row.path.probe.target;
        if (target.node == node) != (source == node) { Outcome::Timeout } else { Outcome::Reply }
    }
}
