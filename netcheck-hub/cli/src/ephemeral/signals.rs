//! Signals that ask the program to end, counted. The task that waits for them ends when it is dropped.

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::ends::Ends;

/// How many came.
pub(super) struct Signals {
    count: watch::Receiver<u32>,
    task: JoinHandle<()>,
}

impl Signals {
    /// From now on these signals end nothing by themselves.
    pub(super) fn listen() -> std::io::Result<Self> {
        let (sender, count) = watch::channel(0);
        let mut ends = Ends::listen()?;
        let task = tokio::spawn(async move {
            loop {
                ends.next().await;
                sender.send_modify(|count| *count += 1);
            }
        });
        Ok(Self { count, task })
    }

    pub(super) fn count(&self) -> u32 {
        *self.count.borrow()
    }

    /// Returns once so many came.
    pub(super) async fn reach(&self, wanted: u32) {
        let mut count = self.count.clone();
        if count.wait_for(|count| *count >= wanted).await.is_err() {
            // Nobody counts any more.
            std::future::pending::<()>().await;
        }
    }

    /// What comes of it, unless a signal is first.
    pub(super) async fn first<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.reach(1) => None,
            done = work => Some(done),
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.task.abort();
    }
}
