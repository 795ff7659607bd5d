//! Drops of everybody's packets, as the kernel counts them in banks of slots ([`maps::DROPS`]): one bank is counted in
//! while the other one is read and emptied, so that slots of interfaces that went take nobody's room.
//!
//! In: the banks. Out: totals since the programs were loaded.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use aya::maps::{Array, MapData, MapError, PerCpuArray, PerCpuValues};
use netcheck_common::abi::{DropBank, DropKey, maps};
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
}

impl DropSlots {
    /// The programs count in the first bank.
    pub(crate) fn new(banks: PerCpuArray<MapData, Abi<DropBank>>, current: Array<MapData, u32>) -> Self {
        Self { banks, current, bank: 0, since: Instant::now(), totals: Totals::default() }
    }

    /// All drops so far. Those in namespaces other than `own_netns`, and those without an interface, are one for each
    /// reason, with no interface; those of interfaces that are not `here` any more are told once more if they grew, and
    /// forgotten.
    pub(crate) fn totals(&mut self, own_netns: u32, here: &HashSet<u32>) -> Vec<(DropKey, u64)> {
        let other = (self.bank + 1) % maps::DROPS_ENTRIES;
        let read = |bank| self.banks.get(&bank, 0).map(|cpus| counted(&cpus, own_netns));
        let (settled, running) = match (read(other), read(self.bank)) {
            (Ok(settled), Ok(running)) => (settled, running),
            (Err(error), _) | (_, Err(error)) => {
                warn!(%error, "the kernel's counts of drops can't be read");
                return self.totals.with([]);
            }
        };
        if self.since.elapsed() < QUIET {
            return self.totals.with([settled, running]);
        }
        match self.change_to(other, !settled.is_empty()) {
            Ok(()) => {
                let gone = |key: &DropKey| key.ifindex != 0 && !here.contains(&key.ifindex);
                self.totals.take_in(settled, |key| gone(key) && !running.contains_key(key));
                self.totals.with([running])
            }
            Err(error) => {
                warn!(%error, "the kernel's counts of drops can't be emptied");
                self.totals.with([settled, running])
            }
        }
    }

    /// Has drops counted in this bank, which is emptied before.
    fn change_to(&mut self, bank: u32, used: bool) -> Result<(), MapError> {
        if used {
            let cpus = aya::util::nr_cpus().map_err(|(_, error)| MapError::IoError(error))?;
            let empty =
                PerCpuValues::try_from(vec![Abi(DropBank::EMPTY); cpus]).map_err(MapError::IoError)?;
            self.banks.set(bank, empty, 0)?;
        }
        self.current.set(0, bank, 0)?;
        (self.bank, self.since) = (bank, Instant::now());
        Ok(())
    }
}

/// What all CPUs counted in a bank.
type Counted = BTreeMap<DropKey, u64>;

fn counted(cpus: &[Abi<DropBank>], own_netns: u32) -> Counted {
    let mut sums = Counted::new();
    for slot in cpus.iter().flat_map(|Abi(bank)| &bank.slots).filter(|slot| slot.packets != 0) {
        let own = slot.key.netns == own_netns && slot.key.ifindex != 0;
        let key = if own { slot.key } else { DropKey { netns: 0, ifindex: 0, ..slot.key } };
        *sums.entry(key).or_default() += slot.packets;
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
    use netcheck_common::abi::{DROP_SLOTS, DROP_WAYS, DropSlot};

    use super::*;

    const OWN: u32 = 7;

    fn key(netns: u32, ifindex: u32, reason: u32) -> DropKey {
        DropKey { netns, ifindex, reason }
    }

    fn bank(slots: &[(DropKey, u64)]) -> Abi<DropBank> {
        let mut bank = DropBank::EMPTY;
        for (slot, &(key, packets)) in bank.slots.iter_mut().zip(slots) {
            *slot = DropSlot { packets, key, _pad: 0 };
        }
        Abi(bank)
    }

    #[test]
    fn cpus_are_summed_and_other_namespaces_are_one() {
        let cpus = [
            bank(&[(key(OWN, 2, 5), 3), (key(9, 2, 5), 10), (key(8, 4, 5), 100)]),
            bank(&[(key(OWN, 2, 5), 4), (key(OWN, 0, 5), 1000), (key(9, 2, 6), 1)]),
        ];
        let expected = [(key(0, 0, 5), 1110), (key(0, 0, 6), 1), (key(OWN, 2, 5), 7)];
        assert_eq!(counted(&cpus, OWN).into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn totals_grow_and_what_is_gone_is_forgotten_when_it_grows_no_more() {
        let (one, two) = (key(OWN, 1, 5), key(OWN, 2, 5));
        let mut totals = Totals::default();
        totals.take_in(Counted::from([(one, 3), (two, 4)]), |_| false);
        assert_eq!(totals.with([Counted::from([(one, 1)]), Counted::from([(two, 2)])]), [(one, 4), (two, 6)]);
        assert_eq!(totals.with([]), [(one, 3), (two, 4)], "banks that were only read");
        let gone = |key: &DropKey| key.ifindex == 2;
        totals.take_in(Counted::from([(two, 2)]), gone);
        assert_eq!(totals.with([]), [(one, 3), (two, 6)], "its last drops are told");
        totals.take_in(Counted::new(), gone);
        assert_eq!(totals.with([]), [(one, 3)]);
    }

    /// What a busy node drops in a few seconds has room, whatever the numbers of its namespaces and interfaces.
    #[test]
    fn kinds_spread_over_the_slots() {
        let mut slots = vec![None; DROP_SLOTS];
        let (mut kept, mut all) = (0, 0);
        for pod in 0..60 {
            for (netns, ifindex) in [(4_026_531_840, 4 + pod), (4_026_532_300 + pod * 79, 2)] {
                for reason in [2, 5] {
                    let key = key(netns, ifindex, reason);
                    let ways = (0..DROP_WAYS).map(|way| (key.slot() + way) & (DROP_SLOTS - 1));
                    all += 1;
                    if let Some(free) = ways.into_iter().find(|&slot: &usize| slots[slot].is_none()) {
                        slots[free] = Some(key);
                        kept += 1;
                    }
                }
            }
        }
        assert!(kept * 100 >= all * 97, "{kept} of {all}");
    }
}
