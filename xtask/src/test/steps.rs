//! What a part of the test can do: run a command, shown before it runs.

use anyhow::{Result, anyhow};

use super::Args;
use crate::battery::Selection;
use crate::network::Network;
use crate::{
    ebpf,
    tools::{self, command, run, shown},
};

/// The state that the parts of one run share.
pub(crate) struct Shared {
    /// Whether `deny` may fetch the advisory database.
    pub(crate) advisories: bool,
    /// What the battery runs.
    pub(crate) selection: Selection,
    /// Networks that were named.
    pub(crate) networks: Vec<Network>,
    /// How long the soak run lasts.
    pub(crate) minutes: u64,
    kernel_programs: Option<Result<(), String>>,
}

impl Shared {
    /// Nothing done yet.
    pub(crate) fn new(args: &Args) -> Self {
        Self {
            advisories: args.advisories,
            selection: Selection::new(&args.rows, &args.networks),
            networks: args.networks.clone(),
            minutes: args.minutes,
            kernel_programs: None,
        }
    }

    /// Builds the kernel programs, once a run.
    pub(crate) fn kernel_programs(&mut self) -> Result<()> {
        self.kernel_programs
            .get_or_insert_with(|| {
                println!("$ cargo xtask build-ebpf");
                ebpf::build(None).map_err(|error| format!("{error:#}"))
            })
            .clone()
            .map_err(|error| anyhow!(error))
    }
}

/// Runs cargo with these words as arguments.
pub(crate) fn cargo(words: &str) -> Result<()> {
    cargo_with(words, &[])
}

/// Runs cargo with these words as arguments, in this environment.
pub(crate) fn cargo_with(words: &str, env: &[(&str, &str)]) -> Result<()> {
    let mut cargo = tools::cargo();
    cargo.args(words.split_whitespace()).envs(env.iter().copied());
    println!("$ {}", shown(&cargo));
    run(&mut cargo)
}

/// Runs another program; the first word is its name.
pub(crate) fn program(words: &str) -> Result<()> {
    let mut words = words.split_whitespace();
    let mut command = command(words.next().unwrap_or_default());
    command.args(words);
    println!("$ {}", shown(&command));
    run(&mut command)
}
