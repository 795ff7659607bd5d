//! The windows of one path. Pure.

use std::collections::VecDeque;

use super::Slot;

/// Windows that are kept for one path, whatever their length.
pub(super) const SLOTS_PER_PATH: usize = 256;

/// Windows of one path, ascending by start.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    slots: VecDeque<Slot>,
}

impl Ring {
    /// Adds a window: merged where there is one of the same time already, as when an agent reports it in two parts.
    /// Windows may come late and out of order.
    pub fn add(&mut self, slot: Slot) {
        let at = self.slots.partition_point(|old| old.start_ns < slot.start_ns);
        let near = |old: &Slot| (old.start_ns - slot.start_ns).abs() * 2 < slot.duration_ns.max(1);
        let same = [at.checked_sub(1), Some(at)]
            .into_iter()
            .flatten()
            .find(|&at| self.slots.get(at).is_some_and(near));
        match same {
            Some(same) => self.slots[same].merge(slot),
            None => self.slots.insert(at, slot),
        }
        if self.slots.len() > SLOTS_PER_PATH {
            self.slots.pop_front();
        }
    }

    /// Forgets what ended before `oldest_ns`.
    pub fn expire(&mut self, oldest_ns: i64) {
        while self.slots.front().is_some_and(|slot| slot.end_ns() < oldest_ns) {
            self.slots.pop_front();
        }
    }

    /// Windows that end after `from_ns`, oldest first.
    pub fn since(&self, from_ns: i64) -> impl DoubleEndedIterator<Item = &Slot> {
        let first = self.slots.partition_point(|slot| slot.end_ns() <= from_ns);
        self.slots.range(first..)
    }

    /// Windows that start at or after `from_ns`, oldest first.
    pub fn started_since(&self, from_ns: i64) -> impl DoubleEndedIterator<Item = &Slot> {
        let first = self.slots.partition_point(|slot| slot.start_ns < from_ns);
        self.slots.range(first..)
    }

    /// The newest window.
    #[must_use]
    pub fn newest(&self) -> Option<&Slot> {
        self.slots.back()
    }
}
