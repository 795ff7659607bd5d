//! The windows of one path, as few bytes as they can be: a large cluster has a million paths with a hundred windows each,
//! most of which hold one answered probe. Pure.

use crate::matrix::Slot;

mod packed;
#[cfg(test)]
mod tests;

pub use packed::Packed;

/// Windows that are kept for one path, whatever their length.
pub const SLOTS_PER_PATH: usize = 256;

/// Windows of one path, ascending by start, one encoding after the other.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    bytes: Vec<u8>,
    /// Where the oldest one's encoding begins; what is before it is over.
    first: u32,
    count: u16,
    /// Begin of the one before the oldest, which is gone: encodings tell their begins by the one before.
    before_ns: i64,
    /// Begin of the newest.
    newest_ns: i64,
    /// Length that need not be said.
    length_ns: i64,
    /// The latest end of one with replies, and of one with losses: it may be gone by now.
    answered_ns: i64,
    lost_ns: i64,
}

impl Ring {
    /// Adds a window: merged where there is one of the same time already, as when an agent reports it in two parts.
    /// Windows may come late and out of order.
    pub fn add(&mut self, slot: Slot) {
        let mut newer = Vec::new();
        while self.newest_start().is_some_and(|start_ns| start_ns >= slot.start_ns) {
            newer.extend(self.pop_newest());
        }
        let near =
            |start_ns: i64| start_ns.abs_diff(slot.start_ns) < (slot.duration_ns.max(1) as u64).div_ceil(2);
        let same = if self.newest_start().is_some_and(near) {
            self.pop_newest()
        } else {
            newer.pop_if(|window| near(window.start_ns))
        };
        match same {
            Some(mut same) => {
                same.merge(slot);
                self.push(&same);
            }
            None => self.push(&slot),
        }
        newer.iter().rev().for_each(|window| self.push(window));
        if self.len() > SLOTS_PER_PATH {
            self.pop_oldest();
        }
    }

    /// Forgets what ended before `oldest_ns`.
    pub fn expire(&mut self, oldest_ns: i64) {
        while self.oldest().is_some_and(|(_, window)| window.end_ns() < oldest_ns) {
            self.pop_oldest();
        }
    }

    /// Windows that end after `from_ns`, oldest first.
    #[must_use]
    pub fn since(&self, from_ns: i64) -> Windows<'_> {
        Windows::new(self, Limit::Ends(from_ns))
    }

    /// Windows that start at or after `from_ns`, oldest first.
    #[must_use]
    pub fn started_since(&self, from_ns: i64) -> Windows<'_> {
        Windows::new(self, Limit::Starts(from_ns))
    }

    /// Whether one that ends after `answered_ns` has replies, and none that ends after `lost_ns` has losses. Without a look at
    /// the windows.
    #[must_use]
    pub fn is_answered(&self, answered_ns: i64, lost_ns: i64) -> bool {
        !self.is_empty() && self.answered_ns > answered_ns && self.lost_ns <= lost_ns
    }

    /// The newest window.
    #[must_use]
    pub fn newest(&self) -> Option<Slot<Packed<'_>>> {
        self.since(i64::MIN).next_back()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count.into()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Begin of the newest window, which need not be read for that.
    fn newest_start(&self) -> Option<i64> {
        (!self.is_empty()).then_some(self.newest_ns)
    }

    /// Appends one that begins after all others, or with the newest.
    fn push(&mut self, slot: &Slot) {
        if self.is_empty() {
            (self.before_ns, self.newest_ns, self.length_ns) =
                (slot.start_ns, slot.start_ns, slot.duration_ns);
            (self.answered_ns, self.lost_ns) = (i64::MIN, i64::MIN);
        }
        if slot.reply > 0 {
            self.answered_ns = self.answered_ns.max(slot.end_ns());
        }
        if slot.lost() > 0 {
            self.lost_ns = self.lost_ns.max(slot.end_ns());
        }
        self.make_room();
        packed::put(&mut self.bytes, slot, self.newest_ns, self.length_ns);
        self.newest_ns = slot.start_ns;
        self.count += 1;
    }

    /// Some bytes for another one: in the place of those that are over where these are many, else a quarter more, for a
    /// vector by itself would take twice as many.
    fn make_room(&mut self) {
        let room = packed::USUAL_BYTES;
        if self.bytes.capacity() - self.bytes.len() >= room {
            return;
        }
        if self.first as usize > self.bytes.len() / 8 {
            self.bytes.drain(..self.first as usize);
            self.first = 0;
        }
        if self.bytes.capacity() - self.bytes.len() < room {
            self.bytes.reserve_exact((self.bytes.len() / 4).max(2 * room));
        }
    }

    fn pop_newest(&mut self) -> Option<Slot> {
        let mut windows = self.since(i64::MIN);
        let newest = windows.next_back()?.owned();
        let (end, before_ns) = (windows.end, windows.end_ns);
        self.bytes.truncate(end);
        self.newest_ns = before_ns;
        self.count -= 1;
        Some(newest)
    }

    /// The oldest, and where the next one begins.
    fn oldest(&self) -> Option<(usize, Slot<Packed<'_>>)> {
        let first = self.first as usize;
        (!self.is_empty()).then(|| packed::at(&self.bytes, first, self.before_ns, self.length_ns))
    }

    fn pop_oldest(&mut self) {
        let Some((next, oldest)) = self.oldest() else { return };
        let (before_ns, end_ns) = (oldest.start_ns, oldest.end_ns());
        if end_ns >= self.answered_ns {
            // It may have been the newest that was answered: what others have is not looked for.
            self.answered_ns = i64::MIN;
        }
        self.count -= 1;
        if self.is_empty() {
            *self = Self::default();
        } else {
            (self.first, self.before_ns) = (next as u32, before_ns);
        }
    }
}

/// Which windows are wanted.
#[derive(Clone, Copy, Debug)]
enum Limit {
    /// Those that end after it.
    Ends(i64),
    /// Those that start at or after it.
    Starts(i64),
}

impl Limit {
    fn takes<D>(self, slot: &Slot<D>) -> bool {
        match self {
            Self::Ends(from_ns) => slot.end_ns() > from_ns,
            Self::Starts(from_ns) => slot.start_ns >= from_ns,
        }
    }
}

/// Windows of one path, oldest first. From the newest on backwards only those are read that are asked for.
#[derive(Clone, Debug)]
pub struct Windows<'a> {
    ring: &'a Ring,
    limit: Limit,
    /// Where the oldest of them begins that is not read yet, and the begin of the one before it; none where nothing was
    /// read from this side, so that it is not known.
    begin: Option<(usize, i64)>,
    /// Where the newest of them ends that is not read yet, and its begin.
    end: usize,
    end_ns: i64,
}

impl<'a> Windows<'a> {
    fn new(ring: &'a Ring, limit: Limit) -> Self {
        Self { ring, limit, begin: None, end: ring.bytes.len(), end_ns: ring.newest_ns }
    }

    /// The begin, looked for from the newest on.
    fn find_begin(&self) -> (usize, i64) {
        let mut windows = self.clone();
        while windows.next_back().is_some() {}
        (windows.end, windows.end_ns)
    }
}

impl<'a> Iterator for Windows<'a> {
    type Item = Slot<Packed<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let (begin, before_ns) = self.begin.unwrap_or_else(|| self.find_begin());
        self.begin = Some((begin, before_ns));
        if begin >= self.end {
            return None;
        }
        let (next, slot) = packed::at(&self.ring.bytes, begin, before_ns, self.ring.length_ns);
        self.begin = Some((next, slot.start_ns));
        Some(slot)
    }
}

impl DoubleEndedIterator for Windows<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let first = self.begin.map_or(self.ring.first as usize, |(begin, _)| begin);
        if self.end <= first {
            return None;
        }
        let (begin, since_before_ns, slot) =
            packed::before(&self.ring.bytes, self.end, self.end_ns, self.ring.length_ns);
        if self.begin.is_none() && !self.limit.takes(&slot) {
            self.begin = Some((self.end, self.end_ns));
            return None;
        }
        (self.end, self.end_ns) = (begin, slot.start_ns - since_before_ns);
        Some(slot)
    }
}
