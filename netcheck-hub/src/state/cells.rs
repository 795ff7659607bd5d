//! Rows → cells and details, as readers see them. Pure but for the state that is passed in.

use netcheck_common::domain::Outcome;
use netcheck_common::window::Steps;
use netcheck_proto::v1;

use crate::state::State;
use netcheck_analysis::evidence::locate::{destination, exchange};
use netcheck_analysis::evidence::losses::losses;
use netcheck_analysis::evidence::{LocatedLoss, Lost};
use netcheck_analysis::matrix::Row;
use netcheck_analysis::matrix::figures::{Sums, steps};
use netcheck_analysis::matrix::flows::Flows;
use netcheck_analysis::matrix::judging::judge_row;
use netcheck_analysis::matrix::ports::Ports;
use netcheck_analysis::matrix::range::Range;
use netcheck_analysis::matrix::sizes::Sizes;
use netcheck_analysis::model::clock::timestamp;
use netcheck_analysis::model::verdict::{Rules, Verdict};
use netcheck_analysis::model::{NodeIx, Pattern};
use netcheck_analysis::plan::Target;
use netcheck_analysis::plan::selector::Selector;
use netcheck_analysis::wire;
use netcheck_analysis::wire::target::wire_path;

/// A cell and what the report needs beyond it.
#[derive(Clone, Debug)]
pub struct Cell {
    /// What readers get.
    pub cell: v1::MatrixCell,
    /// Its verdict.
    pub verdict: Verdict,
    /// Where most of its losses died. None where nothing is lost or nothing is known.
    pub loss: Option<LocatedLoss>,
    /// How its newest loss ended.
    pub outcome: Option<Outcome>,
    /// Why its newest loss of which all is known has no place, where none has one.
    pub unlocated: Option<String>,
    /// The facts behind its newest loss at the place that the cell names.
    pub evidence: Vec<String>,
    /// When the oldest and the newest loss in the range were sent.
    pub lost_ns: Option<(i64, i64)>,
    /// Nobody is behind its target, and somebody is meant to be: how people are informed.
    pub unbacked: Option<String>,
    /// The node that its newest lost probe went to.
    pub towards: Option<String>,
    /// Source and path.
    pub key: (NodeIx, u32),
    /// There is an agent that can probe it now.
    pub probeable: bool,
    /// All that is wrong with it is that packets of some sizes are lost: the largest that passes and the smallest
    /// that does not. Then the loss and all that is said of it is that of those packets.
    pub oversize: Option<(u16, u16)>,
    /// It loses the packets of some source ports. Then the loss and all that is said of it is that of those packets.
    pub by_port: Option<Ports>,
    /// New flows fare otherwise than old ones.
    pub flows: Option<Flows>,
}

impl Cell {
    /// What its losses have in common.
    #[must_use]
    pub fn pattern(&self) -> Pattern {
        match (&self.by_port, self.oversize) {
            (Some(_), _) => Pattern::Port,
            (None, Some(_)) => Pattern::Size,
            (None, None) => Pattern::Any,
        }
    }
}

impl State {
    /// The cells of one source that a selector selects, by path.
    #[must_use]
    pub fn cells_of(&self, at: NodeIx, rules: &Rules, selector: &Selector, range: &Range) -> Vec<Cell> {
        let agent = self.agent(at);
        let mut cells = Vec::new();
        if agent.rows.is_empty() || !selector.takes_source(&agent.name) {
            return cells;
        }
        let absent = self.roster.node_absent(&agent.name).is_some();
        for row in agent.rows.shown().filter(|row| selector.takes(&agent.name, &row.path)) {
            let probe = &row.path.probe;
            let absent = absent || self.leaves.is_away(probe.kind, probe.to(), range.now_ns);
            let verdict = judge_row(row, rules, absent, range);
            if selector.takes_verdict(verdict) {
                cells.push(self.cell(at, row, verdict, range));
            }
        }
        cells
    }

    /// One cell.
    #[must_use]
    pub fn cell(&self, at: NodeIx, row: &Row, verdict: Verdict, range: &Range) -> Cell {
        let source = &self.agent(at).name;
        let steps = row.path.probe.exchange.is_some().then(|| steps(range.slots(row)));
        let steps = steps.filter(|steps| *steps != Steps::default());
        let ordinary = || range.lost(row).filter(|lost| !lost.sample.suspect);
        let sizes = row.has_size_loss(range.now_ns);
        let only_large = verdict == Verdict::Degraded
            && ordinary().next().is_none()
            && range.slots(row).all(|slot| slot.lost() == 0);
        let ports = row.by_port(range.now_ns);
        let by_port = ports.filter(|_| verdict == Verdict::Degraded);
        let oversize = sizes.filter(|_| only_large && by_port.is_none());
        let lost: Vec<&Lost> = match (by_port, oversize) {
            (Some(_), _) => range.by_port(row).collect(),
            (None, Some(_)) => range.oversize(row).collect(),
            (None, None) => ordinary().collect(),
        };
        let loss = losses(&lost).into_iter().next();
        let flows = match verdict {
            Verdict::Degraded => Flows::new_denied(row, range.now_ns).or_else(|| Flows::old_denied(row)),
            _ => None,
        };
        let (newest, oldest) = (lost.first().copied(), lost.last().copied());
        let located = lost
            .iter()
            .copied()
            .find(|lost| loss.as_ref().map(|loss| &loss.location) == lost.located.location.as_ref());
        // Of a path that loses all of its probes the newest losses still wait for what is to be reported of them.
        let settled = lost.iter().copied().find(|lost| lost.located.want.is_none()).or(newest);
        let mut evidence = located.or(settled).map(|lost| lost.located.evidence.clone()).unwrap_or_default();
        evidence.extend(oversize.map(Sizes::line));
        evidence.extend(by_port.into_iter().flat_map(Ports::lines));
        evidence.extend(flows.as_ref().map(Flows::line));
        let bad = matches!(verdict, Verdict::Degraded | Verdict::Unreachable);
        let silent = row.backends.iter().filter(|_| bad).flat_map(|backends| backends.silent(&self.roster));
        evidence.extend(silent);
        Cell {
            verdict,
            outcome: newest.map(|lost| lost.outcome),
            unlocated: settled.filter(|_| loss.is_none()).map(|lost| lost.located.summary.clone()),
            evidence,
            oversize: oversize.map(|sizes| (sizes.passed_bytes, sizes.lost_bytes)),
            by_port: by_port.cloned(),
            flows,
            lost_ns: oldest.zip(newest).map(|(oldest, newest)| (oldest.sent_ns, newest.sent_ns)),
            towards: newest
                .and_then(|lost| destination(&self.roster, source, &row.path.probe, lost))
                .map(ToOwned::to_owned),
            unbacked: row.path.probe.target.unbacked.clone(),
            key: (at, row.path.id.0),
            probeable: self.agent(at).live.is_some()
                && row.retired_ns.is_none()
                && !self.agent(at).refused_paths.contains_key(&row.path.id.0),
            cell: v1::MatrixCell {
                path: Some(wire_path(source, self.roster.zone(source), &row.path)),
                verdict: verdict.to_wire().into(),
                stats: Some(Sums::of(range.slots(row)).to_wire()),
                loss: loss.as_ref().map(wire::located_loss),
                since: Some(timestamp(row.since_ns)),
                sizes: sizes.map(Sizes::to_wire),
                ports: ports.map(Ports::to_wire),
                backends: Vec::new(),
                inactive: false,
                measured_at: None,
                phases: steps.as_ref().map(wire::phases),
                flows: flows.as_ref().map(Flows::to_wire),
                refused: self.agent(at).refused_paths.get(&row.path.id.0).cloned().unwrap_or_default(),
                certificate_expires_at: steps
                    .and_then(|steps| steps.not_after)
                    .map(|seconds| prost_types::Timestamp { seconds, nanos: 0 }),
            },
            loss,
        }
    }

    /// One path in full.
    #[must_use]
    pub fn detail(&self, at: NodeIx, row: &Row, verdict: Verdict, range: &Range) -> v1::PathDetail {
        let ordinary = range.lost(row).filter(|lost| !lost.sample.suspect);
        let mut lost: Vec<&Lost> = ordinary.chain(range.oversize(row)).collect();
        lost.sort_by_key(|lost| std::cmp::Reverse(lost.sent_ns));
        let cell = self.cell(at, row, verdict, range).cell;
        let sizes = row.sizes.as_deref().map(Sizes::to_wire);
        let backends =
            row.backends.as_ref().map(|backends| backends.to_wire(&self.roster)).unwrap_or_default();
        v1::PathDetail {
            cell: Some(v1::MatrixCell { sizes, backends, ..cell }),
            losses: losses(&lost).iter().map(wire::located_loss).collect(),
            unlocated: lost.iter().filter(|lost| lost.located.location.is_none()).count() as u64,
            lost_probes: lost.into_iter().map(|lost| lost_probe(lost, &row.path.probe.target)).collect(),
        }
    }
}

fn lost_probe(lost: &Lost, target: &Target) -> v1::LostProbe {
    let mut evidence = lost.located.evidence.clone();
    evidence.extend(target.absent.as_ref().map(|why| format!("that is to be expected: {why}")));
    if lost.located.location.is_none() {
        evidence.push(format!("no place: {}", lost.located.summary));
    }
    v1::LostProbe {
        sample: Some(wire::lost_sample_to_wire(&lost.sample, lost.outcome)),
        sent_at: Some(timestamp(lost.sent_ns)),
        location: lost.located.location.as_ref().map(wire::location),
        evidence,
        summary: exchange::ending(lost.outcome, &lost.sample),
    }
}
