//! The agent's clocks. All measuring is done on CLOCK_MONOTONIC, the clock that the kernel programs use too; the wall
//! clock only dates what is reported.

use rustix::time::{ClockId, clock_gettime};

/// A second in nanoseconds.
pub(crate) const SECOND_NS: u64 = 1_000_000_000;
/// A millisecond in nanoseconds.
pub(crate) const MILLISECOND_NS: u64 = 1_000_000;

/// Now on CLOCK_MONOTONIC, nanoseconds. Can't be compared across nodes.
#[must_use]
pub(crate) fn monotonic_ns() -> u64 {
    now(ClockId::Monotonic) as u64
}

/// What must be added to a CLOCK_MONOTONIC time to get a Unix time, right now, nanoseconds.
#[must_use]
pub(crate) fn unix_offset_ns() -> i64 {
    now(ClockId::Realtime) - now(ClockId::Monotonic)
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
