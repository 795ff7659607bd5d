//! Drops of everybody's packets by (interface, reason); of those that are not in the agent's own namespace by reason
//! alone. A node in trouble has a flood of them: each costs a look at a slot of this CPU's own, and no hash map's entry.

use netcheck_common::abi::{DropKey, counters};

use crate::maps::{DROP_BANK, DROPS, count};

/// Counts one. Where all slots that it may have are others', it is one of the unsorted.
#[inline(always)]
pub(crate) fn count_drop(key: &DropKey) {
    let Some(bank) = DROPS.get_ptr_mut(DROP_BANK.load() & 1) else { return };
    // SAFETY: the bank is this CPU's own. Newer kernels do not let the tracepoint interrupt itself; on older ones what it
    // interrupts may cost a count.
    if !unsafe { &mut *bank }.count(key) {
        count(counters::DROPS_UNSORTED);
    }
}
