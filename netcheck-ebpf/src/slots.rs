//! Drops of everybody's packets by (interface, reason); of those that are not in the agent's own namespace by reason
//! alone. A node in trouble has a flood of them: each costs a look at a slot of this CPU's own, and no hash map's entry.

use netcheck_common::abi::{DROP_SLOTS, DROP_WAYS, DropKey, DropSlot, counters};

use crate::maps::{DROP_BANK, DROPS, count};

/// Counts one. Where all slots that it may have are others', it is one of the unsorted.
#[inline(always)]
pub(crate) fn count_drop(key: &DropKey) {
    let Some(bank) = DROPS.get_ptr_mut(DROP_BANK.load() & 1) else { return };
    let first = key.slot();
    for way in 0..DROP_WAYS {
        // SAFETY: the index is below the array's length, and the bank is this CPU's own. Newer kernels do not let the
        // tracepoint interrupt itself; on older ones what it interrupts may cost a count.
        let slot = unsafe { &raw mut *bank.cast::<DropSlot>().add((first + way) & (DROP_SLOTS - 1)) };
        // SAFETY: as above.
        if unsafe { take(slot, key) } {
            return;
        }
    }
    count(counters::DROPS_UNSORTED);
}

/// Counts it in this slot, if it is this key's or nobody's.
///
/// # Safety
/// `slot` must be one of this CPU's.
#[inline(always)]
unsafe fn take(slot: *mut DropSlot, key: &DropKey) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        let packets = (&raw const (*slot).packets).read_volatile();
        if packets == 0 {
            (&raw mut (*slot).key).write_volatile(*key);
        } else if (*slot).key != *key {
            return false;
        }
        (&raw mut (*slot).packets).write_volatile(packets + 1);
    }
    true
}
