//! What one agent's probes came to, by reporting window. Probes count in the window in which they left.

use std::collections::{BTreeMap, VecDeque};
use std::time::{SystemTime, UNIX_EPOCH};

use netcheck_common::domain::{Outcome, PathId};
use netcheck_common::hash::splitmix64;
use netcheck_common::window::PathWindow;
use netcheck_proto::{columns, v1};

/// The shortest round trip, and how much longer others take, nanoseconds.
const ROUND_TRIP_NS: (u64, u64) = (300_000, 200_000);
/// A window is never shorter, whatever the plan says.
const SHORTEST_NS: i64 = 1_000_000;

/// The wall clock, unix nanoseconds.
pub(super) fn unix_now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// A probe that left.
pub(super) struct Probe {
    pub(super) path: PathId,
    pub(super) number: u32,
    pub(super) sent_unix_ns: i64,
    pub(super) is_lost: bool,
}

#[derive(Default)]
struct Window {
    start_unix_ns: i64,
    rows: BTreeMap<PathId, PathWindow>,
    lost: Vec<v1::LostSample>,
}

/// Windows that are not reported yet, oldest first.
#[derive(Default)]
pub(super) struct Windows {
    length_ns: i64,
    timeout_ns: i64,
    open: VecDeque<Window>,
    added: u64,
}

impl Windows {
    /// As the plan has it. What is open keeps its begin.
    pub(super) fn set_timing(&mut self, length_ns: i64, timeout_ns: i64) {
        self.length_ns = length_ns.max(SHORTEST_NS);
        self.timeout_ns = timeout_ns.max(0);
    }

    /// Counts a probe. Probes come in the order in which they left.
    pub(super) fn add(&mut self, probe: &Probe) {
        let length_ns = self.length_ns.max(SHORTEST_NS);
        let start_unix_ns = probe.sent_unix_ns - probe.sent_unix_ns.rem_euclid(length_ns);
        if self.open.back().is_none_or(|window| window.start_unix_ns < start_unix_ns) {
            self.open.push_back(Window { start_unix_ns, ..Window::default() });
        }
        let Some(window) = self.open.back_mut() else { return };
        let row = window.rows.entry(probe.path).or_insert_with(|| PathWindow::empty(probe.path));
        self.added += 1;
        if probe.is_lost {
            row.count(Outcome::Timeout);
            window.lost.push(lost(probe));
        } else {
            row.count(Outcome::Reply);
            let (least, spread) = ROUND_TRIP_NS;
            row.round_trip.record(least + splitmix64(u64::from(probe.number)) % spread);
        }
    }

    /// How many were added since this was asked last.
    pub(super) fn take_added(&mut self) -> u64 {
        std::mem::take(&mut self.added)
    }

    /// What can be reported at this time: windows in which no probe is waited for any more. Its sequence is 0.
    pub(super) fn over(&mut self, now_unix_ns: i64) -> Option<v1::SampleBatch> {
        let mut batch = v1::SampleBatch::default();
        while let Some(window) = self.open.front() {
            let wait_ns = if window.lost.is_empty() { 0 } else { self.timeout_ns };
            if window.start_unix_ns + self.length_ns + wait_ns > now_unix_ns {
                break;
            }
            let Some(window) = self.open.pop_front() else { break };
            let rows: Vec<PathWindow> = window.rows.into_values().collect();
            batch.windows.push(columns::encode(window.start_unix_ns, self.length_ns, &rows));
            batch.lost.extend(window.lost);
        }
        (!batch.windows.is_empty()).then_some(batch)
    }
}

/// A probe that timed out after it had left through eth0.
fn lost(probe: &Probe) -> v1::LostSample {
    v1::LostSample {
        path_id: probe.path.0,
        sequence: probe.number,
        sent_unix_ns: probe.sent_unix_ns,
        outcome: v1::Outcome::Timeout.into(),
        request_hooks: vec![v1::HookSeen {
            interface: "eth0".to_owned(),
            role: v1::InterfaceRole::Uplink.into(),
            egress: true,
            encapsulated: false,
        }],
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: i64 = 1_000_000_000;

    #[test]
    fn a_window_is_reported_once_and_not_before_its_losses_are_certain() {
        let mut windows = Windows::default();
        windows.set_timing(SECOND_NS, SECOND_NS / 2);
        let probe = |path, at, is_lost| Probe {
            path: PathId(path),
            number: path,
            sent_unix_ns: 100 * SECOND_NS + at,
            is_lost,
        };
        windows.add(&probe(2, 1, false));
        windows.add(&probe(1, 2, false));
        windows.add(&probe(1, SECOND_NS + 1, true));
        assert_eq!(windows.take_added(), 3);
        assert!(windows.over(101 * SECOND_NS - 1).is_none());
        let first = windows.over(101 * SECOND_NS).unwrap();
        let rows = columns::decode(&first.windows[0]).unwrap();
        assert_eq!(rows.iter().map(|row| (row.path.0, row.reply)).collect::<Vec<_>>(), [(1, 1), (2, 1)]);
        assert!(windows.over(102 * SECOND_NS).is_none(), "the loss is not certain yet");
        let second = windows.over(102 * SECOND_NS + SECOND_NS / 2).unwrap();
        assert_eq!((second.windows.len(), second.lost.len(), second.lost[0].path_id), (1, 1, 1));
        assert!(windows.over(i64::MAX).is_none());
    }
}
