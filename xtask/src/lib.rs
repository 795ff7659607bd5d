//! `cargo xtask`: everything that develops netcheck, from a bare machine to a tested change.

use std::{
    fmt,
    process::{ExitCode, Termination},
};

use clap::{CommandFactory as _, Parser, Subcommand, error::ErrorKind};

mod battery;
mod bench;
mod bpf;
pub mod chart;
pub mod cluster;
mod demo;
pub mod docs;
mod e2e;
mod ebpf;
mod image;
mod lab;
mod layers;
mod network;
mod release;
mod setup;
mod soak;
mod test;
mod tools;

/// Exit code of a wrong command line, as in BSD's sysexits.
const EX_USAGE: u8 = 64;

const HELP: &str = "\
{about}

Usage: cargo xtask <COMMAND>

See it work:
  demo        Raise a cluster of network namespaces, break it, and show what netcheck says (root)
  lab         Raise, enter, break and remove such a cluster by hand (root)

Change it:
  build-ebpf  Build the kernel programs, which the agent embeds
  test        Run all checks and tests, or the named parts
  bench       Measure what netcheck costs (root)

Ship it:
  image       Build the container image
  release-files  Write the command line's manual pages, completions and krew's manifest
  chart       Write what is made from the Helm chart
  e2e         Install it on a real Kubernetes cluster, break something, see it, remove it

Once, and by itself where needed:
  setup       Install what is missing on this machine

Each command has its own --help.
";

/// Develops netcheck
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", help_template = HELP, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Raise a cluster of network namespaces, break it, and show what netcheck says
    Demo(demo::Args),
    /// Raise, enter, break and remove a cluster of network namespaces by hand
    Lab(lab::Args),
    /// Build the kernel programs, which the agent embeds
    BuildEbpf(ebpf::Args),
    /// Run all checks and tests, or the named parts
    Test(test::Args),
    /// Measure what netcheck costs
    Bench(bench::Args),
    /// Build the container image, from static binaries
    Image(image::Args),
    /// Write what is made from the Helm chart: the one-file manifest, the table of values, the golden files
    Chart(chart::Args),
    /// Write what goes with a release of the command line: manual pages, completions, krew's manifest
    ReleaseFiles(release::Args),
    /// Install it on a real Kubernetes cluster, break something, see it, remove it
    E2e(e2e::Args),
    /// Install what is missing on this machine
    Setup(setup::Args),
}

/// A command line that can't be followed; exit code 64.
#[derive(Debug)]
struct Usage(String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// The command line: reads the arguments, does what they say.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            let _ = error.print();
            return if asked { ExitCode::SUCCESS } else { ExitCode::from(EX_USAGE) };
        }
    };
    let Some(command) = cli.command else {
        let _ = Cli::command().print_help();
        return ExitCode::SUCCESS;
    };
    let outcome = match command {
        Command::Demo(args) => demo::run(&args).map(Termination::report),
        Command::Lab(args) => lab::run(args).map(Termination::report),
        Command::BuildEbpf(args) => ebpf::run_command(&args).map(Termination::report),
        Command::Test(args) => test::run(&args),
        Command::Bench(args) => bench::run(&args).map(Termination::report),
        Command::Image(args) => image::run(&args).map(Termination::report),
        Command::Chart(args) => chart::run(&args).map(Termination::report),
        Command::ReleaseFiles(args) => release::release(&args).map(Termination::report),
        Command::E2e(args) => e2e::run(&args).map(Termination::report),
        Command::Setup(args) => setup::run(&args).map(Termination::report),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        if error.is::<Usage>() { ExitCode::from(EX_USAGE) } else { ExitCode::FAILURE }
    })
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::{Cli, HELP};

    #[test]
    fn the_command_line_is_sound_and_its_help_complete() {
        Cli::command().debug_assert();
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            assert!(HELP.contains(&format!("\n  {name} ")), "{name} is missing in the help");
        }
    }

    #[test]
    fn a_wrong_word_is_refused() {
        assert!(Cli::try_parse_from(["cargo xtask", "tset"]).is_err());
        assert!(Cli::try_parse_from(["cargo xtask", "test", "unit", "fmt"]).is_ok());
    }
}
