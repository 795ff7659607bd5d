//! The prefilter of flows whose port was translated: the kernel programs fill it, here it is emptied.

use std::time::{Duration, Instant};

use aya::maps::{Array, MapData};
use netcheck_common::abi::maps;
use tracing::warn;

type Bytes = [u8; maps::TRANSLATED_BYTES];

/// How long a flow stays in the prefilter at least; twice that at most. No answer that counts comes later.
const KEPT: Duration = Duration::from_secs(8);

/// Both copies of the prefilter.
pub(crate) struct TranslatedPrefilters {
    copies: [Array<MapData, Bytes>; 2],
    /// The one that was emptied longest ago.
    oldest: usize,
    since: Instant,
}

impl TranslatedPrefilters {
    /// As the programs begin: both are empty.
    pub(crate) const fn new(copies: [Array<MapData, Bytes>; 2], now: Instant) -> Self {
        Self { copies, oldest: 0, since: now }
    }

    /// Empties one of them, when it is time. What is put in meanwhile is in the other one all the same.
    pub(crate) fn turn(&mut self, now: Instant) {
        if now.saturating_duration_since(self.since) < KEPT {
            return;
        }
        self.since = now;
        if let Err(error) = self.copies[self.oldest].set(0, [0; maps::TRANSLATED_BYTES], 0) {
            warn!(%error, "the kernel's prefilter of translated flows can't be emptied");
        }
        self.oldest = 1 - self.oldest;
    }
}
