//! Compiles the small server that the lab runs in its pods and leaves it in `OUT_DIR`, where `backend.rs`
//! embeds it.
//!
//! A library cannot know which program it is linked into, so it cannot re-run "itself" as a server, and a
//! lab that needed some other program on the machine would be less sure to come up. The source is the
//! crate's own binary target, so it is linted and formatted like the rest.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    let source = "src/bin/netlab-server/main.rs";
    println!("cargo::rerun-if-changed=src/bin/netlab-server");
    println!("cargo::rerun-if-changed=build.rs");
    let var = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("cargo did not set {name}"));
    let out = PathBuf::from(var("OUT_DIR")).join("netlab-server");

    let mut rustc = Command::new(var("RUSTC"));
    rustc.args(["--edition", "2024", "--crate-name", "netlab_server", "--crate-type", "bin"]);
    rustc.args(["-C", "opt-level=1", "-C", "panic=abort", "-C", "strip=symbols"]);
    rustc.args(["--cap-lints", "allow", "--target", &var("TARGET")]);
    if let Ok(linker) = std::env::var("RUSTC_LINKER") {
        rustc.arg("-C").arg(format!("linker={linker}"));
    }
    let status = rustc.arg("-o").arg(&out).arg(source).status().expect("rustc starts");
    assert!(status.success(), "compiling {source} failed");
}
