//! Samples of one instant → blocks, each of which is one request. Pure; takes `now`.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;

use crate::message::{self, Label, MetricMetadata, MetricType, STALE, Sample, TimeSeries, WriteRequest};
use crate::sample::{Family, Kind};

/// Samples of one request: what Prometheus sends at most by default, and receivers are made for.
const SAMPLES: usize = 2000;

/// Samples of one time, as they are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// When they were taken, unix milliseconds.
    pub time_ms: i64,
    /// How many.
    pub samples: u32,
    /// A [`WriteRequest`] in snappy's block format.
    pub bytes: Vec<u8>,
}

/// Names and values, sorted.
pub type Labels = BTreeMap<String, String>;

/// Makes blocks.
#[derive(Debug)]
pub struct Cutter {
    /// Labels of every series that does not have them itself.
    extra: Labels,
    /// The series of the last time, encoded: those that are missing next time have ended.
    last: BTreeSet<Vec<u8>>,
    newest_ms: i64,
}

impl Cutter {
    /// `newest_ms`: the time of the newest block that an earlier run made.
    #[must_use]
    pub fn new(extra: Labels, newest_ms: i64) -> Self {
        Self { extra, last: BTreeSet::new(), newest_ms }
    }

    /// Blocks of these samples. None, and how many samples that costs, where the clock has not got beyond the newest block:
    /// receivers take nothing that is older than what they have.
    ///
    /// # Errors
    /// The number of samples that are left out.
    pub fn cut(&mut self, families: &[Family], now_ms: i64) -> Result<Vec<Block>, u64> {
        if now_ms <= self.newest_ms {
            return Err(families.iter().map(|family| family.series.len() as u64).sum());
        }
        self.newest_ms = now_ms;
        let mut blocks = Blocks { time_ms: now_ms, request: WriteRequest::default(), done: Vec::new() };
        let mut seen = BTreeSet::new();
        for family in families {
            let metadata = metadata(family);
            let mut described = false;
            for series in &family.series {
                let labels = self.labels(&series.name, &series.labels);
                // A series that is there twice would be refused with all others of its request.
                if !seen.insert(TimeSeries { labels: labels.clone(), samples: Vec::new() }.encode_to_vec()) {
                    continue;
                }
                if blocks.flush_if_full() {
                    described = false;
                }
                if !described {
                    blocks.request.metadata.push(metadata.clone());
                    described = true;
                }
                blocks.add(labels, series.value);
            }
        }
        let ended = self.last.difference(&seen).filter_map(|series| TimeSeries::decode(&**series).ok());
        for series in ended {
            blocks.flush_if_full();
            blocks.add(series.labels, STALE);
        }
        self.last = seen;
        blocks.flush();
        Ok(blocks.done)
    }

    fn labels(&self, name: &str, own: &[(String, String)]) -> Vec<Label> {
        let mut labels = self.extra.clone();
        labels.extend(own.iter().cloned());
        labels.insert("__name__".to_owned(), name.to_owned());
        labels.retain(|_, value| !value.is_empty());
        labels.into_iter().map(|(name, value)| Label { name, value }).collect()
    }
}

fn metadata(family: &Family) -> MetricMetadata {
    let kind = match family.kind {
        Kind::Unknown => MetricType::Unknown,
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
        Kind::Summary => MetricType::Summary,
        Kind::Info => MetricType::Info,
    };
    MetricMetadata {
        r#type: kind.into(),
        metric_family_name: family.name.clone(),
        help: family.help.clone(),
        unit: family.unit.clone(),
    }
}

struct Blocks {
    time_ms: i64,
    request: WriteRequest,
    done: Vec<Block>,
}

impl Blocks {
    fn flush_if_full(&mut self) -> bool {
        let full = self.request.timeseries.len() >= SAMPLES;
        if full {
            self.flush();
        }
        full
    }

    fn add(&mut self, labels: Vec<Label>, value: f64) {
        let samples = vec![Sample { value, timestamp: self.time_ms }];
        self.request.timeseries.push(TimeSeries { labels, samples });
    }

    fn flush(&mut self) {
        let request = std::mem::take(&mut self.request);
        let samples = u32::try_from(request.samples()).unwrap_or(u32::MAX);
        if samples > 0 {
            self.done.push(Block { time_ms: self.time_ms, samples, bytes: message::compressed(&request) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::decompressed;
    use crate::sample::Series;

    fn family(name: &str, series: &[(&str, f64)]) -> Family {
        let one = |(node, value): &(&str, f64)| Series {
            name: format!("{name}_total"),
            labels: vec![("node".to_owned(), (*node).to_owned())],
            value: *value,
        };
        let series = series.iter().map(one).collect();
        Family {
            name: name.to_owned(),
            kind: Kind::Counter,
            help: "Some.".to_owned(),
            series,
            ..Family::default()
        }
    }

    fn cutter() -> Cutter {
        let extra = [("job", "netcheck-hub"), ("node", "of the operator"), ("cluster", "eu")];
        Cutter::new(extra.map(|(name, value)| (name.to_owned(), value.to_owned())).into(), 5)
    }

    /// Labels as text, and value.
    fn flat(blocks: &[Block]) -> Vec<(String, f64)> {
        let requests = blocks.iter().map(|block| decompressed::<WriteRequest>(&block.bytes).unwrap());
        let series = requests.flat_map(|request| request.timeseries);
        series
            .map(|series| {
                let labels: Vec<String> =
                    series.labels.iter().map(|label| format!("{}={}", label.name, label.value)).collect();
                (labels.join(" "), series.samples[0].value)
            })
            .collect()
    }

    #[test]
    fn series_have_their_own_labels_first_and_the_operators_where_they_have_none() {
        let blocks = cutter().cut(&[family("x", &[("n1", 1.0), ("", 2.0), ("n1", 3.0)])], 6).unwrap();
        let expected = [
            ("__name__=x_total cluster=eu job=netcheck-hub node=n1".to_owned(), 1.0),
            ("__name__=x_total cluster=eu job=netcheck-hub".to_owned(), 2.0),
        ];
        assert_eq!(flat(&blocks), expected);
        let request: WriteRequest = decompressed(&blocks[0].bytes).unwrap();
        assert_eq!(request.metadata.len(), 1);
        assert_eq!((blocks[0].samples, blocks[0].time_ms), (2, 6));
    }

    #[test]
    fn a_series_that_ends_says_so_once() {
        let mut cutter = cutter();
        let both = [family("x", &[("n1", 1.0), ("n2", 2.0)])];
        let one = [family("x", &[("n1", 1.0)])];
        assert_eq!(flat(&cutter.cut(&both, 10).unwrap()).len(), 2);
        let ending = flat(&cutter.cut(&one, 11).unwrap());
        assert_eq!(ending.len(), 2);
        assert!(ending[1].0.contains("node=n2") && ending[1].1.to_bits() == STALE.to_bits(), "{ending:?}");
        assert_eq!(flat(&cutter.cut(&one, 12).unwrap()).len(), 1);
    }

    #[test]
    fn nothing_is_older_than_what_was_sent() {
        let mut cutter = cutter();
        let some = [family("x", &[("n1", 1.0), ("n2", 1.0)])];
        // Not even than what another run sent.
        assert_eq!(cutter.cut(&some, 5), Err(2));
        assert_eq!(cutter.cut(&some, 9).unwrap().len(), 1);
        for now_ms in [9, 8, -1] {
            assert_eq!(cutter.cut(&some, now_ms), Err(2));
        }
        assert_eq!(cutter.cut(&some, 10).unwrap().len(), 1);
    }

    #[test]
    fn every_request_has_a_bounded_size_and_describes_its_families() {
        let names: Vec<String> = (0..2 * SAMPLES + 1).map(|n| format!("n{n}")).collect();
        let series: Vec<(&str, f64)> = names.iter().map(|name| (name.as_str(), 1.0)).collect();
        let blocks = cutter().cut(&[family("x", &series), family("y", &series[..1])], 6).unwrap();
        assert_eq!(blocks.iter().map(|block| block.samples).collect::<Vec<_>>(), [2000, 2000, 2]);
        let described =
            blocks.iter().map(|block| decompressed::<WriteRequest>(&block.bytes).unwrap().metadata.len());
        assert_eq!(described.collect::<Vec<_>>(), [1, 1, 2]);
    }
}
