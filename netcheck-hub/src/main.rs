//! `netcheck-hub`: configuration, log, run.

use std::process::ExitCode;

use netcheck_hub::app::App;
use netcheck_hub::config::Config;
use netcheck_hub::telemetry;
use netcheck_proto::usage::{EXIT_USAGE, one_line};

fn main() -> ExitCode {
    let config = match Config::read() {
        Ok(config) => config,
        Err(error) if !error.use_stderr() => {
            // --help and --version. A reader that hung up is no failure.
            drop(error.print());
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("netcheck-hub: {}", one_line(&error.to_string()));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    telemetry::start(config.log_format);
    match run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("netcheck-hub: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(config: &Config) -> anyhow::Result<()> {
    App::build(config).await?.run().await
}
