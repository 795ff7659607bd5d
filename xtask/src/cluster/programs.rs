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
    ensure!(
        path.is_file(),
        "{name} is not built: run `cargo build -p netcheck-agent -p netcheck-hub -p kubectl-netcheck`"
    );
    Ok(path)
}

/// Builds hub, agent and command line. Cargo's own output shows the progress.
///
/// # Errors
/// If it doesn't compile.
pub fn build(profile: Profile) -> Result<()> {
    let mut cargo = tools::cargo();
    cargo.args([
        "build",
        "--package",
        "netcheck-agent",
        "--package",
        "netcheck-hub",
        "--package",
        "kubectl-netcheck",
    ]);
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    tools::run(&mut cargo)
}
