//! Generates the Rust code of netcheck.v1 and its file descriptor set (for reflection). Needs no protoc.

use std::path::PathBuf;

use anyhow::Context as _;
use prost::Message as _;

const FILES: [&str; 4] = [
    "netcheck/v1/types.proto",
    "netcheck/v1/agent.proto",
    "netcheck/v1/reachability.proto",
    "netcheck/v1/check.proto",
];

fn main() -> anyhow::Result<()> {
    println!("cargo::rerun-if-changed=netcheck");
    let out = PathBuf::from(std::env::var("OUT_DIR").context("cargo sets OUT_DIR")?);
    let descriptors = protox::compile(FILES, ["."]).context("compile netcheck/v1/*.proto")?;
    std::fs::write(out.join("netcheck.v1.bin"), descriptors.encode_to_vec())
        .context("write the file descriptor set")?;
    tonic_prost_build::configure()
        .build_transport(true)
        .compile_fds(descriptors)
        .context("generate netcheck.v1")
}
