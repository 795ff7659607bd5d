//! Generates the Rust code of netcheck.v1 and its file descriptor set (for reflection). Needs no protoc.

use std::path::PathBuf;

use anyhow::Context as _;
use prost::Message as _;

const FILES: [&str; 6] = [
    "netcheck/v1/types.proto",
    "netcheck/v1/agent.proto",
    "netcheck/v1/history.proto",
    "netcheck/v1/reachability.proto",
    "netcheck/v1/check.proto",
    "netcheck/v1/peer.proto",
];

fn main() -> anyhow::Result<()> {
    println!("cargo::rerun-if-changed=netcheck");
    let out = PathBuf::from(std::env::var("OUT_DIR").context("cargo sets OUT_DIR")?);
    let descriptors = protox::compile(FILES, ["."]).context("compile netcheck/v1/*.proto")?;
    std::fs::write(out.join("netcheck.v1.bin"), descriptors.encode_to_vec())
        .context("write the file descriptor set")?;
    // The codec looks messages up by their names.
    let mut config = prost_build::Config::new();
    config.enable_type_names();
    // Whoever prints a message prints no secret: `crate::agent` says what is shown instead.
    config.skip_debug(["netcheck.v1.TokenRenewal", "netcheck.v1.HttpCall", "netcheck.v1.HttpHeader"]);
    tonic_prost_build::configure()
        .build_transport(true)
        .codec_path("crate::codec::CountingCodec")
        .compile_fds_with_config(descriptors, config)
        .context("generate netcheck.v1")
}
