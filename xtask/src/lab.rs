//! `cargo xtask lab`.

use anyhow::{Result, bail};

/// Options of `lab`.
#[derive(clap::Args, Clone, Copy)]
pub(crate) struct Args {}

/// A lab by hand.
pub(crate) fn run(args: Args) -> Result<()> {
    let Args {} = args;
    bail!("not built yet")
}
