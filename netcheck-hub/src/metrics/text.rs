//! A snapshot as text: OpenMetrics 1.0, or Prometheus's own format 0.0.4, which has no exemplars. Pure.

use std::fmt::Write as _;

use super::family::{Exemplar, Family, Kind, Labels, Series, Snapshot, Value};

/// Which text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// <https://prometheus.io/docs/specs/om/open_metrics_spec/>.
    OpenMetrics,
    /// <https://prometheus.io/docs/instrumenting/exposition_formats/>.
    Prometheus,
}

/// Writes all families.
#[must_use]
pub fn write(snapshot: &Snapshot, format: Format) -> String {
    let mut text = String::new();
    for family in &snapshot.families {
        write_family(&mut text, family, format);
    }
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

fn write_family(text: &mut String, family: &Family, format: Format) {
    let series_name = family.series_name();
    let name = if format == Format::OpenMetrics { family.name.as_str() } else { &*series_name };
    let kind = match family.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
        Kind::Summary => "summary",
    };
    put(text, format_args!("# HELP {name} {}\n# TYPE {name} {kind}\n", family.help));
    for series in &family.series {
        write_series(text, &series_name, series, format);
    }
}

fn write_series(text: &mut String, name: &str, series: &Series, format: Format) {
    let exemplar = series.exemplar.as_ref().filter(|_| format == Format::OpenMetrics);
    let mut line = |suffix: &str, le: Option<&str>, value: f64, exemplar: Option<&Exemplar>| {
        put(text, format_args!("{name}{suffix}"));
        write_labels(text, &series.labels, le);
        put(text, format_args!(" {value}"));
        if let Some(exemplar) = exemplar {
            write_exemplar(text, exemplar);
        }
        text.push('\n');
    };
    match &series.value {
        Value::Number(value) => line("", None, *value, exemplar),
        Value::Histogram(histogram) => {
            let held = exemplar.map(|exemplar| histogram.place(exemplar.value));
            for (at, (bound, within)) in histogram.buckets.iter().enumerate() {
                let own = exemplar.filter(|_| held == Some(at));
                line("_bucket", Some(&bound.to_string()), *within as f64, own);
            }
            let own = exemplar.filter(|_| held == Some(histogram.buckets.len()));
            line("_bucket", Some("+Inf"), histogram.count as f64, own);
            line("_sum", None, histogram.sum, None);
            line("_count", None, histogram.count as f64, None);
        }
        Value::Summary { count, sum } => {
            line("_sum", None, *sum, None);
            line("_count", None, *count as f64, None);
        }
    }
}

fn write_labels(text: &mut String, labels: &Labels, le: Option<&str>) {
    let all = labels.iter().map(|(name, value)| (*name, value.as_str())).chain(le.map(|le| ("le", le)));
    let mut before = '{';
    for (name, value) in all {
        text.push(before);
        put(text, format_args!("{name}=\""));
        for letter in value.chars() {
            match letter {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            }
        }
        text.push('"');
        before = ',';
    }
    if before == ',' {
        text.push('}');
    }
}

fn write_exemplar(text: &mut String, exemplar: &Exemplar) {
    let Exemplar { incident, value, at_ns } = exemplar;
    put(text, format_args!(" # {{incident=\"{incident}\"}} {value} {}", *at_ns as f64 / 1e9));
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("writing into a string can't fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::family::{Histogram, Native};

    fn snapshot() -> Snapshot {
        let labels = vec![("node", "a\"b\\c\nd".to_owned())];
        let exemplar = |value| Some(Exemplar { incident: "65-1".to_owned(), value, at_ns: 1_500_000_000 });
        let histogram =
            Histogram { count: 3, sum: 0.5, buckets: vec![(0.001, 2)], native: Native { buckets: vec![] } };
        let family =
            |name: &str, kind, series| Family { name: name.to_owned(), help: "Words.", kind, series };
        Snapshot {
            at_ns: 0,
            families: vec![
                family(
                    "x_probes",
                    Kind::Counter,
                    vec![Series { labels, value: Value::Number(7.0), exemplar: exemplar(1.0) }],
                ),
                family(
                    "x_seconds",
                    Kind::Histogram,
                    [0.001, 0.25]
                        .map(|value| Series {
                            labels: vec![],
                            value: Value::Histogram(histogram.clone()),
                            exemplar: exemplar(value),
                        })
                        .to_vec(),
                ),
                family("x_now", Kind::Gauge, vec![Series::new(vec![], Value::Number(0.25))]),
            ],
        }
    }

    #[test]
    fn open_metrics_has_exemplars_and_an_end() {
        let expected = "# HELP x_probes Words.\n# TYPE x_probes counter\n\
            x_probes_total{node=\"a\\\"b\\\\c\\nd\"} 7 # {incident=\"65-1\"} 1 1.5\n\
            # HELP x_seconds Words.\n# TYPE x_seconds histogram\n\
            x_seconds_bucket{le=\"0.001\"} 2 # {incident=\"65-1\"} 0.001 1.5\nx_seconds_bucket{le=\"+Inf\"} 3\n\
            x_seconds_sum 0.5\nx_seconds_count 3\n\
            x_seconds_bucket{le=\"0.001\"} 2\nx_seconds_bucket{le=\"+Inf\"} 3 # {incident=\"65-1\"} 0.25 1.5\n\
            x_seconds_sum 0.5\nx_seconds_count 3\n\
            # HELP x_now Words.\n# TYPE x_now gauge\nx_now 0.25\n# EOF\n";
        assert_eq!(write(&snapshot(), Format::OpenMetrics), expected);
    }

    #[test]
    fn the_older_text_names_counters_in_full() {
        let text = write(&snapshot(), Format::Prometheus);
        assert!(text.contains("# TYPE x_probes_total counter\nx_probes_total{"), "{text}");
        assert!(!text.contains("65-1") && !text.contains("EOF"), "{text}");
    }
}
