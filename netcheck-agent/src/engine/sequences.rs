//! The numbers of each path's probes: one after the other, from where nobody can guess.
//!
//! What a probe header says of itself anybody can write who knows it. A pod that gets probes knows its source's session and
//! can guess at other paths; at their numbers it cannot.

use std::collections::HashMap;

use netcheck_common::domain::{PathId, Sequence};

/// Paths whose numbers are kept, those that left the plan among them: one that comes back goes on where it was, or what its
/// targets' kernels remember would not fit it.
const KEPT: usize = 1 << 18;

/// The last number of each path.
#[derive(Debug, Default)]
pub(super) struct Sequences(HashMap<PathId, Sequence>);

impl Sequences {
    /// The number of the path's next probe. Never 0.
    pub(super) fn next(&mut self, path: PathId) -> Sequence {
        let newest = self.0.entry(path).or_insert_with(|| Sequence(rand::random()));
        Sequence(newest.0.wrapping_add(1).max(1))
    }

    /// That one was used.
    pub(super) fn used(&mut self, path: PathId, sequence: Sequence) {
        self.0.insert(path, sequence);
    }

    /// Forgets paths that left, where there are too many of them.
    pub(super) fn prune(&mut self, stays: impl Fn(&PathId) -> bool) {
        if self.0.len() > KEPT {
            self.0.retain(|path, _| stays(path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_each_other_and_begin_anywhere() {
        let mut sequences = Sequences::default();
        let first = sequences.next(PathId(1));
        assert_eq!(sequences.next(PathId(1)), first, "not used yet");
        sequences.used(PathId(1), first);
        sequences.prune(|_| false);
        let second = sequences.next(PathId(1)).0;
        assert!(second == first.0.wrapping_add(1) || second == 1, "it goes on, also when it was away");
        let begins = (2..200).map(|path| sequences.next(PathId(path)).0);
        let begins: std::collections::BTreeSet<u32> = begins.collect();
        assert!(begins.len() > 190 && begins.iter().any(|&begin| begin > 1 << 24), "{begins:?}");
        sequences.used(PathId(3), Sequence(u32::MAX));
        assert_eq!(sequences.next(PathId(3)), Sequence(1), "0 is none");
        (0..=KEPT as u32).for_each(|path| sequences.used(PathId(path), Sequence(7)));
        sequences.prune(|path| path.0 < 10);
        assert_eq!(sequences.0.len(), 10);
    }
}
