//! What is too old or too much goes.

use super::WriterTask;
use super::rolling::{closed, unseen_since};
use crate::path::PathNumber;
use crate::retention::{MEMORY_BYTES, next_to_go};
use crate::shared::{Paths, count};
use crate::store::{Change, Space, Store, StoreError};
use crate::tier::{DAY, seconds};

impl WriterTask {
    /// Forgets spaces by age and by bytes, and once a day paths that nothing speaks of.
    pub(super) fn forget(&mut self) -> Result<(), StoreError> {
        let now_s = seconds(self.now_ns);
        let inner = self.shared.write();
        let store = inner.store.as_ref().ok_or_else(closed)?;
        let mut spaces = store.spaces();
        let counters = &self.shared.counters;
        for old in self.retention.too_old(&spaces, now_s) {
            store.forget(old)?;
            spaces.retain(|space| *space != old);
            count(&counters.aged_out, 1);
        }
        let most = match store {
            Store::Disk(_) => self.retention.bytes,
            Store::Memory(_) => self.retention.bytes.min(MEMORY_BYTES),
        };
        let mut bytes = store.held(None);
        // What others have of a full disk is not known: a tenth less each time, until there is room.
        let most = if self.full { most.min(bytes - bytes / 10) } else { most };
        while bytes > most {
            let Some(next) = next_to_go(&spaces, now_s) else { break };
            bytes = bytes.saturating_sub(store.held(Some(next)).max(1));
            store.forget(next)?;
            spaces.retain(|space| *space != next);
            count(&counters.squeezed_out, 1);
        }
        drop(inner);
        self.forget_paths(now_s / DAY)
    }

    /// A path that was not measured for longer than anything is kept, and has no verdict, is not spoken of any more.
    fn forget_paths(&mut self, day: u32) -> Result<(), StoreError> {
        if day == self.purged_day {
            return Ok(());
        }
        self.purged_day = day;
        let inner = self.shared.read();
        let store = inner.store.as_ref().ok_or_else(closed)?;
        let kept_days = u32::try_from(self.retention.all.as_secs() / u64::from(DAY)).unwrap_or(u32::MAX);
        let oldest = day.saturating_sub(kept_days.saturating_add(2));
        let mut changes = Vec::new();
        for path in unseen_since(store, oldest)? {
            let path = PathNumber(path);
            if self.stands.verdicts.contains_key(&path) {
                continue;
            }
            let key = Paths::key(path);
            if let Some(identity) = store.get(Space::STATE, &key)? {
                self.shared.paths().forget(&identity);
                changes.push(Change { space: Space::STATE, key, value: None });
            }
        }
        if changes.is_empty() { Ok(()) } else { store.commit(changes) }
    }
}
