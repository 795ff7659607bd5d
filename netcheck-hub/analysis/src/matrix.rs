//! One row per path: a short ring of windows, the newest lost probes, and the verdict that stands. Pure.
//!
//! Rows live in flat vectors, one per source, ascending by path id: batches come in that order. All times are unix
//! nanoseconds on the hub's own axis.

use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use netcheck_common::domain::{Outcome, PathId};
use netcheck_common::sketch::Sketch;
use netcheck_common::window::{PathWindow, Steps};

use crate::evidence::Lost;
use crate::matrix::backends::Backends;
use crate::matrix::ports::Ports;
use crate::matrix::recorded::Recorded;
use crate::matrix::sizes::Sizes;
use crate::model::meter::Counted;
use crate::model::verdict::{Rules, Verdict};
use crate::plan::coverage::LastVerdict;
use crate::plan::{PlannedPath, Purpose};

pub mod backends;
pub mod figures;
pub mod flows;
pub mod judging;
pub mod ports;
pub mod range;
pub mod recorded;
mod ring;
pub mod sizes;
#[cfg(test)]
mod tests;

pub use ring::{Packed, Ring, SLOTS_PER_PATH, Windows};

/// Lost probes that are kept for one path, with their evidence.
pub const LOST_PER_PATH: usize = 64;
/// How long a path whose turn is over is kept for windows that come late.
const INACTIVE_NS: i64 = 15 * crate::model::clock::SECOND_NS;

/// Distributions of one window. Boxed: a window without replies has none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delays {
    /// t5 − t0.
    pub round_trip: Sketch,
    /// (t4 − t1) − (t3 − t2).
    pub network: Sketch,
    /// (t1 − t0) + (t5 − t4).
    pub host: Sketch,
    /// t3 − t2.
    pub responder: Sketch,
    /// Of exchanges over TCP.
    pub steps: Option<Box<Steps>>,
}

impl Delays {
    fn merge(&mut self, other: &Self) {
        self.round_trip.merge(&other.round_trip);
        self.network.merge(&other.network);
        self.host.merge(&other.host);
        self.responder.merge(&other.responder);
        if let Some(steps) = &other.steps {
            self.steps.get_or_insert_default().merge(steps);
        }
    }
}

/// What holds the distributions of one window.
pub trait HasDelays {
    /// These; none where nothing was answered.
    fn delays(&self) -> Option<Cow<'_, Delays>>;

    /// Adds them to a sum.
    fn add_to(&self, sum: &mut Delays) {
        self.delays().iter().for_each(|delays| sum.merge(delays));
    }
}

impl HasDelays for Option<Box<Delays>> {
    fn delays(&self) -> Option<Cow<'_, Delays>> {
        self.as_deref().map(Cow::Borrowed)
    }
}

/// Counts of one window of one path, and its delays as they come, or as a [`Ring`] holds them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Slot<D = Option<Box<Delays>>> {
    /// Begin of the window.
    pub start_ns: i64,
    /// Its length.
    pub duration_ns: i64,
    /// Probes that ended with a reply.
    pub reply: u32,
    /// Probes that ended otherwise, as [`Outcome::FAILURES`].
    pub failed: [u32; Outcome::FAILURES.len()],
    /// Probes that could not be judged.
    pub suspect: u32,
    /// Probes with a flow of their own, beside these, that ended with a reply.
    pub new_reply: u32,
    /// The same that ended otherwise.
    pub new_lost: u32,
    /// Delays of the replies.
    pub delays: D,
}

impl<D> Slot<D> {
    /// End of the window.
    #[must_use]
    pub fn end_ns(&self) -> i64 {
        self.start_ns.saturating_add(self.duration_ns)
    }

    /// Probes that were judged and did not end with a reply.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.failed.iter().map(|&count| u64::from(count)).sum()
    }
}

impl Slot {
    /// A slot that holds one window.
    #[must_use]
    pub fn of(start_ns: i64, duration_ns: i64, window: PathWindow) -> Self {
        let PathWindow { reply, failed, suspect, new_reply, new_lost, .. } = window;
        let PathWindow { round_trip, network, host, responder, steps, .. } = window;
        let delays = Delays { round_trip, network, host, responder, steps };
        let empty = delays == Delays::default();
        let delays = (!empty).then(|| Box::new(delays));
        Self { start_ns, duration_ns, reply, failed, suspect, new_reply, new_lost, delays }
    }

    /// What was lost counts for nothing. Returns how much that was.
    pub fn excuse(&mut self) -> u64 {
        let lost = self.lost();
        self.failed = Default::default();
        self.new_lost = 0;
        self.suspect = self.suspect.saturating_add(u32::try_from(lost).unwrap_or(u32::MAX));
        lost
    }

    fn merge(&mut self, other: Self) {
        self.reply = self.reply.saturating_add(other.reply);
        for (mine, theirs) in self.failed.iter_mut().zip(other.failed) {
            *mine = mine.saturating_add(theirs);
        }
        self.suspect = self.suspect.saturating_add(other.suspect);
        self.new_reply = self.new_reply.saturating_add(other.new_reply);
        self.new_lost = self.new_lost.saturating_add(other.new_lost);
        match (&mut self.delays, other.delays) {
            (Some(mine), Some(theirs)) => mine.merge(&theirs),
            (mine @ None, theirs) => *mine = theirs,
            (Some(_), None) => {}
        }
    }
}

/// A path and what is known of it.
#[derive(Debug)]
pub struct Row {
    /// What it is. Replaced when the roster says something new about its target.
    pub path: Arc<PlannedPath>,
    /// Its windows.
    pub ring: Ring,
    /// Its newest lost probes, ascending by time sent.
    pub lost: VecDeque<Lost>,
    /// Which packet sizes pass, where that was tried.
    pub sizes: Option<Box<Sizes>>,
    /// Which source ports lose their packets, where some do.
    pub ports: Option<Box<Ports>>,
    /// Which backends its probes met, where its address is translated.
    pub backends: Option<Box<Backends>>,
    /// What stands, over the default range.
    pub verdict: Verdict,
    /// Since when.
    pub since_ns: i64,
    /// When it left the plan. It is shown as expected to be absent until it expires or comes back.
    pub retired_ns: Option<i64>,
    /// Its turn is over: it left the plan and is not shown as a row any more.
    pub inactive: bool,
    /// When it came into the plan.
    pub planned_ns: i64,
    /// What it was when it was probed last, before this turn.
    pub last_verdict: Option<LastVerdict>,
    /// It left the plan for another path of the same aim, as where a responder's port or a pod's address changed, or with the
    /// check that wanted it of another cluster: not shown any more.
    pub replaced: bool,
    /// What history knows of it.
    pub recorded: Recorded,
    /// Where its samples are counted for metrics.
    pub counted: Counted,
}

impl Row {
    fn new(path: Arc<PlannedPath>, now_ns: i64) -> Self {
        Self {
            path,
            ring: Ring::default(),
            lost: VecDeque::new(),
            sizes: None,
            ports: None,
            backends: None,
            verdict: Verdict::NoData,
            since_ns: now_ns,
            retired_ns: None,
            inactive: false,
            planned_ns: now_ns,
            last_verdict: None,
            replaced: false,
            recorded: Recorded::default(),
            counted: Counted::default(),
        }
    }

    /// Its turn is over.
    pub fn rest(&mut self, now_ns: i64) {
        self.retired_ns = Some(now_ns);
        self.inactive = true;
    }

    /// It came into the plan anew, so that nothing can be known of this turn yet, and was reachable before.
    #[must_use]
    pub fn begins(&self, rules: &Rules, now_ns: i64) -> bool {
        let newest = self.ring.newest().map_or(i64::MIN, |slot| slot.end_ns());
        self.last_verdict.is_some_and(|last_verdict| last_verdict.verdict == Verdict::Reachable)
            && newest < self.planned_ns
            && now_ns.saturating_sub(self.planned_ns) <= rules.stale_ns()
    }

    /// Each of its new flows chooses among several backends. Its old ones have chosen for good, so that one of them that fails
    /// may be met by new ones alone.
    #[must_use]
    pub fn balanced(&self) -> bool {
        self.path.probe.target.backends > 1
    }

    /// What is lost for its size.
    #[must_use]
    pub fn has_size_loss(&self, now_ns: i64) -> Option<&Sizes> {
        self.sizes.as_deref().filter(|sizes| sizes.has_size_loss(now_ns))
    }

    /// What is lost for its source port.
    #[must_use]
    pub fn by_port(&self, now_ns: i64) -> Option<&Ports> {
        self.ports.as_deref().filter(|ports| ports.stands(now_ns))
    }

    /// When the certificate of its server expires, unix seconds: of those that were seen last.
    #[must_use]
    pub fn certificate(&self) -> Option<i64> {
        self.path.probe.exchange.as_ref()?;
        let newest = self.ring.since(i64::MIN).rev();
        newest.filter_map(|slot| slot.delays.delays()?.steps.as_ref()?.not_after).next()
    }

    /// Its path's id.
    #[must_use]
    pub fn id(&self) -> PathId {
        self.path.id
    }
}

/// The rows of one source.
#[derive(Debug, Default)]
pub struct Rows {
    rows: Vec<Row>,
    /// Those that history knows and that are forgotten, other than for a while because others have their turn.
    gone: Vec<Recorded>,
}

impl Rows {
    /// Follows a plan: new paths get a row; those that left are retired, or forgotten where nothing was measured.
    pub fn follow(&mut self, paths: &[Arc<PlannedPath>], now_ns: i64) {
        let mut planned = paths.iter().peekable();
        let mut added = Vec::new();
        for row in &mut self.rows {
            while let Some(path) = planned.next_if(|path| path.id < row.path.id) {
                added.push(Row::new(Arc::clone(path), now_ns));
            }
            match planned.next_if(|path| path.id == row.path.id) {
                Some(path) => {
                    if row.path.probe.target.node != path.probe.target.node {
                        row.counted = Counted::default();
                    }
                    row.path = Arc::clone(path);
                    if row.retired_ns.take().is_some() {
                        row.planned_ns = now_ns;
                    }
                    row.inactive = false;
                }
                None => {
                    row.retired_ns.get_or_insert(now_ns);
                }
            }
        }
        let gone = &mut self.gone;
        self.rows.retain(|row| {
            let keep = row.retired_ns.is_none() || !row.ring.is_empty() || !row.lost.is_empty();
            gone.extend(Recorded::forgotten(row, keep));
            keep
        });
        self.rows.extend(added);
        self.rows.extend(planned.map(|path| Row::new(Arc::clone(path), now_ns)));
        self.rows.sort_unstable_by_key(Row::id);
        let purposes: HashSet<Purpose<'_>> = match self.retired().next() {
            Some(_) => paths.iter().map(|path| path.purpose()).collect(),
            None => HashSet::new(),
        };
        for row in &mut self.rows {
            // What another cluster has is nobody's any more once no check wants it, and so is what a check asked for.
            let target = &row.path.probe.target;
            let replaced =
                target.peer.is_some() || target.requested.is_some() || purposes.contains(&row.path.purpose());
            row.replaced = row.retired_ns.is_some() && replaced;
        }
    }

    /// Paths that left the plan and are not forgotten yet.
    pub fn retired(&self) -> impl Iterator<Item = &Arc<PlannedPath>> {
        self.rows.iter().filter(|row| row.retired_ns.is_some()).map(|row| &row.path)
    }

    /// Forgets windows that ended, and rows that were retired, before `oldest_ns`. Returns how many lost probes with
    /// evidence went with them.
    pub fn expire(&mut self, oldest_ns: i64, now_ns: i64) -> usize {
        let (mut gone, recorded) = (0, &mut self.gone);
        self.rows.retain_mut(|row| {
            row.ring.expire(oldest_ns);
            row.backends.take_if(|backends| !backends.expire(oldest_ns));
            let before = row.lost.len();
            while row.lost.front().is_some_and(|lost| lost.sent_ns < oldest_ns) {
                row.lost.pop_front();
            }
            let kept_ns = if row.inactive { oldest_ns.max(now_ns - INACTIVE_NS) } else { oldest_ns };
            let keep = row.retired_ns.is_none_or(|retired| retired >= kept_ns);
            gone += if keep { before - row.lost.len() } else { before };
            recorded.extend(Recorded::forgotten(row, keep));
            keep
        });
        gone
    }

    /// Rows that were forgotten since this was last asked, as far as history knows them.
    pub fn take_gone(&mut self) -> Vec<Recorded> {
        std::mem::take(&mut self.gone)
    }

    /// The row of a path.
    #[must_use]
    pub fn get(&self, id: PathId) -> Option<&Row> {
        self.rows.binary_search_by_key(&id, Row::id).ok().map(|at| &self.rows[at])
    }

    /// The row of a path.
    pub fn get_mut(&mut self, id: PathId) -> Option<&mut Row> {
        self.rows.binary_search_by_key(&id, Row::id).ok().map(|at| &mut self.rows[at])
    }

    /// The rows that readers see, ascending by path id.
    pub fn shown(&self) -> impl Iterator<Item = &Row> {
        self.iter().filter(|row| !row.replaced && !row.inactive)
    }

    /// All rows, ascending by path id.
    pub fn iter(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter()
    }

    /// All rows, ascending by path id.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Row> {
        self.rows.iter_mut()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}
