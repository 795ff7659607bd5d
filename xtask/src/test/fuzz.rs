//! `cargo xtask test fuzz`: every target of `xtask/fuzz` for a minute, by libFuzzer.
//!
//! Corpora in the repository are small and only read; what a run adds stays below `target/fuzz/corpus`, and what it finds
//! below `target/fuzz/found`. An input that is found is mended and kept in `xtask/fuzz/corpus`, which plain tests read.

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::ebpf::toolchain;
use crate::tools::{relative, root, run, shown, target_dir};

/// Parts of `setup` that it needs: cargo-fuzz, and the nightly that the kernel programs are built with.
pub(crate) const TOOLS: &[&str] = &["cargo-fuzz", "rust-src"];

const CRATE: &str = "xtask/fuzz";
/// One target's time, seconds.
const SECONDS: u32 = 60;
/// Longest input, bytes: what is wrong with longer ones is with short ones, too.
const LONGEST: u32 = 4096;

/// Runs all targets, also after one that found something.
///
/// # Errors
/// A target found something, or can't be built.
pub(crate) fn check() -> Result<()> {
    let targets = targets()?;
    let failed: Vec<_> = targets.iter().filter(|target| one(target).is_err()).map(String::as_str).collect();
    if failed.is_empty() {
        return Ok(());
    }
    bail!("{}: the input is in {}", failed.join(" "), relative(&target_dir().join("fuzz/found")))
}

fn targets() -> Result<Vec<String>> {
    let folder = root().join(CRATE).join("targets");
    let files = fs::read_dir(&folder).with_context(|| format!("can't read {}", relative(&folder)))?;
    let mut names: Vec<_> = files
        .filter_map(Result::ok)
        .filter_map(|file| file.file_name().to_str()?.strip_suffix(".rs").map(str::to_owned))
        .collect();
    names.sort_unstable();
    Ok(names)
}

fn one(target: &str) -> Result<()> {
    let own = target_dir().join("fuzz");
    let (added, found) = (own.join("corpus").join(target), own.join("found"));
    fs::create_dir_all(&added)?;
    fs::create_dir_all(&found)?;
    let mut cargo = toolchain::find(None)?.cargo();
    // No sanitizer: nearly all of it is safe code, and panics and overflows are seen without one.
    cargo.args(["fuzz", "run", "--fuzz-dir", CRATE, "--sanitizer", "none", target]);
    cargo.arg(&added).arg(root().join(CRATE).join("corpus").join(target)).arg("--");
    cargo.args([format!("-max_total_time={SECONDS}"), format!("-max_len={LONGEST}")]);
    cargo.args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]);
    cargo.arg(format!("-artifact_prefix={}/{target}-", found.display()));
    cargo.env("CARGO_TARGET_DIR", &own);
    println!("$ {}", shown(&cargo));
    run(&mut cargo)
}
