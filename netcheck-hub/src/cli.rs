//! `kubectl-netcheck`: asks the hub and prints. Exit code 0 all that was measured is reachable, 1 could not ask or
//! nothing was measured, 2 something unreachable, 64 bad usage.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use netcheck_proto::v1;
use tonic::Status;

use crate::config::{EXIT_USAGE, one_line};
use crate::model::clock::wire_duration;
use crate::serve::json;

mod check;
mod conclusion;
mod connect;
mod incidents;
mod matrix;
mod nodes;
mod path;
mod report;
mod style;
#[cfg(test)]
mod tests;

use conclusion::Conclusion;
use connect::{Hub, HubUrl};
use style::Paint;

/// Something is unreachable.
const EXIT_UNREACHABLE: u8 = 2;
/// A matrix of a few thousand nodes.
const ANSWER_LIMIT: usize = 256 << 20;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Where in the cluster's network packets die, and why.
#[derive(Debug, Parser)]
#[command(name = "kubectl-netcheck", bin_name = "kubectl netcheck", version, max_term_width = 100)]
#[command(
    after_help = "Exit code: 0 all that was measured is reachable, 1 could not ask or nothing was measured, 2 something \
                  is unreachable, 64 bad usage."
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Global {
    /// The hub's gRPC address (URL or host:port).
    #[arg(
        long,
        env = "NETCHECK_HUB",
        value_name = "URL",
        default_value = "http://127.0.0.1:7070",
        value_parser = connect::endpoint,
        global = true
    )]
    hub: HubUrl,
    /// How to print.
    #[arg(short, long, value_name = "FORMAT", default_value = "table", global = true)]
    output: Output,
    #[command(flatten)]
    tls: connect::Tls,
    #[command(flatten)]
    token: connect::Token,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// The hub's answer, as JSON.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The nodes and how their agents are.
    Nodes,
    /// Who reaches whom, and where it fails why.
    Matrix {
        #[command(flatten)]
        range: RangeArg,
        #[command(flatten)]
        select: Select,
    },
    /// All that is known of the paths from one node to one target.
    Path {
        /// The node that probes.
        source: String,
        /// What it probes: node, pod, service or address.
        target: String,
        #[command(flatten)]
        from: From,
        #[command(flatten)]
        range: RangeArg,
    },
    /// What is wrong, by cause.
    Report {
        #[command(flatten)]
        range: RangeArg,
    },
    /// The causes behind all that is wrong, worst first.
    Incidents {
        /// Also those that are over.
        #[arg(long)]
        closed: bool,
    },
    /// Probe now, and say what came of it.
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
struct RangeArg {
    /// The newest samples to look at (duration; the hub's default is 10s, at least three intervals).
    #[arg(long, value_name = "DURATION", value_parser = positive)]
    range: Option<Duration>,
}

impl RangeArg {
    fn wire(&self) -> Option<prost_types::Duration> {
        self.range.map(wire_duration)
    }
}

#[derive(Debug, Args)]
struct Select {
    /// Only from these nodes (names, comma-separated).
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    source: Vec<String>,
    /// Only to these targets (nodes, pods, services, addresses, comma-separated).
    #[arg(long, value_name = "TARGET", value_delimiter = ',')]
    target: Vec<String>,
    /// Only these kinds of probe (comma-separated).
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    kind: Vec<Kind>,
    #[command(flatten)]
    from: From,
}

#[derive(Debug, Args)]
struct From {
    /// Only probes that leave from nodes, or from pods [default: both].
    #[arg(long, value_name = "VANTAGE", value_delimiter = ',')]
    vantage: Vec<VantageArg>,
}

impl From {
    fn wire(&self) -> Vec<i32> {
        let wire = |vantage: &VantageArg| match vantage {
            VantageArg::Host => v1::Vantage::Host.into(),
            VantageArg::Pod => v1::Vantage::Pod.into(),
        };
        self.vantage.iter().map(wire).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Icmp,
    Udp,
    Tcp,
    Dns,
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
    fn wire(&self) -> v1::PathSelector {
        let kind = |kind: &Kind| match kind {
            Kind::Icmp => v1::ProbeKind::Icmp.into(),
            Kind::Udp => v1::ProbeKind::Udp.into(),
            Kind::Tcp => v1::ProbeKind::Tcp.into(),
            Kind::Dns => v1::ProbeKind::Dns.into(),
        };
        v1::PathSelector {
            sources: self.source.clone(),
            targets: self.target.clone(),
            kinds: self.kind.iter().map(kind).collect(),
            vantages: self.from.wire(),
            ..Default::default()
        }
    }
}

fn positive(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        Ok(_) => Err("must be more than 0".to_owned()),
        Err(error) => Err(format!("{error} (try 500ms, 10s, 2m)")),
    }
}

/// Parses the command line, asks, prints.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() => {
            // --help and --version. A reader that hung up is no failure.
            drop(error.print());
            return ExitCode::SUCCESS;
        }
        Err(error) if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            drop(error.print());
            return ExitCode::from(EXIT_USAGE);
        }
        Err(error) => {
            eprintln!("kubectl-netcheck: {}", one_line(&error));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match run(&cli) {
        Ok(Conclusion::Fine) => ExitCode::SUCCESS,
        Ok(Conclusion::Unreachable) => ExitCode::from(EXIT_UNREACHABLE),
        Ok(Conclusion::Unmeasured { paths: 0 }) => {
            eprintln!("kubectl-netcheck: nothing is measured: no path is probed, or none was selected");
            ExitCode::FAILURE
        }
        Ok(Conclusion::Unmeasured { paths }) => {
            eprintln!(
                "kubectl-netcheck: nothing is measured on any of {paths} paths; `kubectl netcheck nodes` shows which \
                 agents are connected"
            );
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("kubectl-netcheck: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What the hub said, without gRPC's wrapping.
#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn refused(status: Status) -> anyhow::Error {
    match status.code() {
        tonic::Code::NotFound | tonic::Code::InvalidArgument | tonic::Code::Unauthenticated => {
            anyhow::anyhow!("{}", status.message())
        }
        code => anyhow::anyhow!("the hub did not answer: {} ({code})", status.message()),
    }
}

async fn answer<T>(asking: impl Future<Output = Result<tonic::Response<T>, Status>>) -> anyhow::Result<T> {
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, asking).await;
    let answer =
        answer.with_context(|| format!("the hub did not answer within {} s", ANSWER_TIMEOUT.as_secs()))?;
    Ok(answer.map_err(refused)?.into_inner())
}

/// Asks and prints.
#[tokio::main(flavor = "current_thread")]
async fn run(cli: &Cli) -> anyhow::Result<Conclusion> {
    let hub = Hub::connect(&cli.global.hub, &cli.global.tls, &cli.global.token).await?;
    let mut asked = hub.reachability();
    let paint = Paint::for_stdout();
    let json = cli.global.output == Output::Json;
    match &cli.command {
        Command::Nodes => {
            let nodes = answer(asked.list_nodes(v1::ListNodesRequest {})).await?;
            print(&if json { pretty(&nodes) } else { nodes::render(&nodes.nodes, paint) })?;
            Ok(Conclusion::Fine)
        }
        Command::Matrix { range, select } => {
            let request = v1::GetMatrixRequest { selector: Some(select.wire()), range: range.wire() };
            let matrix = answer(asked.get_matrix(request)).await?;
            print(&if json { pretty(&matrix) } else { matrix::render(&matrix, paint, style::width()) })?;
            Ok(Conclusion::of(matrix.cells.iter().map(v1::MatrixCell::verdict)))
        }
        Command::Path { source, target, from, range } => {
            let (source, target) = (source.clone(), target.clone());
            let selector = Some(v1::PathSelector { vantages: from.wire(), ..Default::default() });
            let request = v1::GetPathRequest { source, target, selector, range: range.wire() };
            let answer = answer(asked.get_path(request)).await?;
            print(&if json { pretty(&answer) } else { path::render(&answer, paint) })?;
            let cells = answer.paths.iter().filter_map(|path| path.cell.as_ref());
            Ok(Conclusion::of(cells.map(v1::MatrixCell::verdict)))
        }
        Command::Report { range } => {
            let answer = answer(asked.get_report(v1::GetReportRequest { range: range.wire() })).await?;
            let report = answer.report.clone().unwrap_or_default();
            print(&if json { pretty(&answer) } else { report::render(&report, paint) })?;
            Ok(Conclusion::of_report(&report))
        }
        Command::Incidents { closed } => {
            let request = v1::ListIncidentsRequest { include_closed: *closed };
            let incidents = answer(asked.list_incidents(request)).await?;
            print(&if json { pretty(&incidents) } else { incidents::render(&incidents, paint) })?;
            let cut = |incident: &v1::Incident| {
                incident.state() == v1::IncidentState::Open && incident.verdict() == v1::Verdict::Unreachable
            };
            let cut = incidents.incidents.iter().any(cut);
            Ok(if cut { Conclusion::Unreachable } else { Conclusion::Fine })
        }
        Command::Check { select, rounds, deadline } => {
            let request = v1::RunCheckRequest {
                selector: Some(select.wire()),
                rounds: *rounds,
                deadline: Some(wire_duration(*deadline)),
            };
            let result = check::run(hub.channel.clone(), request, *deadline).await?;
            let report = result.report.clone().unwrap_or_default();
            print(&if json { pretty(&result) } else { report::render(&report, paint) })?;
            Ok(match Conclusion::of_report(&report) {
                Conclusion::Fine if !result.passed => Conclusion::Unreachable,
                conclusion => conclusion,
            })
        }
    }
}

fn pretty<M: json::Named>(message: &M) -> String {
    let mut text = serde_json::to_string_pretty(&json::value(message)).unwrap_or_default();
    text.push('\n');
    text
}

/// Prints. A reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("cannot print"),
        _ => Ok(()),
    }
}
