//! The documentation, held against the programs: each command that it prints, each flag, link and path that it names.
//!
//! In: the Markdown files of the repository, and the programs as they were built. Out: one line for each thing that is
//! wrong. `check` is the part `docs` of `cargo xtask test`. It parses each command. The end-to-end tests run those
//! that ask a hub or a cluster, and compare the table of metrics with what the programs serve ([`metrics`]).

mod commands;
mod flags;
mod links;
pub mod metrics;
mod pages;

use anyhow::{Result, bail};

pub use self::commands::{Class, DocCommand};
use crate::{cluster, tools};

/// Parts of `cargo xtask setup` that the check needs.
pub(crate) const TOOLS: &[&str] = &["helm", "kubectl"];

/// Checks all pages. Builds the programs whose commands they print.
pub(crate) fn check() -> Result<()> {
    cluster::build_beside_tests()?;
    let pages = pages::all()?;
    let mut wrong = Vec::new();
    let (commands, unknown) = commands::read(&pages);
    wrong.extend(unknown);
    for command in &commands {
        wrong.extend(command.check().err().map(|error| format!("{}: {error:#}", command.place())));
    }
    wrong.extend(commands::in_prose(&pages));
    wrong.extend(flags::unknown(&pages, &flags::known()?));
    wrong.extend(links::broken(&pages, tools::root()));
    if wrong.is_empty() {
        println!("{} pages, {} commands", pages.len(), commands.len());
        return Ok(());
    }
    bail!("{} things are wrong:\n  {}", wrong.len(), wrong.join("\n  "))
}

/// The commands that the pages print, in order.
///
/// # Errors
/// If a page can't be read, or prints a command of no known class.
pub fn commands() -> Result<Vec<DocCommand>> {
    let (commands, unknown) = commands::read(&pages::all()?);
    if unknown.is_empty() { Ok(commands) } else { bail!("{}", unknown.join("\n")) }
}
