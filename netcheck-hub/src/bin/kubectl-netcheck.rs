//! `kubectl-netcheck`: the operator's command line, a client of the hub.

use std::process::ExitCode;

fn main() -> ExitCode {
    netcheck_hub::cli::main()
}
