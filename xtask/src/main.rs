//! `cargo xtask`. All of it is in the library, so that the end-to-end tests can use it too.

use std::process::ExitCode;

fn main() -> ExitCode {
    xtask::main()
}
