//! Instants as people say them: `-2h`, `2h`, `03:05`, `2026-11-29T03:05:00Z`, `now`. Times without a day or a zone are UTC,
//! as all that netcheck prints is.

use std::str::FromStr as _;
use std::time::Duration;

use prost_types::Timestamp;
use thiserror::Error;

const DAY_S: i64 = 86_400;

/// What can't be taken for an instant.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "not an instant: say how long ago (2h or -2h), a time of day in UTC (03:05), or 2026-11-29T03:05:00Z"
)]
pub struct NoInstant;

/// Reads one. A time of day is the last one that is not after `now`; a length is that long before `now`.
///
/// # Errors
/// If it is none of these.
pub fn parse(text: &str, now: Timestamp) -> Result<Timestamp, NoInstant> {
    let text = text.trim();
    if text == "now" {
        return Ok(now);
    }
    if let Some(second) = time_of_day(text) {
        let midnight = now.seconds - now.seconds.rem_euclid(DAY_S);
        let today = midnight + second;
        let seconds = if today > now.seconds { today - DAY_S } else { today };
        return Ok(Timestamp { seconds, nanos: 0 });
    }
    if let Ok(ago) = humantime::parse_duration(text.strip_prefix('-').unwrap_or(text)) {
        return before(now, ago).ok_or(NoInstant);
    }
    // Only with a day: the parser of timestamps takes less than that.
    let dated = text.len() >= 10 && text.as_bytes()[4] == b'-';
    let text = if text.len() > 10 { text.to_owned() } else { format!("{text}T00:00:00Z") };
    Timestamp::from_str(&text).ok().filter(|_| dated).ok_or(NoInstant)
}

fn before(now: Timestamp, ago: Duration) -> Option<Timestamp> {
    let seconds = now.seconds.checked_sub(i64::try_from(ago.as_secs()).ok()?)?;
    let mut then = Timestamp { seconds, nanos: now.nanos - i32::try_from(ago.subsec_nanos()).ok()? };
    then.normalize();
    (then.seconds >= 0).then_some(then)
}

/// Seconds since midnight of `HH:MM` or `HH:MM:SS`.
fn time_of_day(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let mut part = |below: i64| {
        let text =
            parts.next().filter(|text| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit()))?;
        text.parse::<i64>().ok().filter(|number| *number < below)
    };
    let (hour, minute) = (part(24)?, part(60)?);
    let second = if text.len() > 5 { part(60)? } else { 0 };
    parts.next().is_none().then_some(hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-29T10:00:00Z.
    const NOW: Timestamp = Timestamp { seconds: 1_795_946_400, nanos: 0 };

    #[test]
    fn what_people_say() {
        let rows = [
            ("now", 0),
            ("-2h", -7200),
            ("90m", -5400),
            ("03:05", -(6 * 3600 + 55 * 60)),
            ("10:00", 0),
            ("10:00:01", 1 - DAY_S),
            ("23:59", -(10 * 3600 + 60)),
            ("2026-11-29T09:00:00Z", -3600),
            ("2026-11-29T09:00:00+02:00", -3 * 3600),
            ("2026-11-28", -34 * 3600),
        ];
        for (text, seconds) in rows {
            let expected = Timestamp { seconds: NOW.seconds + seconds, nanos: 0 };
            assert_eq!(parse(text, NOW), Ok(expected), "{text}");
        }
        assert_eq!(parse("500ms", NOW).unwrap().nanos, 500_000_000);
        for text in ["", "soon", "25:00", "3:05", "03:05:99", "-", "2026", "99999999999y", "2026-13-01"] {
            assert_eq!(parse(text, NOW), Err(NoInstant), "{text}");
        }
    }
}
