//! The words of what a check installs and removes.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::positive;

#[derive(Debug, Args)]
#[command(next_help_heading = "A cluster without netcheck")]
pub(crate) struct EphemeralArgs {
    /// Install netcheck for this check alone, and remove it afterwards, also after Ctrl-C. It goes into a namespace of its own, or
    /// into that of --namespace.
    #[arg(long, conflicts_with_all = ["hub", "ClusterArgs"])]
    pub(crate) ephemeral: bool,
    /// Print what would be created, and do nothing: the cluster is not asked. With -o json the objects themselves.
    #[arg(long, requires = "ephemeral")]
    pub(crate) dry_run: bool,
    /// The image to install [default: the chart's, of this version].
    #[arg(long, value_name = "IMAGE", requires = "ephemeral")]
    pub(crate) image: Option<String>,
    /// When nodes pull it [default: if-not-present].
    #[arg(long, value_name = "POLICY", requires = "ephemeral")]
    pub(crate) image_pull_policy: Option<PullPolicy>,
    /// A secret to pull it by, in the namespace of --namespace.
    #[arg(long, value_name = "SECRET", requires_all = ["ephemeral", "namespace"])]
    pub(crate) image_pull_secret: Option<String>,
    /// How long pods may take to start (duration) [default: 5m].
    #[arg(long, value_name = "DURATION", value_parser = positive, requires = "ephemeral")]
    pub(crate) install_timeout: Option<Duration>,
}

/// As Kubernetes has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PullPolicy {
    /// Each time.
    Always,
    /// Where a node has none.
    IfNotPresent,
    /// Nodes have it.
    Never,
}

impl PullPolicy {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct CleanArgs {
    /// Only that of this run.
    #[arg(long, value_name = "RUN")]
    pub(crate) run: Option<String>,
    /// Print what would be removed, and remove nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}
