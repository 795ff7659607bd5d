//! A snapshot as protobuf, which alone has native histograms: messages of `io.prometheus.client`, each with its length
//! before it. Field numbers are those of
//! <https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto>. Pure.

use prost::Message;

use super::family::{Exemplar, Family, Histogram, Kind, Labels, SCHEMA, Series, Snapshot, Value};

/// `Content-Type` of what `write` writes.
pub const CONTENT_TYPE: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// One name with its series.
#[derive(Clone, PartialEq, Message)]
pub struct MetricFamily {
    /// As in text: of counters with `_total`.
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// One sentence.
    #[prost(string, optional, tag = "2")]
    pub help: Option<String>,
    /// Its type.
    #[prost(enumeration = "MetricType", optional, tag = "3")]
    pub kind: Option<i32>,
    /// Its series.
    #[prost(message, repeated, tag = "4")]
    pub metric: Vec<Metric>,
}

/// Types, as the message numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum MetricType {
    /// Rises only.
    Counter = 0,
    /// Any value.
    Gauge = 1,
    /// Number and sum.
    Summary = 2,
    /// Classic and native buckets.
    Histogram = 4,
}

/// One label.
#[derive(Clone, PartialEq, Message)]
pub struct LabelPair {
    /// Its name.
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// Its value.
    #[prost(string, optional, tag = "2")]
    pub value: Option<String>,
}

/// One series: exactly one of its values is set.
#[derive(Clone, PartialEq, Message)]
pub struct Metric {
    /// What distinguishes it from others.
    #[prost(message, repeated, tag = "1")]
    pub label: Vec<LabelPair>,
    /// Of a gauge.
    #[prost(message, optional, tag = "2")]
    pub gauge: Option<Gauge>,
    /// Of a counter.
    #[prost(message, optional, tag = "3")]
    pub counter: Option<Counter>,
    /// Of a summary.
    #[prost(message, optional, tag = "4")]
    pub summary: Option<Summary>,
    /// Of a histogram.
    #[prost(message, optional, tag = "7")]
    pub histogram: Option<HistogramMessage>,
}

/// A gauge's value.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Gauge {
    /// It.
    #[prost(double, optional, tag = "1")]
    pub value: Option<f64>,
}

/// A counter's value.
#[derive(Clone, PartialEq, Message)]
pub struct Counter {
    /// It.
    #[prost(double, optional, tag = "1")]
    pub value: Option<f64>,
    /// Where to read on.
    #[prost(message, optional, tag = "2")]
    pub exemplar: Option<ExemplarMessage>,
}

/// A summary's values.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Summary {
    /// How many.
    #[prost(uint64, optional, tag = "1")]
    pub sample_count: Option<u64>,
    /// All together.
    #[prost(double, optional, tag = "2")]
    pub sample_sum: Option<f64>,
}

/// A histogram's values.
#[derive(Clone, PartialEq, Message)]
pub struct HistogramMessage {
    /// How many.
    #[prost(uint64, optional, tag = "1")]
    pub sample_count: Option<u64>,
    /// All together.
    #[prost(double, optional, tag = "2")]
    pub sample_sum: Option<f64>,
    /// Classic buckets.
    #[prost(message, repeated, tag = "3")]
    pub bucket: Vec<Bucket>,
    /// Of the native buckets.
    #[prost(sint32, optional, tag = "5")]
    pub schema: Option<i32>,
    /// How wide the bucket of zero is.
    #[prost(double, optional, tag = "6")]
    pub zero_threshold: Option<f64>,
    /// What is in it.
    #[prost(uint64, optional, tag = "7")]
    pub zero_count: Option<u64>,
    /// Runs of native buckets.
    #[prost(message, repeated, tag = "12")]
    pub positive_span: Vec<BucketSpan>,
    /// Their counts, as differences.
    #[prost(sint64, repeated, packed = "false", tag = "13")]
    pub positive_delta: Vec<i64>,
    /// Of the native buckets.
    #[prost(message, repeated, tag = "16")]
    pub exemplars: Vec<ExemplarMessage>,
}

/// A classic bucket.
#[derive(Clone, PartialEq, Message)]
pub struct Bucket {
    /// How many are not longer.
    #[prost(uint64, optional, tag = "1")]
    pub cumulative_count: Option<u64>,
    /// Than this.
    #[prost(double, optional, tag = "2")]
    pub upper_bound: Option<f64>,
    /// One of those that are in no smaller one.
    #[prost(message, optional, tag = "3")]
    pub exemplar: Option<ExemplarMessage>,
}

/// A run of native buckets.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct BucketSpan {
    /// How far behind the end of the one before.
    #[prost(sint32, optional, tag = "1")]
    pub offset: Option<i32>,
    /// How many.
    #[prost(uint32, optional, tag = "2")]
    pub length: Option<u32>,
}

/// Where to read on.
#[derive(Clone, PartialEq, Message)]
pub struct ExemplarMessage {
    /// What it names.
    #[prost(message, repeated, tag = "1")]
    pub label: Vec<LabelPair>,
    /// How much of the counter it is; of a histogram, the value.
    #[prost(double, optional, tag = "2")]
    pub value: Option<f64>,
    /// When.
    #[prost(message, optional, tag = "3")]
    pub timestamp: Option<prost_types::Timestamp>,
}

/// Writes all families.
#[must_use]
pub fn write(snapshot: &Snapshot) -> Vec<u8> {
    let mut bytes = Vec::new();
    for family in snapshot.families.iter().filter(|family| !family.series.is_empty()) {
        bytes.extend(message(family).encode_length_delimited_to_vec());
    }
    bytes
}

fn message(family: &Family) -> MetricFamily {
    let kind = match family.kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Summary => MetricType::Summary,
        Kind::Histogram => MetricType::Histogram,
    };
    MetricFamily {
        name: Some(family.series_name().into_owned()),
        help: Some(family.help.to_owned()),
        kind: Some(kind.into()),
        metric: family.series.iter().map(|series| metric(series, family.kind)).collect(),
    }
}

fn metric(series: &Series, kind: Kind) -> Metric {
    let mut metric = Metric { label: label_pairs(&series.labels), ..Metric::default() };
    match (&series.value, kind) {
        (Value::Number(value), Kind::Counter) => {
            let exemplar = series.exemplar.as_ref().map(exemplar);
            metric.counter = Some(Counter { value: Some(*value), exemplar });
        }
        (Value::Number(value), _) => metric.gauge = Some(Gauge { value: Some(*value) }),
        (Value::Histogram(of), _) => metric.histogram = Some(histogram(of, series.exemplar.as_ref())),
        (&Value::Summary { count, sum }, _) => {
            metric.summary = Some(Summary { sample_count: Some(count), sample_sum: Some(sum) });
        }
    }
    metric
}

fn label_pairs(labels: &Labels) -> Vec<LabelPair> {
    let pair = |(name, value): &(&'static str, String)| LabelPair {
        name: Some((*name).to_owned()),
        value: Some(value.clone()),
    };
    labels.iter().map(pair).collect()
}

fn histogram(of: &Histogram, own: Option<&Exemplar>) -> HistogramMessage {
    let own = own.map(|own| (of.place(own.value), exemplar(own)));
    let held = |at| own.iter().find(|(place, _)| *place == at).map(|(_, own)| own.clone());
    let bucket = |(at, &(bound, within)): (usize, &(f64, u64))| Bucket {
        cumulative_count: Some(within),
        upper_bound: Some(bound),
        exemplar: held(at),
    };
    // Where it is in no other bucket, that of all must be said.
    let of_all = held(of.buckets.len()).map(|own| Bucket {
        cumulative_count: Some(of.count),
        upper_bound: Some(f64::INFINITY),
        exemplar: Some(own),
    });
    let span = |(offset, length)| BucketSpan { offset: Some(offset), length: Some(length) };
    HistogramMessage {
        sample_count: Some(of.count),
        sample_sum: Some(of.sum),
        bucket: of.buckets.iter().enumerate().map(bucket).chain(of_all).collect(),
        schema: Some(SCHEMA),
        // Below what is ever counted; a reader takes a histogram without any for a classic one.
        zero_threshold: Some(1e-128),
        zero_count: Some(0),
        positive_span: of.native.spans().into_iter().map(span).collect(),
        positive_delta: of.native.deltas(),
        exemplars: own.iter().map(|(_, own)| own.clone()).collect(),
    }
}

fn exemplar(of: &Exemplar) -> ExemplarMessage {
    ExemplarMessage {
        label: label_pairs(&vec![("incident", of.incident.clone())]),
        value: Some(of.value),
        timestamp: Some(netcheck_analysis::model::clock::timestamp(of.at_ns)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::family::Native;

    #[test]
    fn a_histograms_exemplar_is_at_its_classic_bucket_and_at_the_native_ones() {
        let of = Histogram {
            count: 9,
            sum: 1.0,
            buckets: vec![(0.001, 4), (0.01, 8)],
            native: Native { buckets: vec![(-50, 9)] },
        };
        for (value, at, buckets) in [(0.001, 0, 2), (0.002, 1, 2), (0.5, 2, 3)] {
            let own = Exemplar { incident: "65-1".to_owned(), value, at_ns: 1_500_000_000 };
            let series = Series { labels: vec![], value: Value::Histogram(of.clone()), exemplar: Some(own) };
            let bytes = metric(&series, Kind::Histogram).encode_to_vec();
            let read = Metric::decode(bytes.as_slice()).unwrap().histogram.unwrap();
            assert_eq!(read.bucket.len(), buckets);
            let with: Vec<usize> = (0..buckets).filter(|&at| read.bucket[at].exemplar.is_some()).collect();
            assert_eq!(with, [at], "{value}");
            let exemplar = read.bucket[at].exemplar.clone().unwrap();
            assert_eq!(exemplar.value, Some(value));
            assert_eq!(exemplar.label[0].value.as_deref(), Some("65-1"));
            assert_eq!(exemplar.timestamp.unwrap().seconds, 1, "native ones must have it");
            assert_eq!(read.exemplars, [exemplar]);
        }
        let none = histogram(&of, None);
        assert!(none.exemplars.is_empty() && none.bucket.iter().all(|bucket| bucket.exemplar.is_none()));
    }
}
