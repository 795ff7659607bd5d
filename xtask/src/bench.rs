//! `cargo xtask bench`: what netcheck costs, measured, never asserted.

use anyhow::{Result, ensure};

use crate::cluster::{self, Profile};
use crate::{ebpf, setup};

mod causes;
mod check;
mod history;
pub(crate) mod idle;
mod matrix;
mod overhead;
mod relay;
mod roster;
mod split;
mod spread;
mod veth_pair;

/// Options of `bench`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Clone, Debug)]
enum What {
    /// An agent that has nothing to complain of: 4 nodes, 1 s interval, all kinds of probes
    Idle(idle::Args),
    /// What hooks cost packets that are not netcheck's: the programs' own time, a veth's throughput
    Overhead(overhead::Args),
    /// How far delays are off, and in whose share they land, while hosts are starved
    Split(split::Args),
    /// What it costs an agent to pass on the sessions of others
    Relay(relay::Args),
    /// A hub that reads a large cluster from the Kubernetes API: time and memory to the roster and to plans
    Roster(roster::Args),
    /// The hub's memory a path, and how fast it plans, takes samples and judges
    Matrix(matrix::Args),
    /// How often the explainer names the true causes, on random clusters with random faults
    Causes(causes::Args),
    /// `kubectl netcheck check` over all pairs of 1,000 nodes, whose agents are simulated: time, memory, exit codes
    Check(check::Args),
    /// History's bytes a path and day, what it costs to write, and how long questions take
    History(history::Args),
}

/// Measures.
///
/// # Errors
/// If something can't be built or raised, or the cluster is not healthy.
pub(crate) fn run(args: &Args) -> Result<()> {
    match &args.what {
        What::Idle(args) => in_lab(|| cluster::build(Profile::Release), || idle::run(args)),
        What::Overhead(args) => in_lab(|| veth_pair::build(args.output.profile()), || overhead::run(args)),
        What::Split(args) => in_lab(|| veth_pair::build(args.output.profile()), || split::run(args)),
        What::Relay(args) => in_lab(|| cluster::build(args.output.profile()), || relay::run(args)),
        What::Roster(args) => roster::run(args),
        What::Matrix(args) => matrix::run(args),
        What::Causes(args) => causes::run(args),
        What::Check(args) => check::run(args),
        What::History(args) => history::run(args),
    }
}

/// How figures are taken and shown.
#[derive(clap::Args, Clone, Copy, Debug)]
struct Output {
    /// Measure debug builds; the kernel programs are the same
    #[arg(long)]
    debug: bool,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
}

impl Output {
    const fn profile(self) -> Profile {
        if self.debug { Profile::Dev } else { Profile::Release }
    }
}

/// Gets what a lab needs, builds, then measures in one.
fn in_lab(build: impl FnOnce() -> Result<()>, measure: impl FnOnce() -> Result<()>) -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "the bench raises a lab: run it as root");
    setup::ensure(setup::KERNEL)?;
    setup::ensure(setup::LAB)?;
    setup::ensure(setup::BENCH)?;
    ebpf::build(None)?;
    build()?;
    measure()
}
