//! Reporting windows: which one a probe counts in, and when one is complete.
//!
//! A probe counts in the window in which it was sent. A window is complete when its time is over and every probe
//! sent in it has ended; so windows leave in order, each once.

use std::collections::{HashMap, VecDeque};

use netcheck_common::domain::PathId;
use netcheck_common::window::PathWindow;

use crate::model::report::ClosedWindow;

#[derive(Debug)]
struct Open {
    start_ns: u64,
    end_ns: u64,
    /// Probes sent in it that have not ended.
    in_flight: usize,
    paths: HashMap<PathId, PathWindow>,
}

/// The windows that are not complete yet, oldest first.
#[derive(Debug)]
pub(crate) struct Windows {
    length_ns: u64,
    /// Starts are this plus a multiple of the length.
    origin_ns: u64,
    /// Number of the first in `open`.
    first: u64,
    open: VecDeque<Open>,
}

impl Windows {
    /// Windows of `length_ns` whose borders lie at multiples of it on the wall clock.
    pub(crate) fn new(length_ns: u64, unix_offset_ns: i64) -> Self {
        Self { length_ns, origin_ns: origin(length_ns, unix_offset_ns), first: 0, open: VecDeque::new() }
    }

    /// Changes the length from now on. The window in progress ends here.
    pub(crate) fn set_length(&mut self, now_ns: u64, length_ns: u64, unix_offset_ns: i64) {
        if length_ns == self.length_ns {
            return;
        }
        self.length_ns = length_ns;
        self.origin_ns = origin(length_ns, unix_offset_ns);
        if let Some(last) = self.open.back_mut() {
            last.end_ns = last.end_ns.min(now_ns.max(last.start_ns + 1));
        }
    }

    /// A probe was sent: the number of its window. `t0_ns` never goes back.
    pub(crate) fn sent(&mut self, t0_ns: u64) -> u64 {
        if self.open.back().is_none_or(|last| last.end_ns <= t0_ns) {
            let since = t0_ns.saturating_sub(self.origin_ns);
            let border_ns = self.origin_ns + since - since % self.length_ns;
            let start_ns = self.open.back().map_or(border_ns, |last| border_ns.max(last.end_ns));
            let end_ns = border_ns + self.length_ns;
            self.open.push_back(Open { start_ns, end_ns, in_flight: 0, paths: HashMap::new() });
        }
        self.open.back_mut().expect("pushed where it was missing").in_flight += 1;
        self.first + self.open.len() as u64 - 1
    }

    /// A probe of `window` ended; what it adds is written into the row of its path.
    pub(crate) fn ended(&mut self, window: u64, path: PathId) -> &mut PathWindow {
        let open = self.at(window);
        open.in_flight -= 1;
        open.paths.entry(path).or_insert_with(|| PathWindow::empty(path))
    }

    /// A probe of `window` ended without being judged at all.
    pub(crate) fn abandoned(&mut self, window: u64) {
        self.at(window).in_flight -= 1;
    }

    /// Takes the windows that are complete; with `all`, the one in progress too, as long as it was so far.
    pub(crate) fn take_closed(&mut self, now_ns: u64, all: bool) -> Vec<ClosedWindow> {
        let mut closed = Vec::new();
        while self.open.front().is_some_and(|open| open.in_flight == 0 && (all || open.end_ns <= now_ns)) {
            let Some(open) = self.open.pop_front() else { break };
            self.first += 1;
            let mut paths: Vec<PathWindow> = open.paths.into_values().collect();
            if paths.is_empty() {
                continue;
            }
            paths.sort_unstable_by_key(|window| window.path);
            let end_ns = if all { open.end_ns.min(now_ns.max(open.start_ns + 1)) } else { open.end_ns };
            closed.push(ClosedWindow { start_ns: open.start_ns, duration_ns: end_ns - open.start_ns, paths });
        }
        closed
    }

    /// When the oldest window's time is over.
    pub(crate) fn next_end_ns(&self) -> Option<u64> {
        self.open.front().map(|open| open.end_ns)
    }

    fn at(&mut self, window: u64) -> &mut Open {
        let index = window.checked_sub(self.first).expect("a window with probes in flight stays open");
        &mut self.open[index as usize]
    }
}

/// The monotonic time, at or before boot plus one length, at which the wall clock is a multiple of the length.
fn origin(length_ns: u64, unix_offset_ns: i64) -> u64 {
    let length = i64::try_from(length_ns).unwrap_or(i64::MAX);
    (-unix_offset_ns).rem_euclid(length) as u64
}
