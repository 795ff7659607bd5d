//! Random numbers that are the same on every machine: splitmix64.

use netcheck_common::hash::splitmix64_finish;

/// The golden ratio's share of 2⁶⁴, by which splitmix64 steps.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A generator of random numbers.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// One that yields the same for the same seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(splitmix64_finish(seed ^ STEP))
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        splitmix64_finish(self.0)
    }

    /// A number below `bound`; zero where there is none.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { usize::try_from(self.next() % bound as u64).unwrap_or(0) }
    }

    /// A number below `bound`, as an index of the topology.
    pub fn index(&mut self, bound: usize) -> u32 {
        u32::try_from(self.below(bound)).unwrap_or(0)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u32, high: u32) -> u32 {
        low + self.index((high - low + 1) as usize)
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, of_hundred: u32) -> bool {
        self.below(100) < of_hundred as usize
    }

    /// A number from zero to one, one excluded.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what a double holds")]
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// One of these; none of none.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len()))
    }

    /// In a random order.
    pub fn shuffle<T>(&mut self, all: &mut [T]) {
        for end in (1..all.len()).rev() {
            all.swap(end, self.below(end + 1));
        }
    }

    /// How many of so many happen, each by this chance.
    pub fn binomial(&mut self, of: u32, chance: f64) -> u32 {
        let mut happened = 0;
        for _ in 0..of {
            happened += u32::from(self.unit() < chance);
        }
        happened
    }
}
