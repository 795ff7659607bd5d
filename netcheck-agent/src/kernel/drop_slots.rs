//! Drops of everybody's packets, as the kernel counts them in banks of slots ([`maps::DROPS`]): one bank is counted in
//! while the other one is read and emptied, so that slots of interfaces that went take nobody's room.
//!
//! In: the banks. Out: totals since the programs were loaded.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use aya::maps::{Array, MapData, MapError, PerCpuArray, PerCpuValues};
use netcheck_common::abi::{DropBank, DropKey, DropSlot, maps};
use tracing::warn;

use super::tables::Abi;

/// A program that still counts in a bank after the change to the other one has ended long before.
const QUIET: Duration = Duration::from_millis(100);

/// The banks, and what was in them before.
pub(crate) struct DropSlots {
    banks: PerCpuArray<MapData, Abi<DropBank>>,
    current: Array<MapData, u32>,
    /// Which bank is counted in, since when.
    bank: u32,
    since: Instant,
    totals: Totals,
    /// What was reported last.
    last: Vec<(DropKey, u64)>,
}

impl DropSlots {
    /// The programs count in the first bank.
    pub(crate) fn new(banks: PerCpuArray<MapData, Abi<DropBank>>, current: Array<MapData, u32>) -> Self {
        Self { banks, current, bank: 0, since: Instant::now(), totals: Totals::default(), last: Vec::new() }
    }

    /// All drops so far, or those of the last time where the kernel does not show them. Those of interfaces that are not
    /// known `here` any more are forgotten when they grow no more.
    pub(crate) fn totals(&mut self, here: &HashSet<u32>) -> Vec<(DropKey, u64)> {
        if let Some(totals) = self.read(here) {
            self.last = totals;
        }
        self.last.clone()
    }

    fn read(&mut self, here: &HashSet<u32>) -> Option<Vec<(DropKey, u64)>> {
        let other = (self.bank + 1) % maps::DROPS_ENTRIES;
        let quiet = self.since.elapsed() >= QUIET;
        let read = |bank| self.banks.get(&bank, 0).map(|cpus| counted(&cpus));
        let (settled, running) = match (read(other), read(self.bank)) {
            (Ok(settled), Ok(running)) => (settled, running),
            (Err(error), _) | (_, Err(error)) => {
                warn!(%error, "the kernel's counts of drops can't be read");
                return None;
            }
        };
        if !quiet {
            return Some(self.totals.with([settled, running]));
        }
        if let Err(error) = self.empty(other, !settled.is_empty()) {
            warn!(%error, "the kernel's counts of drops can't be emptied");
            return Some(self.totals.with([settled, running]));
        }
        let gone = |key: &DropKey| key.ifindex != 0 && !here.contains(&key.ifindex);
        self.totals.take_in(settled, |key| gone(key) && !running.contains_key(key));
        match self.current.set(0, other, 0) {
            Ok(()) => (self.bank, self.since) = (other, Instant::now()),
            Err(error) => warn!(%error, "drops are counted where they were: the other bank can't be chosen"),
        }
        Some(self.totals.with([running]))
    }

    fn empty(&mut self, bank: u32, used: bool) -> Result<(), MapError> {
        if !used {
            return Ok(());
        }
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| MapError::IoError(error))?;
        let empty = PerCpuValues::try_from(vec![Abi(DropBank::EMPTY); cpus]).map_err(MapError::IoError)?;
        self.banks.set(bank, empty, 0)
    }
}

/// What all CPUs counted in a bank.
type Counted = BTreeMap<DropKey, u64>;

fn counted(cpus: &[Abi<DropBank>]) -> Counted {
    let mut sums = Counted::new();
    // One that is being taken may have its number before its key: the next look finds both.
    let taken = |slot: &&DropSlot| slot.packets != 0 && slot.key.reason != 0;
    for slot in cpus.iter().flat_map(|Abi(bank)| &bank.slots).filter(taken) {
        *sums.entry(slot.key).or_default() += slot.packets;
    }
    sums
}

/// What was counted in banks that are empty again. Pure.
#[derive(Debug, Default)]
struct Totals(Counted);

impl Totals {
    /// Takes in what was in a bank, and forgets those that are gone and did not grow.
    fn take_in(&mut self, bank: Counted, gone: impl Fn(&DropKey) -> bool) {
        self.0.retain(|key, _| bank.contains_key(key) || !gone(key));
        for (key, packets) in bank {
            *self.0.entry(key).or_default() += packets;
        }
    }

    /// All, with what is in banks that were not taken in.
    fn with<const N: usize>(&self, banks: [Counted; N]) -> Vec<(DropKey, u64)> {
        let mut all = self.0.clone();
        for (key, packets) in banks.into_iter().flatten() {
            *all.entry(key).or_default() += packets;
        }
        all.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use netcheck_common::abi::DROP_SLOTS;

    use super::*;

    fn key(ifindex: u32, reason: u32) -> DropKey {
        DropKey { ifindex, reason }
    }

    fn bank(slots: &[(DropKey, u64)]) -> Abi<DropBank> {
        let mut bank = DropBank::EMPTY;
        for (slot, &(key, packets)) in bank.slots.iter_mut().zip(slots) {
            *slot = DropSlot { packets, key };
        }
        Abi(bank)
    }

    #[test]
    fn cpus_are_summed() {
        let cpus = [
            bank(&[(key(2, 5), 3), (key(0, 5), 10), (key(2, 6), 1)]),
            bank(&[(key(0, 5), 100), (key(2, 5), 4), (key(0, 0), 1)]),
        ];
        let expected = [(key(0, 5), 110), (key(2, 5), 7), (key(2, 6), 1)];
        assert_eq!(counted(&cpus).into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn totals_grow_and_what_is_gone_is_forgotten_when_it_grows_no_more() {
        let (one, two) = (key(1, 5), key(2, 5));
        let mut totals = Totals::default();
        totals.take_in(Counted::from([(one, 3), (two, 4)]), |_| false);
        assert_eq!(totals.with([Counted::from([(one, 1)]), Counted::from([(two, 2)])]), [(one, 4), (two, 6)]);
        assert_eq!(totals.with([]), [(one, 3), (two, 4)], "banks that were only read");
        let gone = |key: &DropKey| key.ifindex == 2;
        totals.take_in(Counted::from([(two, 2)]), gone);
        assert_eq!(totals.with([]), [(one, 3), (two, 6)], "its last drops are reported");
        totals.take_in(Counted::new(), gone);
        assert_eq!(totals.with([]), [(one, 3)]);
    }

    /// What a node with as many pods as Kubernetes allows by default drops in a few seconds has room.
    #[test]
    fn kinds_spread_over_the_slots() {
        let kinds = |interfaces: u32, step: u32| {
            (0..interfaces).flat_map(move |at| [2, 3, 5, 76].map(|reason| key(4 + at * step, reason)))
        };
        for step in [1, 2, 3, 7] {
            let mut bank = DropBank::EMPTY;
            let kept = kinds(110, step).filter(|key| bank.count(key) && bank.count(key)).count();
            assert!(kept * 100 >= 440 * 98, "{kept} of 440, every {step}th number");
            assert!(counted(&[Abi(bank)]).values().all(|&packets| packets == 2));
        }
        // Of more kinds than there are slots each is counted, or said not to be.
        let mut bank = DropBank::EMPTY;
        let kept = kinds(500, 1).filter(|key| bank.count(key)).count();
        assert!((DROP_SLOTS / 2..=DROP_SLOTS).contains(&kept), "{kept}");
        assert_eq!(counted(&[Abi(bank)]).values().sum::<u64>(), kept as u64);
    }
}
