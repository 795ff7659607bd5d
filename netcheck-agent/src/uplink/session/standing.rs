//! How things stand with the hub: what status and metrics show of the session, and what the log says of its end. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::net::backoff;
use crate::uplink::session::end::SessionEnd;

/// A useful session that lived for so long was no accident: what follows is not the same trouble.
const STEADY: Duration = Duration::from_secs(30);
/// The same where another agent took this node's place: longer than either keeps away before it tries again.
const UNCONTESTED: Duration = Duration::from_secs(2 * backoff::LONGEST.as_secs());

/// Whether a session ended that had proved itself.
pub(crate) fn was_steady(end: &SessionEnd, lived: Duration, useful: bool) -> bool {
    useful && lived >= if end.is_superseded() { UNCONTESTED } else { STEADY }
}

/// How things stand with the hub.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HubState {
    /// When the session in progress got its welcome.
    connected_since: Option<Instant>,
    /// Sessions that got a welcome.
    pub(crate) sessions: u64,
    /// Sessions and attempts that ended, by [`SessionEnd::reason`].
    pub(crate) ended: BTreeMap<&'static str, u64>,
    /// Why the last one ended or did not begin.
    last_end: String,
    /// It ended because another agent took this node's place.
    contested: bool,
}

impl HubState {
    /// The hub said welcome.
    pub(crate) fn welcomed(&mut self, now: Instant) {
        self.connected_since = Some(now);
        self.sessions += 1;
    }

    /// A session ended, or did not begin.
    pub(crate) fn ended(&mut self, end: &SessionEnd) {
        self.connected_since = None;
        *self.ended.entry(end.reason()).or_default() += 1;
        self.last_end = end.to_string();
        self.contested = end.is_superseded();
    }

    pub(crate) const fn connected(&self) -> bool {
        self.connected_since.is_some()
    }

    /// Why there is no session, or why the one in progress may not last; empty where neither is so.
    pub(crate) fn trouble(&self, now: Instant) -> &str {
        match self.connected_since {
            None => &self.last_end,
            Some(since) if self.contested && now.duration_since(since) < UNCONTESTED => &self.last_end,
            Some(_) => "",
        }
    }

    /// The same, as a line of what is degraded.
    pub(crate) fn degraded(&self, now: Instant) -> Option<String> {
        match (self.trouble(now), self.connected()) {
            ("", _) => None,
            (trouble, true) => Some(format!("the session with the hub is contested: {trouble}")),
            (trouble, false) => Some(format!("no session with the hub: {trouble}")),
        }
    }
}

/// What was logged of ended sessions: the same again goes to debug.
#[derive(Debug, Default)]
pub(crate) struct Told {
    last: Option<String>,
    /// The last session was welcomed and ended at once.
    brief: bool,
}

impl Told {
    /// A session was welcomed.
    pub(crate) fn begun(&self, hub: &str) {
        if self.brief {
            tracing::debug!(hub, "session with the hub");
        } else {
            tracing::info!(hub, "session with the hub");
        }
    }

    /// A session ended, after `lived` where it was welcomed; the next attempt is in `delay`.
    pub(crate) fn ended(&mut self, end: &SessionEnd, welcomed: bool, steady: bool, delay: Duration) {
        self.brief = welcomed && !steady;
        if steady {
            self.last = None;
        }
        let (text, retry_in_ms) = (end.to_string(), delay.as_millis() as u64);
        if self.last.as_ref() == Some(&text) {
            tracing::debug!(retry_in_ms, "{text}");
        } else {
            tracing::warn!(retry_in_ms, "{text}");
            self.last = Some(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn superseded() -> SessionEnd {
        tonic::Status::aborted("superseded by a newer session of this node").into()
    }

    #[test]
    fn only_a_useful_session_that_lived_is_steady() {
        let seconds = Duration::from_secs;
        for (end, lived, useful, expected) in [
            (SessionEnd::Closed, 29, true, false),
            (SessionEnd::Closed, 30, true, true),
            (SessionEnd::Closed, 3000, false, false),
            (superseded(), 30, true, false),
            (superseded(), 144, true, false),
            (superseded(), 240, true, true),
        ] {
            assert_eq!(was_steady(&end, seconds(lived), useful), expected, "{end} {lived} {useful}");
        }
    }

    #[test]
    fn trouble_outlives_the_welcome_where_the_place_is_contested() {
        let now = Instant::now();
        let mut hub = HubState::default();
        assert_eq!(hub.degraded(now), None, "not tried yet");
        hub.ended(&SessionEnd::Closed);
        assert_eq!(hub.degraded(now).unwrap(), "no session with the hub: the hub closed the session");
        hub.welcomed(now);
        assert_eq!(hub.degraded(now), None);
        hub.ended(&superseded());
        hub.welcomed(now);
        let line = hub.degraded(now).unwrap();
        assert!(
            line.contains("contested") && line.contains("superseded") && line.contains("--node"),
            "{line}"
        );
        assert_eq!(hub.degraded(now + UNCONTESTED), None);
        let refused = SessionEnd::from(tonic::Status::resource_exhausted("too many agents"));
        hub.ended(&refused);
        assert!(hub.degraded(now).unwrap().contains("too many agents"));
        assert_eq!(hub.ended, [("closed", 1), ("refused", 1), ("superseded", 1)].into());
    }
}
