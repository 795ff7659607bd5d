//! `cargo xtask demo`.

use anyhow::{Result, bail};

/// Options of `demo`.
#[derive(clap::Args, Clone, Copy)]
pub(crate) struct Args {
    /// Clean up and exit after the last step
    #[arg(long)]
    once: bool,
}

/// Shows netcheck at work.
pub(crate) fn run(args: Args) -> Result<()> {
    let Args { once } = args;
    bail!("not built yet (once: {once})")
}
