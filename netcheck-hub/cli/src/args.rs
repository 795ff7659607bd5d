//! The command line's words: commands, flags, their defaults and what they may be.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use netcheck_common::domain::ProbeKind;
use netcheck_proto::{convert, v1};

use crate::connect::{self, HubUrl};

mod check;
mod clusters;
#[cfg(feature = "kubernetes")]
mod ephemeral;
mod past;

pub(crate) use check::{CheckArgs, ResumeArgs};
pub(crate) use clusters::Side;
#[cfg(feature = "kubernetes")]
pub(crate) use ephemeral::CleanArgs;
pub(crate) use past::{AtArg, EventsArgs, HistoryArgs};

/// What follows the list of flags.
const AFTER_HELP: &str = "\
Examples:
  kubectl netcheck report                        what is wrong, and where packets die
  kubectl netcheck path node-a node-b            one pair in full, with its newest lost probes
  kubectl netcheck path node-a shop/web:80       the same to a service
  kubectl netcheck matrix --vantage pod --kind tcp,http
  kubectl netcheck check                         a whole round now, and its result
  kubectl netcheck check --junit-file junit.xml --expect success=99.9%,p99=20ms
                                                 the same in a pipeline
  kubectl netcheck check --ephemeral             in a cluster without netcheck: installs, checks, removes
  kubectl netcheck resume                        only what failed last time
  kubectl netcheck report --at 03:05             what was wrong at five past three (UTC)
  kubectl netcheck watch --tui                   which node reaches which, as it changes
  kubectl netcheck events --since 1h             what happened in the last hour, in order
  kubectl netcheck history node-a node-b --since -2d
                                                 what was measured between them, step by step
  kubectl -n netcheck exec deployment/netcheck-hub -- /kubectl-netcheck report
                                                 in the hub's pod: asks by loopback, so it works
                                                 while the cluster's DNS or Services are broken

Exit code: 0 all that was measured is reachable, 1 could not ask or nothing was measured,
2 something is unreachable, 64 bad usage.";

/// Where in the cluster's network packets die, and why.
#[derive(Debug, Parser)]
#[command(name = "kubectl-netcheck", bin_name = "kubectl netcheck", version, max_term_width = 100)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The hub: https://HOST:PORT, or http://HOST:PORT without encryption, HOST:PORT for short. In the hub's pod the
    /// chart sets it to the pod itself [default: the hub in the cluster of the kubeconfig, through the API server; without a
    /// kubeconfig http://127.0.0.1:7070].
    #[arg(
        long,
        help_heading = "The hub",
        env = "NETCHECK_HUB",
        value_name = "URL",
        value_parser = connect::endpoint,
        global = true
    )]
    pub(crate) hub: Option<HubUrl>,
    #[command(flatten)]
    pub(crate) kube: connect::KubeArgs,
    /// How to print.
    #[arg(short, long, value_name = "FORMAT", default_value = "table", global = true)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) tls: connect::Tls,
    #[command(flatten)]
    pub(crate) token: connect::Token,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// The same, and one line for each path (check and resume).
    Wide,
    /// The hub's answer, as JSON; of check and resume the result, as it is saved.
    Json,
    /// The result as YAML (check and resume).
    Yaml,
    /// JUnit's XML (check and resume).
    Junit,
    /// Markdown, for the summary of a pipeline (check and resume).
    Markdown,
    /// One line for each path, as it comes (check and resume).
    Csv,
}

impl Output {
    /// Whether every command has it.
    pub(crate) const fn is_common(self) -> bool {
        matches!(self, Self::Table | Self::Json)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The nodes, and the state of their agents.
    Nodes,
    /// Who reaches whom, as a table, and where what is lost dies.
    Matrix {
        #[command(flatten)]
        range: RangeArg,
        #[command(flatten)]
        at: AtArg,
        #[command(flatten)]
        select: Select,
    },
    /// The paths from one node to one target in full: delays, losses, the newest lost probes.
    Path {
        /// The node that probes.
        source: String,
        /// What it probes: a node, a pod or a service ([NAMESPACE/]NAME, with :PORT if wanted), or an address.
        target: String,
        #[command(flatten)]
        from: From,
        #[command(flatten)]
        range: RangeArg,
        #[command(flatten)]
        at: AtArg,
    },
    /// What is wrong, by cause: what is broken and for whom, where, and what to type next. Begin here.
    Report {
        /// With the evidence, the paths by place, and what may be wrong with the measurement.
        #[arg(short, long)]
        verbose: bool,
        #[command(flatten)]
        range: RangeArg,
        #[command(flatten)]
        at: AtArg,
    },
    /// The fewest causes that explain all bad paths, worst first.
    Incidents {
        /// Also those that are over.
        #[arg(long)]
        closed: bool,
        /// Have agents look for the rules that drop probes where they wait for this (--explain-rules on-demand): ask again
        /// after some seconds.
        #[arg(long)]
        explain: bool,
        #[command(flatten)]
        at: AtArg,
    },
    /// What was measured on one path, or on some, step by step.
    History(HistoryArgs),
    /// What happened, in order: incidents, verdicts, nodes, agents, checks.
    Events(EventsArgs),
    /// A round now: have every agent probe all paths, or those that are selected, and report when all were probed and
    /// every node reported.
    Check(Box<CheckArgs>),
    /// Probe only the paths that failed in the last check, as often as wanted, until none is left.
    Resume(ResumeArgs),
    /// Remove what checks with --ephemeral left in the cluster, of all of them that nobody removed, also of those at work.
    #[cfg(feature = "kubernetes")]
    Clean(CleanArgs),
    /// Checks that the cluster's ReachabilityChecks ask for, with what their newest rounds came to; one of them by target.
    Checks {
        /// Its name.
        name: Option<String>,
    },
    /// Print kdoctor's tasks (NetReach, AppHttpHealthy, NetDns) as ReachabilityChecks.
    Convert {
        /// The manifest; - for standard input.
        file: PathBuf,
    },
    /// Open incidents, then each verdict that changes and each incident that opens or closes, as they come, a line each.
    Watch {
        #[command(flatten)]
        select: Select,
        /// Stop after this (duration) [default: never].
        #[arg(long = "for", value_name = "DURATION", value_parser = positive)]
        length: Option<Duration>,
        /// On the whole terminal: which node reaches which, with the incidents below; ? shows the keys.
        #[arg(long)]
        tui: bool,
    },
    /// All that is known of one incident, or of what is wrong between two: has agents look for the rules that drop probes, and
    /// waits some seconds for what they find.
    Explain {
        /// An incident, by its id or the beginning of it; or the node that probes.
        #[arg(value_name = "INCIDENT|SOURCE")]
        what: String,
        /// What that node probes: a node, a pod or a service ([NAMESPACE/]NAME, with :PORT if wanted), or an address.
        target: Option<String>,
    },
    /// Print a script by which a shell completes this command line; for `kubectl netcheck` see docs/operations.md.
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write manual pages into a folder, one for each command.
    #[command(hide = true)]
    Manual {
        /// Where to.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// The version of this command line.
    Version {
        /// Those of the hub and the agents, too.
        #[arg(long)]
        server: bool,
    },
    /// Write a commented netcheck.yaml, which says what `check` does.
    Init {
        /// Where to.
        #[arg(value_name = "FILE", default_value = crate::check::CONFIG)]
        file: PathBuf,
        /// Take over what a NetDoctor `config.json` says (file).
        #[arg(long, value_name = "PATH")]
        from: Option<PathBuf>,
        /// Replace what is there.
        #[arg(long)]
        force: bool,
    },
}

impl Command {
    /// Whether its answer has all forms that there are.
    pub(crate) const fn is_check(&self) -> bool {
        matches!(self, Self::Check(_) | Self::Resume(_))
    }

    /// What needs no hub.
    pub(crate) const fn is_local(&self) -> bool {
        matches!(
            self,
            Self::Init { .. }
                | Self::Completion { .. }
                | Self::Manual { .. }
                | Self::Version { server: false }
        )
    }
}

#[derive(Debug, Args)]
pub(crate) struct RangeArg {
    /// The newest samples to look at (duration; the hub's default is 10s, at least three intervals).
    #[arg(long, value_name = "DURATION", value_parser = positive)]
    range: Option<Duration>,
}

impl RangeArg {
    pub(crate) fn wire(&self) -> Option<prost_types::Duration> {
        self.range.map(convert::duration)
    }
}

#[derive(Debug, Args)]
pub(crate) struct Select {
    /// Only from these nodes (names, comma-separated).
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    source: Vec<String>,
    /// Only to these targets (nodes, pods, services, addresses, comma-separated).
    #[arg(long, value_name = "TARGET", value_delimiter = ',')]
    target: Vec<String>,
    /// Only these kinds of probe (comma-separated).
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = kind())]
    kind: Vec<ProbeKind>,
    #[command(flatten)]
    from: From,
}

#[derive(Debug, Args)]
pub(crate) struct From {
    /// Only probes that leave from nodes, or from pods [default: both].
    #[arg(long, value_name = "VANTAGE", value_delimiter = ',')]
    vantage: Vec<VantageArg>,
}

impl From {
    pub(crate) fn wire(&self) -> Vec<i32> {
        let wire = |vantage: &VantageArg| match vantage {
            VantageArg::Host => v1::Vantage::Host.into(),
            VantageArg::Pod => v1::Vantage::Pod.into(),
        };
        self.vantage.iter().map(wire).collect()
    }
}

/// Where probes leave from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum VantageArg {
    /// The nodes themselves.
    Host,
    /// A pod on each node.
    Pod,
}

impl Select {
    pub(crate) fn sources(&self) -> &[String] {
        &self.source
    }

    pub(crate) fn targets(&self) -> &[String] {
        &self.target
    }

    pub(crate) fn kinds(&self) -> Vec<String> {
        self.kind.iter().map(|kind| kind.as_str().to_owned()).collect()
    }

    pub(crate) fn vantages(&self) -> Vec<String> {
        let word = |vantage: &VantageArg| match vantage {
            VantageArg::Host => "host",
            VantageArg::Pod => "pod",
        };
        self.from.vantage.iter().map(|vantage| word(vantage).to_owned()).collect()
    }

    pub(crate) fn wire(&self) -> v1::PathSelector {
        v1::PathSelector {
            sources: self.source.clone(),
            targets: self.target.clone(),
            kinds: self.kind.iter().map(|&kind| convert::kind_to_wire(kind).into()).collect(),
            vantages: self.from.wire(),
            ..Default::default()
        }
    }
}

/// Every kind of probe there is, by its word.
fn kind() -> impl TypedValueParser<Value = ProbeKind> {
    PossibleValuesParser::new(ProbeKind::ALL.map(ProbeKind::as_str)).map(|word| {
        let mut all = ProbeKind::ALL.into_iter();
        all.find(|kind| kind.as_str() == word).expect("the parser takes no other words")
    })
}

/// Why a length of time can't be taken.
#[derive(Clone, Debug, thiserror::Error)]
enum DurationError {
    /// It is zero.
    #[error("must be more than 0")]
    Zero,
    /// The text is none.
    #[error("{0} (try 500ms, 10s, 2m)")]
    Syntax(#[source] humantime::DurationError),
}

fn positive(text: &str) -> Result<Duration, DurationError> {
    match humantime::parse_duration(text) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        Ok(_) => Err(DurationError::Zero),
        Err(error) => Err(DurationError::Syntax(error)),
    }
}
