//! What was: the answers of the matrix, a path, the incidents and the report as of an instant in the past, or over a time.
//!
//! Figures are those of whole steps of history that ended by then; verdicts and incidents are those that stood. Of a time
//! before history began, or in which the hub was away, nothing is said: all is without data, and the answer says why. It
//! reads the disk: for threads that nobody waits for.

use std::time::Duration;

use netcheck_analysis::matrix::range::Range;
use netcheck_analysis::model::clock::{SECOND_NS, duration, nanos, positive, timestamp, wire_duration};
use netcheck_analysis::model::verdict::Verdict;
use netcheck_analysis::plan::selector::Selector;
use netcheck_history::reader::{Reach, ReadError};
use netcheck_history::record::Topic;
use netcheck_history::tier::Tier;
use netcheck_proto::v1;
use prost_types::Timestamp;

use crate::state::Hub;
use crate::state::cells::Cell;
use crate::state::history::Archive;
use crate::view::report::{self, conclusion};

mod cells;
mod events;
mod incidents;
mod series;

/// Windows of the newest are not in history yet: they wait for their last probes, and agents are read one after the other.
const NEWEST: Duration = Duration::from_secs(10);

/// A reader's clock may be ahead of the hub's by so much: its present is the hub's.
const AHEAD_NS: i64 = 60 * SECOND_NS;

/// Said where nothing was noted.
const UNKNOWN: &str = "what may have been wrong with the measurement at that time is not known";

/// There is no answer about the past.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PastError {
    /// This hub keeps none.
    #[error("this hub keeps no history")]
    NoHistory,
    /// The instant is still to come.
    #[error("{field}: that is still to come")]
    Future {
        /// Of the request.
        field: &'static str,
    },
    /// An instant that is none, or not one that anything was measured at.
    #[error("{field}: not an instant")]
    NoInstant {
        /// Of the request.
        field: &'static str,
    },
    /// The end is not after the begin.
    #[error("to: must be after from")]
    Backwards,
    /// Both an instant and a time.
    #[error("at: say either at, or from and to")]
    Both,
    /// More than one answer holds.
    #[error(
        "{paths} paths match, and one answer holds the series of {most}: name source, target or kind, or sum them up (together)"
    )]
    TooManyPaths {
        /// That match.
        paths: usize,
        /// That would do.
        most: usize,
    },
    /// More steps than one answer holds.
    #[error("step: too short, one answer holds {most} steps")]
    TooManySteps {
        /// That would do.
        most: i64,
    },
    /// Nothing was ever measured there.
    #[error("history knows no such path")]
    NoSuchPath,
    /// The store can't be read.
    #[error(transparent)]
    Unreadable(#[from] ReadError),
}

/// Which time a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct When {
    /// The instant; of a time, its end.
    pub at_ns: i64,
    /// What is looked at before it.
    pub range: Duration,
    /// The range was asked for: the verdict is what its counts come to. Else it is the one that stood.
    pub judged: bool,
}

fn instant(field: &'static str, wire: Option<&Timestamp>, now_ns: i64) -> Result<Option<i64>, PastError> {
    let Some(wire) = wire else { return Ok(None) };
    let at_ns =
        wire.seconds.checked_mul(1_000_000_000).and_then(|at_ns| at_ns.checked_add(wire.nanos.into()));
    match at_ns {
        Some(at_ns) if at_ns > now_ns.saturating_add(AHEAD_NS) => Err(PastError::Future { field }),
        Some(at_ns) if at_ns >= 0 => Ok(Some(at_ns.min(now_ns))),
        _ => Err(PastError::NoInstant { field }),
    }
}

/// Begin and end, each where it is said.
pub(crate) fn span(
    from: Option<&Timestamp>,
    to: Option<&Timestamp>,
    now_ns: i64,
) -> Result<(Option<i64>, Option<i64>), PastError> {
    let (from_ns, to_ns) = (instant("from", from, now_ns)?, instant("to", to, now_ns)?);
    match from_ns {
        Some(from_ns) if from_ns >= to_ns.unwrap_or(now_ns) => Err(PastError::Backwards),
        _ => Ok((from_ns, to_ns)),
    }
}

/// Counts the paths that waited for their turn as they were counted then.
fn add_said(report: &mut v1::Report, said: &v1::Report) {
    report.paths += said.paths;
    report.reachable += said.reachable;
    report.degraded += said.degraded;
    report.unreachable += said.unreachable;
    report.expected_absent += said.expected_absent;
    report.no_data += said.no_data;
    report.coverage.clone_from(&said.coverage);
    report.unjudged = said.unjudged;
    conclusion::conclude(report);
}

impl Hub {
    /// Which time in the past a request is about; none: now.
    ///
    /// # Errors
    /// If it is none.
    pub fn when(
        &self,
        at: Option<&Timestamp>,
        (from, to): (Option<&Timestamp>, Option<&Timestamp>),
        range: Option<&prost_types::Duration>,
        now_ns: i64,
    ) -> Result<Option<When>, PastError> {
        let at_ns = instant("at", at, now_ns)?;
        let (from_ns, to_ns) = span(from, to, now_ns)?;
        let asked = positive(range);
        let range = asked.unwrap_or_else(|| self.settings.default_range());
        match (at_ns, from_ns, to_ns) {
            (None, None, None) => Ok(None),
            (Some(at_ns), None, None) | (None, None, Some(at_ns)) => {
                Ok(Some(When { at_ns, range, judged: asked.is_some() }))
            }
            (None, Some(from_ns), to_ns) => {
                let at_ns = to_ns.unwrap_or(now_ns);
                Ok(Some(When { at_ns, range: duration(at_ns - from_ns), judged: true }))
            }
            (Some(_), _, _) => Err(PastError::Both),
        }
    }

    /// The history.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn archive(&self) -> Result<&Archive, PastError> {
        self.archive.as_deref().ok_or(PastError::NoHistory)
    }

    /// Windows that begin earlier are in history, as far as they came in time.
    pub(crate) fn recorded_ns(&self, now_ns: i64) -> i64 {
        let timing = &self.settings.timing;
        let settling = timing.timeout.max(timing.exchange.timeout) + timing.window + NEWEST;
        now_ns.saturating_sub(nanos(settling))
    }

    /// The matrix as it was.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn past_matrix(&self, selector: &Selector, when: &When) -> Result<v1::GetMatrixResponse, PastError> {
        let past = self.past(selector, when)?;
        let of_matrix = |cell: Cell| {
            let lost = |sizes: &v1::PacketSizes| sizes.smallest_lost_bytes > 0;
            v1::MatrixCell { sizes: cell.cell.sizes.clone().filter(lost), ..cell.cell }
        };
        let cells: Vec<v1::MatrixCell> = past.cells.into_iter().map(of_matrix).collect();
        Ok(v1::GetMatrixResponse {
            generated_at: Some(timestamp(when.at_ns)),
            range: Some(wire_duration(past.range.length())),
            conclusion: conclusion::of(cells.iter().map(v1::MatrixCell::verdict)).into(),
            cells,
            past: Some(past.view),
        })
    }

    /// The paths from one node to one target as they were.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn past_path(&self, selector: &Selector, when: &When) -> Result<v1::GetPathResponse, PastError> {
        let past = self.past(selector, when)?;
        if past.cells.is_empty() && past.view.no_data.is_empty() {
            return Err(PastError::NoSuchPath);
        }
        let incidents = self.past_incidents_of(&past, when)?;
        let findings = report::findings(&past.cells, &incidents.own);
        let verdicts = past.cells.iter().map(|cell| cell.cell.verdict());
        let conclusion = conclusion::of(verdicts).into();
        let detail = |cell: Cell| {
            let places = past.places.get(&cell.key.1).cloned().unwrap_or_default();
            let placed: u64 = places.iter().map(|loss| loss.probes).sum();
            let stats = cell.cell.stats.unwrap_or_default();
            v1::PathDetail {
                unlocated: stats.sent.saturating_sub(stats.reply).saturating_sub(placed),
                losses: places.iter().map(netcheck_analysis::wire::located_loss).collect(),
                cell: Some(cell.cell),
                lost_probes: Vec::new(),
            }
        };
        Ok(v1::GetPathResponse {
            generated_at: Some(timestamp(when.at_ns)),
            paths: past.cells.into_iter().map(detail).collect(),
            findings,
            conclusion,
            past: Some(past.view),
        })
    }

    /// The report as it was.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn past_report(&self, when: &When) -> Result<v1::Report, PastError> {
        let mut past = self.past(&Selector::default(), when)?;
        let incidents = self.past_incidents_of(&past, when)?;
        let archive = self.archive()?;
        let said = archive.remark_at(Topic::Rotation, when.at_ns).filter(|_| past.view.no_data.is_empty());
        if said.is_some() {
            past.cells.retain(|cell| !cell.cell.inactive);
        }
        let caveats = archive.remark_at(Topic::Caveats, when.at_ns).map(|said| said.caveats);
        let caveats = caveats.unwrap_or_else(|| vec![UNKNOWN.to_owned()]);
        let mut report = report::build(&past.cells, &incidents.own, &past.range, caveats);
        if let Some(said) = said {
            add_said(&mut report, &said);
        }
        report.generated_at = Some(timestamp(when.at_ns));
        report.incidents = incidents.recorded;
        if !past.view.no_data.is_empty() {
            report.headline.clone_from(&past.view.no_data);
            report.verdict = Verdict::NoData.to_wire().into();
        }
        report.caveats.extend((!past.view.no_data.is_empty()).then(|| past.view.no_data.clone()));
        report.caveats.extend(past.view.notes.iter().cloned());
        report.past = Some(past.view);
        report.reaches = self.reaches();
        Ok(report)
    }

    /// How far back can be asked for.
    #[must_use]
    pub fn reaches(&self) -> Vec<v1::HistoryReach> {
        let Some(archive) = &self.archive else { return Vec::new() };
        let reach = |Reach { tier, oldest_ns, bytes }: Reach| v1::HistoryReach {
            what: match tier {
                Some(Tier::Raw) => "windows of 10s with all samples".to_owned(),
                Some(tier) => format!(
                    "windows of {}",
                    humantime::format_duration(Duration::from_secs(tier.step_s().into()))
                ),
                None => "verdicts, incidents, losses by place, kernel drops, events".to_owned(),
            },
            step: tier.map(|tier| wire_duration(Duration::from_secs(tier.step_s().into()))),
            oldest: Some(timestamp(oldest_ns.max(archive.began_ns))),
            bytes,
        };
        archive.reader.reaches_back().into_iter().map(reach).collect()
    }
}

impl Archive {
    /// Why nothing can be said of an instant, in one line; empty where something can.
    pub(crate) fn silence(&self, at_ns: i64) -> String {
        let reaches = self.reader.reaches_back();
        let oldest = reaches.iter().filter(|reach| reach.tier.is_none()).map(|reach| reach.oldest_ns).min();
        let began_ns = oldest.unwrap_or(i64::MIN).max(self.began_ns);
        if at_ns < began_ns {
            return format!("history begins at {}: nothing is known of what was before", date(began_ns));
        }
        match self.gap_at(at_ns) {
            Some(gap) => format!(
                "the hub was away from {} to {}: nobody judged anything then",
                date(gap.from_ns),
                date(gap.to_ns)
            ),
            None => String::new(),
        }
    }
}

/// Day and time, UTC, as people read it.
pub(crate) fn date(unix_ns: i64) -> String {
    let time = std::time::UNIX_EPOCH + duration(unix_ns);
    humantime::format_rfc3339_seconds(time).to_string()
}

/// What was of the paths at an instant.
pub(crate) struct Past {
    pub(crate) view: v1::PastView,
    /// Of whole steps.
    pub(crate) range: Range,
    /// The number of a path stands in the place of its id.
    pub(crate) cells: Vec<Cell>,
    /// Where probes were lost, by path, most first.
    pub(crate) places: cells::Places,
}
