//! The hub and the Kubernetes API: real HTTP against a fake that breaks in the ways in which the real one does.
#![expect(clippy::unwrap_used, reason = "a test that finds something missing has failed")]

mod away;
mod frontends;
mod objects;
mod rig;
mod rights;
