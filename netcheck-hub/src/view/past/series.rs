//! Series: what was measured on paths, step by step.

use std::collections::BTreeMap;
use std::time::Duration;

use netcheck_analysis::matrix::figures::Sums;
use netcheck_analysis::model::clock::{
    SECOND_NS, duration, nanos, positive, timestamp, unix_now_ns, wire_duration,
};
use netcheck_analysis::plan::selector::Selector;
use netcheck_history::path::{PathIdentity, PathNumber};
use netcheck_history::reader::Point;
use netcheck_history::window::{Fidelity, Window};
use netcheck_proto::v1;

use super::cells::{Naming, judged, slot};
use super::{PastError, span};
use crate::state::Hub;

/// Series that one answer holds: each of a month is a few ten milliseconds of reading.
const PATHS: usize = 256;
/// Steps of one series.
const STEPS: i64 = 20_000;
/// How far back where nobody says.
const HOUR_NS: i64 = 3600 * SECOND_NS;
/// Lengths of steps that are chosen where nobody says one, seconds.
const LENGTHS_S: [u64; 9] = [10, 30, 60, 300, 600, 1800, 3600, 6 * 3600, 86_400];
/// Steps that are then aimed at.
const WANTED: i64 = 120;

fn length(asked: Option<Duration>, (from_ns, to_ns): (i64, i64)) -> Result<Duration, PastError> {
    let time_ns = to_ns - from_ns;
    let fits = |&length_s: &u64| time_ns / nanos(Duration::from_secs(length_s)) <= WANTED;
    let chosen = || LENGTHS_S.into_iter().find(fits).unwrap_or(86_400);
    let step = asked.unwrap_or_else(|| Duration::from_secs(chosen()));
    let step = Duration::from_secs(step.as_secs().max(1).div_ceil(10) * 10);
    if time_ns / nanos(step).max(1) > STEPS { Err(PastError::TooManySteps { most: STEPS }) } else { Ok(step) }
}

fn point(Point { start_ns, length, window }: &Point) -> v1::HistoryPoint {
    let slot = slot(window, *start_ns, nanos(*length));
    v1::HistoryPoint {
        start: Some(timestamp(*start_ns)),
        length: Some(wire_duration(*length)),
        stats: Some(Sums::of(std::iter::once(slot)).to_wire()),
        verdict: judged(window).to_wire().into(),
        coarse: window.fidelity == Fidelity::Coarser,
    }
}

/// Sums of several series.
#[derive(Default)]
struct Sum(BTreeMap<(i64, Duration), Window>);

impl Sum {
    fn add(&mut self, points: Vec<Point>) {
        for Point { start_ns, length, window } in points {
            self.0.entry((start_ns, length)).or_default().merge(&window);
        }
    }

    fn points(self) -> Vec<v1::HistoryPoint> {
        let of = |((start_ns, length), window)| point(&Point { start_ns, length, window });
        self.0.into_iter().map(of).collect()
    }
}

impl Hub {
    /// The series that a request asks for.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn path_history(
        &self,
        request: &v1::GetPathHistoryRequest,
        selector: &Selector,
    ) -> Result<v1::GetPathHistoryResponse, PastError> {
        let archive = self.archive()?;
        let now_ns = unix_now_ns();
        let (from_ns, to_ns) = span(request.from.as_ref(), request.to.as_ref(), now_ns)?;
        let to_ns = to_ns.unwrap_or(now_ns);
        let from_ns = from_ns.unwrap_or(to_ns - HOUR_NS);
        let step = length(positive(request.step.as_ref()), (from_ns, to_ns))?;
        let paths = self.known_paths(selector)?;
        if paths.len() > PATHS {
            return Err(PastError::TooManyPaths { paths: paths.len(), most: PATHS });
        }
        let (mut series, mut sum, mut unreadable) = (Vec::new(), Sum::default(), 0);
        for (number, path) in paths {
            let read = archive.reader.series(number, from_ns, to_ns, step)?;
            unreadable += read.unreadable;
            if request.together {
                sum.add(read.points);
            } else if !read.points.is_empty() {
                let points = read.points.iter().map(point).collect();
                series.push(v1::PathSeries { path: Some(path), points });
            }
        }
        if request.together {
            series.push(v1::PathSeries { path: None, points: sum.points() });
        }
        let gaps: Vec<v1::HistoryGap> = archive
            .gaps
            .iter()
            .filter(|gap| gap.from_ns < to_ns && from_ns < gap.to_ns)
            .map(|gap| v1::HistoryGap { from: Some(timestamp(gap.from_ns)), to: Some(timestamp(gap.to_ns)) })
            .collect();
        let mut notes: Vec<String> =
            Some(archive.silence(from_ns)).filter(|line| !line.is_empty()).into_iter().collect();
        if series.iter().all(|series| series.points.is_empty()) {
            notes.push("nothing was measured on these paths in that time".to_owned());
        }
        if unreadable > 0 {
            notes.push(format!("{unreadable} blocks of that time can't be read and are left out"));
        }
        if to_ns > self.recorded_ns(now_ns) {
            notes.push(format!(
                "windows of the newest {} are not in history yet",
                humantime::format_duration(Duration::from_secs(
                    duration(now_ns - self.recorded_ns(now_ns)).as_secs()
                ))
            ));
        }
        Ok(v1::GetPathHistoryResponse {
            generated_at: Some(timestamp(now_ns)),
            from: Some(timestamp(from_ns)),
            to: Some(timestamp(to_ns)),
            step: Some(wire_duration(step)),
            series,
            gaps,
            notes,
            reaches: self.reaches(),
        })
    }

    /// The paths that history knows and a selector takes; by source, then as they became known.
    fn known_paths(&self, selector: &Selector) -> Result<Vec<(PathNumber, v1::Path)>, PastError> {
        let naming = Naming::of(self);
        let names = naming.names();
        let taken = |(number, identity): (PathNumber, PathIdentity)| {
            let path = selector.takes_source(&identity.source).then(|| names.path(number, &identity))?;
            selector.takes(&identity.source, &path).then(|| (number, names.wire(&identity, &path)))
        };
        let mut paths: Vec<(PathNumber, v1::Path)> =
            self.archive()?.reader.paths()?.into_iter().filter_map(taken).collect();
        if paths.is_empty() {
            return Err(PastError::NoSuchPath);
        }
        paths.sort_by(|(a, a_path), (b, b_path)| a_path.source_node.cmp(&b_path.source_node).then(a.cmp(b)));
        Ok(paths)
    }
}
