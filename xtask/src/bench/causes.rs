//! The explainer on random clusters with faults whose truth is known.

use anyhow::Result;
use netcheck_netsim::{Case, Scores};

/// How many faults a case has at the most.
const FAULTS: usize = 3;

/// How many, and which.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Args {
    /// How many cases of each number of faults, none included
    #[arg(long, default_value_t = 1000)]
    cases: u64,
    /// The first seed: the same seeds are the same cases
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Show this seed with so many faults in place of scores
    #[arg(long, value_name = "FAULTS", value_parser = clap::value_parser!(u8).range(0..=3))]
    show: Option<u8>,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let explain = |case: &Case| netcheck_causes::explain(&case.topology, &case.groups);
    if let Some(faults) = args.show {
        let case = Case::draw(args.seed, usize::from(faults));
        println!("{}", case.describe(&explain(&case)));
        return Ok(());
    }
    print!("{}", Scores::measure(args.seed..args.seed + args.cases, 0..=FAULTS, explain));
    Ok(())
}
