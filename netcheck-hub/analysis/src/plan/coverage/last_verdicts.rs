//! The verdicts of one node's paths that are not in turn: four bytes each, and how many there are of each verdict and
//! time. Pure.
//!
//! Pages, for a node may have few of many places. Times are whole seconds since the hub's start.

use std::collections::BTreeMap;

use netcheck_common::domain::Vantage;

use super::LastVerdict;
use crate::model::clock::SECOND_NS;
use crate::model::verdict::Verdict;

const VERDICT_BITS: u32 = 3;
const PAGE: usize = 128;

/// Seconds and verdict; 0: never.
type Entry = u32;

/// How many entries have each verdict.
pub(super) type Counts = [u32; Verdict::ALL.len()];

/// The paths of one node that are not in turn.
#[derive(Debug, Default)]
pub struct LastVerdictCache {
    /// By vantage, then by place in the catalog.
    seen: [Vec<Option<Box<[Entry; PAGE]>>>; 2],
    /// By second.
    counts: BTreeMap<u32, Counts>,
}

const fn plane(vantage: Vantage) -> usize {
    match vantage {
        Vantage::Host => 0,
        Vantage::Pod => 1,
    }
}

fn seconds(at_ns: i64, started_ns: i64) -> u32 {
    (at_ns.saturating_sub(started_ns) / SECOND_NS).clamp(0, (1 << 29) - 2) as u32 + 1
}

fn read(entry: Entry, started_ns: i64) -> Option<LastVerdict> {
    let verdict = *Verdict::ALL.get((entry & ((1 << VERDICT_BITS) - 1)) as usize)?;
    let seconds = i64::from((entry >> VERDICT_BITS).checked_sub(1)?);
    Some(LastVerdict { verdict, measured_ns: started_ns + seconds * SECOND_NS })
}

impl LastVerdictCache {
    fn entry(&self, plane: usize, at: u32) -> Entry {
        let page = self.seen[plane].get(at as usize / PAGE).and_then(Option::as_ref);
        page.map_or(0, |page| page[at as usize % PAGE])
    }

    fn entry_mut(&mut self, plane: usize, at: u32) -> &mut Entry {
        let pages = &mut self.seen[plane];
        let number = at as usize / PAGE;
        if pages.len() <= number {
            pages.resize_with(number + 1, || None);
        }
        &mut pages[number].get_or_insert_with(|| Box::new([0; PAGE]))[at as usize % PAGE]
    }

    fn uncount(&mut self, entry: Entry) {
        let second = entry >> VERDICT_BITS;
        if let Some(counts) = self.counts.get_mut(&second) {
            let count = &mut counts[(entry & ((1 << VERDICT_BITS) - 1)) as usize];
            *count = count.saturating_sub(1);
            if counts.iter().all(|&count| count == 0) {
                self.counts.remove(&second);
            }
        }
    }

    /// Notes what a path was when it left the plan.
    pub fn note(&mut self, vantage: Vantage, at: u32, last_verdict: LastVerdict, started_ns: i64) {
        let second = seconds(last_verdict.measured_ns, started_ns);
        let new = second << VERDICT_BITS | last_verdict.verdict as u32;
        let old = std::mem::replace(self.entry_mut(plane(vantage), at), new);
        if old != 0 {
            self.uncount(old);
        }
        self.counts.entry(second).or_default()[last_verdict.verdict as usize] += 1;
    }

    /// What it was.
    #[must_use]
    pub fn get(&self, vantage: Vantage, at: u32, started_ns: i64) -> Option<LastVerdict> {
        read(self.entry(plane(vantage), at), started_ns)
    }

    /// Takes it out: the path is in turn again.
    pub fn take(&mut self, vantage: Vantage, at: u32, started_ns: i64) -> Option<LastVerdict> {
        let last_verdict = self.get(vantage, at, started_ns)?;
        let entry = std::mem::take(self.entry_mut(plane(vantage), at));
        self.uncount(entry);
        Some(last_verdict)
    }

    /// Follows a new catalog: `was[at]` is where the path at `at` was before; what is not to be kept, or is in it no more,
    /// is forgotten.
    pub fn follow(&mut self, was: &[Option<u32>], keep: impl Fn(Vantage, u32) -> bool) {
        if self.is_empty() {
            return;
        }
        let mut moved = Self::default();
        for vantage in [Vantage::Host, Vantage::Pod] {
            let plane = plane(vantage);
            if self.seen[plane].is_empty() {
                continue;
            }
            for (at, &was) in (0u32..).zip(was) {
                let Some(was) = was else { continue };
                if self.entry(plane, was) != 0 && keep(vantage, at) {
                    let entry = std::mem::take(self.entry_mut(plane, was));
                    *moved.entry_mut(plane, at) = entry;
                }
            }
        }
        // What is left did not move.
        let gone = self.seen.iter().flatten().flatten().flat_map(|page| page.iter().copied());
        let gone: Vec<Entry> = gone.filter(|&entry| entry != 0).collect();
        for entry in gone {
            self.uncount(entry);
        }
        self.seen = moved.seen;
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// How many are of each verdict, of those measured at `oldest_ns` or later; and when the oldest of them was.
    pub(super) fn count(&self, oldest_ns: i64, started_ns: i64) -> (Counts, Option<i64>) {
        let measured_ns = |second: u32| started_ns + i64::from(second - 1) * SECOND_NS;
        let mut sum = Counts::default();
        let mut oldest = None;
        for (&second, counts) in self.counts.iter().filter(|(second, _)| measured_ns(**second) >= oldest_ns) {
            oldest.get_or_insert(measured_ns(second));
            for (sum, count) in sum.iter_mut().zip(counts) {
                *sum += count;
            }
        }
        (sum, oldest)
    }
}
