//! netcheck's history: what was measured and what happened, on the hub's own disk, rolled up and bounded.
//!
//! Knows nothing of the hub: it takes windows, verdicts, incidents and events as [`record::Record`]s, and gives them
//! back by time. Nothing in here looks at a clock: every call that needs the time is given it.
//!
//! ```text
//! hub ─try_record─▶ queue ─▶ WriterTask ─one transaction─▶ store ─▶ Reader ─▶ hub
//!                              │ every 10 min: raw ─▶ 10 s, 1 min, 10 min
//!                              └ by age and by bytes: whole periods are forgotten
//! ```
//!
//! # What is exact
//! Counts by outcome and suspects, at every step that is kept. Delays are exact until they are rolled up. Then ten
//! minutes keep four quantiles of the round trip and two of each share; so do a minute and ten seconds whose delays were
//! unusual (see `rollup.rs`). Otherwise a minute keeps its median and ten seconds nothing of their own: readers fill the
//! rest in from the ten minutes around, and say so ([`window::Fidelity`]). All of it for 100,000 paths would be some GB a
//! day.
//!
//! # Which store, and why
//! fjall. `stores/` compares it with redb under this load (2 cores, a virtual disk; 25,600 paths, six hours):
//!
//! | | redb 4.6 | fjall 3.1 |
//! |---|---|---|
//! | a transaction of 100 blocks | 12 ms | 7 ms |
//! | read of a block | 9 µs | 62 µs |
//! | disk for 14 MiB of values, after 521 MiB came and went | 41 MiB | 45 MiB, most of it the journal, which doesn't grow |
//! | file cut off, 100 trials | 100 refused | 43 refused, 57 went on without the end of the journal |
//! | a byte flipped | 100 not noticed | 49 refused, 51 read right (not a byte that matters) |
//! | a page zeroed | 33 **panics** | 38 refused |
//! | full disk | did not come back within 20 s | refused, and went on when there was room |
//!
//! netcheck is built with `panic = "abort"`: a store that panics over a damaged file is a hub that does not start. That
//! decides. The price is some more crates, and the licences 0BSD and BSL-1.0, which ask for nothing.

pub mod location;
pub mod path;
pub mod reader;
pub mod record;
pub mod retention;
pub mod tier;
pub mod window;
pub mod writer;

// What reads stored values, for whoever tries bytes on it.
#[cfg(any(test, feature = "fuzz"))]
pub mod foreign;

mod codec;
mod keys;
mod rollup;
mod shared;
mod store;

use std::path::Path;
use std::sync::Arc;

use location::{Location, Note};
use reader::Reader;
use retention::Retention;
use shared::{Marks, Paths, Shared};
use store::{Memory, Store, StoreError};
use writer::{Stands, Writer, WriterTask};

pub use shared::Counts;

/// A history that is open. Its parts go where they are needed; nothing is written until the task runs.
#[derive(Debug)]
pub struct History {
    /// Takes records.
    pub writer: Writer,
    /// Answers.
    pub reader: Reader,
    /// To be run on a thread of its own.
    pub task: WriterTask,
}

impl History {
    /// Opens the history under a data directory, or begins one. Always succeeds: what can't be used is set aside, and
    /// without a directory that can be used it is kept in memory. The notes say so.
    #[must_use]
    pub fn open(dir: &Path, retention: Retention, now_ns: i64) -> (Self, Vec<Note>) {
        let location = Location::new(dir);
        let (mut store, mut notes) = location.open(now_ns);
        let mut read = read_all(&store);
        if let Err(error) = read {
            // It opens and can't be read. The lock goes with the store.
            drop(store);
            store = location.begin_anew(&error.to_string(), now_ns, &mut notes).map_or_else(
                |error| {
                    notes.push(Note::InMemory { why: error.to_string() });
                    Store::Memory(Memory::default())
                },
                Store::Disk,
            );
            read = read_all(&store);
        }
        let (marks, paths, stands) = read.unwrap_or_default();
        let shared = Arc::new(Shared::new(store, marks, paths));
        for note in notes.iter().filter(|note| matches!(note, Note::SetAside { .. })) {
            shared.note(note.clone());
        }
        shared.take_notes();
        let (writer, inbox) = Writer::new(&shared);
        let reader = Reader { shared: Arc::clone(&shared) };
        let task = WriterTask::new(inbox, shared, (location, retention), stands, now_ns);
        (Self { writer, reader, task }, notes)
    }

    /// A history in memory, until the process ends.
    #[must_use]
    pub fn in_memory(retention: Retention, now_ns: i64) -> Self {
        let store = Store::Memory(Memory::default());
        let shared = Arc::new(Shared::new(store, Marks::default(), Paths::default()));
        let (writer, inbox) = Writer::new(&shared);
        let reader = Reader { shared: Arc::clone(&shared) };
        let location = Location::new(Path::new("/nonexistent"));
        let task = WriterTask::new(inbox, shared, (location, retention), Stands::default(), now_ns);
        Self { writer, reader, task }
    }
}

fn read_all(store: &Store) -> Result<(Marks, Paths, Stands), StoreError> {
    let stands = reader::last_stands(store).map_err(|error| StoreError::Damaged(error.to_string()))?;
    Ok((Marks::read(store)?, Paths::read(store)?, stands))
}
