//! Windows of one path → its verdict. Pure arithmetic that takes `now`.
//!
//! | verdict | when |
//! |---|---|
//! | `no_data` | no judged sample in the range, or none for longer than [`Rules::stale_ns`] |
//! | `unreachable` | none of the newest samples was answered: [`RUN`] of them where one host answers, [`RUN_BALANCED`] where a service spreads them over several; or none in the whole range |
//! | `degraded` | any loss in the range |
//! | `reachable` | every judged sample in the range was answered |
//! | `expected_absent` | instead of the first three, where Kubernetes says that source or target are meant to be away |
//!
//! A path comes back in two steps, which is all the hysteresis there is: one answered window ends `unreachable`, and
//! it stays `degraded` until its losses have left the range.

use netcheck_proto::v1;

use crate::matrix::Slot;

#[cfg(test)]
mod tests;

/// Consecutive lost samples that make a path unreachable. One loss is noise; with a timeout of at most half the
/// interval the second is known within three intervals of the fault.
pub const RUN: u64 = 2;
/// The same for a service with several backends: one that refuses must not make the service look down now and then.
/// One bad backend of three gives such a run once in 6,561 samples.
pub const RUN_BALANCED: u64 = 8;
/// Windows without any word of a path after which its last verdict is worth nothing.
pub const STALE_WINDOWS: i64 = 3;

/// What can be said of a path over a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Every probe is answered.
    Reachable,
    /// Some are not.
    Degraded,
    /// None is.
    Unreachable,
    /// Not answered, and meant not to be.
    ExpectedAbsent,
    /// Nobody measured.
    NoData,
}

impl Verdict {
    /// In the order in which they are counted.
    pub const ALL: [Self; 5] =
        [Self::Reachable, Self::Degraded, Self::Unreachable, Self::ExpectedAbsent, Self::NoData];

    /// The wire form.
    #[must_use]
    pub const fn to_wire(self) -> v1::Verdict {
        match self {
            Self::Reachable => v1::Verdict::Reachable,
            Self::Degraded => v1::Verdict::Degraded,
            Self::Unreachable => v1::Verdict::Unreachable,
            Self::ExpectedAbsent => v1::Verdict::ExpectedAbsent,
            Self::NoData => v1::Verdict::NoData,
        }
    }

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reachable => "reachable",
            Self::Degraded => "degraded",
            Self::Unreachable => "unreachable",
            Self::ExpectedAbsent => "expected_absent",
            Self::NoData => "no_data",
        }
    }
}

/// How fast samples come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What the agent really does, which may be slower than wanted.
    pub interval_ns: i64,
    /// How long it waits for a reply.
    pub timeout_ns: i64,
    /// Length of its windows.
    pub window_ns: i64,
    /// Interval and timeout of exchanges over TCP.
    pub exchange_ns: (i64, i64),
}

impl Rules {
    /// Those of exchanges over TCP.
    #[must_use]
    pub fn of_exchanges(&self) -> Self {
        let (interval_ns, timeout_ns) = self.exchange_ns;
        Self { interval_ns: self.interval_ns.max(interval_ns), timeout_ns, ..*self }
    }

    /// Silence that makes the last verdict worthless: a window is reported when its last probe has timed out.
    #[must_use]
    pub fn stale_ns(&self) -> i64 {
        STALE_WINDOWS * self.window_ns.max(self.interval_ns) + self.timeout_ns
    }
}

/// A path as far as its verdict goes.
#[derive(Clone, Debug)]
pub struct View<I> {
    /// Its windows in the range, oldest first.
    pub slots: I,
    /// Losses that are newer than any window, in the order of their numbers: how many of the newest are consecutive.
    pub fresh_lost: u64,
    /// When the newest of them was sent.
    pub fresh_lost_ns: Option<i64>,
    /// Hosts that answer in the target's stead.
    pub backends: usize,
    /// Source or target are meant to be away.
    pub absent: bool,
}

/// Judges.
pub fn judge<'a, I>(view: View<I>, rules: &Rules, now_ns: i64) -> Verdict
where
    I: DoubleEndedIterator<Item = &'a Slot>,
{
    let (mut replies, mut lost) = (0u64, view.fresh_lost);
    let mut run = view.fresh_lost;
    let mut running = true;
    let mut heard_ns = view.fresh_lost_ns;
    for slot in view.slots.rev() {
        let (slot_lost, slot_replies) = (slot.lost(), u64::from(slot.reply));
        if slot_lost + slot_replies == 0 {
            // Only suspect samples: says nothing, and interrupts nothing.
            continue;
        }
        running &= slot_replies == 0;
        if running {
            run += slot_lost;
        }
        lost += slot_lost;
        replies += slot_replies;
        heard_ns = heard_ns.max(Some(slot.end_ns()));
    }
    let stale = heard_ns.is_none_or(|heard_ns| now_ns.saturating_sub(heard_ns) > rules.stale_ns());
    let needed = if view.backends > 1 { RUN_BALANCED } else { RUN };
    let verdict = if stale {
        Verdict::NoData
    } else if lost > 0 && (replies == 0 || run >= needed) {
        Verdict::Unreachable
    } else if lost > 0 {
        Verdict::Degraded
    } else {
        Verdict::Reachable
    };
    if view.absent && verdict != Verdict::Reachable { Verdict::ExpectedAbsent } else { verdict }
}
