//! The netcheck agent's command.

use std::io::{IsTerminal, Write as _};
use std::process::ExitCode;

use netcheck_agent::config::{Command, EXIT_FAILURE, LogFormat, NotRun, parse};
use netcheck_proto::usage::EXIT_USAGE;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let command = match parse(std::env::args_os()) {
        Ok(command) => command,
        Err(NotRun::Shown(text)) => {
            let _ = write!(std::io::stdout(), "{text}");
            return ExitCode::SUCCESS;
        }
        Err(NotRun::Usage(line)) => return fail(EXIT_USAGE, &line),
    };
    let done = match command {
        Command::Run(flags) => {
            log_to_stderr(&flags.log, flags.log_format);
            netcheck_agent::run(&flags)
        }
        Command::Vantage(flags) => {
            log_to_stderr(&flags.log, flags.log_format);
            netcheck_agent::run_vantage(&flags)
        }
        Command::Status(flags) => netcheck_agent::show_status(&flags).map(|text| print(&text)),
        Command::Cleanup => {
            print(&netcheck_agent::cleanup());
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(EXIT_FAILURE, &format!("{error:#}")),
    }
}

fn log_to_stderr(filter: &str, format: LogFormat) {
    let logging = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => logging.init(),
        LogFormat::Json => logging.json().init(),
    }
}

/// A reader that has gone (`| head`) is no error.
fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

fn fail(code: u8, line: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "netcheck-agent: {line}");
    ExitCode::from(code)
}
