//! The command line's words: commands, flags, their defaults and what they may be.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use netcheck_common::domain::ProbeKind;
use netcheck_proto::{convert, v1};

use crate::connect::{self, HubUrl};

/// What follows the list of flags.
const AFTER_HELP: &str = "\
Examples:
  kubectl netcheck report                        what is wrong, and where packets die
  kubectl netcheck path node-a node-b            one pair in full, with its newest lost probes
  kubectl netcheck path node-a shop/web:80       the same to a service
  kubectl netcheck matrix --vantage pod --kind tcp,http
  kubectl netcheck check --source node-a         probe now, and wait for the result
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
    /// chart sets it to the pod itself.
    #[arg(
        long,
        help_heading = "The hub",
        env = "NETCHECK_HUB",
        value_name = "URL",
        default_value = "http://127.0.0.1:7070",
        value_parser = connect::endpoint,
        global = true
    )]
    pub(crate) hub: HubUrl,
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
    /// The hub's answer, as JSON.
    Json,
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
    },
    /// What is wrong, by cause, with the evidence. Begin here.
    Report {
        #[command(flatten)]
        range: RangeArg,
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
    },
    /// Probe the selected paths now, and report when all were probed.
    Check {
        #[command(flatten)]
        select: Select,
        /// Samples wanted of every path (count).
        #[arg(long, value_name = "N", default_value_t = 1)]
        rounds: u32,
        /// When to give up; what is not probed by then counts as not measured (duration).
        #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = positive)]
        deadline: Duration,
    },
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
