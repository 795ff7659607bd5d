//! Samples as the hub has them. Plain data.

/// What a family's samples are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Not known.
    #[default]
    Unknown,
    /// Only rises, or begins anew.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Buckets, sum and count.
    Histogram,
    /// Sum and count.
    Summary,
    /// Labels that say something, with the value 1.
    Info,
}

/// Samples of one name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Family {
    /// The family's name, without `_total`, `_bucket` and the like.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// One line.
    pub help: String,
    /// The unit, as in `seconds`; empty without.
    pub unit: String,
    /// The samples, each series once.
    pub series: Vec<Series>,
}

/// One sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// The whole name, as in `netcheck_hub_samples_total`.
    pub name: String,
    /// Names and values. Those with an empty value count as not there.
    pub labels: Vec<(String, String)>,
    /// The value as of now.
    pub value: f64,
}

/// Who has samples. Asked on a thread that may be kept busy.
pub trait Source: Send + Sync + 'static {
    /// All that is to be written, as of now.
    fn families(&self) -> Vec<Family>;
}
