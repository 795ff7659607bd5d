//! The agent's clocks. All measuring is done on CLOCK_MONOTONIC, the clock that the kernel programs use too; the wall
//! clock only dates what is reported.
//!
//! [`shift`] sets this node's CLOCK_MONOTONIC apart from all others by a constant, in user space as in the kernel
//! programs: to show that no result depends on two nodes' clocks.

use std::sync::atomic::{AtomicI64, Ordering};

use rustix::time::{ClockId, clock_gettime};

/// A second in nanoseconds.
pub(crate) const SECOND_NS: u64 = 1_000_000_000;
/// A millisecond in nanoseconds.
pub(crate) const MILLISECOND_NS: u64 = 1_000_000;

static SHIFT_NS: AtomicI64 = AtomicI64::new(0);

/// Adds a constant to [`monotonic_ns`] from now on.
pub(crate) fn shift(offset_ns: i64) {
    SHIFT_NS.store(offset_ns, Ordering::Relaxed);
}

/// Now on CLOCK_MONOTONIC, nanoseconds. Can't be compared across nodes.
#[must_use]
pub(crate) fn monotonic_ns() -> u64 {
    (now(ClockId::Monotonic) + SHIFT_NS.load(Ordering::Relaxed)) as u64
}

/// What must be added to a CLOCK_MONOTONIC time to get a Unix time, right now, nanoseconds.
#[must_use]
pub(crate) fn unix_offset_ns() -> i64 {
    now(ClockId::Realtime) - monotonic_ns() as i64
}

/// Now as a Unix time, nanoseconds.
#[must_use]
pub(crate) fn unix_ns() -> i64 {
    now(ClockId::Realtime)
}

fn now(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec * SECOND_NS as i64 + time.tv_nsec
}
