//! Finds a compiler that can build `core` for the bpf target: a nightly with its library's sources, or, where
//! rustup can't fetch one, Debian's packages unpacked beside the project (they would conflict with rustup if
//! installed). The library's sources must be exactly the compiler's.

use std::{
    env::consts::ARCH,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::tools::{cargo, command, output, relative, run_logged, shown, target_dir, tools_dir, which};

const NIGHTLY: &str = "nightly";
const DEBIAN: &str = "debian";
const LIBRARIES: &str = "LD_LIBRARY_PATH";

/// A compiler with nightly's features and the sources of `core`.
pub(crate) struct Toolchain {
    /// As rustup calls it, or `debian`.
    pub(crate) name: String,
    /// Where its compiler and its library's sources are.
    pub(crate) sysroot: PathBuf,
    /// Whether these are Debian's packages, which rustup doesn't know and which have no clippy.
    pub(crate) unpacked: bool,
}

impl Toolchain {
    /// A cargo that compiles with it.
    pub(crate) fn cargo(&self) -> Command {
        if self.unpacked {
            // Any cargo drives another's compiler; the bootstrap switch lets a stable one take -Z.
            let mut cargo = cargo();
            cargo
                .env("RUSTC", self.sysroot.join("bin/rustc"))
                .env(LIBRARIES, self.libraries())
                .env("RUSTC_BOOTSTRAP", "1");
            return cargo;
        }
        let mut rustup = command("rustup");
        // `cargo run` put the stable compiler's libraries there.
        rustup.args(["run", &self.name, "cargo"]).env_remove(LIBRARIES);
        rustup
    }

    fn libraries(&self) -> PathBuf {
        self.sysroot.join(format!("lib/{ARCH}-linux-gnu"))
    }
}

/// The toolchain of that name, or by default nightly, or else Debian's.
pub(crate) fn find(wanted: Option<&str>) -> Result<Toolchain> {
    match wanted {
        Some(DEBIAN) => debian(),
        Some(name) => rustup(name),
        // Once it had to be Debian's, rustup isn't asked at every build.
        None if !nightly_is_ready() && debian_is_ready() => debian(),
        None => rustup(NIGHTLY).or_else(|no_nightly| {
            eprintln!("{no_nightly:#}\nfalling back to Debian's compiler");
            debian().map_err(|no_debian| {
                anyhow::anyhow!(
                    "no compiler for the kernel programs.\n{no_debian:#}\nWith a network that rustup can use: \
                     rustup toolchain install {NIGHTLY} --profile minimal --component rust-src,clippy"
                )
            })
        }),
    }
}

/// Whether [`find`] would find one without fetching anything.
pub(crate) fn is_ready() -> bool {
    nightly_is_ready() || debian_is_ready()
}

fn nightly_is_ready() -> bool {
    sysroot(NIGHTLY).is_ok_and(|sysroot| has_sources(&sysroot))
}

fn sysroot(name: &str) -> Result<PathBuf> {
    Ok(output(command("rustup").args(["run", name, "rustc", "--print", "sysroot"]))?.into())
}

fn has_sources(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml").is_file()
}

fn rustup(name: &str) -> Result<Toolchain> {
    if which("rustup").is_none() {
        bail!("there is no rustup");
    }
    let log = target_dir().join("setup/rust-src.log");
    let found = match sysroot(name) {
        Ok(sysroot) => sysroot,
        Err(_) => {
            let mut install = command("rustup");
            install.args(["toolchain", "install", name, "--profile", "minimal", "--component"]);
            install.arg("rust-src,clippy");
            println!("installing Rust {name}: {}", shown(&install));
            run_logged(&mut install, &log)?;
            sysroot(name)?
        }
    };
    if !has_sources(&found) {
        let mut add = command("rustup");
        add.args(["component", "add", "rust-src", "--toolchain", name]);
        println!("adding the library's sources to Rust {name}: {}", shown(&add));
        run_logged(&mut add, &log)?;
        if !has_sources(&found) {
            bail!("{name} has no library sources after: {}", shown(&add));
        }
    }
    Ok(Toolchain { name: name.to_owned(), sysroot: found, unpacked: false })
}

fn debian_root() -> PathBuf {
    tools_dir().join("rustc-web")
}

fn debian_is_ready() -> bool {
    has_sources(&debian_root().join("usr"))
}

fn debian() -> Result<Toolchain> {
    let root = debian_root();
    if !debian_is_ready() {
        if which("apt-get").is_none() {
            bail!("there is no apt-get to fetch Debian's compiler with");
        }
        println!("fetching Debian's compiler and its sources into {}", relative(&root));
        unpack(&root)
            .with_context(|| format!("Debian's compiler was not unpacked into {}", relative(&root)))?;
    }
    let toolchain = Toolchain { name: DEBIAN.to_owned(), sysroot: root.join("usr"), unpacked: true };
    output(
        command(toolchain.sysroot.join("bin/rustc")).arg("--version").env(LIBRARIES, toolchain.libraries()),
    )
    .context("Debian's compiler doesn't run; its library comes with: apt-get install libllvm22")?;
    Ok(toolchain)
}

fn unpack(root: &Path) -> Result<()> {
    let log = target_dir().join("setup/rustc-web.log");
    let show = || output(command("apt-cache").args(["show", "--no-all-versions", "rustc-web"]));
    let shown = show().or_else(|_| {
        // Without lists apt knows nothing.
        run_logged(command("apt-get").arg("update"), &log)?;
        show()
    })?;
    let version = package_version(&shown).context("apt knows no version of rustc-web")?;
    let (release, minor) = rust_version(version).context("a version of rustc-web that isn't Rust's")?;
    let _ = fs::remove_dir_all(root);
    let packages = root.join("packages");
    fs::create_dir_all(&packages)?;

    let runtime = format!("libstd-rust-web-{minor}");
    let names = ["rustc-web", "libstd-rust-web-dev", "rust-web-src", &runtime];
    let mut download = command("apt-get");
    download.arg("download").args(names.map(|name| format!("{name}={version}"))).current_dir(&packages);
    run_logged(&mut download, &log)?;
    for package in fs::read_dir(&packages)? {
        run_logged(command("dpkg").arg("-x").arg(package?.path()).arg(root), &log)?;
    }
    fs::remove_dir_all(&packages)?;

    // Where the compiler looks for its sources; the last step, for it is what says "ready".
    let home = root.join("usr/lib/rustlib/src");
    fs::create_dir_all(&home)?;
    let sources = root.join(format!("usr/src/rustc-{release}"));
    let link = home.join("rust");
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink(&sources, &link)
        .with_context(|| format!("can't link {} to {}", relative(&link), relative(&sources)))?;
    if !has_sources(&root.join("usr")) {
        bail!("rust-web-src has no library in {}", relative(&sources));
    }
    Ok(())
}

fn package_version(apt_cache_show: &str) -> Option<&str> {
    apt_cache_show.lines().find_map(|line| line.strip_prefix("Version: "))
}

/// Debian's `1.96.0+dfsg1-1~deb12u2` as Rust's release and its first two numbers.
fn rust_version(debian: &str) -> Option<(&str, &str)> {
    let release = debian.split('+').next()?;
    let (minor, patch) = release.rsplit_once('.')?;
    (minor.contains('.') && patch.bytes().all(|byte| byte.is_ascii_digit())).then_some((release, minor))
}

#[cfg(test)]
mod tests {
    use super::{package_version, rust_version};

    #[test]
    fn debian_versions_give_rusts() {
        let shown = "Package: rustc-web\nVersion: 1.96.0+dfsg1-1~deb12u2\nPriority: optional";
        let version = package_version(shown).unwrap();
        assert_eq!(rust_version(version), Some(("1.96.0", "1.96")));
        assert_eq!(rust_version("22.1"), None);
    }
}
