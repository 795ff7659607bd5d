//! What a check comes to: the cells source by source, so that those of a large cluster are never held all at once, then
//! the report over all of them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use netcheck_common::domain::PathId;
use netcheck_proto::v1;

use super::survey::{Since, Survey};
use super::wanted::Wanted;
use crate::state::Hub;
use crate::state::cells::Cell;
use crate::view::inactive::Found;
use crate::view::report::{self, Counts};
use netcheck_analysis::incident::Incident;
use netcheck_analysis::matrix::Row;
use netcheck_analysis::model::NodeIx;
use netcheck_analysis::model::verdict::Verdict;

/// Cells in one message.
const CELLS: usize = 500;
/// Cells that are kept to find in words what bad paths have in common. Of more, only those that lose probes are.
const KEPT: usize = 200_000;
/// Paths of a finding or an incident that are named where the cells are sent apart from the report.
const NAMED: usize = 1000;

/// The result while it is gathered.
pub(super) struct Gathering {
    since: Since,
    survey: Survey,
    sources: Box<dyn Iterator<Item = NodeIx> + Send>,
    /// Cells of the newest source that wait to be sent, and of all sources where they are sent with the result.
    out: VecDeque<v1::MatrixCell>,
    kept: Vec<Cell>,
    counts: Counts,
    not_reached: u64,
    /// What the selector takes of the catalog.
    found: Option<Found>,
}

impl Gathering {
    pub(super) fn begin(hub: &Hub, since: Since, survey: Survey) -> Self {
        Self {
            since,
            survey,
            sources: Box::new(hub.indices()),
            out: VecDeque::new(),
            kept: Vec::new(),
            counts: Counts::default(),
            not_reached: 0,
            found: None,
        }
    }

    /// The next cells that are to be sent; none when all were.
    pub(super) fn cells(&mut self, hub: &Hub, wanted: &Wanted) -> Option<v1::CheckCells> {
        while !wanted.stream_cells || self.out.len() < CELLS {
            let Some(source) = self.sources.next() else { break };
            self.gather(hub, source, wanted);
        }
        if !wanted.stream_cells || self.out.is_empty() {
            return None;
        }
        let cells = self.out.drain(..self.out.len().min(CELLS)).collect();
        Some(v1::CheckCells { cells })
    }

    fn gather(&mut self, hub: &Hub, source: NodeIx, wanted: &Wanted) {
        let range = &self.since.range;
        // Found once for all sources.
        let mut chosen = match self.found.take() {
            Some(found) => found.by(&wanted.selector),
            None => hub.chosen(&wanted.selector),
        };
        let state = hub.lock();
        let agent = state.agent(source);
        let cells = state.cells_of(source, &agent.rules(&hub.settings.timing), &wanted.selector, range);
        let turn = |row: &Row| Some((row.path.id.0, self.since.of_turn(row.last_verdict)?));
        let earlier: HashMap<u32, Verdict> = agent.rows.shown().filter_map(turn).collect();
        let found = state.inactive(source, &mut chosen);
        drop(state);
        self.found = Some(chosen.found());
        for mut cell in cells {
            if !cell.cell.path.as_ref().is_some_and(|path| wanted.takes_wire(path)) {
                continue;
            }
            cell.verdict = of_round(cell.verdict, cell.cell.stats.as_ref(), wanted.rounds);
            if let (Verdict::NoData, Some(earlier)) = (cell.verdict, earlier.get(&cell.key.1)) {
                cell.verdict = *earlier;
            }
            cell.cell.verdict = cell.verdict.to_wire().into();
            self.counts.add(cell.verdict, cell.cell.stats.as_ref());
            if wanted.lists(cell.verdict) {
                self.out.push_back(cell.cell.clone());
            }
            let fine = matches!(cell.verdict, Verdict::Reachable | Verdict::ExpectedAbsent | Verdict::NoData);
            if !fine || self.kept.len() < KEPT {
                self.kept.push(cell);
            }
        }
        let Some(found) = found else { return };
        for path in found.paths(&wanted.selector, range.now_ns) {
            let mut cell = found.cell(&path);
            if !cell.path.as_ref().is_some_and(|path| wanted.takes_wire(path)) {
                continue;
            }
            let reached = path.measured_since(self.since.turn_ns);
            self.not_reached += u64::from(!reached);
            if !wanted.take_turns {
                continue;
            }
            // What an older round found says nothing of this one.
            let verdict = if reached { path.verdict } else { Verdict::NoData };
            cell.verdict = verdict.to_wire().into();
            self.counts.add(verdict, None);
            if wanted.lists(verdict) {
                self.out.push_back(cell);
            }
        }
    }

    /// The result, when all cells were gathered.
    pub(super) fn end(mut self, hub: &Hub, wanted: &Wanted) -> v1::CheckResult {
        let state = hub.lock();
        let mut caveats = state.caveats();
        let unjudged = if wanted.narrowed { 0 } else { state.roster.unjudged() };
        let incidents = of(state.incidents.open(), &self.survey.bad);
        drop(state);
        if self.not_reached > 0 {
            let why = if wanted.take_turns {
                "had no turn in time"
            } else {
                "are not in turn now and were not checked"
            };
            caveats.push(format!("{} paths {why}", self.not_reached));
        }
        let mut report = report::build(&self.kept, &incidents, &self.since.range, caveats);
        report.unjudged = unjudged;
        report::count(&mut report, &self.counts);
        let unexplained = report::unexplained(&report.findings);
        if wanted.stream_cells {
            report.findings.iter_mut().for_each(|finding| finding.paths.truncate(NAMED));
            report.incidents.iter_mut().for_each(|incident| incident.paths.truncate(NAMED));
        }
        let round = self.survey.round(wanted);
        let fine = report.degraded + report.unreachable + report.no_data == 0;
        v1::CheckResult {
            passed: fine && round.complete && unjudged == 0,
            report: Some(report),
            cells: self.out.drain(..).collect(),
            round: Some(round),
            not_reached: self.not_reached,
            unexplained,
        }
    }
}

/// What a path was in this round. One that was probed in it is not without data because its newest samples could not be
/// judged, as those of an agent that is starved of CPU.
fn of_round(verdict: Verdict, stats: Option<&v1::PathStats>, rounds: u64) -> Verdict {
    match (verdict, stats) {
        (Verdict::NoData, Some(stats)) if stats.sent >= rounds => match stats.reply {
            0 => Verdict::Unreachable,
            reply if reply < stats.sent => Verdict::Degraded,
            _ => Verdict::Reachable,
        },
        (verdict, _) => verdict,
    }
}

/// Incidents that explain some of these paths.
fn of(open: Vec<Incident>, bad: &HashSet<(Arc<str>, PathId)>) -> Vec<Incident> {
    let mut open = open;
    open.retain(|incident| {
        incident.paths.iter().any(|of| bad.contains(&(Arc::from(&*of.source), of.path.id)))
    });
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_probed_in_a_round_is_not_without_data() {
        let stats = |sent, reply| v1::PathStats { sent, reply, ..Default::default() };
        let of = |verdict, sent, reply| of_round(verdict, Some(&stats(sent, reply)), 2);
        assert_eq!(of(Verdict::NoData, 2, 2), Verdict::Reachable);
        assert_eq!(of(Verdict::NoData, 3, 1), Verdict::Degraded);
        assert_eq!(of(Verdict::NoData, 2, 0), Verdict::Unreachable);
        assert_eq!(of(Verdict::NoData, 1, 1), Verdict::NoData, "fewer samples than are wanted");
        assert_eq!(of(Verdict::ExpectedAbsent, 5, 0), Verdict::ExpectedAbsent);
        assert_eq!(of_round(Verdict::NoData, None, 1), Verdict::NoData);
    }
}
