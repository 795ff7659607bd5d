//! The hub's matrix in a process of its own.

use anyhow::Result;

use crate::tools;

/// How large.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Args {
    /// How many nodes; each probes each other one in three ways
    #[arg(long, default_value_t = 500)]
    nodes: usize,
    /// How many windows of each path, of one sample each
    #[arg(long, default_value_t = 12)]
    windows: usize,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let numbers = [args.nodes.to_string(), args.windows.to_string()];
    let bench = ["bench", "--package", "netcheck-hub", "--bench", "matrix", "--"];
    tools::run(tools::cargo().args(bench).args(numbers))
}
