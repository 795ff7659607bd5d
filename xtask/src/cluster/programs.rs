//! Hub, agent and command line: built, and where they are then.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::tools;

/// How the programs were built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// `cargo build`.
    #[default]
    Dev,
    /// `cargo build --release`.
    Release,
}

/// A program of the workspace, as `cargo build` left it.
///
/// # Errors
/// If it is not built.
pub fn binary(name: &str) -> Result<PathBuf> {
    built(name, Profile::Dev)
}

pub(crate) fn built(name: &str, profile: Profile) -> Result<PathBuf> {
    let folder = if profile == Profile::Release { "release" } else { "debug" };
    let path = tools::target_dir().join(folder).join(name);
    ensure!(path.is_file(), "{name} is not built: run `cargo build`");
    Ok(path)
}

/// Builds hub, agent and command line. Cargo's own output shows the progress.
///
/// # Errors
/// If it doesn't compile.
pub fn build(profile: Profile) -> Result<()> {
    match profile {
        // The whole workspace at once, as `cargo xtask` was: with fewer packages, dependencies would have other features
        // and be compiled twice.
        Profile::Dev => cargo_build(&["--bins"]),
        Profile::Release => cargo_build(&[
            "--release",
            "--package",
            "netcheck-agent",
            "--package",
            "netcheck-hub",
            "--package",
            "kubectl-netcheck",
        ]),
    }
}

/// Builds all programs with the features that tests give their dependencies: after or before tests, nothing is compiled
/// twice.
///
/// # Errors
/// If it doesn't compile.
pub(crate) fn build_beside_tests() -> Result<()> {
    cargo_build(&["--bins", "--tests"])
}

fn cargo_build(arguments: &[&str]) -> Result<()> {
    tools::run(tools::cargo().arg("build").args(arguments))
}
