//! The wire contract `netcheck.v1`: generated messages and services, and the one place where wire input is
//! validated and turned into domain types ([`agent`], [`columns`], [`convert`], [`text`]), counted before it is decoded
//! ([`cost`], [`codec`]), and cut to size ([`parts`]).
//!
//! What its readers have in common stands here too: what things are called ([`words`]), messages as JSON ([`json`], [`api`]), and
//! how bad usage ends ([`usage`]), how people say instants ([`instant`]), and how names stand in commands ([`shell`]).

pub mod agent;
#[cfg(feature = "json")]
pub mod api;
pub mod codec;
pub mod columns;
pub mod convert;
pub mod cost;
pub mod instant;
#[cfg(feature = "json")]
pub mod json;
pub mod parts;
pub mod shell;
pub mod text;
pub mod usage;
pub mod words;

/// The generated code of package `netcheck.v1`. What each field means stands in `proto/netcheck/v1/*.proto`.
pub mod v1 {
    #![expect(
        missing_docs,
        unused_qualifications,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        clippy::clone_on_ref_ptr,
        clippy::large_enum_variant,
        reason = "generated; the .proto files carry the documentation"
    )]
    tonic::include_proto!("netcheck.v1");

    /// The encoded `FileDescriptorSet` of the package, for gRPC reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/netcheck.v1.bin"));
}
