//! The parts of `cargo xtask test`, in the order in which they run: cheap ones first, then by what they build on.

use std::collections::BTreeSet;
use std::io::{IsTerminal as _, stdout};
use std::{fs, thread};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{
    fuzz,
    steps::{Shared, cargo, cargo_with, program},
    walls,
};
use crate::{
    battery, chart, cluster, docs, ebpf, image, layers, setup, soak,
    tools::{self, command, output},
};

/// A part of the test.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Parts of `cargo xtask setup` that it needs.
    pub(crate) tools: &'static [&'static str],
    /// Whether it compiles the agent, which embeds the kernel programs: these are built first.
    pub(crate) embeds: bool,
    /// Whether it takes too long to run unless it is asked for.
    pub(crate) by_name_only: bool,
    pub(crate) run: fn(&mut Shared) -> Result<()>,
}

/// All parts.
#[rustfmt::skip]
pub(crate) const PARTS: &[Part] = &[
    Part { name: "fmt", about: "the code is formatted", tools: &[], embeds: false, by_name_only: false, run: fmt },
    Part { name: "typos", about: "no spelling mistakes", tools: &["typos"], embeds: false, by_name_only: false, run: typos },
    Part { name: "buf", about: "the contract's style, and no break since its last release", tools: &["buf"], embeds: false, by_name_only: false, run: buf },
    Part { name: "machete", about: "no unused dependencies", tools: &["cargo-machete"], embeds: false, by_name_only: false, run: machete },
    Part { name: "walls", about: "command line, hub and agent link nothing of each other's", tools: &[], embeds: false, by_name_only: false, run: |_| walls::check() },
    Part { name: "layers", about: "no folder imports from a higher layer", tools: &[], embeds: false, by_name_only: false, run: |_| layers::check() },
    Part { name: "deny", about: "licences, bans and sources of dependencies", tools: &["cargo-deny"], embeds: false, by_name_only: false, run: deny },
    Part { name: "chart", about: "the Helm chart: rendered, held against schemas, and what is made from it", tools: chart::TOOLS, embeds: false, by_name_only: false, run: |_| chart::test() },
    Part { name: "ebpf", about: "the kernel programs build", tools: setup::KERNEL, embeds: true, by_name_only: false, run: |_| Ok(()) },
    Part { name: "clippy", about: "no warnings, on the host and in the kernel", tools: &[], embeds: true, by_name_only: false, run: clippy },
    Part { name: "doc", about: "the documentation builds without warnings", tools: &[], embeds: true, by_name_only: false, run: doc },
    Part { name: "unit", about: "unit, property and in-process tests", tools: &["promtool", "alertmanager", "victoria-metrics", "xmllint"], embeds: true, by_name_only: false, run: unit },
    Part { name: "docs", about: "commands, flags, links and paths of the documentation", tools: docs::TOOLS, embeds: true, by_name_only: false, run: |_| docs::check() },
    Part { name: "lab", about: "real packets and faults in network namespaces (root)", tools: setup::LAB, embeds: true, by_name_only: false, run: lab },
    Part { name: "battery", about: "many faults, each located where it is (root)", tools: setup::LAB, embeds: true, by_name_only: true, run: battery },
    Part { name: "soak", about: "no false alarm while cores are busy and interfaces come and go (root)", tools: setup::LAB, embeds: true, by_name_only: true, run: soak },
    Part { name: "hostile", about: "attacks on a hub over loopback: what they cost, and that they change nothing", tools: &[], embeds: false, by_name_only: true, run: hostile },
    Part { name: "soak-hub", about: "twelve hours of a hub in nine minutes: neither memory nor descriptors grow", tools: &[], embeds: false, by_name_only: true, run: soak_hub },
    Part { name: "fuzz", about: "what reads bytes of others, each target for a minute", tools: fuzz::TOOLS, embeds: false, by_name_only: true, run: |_| fuzz::check() },
    Part { name: "image", about: "the image, run with the rights that the chart gives it (root)", tools: image::TOOLS, embeds: false, by_name_only: true, run: |_| image::test() },
];

/// Everything but the kernel programs, which don't compile for the host.
const HOST: &str = "--workspace --exclude netcheck-ebpf";

/// In release form, as its figures are read.
fn hostile(_: &mut Shared) -> Result<()> {
    cargo("test --release --package netcheck-hub --test hostile -- attacks_change --ignored --nocapture")
}

/// In release form: the rate stands for twelve hours.
fn soak_hub(_: &mut Shared) -> Result<()> {
    cargo("test --release --package netcheck-hub --test hostile -- twelve_hours --ignored --nocapture")
}

fn fmt(_: &mut Shared) -> Result<()> {
    // It colours what nobody sees unless it is told.
    let colour = if stdout().is_terminal() { "always" } else { "never" };
    cargo(&format!("fmt --all --check -- --color {colour}"))
}

fn typos(_: &mut Shared) -> Result<()> {
    program("typos")
}

fn buf(_: &mut Shared) -> Result<()> {
    program("buf lint proto")?;
    let tag = output(command("git").args(["describe", "--tags", "--abbrev=0", "--match", "v[0-9]*"]));
    let Ok(tag) = tag else {
        println!("no released contract yet");
        return Ok(());
    };
    program(&format!("buf breaking proto --against .git#tag={tag},subdir=proto"))
}

fn machete(_: &mut Shared) -> Result<()> {
    program("cargo-machete")
}

fn deny(shared: &mut Shared) -> Result<()> {
    cargo("deny --locked check bans licenses sources")?;
    if shared.advisories { cargo("deny --locked check advisories") } else { Ok(()) }
}

fn clippy(_: &mut Shared) -> Result<()> {
    cargo(&format!("clippy {HOST} --all-targets -- -D warnings"))?;
    // Both at once: their dependencies are looked at once.
    let lean = "--package netcheck-agent --package kubectl-netcheck --no-default-features";
    cargo(&format!("clippy {lean} --all-targets -- -D warnings"))?;
    ebpf::clippy()
}

fn doc(_: &mut Shared) -> Result<()> {
    cargo_with(&format!("doc {HOST} --no-deps --document-private-items"), &[("RUSTDOCFLAGS", "-D warnings")])
}

/// Tests that need a lab: one after the other, in the part of that name.
const OF_LAB: [&str; 3] = ["lab", "e2e", "install"];

/// All parts select the whole workspace: with fewer packages, dependencies would be built anew for want of some of their
/// features.
fn unit(_: &mut Shared) -> Result<()> {
    let others = integration_tests()?.into_iter().filter(|name| !OF_LAB.contains(&name.as_str()));
    let others: Vec<String> = others.map(|name| format!("--test {name}")).collect();
    // One that fails keeps no other from running.
    cargo(&format!("test {HOST} --no-fail-fast --lib --bins {}", others.join(" ")))?;
    cargo(&format!("test {HOST} --doc"))
}

fn lab(_: &mut Shared) -> Result<()> {
    cluster::build_beside_tests()?;
    let tests = OF_LAB.map(|name| format!("--test {name}")).join(" ");
    cargo(&format!("test {HOST} {tests} --no-run"))?;
    // One that fails keeps no other from running. Those of the lab itself have no agents that measure anything: they run beside
    // the others, and are shown behind them.
    let run = |tests: &str| format!("test {HOST} {tests} --no-fail-fast -- --test-threads=1");
    let log = tools::target_dir().join("lab-tests.log");
    let _ = fs::remove_file(&log);
    let mut of_lab = tools::cargo();
    of_lab.args(run("--test lab").split_whitespace());
    let (others, of_lab) = thread::scope(|scope| {
        let beside = scope.spawn(|| tools::run_logged(&mut of_lab, &log));
        let others = cargo(&run("--test e2e --test install"));
        let of_lab = beside.join().unwrap_or_else(|_panic| bail!("the lab's own tests could not be run"));
        (others, of_lab)
    });
    print!("\n{}", fs::read_to_string(&log).unwrap_or_default());
    others.and(of_lab)
}

/// The names of all integration tests of the workspace.
fn integration_tests() -> Result<BTreeSet<String>> {
    let mut metadata = tools::cargo();
    metadata.args(["metadata", "--format-version=1", "--locked", "--no-deps"]);
    let metadata: Value =
        serde_json::from_str(&output(&mut metadata)?).context("cargo's metadata is no JSON")?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let targets = packages.flat_map(|package| package["targets"].as_array().into_iter().flatten());
    let tests = targets.filter(|target| target["kind"][0] == "test");
    Ok(tests.filter_map(|target| target["name"].as_str()).map(ToOwned::to_owned).collect())
}

fn battery(shared: &mut Shared) -> Result<()> {
    battery::run(&shared.selection)
}

fn soak(shared: &mut Shared) -> Result<()> {
    soak::run(shared.minutes, &shared.networks)
}
