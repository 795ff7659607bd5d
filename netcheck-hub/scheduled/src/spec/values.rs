//! Durations and shares as people write them.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A duration as people write it: `90s`, `1h 30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let span = humantime::parse_duration(&text).map_err(|error| {
            serde::de::Error::custom(format!("{text:?} is no duration, as in 90s: {error}"))
        })?;
        if span.is_zero() {
            return Err(serde::de::Error::custom("a duration of 0"));
        }
        Ok(Self(span))
    }
}

impl JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string", "maxLength": 40, "pattern": "^([0-9]+(us|ms|s|m|h|d) ?)+$",
        })
    }
}

/// A share as people write it: `99.9%`. Kept in millionths, so that it compares exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent {
    millionths: u32,
}

impl Percent {
    /// All.
    pub const ALL: Self = Self { millionths: 1_000_000 };

    /// Of a ratio between 0 and 1; None outside.
    #[must_use]
    pub fn of_ratio(ratio: f64) -> Option<Self> {
        // In range, so the cast is exact to the rounding.
        (0.0..=1.0).contains(&ratio).then(|| Self { millionths: (ratio * 1e6).round() as u32 })
    }

    /// Whether so many of so many are as many as this. Nothing of nothing is not.
    #[must_use]
    pub fn is_met(self, part: u64, whole: u64) -> bool {
        whole > 0 && u128::from(part) * 1_000_000 >= u128::from(whole) * u128::from(self.millionths)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.millionths) / 1e4)
    }
}

/// A text that is no share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no share of 0% to 100%, as in 99.9%")]
pub struct PercentError {
    /// The text.
    pub text: String,
}

impl std::str::FromStr for Percent {
    type Err = PercentError;

    fn from_str(text: &str) -> Result<Self, PercentError> {
        let number = text.strip_suffix('%').and_then(|number| number.trim_end().parse::<f64>().ok());
        number
            .and_then(|number| Self::of_ratio(number / 100.0))
            .ok_or_else(|| PercentError { text: text.to_owned() })
    }
}

impl Serialize for Percent {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Percent {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Percent".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string", "pattern": "^(100(\\.0+)?|[0-9]{1,2}(\\.[0-9]{1,4})?)%$",
        })
    }
}
