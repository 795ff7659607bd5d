//! The hub → a snapshot of all metrics. The state is locked for one group of metrics at a time, and for the rows of a few
//! agents at a time.

use super::family::{Exemplar, Family, Histogram, Kind, Labels, Series, Snapshot, Value};
use super::paths::PathCounts;
use super::{agents, deliveries, history, hub as itself, measured};
use crate::state::Hub;
use netcheck_analysis::matrix::range::Range;
use netcheck_analysis::meter::DelayCounts;
use netcheck_analysis::model::clock::unix_now_ns;
use netcheck_analysis::plan::coverage::Coverage;

/// All metrics as of now.
#[must_use]
pub fn snapshot(hub: &Hub) -> Snapshot {
    let at_ns = unix_now_ns();
    let range = Range::newest(hub.settings.default_range(), at_ns);
    let (mut paths, mut coverage) = (PathCounts::default(), Coverage::default());
    hub.in_pieces(hub.indices(), |state, at| {
        paths.add(state, at, &range);
        state.cover(at, &mut coverage, at_ns);
    });
    let mut families = Families::default();
    paths.write(&mut families);
    itself::coverage(&mut families, &coverage);
    measured::write(&mut families, hub);
    itself::incidents(&mut families, &hub.lock());
    agents::write(&mut families, &hub.lock());
    itself::write(&mut families, &hub.lock());
    if let Some(archive) = &hub.archive {
        history::write(&mut families, archive);
    }
    deliveries::write(&mut families, &hub.lock().deliveries.standings());
    let mut snapshot = Snapshot { at_ns, families: families.0 };
    let help = "Series on this page.";
    let counted = Series::new(vec![], Value::Number(snapshot.series() as f64 + 1.0));
    let mut last = Families(std::mem::take(&mut snapshot.families));
    last.add(Kind::Gauge, "hub_metrics_series", help, vec![counted]);
    snapshot.families = last.0;
    snapshot
}

/// Families as they are made.
#[derive(Default)]
pub(super) struct Families(Vec<Family>);

impl Families {
    /// Adds one; `name` without what all have before it.
    pub(super) fn add(&mut self, kind: Kind, name: &str, help: &'static str, series: Vec<Series>) {
        self.0.push(Family { name: format!("netcheck_{name}"), help, kind, series });
    }

    /// One of single values.
    pub(super) fn gauge(
        &mut self,
        name: &str,
        help: &'static str,
        series: impl IntoIterator<Item = (Labels, f64)>,
    ) {
        self.add(Kind::Gauge, name, help, numbers(series));
    }

    /// The same of counts.
    pub(super) fn counter(
        &mut self,
        name: &str,
        help: &'static str,
        series: impl IntoIterator<Item = (Labels, f64)>,
    ) {
        self.add(Kind::Counter, name, help, numbers(series));
    }

    /// Delays in buckets with these bounds, none where nothing was measured.
    pub(super) fn delays(
        &mut self,
        name: &str,
        help: &'static str,
        bounds: &[f64],
        series: Vec<(Labels, &DelayCounts, Option<Exemplar>)>,
    ) {
        let made = series.into_iter().map(|(labels, delays, exemplar)| Series {
            labels,
            value: Value::Histogram(Histogram::of(delays, bounds)),
            exemplar,
        });
        let measured = |series: &Series| matches!(&series.value, Value::Histogram(of) if of.count > 0);
        let mut made: Vec<Series> = made.filter(measured).collect();
        made.sort_by(|a, b| a.labels.cmp(&b.labels));
        self.add(Kind::Histogram, name, help, made);
    }
}

fn numbers(series: impl IntoIterator<Item = (Labels, f64)>) -> Vec<Series> {
    series.into_iter().map(|(labels, value)| Series::new(labels, Value::Number(value))).collect()
}
