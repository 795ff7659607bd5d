//! Static binaries: linked against nothing, with no path of this machine in them.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    ebpf, setup,
    tools::{cargo, command, output, relative, root, run, shown, target_dir},
};

/// What goes into the image.
pub(super) const NAMES: &[&str] = &["netcheck-agent", "netcheck-hub", "kubectl-netcheck"];
/// Names the kernel programs where they are built already.
const OBJECT: &str = "NETCHECK_EBPF_OBJECT";

/// The compiler's own target, as in `x86_64-unknown-linux-gnu`.
pub(super) fn triple() -> Result<String> {
    let version = output(command("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc doesn't say what it compiles for")
}

/// Builds them into the directory.
pub(super) fn build(dir: &Path) -> Result<()> {
    let object = match env::var_os(OBJECT) {
        Some(object) => object.into(),
        None => {
            setup::ensure(setup::KERNEL)?;
            ebpf::build(None)?;
            ebpf::object()
        }
    };
    let triple = triple()?;
    let mut build = cargo();
    build.args(["build", "--release", "--locked", "--target", &triple]);
    build.args(["--package", "netcheck-agent", "--package", "netcheck-hub", "--package", "kubectl-netcheck"]);
    build.env(OBJECT, object);
    // With a target named, these are for what is built, not for what builds it.
    let variable = format!("CARGO_TARGET_{}_RUSTFLAGS", triple.to_uppercase().replace('-', "_"));
    build.env(variable, rustflags());
    build.env("CARGO_PROFILE_RELEASE_STRIP", "symbols").env("CARGO_PROFILE_RELEASE_DEBUG", "none");
    println!("$ {}", shown(&build));
    run(&mut build)?;

    fs::create_dir_all(dir).with_context(|| format!("can't make {}", dir.display()))?;
    for name in NAMES {
        let built = target_dir().join(&triple).join("release").join(name);
        fs::copy(&built, dir.join(name)).with_context(|| format!("can't copy {}", relative(&built)))?;
    }
    check(dir)
}

fn rustflags() -> String {
    let cargo_home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")))
        .unwrap_or_default();
    // glibc's own resolver of names is among what is linked: it needs no file but /etc/resolv.conf.
    // Of several that fit a path, the last is taken: the target directory is within the root, as a rule.
    let names = [(root().to_owned(), "/netcheck"), (target_dir(), "/target"), (cargo_home, "/cargo")];
    let remaps: String =
        names.iter().map(|(path, name)| format!(" --remap-path-prefix={}={name}", path.display())).collect();
    format!("-C target-feature=+crt-static{remaps}")
}

/// Sees that they are what they should be.
fn check(dir: &Path) -> Result<()> {
    for name in NAMES {
        let bytes = fs::read(dir.join(name))?;
        if is_dynamic(&bytes) {
            bail!("{name} is not static: it names a loader");
        }
        for here in [root().to_owned(), target_dir()] {
            let here = here.to_string_lossy();
            if bytes.windows(here.len()).any(|window| window == here.as_bytes()) {
                bail!("{name} has this machine's {here} in it");
            }
        }
    }
    Ok(())
}

/// Whether an ELF file of 64 bits has a program header PT_INTERP (elf(5)).
fn is_dynamic(elf: &[u8]) -> bool {
    let number = |at: usize, bytes: usize| {
        let slice = elf.get(at..at + bytes).unwrap_or_default();
        slice.iter().rev().fold(0usize, |number, byte| number << 8 | usize::from(*byte))
    };
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).any(|index| number(table + index * size, 4) == 3)
}

#[cfg(test)]
mod tests {
    use super::{is_dynamic, triple};

    #[test]
    fn a_dynamic_program_is_distinguished_from_a_static_one() {
        let own = std::fs::read("/bin/true").unwrap();
        assert!(is_dynamic(&own));
        assert!(!is_dynamic(&[0; 64]));
    }

    #[test]
    fn the_target_is_this_machines() {
        assert!(triple().unwrap().starts_with(std::env::consts::ARCH));
    }
}
