//! Rows → cells and details for readers; selectors. Pure but for the state that is passed in.

use std::time::Duration;

use netcheck_common::domain::{Family, Outcome};
use netcheck_common::window::Steps;
use netcheck_proto::{convert, v1};

use crate::clock::{nanos, timestamp};
use crate::evidence::Lost;
use crate::evidence::locate::{destination, exchange};
use crate::hub::{NodeIx, State};
use crate::matrix::{Row, Slot};
use crate::plan::{PlannedPath, Target};
use crate::ports::Ports;
use crate::sizes::Sizes;
use crate::verdict::{Rules, Verdict, View, judge};

mod figures;
mod selector;

pub use figures::{delay, stats};
use figures::{phases, steps};
pub use selector::Selector;

/// Which samples a reader asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Windows that end later count.
    pub from_ns: i64,
    /// Only windows that begin at or after `from_ns`: for checks, which want fresh samples.
    pub strict: bool,
    /// The reader's present.
    pub now_ns: i64,
}

impl Range {
    /// The newest `length`.
    #[must_use]
    pub fn newest(length: Duration, now_ns: i64) -> Self {
        Self { from_ns: now_ns.saturating_sub(nanos(length)), strict: false, now_ns }
    }

    /// Its length.
    #[must_use]
    pub fn length(&self) -> Duration {
        crate::clock::duration(self.now_ns - self.from_ns)
    }

    /// The windows of a row in it, oldest first.
    pub fn slots<'a>(&self, row: &'a Row) -> Box<dyn DoubleEndedIterator<Item = &'a Slot> + 'a> {
        if self.strict {
            Box::new(row.ring.started_since(self.from_ns))
        } else {
            Box::new(row.ring.since(self.from_ns))
        }
    }

    /// The lost probes of a row in it, newest first.
    pub fn lost<'a>(&self, row: &'a Row) -> impl Iterator<Item = &'a Lost> + Clone + use<'a> {
        // As far back as the oldest window that counts.
        let from_ns = self.slots(row).next().map_or(self.from_ns, |slot| slot.start_ns.min(self.from_ns));
        let newest = row.lost.iter().rev().take_while(move |lost| lost.sent_ns >= from_ns);
        newest.filter(|lost| !lost.tries_size())
    }

    /// The lost probes that show what is lost for its source port, newest first: as long as what they show stands.
    pub fn by_port<'a>(&self, row: &'a Row) -> impl Iterator<Item = &'a Lost> + Clone + use<'a> {
        let now_ns = self.now_ns;
        let ports = row.by_port(now_ns);
        row.lost.iter().rev().filter(move |lost| ports.is_some_and(|ports| ports.shown_by(lost, now_ns)))
    }

    /// The lost probes that show what is lost for its size, newest first. They are rarer than others, so it is not
    /// the range that counts but whether what they show still stands.
    pub fn oversize<'a>(&self, row: &'a Row) -> impl Iterator<Item = &'a Lost> + Clone + use<'a> {
        let now_ns = self.now_ns;
        let sizes = row.hurt(now_ns);
        row.lost.iter().rev().filter(move |lost| sizes.is_some_and(|sizes| sizes.shown_by(lost, now_ns)))
    }
}

/// What a cell's losses have in common, beyond their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pattern {
    /// Nothing.
    Any,
    /// Only packets of some sizes are lost.
    Size,
    /// Only packets from some source ports are lost.
    Port,
}

/// The verdict of a row over the newest samples since `from_ns`.
#[must_use]
pub fn verdict(row: &Row, rules: &Rules, source_absent: bool, from_ns: i64, now_ns: i64) -> Verdict {
    judge_row(row, rules, source_absent, &Range { from_ns, strict: false, now_ns })
}

fn judge_row(row: &Row, rules: &Rules, source_absent: bool, range: &Range) -> Verdict {
    let slower;
    let rules = if row.path.probe.exchange.is_some() {
        slower = rules.of_exchanges();
        &slower
    } else {
        rules
    };
    let (fresh_lost, fresh_lost_ns) = fresh(row, range.from_ns);
    let target = &row.path.probe.target;
    let absent = source_absent || row.retired_ns.is_some() || target.absent.is_some();
    // Ways that are chosen by port are as many as the backends of a service: one that is dead is not all of them.
    let by_port = row.by_port(range.now_ns);
    let backends = by_port.map_or(target.backends, |ports| target.backends.max(ports.ports as usize));
    let view = View { slots: range.slots(row), fresh_lost, fresh_lost_ns, backends, absent };
    let hurt = by_port.is_some() || row.hurt(range.now_ns).is_some();
    match judge(view, rules, range.now_ns) {
        // In turn again, and nothing came yet: what it was stands for as long as silence says nothing.
        Verdict::NoData if !absent && !range.strict && row.begins(rules, range.now_ns) => Verdict::Reachable,
        Verdict::Reachable if !absent && hurt => Verdict::Degraded,
        verdict => verdict,
    }
}

/// Losses that no window holds yet: how many of the newest follow each other, and when the newest was sent.
fn fresh(row: &Row, from_ns: i64) -> (u64, Option<i64>) {
    let covered_ns = row.ring.newest().map_or(from_ns, Slot::end_ns).max(from_ns);
    let mut fresh = row
        .lost
        .iter()
        .rev()
        .filter(|lost| !lost.sample.suspect)
        .take_while(|lost| lost.sent_ns >= covered_ns);
    let Some(newest) = fresh.find(|lost| !lost.tries_size()) else { return (0, None) };
    let mut expected = newest.sample.sequence;
    // Probes that try a size have numbers of their own among the others; they count for nothing here.
    let older = fresh.take_while(|lost| {
        expected = expected.wrapping_sub(1);
        lost.sample.sequence == expected
    });
    (1 + older.filter(|lost| !lost.tries_size()).count() as u64, Some(newest.sent_ns))
}

/// A cell and what the report needs beyond it.
#[derive(Clone, Debug)]
pub struct Cell {
    /// What readers get.
    pub cell: v1::MatrixCell,
    /// Its verdict.
    pub verdict: Verdict,
    /// How its newest loss ended.
    pub outcome: Option<Outcome>,
    /// Why its newest loss of which all is told has no place, where none has one.
    pub unlocated: Option<String>,
    /// The facts behind its newest loss at the place that the cell names.
    pub evidence: Vec<String>,
    /// When the oldest and the newest loss in the range were sent.
    pub lost_ns: Option<(i64, i64)>,
    /// Nobody is behind its target, and somebody is meant to be: how people are told.
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
        let sizes = row.hurt(range.now_ns);
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
        let (newest, oldest) = (lost.first().copied(), lost.last().copied());
        let told = lost
            .iter()
            .copied()
            .find(|lost| loss.as_ref().is_some_and(|loss| lost.located.location == loss.location));
        // Of a path that loses all of its probes the newest losses still wait for what is to be told of them.
        let settled = lost.iter().copied().find(|lost| lost.located.want.is_none()).or(newest);
        let mut evidence = told.or(settled).map(|lost| lost.located.evidence.clone()).unwrap_or_default();
        evidence.extend(oversize.map(Sizes::line));
        evidence.extend(by_port.into_iter().flat_map(Ports::lines));
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
                stats: Some(stats(range.slots(row))),
                loss,
                since: Some(timestamp(row.since_ns)),
                sizes: sizes.map(Sizes::to_wire),
                ports: ports.map(Ports::to_wire),
                backends: Vec::new(),
                resting: false,
                measured_at: None,
                phases: steps.as_ref().map(phases),
                certificate_expires_at: steps
                    .and_then(|steps| steps.not_after)
                    .map(|seconds| prost_types::Timestamp { seconds, nanos: 0 }),
            },
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
            losses: losses(&lost),
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
        sample: Some(lost.sample.clone()),
        sent_at: Some(timestamp(lost.sent_ns)),
        location: lost.located.location.clone(),
        evidence,
        summary: exchange::ending(&lost.sample),
    }
}

/// The path as readers see it.
#[must_use]
pub fn wire_path(source: &str, zone: &str, path: &PlannedPath) -> v1::Path {
    v1::Path {
        source_node: source.to_owned(),
        source_zone: zone.to_owned(),
        vantage: convert::vantage_to_wire(path.vantage).into(),
        target: Some(path.probe.target.to_wire()),
        kind: convert::kind_to_wire(path.probe.kind).into(),
        family: convert::family_to_wire(Family::of(path.probe.address)).into(),
        address: path
            .probe
            .exchange
            .as_ref()
            .and_then(|exchange| exchange.lookup.clone())
            .unwrap_or_else(|| path.probe.address.to_string()),
        port: u32::from(path.probe.port),
        detail: path.probe.detail(),
    }
}

/// The places where probes died, most first; what a kernel reported before what was concluded.
#[must_use]
pub fn losses(lost: &[&Lost]) -> Vec<v1::LocatedLoss> {
    let mut found: Vec<(v1::LocatedLoss, i64, i64)> = Vec::new();
    for lost in lost {
        let Some(location) = &lost.located.location else { continue };
        let same = found.iter_mut().find(|(loss, ..)| loss.location.as_ref() == Some(location));
        match same {
            Some((loss, first_ns, last_ns)) => {
                loss.probes += 1;
                *first_ns = lost.sent_ns.min(*first_ns);
                *last_ns = lost.sent_ns.max(*last_ns);
            }
            None => {
                let loss = v1::LocatedLoss {
                    location: Some(location.clone()),
                    probes: 1,
                    summary: lost.located.summary.clone(),
                    ..Default::default()
                };
                found.push((loss, lost.sent_ns, lost.sent_ns));
            }
        }
    }
    let mut losses: Vec<v1::LocatedLoss> = found
        .into_iter()
        .map(|(loss, first_ns, last_ns)| v1::LocatedLoss {
            first_seen: Some(timestamp(first_ns)),
            last_seen: Some(timestamp(last_ns)),
            ..loss
        })
        .collect();
    losses.sort_by_key(|loss| {
        let certainty = loss.location.as_ref().map_or(v1::Certainty::Inferred, v1::LossLocation::certainty);
        (std::cmp::Reverse(loss.probes), certainty)
    });
    losses
}
