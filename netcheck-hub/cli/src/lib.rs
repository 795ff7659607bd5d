//! `kubectl-netcheck`: asks the hub, and prints what it says. It explains nothing by itself and knows the contract alone,
//! not the hub's inner parts. Of Kubernetes it knows how the hub is found and reached (`netcheck-reach`).
//!
//! [`run`] is all of it but the printing: arguments in, an exit code and two texts out. `args` reads the arguments,
//! `connect` reaches the hub, `check` follows a check, `read` asks for what the hub knows, and each answer has a file that
//! renders it.

use std::ffi::OsString;
use std::io::Write;
use std::time::Duration;

use anyhow::Context as _;
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};
use netcheck_proto::json::{self, Named};
use netcheck_proto::usage::{EXIT_USAGE, one_line};
use tonic::Status;

mod args;
mod brief;
mod check;
mod clusters;
mod conclusion;
mod connect;
mod ends;
#[cfg(feature = "kubernetes")]
mod ephemeral;
mod events;
mod explain;
mod history;
mod incidents;
mod matrix;
mod nodes;
mod path;
mod read;
mod report;
mod scheduled;
mod style;
mod tasks;
#[cfg(test)]
mod tests;
mod watch;

use args::{Cli, Command};
use check::{Checked, Printing};
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
/// environment. A check shows its progress on standard error.
#[must_use]
pub fn run<T: Into<OsString> + Clone>(arguments: impl IntoIterator<Item = T>, screen: &Screen) -> Answer {
    let mut out = Vec::new();
    let answer = run_to(arguments, screen, &mut out);
    let out = String::from_utf8_lossy(&out).into_owned();
    Answer { out: out + &answer.out, ..answer }
}

/// The same; what is printed while the answer comes, for it can be large, goes to `out`.
#[must_use]
pub fn run_to<T: Into<OsString> + Clone>(
    arguments: impl IntoIterator<Item = T>,
    screen: &Screen,
    out: &mut dyn Write,
) -> Answer {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, screen),
    };
    if !cli.global.output.is_common() && !cli.command.is_check() {
        let line =
            "of the formats of -o, table and json are for all commands, the others for check and resume";
        return Answer::failed(EXIT_USAGE, line.to_owned());
    }
    let asked = if cli.command.is_local() { local(&cli) } else { ask(&cli, screen, out) };
    match asked {
        Ok(Checked { text, conclusion, trouble }) => {
            let (code, err) = conclusion.exit();
            Answer { code, out: text, err: if err.is_empty() { trouble } else { err } }
        }
        Err(error) => Answer::failed(EXIT_FAILURE, format!("{error:#}")),
    }
}

/// What needs no hub.
fn local(cli: &Cli) -> anyhow::Result<Checked> {
    let text = match &cli.command {
        Command::Init { file, from, force } => check::init::write(file, from.as_deref(), *force)?,
        Command::Convert { file } => tasks::convert(file)?,
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "kubectl-netcheck", &mut script);
            String::from_utf8(script).context("the script is no text")?
        }
        Command::Manual { dir } => {
            clap_mangen::generate_to(Cli::command(), dir)
                .with_context(|| format!("cannot write manual pages into {}", dir.display()))?;
            String::new()
        }
        _ => format!("kubectl-netcheck {}\n", env!("CARGO_PKG_VERSION")),
    };
    Ok(Checked { text, conclusion: Conclusion::Fine, trouble: String::new() })
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
        tonic::Code::NotFound
        | tonic::Code::InvalidArgument
        | tonic::Code::FailedPrecondition
        | tonic::Code::ResourceExhausted
        | tonic::Code::Unauthenticated => {
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
async fn ask(cli: &Cli, screen: &Screen, out: &mut dyn Write) -> anyhow::Result<Checked> {
    if let Command::Resume(args) = &cli.command
        && let Some(done) = check::nothing_left(args)?
    {
        return Ok(done);
    }
    if let Some(two) = clusters::Two::of(&cli.command)? {
        return two.run(&cli.global, screen).await;
    }
    if let Command::Watch { select, length, tui: true } = &cli.command {
        watch::live(&cli.global, select.wire(), *length, screen).await?;
        return Ok(Checked { text: String::new(), conclusion: Conclusion::Fine, trouble: String::new() });
    }
    let printing = Printing { output: cli.global.output, screen, out };
    #[cfg(feature = "kubernetes")]
    match &cli.command {
        Command::Clean(args) => return ephemeral::clean(&cli.global, args).await,
        Command::Check(args) if args.ephemeral.dry_run => return ephemeral::dry_run(&cli.global, args),
        Command::Check(args) if args.ephemeral.ephemeral => {
            return ephemeral::check(&cli.global, args, printing).await;
        }
        _ => {}
    }
    let hub = Hub::connect(&cli.global).await?;
    match &cli.command {
        Command::Check(args) => check::check(hub.channel, args, printing).await,
        Command::Resume(args) => check::resume(hub.channel, args, printing).await,
        Command::Watch { select, length, .. } => {
            let how = (cli.global.output, Paint::on(screen));
            watch::run(&hub, select.wire(), *length, how, printing.out).await?;
            Ok(Checked { text: String::new(), conclusion: Conclusion::Fine, trouble: String::new() })
        }
        _ => {
            let (text, conclusion) = read::read(&hub, cli, screen).await?;
            Ok(Checked { text, conclusion, trouble: String::new() })
        }
    }
}

/// A message as one line of JSON.
fn json_line<M: Named>(message: &M) -> String {
    json::value(message).to_string()
}

fn pretty<M: Named>(message: &M) -> String {
    let mut text = serde_json::to_string_pretty(&json::value(message)).unwrap_or_default();
    text.push('\n');
    text
}
