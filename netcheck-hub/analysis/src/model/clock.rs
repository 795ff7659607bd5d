//! Wall-clock nanoseconds: the one time axis of the hub. What agents stamp is moved onto it at their session's start.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use netcheck_proto::convert::duration as wire_duration;
use prost_types::Timestamp;

/// Nanoseconds of a second.
pub const SECOND_NS: i64 = 1_000_000_000;

/// The wall clock, nanoseconds since 1970.
#[must_use]
pub fn unix_now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, nanos)
}

/// A duration as nanoseconds, saturating.
#[must_use]
pub fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// Nanoseconds as a duration; negative is zero.
#[must_use]
pub fn duration(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

/// Unix nanoseconds as protobuf has them.
#[must_use]
pub fn timestamp(unix_ns: i64) -> Timestamp {
    Timestamp { seconds: unix_ns.div_euclid(SECOND_NS), nanos: unix_ns.rem_euclid(SECOND_NS) as i32 }
}

/// The time of a day, UTC, as people read it.
#[must_use]
pub fn time_of_day(unix_ns: i64) -> String {
    netcheck_proto::words::time_of_day(&timestamp(unix_ns))
}

/// A protobuf duration as nanoseconds, saturating; negative or absurd ones are 0.
#[must_use]
pub fn duration_ns(wire: &prost_types::Duration) -> i64 {
    positive(Some(wire)).map_or(0, nanos)
}

/// A protobuf duration, if it is positive.
#[must_use]
pub fn positive(wire: Option<&prost_types::Duration>) -> Option<Duration> {
    let wire = wire?;
    let seconds = u64::try_from(wire.seconds).ok()?;
    let nanos = u32::try_from(wire.nanos).ok().filter(|&nanos| nanos < 1_000_000_000)?;
    Some(Duration::new(seconds, nanos)).filter(|duration| !duration.is_zero())
}
