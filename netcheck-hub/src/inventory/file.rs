//! Follows an inventory file.
//!
//! In: the file. Out: rosters, and what is wrong with the file, as [`News`]. [`InventoryTask`] polls the file's identity
//! (it may be replaced by rename, or be a mounted ConfigMap's symlink); cancelling it loses nothing.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{News, Take};
use netcheck_analysis::cluster::inventory::{InventoryError, read};
use netcheck_analysis::cluster::roster::{LeftOut, Roster};

/// How often the file is looked at. A change is taken once it has been the same for two looks, so that a file which
/// is being written in place is not read by halves.
pub const POLL: Duration = Duration::from_millis(200);

/// What distinguishes one state of a file from another.
type Identity = (u64, u64, i64, i64);

fn identity(path: &Path) -> Option<Identity> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
}

/// Follows the file.
pub struct InventoryTask {
    path: PathBuf,
    take: Take,
    loaded: Option<Identity>,
    /// Objects that were left out so far.
    skipped: u64,
}

impl InventoryTask {
    /// Reads the file once and hands its roster over.
    ///
    /// # Errors
    /// A file that is missing or broken at the start.
    pub fn start(path: PathBuf, take: Take) -> Result<Self, InventoryError> {
        let loaded = identity(&path);
        let objects = read(&path)?;
        let roster = objects.roster();
        tracing::info!(path = %path.display(), ignored = objects.ignored, "inventory read: {roster}");
        take(News::Roster { roster, trouble: None });
        let mut task = Self { path, take, loaded, skipped: 0 };
        task.report(objects.left_out);
        Ok(task)
    }

    /// Re-reads the file whenever it changes, until cancelled.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(POLL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut previous = self.loaded;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let current = identity(&self.path);
            if current == previous && current != self.loaded {
                self.loaded = current;
                self.reload().await;
            }
            previous = current;
        }
    }

    async fn reload(&mut self) {
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || {
            read(&path).map(|objects| (objects.roster(), objects.left_out))
        });
        match read.await {
            Ok(Ok((roster, left_out))) => self.accept(roster, left_out).await,
            Ok(Err(error)) => {
                let error = format!("{:#}", anyhow::Error::from(error));
                tracing::error!("{error}; keeping the last good roster");
                (self.take)(News::Failed(error));
            }
            Err(error) => (self.take)(News::Failed(format!("inventory reader failed: {error}"))),
        }
    }

    async fn accept(&mut self, roster: Roster, left_out: LeftOut) {
        tracing::info!(path = %self.path.display(), "inventory changed: {roster}");
        let take = Arc::clone(&self.take);
        // Plans of many nodes take their time.
        let taken = tokio::task::spawn_blocking(move || take(News::Roster { roster, trouble: None })).await;
        if let Err(error) = taken {
            (self.take)(News::Failed(format!("plans could not be made of the inventory: {error}")));
        }
        self.report(left_out);
    }

    /// Reports what of the file could not be used.
    fn report(&mut self, left_out: LeftOut) {
        for line in left_out.report_lines() {
            tracing::warn!("{line}");
        }
        self.skipped += left_out.count;
        (self.take)(News::LeftOut { left_out, so_far: self.skipped });
    }
}

#[cfg(test)]
mod tests;
