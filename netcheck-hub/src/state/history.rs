//! History as the hub has it: opened, asked, and given what happens.
//!
//! ```text
//! verdicts, incidents ──tick──┐
//! windows, losses, drops ─────┼─▶ [`Archive`] ─queue─▶ writer's thread ─▶ disk
//! roster, plan, agents ───1 s─┘       └─▶ readers
//! ```
//! Nothing here waits for the disk: what the queue does not take is dropped and counted ([`Archive::caveats`]). What is
//! recorded under the state's lock is gathered in [`Recording`] and handed over by [`HistoryTask`], which has no lock then.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use netcheck_analysis::model::clock::SECOND_NS;
use netcheck_analysis::model::verdict::Verdict;
use netcheck_history::location::Note;
use netcheck_history::reader::{Reader, State as Standing};
use netcheck_history::record::{Event, Fact, FactKind, Record, UNJUDGED, Verdicts, plain};
use netcheck_history::retention::Retention;
use netcheck_history::writer::{Writer, WriterTask};
use netcheck_history::{Counts, History};
use parking_lot::Mutex;

mod absences;
mod changes;
mod incidents;
mod limits;
mod quiet;
mod recording;
mod remarks;
mod restoring;
mod task;
mod windows;

pub use recording::Recording;
pub use task::HistoryTask;
pub(in crate::state) use windows::Late;
pub use windows::Reached;

/// Paths that history knows at most; of more, nothing is kept. Each costs the hub some 30 bytes, and the disk some 1,200
/// bytes a day while it is measured.
const MOST_PATHS: usize = 4_000_000;
/// How often all is written: what is lost with a hub that is killed, and a transaction that waits for the disk each time.
const WRITTEN_NS: i64 = 3 * SECOND_NS;
/// Notes that are shown at a time.
const NOTES: usize = 4;
/// The event of a hub's start. Its body is the time at which the one before was there last, 8 bytes big-endian; empty at
/// the first.
pub const STARTED: &str = "hub";

/// A time in which the hub was away, unix nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// When it was there last.
    pub from_ns: i64,
    /// When it began again.
    pub to_ns: i64,
}

/// Where history is kept, and for how long.
#[derive(Clone, Debug, Default)]
pub struct Keeping {
    /// None: in memory, until the process ends.
    pub dir: Option<PathBuf>,
    /// How long, and how much.
    pub retention: Retention,
}

/// The hub's history. Any thread may ask it and record something in it.
#[derive(Debug)]
pub struct Archive {
    /// Answers. It reads the disk: not for a thread that others wait for.
    pub reader: Reader,
    writer: Writer,
    keeping: Keeping,
    /// When the oldest that it may have was recorded.
    pub began_ns: i64,
    /// Ascending.
    pub gaps: Vec<Gap>,
    notes: Mutex<Notes>,
    /// Paths that got no number.
    unnumbered: AtomicU64,
    /// When it was last asked to write.
    asked_ns: AtomicI64,
    seen: Mutex<changes::Seen>,
    recorded: Mutex<incidents::Recorded>,
    said: Mutex<remarks::Said>,
    grown: Mutex<quiet::Grown>,
}

#[derive(Debug, Default)]
struct Notes {
    /// Newest last.
    kept: VecDeque<String>,
    /// Why nothing can be written for now.
    failing: Option<String>,
}

/// A history that is open, for a hub that begins.
#[derive(Debug)]
pub struct Opened {
    /// For the hub.
    pub archive: Arc<Archive>,
    /// For a thread of its own.
    pub task: WriterTask,
    /// What stood when the last hub ended.
    pub standing: Standing,
}

/// History's number for a verdict: its place among all. It is written to disks, and never means another one.
#[must_use]
pub const fn code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Reachable => 0,
        Verdict::Degraded => 1,
        Verdict::Unreachable => 2,
        Verdict::ExpectedAbsent => 3,
        Verdict::NoData => 4,
    }
}

/// The verdict that a number stands for: none can be given while nobody judges.
#[must_use]
pub fn verdict_of(code: u8) -> Verdict {
    if code & UNJUDGED != 0 {
        return Verdict::NoData;
    }
    Verdict::ALL.get(usize::from(plain(code))).copied().unwrap_or(Verdict::NoData)
}

fn time(bytes: &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(bytes.try_into().ok()?))
}

impl Archive {
    /// Opens it, or begins one. It always succeeds: see [`History::open`].
    #[must_use]
    pub fn open(keeping: Keeping, now_ns: i64) -> Opened {
        let (History { writer, reader, task }, notes) = match &keeping.dir {
            Some(dir) => History::open(dir, keeping.retention, now_ns),
            None => (History::in_memory(keeping.retention, now_ns), Vec::new()),
        };
        let standing = reader.state().unwrap_or_default();
        let fact = |key: &str| {
            let of = |fact: &&Fact| fact.kind == FactKind::Hub && fact.key == key;
            time(standing.facts.iter().find(of)?.value.as_ref()?)
        };
        let began_ns = fact("began").unwrap_or(now_ns).min(now_ns);
        let last_ns = fact("alive").filter(|&last_ns| last_ns < now_ns);
        let mut gaps: Vec<Gap> = reader
            .events(i64::MIN, now_ns)
            .unwrap_or_default()
            .iter()
            .filter(|event| event.kind == STARTED)
            .filter_map(|event| Some(Gap { from_ns: time(&event.body)?, to_ns: event.at_ns }))
            .collect();
        gaps.extend(last_ns.map(|from_ns| Gap { from_ns, to_ns: now_ns }));
        let archive = Self {
            reader,
            writer,
            keeping,
            began_ns,
            gaps,
            notes: Mutex::default(),
            unnumbered: AtomicU64::new(0),
            asked_ns: AtomicI64::new(0),
            seen: Mutex::default(),
            recorded: Mutex::default(),
            said: Mutex::default(),
            grown: Mutex::default(),
        };
        archive.take(notes);
        archive.begin(&standing, last_ns, now_ns);
        Opened { archive: Arc::new(archive), task, standing }
    }

    /// Notes the start: what stood is not judged from the time on at which the hub was there last.
    fn begin(&self, standing: &Standing, last_ns: Option<i64>, now_ns: i64) {
        let body = last_ns.map(|last_ns| last_ns.to_be_bytes().to_vec()).unwrap_or_default();
        self.record(Record::Event(Event {
            at_ns: now_ns,
            kind: STARTED.to_owned(),
            subject: String::new(),
            body,
        }));
        let changes = standing.verdicts.iter().map(|(&path, &(verdict, _))| (path, Some(verdict | UNJUDGED)));
        let changes: Vec<_> = changes.collect();
        if let Some(at_ns) = last_ns.filter(|_| !changes.is_empty()) {
            self.record(Record::Verdicts(Verdicts { at_ns, changes }));
        }
        self.note_fact("began", Some(self.began_ns.to_be_bytes().to_vec()));
    }

    /// Has something kept. What the queue does not take is dropped, and counted there.
    pub fn record(&self, record: Record) -> bool {
        self.writer.try_record(record).is_ok()
    }

    fn note_fact(&self, key: &str, value: Option<Vec<u8>>) {
        self.record(Record::Fact(Fact { kind: FactKind::Hub, key: key.to_owned(), value }));
    }

    /// The hub is there, and all was recorded: has it written.
    fn alive(&self, now_ns: i64) {
        self.grown.lock().look(&self.counts(), now_ns);
        self.note_fact("alive", Some(now_ns.to_be_bytes().to_vec()));
        if (now_ns - self.asked_ns.load(Ordering::Relaxed)).abs() >= WRITTEN_NS {
            self.asked_ns.store(now_ns, Ordering::Relaxed);
            self.writer.tick(now_ns);
        }
    }

    /// Writes all that was recorded, and waits for the disk.
    pub fn flush(&self, now_ns: i64) {
        self.writer.flush(now_ns);
    }

    /// What was counted since the process began.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.writer.counts()
    }

    /// Paths that history has no room for.
    #[must_use]
    pub fn unnumbered(&self) -> u64 {
        self.unnumbered.load(Ordering::Relaxed)
    }

    /// Paths that have a number.
    #[must_use]
    pub fn paths(&self) -> usize {
        self.writer.paths()
    }

    /// Takes what the store has to say. Returns whether all is to be recorded anew, for the old store was set aside.
    fn take(&self, news: Vec<Note>) -> bool {
        let mut anew = false;
        let mut notes = self.notes.lock();
        for note in news {
            let line = note.to_string();
            match note {
                Note::Failing { .. } => notes.failing = Some(line.clone()),
                Note::Resumed => notes.failing = None,
                Note::SetAside { .. } | Note::InMemory { .. } => {
                    anew = true;
                    notes.kept.push_back(line.clone());
                }
            }
            if notes.kept.len() > NOTES {
                notes.kept.pop_front();
            }
            tracing::warn!("{line}");
        }
        anew
    }

    /// What is not as it should be with history, one line each.
    #[must_use]
    pub fn caveats(&self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        if self.keeping.dir.is_none() {
            lines.push(
                "history is kept in memory and ends with the hub's process (--data-dir keeps it)".to_owned(),
            );
        }
        let notes = self.notes.lock();
        lines.extend(notes.kept.iter().chain(&notes.failing).cloned());
        drop(notes);
        lines.extend(self.grown.lock().lines(&self.counts()));
        if self.unnumbered() > 0 {
            let count = self.unnumbered();
            lines.push(format!("{count} paths are too many for history, which keeps nothing of them"));
        }
        lines
    }

    /// How long everything is kept.
    #[must_use]
    pub const fn retention(&self) -> &Retention {
        &self.keeping.retention
    }

    /// The directory; none in memory.
    #[must_use]
    pub fn dir(&self) -> Option<&Path> {
        self.keeping.dir.as_deref()
    }

    /// The gap that an instant is in.
    #[must_use]
    pub fn gap_at(&self, at_ns: i64) -> Option<Gap> {
        self.gaps.iter().copied().find(|gap| (gap.from_ns..gap.to_ns).contains(&at_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_come_back_from_their_numbers() {
        for verdict in Verdict::ALL {
            assert_eq!(verdict_of(code(verdict)), verdict);
            assert_eq!(verdict_of(code(verdict) | UNJUDGED), Verdict::NoData);
        }
        assert_eq!(verdict_of(99), Verdict::NoData, "of a newer version");
    }
}
