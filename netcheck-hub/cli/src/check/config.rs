//! `netcheck.yaml`: what a check is like in this cluster, so that pipelines and people ask for the same. Flags go before
//! it. NetDoctor's `config.json` is read in its place.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::exceptions::Exception;
use super::netdoctor;

/// Read where no other file is named, if it is there.
pub(crate) const FILE: &str = "netcheck.yaml";
/// The only version there is.
const VERSION: u32 = 1;

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Config {
    pub(crate) version: u32,
    pub(crate) check: Check,
    /// As `--expect`.
    pub(crate) expect: String,
    pub(crate) exceptions: Vec<Exception>,
    /// What of a foreign file has no counterpart here.
    #[serde(skip)]
    pub(crate) notes: Vec<String>,
}

/// What is probed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Check {
    pub(crate) sources: Vec<String>,
    pub(crate) targets: Vec<String>,
    pub(crate) kinds: Vec<String>,
    pub(crate) vantages: Vec<String>,
    pub(crate) rounds: Option<u32>,
    /// Such as `10m`.
    pub(crate) deadline: Option<String>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// It can't be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not what the file should hold.
    #[error("{}: {source}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<serde_saphyr::Error>,
    },
    /// Not what NetDoctor writes.
    #[error("{}: {source} (a .json file is read as NetDoctor's config.json)", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// Of a version that this program does not know.
    #[error("{}: version {version}; this program reads version {VERSION}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// What it says.
        version: u32,
    },
    /// No duration.
    #[error("{}: check.deadline {text:?} is no duration; try 10m", path.display())]
    Deadline {
        /// The file.
        path: PathBuf,
        /// What it says.
        text: String,
    },
}

impl Config {
    /// Reads the file that is named, or the one in this folder, if there is one.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub(crate) fn read(named: Option<&Path>) -> Result<Self, ConfigError> {
        let path = named.unwrap_or(Path::new(FILE));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { version: VERSION, ..Self::default() });
            }
            Err(source) => return Err(ConfigError::Unreadable { path: path.to_owned(), source }),
        };
        if path.extension().is_some_and(|extension| extension == "json") {
            let foreign = netdoctor::parse(&text);
            return foreign.map_err(|source| ConfigError::Foreign { path: path.to_owned(), source });
        }
        Self::parse(path, &text)
    }

    /// Reads its text.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let config: Self = serde_saphyr::from_str(text)
            .map_err(|source| ConfigError::Malformed { path: path.to_owned(), source: Box::new(source) })?;
        if config.version != VERSION {
            return Err(ConfigError::Version { path: path.to_owned(), version: config.version });
        }
        let deadline = config.check.deadline.as_deref();
        if let Some(text) = deadline.filter(|text| humantime::parse_duration(text).is_err()) {
            return Err(ConfigError::Deadline { path: path.to_owned(), text: text.to_owned() });
        }
        Ok(config)
    }

    /// When a check gives up; none: as the hub thinks.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let parsed = self.check.deadline.as_deref().and_then(|text| humantime::parse_duration(text).ok());
        parsed.filter(|deadline| !deadline.is_zero())
    }
}
