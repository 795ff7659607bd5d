//! What can be said of a path, and how fast what is said grows old. How it is found: `matrix::judging`. Pure.

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
