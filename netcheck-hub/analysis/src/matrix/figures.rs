//! Windows → sums and delays. Pure.

use netcheck_common::domain::Outcome;
use netcheck_common::window::Steps;

use crate::matrix::{Delays, HasDelays, Slot};

/// Windows in sum.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sums {
    /// Probes that were answered.
    pub reply: u64,
    /// Those that failed, by [`Outcome::FAILURES`].
    pub failed: [u64; Outcome::FAILURES.len()],
    /// Probes that a starved agent could not judge; not among the others.
    pub suspect: u64,
    /// Probes that began a flow of their own, and those of them that were answered.
    pub new_flow_sent: u64,
    /// See above.
    pub new_flow_reply: u64,
    /// Delays of what was answered.
    pub delays: Delays,
}

impl Sums {
    /// Of these windows.
    #[must_use]
    pub fn of<D: HasDelays>(slots: impl Iterator<Item = Slot<D>>) -> Self {
        let mut sums = Self::default();
        for slot in slots {
            sums.reply += u64::from(slot.reply);
            sums.suspect += u64::from(slot.suspect);
            sums.new_flow_sent += u64::from(slot.new_reply) + u64::from(slot.new_lost);
            sums.new_flow_reply += u64::from(slot.new_reply);
            for (sum, &count) in sums.failed.iter_mut().zip(&slot.failed) {
                *sum += u64::from(count);
            }
            slot.delays.add_to(&mut sums.delays);
        }
        sums
    }
}

/// Parts of exchanges over TCP, summed over windows.
#[must_use]
pub fn steps<D: HasDelays>(slots: impl Iterator<Item = Slot<D>>) -> Steps {
    let mut sum = Delays::default();
    slots.for_each(|slot| slot.delays.add_to(&mut sum));
    sum.steps.map_or_else(Steps::default, |steps| *steps)
}
