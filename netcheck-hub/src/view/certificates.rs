//! Servers' certificates: when they expire, told before it is too late. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use crate::model::clock::{SECOND_NS, nanos};
use crate::plan::Target;
use crate::state::State;
use crate::words::names::target_name;

const DAY_S: i64 = 86_400;

impl State {
    /// By target, when the first of its certificates expires (unix seconds).
    #[must_use]
    pub fn certificates(&self) -> BTreeMap<Arc<str>, (i64, Arc<Target>)> {
        let mut first: BTreeMap<Arc<str>, (i64, Arc<Target>)> = BTreeMap::new();
        for (_, agent) in self.each() {
            for row in agent.rows.shown().filter(|row| row.retired_ns.is_none()) {
                let Some(not_after) = row.certificate() else { continue };
                let target = &row.path.probe.target;
                let known = first.entry(Arc::clone(&target.id));
                let known = known.or_insert_with(|| (not_after, Arc::clone(target)));
                known.0 = known.0.min(not_after);
            }
        }
        first
    }

    /// One line for each target whose certificate expires within `warning`, or has.
    #[must_use]
    pub fn certificates_expiring(&self, warning: Duration, now_ns: i64) -> Vec<String> {
        let until_ns = now_ns.saturating_add(nanos(warning));
        let soon = self.certificates().into_values();
        let soon = soon.filter(|(not_after, _)| not_after.saturating_mul(SECOND_NS) < until_ns);
        soon.map(|(not_after, target)| {
            format!("{}: its certificate {}", target_name(&target.to_wire()), expiry(not_after, now_ns))
        })
        .collect()
    }
}

/// `expires in 3 days (2026-11-24)`.
#[must_use]
pub fn expiry(not_after_s: i64, now_ns: i64) -> String {
    let left_s = not_after_s.saturating_sub(now_ns / SECOND_NS);
    let (count, unit) = match left_s.unsigned_abs() as i64 {
        left if left >= DAY_S => (left / DAY_S, "day"),
        left if left >= 3600 => (left / 3600, "hour"),
        left => (left / 60, "minute"),
    };
    let span = format!("{count} {unit}{}", if count == 1 { "" } else { "s" });
    let at = u64::try_from(not_after_s).ok().and_then(|at| UNIX_EPOCH.checked_add(Duration::from_secs(at)));
    // Years of five digits are not told.
    let at = at.filter(|_| not_after_s < 253_402_300_800);
    let date = at.map(|at| humantime::format_rfc3339_seconds(at).to_string());
    let date =
        date.and_then(|text| text.split('T').next().map(|day| format!(" ({day})"))).unwrap_or_default();
    if left_s > 0 { format!("expires in {span}{date}") } else { format!("expired {span} ago{date}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_it_expires() {
        let now_s = 1_795_000_000;
        for (left_s, expected) in [
            (3 * DAY_S + 5, "expires in 3 days (2026-11-21)"),
            (DAY_S, "expires in 1 day (2026-11-19)"),
            (7200, "expires in 2 hours (2026-11-18)"),
            (90, "expires in 1 minute (2026-11-18)"),
            (-90, "expired 1 minute ago (2026-11-18)"),
            (-10 * DAY_S, "expired 10 days ago (2026-11-08)"),
        ] {
            assert_eq!(expiry(now_s + left_s, now_s * SECOND_NS), expected);
        }
        assert!(expiry(i64::MAX, 0).ends_with("days"), "{}", expiry(i64::MAX, 0));
        assert!(expiry(i64::MIN, 0).ends_with("ago"));
    }
}
