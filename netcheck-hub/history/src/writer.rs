//! Records in, transactions out. One task owns all writing.
//!
//! [`Writer::try_record`] puts a record into a bounded queue and never waits. [`WriterTask`] gathers what comes and
//! writes it in one transaction when [`Writer::tick`] says that time has passed; then it rolls up, merges and forgets
//! what is due. When all [`Writer`]s are dropped it writes what it has and ends. Killed at any instant, it leaves what
//! was written by the last transaction.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;

use crate::codec::columns::Zstd;
use crate::location::{Location, Note};
use crate::path::{PathIdentity, PathNumber};
use crate::record::Record;
use crate::retention::Retention;
use crate::shared::{Counts, Marks, Shared, count};
use crate::store::{Store, StoreError};
use crate::tier::{HOUR, nanos};

mod forgetting;
mod pending;
mod rolling;
mod stands;

use pending::Pending;
pub(crate) use pending::{FACT, INCIDENT, fact_code};
pub(crate) use stands::Stands;

/// Records that wait: one for each node every ten seconds, and what happens. Rolling ten minutes of 100,000 paths up
/// takes some seconds, in which a few hundred records come. A full queue drops the newest, and counts it.
pub(crate) const QUEUE: usize = 4096;
/// What is gathered at most before it is written, whether or not it is time. About, bytes.
const GATHERED: usize = 32 << 20;
/// How often all that stands is written.
const CHECKPOINT_NS: i64 = nanos(6 * HOUR);
/// How long a store that can't be written is left alone.
const RETRY_NS: i64 = nanos(10);
/// Transactions in a row that a store may refuse, with room on the disk, until it is set aside.
const REFUSALS: u32 = 3;

/// The queue is full: the record is dropped, and counted.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the queue of history is full")]
pub struct Full;

#[derive(Debug)]
enum Message {
    Record(u64, Record),
    Tick(i64),
    Flush(i64, SyncSender<()>),
}

/// Gives records to the writer's task. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Writer {
    queue: Arc<Mutex<Queue>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Queue {
    sender: SyncSender<Message>,
    /// Of the last record that was taken.
    number: u64,
}

impl Writer {
    /// A writer, and the other end of its queue.
    pub(crate) fn new(shared: &Arc<Shared>) -> (Self, Inbox) {
        let (sender, receiver) = mpsc::sync_channel(QUEUE);
        let queue = Arc::new(Mutex::new(Queue { sender, number: 0 }));
        (Self { queue, shared: Arc::clone(shared) }, Inbox(receiver))
    }

    /// Has a record written. Returns its number: they ascend by one. Never waits.
    ///
    /// # Errors
    /// If too much waits already. The record is dropped, and counted.
    pub fn try_record(&self, record: Record) -> Result<u64, Full> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let number = queue.number + 1;
        match queue.sender.try_send(Message::Record(number, record)) {
            Ok(()) => {
                queue.number = number;
                Ok(number)
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                count(&self.shared.counters.dropped, 1);
                Err(Full)
            }
        }
    }

    /// Gives the task the time: every few seconds. It writes what it has. Never waits.
    pub fn tick(&self, now_ns: i64) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        // Where the queue is full, another tick is on its way.
        drop(queue.sender.try_send(Message::Tick(now_ns)));
    }

    /// Does what a tick does, and waits until it is done. For the end of the process, and for tests.
    pub fn flush(&self, now_ns: i64) {
        let (done, wait) = mpsc::sync_channel(1);
        let sender = self.queue.lock().unwrap_or_else(PoisonError::into_inner).sender.clone();
        if sender.send(Message::Flush(now_ns, done)).is_ok() {
            let _ = wait.recv();
        }
    }

    /// The number of a path: always the same for the same path. Given out without waiting for the disk.
    #[must_use]
    pub fn path(&self, path: &PathIdentity) -> PathNumber {
        self.shared.paths().number(path)
    }

    /// The number of a path that has one already.
    #[must_use]
    pub fn known(&self, path: &PathIdentity) -> Option<PathNumber> {
        self.shared.paths().known(path)
    }

    /// How many paths have a number.
    #[must_use]
    pub fn paths(&self) -> usize {
        self.shared.paths().len()
    }

    /// The last record that is on the disk; all before it are, or are counted as lost.
    #[must_use]
    pub fn committed(&self) -> u64 {
        self.shared.committed.load(Ordering::Acquire)
    }

    /// What was counted since the process began.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.counts()
    }

    /// What people should know since this was last asked.
    #[must_use]
    pub fn take_notes(&self) -> Vec<Note> {
        self.shared.take_notes()
    }
}

/// The end of the queue that the task reads.
#[derive(Debug)]
pub(crate) struct Inbox(Receiver<Message>);

/// Writes. It is blocked by disks, so it wants a thread of its own.
#[derive(Debug)]
pub struct WriterTask {
    inbox: Inbox,
    shared: Arc<Shared>,
    location: Location,
    retention: Retention,
    pending: Pending,
    stands: Stands,
    zstd: Zstd,
    /// When all that stands was written last; none: it is due.
    checkpoint_ns: Option<i64>,
    /// Until when a store that failed is left alone.
    retry_ns: i64,
    refusals: u32,
    /// The last transaction failed.
    failing: bool,
    /// As the disk was full: what can be spared goes until it is not.
    full: bool,
    /// The day whose forgotten paths were looked for, since 1970.
    purged_day: u32,
    now_ns: i64,
}

impl WriterTask {
    pub(crate) fn new(
        inbox: Inbox,
        shared: Arc<Shared>,
        (location, retention): (Location, Retention),
        stands: Stands,
        now_ns: i64,
    ) -> Self {
        Self {
            inbox,
            shared,
            location,
            retention,
            pending: Pending::default(),
            stands,
            zstd: Zstd::new(),
            checkpoint_ns: None,
            retry_ns: i64::MIN,
            refusals: 0,
            failing: false,
            full: false,
            purged_day: 0,
            now_ns,
        }
    }

    /// Runs until all writers are dropped.
    pub fn run(mut self) {
        while let Ok(message) = self.inbox.0.recv() {
            match message {
                Message::Record(number, record) => self.take(number, record),
                Message::Tick(now_ns) => self.tick(now_ns),
                Message::Flush(now_ns, done) => {
                    self.tick(now_ns);
                    let _ = done.send(());
                }
            }
        }
        self.commit();
    }

    fn take(&mut self, number: u64, record: Record) {
        let rolled_s = self.shared.read().marks.rolled_s;
        let late = self.pending.take(number, record, rolled_s, &mut self.stands);
        count(&self.shared.counters.late, late);
        if self.pending.bytes() > GATHERED {
            self.commit();
        }
    }

    fn tick(&mut self, now_ns: i64) {
        self.now_ns = now_ns;
        if self.checkpoint_ns.is_none_or(|last_ns| now_ns.saturating_sub(last_ns) >= CHECKPOINT_NS) {
            self.pending.checkpoint(now_ns, &mut self.stands, &mut self.zstd);
            self.checkpoint_ns = Some(now_ns);
        }
        self.commit();
        if self.shared.read().store.is_none() {
            return;
        }
        // Where the disk is full, room comes first.
        let kept = if self.full { self.forget() } else { Ok(()) };
        let kept = kept.and_then(|()| self.roll()).and_then(|()| self.merge()).and_then(|()| self.forget());
        if let Err(error) = kept {
            self.failed(&error);
        }
    }

    /// Writes what was gathered. What can't be written is lost, and counted: memory is bounded.
    fn commit(&mut self) {
        if self.shared.read().store.is_none() {
            self.reopen();
        }
        self.pending.paths(&mut self.shared.paths());
        if self.pending.is_empty() {
            return;
        }
        let mut written = self.try_commit();
        if let Err(error) = &written {
            self.failed(error);
            // A store that was opened anew may take it.
            if self.shared.read().store.is_some() {
                written = self.try_commit();
            }
        }
        match written {
            Ok(()) => {
                count(&self.shared.counters.commits, 1);
                self.refusals = 0;
                self.full = false;
                if std::mem::take(&mut self.failing) {
                    self.shared.note(Note::Resumed);
                }
            }
            Err(_) => {
                count(&self.shared.counters.lost, self.pending.records());
                // Numbers of paths are not lost: they are written with the next.
                self.shared.paths().unwritten.append(&mut self.pending.unwritten_paths());
                self.checkpoint_ns = None;
            }
        }
        if let Some(last) = self.pending.last() {
            self.shared.committed.store(last, Ordering::Release);
        }
        self.pending = Pending::default();
    }

    fn try_commit(&mut self) -> Result<(), StoreError> {
        let inner = self.shared.read();
        let store = inner.store.as_ref().ok_or_else(|| StoreError::Io("not open".into()))?;
        let changes = self.pending.changes(store, &self.shared.counters.unreadable, &mut self.zstd);
        store.commit(changes)
    }

    /// A transaction failed. fjall takes no further one until it is opened anew.
    fn failed(&mut self, error: &StoreError) {
        count(&self.shared.counters.failed_commits, 1);
        if !std::mem::replace(&mut self.failing, true) {
            self.shared.note(Note::Failing { why: error.to_string() });
        }
        self.full = matches!(error, StoreError::Full(_));
        if !self.full {
            self.refusals += 1;
        }
        self.shared.write().store = None;
        self.retry_ns = i64::MIN;
        self.reopen();
    }

    /// Opens the store anew, or leaves it for later.
    fn reopen(&mut self) {
        if self.now_ns < self.retry_ns {
            return;
        }
        let mut opened = if self.refusals < REFUSALS {
            self.location.open_as_is().and_then(|disk| {
                let store = Store::Disk(disk);
                Ok((Marks::read(&store)?, store))
            })
        } else {
            Err(StoreError::Damaged(format!("{} transactions in a row were refused", self.refusals)))
        };
        if let Err(error @ (StoreError::Damaged(_) | StoreError::Newer(_))) = &opened {
            let mut notes = Vec::new();
            let anew = self.location.begin_anew(&error.to_string(), self.now_ns, &mut notes);
            opened = anew.map(|disk| (Marks::default(), Store::Disk(disk)));
            if opened.is_ok() {
                self.all_is_new();
            }
            notes.into_iter().for_each(|note| self.shared.note(note));
        }
        match opened {
            Ok((marks, store)) => {
                let mut inner = self.shared.write();
                inner.marks = marks;
                inner.store = Some(store);
            }
            Err(error) => {
                self.full = matches!(error, StoreError::Full(_));
                self.retry_ns = self.now_ns.saturating_add(RETRY_NS);
                if !std::mem::replace(&mut self.failing, true) {
                    self.shared.note(Note::Failing { why: error.to_string() });
                }
            }
        }
    }

    /// The store is empty. Numbers of paths that it doesn't know mean nothing: the hub asks for them anew.
    fn all_is_new(&mut self) {
        self.refusals = 0;
        self.checkpoint_ns = None;
        self.stands = Stands::default();
        self.shared.paths().begin_anew();
    }
}
