//! For how long, and how much.

use std::time::Duration;

use crate::store::{Kind, Space};
use crate::tier::{DAY, HOUR};

/// What is kept. What is older goes; what is too much goes oldest and finest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Windows of ten seconds.
    pub fine: Duration,
    /// Windows of a minute.
    pub minute: Duration,
    /// Windows of ten minutes, and everything that is not a window.
    pub all: Duration,
    /// Of keys and values. The store takes up to 128 MiB more for its journal, and what it has not cleared away yet.
    pub bytes: u64,
}

impl Default for Retention {
    fn default() -> Self {
        let days = |days: u64| Duration::from_secs(days * u64::from(DAY));
        Self { fine: days(1), minute: days(7), all: days(30), bytes: 10 << 30 }
    }
}

/// What a process that can't use its disk keeps in memory.
pub(crate) const MEMORY_BYTES: u64 = 64 << 20;

impl Retention {
    /// A month, or what is asked for: the finer tiers are never kept longer than everything is.
    #[must_use]
    pub fn of(all: Duration, bytes: u64) -> Self {
        let Self { fine, minute, .. } = Self::default();
        Self { fine: fine.min(all), minute: minute.min(all), all, bytes }
    }

    /// For how long a kind of space is kept, seconds; none where it goes by other rules.
    pub(crate) fn age_s(&self, kind: Kind) -> Option<u32> {
        let age = match kind {
            Kind::State | Kind::Raw | Kind::Young => return None,
            Kind::Fine => self.fine,
            Kind::Minute => self.minute,
            Kind::Coarse | Kind::Log => self.all,
        };
        Some(u32::try_from(age.as_secs()).unwrap_or(u32::MAX))
    }

    /// Spaces that ended too long ago.
    pub(crate) fn too_old(&self, spaces: &[Space], now_s: u32) -> Vec<Space> {
        let old = |space: &&Space| {
            self.age_s(space.kind).is_some_and(|age_s| space.end_s() <= now_s.saturating_sub(age_s))
        };
        spaces.iter().filter(old).copied().collect()
    }
}

/// What a tier keeps of its newest while a coarser one still has something older to give, seconds.
const RESERVED: [(Kind, u32); 4] =
    [(Kind::Fine, 2 * HOUR), (Kind::Minute, DAY), (Kind::Coarse, DAY), (Kind::Log, DAY)];

/// The space to forget next where there is too much: the oldest of the finest tier that has more than its reserve; none
/// where only reserves are left.
pub(crate) fn next_to_go(spaces: &[Space], now_s: u32) -> Option<Space> {
    RESERVED.into_iter().find_map(|(kind, reserve_s)| {
        let oldest = spaces.iter().filter(|space| space.kind == kind).min()?;
        (oldest.end_s() <= now_s.saturating_sub(reserve_s)).then_some(*oldest)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tier::floor;

    const NOW_S: u32 = 1_700_000_000;

    proptest! {
        #[test]
        fn age_takes_what_it_must_and_nothing_else(ages in prop::collection::vec((0_usize..7, 0_u32..60 * DAY), 1..40)) {
            let spaces: Vec<Space> =
                ages.into_iter().map(|(kind, age_s)| Space::at(Kind::ALL[kind], NOW_S - age_s)).collect();
            let gone = Retention::default().too_old(&spaces, NOW_S);
            for space in spaces {
                let kept_s = match space.kind {
                    Kind::Fine => DAY,
                    Kind::Minute => 7 * DAY,
                    Kind::Coarse | Kind::Log => 30 * DAY,
                    Kind::State | Kind::Raw | Kind::Young => u32::MAX,
                };
                prop_assert_eq!(gone.contains(&space), NOW_S - space.end_s().min(NOW_S) >= kept_s);
            }
        }
    }

    #[test]
    fn the_oldest_and_finest_goes_first() {
        let mut spaces: Vec<Space> =
            [Kind::Fine, Kind::Minute, Kind::Coarse, Kind::Log, Kind::Raw, Kind::State]
                .into_iter()
                .flat_map(|kind| {
                    let period_s = kind.period_s();
                    let begin = if kind == Kind::State { 0 } else { floor(NOW_S, period_s) };
                    (0..3).map(move |back| Space {
                        kind,
                        start_s: begin.saturating_sub(back * period_s.min(DAY)),
                    })
                })
                .collect();
        let mut order = Vec::new();
        while let Some(space) = next_to_go(&spaces, NOW_S) {
            spaces.retain(|other| *other != space);
            order.push((space.kind, (NOW_S - space.start_s) / DAY));
        }
        assert_eq!(
            order,
            [(Kind::Fine, 0), (Kind::Fine, 0), (Kind::Minute, 2), (Kind::Coarse, 2), (Kind::Log, 2)],
            "six-hour spaces of the fine tier, daily ones of the others, their reserves excepted",
        );
        assert!(spaces.iter().any(|space| space.kind == Kind::State));
    }
}
