//! A pure simulator of a cluster network: random clusters, faults with known truth, and the facts that a hub would get.
//!
//! Written from the model of the network, and apart from the explainer whose answers it judges: [`Case::draw`] makes a
//! case from a seed, [`judge()`] compares an answer with its truth, [`Scores`] counts.

pub mod case;
pub mod cluster;
mod describe;
pub mod fault;
mod hearsay;
pub mod hits;
pub mod judge;
mod kinds;
pub mod observe;
pub mod permute;
pub mod rng;
pub mod scores;
pub mod way;

pub use case::Case;
pub use judge::{Judgement, Verdict, judge};
pub use permute::permute;
pub use scores::Scores;
