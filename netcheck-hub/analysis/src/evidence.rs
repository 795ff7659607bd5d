//! Why each lost probe was lost: what its source saw, what other nodes' kernels say, joined into one place.
//!
//! [`locate`] is the pure core: facts of one probe → place, certainty and the lines that say why. [`pending`] keeps
//! drop records that came before the loss was reported, [`flows`] finds the loss for those that came after. Destination
//! agents are asked by the state.
//! Only what a kernel reported is `observed`; what no fact covers stays without a place, with the reason why.

pub mod answers;
pub mod fits;
pub mod flows;
pub mod locate;
pub mod loss;
pub mod losses;
pub mod pending;
pub mod seen_networks;
pub mod words;

#[cfg(test)]
mod tests;

pub use locate::Visibility;
pub use loss::{Answer, DropFact, Located, Lost, Want};
pub use losses::LocatedLoss;

pub use crate::model::evidence::Flow;
