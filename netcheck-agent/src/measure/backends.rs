//! Who answers behind addresses that are translated on their way: per path, how many probes each backend answered and how
//! many that left for it were not. Pure.
//!
//! The backend is the destination of the probe's packets as they left the node. Bounded in backends per path; reported every
//! few seconds, for this is no evidence that anybody waits for.

use std::collections::HashMap;
use std::net::SocketAddr;

use netcheck_common::domain::PathId;

use crate::model::report::BackendSeen;

/// Backends that are reported of one path at a time; probes to more of them are counted as details that were dropped.
const PER_PATH: usize = 64;
/// How often they are reported.
const EVERY_NS: u64 = 5_000_000_000;

/// All paths.
#[derive(Debug, Default)]
pub(crate) struct Backends {
    seen: HashMap<PathId, Vec<BackendSeen>>,
    reported_ns: u64,
}

impl Backends {
    /// A probe ended. False where there is no room for its backend.
    pub(crate) fn ended(&mut self, path: PathId, backend: SocketAddr, answered: bool, t0_ns: u64) -> bool {
        let known = self.seen.entry(path).or_default();
        let at = match known.iter().position(|seen| seen.backend == backend) {
            Some(at) => at,
            None if known.len() == PER_PATH => return false,
            None => {
                known.push(BackendSeen { path, backend, answered: 0, lost: 0, answered_ns: 0, lost_ns: 0 });
                known.len() - 1
            }
        };
        let Some(seen) = known.get_mut(at) else { return false };
        let (count, newest_ns) = match answered {
            true => (&mut seen.answered, &mut seen.answered_ns),
            false => (&mut seen.lost, &mut seen.lost_ns),
        };
        *count = count.saturating_add(1);
        *newest_ns = t0_ns.max(*newest_ns);
        true
    }

    /// Forgets paths.
    pub(crate) fn forget(&mut self, gone: &[PathId]) {
        for path in gone {
            self.seen.remove(path);
        }
    }

    /// What is to be reported, by path and backend. `all`: though it is not time yet.
    pub(crate) fn take(&mut self, now_ns: u64, all: bool) -> Vec<BackendSeen> {
        if !all && now_ns.saturating_sub(self.reported_ns) < EVERY_NS {
            return Vec::new();
        }
        self.reported_ns = now_ns;
        let mut seen: Vec<BackendSeen> = self.seen.drain().flat_map(|(_, seen)| seen).collect();
        seen.sort_unstable_by_key(|seen| (seen.path, seen.backend));
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(number: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, number], 8080))
    }

    #[test]
    fn counts_by_backend_are_reported_once_and_not_too_often() {
        let mut backends = Backends::default();
        let path = PathId(7);
        for (number, answered, at_ns) in [(2, true, 5), (1, true, 6), (2, false, 9), (2, true, 8)] {
            assert!(backends.ended(path, backend(number), answered, at_ns));
        }
        assert_eq!(backends.take(EVERY_NS - 1, false), []);
        let reported = backends.take(EVERY_NS, false);
        assert_eq!(reported.len(), 2);
        assert_eq!(
            (reported[0].backend, reported[0].answered, reported[0].lost, reported[0].lost_ns),
            (backend(1), 1, 0, 0)
        );
        assert_eq!(
            (reported[1].answered, reported[1].lost, reported[1].answered_ns, reported[1].lost_ns),
            (2, 1, 8, 9)
        );
        assert!(backends.ended(path, backend(1), true, 10));
        assert_eq!(backends.take(EVERY_NS + 1, false), []);
        assert_eq!(backends.take(EVERY_NS + 1, true).len(), 1);
        assert!(backends.ended(path, backend(1), true, 10));
        backends.forget(&[path]);
        assert_eq!(backends.take(3 * EVERY_NS, true), []);
    }

    #[test]
    fn there_is_room_for_so_many_and_no_more() {
        let mut backends = Backends::default();
        for number in 0..PER_PATH as u8 {
            assert!(backends.ended(PathId(1), backend(number), true, 1));
        }
        assert!(!backends.ended(PathId(1), backend(200), true, 1));
        assert!(
            backends.ended(PathId(1), backend(0), false, 1)
                && backends.ended(PathId(2), backend(200), true, 1)
        );
    }
}
