//! Flags of history.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use netcheck_history::retention::Retention;
use thiserror::Error;

use super::bytes::BytesError;
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
}

fn retain(text: &str) -> Result<Duration, HistoryFlagError> {
    let retain = humantime::parse_duration(text).map_err(HistoryFlagError::Duration)?;
    if (LEAST..=MOST).contains(&retain) { Ok(retain) } else { Err(HistoryFlagError::Range) }
}

fn bytes(text: &str) -> Result<u64, BytesError> {
    super::bytes::of(text, LEAST_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time() {
        assert!(retain("30d").is_ok() && retain("5m").is_err() && retain("soon").is_err());
    }
}
