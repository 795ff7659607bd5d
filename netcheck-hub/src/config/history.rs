//! Flags of history.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use netcheck_history::retention::Retention;
use thiserror::Error;

use crate::state::history::Keeping;

/// The least that makes sense: what is not rolled up yet, and some hours.
const LEAST_BYTES: u64 = 64 << 20;
const LEAST: Duration = Duration::from_secs(3600);
const MOST: Duration = Duration::from_secs(10 * 366 * 86_400);

/// What is kept, where, and for how long.
#[derive(Clone, Debug, Args)]
pub struct HistoryFlags {
    /// Where history is kept: windows, verdicts, incidents and events outlive the hub there (directory) [default: in
    /// memory, up to 64 MiB, until the hub ends].
    #[arg(long, env = "NETCHECK_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// How long history is kept (duration). Windows of ten seconds are kept for a day at most, those of a minute for a
    /// week.
    #[arg(long, env = "NETCHECK_RETAIN", value_name = "DURATION", default_value = "30d", value_parser = retain)]
    pub retain: Duration,

    /// How many bytes of history are kept, at most (as 10GiB or 500MB). Where there is more, the oldest and finest goes
    /// first. The store needs up to 256 MiB besides.
    #[arg(long, env = "NETCHECK_RETAIN_BYTES", value_name = "BYTES", default_value = "10GiB", value_parser = bytes)]
    pub retain_bytes: u64,
}

impl HistoryFlags {
    /// The same as the hub takes it.
    #[must_use]
    pub fn keeping(&self) -> Keeping {
        Keeping { dir: self.data_dir.clone(), retention: Retention::of(self.retain, self.retain_bytes) }
    }
}

/// Why a flag of history can't be taken.
#[derive(Clone, Debug, Error)]
enum HistoryFlagError {
    /// It is no length of time.
    #[error("{0} (try 7d or 30d)")]
    Duration(#[source] humantime::DurationError),
    /// Too short or too long.
    #[error("must be 1h to 10y")]
    Range,
    /// It is no number of bytes.
    #[error("not a number of bytes (try 500MiB or 10GiB)")]
    Bytes,
    /// Too few.
    #[error("must be 64MiB at least")]
    Few,
}

fn retain(text: &str) -> Result<Duration, HistoryFlagError> {
    let retain = humantime::parse_duration(text).map_err(HistoryFlagError::Duration)?;
    if (LEAST..=MOST).contains(&retain) { Ok(retain) } else { Err(HistoryFlagError::Range) }
}

fn bytes(text: &str) -> Result<u64, HistoryFlagError> {
    let at = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let unit = match unit.trim() {
        "" | "B" => 1,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "MiB" | "Mi" => 1 << 20,
        "GiB" | "Gi" => 1 << 30,
        "TiB" | "Ti" => 1 << 40,
        _ => return Err(HistoryFlagError::Bytes),
    };
    let number: u64 = number.parse().map_err(|_| HistoryFlagError::Bytes)?;
    let bytes = number.checked_mul(unit).ok_or(HistoryFlagError::Bytes)?;
    if bytes < LEAST_BYTES { Err(HistoryFlagError::Few) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_as_people_write_them() {
        for (text, expected) in
            [("10GiB", 10 << 30), ("500MB", 500_000_000), ("100Mi", 100 << 20), ("67108864", 64 << 20)]
        {
            assert_eq!(bytes(text).unwrap(), expected, "{text}");
        }
        for text in ["", "GiB", "10 gigabytes", "-1GiB", "1MiB", "99999999999999999999TiB", "1.5GiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
        assert!(retain("30d").is_ok() && retain("5m").is_err() && retain("soon").is_err());
    }
}
