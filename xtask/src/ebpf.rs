//! `cargo xtask build-ebpf`: the kernel programs, from crate `netcheck-ebpf` to `target/ebpf/netcheck.bpf.o`,
//! which the agent embeds. The object is replaced only when its bytes changed, so that an agent isn't rebuilt
//! for nothing.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{
    setup,
    tools::{relative, root, run, shown, target_dir},
};

pub(crate) mod toolchain;

use toolchain::Toolchain;

/// Little-endian: netcheck's agents run on amd64 and arm64.
const TARGET: &str = "bpfel-unknown-none";

/// Options of `build-ebpf`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which compiler: a rustup toolchain with nightly's features, or `debian` for Debian's packages, unpacked
    /// beside the project. By default nightly, and Debian's where rustup has none and can't fetch it.
    #[arg(long, env = "NETCHECK_EBPF_TOOLCHAIN", value_name = "NAME")]
    toolchain: Option<String>,
    /// Accepted for symmetry with cargo: the programs are always optimised, for the verifier wants them so.
    #[arg(long, hide = true)]
    release: bool,
}

/// Builds the object and says where it is.
pub(crate) fn run_command(args: &Args) -> Result<()> {
    build(args.toolchain.as_deref())
}

/// Where the agent's build script finds the programs.
pub(crate) fn object() -> PathBuf {
    target_dir().join("ebpf/netcheck.bpf.o")
}

/// Builds the object with the toolchain of that name, or the best there is.
pub(crate) fn build(toolchain: Option<&str>) -> Result<()> {
    setup::require(&["bpf-linker"])?;
    let toolchain = toolchain::find(toolchain)?;
    let mut cargo = cargo(&toolchain, "build");
    cargo.args(["--package", "netcheck-ebpf", "--bin", "netcheck"]);
    run(&mut cargo).with_context(|| format!("the kernel programs were not built with {}", toolchain.name))?;

    let built = target_dir().join("ebpf-build").join(TARGET).join("release/netcheck");
    let bytes = fs::read(&built).with_context(|| format!("cargo left no {}", relative(&built)))?;
    if !bytes.starts_with(b"\x7fELF") {
        bail!("{} isn't an ELF object; it came from: {}", relative(&built), shown(&cargo));
    }
    let object = object();
    let unchanged = fs::read(&object).is_ok_and(|old| old == bytes);
    if !unchanged {
        fs::create_dir_all(target_dir().join("ebpf"))?;
        // By way of a rename, for the agent may be built at this very moment.
        let fresh = object.with_extension("o.new");
        fs::write(&fresh, &bytes)?;
        fs::rename(&fresh, &object)?;
    }
    let verb = if unchanged { "unchanged" } else { "written" };
    println!("{}: {} bytes, {verb} ({})", relative(&object), bytes.len(), toolchain.name);
    Ok(())
}

/// Lints the programs as strictly as the rest.
pub(crate) fn clippy() -> Result<()> {
    setup::require(&["bpf-linker"])?;
    let toolchain = toolchain::find(None)?;
    if toolchain.unpacked {
        println!("the kernel programs were built but not linted: Debian's compiler comes without clippy");
        return Ok(());
    }
    let mut cargo = cargo(&toolchain, "clippy");
    cargo.args(["--package", "netcheck-ebpf", "--bin", "netcheck", "--", "-D", "warnings"]);
    println!("$ {}", shown(&cargo));
    run(&mut cargo)
}

/// Cargo for the bpf target, in a target directory of its own so that it never waits for the host's build.
fn cargo(toolchain: &Toolchain, verb: &str) -> Command {
    let mut cargo = toolchain.cargo();
    cargo
        .args([verb, "--release", "--target", TARGET, "-Z", "build-std=core", "--target-dir"])
        .arg(target_dir().join("ebpf-build"))
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(toolchain).join("\u{1f}"));
    cargo
}

/// `--disable-expand-memcpy-in-order`: small copies become loads and stores. As calls of a loop they would cost more,
/// and the verifier allows their pointer arithmetic only to loaders with CAP_PERFMON.
fn rustflags(toolchain: &Toolchain) -> Vec<String> {
    let mut flags: Vec<String> = [
        "-Clinker=bpf-linker",
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
        "-Clink-arg=--disable-expand-memcpy-in-order",
    ]
    .map(str::to_owned)
    .into();
    // The debug info names files; the same source gives the same object wherever it is built.
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
        .unwrap_or_default();
    for (path, name) in [(root(), "netcheck"), (&cargo_home, "cargo"), (&toolchain.sysroot, "rust")] {
        flags.push(format!("--remap-path-prefix={}={name}", path.display()));
    }
    flags
}
