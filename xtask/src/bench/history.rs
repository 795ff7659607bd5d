//! What history costs: bytes a path and day, processor time to take windows in and roll them up, the time of questions.

use anyhow::{Context as _, Result};

use crate::tools;

/// How large.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Args {
    /// How many paths matrices are asked for with
    #[arg(long, default_value_t = 102_400)]
    paths: u32,
    /// How many paths bytes are counted with, over three hours of full load
    #[arg(long, default_value_t = 5_120)]
    size_paths: u32,
    /// Print JSON instead of lines
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let dir = tools::target_dir().join("bench-history");
    std::fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    let mut cargo = tools::cargo();
    cargo.args(["bench", "--package", "netcheck-history", "--bench", "history", "--"]);
    cargo.arg("--dir").arg(&dir).args(["--paths", &args.paths.to_string()]);
    cargo.args(["--size-paths", &args.size_paths.to_string()]);
    if args.json {
        cargo.arg("--json");
    }
    tools::run(&mut cargo)
}
