//! A lock around what all share, and how long it is held at most.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

/// The state behind its lock. Fair: who lets go of it after long and wants it back comes after whoever waits.
pub(super) struct Lock<T> {
    state: Mutex<T>,
    longest_ns: AtomicU64,
}

impl<T> Lock<T> {
    pub(super) const fn new(state: T) -> Self {
        Self { state: Mutex::new(state), longest_ns: AtomicU64::new(0) }
    }

    pub(super) fn hold(&self) -> StateGuard<'_, T> {
        let state = self.state.lock();
        StateGuard { state, since: Instant::now(), longest_ns: &self.longest_ns }
    }

    /// The longest that it was held since this was asked last.
    pub(super) fn take_longest(&self) -> Duration {
        Duration::from_nanos(self.longest_ns.swap(0, Ordering::Relaxed))
    }
}

/// The state, locked.
pub struct StateGuard<'a, T> {
    state: MutexGuard<'a, T>,
    since: Instant,
    longest_ns: &'a AtomicU64,
}

impl<T> Deref for StateGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.state
    }
}

impl<T> DerefMut for StateGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.state
    }
}

impl<T> Drop for StateGuard<'_, T> {
    fn drop(&mut self) {
        let held_ns = u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.longest_ns.fetch_max(held_ns, Ordering::Relaxed);
    }
}
