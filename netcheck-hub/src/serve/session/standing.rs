//! By what right a session is there, asked again while it lasts.
//!
//! Every [`RECHECK`] it is held against the roster: the pod that its token is bound to must still be there. And the
//! Kubernetes API reviews the token once more, as [`Terms`] say. An API that does not answer ends no session for long: the
//! hub is for the time in which much does not work.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, pending};
use tokio::time::{Instant, Interval, MissedTickBehavior, sleep_until};
use tonic::{Code, Status};

#[cfg(doc)]
use crate::serve::identity::Terms;
use crate::serve::identity::{Claims, Identity, Refusal};
use crate::state::Hub;

/// How often a session is held against the roster again.
const RECHECK: Duration = Duration::from_secs(15);
/// So often in a row it must not fit any more: a roster may be late, or read by halves.
const MISSES: u32 = 2;
/// Longest token (bytes): what a request's headers may have.
const TOKEN_MAX: usize = 32 << 10;
type Reviewed = Result<Option<Claims>, Refusal>;

/// By what right a session is there.
pub(super) struct Standing {
    identity: Arc<Identity>,
    bearer: Option<String>,
    claims: Option<Claims>,
    recheck: Interval,
    /// How often in a row it did not fit the roster.
    misses: u32,
    /// When the token is reviewed next.
    review: Instant,
    /// A review that goes on.
    reviewing: Option<BoxFuture<'static, Reviewed>>,
    /// Another token came while that one is reviewed.
    renewed: bool,
    /// The review that goes on is the second in a row: the token before was bad, and replaced meanwhile.
    second: bool,
    /// When the API last said that the token is good.
    good: Instant,
}

/// What there is to be looked at.
enum Due {
    Roster,
    Review,
    Reviewed(Reviewed),
}

/// `whole`, a fifth more or less: sessions that began together shall not ask together.
fn about(whole: Duration) -> Duration {
    whole.mul_f64(rand::random_range(0.8..1.2))
}

impl Standing {
    /// That of a session which begins, and which was just found to be good.
    pub(super) fn new(identity: Arc<Identity>, bearer: Option<String>, claims: Option<Claims>) -> Self {
        let now = Instant::now();
        let mut recheck = tokio::time::interval_at(now + RECHECK, RECHECK);
        recheck.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let terms = identity.terms();
        let review = now + about(terms.review);
        Self {
            identity,
            bearer,
            claims,
            recheck,
            misses: 0,
            review,
            reviewing: None,
            renewed: false,
            second: false,
            good: now,
        }
    }

    /// The agent has another token now.
    pub(super) fn renew(&mut self, token: String) {
        if self.claims.is_none() || token.len() > TOKEN_MAX {
            return;
        }
        self.bearer = Some(token);
        // A review that goes on is of the old one, and is not given up: else who renews again and again is never reviewed.
        self.renewed = self.reviewing.is_some();
        self.review = self.review.min(Instant::now() + about(self.identity.terms().again));
    }

    /// Waits until there is something to be looked at, and looks. Safe to cancel.
    ///
    /// # Errors
    /// The session has no right to go on.
    pub(super) async fn check_when_due(&mut self, node: &str, hub: &Hub) -> Result<(), Status> {
        let proves = self.claims.is_some();
        let due = tokio::select! {
            _ = self.recheck.tick() => Due::Roster,
            () = sleep_until(self.review), if proves && self.reviewing.is_none() => Due::Review,
            reviewed = going_on(&mut self.reviewing) => Due::Reviewed(reviewed),
        };
        match due {
            Due::Roster => self.check(node, hub),
            Due::Review => {
                self.renewed = false;
                let (identity, bearer) = (Arc::clone(&self.identity), self.bearer.clone());
                self.reviewing = Some(async move { identity.review(bearer.as_deref()).await }.boxed());
                Ok(())
            }
            Due::Reviewed(reviewed) => {
                self.reviewing = None;
                self.reviewed(reviewed, node, hub)
            }
        }
    }

    fn reviewed(&mut self, reviewed: Reviewed, node: &str, hub: &Hub) -> Result<(), Status> {
        let (now, terms) = (Instant::now(), self.identity.terms());
        let refusal = match reviewed {
            Ok(claims) => match self.identity.admit(claims.as_ref(), node, hub) {
                Err(foreign @ Refusal::Foreign { .. }) => foreign,
                _ => {
                    self.claims = claims;
                    self.second = false;
                    (self.good, self.review) = (now, now + about(terms.review));
                    return self.check(node, hub);
                }
            },
            Err(Refusal::NoAnswer { why }) if now.duration_since(self.good) < terms.borne => {
                tracing::debug!(node, "the token could not be reviewed again: {why}");
                self.review = now + about(terms.again);
                return Ok(());
            }
            // The old one expired while it was reviewed: the new one is asked for at once, and no third.
            Err(Refusal::BadToken { .. }) if std::mem::take(&mut self.renewed) && !self.second => {
                (self.second, self.review) = (true, now);
                return Ok(());
            }
            Err(refusal) => refusal,
        };
        tracing::warn!(node, "the session ends: {refusal}");
        let status = Status::from(refusal);
        let mut state = hub.lock();
        match status.code() {
            Code::Unauthenticated => state.counters.sessions_unproven += 1,
            Code::PermissionDenied => state.counters.sessions_foreign += 1,
            _ => state.counters.sessions_unreviewed += 1,
        }
        Err(status)
    }

    /// Fails once the pod that the session's token is bound to is gone, or is on another node.
    fn check(&mut self, node: &str, hub: &Hub) -> Result<(), Status> {
        match self.identity.admit(self.claims.as_ref(), node, hub) {
            Ok(()) => self.misses = 0,
            Err(refusal) => {
                self.misses += 1;
                if self.misses >= MISSES {
                    tracing::warn!(node, "the session ends: {refusal}");
                    return Err(refusal.into());
                }
            }
        }
        Ok(())
    }
}

async fn going_on(reviewing: &mut Option<BoxFuture<'static, Reviewed>>) -> Reviewed {
    match reviewing {
        Some(review) => review.await,
        None => pending().await,
    }
}
