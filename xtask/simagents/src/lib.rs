//! Simulated agents: as many real sessions with a hub as a large cluster has, from one process.
//!
//! Each agent ([`fleet`]) connects by gRPC from a loopback address of its own, says hello, takes its plan, and keeps the
//! schedule that real agents keep ([`netcheck_common::schedule`]), within the same budget of packets. Instead of sending
//! probes it decides what became of them ([`fault`]): by default each is answered. Windows are reported as the hub asks
//! for them. What left is counted ([`figures`]), and how much of it within any one second.
//!
//! Not simulated: kernel evidence, packet sizes, new flows, backends, vantages in pods.

mod agent;
pub mod fault;
pub mod figures;
pub mod fleet;
pub mod inventory;

pub use agent::status;
pub use fault::Fault;
pub use figures::Figures;
pub use fleet::{Fleet, Options};
