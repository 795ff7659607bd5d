//! `kubectl-netcheck`: the operator's command line, a client of the hub.

use std::io::Write as _;
use std::process::ExitCode;

use kubectl_netcheck::{Answer, Screen, run_to};

fn main() -> ExitCode {
    let answer = run_to(std::env::args_os(), &Screen::of_stdout(), &mut std::io::stdout());
    match print(&answer) {
        Ok(()) => ExitCode::from(answer.code),
        Err(error) => {
            eprintln!("kubectl-netcheck: cannot print: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints. A reader that has seen enough (`| head`) is no failure.
fn print(answer: &Answer) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(answer.out.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(error),
        _ => {}
    }
    if !answer.err.is_empty() {
        eprintln!("kubectl-netcheck: {}", answer.err);
    }
    Ok(())
}
