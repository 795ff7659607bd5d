//! The hub's metrics → samples for remote write: what a scrape of the classic formats has. Native histograms are for
//! those who scrape.

use std::sync::Arc;

use netcheck_remote_write::{Family, Kind, Series, Source};

use crate::metrics::{self, Value};
use crate::state::Hub;

/// The metrics of a hub.
pub(super) struct Samples(pub(super) Arc<Hub>);

impl Source for Samples {
    fn families(&self) -> Vec<Family> {
        metrics::snapshot(&self.0).families.iter().map(family).collect()
    }
}

fn family(of: &metrics::Family) -> Family {
    let units = ["seconds", "bytes"];
    let unit = units.into_iter().find(|unit| of.name.ends_with(&format!("_{unit}"))).unwrap_or_default();
    Family {
        name: of.name.clone(),
        kind: match of.kind {
            metrics::Kind::Counter => Kind::Counter,
            metrics::Kind::Gauge => Kind::Gauge,
            metrics::Kind::Histogram => Kind::Histogram,
            metrics::Kind::Summary => Kind::Summary,
        },
        help: of.help.to_owned(),
        unit: unit.to_owned(),
        series: of.series.iter().flat_map(|series| samples(&of.series_name(), series)).collect(),
    }
}

fn samples(name: &str, of: &metrics::Series) -> Vec<Series> {
    let labels = || of.labels.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    let one = |suffix: &str, value: f64| Series {
        name: format!("{name}{suffix}"),
        labels: labels().collect(),
        value,
    };
    match &of.value {
        Value::Number(value) => vec![one("", *value)],
        Value::Summary { count, sum } => vec![one("_sum", *sum), one("_count", *count as f64)],
        Value::Histogram(histogram) => {
            let bounds = histogram.buckets.iter().map(|(bound, within)| (bound.to_string(), *within));
            let buckets =
                bounds.chain([("+Inf".to_owned(), histogram.count)]).map(|(bound, within)| Series {
                    name: format!("{name}_bucket"),
                    labels: labels().chain([("le".to_owned(), bound)]).collect(),
                    value: within as f64,
                });
            let rest = [one("_sum", histogram.sum), one("_count", histogram.count as f64)];
            buckets.chain(rest).collect()
        }
    }
}
