//! History as the hub uses it: through its writer and its reader, on real disks that fail.
#![expect(clippy::unwrap_used, reason = "a test ends where something is wrong")]

use std::path::Path;
use std::thread::JoinHandle;

use netcheck_common::domain::{ProbeKind, Vantage};
use netcheck_common::sketch::Sketch;
use netcheck_history::History;
use netcheck_history::location::Note;
use netcheck_history::path::PathIdentity;
use netcheck_history::reader::Reader;
use netcheck_history::record::{Event, Record};
use netcheck_history::retention::Retention;
use netcheck_history::window::{Delays, Window};
use netcheck_history::writer::Writer;
use tempfile::TempDir;

mod answers;
mod damage;
mod full;
mod kill;
mod retained;

pub(crate) const SECOND_NS: i64 = 1_000_000_000;
/// A round time: begin of a day.
pub(crate) const START_NS: i64 = 1_700_006_400 * SECOND_NS;

/// A history whose task runs.
pub(crate) struct Running {
    pub(crate) writer: Writer,
    pub(crate) reader: Reader,
    task: Option<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn open(dir: &Path, now_ns: i64) -> (Self, Vec<Note>) {
        let (history, notes) = History::open(dir, Retention::default(), now_ns);
        (Self::run(history), notes)
    }

    pub(crate) fn run(History { writer, reader, task }: History) -> Self {
        Self { writer, reader, task: Some(std::thread::spawn(move || task.run())) }
    }

    /// Records, and waits where the queue is full.
    #[expect(clippy::needless_pass_by_value, reason = "as the writer's own")]
    pub(crate) fn record(&self, record: Record) {
        while self.writer.try_record(record.clone()).is_err() {
            std::thread::yield_now();
        }
    }

    /// As the end of a process that is told to end.
    pub(crate) fn close(mut self) {
        let task = self.task.take().unwrap();
        drop(self);
        task.join().unwrap();
    }
}

/// A directory in memory: what is tried is not the disk's speed. Processes that are killed leave files there as they do
/// on a disk.
pub(crate) fn tempdir() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

pub(crate) fn path(at: u32) -> PathIdentity {
    PathIdentity {
        source: format!("node-{}", at % 7),
        vantage: Vantage::Host,
        target: format!("node/node-{at}"),
        kind: ProbeKind::Icmp,
        address: [10, 0, (at / 250) as u8, (at % 250) as u8].into(),
        port: 0,
        detail: String::new(),
    }
}

pub(crate) fn event(at_ns: i64, subject: &str) -> Event {
    Event { at_ns, kind: "agent".into(), subject: subject.into(), body: vec![1, 2, 3] }
}

/// As many replies as there are delays.
pub(crate) fn window(delays: &[u64]) -> Window {
    let mut round_trip = Sketch::new();
    delays.iter().for_each(|&delay| round_trip.record(delay));
    let delays_held = Delays { network: round_trip.clone(), round_trip, ..Delays::default() };
    Window {
        reply: delays.len() as u32,
        delays: (!delays.is_empty()).then(|| Box::new(delays_held)),
        ..Window::default()
    }
}
