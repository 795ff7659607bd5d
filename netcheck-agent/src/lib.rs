//! The netcheck agent: probes from one node, and what that node's kernel saw of them.

#[cfg(feature = "ebpf")]
pub mod kernel;
pub mod observation;
