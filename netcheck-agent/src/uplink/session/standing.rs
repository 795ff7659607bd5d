//! How things stand with the hub: what status and metrics show of the session, and what the log says of its end. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::status::{HubState, Way};
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

/// Notes in `hub` that a session ended, or did not begin.
pub(crate) fn note_end(hub: &mut HubState, end: &SessionEnd) {
    let contested_for = if end.is_superseded() { UNCONTESTED } else { Duration::ZERO };
    hub.ended(end.reason(), end.to_string(), contested_for);
}

/// The same reason is logged as a warning again when the last time was so long ago. With the longest wait for the next
/// attempt and the attempt itself, that is once a minute.
const SAY_AGAIN: Duration = Duration::from_secs(40);

/// How a session ended, besides why.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    /// There was a welcome.
    pub(crate) welcomed: bool,
    /// It had proved itself.
    pub(crate) steady: bool,
    /// Until the next attempt.
    pub(crate) delay: Duration,
}

/// What was logged of ended sessions: the same again goes to debug, but for once a minute.
#[derive(Debug, Default)]
pub(crate) struct EndLog {
    last: Option<(String, Instant)>,
    /// The last session was welcomed and ended at once.
    brief: bool,
}

impl EndLog {
    /// A session was welcomed.
    pub(crate) fn begun(&self, hub: &str, way: &Way) {
        let through = way.relay().map(AsRef::as_ref);
        if self.brief {
            tracing::debug!(hub, through, "session with the hub");
        } else {
            tracing::info!(hub, through, "session with the hub");
        }
    }

    /// A session ended, or did not begin.
    pub(crate) fn ended(&mut self, end: &SessionEnd, Ended { welcomed, steady, delay }: Ended) {
        self.brief = welcomed && !steady;
        if steady {
            self.last = None;
        }
        let (text, retry_in_ms) = (end.to_string(), delay.as_millis() as u64);
        let recent = |(last, said): &(String, Instant)| *last == text && said.elapsed() < SAY_AGAIN;
        if self.last.as_ref().is_some_and(recent) {
            tracing::debug!(retry_in_ms, "{text}");
        } else {
            tracing::warn!(retry_in_ms, "{text}");
            self.last = Some((text, Instant::now()));
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
        note_end(&mut hub, &SessionEnd::Closed);
        assert_eq!(hub.degraded(now).unwrap(), "no session with the hub: the hub closed the session");
        hub.welcomed(now, Way::Direct(None));
        assert_eq!(hub.degraded(now), None);
        note_end(&mut hub, &superseded());
        hub.welcomed(now, Way::Direct(None));
        let line = hub.degraded(now).unwrap();
        assert!(
            line.contains("contested") && line.contains("superseded") && line.contains("--node"),
            "{line}"
        );
        assert_eq!(hub.degraded(now + UNCONTESTED), None);
        let refused = SessionEnd::from(tonic::Status::resource_exhausted("too many agents"));
        note_end(&mut hub, &refused);
        assert!(hub.degraded(now).unwrap().contains("too many agents"));
        assert_eq!(hub.ended, [("closed", 1), ("refused", 1), ("superseded", 1)].into());
    }
}
