//! The messages of remote write, as far as the hub sends them; snappy's block format around them. Pure.
//!
//! 1.0: <https://prometheus.io/docs/specs/prw/remote_write_spec/>, `prometheus.WriteRequest`.
//! 2.0: <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>, `io.prometheus.write.v2.Request`. Its tags begin where
//! those of 1.0 end, so that a receiver that mistakes one for the other finds nothing in it.

use std::collections::HashMap;

/// A series that ends has this value (a NaN of its own) as its last.
pub const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// `prometheus.WriteRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WriteRequest {
    /// Series, each once.
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
    /// What their families are.
    #[prost(message, repeated, tag = "3")]
    pub metadata: Vec<MetricMetadata>,
}

/// `prometheus.TimeSeries`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TimeSeries {
    /// Sorted by name, `__name__` among them.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// Oldest first.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
}

/// `prometheus.Label`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Message)]
pub struct Label {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its value, never empty.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// `prometheus.Sample`, and the same of 2.0.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Sample {
    /// The value.
    #[prost(double, tag = "1")]
    pub value: f64,
    /// Unix time in milliseconds.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}

/// What a family is: the same numbers in both versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum MetricType {
    /// Not known.
    Unknown = 0,
    /// Only rises.
    Counter = 1,
    /// Rises and falls.
    Gauge = 2,
    /// Buckets, sum and count.
    Histogram = 3,
    /// Sum and count.
    Summary = 5,
    /// Labels with the value 1.
    Info = 6,
}

/// `prometheus.MetricMetadata`.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct MetricMetadata {
    /// What it is.
    #[prost(enumeration = "MetricType", tag = "1")]
    pub r#type: i32,
    /// The family's name, without suffixes.
    #[prost(string, tag = "2")]
    pub metric_family_name: String,
    /// One line.
    #[prost(string, tag = "4")]
    pub help: String,
    /// Empty without.
    #[prost(string, tag = "5")]
    pub unit: String,
}

/// `io.prometheus.write.v2.Request`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    /// All strings, each once; the first is empty.
    #[prost(string, repeated, tag = "4")]
    pub symbols: Vec<String>,
    /// Series, each once.
    #[prost(message, repeated, tag = "5")]
    pub timeseries: Vec<TimeSeries2>,
}

/// `io.prometheus.write.v2.TimeSeries`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TimeSeries2 {
    /// Name and value in turn, sorted by name, as places in the symbols.
    #[prost(uint32, repeated, tag = "1")]
    pub labels_refs: Vec<u32>,
    /// Oldest first.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    /// What its family is.
    #[prost(message, optional, tag = "5")]
    pub metadata: Option<Metadata2>,
}

/// `io.prometheus.write.v2.Metadata`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Metadata2 {
    /// What it is.
    #[prost(enumeration = "MetricType", tag = "1")]
    pub r#type: i32,
    /// One line, as a place in the symbols.
    #[prost(uint32, tag = "3")]
    pub help_ref: u32,
    /// The same of the unit.
    #[prost(uint32, tag = "4")]
    pub unit_ref: u32,
}

/// Strings that are numbered as they come.
struct Symbols<'a> {
    all: Vec<&'a str>,
    known: HashMap<&'a str, u32>,
}

impl<'a> Symbols<'a> {
    fn new() -> Self {
        Self { all: vec![""], known: HashMap::from([("", 0)]) }
    }

    fn number(&mut self, text: &'a str) -> u32 {
        *self.known.entry(text).or_insert_with(|| {
            self.all.push(text);
            u32::try_from(self.all.len() - 1).unwrap_or_default()
        })
    }
}

impl WriteRequest {
    /// The same in version 2.0. Series find their family by their name and its suffix.
    #[must_use]
    pub fn to_v2(&self) -> Request {
        let mut symbols = Symbols::new();
        let families: HashMap<&str, &MetricMetadata> =
            self.metadata.iter().map(|family| (&*family.metric_family_name, family)).collect();
        let timeseries = self
            .timeseries
            .iter()
            .map(|series| TimeSeries2 {
                labels_refs: series
                    .labels
                    .iter()
                    .flat_map(|label| [symbols.number(&label.name), symbols.number(&label.value)])
                    .collect(),
                samples: series.samples.clone(),
                metadata: family(series, &families).map(|family| Metadata2 {
                    r#type: family.r#type,
                    help_ref: symbols.number(&family.help),
                    unit_ref: symbols.number(&family.unit),
                }),
            })
            .collect();
        let symbols = symbols.all.into_iter().map(ToOwned::to_owned).collect();
        Request { symbols, timeseries }
    }

    /// Samples in it.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.timeseries.iter().map(|series| series.samples.len()).sum()
    }
}

fn family<'a>(
    series: &TimeSeries,
    families: &HashMap<&str, &'a MetricMetadata>,
) -> Option<&'a MetricMetadata> {
    let name = series.labels.iter().find(|label| label.name == "__name__")?.value.as_str();
    let suffixes = ["", "_total", "_bucket", "_sum", "_count", "_info"];
    suffixes.iter().find_map(|suffix| families.get(name.strip_suffix(suffix)?).copied())
}

/// A message, encoded and compressed.
#[must_use]
pub fn compressed(message: &impl prost::Message) -> Vec<u8> {
    snappy(&message.encode_to_vec())
}

/// In snappy's block format.
///
/// # Panics
/// Above 4 GiB, which no block reaches.
#[must_use]
pub fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).expect("a block has less than 4 GiB")
}

/// Why bytes are no block.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not compressed, or damaged.
    #[error("not compressed as expected: {0}")]
    Snappy(#[from] snap::Error),
    /// Not the message, or damaged.
    #[error("not the expected message: {0}")]
    Message(#[from] prost::DecodeError),
}

/// The reverse of [`compressed`].
///
/// # Errors
/// See [`DecodeError`].
pub fn decompressed<M: prost::Message + Default>(bytes: &[u8]) -> Result<M, DecodeError> {
    Ok(M::decode(&*snap::raw::Decoder::new().decompress_vec(bytes)?)?)
}
