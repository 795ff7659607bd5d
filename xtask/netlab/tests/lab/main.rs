//! The lab against a real kernel. Needs root, and fails without.

#![expect(clippy::unwrap_used, reason = "all of this is tests, and says so where it breaks")]

mod cases;
mod cluster;
mod faults;
mod kube_proxy;
mod lifecycle;
mod misconfigured;
mod probe;
