//! `cargo xtask bench`: what netcheck costs, measured, never asserted.

use anyhow::{Result, ensure};

use crate::cluster::{self, Profile};
use crate::{ebpf, setup};

pub(crate) mod idle;
mod matrix;
mod roster;

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
    /// A hub that reads a large cluster from the Kubernetes API: time and memory to the roster and to plans
    Roster(roster::Args),
    /// The hub's memory a path, and how fast it plans, takes samples and judges
    Matrix(matrix::Args),
}

/// Measures.
///
/// # Errors
/// If something can't be built or raised, or the cluster is not healthy.
pub(crate) fn run(args: &Args) -> Result<()> {
    let idle = match &args.what {
        What::Idle(idle) => idle,
        What::Roster(args) => return roster::run(args),
        What::Matrix(args) => return matrix::run(args),
    };
    ensure!(rustix::process::geteuid().is_root(), "the bench raises a lab: run it as root");
    setup::ensure(setup::KERNEL)?;
    setup::ensure(setup::LAB)?;
    setup::ensure(setup::BENCH)?;
    ebpf::build(None)?;
    cluster::build(Profile::Release)?;
    idle::run(idle)
}
