//! Embeds the kernel programs that `cargo xtask build-ebpf` has built.

use std::path::PathBuf;
use std::process::exit;

fn main() {
    println!("cargo::rerun-if-env-changed=NETCHECK_EBPF_OBJECT");
    if std::env::var_os("CARGO_FEATURE_EBPF").is_none() {
        return;
    }
    let object = std::env::var_os("NETCHECK_EBPF_OBJECT").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/ebpf/netcheck.bpf.o"),
        PathBuf::from,
    );
    println!("cargo::rerun-if-changed={}", object.display());
    let Ok(object) = object.canonicalize() else {
        eprintln!(
            "the kernel programs are not built: run `cargo xtask build-ebpf` first, \
             or build an agent without them with `--no-default-features`"
        );
        fail()
    };
    println!("cargo::rustc-env=NETCHECK_EBPF_OBJECT_PATH={}", object.display());
}

#[expect(clippy::exit, reason = "a build script's way to fail without a backtrace")]
fn fail() -> ! {
    exit(1)
}
