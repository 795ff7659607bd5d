//! The words of `check` and `resume`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::clusters::ClusterArgs;
use super::{Select, positive};
use crate::check::{self, Expect};

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) select: Select,
    /// Samples wanted of every path (count) [default: 1].
    #[arg(long, value_name = "N")]
    pub(crate) rounds: Option<u32>,
    /// When to give up; what is not probed by then counts as not measured (duration) [default: twice as long as the hub
    /// expects it to take, 30s at least].
    #[arg(long, value_name = "DURATION", value_parser = positive)]
    pub(crate) deadline: Option<Duration>,
    /// Leave out paths that are not in turn now, where nodes have too many to probe all at once. Without it the check waits
    /// for their turns: agents probe no more for it than at any time.
    #[arg(long)]
    pub(crate) now: bool,
    #[command(flatten)]
    pub(crate) files: FileArgs,
    /// What is expected beside reachability, of success=99.9%,p99=20ms,mean=5ms. Where a success is expected, paths may lose
    /// so many probes.
    #[arg(long, value_name = "EXPECTATIONS")]
    pub(crate) expect: Option<Expect>,
    /// What to probe, what is expected, and known exceptions [default: netcheck.yaml, if there is one].
    #[arg(long, value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) clusters: ClusterArgs,
    #[cfg(feature = "kubernetes")]
    #[command(flatten)]
    pub(crate) ephemeral: super::ephemeral::EphemeralArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// When to give up; what is not probed by then counts as not measured (duration) [default: twice as long as the hub
    /// expects it to take, 30s at least].
    #[arg(long, value_name = "DURATION", value_parser = positive)]
    pub(crate) deadline: Option<Duration>,
    #[command(flatten)]
    pub(crate) files: FileArgs,
    /// What is expected beside reachability, of success=99.9%,p99=20ms,mean=5ms.
    #[arg(long, value_name = "EXPECTATIONS")]
    pub(crate) expect: Option<Expect>,
    /// What is expected, and known exceptions [default: netcheck.yaml, if there is one].
    #[arg(long, value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Files")]
pub(crate) struct FileArgs {
    /// Where the result is saved and resumed from [default: netcheck-result.json, where that can be written].
    #[arg(long, value_name = "PATH")]
    pub(crate) result: Option<PathBuf>,
    /// Also write JUnit's XML there.
    #[arg(long, value_name = "PATH")]
    junit_file: Option<PathBuf>,
    /// Also write Markdown there, as for $GITHUB_STEP_SUMMARY.
    #[arg(long, value_name = "PATH")]
    markdown_file: Option<PathBuf>,
}

impl FileArgs {
    pub(crate) fn files(&self) -> check::Files {
        check::Files {
            result: self.result.clone(),
            junit: self.junit_file.clone(),
            markdown: self.markdown_file.clone(),
        }
    }
}
