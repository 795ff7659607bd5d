//! Windows and losses of ten seconds → history. Each ten seconds of an agent are recorded when they are over and windows of
//! them are not awaited any more; what comes after that is recorded as it comes, and added. Before that, what there is of
//! them is recorded every five seconds, and replaced by what is recorded next: a hub that is killed loses no more than ten
//! seconds of what agents had reported.

use std::collections::BTreeMap;
use std::sync::Arc;

use netcheck_analysis::matrix::{HasDelays, Row, Slot};
use netcheck_analysis::model::NodeIx;
use netcheck_analysis::model::clock::{SECOND_NS, nanos};
use netcheck_history::path::PathNumber;
use netcheck_history::record::{Losses, Record, Windows};
use netcheck_history::window::{Delays, Window};
use netcheck_proto::v1;
use prost::Message as _;

use super::Archive;
use crate::state::agent::Agent;
use crate::state::{Hub, Settings, State};
use netcheck_analysis::wire;

/// Steps of history.
pub(super) const STEP_NS: i64 = 10 * SECOND_NS;
/// Agents are recorded one after the other, in so many turns of a quarter of a second.
const TURNS: usize = 16;
const TURN_NS: i64 = SECOND_NS / 4;
/// How often windows of ten seconds are recorded that are not over. With it, the second in which all is handed over, and
/// the three in which it is written, are the ten seconds that a hub may lose.
const EARLY_NS: i64 = 5 * SECOND_NS;
/// Until then the places of most losses are found.
const PLACED_NS: i64 = 30 * SECOND_NS;

/// How far an agent's windows and losses were recorded, unix nanoseconds; 0: nothing yet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reached {
    /// Windows that begin earlier are recorded already.
    pub windows_ns: i64,
    losses_ns: i64,
    /// How often windows were recorded early, since 1970.
    early: i64,
}

pub(super) const fn step_of(at_ns: i64) -> i64 {
    at_ns - at_ns.rem_euclid(STEP_NS)
}

/// How long after its end a window may come and be in time: it waits for its last probe.
fn settle_ns(settings: &Settings) -> i64 {
    let timeout = settings.timing.timeout.max(settings.timing.exchange.timeout);
    nanos(timeout + settings.timing.window).saturating_add(SECOND_NS)
}

fn add<D: HasDelays>(sum: &mut Window, slot: &Slot<D>) {
    sum.reply = sum.reply.saturating_add(slot.reply);
    for (mine, theirs) in sum.failed.iter_mut().zip(slot.failed) {
        *mine = mine.saturating_add(theirs);
    }
    sum.suspect = sum.suspect.saturating_add(slot.suspect);
    let Some(theirs) = slot.delays.delays() else { return };
    let netcheck_analysis::matrix::Delays { round_trip, network, host, responder, steps } = &*theirs;
    match &mut sum.delays {
        Some(mine) => {
            mine.round_trip.merge(round_trip);
            mine.network.merge(network);
            mine.host.merge(host);
            mine.responder.merge(responder);
            if let Some(steps) = steps {
                mine.steps.get_or_insert_default().merge(steps);
            }
        }
        none @ None => {
            *none = Some(Box::new(Delays {
                round_trip: round_trip.clone(),
                network: network.clone(),
                host: host.clone(),
                responder: responder.clone(),
                steps: steps.clone(),
            }));
        }
    }
}

/// What became of a path in a time.
fn between(row: &Row, from_ns: i64, to_ns: i64) -> Option<Window> {
    let mut slots = row.ring.started_since(from_ns).take_while(|slot| slot.start_ns < to_ns).peekable();
    slots.peek()?;
    let mut sum = Window::default();
    slots.for_each(|slot| add(&mut sum, &slot));
    (sum.sent() > 0 || sum.suspect > 0).then_some(sum)
}

/// Windows that came late, of one agent, by their ten seconds.
#[derive(Debug, Default)]
pub(in crate::state) struct Late(BTreeMap<i64, Vec<(PathNumber, Window)>>);

impl Late {
    /// One of them.
    pub(in crate::state) fn add(&mut self, archive: &Archive, source: &str, row: &mut Row, slot: &Slot) {
        let Some(number) = archive.number(source, row) else { return };
        let mut window = Window::default();
        add(&mut window, slot);
        self.0.entry(step_of(slot.start_ns)).or_default().push((number, window));
    }

    /// Records them.
    pub(in crate::state) fn record(self, archive: &Archive) {
        for (start_ns, windows) in self.0 {
            archive.record(Record::Windows(Windows { start_ns, windows, late: true }));
        }
    }
}

/// Ten seconds of an agent; none where nothing was measured.
fn windows(agent: &mut Agent, archive: &Archive, start_ns: i64, late: bool) -> Option<Record> {
    let name = Arc::clone(&agent.name);
    let rows = agent.rows.iter_mut().filter_map(|row| {
        let window = between(row, start_ns, start_ns + STEP_NS)?;
        Some((archive.number(&name, row)?, window))
    });
    let windows: Vec<(PathNumber, Window)> = rows.collect();
    (!windows.is_empty()).then_some(Record::Windows(Windows { start_ns, windows, late }))
}

impl Hub {
    /// Records what is over. `all`: also what may not be, for the hub ends.
    pub(super) fn record_windows(&self, archive: &Archive, all: bool, now_ns: i64) {
        let settle_ns = if all { -STEP_NS } else { settle_ns(&self.settings) };
        let mut records: Vec<Record> = Vec::new();
        self.in_pieces(self.indices(), |state, at| {
            let turn_ns = if all { 0 } else { (at.0 % TURNS) as i64 * TURN_NS };
            let due_ns = now_ns.saturating_sub(settle_ns).saturating_sub(turn_ns);
            state.record_windows(archive, at, (step_of(due_ns), self.started_ns), &mut records);
            if !all {
                state.record_early(archive, at, (now_ns - turn_ns, self.started_ns), &mut records);
            }
            let placed_ns = if all { STEP_NS } else { -PLACED_NS };
            state.record_losses(archive, at, step_of(now_ns.saturating_add(placed_ns)), &mut records);
        });
        for record in records {
            archive.record(record);
        }
    }
}

impl State {
    fn record_windows(
        &mut self,
        archive: &Archive,
        at: NodeIx,
        (due_ns, started_ns): (i64, i64),
        records: &mut Vec<Record>,
    ) {
        let agent = &mut self.agents[at.0];
        let reached_ns = std::mem::replace(&mut agent.reached.windows_ns, due_ns);
        let mut start_ns = match reached_ns {
            0 => agent
                .rows
                .iter()
                .filter_map(|row| Some(row.ring.since(i64::MIN).next()?.start_ns))
                .min()
                .map_or(due_ns, step_of),
            // The clock was set back.
            later_ns if later_ns > due_ns => due_ns - STEP_NS,
            reached_ns => reached_ns,
        };
        while start_ns < due_ns {
            // Of the ten seconds in which the hub began, the one before may have recorded some.
            records.extend(windows(agent, archive, start_ns, start_ns < started_ns));
            start_ns += STEP_NS;
        }
    }

    /// Records what there is of ten seconds that are not over.
    fn record_early(
        &mut self,
        archive: &Archive,
        at: NodeIx,
        (now_ns, started_ns): (i64, i64),
        records: &mut Vec<Record>,
    ) {
        let agent = &mut self.agents[at.0];
        let early = now_ns.div_euclid(EARLY_NS);
        if std::mem::replace(&mut agent.reached.early, early) == early {
            return;
        }
        // What is added can't be replaced.
        let mut start_ns = agent.reached.windows_ns.max(step_of(started_ns.saturating_add(STEP_NS - 1)));
        while start_ns <= now_ns {
            records.extend(windows(agent, archive, start_ns, false));
            start_ns += STEP_NS;
        }
    }

    fn record_losses(&mut self, archive: &Archive, at: NodeIx, due_ns: i64, records: &mut Vec<Record>) {
        let agent = &mut self.agents[at.0];
        let reached_ns = std::mem::replace(&mut agent.reached.losses_ns, due_ns);
        if !(1..due_ns).contains(&reached_ns) {
            return;
        }
        let mut counts: BTreeMap<(i64, PathNumber, Vec<u8>), u64> = BTreeMap::new();
        for row in agent.rows.iter_mut().filter(|row| !row.lost.is_empty()) {
            let Some(number) = archive.number(&agent.name, row) else { continue };
            let lost = row.lost.iter().filter(|lost| (reached_ns..due_ns).contains(&lost.sent_ns));
            for lost in lost.filter(|lost| !lost.sample.suspect) {
                let Some(location) = &lost.located.location else { continue };
                let place = v1::LocatedLoss {
                    location: Some(wire::location(location)),
                    summary: lost.located.summary.clone(),
                    ..Default::default()
                };
                *counts.entry((step_of(lost.sent_ns), number, place.encode_to_vec())).or_default() += 1;
            }
        }
        let mut by_step: BTreeMap<i64, Losses> = BTreeMap::new();
        for ((at_ns, number, place), count) in counts {
            let losses = by_step.entry(at_ns).or_insert_with(|| Losses { at_ns, counts: Vec::new() });
            losses.counts.push((number, place, count));
        }
        records.extend(by_step.into_values().map(Record::Losses));
    }

    /// Where windows of an agent that came late are recorded.
    pub(in crate::state) fn archive(&self) -> Option<Arc<Archive>> {
        self.recording.archive().cloned()
    }
}
