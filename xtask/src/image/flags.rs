//! The chart passes no flag that a program doesn't have: every flag of every container is looked up in its `--help`.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{
    chart::{self, list},
    tools::{command, output},
};

/// Flags that the chart passes before the programs have them: `program flag`, or `program subcommand`. One that has come
/// must leave this list.
const AWAITED: &[&str] = &[];

/// Compares the flags of all of the chart's cases with those of the programs in a directory.
pub(super) fn check(dir: &Path) -> Result<()> {
    let mut known = BTreeSet::new();
    let mut unknown = BTreeSet::new();
    for container in chart::containers()? {
        let words: Vec<_> = list(&container["command"]).iter().filter_map(Value::as_str).collect();
        let (program, subcommand) = words.split_first().context("a container without a command")?;
        let program = program.trim_start_matches('/');
        // Without a subcommand, flags are those of its default one.
        let asked: &[&str] =
            if program == "netcheck-agent" && subcommand.is_empty() { &["run"] } else { subcommand };
        let help = output(command(dir.join(program)).args(asked).arg("--help")).unwrap_or_default();
        let has = |flag: &str| {
            help.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').any(|word| word == flag)
        };
        let name = [&[program], subcommand].concat().join(" ");
        for argument in list(&container["args"]).iter().filter_map(Value::as_str) {
            let flag = argument.split('=').next().unwrap_or_default();
            let place = if has(flag) { &mut known } else { &mut unknown };
            place.insert(format!("{name} {flag}"));
        }
    }
    let is_awaited = |flag: &&String| AWAITED.contains(&flag.as_str());
    let missing: Vec<_> = unknown.iter().filter(|flag| !is_awaited(flag)).map(String::as_str).collect();
    if !missing.is_empty() {
        bail!("the chart passes flags that are not there: {}", missing.join("; "));
    }
    let come: Vec<_> = known.iter().filter(is_awaited).map(String::as_str).collect();
    if !come.is_empty() {
        bail!("no longer awaited, strike from the list in flags.rs: {}", come.join("; "));
    }
    println!("{} flags of the chart are there, {} awaited", known.len(), unknown.len());
    Ok(())
}
