//! Batches of samples → rows and evidence, each exactly once.
//!
//! [`decode`] checks a batch without the lock; [`State::apply`] puts it where it belongs. A batch is known by
//! (node, boot, sequence): what was applied before is only acknowledged again. A gap is legal: the agent's buffer had
//! to drop something, and says how much.

use std::sync::Arc;

use netcheck_common::domain::{Outcome, PathId};
use netcheck_common::window::PathWindow;
use netcheck_proto::{agent, columns, convert, v1};

use crate::state::LOST_TOTAL;
use crate::state::State;
use crate::state::history::Late;
use netcheck_analysis::evidence::{DropFact, Lost, pending};
use netcheck_analysis::matrix::Row;
use netcheck_analysis::matrix::ports::Ports;
use netcheck_analysis::matrix::sizes::Sizes;
use netcheck_analysis::matrix::{LOST_PER_PATH, Slot};
use netcheck_analysis::model::NodeIx;
use netcheck_analysis::model::evidence::{DropRecord, LostSample, ProbeIdentity};
use netcheck_analysis::model::target::{ServiceAddress, TargetKind};
use netcheck_analysis::plan::PlannedPath;
use netcheck_analysis::wire;

/// A window may end this much in the future before the agent's clock is taken to have been set.
const FUTURE_NS: i64 = 2 * netcheck_analysis::model::clock::SECOND_NS;
/// Longest window that makes sense.
const LONGEST_WINDOW_NS: i64 = 3600 * netcheck_analysis::model::clock::SECOND_NS;

/// A batch whose parts hold together.
#[derive(Debug, Default)]
pub struct Decoded {
    /// Its number.
    pub sequence: u64,
    /// Windows with their begin and length on the agent's clock.
    pub windows: Vec<(i64, i64, Vec<PathWindow>)>,
    /// Lost samples and how they ended.
    pub lost: Vec<(LostSample, Outcome)>,
    /// As received.
    pub arrivals: Vec<v1::Arrival>,
    /// Records of drops.
    pub drops: Vec<DropRecord>,
    /// As received.
    pub sizes: Vec<v1::PathSize>,
    /// As received.
    pub ports: Vec<v1::PathPorts>,
    /// As received.
    pub backends: Vec<v1::BackendSeen>,
    /// As received.
    pub searches: Vec<v1::NameSearch>,
    /// As received.
    pub drop_counters: Vec<v1::DropCounter>,
    /// What the agent's buffer dropped.
    pub dropped_batches: u64,
    /// See above.
    pub dropped_samples: u64,
    /// Parts that were left out because they did not hold together.
    pub refused: u64,
}

/// Reads a batch. Parts that do not hold together are left out and counted; the rest counts.
#[must_use]
pub fn decode(batch: v1::SampleBatch) -> Decoded {
    let mut decoded = Decoded {
        sequence: batch.sequence,
        arrivals: batch.arrivals,
        drops: batch.drops.into_iter().map(agent::drop_record).map(wire::drop_record).collect(),
        drop_counters: batch.drop_counters.into_iter().map(agent::drop_counter).collect(),
        sizes: batch.sizes,
        ports: batch.ports,
        backends: batch.backends,
        searches: batch.searches.into_iter().map(agent::name_search).collect(),
        dropped_batches: batch.dropped_batches,
        dropped_samples: batch.dropped_samples,
        ..Decoded::default()
    };
    for window in &batch.windows {
        let length_ok = (1..=LONGEST_WINDOW_NS).contains(&window.duration_ns) && window.start_unix_ns >= 0;
        match columns::decode(window) {
            Ok(mut rows) if length_ok => {
                let all = rows.len();
                rows.retain(|row| is_possible(row, window.duration_ns));
                decoded.refused += (all - rows.len()) as u64;
                decoded.windows.push((window.start_unix_ns, window.duration_ns, rows));
            }
            Ok(_) => decoded.refused += 1,
            Err(error) => {
                tracing::debug!("window batch refused: {error}");
                decoded.refused += 1;
            }
        }
    }
    for sample in batch.lost {
        let outcome = convert::outcome("lost.outcome", sample.outcome);
        match (outcome, agent::lost_sample(sample)) {
            (Ok(outcome), Ok(sample)) if outcome != Outcome::Reply => {
                decoded.lost.push((wire::lost_sample(sample), outcome));
            }
            _ => decoded.refused += 1,
        }
    }
    decoded
}

/// Probes of one path in a second, at most: more than any agent is allowed to send in all.
const PROBES_PER_SECOND: i64 = 10_000;

/// Whether an agent can have sent so many probes of one path in a window of that length.
fn is_possible(row: &PathWindow, duration_ns: i64) -> bool {
    let most = (duration_ns / netcheck_analysis::model::clock::SECOND_NS + 1) * PROBES_PER_SECOND;
    let all = [row.sent(), row.suspect, row.new_reply, row.new_lost];
    all.into_iter().map(i64::from).sum::<i64>() <= most
}

/// A time of an agent's wall clock on the hub's axis. What makes no sense is put where arithmetic does: some years around
/// now.
fn on_axis(unix_ns: i64, offset_ns: i64, now_ns: i64) -> i64 {
    unix_ns.saturating_add(offset_ns).clamp(now_ns.saturating_sub(YEARS_NS), now_ns.saturating_add(YEARS_NS))
}

/// About ten years.
const YEARS_NS: i64 = 10 * 366 * 86_400 * netcheck_analysis::model::clock::SECOND_NS;

impl State {
    /// Applies a batch of a session. Returns what to acknowledge; none where the session is not the node's any more.
    pub fn apply(&mut self, node: NodeIx, generation: u64, batch: Decoded, now_ns: i64) -> Option<u64> {
        let agent = self.spoken(node, generation, now_ns)?;
        agent.last_batch_ns = Some(now_ns);
        if batch.sequence <= agent.applied_sequence {
            agent.duplicate_batches += 1;
            let applied = agent.applied_sequence;
            self.counters.batches_duplicate += 1;
            return Some(applied);
        }
        agent.applied_sequence = batch.sequence;
        agent.dropped_batches = agent.dropped_batches.saturating_add(batch.dropped_batches);
        agent.dropped_samples = agent.dropped_samples.saturating_add(batch.dropped_samples);
        agent.refused_batches += batch.refused;
        if batch.dropped_batches > 0 || batch.dropped_samples > 0 {
            agent.dropped_ns = Some(now_ns);
        }
        if batch.refused > 0 {
            agent.refused_ns = Some(now_ns);
        }
        agent.searches.take(batch.searches, now_ns);
        let most = self.meters.drops_of_a_node();
        let agent = &mut self.agents[node.0];
        for counter in &batch.drop_counters {
            self.recording.dropped(&agent.name, counter);
        }
        agent.kernel_drops.add(batch.drop_counters, agent.status.as_ref(), most);
        self.counters.batches_applied += 1;
        self.counters.samples_dropped = self.counters.samples_dropped.saturating_add(batch.dropped_samples);
        self.counters.parts_refused += batch.refused;
        let newest = batch.windows.iter().map(|&(start, length, _)| start.saturating_add(length)).max();
        let offset_ns = self.clock_offset(node, newest, now_ns);
        self.apply_windows(node, batch.windows, offset_ns, now_ns);
        self.apply_lost(node, batch.lost, offset_ns, now_ns);
        for arrival in batch.arrivals {
            self.apply_arrival(node, &arrival);
        }
        for size in &batch.sizes {
            self.apply_size(node, size, (offset_ns, now_ns));
        }
        for ports in &batch.ports {
            self.apply_ports(node, ports, (offset_ns, now_ns));
        }
        for seen in &batch.backends {
            self.apply_backend(node, seen, offset_ns);
        }
        let name = Arc::clone(&self.agent(node).name);
        for record in batch.drops {
            let observed_ns = on_axis(record.observed_unix_ns, offset_ns, now_ns);
            let fact = Arc::new(DropFact { node: Arc::clone(&name), observed_ns, record });
            self.apply_drop(&fact);
            self.drops.add(fact, now_ns);
            self.counters.drop_records += 1;
        }
        Some(batch.sequence)
    }

    /// What moves this agent's wall clock onto the hub's: measured when it said Hello, guessed where it did not say,
    /// and set anew when it can't be true any more.
    fn clock_offset(&mut self, node: NodeIx, newest_end_ns: Option<i64>, now_ns: i64) -> i64 {
        let agent = self.agent_mut(node);
        let Some(end_ns) = newest_end_ns else { return agent.clock_offset_ns.unwrap_or(0) };
        let offset_ns = agent.clock_offset_ns.unwrap_or(0);
        if end_ns.saturating_add(offset_ns) > now_ns + FUTURE_NS {
            agent.clock_offset_ns = Some(now_ns.saturating_sub(end_ns));
            tracing::warn!(node = %agent.name, "the agent's clock is ahead by {} ms", end_ns.saturating_sub(now_ns) / 1_000_000);
        }
        agent.clock_offset_ns.unwrap_or(0)
    }

    fn apply_windows(
        &mut self,
        node: NodeIx,
        windows: Vec<(i64, i64, Vec<PathWindow>)>,
        offset_ns: i64,
        now_ns: i64,
    ) {
        let (mut samples, mut suspect, mut unknown, mut excused) = (0u64, 0u64, 0u64, 0u64);
        let (mut late, archive) = (Late::default(), self.archive());
        let agent = &mut self.agents[node.0];
        let recorded_ns = agent.reached.windows_ns;
        for (start_ns, duration_ns, rows) in windows {
            let start_ns = on_axis(start_ns, offset_ns, now_ns);
            let archive = archive.as_deref().filter(|_| start_ns < recorded_ns);
            for window in rows {
                let judged = u64::from(window.sent());
                let Some(row) = agent.rows.get_mut(window.path) else {
                    unknown += judged + u64::from(window.suspect);
                    continue;
                };
                samples += judged;
                suspect += u64::from(window.suspect);
                let probe = &row.path.probe;
                self.seen_networks.learn(&agent.name, &probe.target, &window);
                let mut slot = Slot::of(start_ns, duration_ns, window);
                if self.leaves.excuses_window(probe.kind, probe.to(), (start_ns, slot.end_ns())) {
                    excused += slot.excuse();
                }
                self.meters.count(&agent.name, row, &slot, now_ns);
                if let Some(archive) = archive {
                    late.add(archive, &agent.name, row, &slot);
                }
                row.ring.add(slot);
            }
        }
        if let Some(archive) = archive {
            late.record(&archive);
        }
        agent.samples += samples;
        self.counters.samples += samples;
        self.counters.suspect += suspect;
        self.counters.excused += excused;
        self.counters.unknown_path += unknown;
    }

    fn apply_lost(&mut self, node: NodeIx, lost: Vec<(LostSample, Outcome)>, offset_ns: i64, now_ns: i64) {
        let session = self.agent(node).hello.as_ref().map_or(0, |hello| hello.probe_session);
        for (sample, outcome) in lost {
            let path = sample.path;
            let sent_ns = on_axis(sample.sent_unix_ns, offset_ns, now_ns);
            let mut lost = Lost::new(sample, outcome, sent_ns, now_ns);
            let flow = lost.flow;
            let full = self.lost_kept >= LOST_TOTAL;
            let Some(planned) = self.agent(node).rows.get(path).map(|row| Arc::clone(&row.path)) else {
                self.counters.unknown_path += 1;
                continue;
            };
            self.add_waiting(node, &planned, session, &mut lost);
            let Some(row) = self.agents[node.0].rows.get_mut(path) else { continue };
            self.counters.lost_reported += 1;
            let probe = &row.path.probe;
            if self.leaves.excuses(probe.kind, probe.to(), sent_ns) {
                continue;
            }
            if row
                .lost
                .iter()
                .any(|old| old.sample.sequence == lost.sample.sequence && old.sent_ns == sent_ns)
            {
                continue;
            }
            let at = row.lost.partition_point(|old| old.sent_ns <= sent_ns);
            row.lost.insert(at, lost);
            self.lost_kept += 1;
            if row.lost.len() > LOST_PER_PATH || full {
                row.lost.pop_front();
                self.lost_kept -= 1;
                self.counters.lost_evicted += 1;
            }
            if let Some(flow) = flow {
                self.lost_flows.add(&flow, (node, path), now_ns);
            }
            self.dirty.insert((node, path));
        }
    }

    fn apply_size(&mut self, node: NodeIx, size: &v1::PathSize, (offset_ns, now_ns): (i64, i64)) {
        let agent = &mut self.agents[node.0];
        let Some(row) = agent.rows.get_mut(PathId(size.path_id)) else {
            self.counters.unknown_path += 1;
            return;
        };
        if translated(row) {
            return;
        }
        match Sizes::read(size, row.sizes.as_deref(), offset_ns) {
            Some(sizes) => {
                row.sizes = Some(Box::new(sizes));
                self.recording.limited(&agent.name, row, now_ns);
            }
            None => self.counters.parts_refused += 1,
        }
    }

    fn apply_ports(&mut self, node: NodeIx, ports: &v1::PathPorts, (offset_ns, now_ns): (i64, i64)) {
        let agent = &mut self.agents[node.0];
        let Some(row) = agent.rows.get_mut(PathId(ports.path_id)) else {
            self.counters.unknown_path += 1;
            return;
        };
        if translated(row) {
            return;
        }
        match Ports::read(ports, offset_ns) {
            Ok(ports) => {
                row.ports = ports.map(Box::new);
                self.recording.limited(&agent.name, row, now_ns);
            }
            Err(_) => self.counters.parts_refused += 1,
        }
    }

    fn apply_backend(&mut self, node: NodeIx, seen: &v1::BackendSeen, offset_ns: i64) {
        let Some(row) = self.agent_mut(node).rows.get_mut(PathId(seen.path_id)) else {
            self.counters.unknown_path += 1;
            return;
        };
        if row.backends.get_or_insert_default().add(seen, offset_ns).is_err() {
            self.counters.parts_refused += 1;
        }
    }

    fn apply_arrival(&mut self, node: NodeIx, arrival: &v1::Arrival) {
        let path = PathId(arrival.path_id);
        let Some(row) = self.agent_mut(node).rows.get_mut(path) else { return };
        let found = row.lost.iter_mut().rev().find(|lost| lost.sample.sequence == arrival.sequence);
        if let Some(lost) = found {
            lost.arrival = Some(arrival.arrived);
            lost.answered_late |= arrival.answered_late;
            self.dirty.insert((node, path));
        }
    }

    /// Adds the drop records that came before a loss.
    fn add_waiting(&mut self, node: NodeIx, path: &Arc<PlannedPath>, session: u64, lost: &mut Lost) {
        let waiting = self.drops.of(session, lost);
        if waiting.is_empty() {
            return;
        }
        let course = self.course(node, path);
        for fact in waiting {
            self.counters.drop_records_misfit += u64::from(!course.offer(&fact, lost));
        }
    }

    /// Adds a drop record to the losses that are known already.
    fn apply_drop(&mut self, fact: &Arc<DropFact>) {
        let record = &fact.record;
        if let Some(ProbeIdentity { session, path, sequence }) = record.probe {
            let Some(&source) = self.by_probe_session.get(&session) else { return };
            self.offer(source, path, fact, |lost| lost.sample.sequence == sequence);
            return;
        }
        let Some(flow) = record.flow else { return };
        for (source, path) in self.lost_flows.of(&flow) {
            self.offer(source, path, fact, |lost| pending::matches(fact, lost));
        }
    }

    /// Offers a drop record to lost probes of a path.
    fn offer(&mut self, source: NodeIx, path: PathId, fact: &DropFact, of: impl Fn(&Lost) -> bool) {
        let Some(planned) = self.agent(source).rows.get(path).map(|row| Arc::clone(&row.path)) else {
            return;
        };
        let course = self.course(source, &planned);
        let Some(row) = self.agents[source.0].rows.get_mut(path) else { return };
        for lost in row.lost.iter_mut().filter(|lost| of(lost)) {
            if course.offer(fact, lost) {
                self.dirty.insert((source, path));
            } else {
                self.counters.drop_records_misfit += 1;
            }
        }
    }
}

/// Whether the packets of a path are translated on their way: then what the source's route takes is nobody's measure,
/// and from each of its ports they go to another backend.
fn translated(row: &Row) -> bool {
    let target = &row.path.probe.target;
    target.kind == TargetKind::Service && !target.is_at(ServiceAddress::Endpoint)
}
