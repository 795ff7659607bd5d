//! `cargo xtask setup`: makes a bare machine fit to build, test and show netcheck. What the project needs is one
//! table ([`parts::PARTS`]); this file compares it with the machine and installs the difference.

use std::{fs, time::Instant};

use anyhow::{Context as _, Result, bail};

use crate::{Usage, tools::tools_dir};

mod apt;
mod install;
mod parts;
mod progress;

use parts::{PARTS, Part, Source};
use progress::Progress;

/// What building the kernel programs needs.
pub(crate) const KERNEL: &[&str] = &["bpf-linker", "rust-src"];

/// What a cluster of network namespaces and its readers need.
pub(crate) const LAB: &[&str] = &[
    "nftables",
    "iptables",
    "iproute2",
    "cni",
    "ping",
    "unbound",
    "procps",
    "grpcurl",
    "curl",
    "promtool",
    "schemathesis",
];

/// What the bench needs besides.
pub(crate) const BENCH: &[&str] = &["ethtool", "iperf3", "tcpdump"];

/// Options of `setup`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only say what is there and what isn't; exit 1 if anything is missing
    #[arg(long)]
    check: bool,
    /// Only these parts; all by default
    #[arg(value_name = "PART")]
    parts: Vec<String>,
}

/// Installs what is missing, or with `--check` says what is.
pub(crate) fn run(args: &Args) -> Result<()> {
    let wanted = select(&args.parts)?;
    let missing: Vec<_> = wanted.iter().copied().filter(|part| !part.is_there()).collect();
    if args.check {
        for part in &wanted {
            let state = if missing.iter().any(|other| other.name == part.name) { "missing" } else { "ok" };
            println!("{state:8}{:14}{:10}for {}", part.name, part.version, part.used_for);
        }
        if !missing.is_empty() {
            bail!("{} missing; `cargo xtask setup` installs what is", missing.len());
        }
    }
    if missing.is_empty() {
        println!("all {} parts are there", wanted.len());
        return Ok(());
    }
    install_all(&missing)
}

/// Installs those of the named parts that are missing.
pub(crate) fn ensure(names: &[&str]) -> Result<()> {
    let missing: Vec<_> = named(names).filter(|part| !part.is_there()).collect();
    if missing.is_empty() { Ok(()) } else { install_all(&missing) }
}

/// Fails where one of the named parts is missing, and names the remedy.
pub(crate) fn require(names: &[&str]) -> Result<()> {
    let missing: Vec<_> = named(names).filter(|part| !part.is_there()).map(|part| part.name).collect();
    if !missing.is_empty() {
        let names = missing.join(" ");
        bail!("missing: {names}; install with: cargo xtask setup {names}");
    }
    Ok(())
}

/// The parts of those names, in the table's order.
fn named(names: &[&str]) -> impl Iterator<Item = &'static Part> {
    PARTS.iter().filter(|part| names.contains(&part.name))
}

fn select(names: &[String]) -> Result<Vec<&'static Part>> {
    if let Some(unknown) = names.iter().find(|name| !is_part(name)) {
        let all: Vec<_> = PARTS.iter().map(|part| part.name).collect();
        return Err(Usage(format!("no part `{unknown}` to set up; there are: {}", all.join(" "))).into());
    }
    Ok(PARTS.iter().filter(|part| names.is_empty() || names.iter().any(|name| name == part.name)).collect())
}

/// Whether the table has a part of that name.
pub(crate) fn is_part(name: &str) -> bool {
    PARTS.iter().any(|part| part.name == name)
}

fn install_all(missing: &[&Part]) -> Result<()> {
    let begin = Instant::now();
    fs::create_dir_all(tools_dir().join("bin")).context("can't make a place for tools")?;
    let mut failures = Vec::new();

    // Everything that apt has in one go: its own start-up is what takes long.
    let packages = apt::missing(missing.iter().flat_map(|part| part.source.apt_packages()));
    if !packages.is_empty() {
        let progress = Progress::begin(&format!("apt: {}", packages.join(" ")));
        progress.end(apt::install(&packages)).unwrap_or_else(|error| failures.push(error));
    }
    for part in missing {
        if !matches!(part.source, Source::Apt(_)) {
            let progress = Progress::begin(&format!("{}, for {}", part.title(), part.used_for));
            let installed =
                install::install(part).with_context(|| format!("{} was not installed", part.name));
            progress.end(installed).unwrap_or_else(|error| failures.push(error));
        }
    }
    if failures.is_empty() {
        if let Some(part) = missing.iter().find(|part| !part.is_there()) {
            bail!("{} is still missing after its installation succeeded", part.name);
        }
        println!("{} parts installed in {} s", missing.len(), begin.elapsed().as_secs());
        return Ok(());
    }
    let reasons: Vec<_> = failures.iter().map(|error| format!("{error:#}")).collect();
    bail!("setup is incomplete\n{}", reasons.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::{KERNEL, LAB, PARTS, named, require, select};

    #[test]
    fn names_are_unique_and_selectable() {
        for part in PARTS {
            assert_eq!(named(&[part.name]).count(), 1, "{}", part.name);
        }
        assert_eq!(select(&[]).unwrap().len(), PARTS.len());
        assert_eq!(select(&["buf".into()]).unwrap().len(), 1);
        let error = select(&["bufff".into()]).err().unwrap().to_string();
        assert!(error.contains("`bufff`") && error.contains("grpcurl"), "{error}");
    }

    #[test]
    fn what_others_ask_for_is_in_the_table() {
        assert_eq!(named(KERNEL).count(), KERNEL.len());
        assert_eq!(named(LAB).count(), LAB.len());
    }

    #[test]
    fn nothing_is_required_of_nobody() {
        require(&[]).unwrap();
    }
}
