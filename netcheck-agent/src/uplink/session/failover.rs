//! When the session goes through another agent, and when it comes back. Pure; takes `now`.
//!
//! ```text
//!            the hub is not heard for PATIENCE              a direct connection works
//!   direct ────────────────────────────────────► relayed ──────────────────────────► direct
//!     │                                             ▲ │
//!     └─ it broke in silence before it was steady ──┘ └─ the relay is gone: another one, at once
//! ```
//!
//! Direct connections always have a head start, but where they were made and came to nothing: what lets a handshake pass
//! may still lose all large packets.

use std::time::Duration;

use tokio::time::Instant;

/// How long nothing is heard of the hub until others are asked to pass the session on.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// How long direct attempts are alone, once others are asked.
pub(crate) const HEAD_START: Duration = Duration::from_millis(300);
/// The same for relays, where direct connections come to nothing.
const RELAYS_HEAD_START: Duration = Duration::from_secs(2);
/// A direct session that lived for so long works.
const STEADY: Duration = Duration::from_secs(30);
/// A session that lived for so long is taken up again at once when it broke in silence.
const LIVED: Duration = Duration::from_secs(5);
/// Between two attempts to come back.
const RETURN: Duration = Duration::from_secs(5);
/// The same, where coming back failed again and again.
const RETURN_MAX: Duration = Duration::from_secs(300);

/// How long each kind of attempt waits, from the begin of an attempt to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Race {
    /// Direct connections.
    pub(crate) direct_after: Duration,
    /// Connections to relays; none: no relay is asked.
    pub(crate) relays_after: Option<Duration>,
}

impl Race {
    /// No relay is asked.
    pub(crate) const DIRECT: Self = Self { direct_after: Duration::ZERO, relays_after: None };
}

/// A session that ended, or did not begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Past {
    /// What had connected: none where nothing had.
    pub(crate) relayed: Option<bool>,
    /// From the welcome on; none where there was none.
    pub(crate) lived: Option<Duration>,
    /// When the hub was heard last in it; none where it was not.
    pub(crate) heard: Option<Instant>,
}

/// What is known of the ways to the hub.
#[derive(Debug)]
pub(crate) struct Failover {
    unheard_since: Instant,
    /// The last session was relayed.
    was_relayed: bool,
    /// Direct connections are made and come to nothing.
    direct_doubted: bool,
    return_every: Duration,
}

impl Failover {
    /// Nothing was tried yet.
    pub(crate) fn new(now: Instant) -> Self {
        Self { unheard_since: now, was_relayed: false, direct_doubted: false, return_every: RETURN }
    }

    /// How the next attempt goes about.
    pub(crate) fn race(&self, now: Instant) -> Race {
        if self.direct_doubted {
            return Race { direct_after: RELAYS_HEAD_START, relays_after: Some(Duration::ZERO) };
        }
        let unheard = now.saturating_duration_since(self.unheard_since);
        let patience = if self.was_relayed { Duration::ZERO } else { PATIENCE.saturating_sub(unheard) };
        Race { direct_after: Duration::ZERO, relays_after: Some(patience.max(HEAD_START)) }
    }

    /// A session ended, or did not begin. Whether the next attempt is to be made at once.
    pub(crate) fn ended(&mut self, past: Past, now: Instant) -> bool {
        if let Some(heard) = past.heard {
            self.unheard_since = self.unheard_since.max(heard);
        }
        let lived = past.lived.unwrap_or_default();
        let silent = now.saturating_duration_since(self.unheard_since) >= PATIENCE;
        match past.relayed {
            Some(false) if lived >= STEADY => {
                self.direct_doubted = false;
                self.return_every = RETURN;
            }
            Some(false) if past.lived.is_none() || silent => {
                self.direct_doubted = true;
                self.return_every = (self.return_every * 2).min(RETURN_MAX);
            }
            // The hub ended it, or went away.
            Some(false) => self.direct_doubted = false,
            Some(true) | None => {}
        }
        if past.lived.is_some() {
            self.was_relayed = past.relayed == Some(true);
        }
        lived >= LIVED && (silent || self.was_relayed)
    }

    /// The session is relayed, and a direct connection was made.
    pub(crate) fn returns(&mut self, now: Instant) {
        self.unheard_since = now;
        self.was_relayed = false;
        self.direct_doubted = false;
    }

    /// Between two attempts to come back.
    pub(crate) fn return_every(&self) -> Duration {
        self.return_every
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn nothing() -> Past {
        Past { relayed: None, lived: None, heard: None }
    }

    #[test]
    fn direct_attempts_are_alone_until_patience_ends() {
        let start = Instant::now();
        let mut failover = Failover::new(start);
        assert_eq!(failover.race(start).relays_after, Some(PATIENCE));
        assert!(!failover.ended(nothing(), start + seconds(1)));
        assert_eq!(failover.race(start + seconds(1)).relays_after, Some(PATIENCE - seconds(1)));
        assert_eq!(failover.race(start + seconds(9)).relays_after, Some(HEAD_START));
        assert_eq!(failover.race(start + seconds(9)).direct_after, Duration::ZERO);
    }

    #[test]
    fn a_session_that_breaks_in_silence_is_taken_up_through_others_at_once() {
        let start = Instant::now();
        let mut failover = Failover::new(start);
        let heard = start + seconds(60);
        let past = Past { relayed: Some(false), lived: Some(seconds(64)), heard: Some(heard) };
        let now = heard + seconds(4);
        assert!(failover.ended(past, now));
        assert_eq!(failover.race(now).relays_after, Some(HEAD_START));
        // A hub that restarts was heard just now: nobody is asked, and nobody is in a hurry.
        let now = now + seconds(60);
        let past = Past { relayed: Some(false), lived: Some(seconds(60)), heard: Some(now) };
        assert!(!failover.ended(past, now));
        assert_eq!(failover.race(now).relays_after, Some(PATIENCE));
    }

    #[test]
    fn a_relay_that_is_gone_is_replaced_at_once() {
        let start = Instant::now();
        let mut failover = Failover::new(start);
        let past = Past { relayed: Some(true), lived: Some(seconds(8)), heard: Some(start + seconds(8)) };
        assert!(failover.ended(past, start + seconds(8)));
        assert_eq!(failover.race(start + seconds(8)).relays_after, Some(HEAD_START));
        // One that hangs up at once is no reason to be in a hurry.
        let past = Past { relayed: Some(true), lived: Some(seconds(1)), heard: Some(start + seconds(9)) };
        assert!(!failover.ended(past, start + seconds(9)));
    }

    #[test]
    fn direct_connections_that_come_to_nothing_lose_their_head_start_until_one_works() {
        let start = Instant::now();
        let mut failover = Failover::new(start);
        failover.ended(Past { relayed: Some(false), ..nothing() }, start);
        let race = failover.race(start);
        assert!(race.relays_after < Some(race.direct_after), "{race:?}");
        assert_eq!(failover.return_every(), RETURN * 2);
        // Back on a direct connection which breaks in silence again and again: it is tried ever more rarely.
        let mut now = start;
        for _ in 0..10 {
            failover.returns(now);
            assert_eq!(failover.race(now).direct_after, Duration::ZERO);
            let past = Past { relayed: Some(false), lived: Some(seconds(4)), heard: Some(now) };
            now += seconds(4);
            failover.ended(past, now);
        }
        assert_eq!(failover.return_every(), RETURN_MAX);
        let past = Past { relayed: Some(false), lived: Some(STEADY), heard: Some(now) };
        failover.ended(past, now);
        assert_eq!((failover.return_every(), failover.race(now).direct_after), (RETURN, Duration::ZERO));
    }

    proptest! {
        #[test]
        fn relays_are_asked_only_when_the_hub_is_unheard_or_direct_ways_fail(
            pasts in prop::collection::vec(
                (0u64..100_000, prop::option::of(any::<bool>()), prop::option::of(0u64..60_000), 0u64..9_000),
                0..60,
            ),
        ) {
            let mut now = Instant::now();
            let mut failover = Failover::new(now);
            for (pause, relayed, lived, unheard) in pasts {
                now += Duration::from_millis(pause);
                // A session that lived has something that carried it.
                let lived = relayed.and(lived).map(Duration::from_millis);
                let heard = lived.map(|lived| now - lived.min(Duration::from_millis(unheard)));
                let at_once = failover.ended(Past { relayed, lived, heard }, now);
                prop_assert!(!at_once || lived.is_some_and(|lived| lived >= LIVED), "never in a tight loop");
                let race = failover.race(now);
                let after = race.relays_after.unwrap();
                prop_assert!(after.is_zero() == failover.direct_doubted);
                prop_assert!(after.is_zero() || after >= HEAD_START);
                let fresh = now.duration_since(failover.unheard_since) < PATIENCE;
                if fresh && !failover.was_relayed && !failover.direct_doubted {
                    prop_assert!(after + now.duration_since(failover.unheard_since) >= PATIENCE);
                }
                // Both ways are tried well within one attempt to connect.
                prop_assert!(after <= PATIENCE && race.direct_after <= PATIENCE);
                prop_assert!((RETURN..=RETURN_MAX).contains(&failover.return_every()));
            }
        }
    }
}
