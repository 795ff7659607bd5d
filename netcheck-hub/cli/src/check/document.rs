//! What a check came to, as it is saved, printed and read again. All formats are made from this; the version is that of
//! the schema of `-o json`, `-o yaml` and `netcheck-result.json`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::expect::Broken;
use super::record::PathRecord;

/// What a document says of itself.
pub(crate) const KIND: &str = "netcheck-result";
/// Changes when a reader of an older version would misread it.
pub(crate) const VERSION: u32 = 1;

/// The name of problems that are between two clusters.
pub(crate) const BETWEEN: &str = "clusters";

/// The result of one check.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Document {
    pub(crate) kind: String,
    pub(crate) schema_version: u32,
    /// The version of the command line.
    pub(crate) netcheck: String,
    /// RFC 3339.
    pub(crate) started_at: String,
    /// RFC 3339.
    pub(crate) finished_at: String,
    pub(crate) selection: Selection,
    pub(crate) passed: bool,
    pub(crate) exit_code: u8,
    /// One line for people.
    pub(crate) headline: String,
    /// What it comes to between two clusters, one line each; nothing where it is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) between: Vec<String>,
    pub(crate) paths: Counts,
    pub(crate) round: Round,
    /// What explains bad paths, worst first.
    pub(crate) causes: Vec<Cause>,
    /// What else keeps the check from being passed.
    pub(crate) problems: Vec<Problem>,
    /// As `--expect` has it; empty: nothing is expected.
    pub(crate) expected: String,
    pub(crate) broken: Vec<Broken>,
    /// About exceptions.
    pub(crate) notes: Vec<String>,
    /// About the measurement.
    pub(crate) caveats: Vec<String>,
    pub(crate) classes: Vec<Class>,
    /// All paths that fail; the list holds no more than the first of them.
    pub(crate) failed_total: u64,
    pub(crate) failed: Vec<PathRecord>,
}

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Selection {
    pub(crate) sources: Vec<String>,
    pub(crate) targets: Vec<String>,
    pub(crate) kinds: Vec<String>,
    pub(crate) vantages: Vec<String>,
    pub(crate) rounds: u32,
    /// Only what was in turn.
    pub(crate) now: bool,
    /// By agents that were there for this check alone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) ephemeral: bool,
    /// How many paths of an earlier check were probed again; absent: it was no resumption.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resumed: Option<u64>,
    /// The first and the second cluster, of a check between two.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) clusters: Vec<Cluster>,
}

/// One of two clusters, and how its hub is found again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Cluster {
    /// What it is called: sources are nodes `of` it.
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) context: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kubeconfig: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hub: Option<String>,
}

impl Selection {
    /// Nothing was left out.
    pub(crate) fn is_everything(&self) -> bool {
        let none = self.sources.is_empty() && self.targets.is_empty();
        let whole = self.resumed.is_none() && !self.now && self.clusters.is_empty();
        none && self.kinds.is_empty() && self.vantages.is_empty() && whole
    }
}

/// Paths and probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Counts {
    pub(crate) total: u64,
    pub(crate) reachable: u64,
    pub(crate) degraded: u64,
    pub(crate) unreachable: u64,
    pub(crate) expected_absent: u64,
    pub(crate) no_data: u64,
    /// Of those that are bad or without data.
    pub(crate) excepted: u64,
    /// Objects, not paths.
    pub(crate) unjudged: u64,
    pub(crate) not_reached: u64,
    pub(crate) probes_sent: u64,
    pub(crate) probes_answered: u64,
}

/// Who reported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Round {
    pub(crate) complete: bool,
    pub(crate) missing: Vec<Gap>,
    /// Parts that no node has.
    pub(crate) absent: Vec<String>,
}

/// What one node did not report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Gap {
    pub(crate) node: String,
    /// `pod→pod`, `pod→node`, `pod→service`.
    pub(crate) parts: Vec<String>,
    pub(crate) paths: u64,
    pub(crate) why: String,
}

impl Gap {
    /// `n3 did not report pod→pod and pod→node: its agent is away`.
    pub(crate) fn line(&self) -> String {
        let why = if self.why.is_empty() { String::new() } else { format!(": {}", self.why) };
        format!("{} did not report {}{why}", self.node, self.parts.join(", "))
    }
}

/// What explains bad paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cause {
    /// One line for people, cause first.
    pub(crate) headline: String,
    /// `unreachable` or `degraded`.
    pub(crate) verdict: String,
    /// The incident; empty: none explains it yet.
    pub(crate) incident: String,
    /// A kernel or the target itself said so.
    pub(crate) observed: bool,
    pub(crate) evidence: Vec<String>,
    /// What did it, where it is, the command that shows it, and what would mend it; one line each.
    pub(crate) culprits: Vec<String>,
    /// It keeps the check from being passed.
    pub(crate) fails: bool,
    /// The reason of the exceptions that excuse all of its paths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) excepted: Option<String>,
}

/// Something beside causes for which a check is not passed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Problem {
    /// `round`, `no data`, `unjudged`, `turns`, `expectation`; between two clusters [`BETWEEN`].
    pub(crate) name: String,
    pub(crate) message: String,
    pub(crate) details: Vec<String>,
}

/// Paths that go from one kind of place to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Class {
    /// `nodes` or `pods`.
    pub(crate) from: String,
    /// `nodes`, `pods`, `services`, `DNS servers`, `endpoints`.
    pub(crate) to: String,
    pub(crate) paths: u64,
    pub(crate) reachable: u64,
    pub(crate) degraded: u64,
    pub(crate) unreachable: u64,
    pub(crate) expected_absent: u64,
    pub(crate) no_data: u64,
    /// The slowest path's, nanoseconds; 0: not measured.
    pub(crate) slowest_p99_ns: u64,
}

/// Why an earlier result can't be resumed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// No such file, or none that can be read.
    #[error("cannot read {}: {source}; `kubectl netcheck check` writes it, --result says where", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something else.
    #[error("{} is no result of a check: {source}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// Another kind of file, or of a version that this program does not know.
    #[error(
        "{} is {kind:?} of version {version}; this program reads {KIND:?} of version {VERSION}: run the check again",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// What it says to be.
        kind: String,
        /// Its version.
        version: u32,
    },
}

/// What says which fields there are.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Label {
    kind: String,
    schema_version: u32,
}

impl Document {
    /// As it is saved.
    pub(crate) fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Reads a saved one.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub(crate) fn read(path: &Path) -> Result<Self, ReadError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ReadError::Unreadable { path: path.to_owned(), source })?;
        let malformed = |source| ReadError::Malformed { path: path.to_owned(), source };
        let label: Label = serde_json::from_str(&text).map_err(malformed)?;
        if label.kind != KIND || label.schema_version != VERSION {
            let (kind, version) = (label.kind, label.schema_version);
            return Err(ReadError::Version { path: path.to_owned(), kind, version });
        }
        serde_json::from_str(&text).map_err(malformed)
    }

    /// Saves it: whole, or not at all.
    ///
    /// # Errors
    /// If the folder can't be written.
    pub(crate) fn save(&self, path: &Path) -> std::io::Result<()> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let new = path.with_file_name(name);
        std::fs::write(&new, self.json())?;
        std::fs::rename(&new, path)
    }

    /// Causes for which it is not passed.
    pub(crate) fn failing(&self) -> impl Iterator<Item = &Cause> {
        self.causes.iter().filter(|cause| cause.fails)
    }
}
