//! `kubectl-netcheck`: asks the hub, and prints what it says. It explains nothing by itself and knows the contract alone:
//! neither the hub's inner parts nor Kubernetes.
//!
//! [`run`] is all of it but the printing: arguments in, an exit code and two texts out. `args` reads the arguments,
//! `connect` reaches the hub, `check` follows a check, and each answer has a file that renders it.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use clap::error::ErrorKind;
use netcheck_proto::json::{self, Named};
use netcheck_proto::usage::{EXIT_USAGE, one_line};
use netcheck_proto::{convert, v1};
use tonic::Status;

mod args;
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

use args::{Cli, Command, Output};
use conclusion::Conclusion;
use connect::Hub;
use style::Paint;
pub use style::Screen;

/// It could not ask, or nothing was measured.
const EXIT_FAILURE: u8 = 1;
/// Something is unreachable.
const EXIT_UNREACHABLE: u8 = 2;
/// A matrix of a few thousand nodes.
const ANSWER_LIMIT: usize = 256 << 20;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// What a command came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The exit code: 0 all that was measured is reachable, 1 could not ask or nothing was measured, 2 something is
    /// unreachable, 64 bad usage.
    pub code: u8,
    /// For standard output.
    pub out: String,
    /// For standard error, one line without its end; empty where there is nothing to say.
    pub err: String,
}

impl Answer {
    fn failed(code: u8, err: String) -> Self {
        Self { code, out: String::new(), err }
    }
}

/// Reads the arguments (the first is the program's name) and asks. Flags that are not given are read from the
/// environment. A check shows its progress on standard error, if that is a terminal.
#[must_use]
pub fn run<T: Into<OsString> + Clone>(arguments: impl IntoIterator<Item = T>, screen: &Screen) -> Answer {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, screen),
    };
    match ask(&cli, screen) {
        Ok((out, conclusion)) => {
            let (code, err) = conclusion.exit();
            Answer { code, out, err }
        }
        Err(error) => Answer::failed(EXIT_FAILURE, format!("{error:#}")),
    }
}

/// Help and versions are answers; everything else that clap says is bad usage.
fn usage(error: &clap::Error, screen: &Screen) -> Answer {
    let text = if screen.colours { error.render().ansi().to_string() } else { error.render().to_string() };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Answer { out: text, ..Answer::default() },
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Answer { code: EXIT_USAGE, out: text, err: "say what to ask for".to_owned() }
        }
        _ => Answer::failed(EXIT_USAGE, one_line(&error.to_string())),
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

/// Asks; what to print, and what it comes to.
#[tokio::main(flavor = "current_thread")]
async fn ask(cli: &Cli, screen: &Screen) -> anyhow::Result<(String, Conclusion)> {
    let hub = Hub::connect(&cli.global.hub, &cli.global.tls, &cli.global.token).await?;
    let mut asked = hub.reachability();
    let paint = Paint::on(screen);
    let json = cli.global.output == Output::Json;
    Ok(match &cli.command {
        Command::Nodes => {
            let nodes = answer(asked.list_nodes(v1::ListNodesRequest {})).await?;
            let text = if json { pretty(&nodes) } else { nodes::render(&nodes.nodes, paint) };
            (text, Conclusion::Fine)
        }
        Command::Matrix { range, select } => {
            let request = v1::GetMatrixRequest { selector: Some(select.wire()), range: range.wire() };
            let matrix = answer(asked.get_matrix(request)).await?;
            let text = if json { pretty(&matrix) } else { matrix::render(&matrix, paint, screen.columns) };
            (text, Conclusion::of(matrix.conclusion(), matrix.cells.len() as u64))
        }
        Command::Path { source, target, from, range } => {
            let (source, target) = (source.clone(), target.clone());
            let selector = Some(v1::PathSelector { vantages: from.wire(), ..Default::default() });
            let request = v1::GetPathRequest { source, target, selector, range: range.wire() };
            let answer = answer(asked.get_path(request)).await?;
            let text = if json { pretty(&answer) } else { path::render(&answer, paint) };
            (text, Conclusion::of(answer.conclusion(), answer.paths.len() as u64))
        }
        Command::Report { range } => {
            let answer = answer(asked.get_report(v1::GetReportRequest { range: range.wire() })).await?;
            let report = answer.report.clone().unwrap_or_default();
            let text = if json { pretty(&answer) } else { report::render(&report, paint) };
            (text, Conclusion::of(report.conclusion(), report.paths))
        }
        Command::Incidents { closed, explain } => {
            let request = v1::ListIncidentsRequest { include_closed: *closed, explain: *explain };
            let incidents = answer(asked.list_incidents(request)).await?;
            let text = if json { pretty(&incidents) } else { incidents::render(&incidents, paint) };
            (text, Conclusion::of_incidents(&incidents.incidents))
        }
        Command::Check { select, rounds, deadline } => {
            let request = v1::RunCheckRequest {
                selector: Some(select.wire()),
                rounds: *rounds,
                deadline: Some(convert::duration(*deadline)),
            };
            let result = check::run(hub.channel.clone(), request, *deadline).await?;
            let report = result.report.clone().unwrap_or_default();
            let text = if json { pretty(&result) } else { report::render(&report, paint) };
            (text, Conclusion::of_check(&report, result.passed))
        }
    })
}

fn pretty<M: Named>(message: &M) -> String {
    let mut text = serde_json::to_string_pretty(&json::value(message)).unwrap_or_default();
    text.push('\n');
    text
}
