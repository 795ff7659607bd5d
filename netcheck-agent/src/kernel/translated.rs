//! The sieve of flows whose port was translated: the kernel programs fill it, here it is emptied.

use std::time::{Duration, Instant};

use aya::maps::{Array, MapData, MapError};
use netcheck_common::abi::maps;
use tracing::warn;

type Bytes = [u8; maps::TRANSLATED_BYTES];

/// How long a flow stays in the sieve at least; twice that at most. No answer that counts comes later.
const KEPT: Duration = Duration::from_secs(8);

/// Both halves of the sieve.
pub(crate) struct TranslatedSieves {
    halves: [Array<MapData, Bytes>; 2],
    bank: Array<MapData, u32>,
    /// The half that is filled.
    filled: usize,
    since: Instant,
}

impl TranslatedSieves {
    /// As the programs begin: both empty, the first one is filled.
    pub(crate) const fn new(
        halves: [Array<MapData, Bytes>; 2],
        bank: Array<MapData, u32>,
        now: Instant,
    ) -> Self {
        Self { halves, bank, filled: 0, since: now }
    }

    /// Forgets the older half of what is in it, when it is time.
    pub(crate) fn turn(&mut self, now: Instant) {
        if now.saturating_duration_since(self.since) < KEPT {
            return;
        }
        self.since = now;
        let next = 1 - self.filled;
        if let Err(error) = self.change_to(next) {
            warn!(%error, "the kernel's sieve of translated flows can't be emptied");
        } else {
            self.filled = next;
        }
    }

    fn change_to(&mut self, next: usize) -> Result<(), MapError> {
        // Nobody writes into it: it was given up one turn ago.
        self.halves[next].set(0, [0; maps::TRANSLATED_BYTES], 0)?;
        self.bank.set(0, next as u32, 0)
    }
}
