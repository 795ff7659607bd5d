//! How many probes of one source are echoed: in a table of fixed size, so that no flood costs memory. Pure.
//!
//! Each source has a bucket of credit that fills with time. The table has slots in sets of [`WAYS`]; which set is a
//! source's nobody outside can know, and where a set is full the source that was silent for longest is forgotten, which
//! then begins anew with full credit. So a flood of invented sources gets more through than one source would, and never
//! takes credit from a source that is limited by nobody.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;

use crate::host::clock::SECOND_NS;

/// Probes of one source in a second: what an agent may send in all is less, unless it is configured otherwise.
pub(crate) const RATE: u64 = 5_000;
/// So many at once beyond that: of a second.
const BURST: u64 = RATE;
/// Slots that a source can have.
const WAYS: usize = 4;
/// 16,384 sources in about 900 KiB.
const SETS: usize = 4096;

/// One source's credit.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    source: IpAddr,
    /// Nanoseconds of credit: one probe costs what it takes to earn it.
    credit_ns: u64,
    /// Monotonic; when it last sent.
    seen_ns: u64,
}

const COST_NS: u64 = SECOND_NS / RATE;
const FULL_NS: u64 = BURST * COST_NS;

/// The table.
#[derive(Debug)]
pub(crate) struct Limiter {
    hash: RandomState,
    slots: Box<[Option<Bucket>]>,
}

impl Limiter {
    /// Nobody has sent anything.
    pub(crate) fn new() -> Self {
        Self { hash: RandomState::new(), slots: vec![None; SETS * WAYS].into_boxed_slice() }
    }

    /// Whether a probe of this source is to be echoed now (monotonic nanoseconds).
    pub(crate) fn admit(&mut self, source: IpAddr, now_ns: u64) -> bool {
        let source = source.to_canonical();
        let set = self.hash.hash_one(source) as usize % SETS * WAYS;
        let slots = &mut self.slots[set..set + WAYS];
        let known = slots.iter().position(|slot| slot.is_some_and(|bucket| bucket.source == source));
        let at = known.unwrap_or_else(|| {
            let silent = (0..WAYS).min_by_key(|&at| slots[at].map_or(0, |bucket| bucket.seen_ns));
            let at = silent.unwrap_or_default();
            slots[at] = Some(Bucket { source, credit_ns: FULL_NS, seen_ns: now_ns });
            at
        });
        let Some(bucket) = &mut slots[at] else { return false };
        let earned_ns = now_ns.saturating_sub(bucket.seen_ns);
        bucket.credit_ns = bucket.credit_ns.saturating_add(earned_ns).min(FULL_NS);
        bucket.seen_ns = now_ns;
        let left = bucket.credit_ns.checked_sub(COST_NS);
        bucket.credit_ns = left.unwrap_or(bucket.credit_ns);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn source(number: u32) -> IpAddr {
        Ipv4Addr::from(number).into()
    }

    #[test]
    fn a_source_has_its_rate_and_costs_no_other_his() {
        let mut limiter = Limiter::new();
        // Ten seconds of 40,000 a second, and of an honest agent's twenty.
        let (mut flood, mut honest) = (0, 0);
        for at in 0..400_000_u64 {
            let now_ns = at * SECOND_NS / 40_000;
            flood += u64::from(limiter.admit(source(1), now_ns));
            if at % 2_000 == 0 {
                assert!(limiter.admit(source(2), now_ns));
                honest += 1;
            }
        }
        assert_eq!(honest, 200);
        assert!((RATE * 10..=RATE * 10 + BURST).contains(&flood), "{flood}");
    }

    #[test]
    fn invented_sources_take_no_credit_and_no_memory() {
        let mut limiter = Limiter::new();
        for number in 0..500_000 {
            assert!(limiter.admit(source(number), u64::from(number)));
        }
        assert_eq!(limiter.slots.len(), SETS * WAYS);
        assert!(limiter.slots.iter().flatten().count() <= SETS * WAYS);
    }

    proptest! {
        #[test]
        fn no_source_gets_more_than_its_rate(gaps in prop::collection::vec(0..2 * COST_NS, 1..20_000)) {
            let mut limiter = Limiter::new();
            let (mut now_ns, mut echoed) = (7, 0);
            for gap in gaps {
                now_ns += gap;
                echoed += u64::from(limiter.admit(source(9), now_ns));
            }
            prop_assert!(echoed <= BURST + (now_ns - 7) / COST_NS + 1);
        }
    }
}
