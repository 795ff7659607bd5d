//! The steps of time in which windows are kept, and for how long.

/// Seconds.
pub(crate) const MINUTE: u32 = 60;
/// Seconds.
pub(crate) const HOUR: u32 = 3600;
/// Seconds.
pub(crate) const DAY: u32 = 86_400;
/// What is rolled up at once, seconds.
pub(crate) const BUCKET: u32 = 10 * MINUTE;
/// How long after its end windows of a bucket are taken, seconds. The hub itself forgets after two minutes.
pub(crate) const GRACE: u32 = 2 * MINUTE;
/// Paths of one block.
pub(crate) const GROUP: u32 = 256;

/// How finely windows are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Ten seconds, all delays: what is not rolled up yet.
    Raw,
    /// Ten seconds.
    Fine,
    /// A minute.
    Minute,
    /// Ten minutes.
    Coarse,
}

impl Tier {
    /// Those that windows are rolled up into, the finest first.
    pub const ROLLED: [Self; 3] = [Self::Fine, Self::Minute, Self::Coarse];

    /// Length of a window, seconds.
    #[must_use]
    pub const fn step_s(self) -> u32 {
        match self {
            Self::Raw | Self::Fine => 10,
            Self::Minute => MINUTE,
            Self::Coarse => BUCKET,
        }
    }

    /// What a block spans that is not written anew any more, seconds.
    pub(crate) const fn span_s(self) -> u32 {
        match self {
            Self::Raw => 10,
            Self::Fine => BUCKET,
            Self::Minute => HOUR,
            Self::Coarse => 3 * HOUR,
        }
    }

    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::Fine => 1,
            Self::Minute => 2,
            Self::Coarse => 3,
        }
    }
}

/// The begin of the span of `length_s` seconds that holds `at_s`.
pub(crate) const fn floor(at_s: u32, length_s: u32) -> u32 {
    at_s - at_s % length_s
}

/// Unix nanoseconds as seconds; what is before 1970 or after 2106 is the nearest that is not.
pub(crate) fn seconds(at_ns: i64) -> u32 {
    let at_s = at_ns.div_euclid(1_000_000_000);
    u32::try_from(at_s.max(0)).unwrap_or(u32::MAX)
}

/// Seconds as unix nanoseconds.
pub(crate) const fn nanos(at_s: u32) -> i64 {
    at_s as i64 * 1_000_000_000
}
