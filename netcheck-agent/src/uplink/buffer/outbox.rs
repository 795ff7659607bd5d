//! The buffer between the engine and the session.
//!
//! [`Collector`] is the task that packs the engine's reports; it ends when the engine does, and closes the outbox.
//! Cancelling it earlier loses what the engine has not handed over.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use netcheck_common::domain::ProbeSession;
use tokio::sync::{Notify, mpsc};

use crate::host::clock::unix_offset_ns;
use crate::model::report::Report;
use crate::uplink::buffer::{Buffer, BufferStatus, Limits};
use crate::uplink::wire::Reporter;

#[derive(Debug)]
struct Inner {
    buffer: Buffer,
    closed: bool,
}

/// The shared buffer. Both users run on one thread; the lock is never held across a wait.
#[derive(Debug)]
pub(crate) struct Outbox {
    inner: Mutex<Inner>,
    changed: Notify,
}

impl Outbox {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        let inner = Mutex::new(Inner { buffer: Buffer::new(limits), closed: false });
        Arc::new(Self { inner, changed: Notify::new() })
    }

    /// Works on the buffer.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Buffer) -> T) -> T {
        work(&mut self.lock().buffer)
    }

    /// Waits until something was put in, or the outbox was closed.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Nothing will come any more, and everything was acknowledged.
    pub(crate) fn is_done(&self) -> bool {
        let inner = self.lock();
        inner.closed && inner.buffer.is_empty()
    }

    pub(crate) fn status(&self) -> BufferStatus {
        self.lock().buffer.status()
    }

    /// Puts a report in.
    pub(crate) fn push(&self, reporter: Reporter, report: &Report) {
        let batch = reporter.batch(report);
        self.lock().buffer.push(batch);
        self.changed.notify_one();
    }

    /// Nothing will come any more.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Packs reports into the outbox.
pub(crate) struct Collector {
    pub(crate) reports: mpsc::Receiver<Report>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) session: ProbeSession,
}

impl Collector {
    /// Runs until the engine ends.
    pub(crate) async fn run(mut self) {
        while let Some(report) = self.reports.recv().await {
            let reporter = Reporter { session: self.session, unix_offset_ns: unix_offset_ns() };
            self.outbox.push(reporter, &report);
        }
        self.outbox.close();
    }
}
