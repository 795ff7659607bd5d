//! Which of several hubs begins rounds: the one that holds a Lease (coordination.k8s.io/v1).
//!
//! ```text
//!           free, or not renewed for its length          renewed
//!   Follow ─────────────────────────────────────► Lead ─────────┐
//!     ▲                                            │ ▲           │
//!     │ another one holds it                       │ └───────────┘
//!     └────────────────────────────────────────────┘
//! ```
//!
//! No clocks are compared: a Lease counts as renewed when it changes, by the clock of whoever looks. Who leads stops beginning
//! rounds some time before anybody else may, whether the API answers or not.
//!
//! In: the API. Out: a [`Role`]. [`LeaderTask`] is one task; cancelling it gives the Lease back.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::inventory::kubernetes::innermost;

/// One question to the API.
const ANSWER: Duration = Duration::from_secs(3);

/// The Lease, and how it is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseSettings {
    /// Where it is.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who this hub is: no two are the same.
    pub identity: String,
    /// Without a change for so long it is free. Whole seconds.
    pub length: Duration,
    /// Who could not renew it for so long begins no round.
    pub deadline: Duration,
    /// How often it is looked at and renewed.
    pub every: Duration,
}

impl LeaseSettings {
    /// Held for 15 s, renewed every 4 s.
    #[must_use]
    pub fn new(namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity: identity.to_owned(),
            length: Duration::from_secs(15),
            deadline: Duration::from_secs(10),
            every: Duration::from_secs(4),
        }
    }
}

/// Why a question about the Lease has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LeaseError {
    /// The API is silent.
    #[error("no answer")]
    Unanswered,
    /// It answers with an error.
    #[error("{why}")]
    Refused {
        /// The innermost one: the rest says which request it was.
        why: String,
    },
}

/// What this hub is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Nothing is known yet, and why.
    Unknown(Option<LeaseError>),
    /// Another one leads: who.
    Follow(String),
    /// It leads.
    Lead {
        /// How often the Lease had changed hands when it took it: another one may have led before it led again.
        term: i32,
        /// Until then, unless it renews the Lease before; afterwards nobody may, until another one holds it.
        until: Instant,
    },
}

impl Role {
    /// Whether it may begin a round now.
    pub(super) fn leads(&self, now: Instant) -> bool {
        matches!(self, Self::Lead { until, .. } if now < *until)
    }

    /// Its term, where it leads.
    pub(super) const fn term(&self) -> Option<i32> {
        match self {
            Self::Lead { term, .. } => Some(*term),
            Self::Unknown(_) | Self::Follow(_) => None,
        }
    }

    /// What readers see of a hub that does not lead.
    pub(super) fn trouble(&self) -> Option<String> {
        match self {
            Self::Unknown(why) => why.as_ref().map(|why| {
                format!(
                    "who begins scheduled checks is not known: {why}; the chart gives the hub the right to a Lease \
                     (hub.scheduledChecks)"
                )
            }),
            Self::Follow(holder) => {
                Some(format!("another hub, {holder}, begins scheduled checks: ask that one for their rounds"))
            }
            Self::Lead { .. } => None,
        }
    }
}

/// What is to be done about a Lease that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Move {
    /// Another one holds it.
    Wait(String),
    /// It is free, or this hub's.
    Take,
}

/// What of the Lease was seen, and when. Pure.
#[derive(Debug, Default)]
struct Seen {
    version: String,
    at: Option<Instant>,
}

impl Seen {
    fn look(&mut self, lease: &Lease, identity: &str, now: Instant) -> Move {
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        if self.at.is_none() || self.version != version {
            (self.version, self.at) = (version, Some(now));
        }
        let spec = lease.spec.as_ref();
        let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        if holder.is_empty() || holder == identity {
            return Move::Take;
        }
        let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or(0);
        let length = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let free = self.at.is_some_and(|at| now.duration_since(at) >= length);
        if free { Move::Take } else { Move::Wait(holder.to_owned()) }
    }
}

/// The Lease with this holder: nobody where it is given back.
fn held(settings: &LeaseSettings, lease: Option<Lease>, holder: &str, now: Timestamp) -> Lease {
    let lease = lease.unwrap_or_else(|| Lease {
        metadata: ObjectMeta {
            name: Some(settings.name.clone()),
            namespace: Some(settings.namespace.clone()),
            ..ObjectMeta::default()
        },
        ..Lease::default()
    });
    let spec = lease.spec.unwrap_or_default();
    let same = spec.holder_identity.as_deref() == Some(holder);
    let transitions = spec.lease_transitions.unwrap_or(0);
    Lease {
        metadata: lease.metadata,
        spec: Some(LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(i32::try_from(settings.length.as_secs()).unwrap_or(i32::MAX)),
            acquire_time: if same { spec.acquire_time } else { Some(MicroTime(now)) },
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(if same { transitions } else { transitions.saturating_add(1) }),
            ..spec
        }),
    }
}

/// See the module.
pub(super) struct LeaderTask {
    pub(super) api: Api<Lease>,
    pub(super) settings: LeaseSettings,
    pub(super) role: watch::Sender<Role>,
}

impl LeaderTask {
    /// Looks and renews until cancelled; then gives the Lease back if it has it.
    pub(super) async fn run(self, shutdown: CancellationToken) {
        let (mut seen, mut trouble) = (Seen::default(), None);
        loop {
            let turn = async {
                match self.turn(&mut seen).await {
                    Ok(()) => trouble = None,
                    Err(why) => {
                        if trouble.as_ref() != Some(&why) {
                            tracing::warn!("who begins scheduled checks is not known: {why}");
                        }
                        self.role.send_if_modified(|role| {
                            // Who leads, or follows, is known until something else is.
                            let unknown = Role::Unknown(Some(why.clone()));
                            let changed = matches!(role, Role::Unknown(_)) && *role != unknown;
                            if changed {
                                *role = unknown;
                            }
                            changed
                        });
                        trouble = Some(why);
                    }
                }
                tokio::time::sleep(self.settings.every).await;
            };
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = turn => {}
            }
        }
        self.give_back().await;
    }

    /// Looks at the Lease, and takes it where it is free. What stands in its way.
    async fn turn(&self, seen: &mut Seen) -> Result<(), LeaseError> {
        // The answer may be late; what it says was so no later than now.
        let began = Instant::now();
        let LeaseSettings { name, identity, .. } = &self.settings;
        let lease = answered(self.api.get_opt(name)).await?;
        if let Some(lease) = &lease
            && let Move::Wait(holder) = seen.look(lease, identity, Instant::now())
        {
            self.follow(holder);
            return Ok(());
        }
        let taken = held(&self.settings, lease.clone(), identity, Timestamp::now());
        let params = PostParams::default();
        let done = match lease {
            // With the version that was looked at: who was faster has changed it.
            Some(_) => answered(self.api.replace(name, &params, &taken)).await,
            None => answered(self.api.create(&params, &taken)).await,
        };
        done?;
        let until = began + self.settings.deadline;
        let term = taken.spec.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        self.role.send_if_modified(|role| {
            let new = role.term() != Some(term);
            if new {
                tracing::info!("this hub begins scheduled checks: it holds Lease {name} as {identity}");
            }
            *role = Role::Lead { term, until };
            // Who waits for a change waits for another role.
            new
        });
        Ok(())
    }

    fn follow(&self, holder: String) {
        self.role.send_if_modified(|role| {
            let now = Role::Follow(holder);
            let changed = *role != now;
            if changed && role.term().is_some() {
                tracing::warn!("another hub begins scheduled checks now");
            }
            *role = now;
            changed
        });
    }

    /// So that the next one need not wait.
    async fn give_back(&self) {
        let name = &self.settings.name;
        let Ok(Some(lease)) = answered(self.api.get_opt(name)).await else { return };
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
        if holder == Some(self.settings.identity.as_str()) {
            let free = held(&self.settings, Some(lease), "", Timestamp::now());
            if let Err(why) = answered(self.api.replace(name, &PostParams::default(), &free)).await {
                tracing::debug!("Lease {name} is not given back: {why}");
            }
        }
    }
}

async fn answered<T>(asked: impl Future<Output = kube::Result<T>>) -> Result<T, LeaseError> {
    match tokio::time::timeout(ANSWER, asked).await {
        Ok(answer) => answer.map_err(|error| LeaseError::Refused { why: innermost(&error) }),
        Err(_late) => Err(LeaseError::Unanswered),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(version: &str, holder: &str, renewed: &str) -> Lease {
        Lease {
            metadata: ObjectMeta { resource_version: Some(version.to_owned()), ..ObjectMeta::default() },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: Some(15),
                renew_time: Some(MicroTime(renewed.parse().unwrap())),
                lease_transitions: Some(3),
                ..LeaseSpec::default()
            }),
        }
    }

    #[test]
    fn a_lease_of_another_is_free_when_it_did_not_change_for_its_length_whatever_clocks_say() {
        let begin = Instant::now();
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        let wait = Move::Wait("other".to_owned());
        // Its holder's clock is decades behind, then decades ahead.
        for renewed in ["2001-01-01T00:00:00Z", "2091-01-01T00:00:00Z"] {
            let mut seen = Seen::default();
            assert_eq!(seen.look(&lease("1", "other", renewed), "me", at(0)), wait, "{renewed}");
            assert_eq!(seen.look(&lease("1", "other", renewed), "me", at(14)), wait);
            assert_eq!(seen.look(&lease("2", "other", renewed), "me", at(14)), wait, "renewed");
            assert_eq!(seen.look(&lease("2", "other", renewed), "me", at(28)), wait);
            assert_eq!(seen.look(&lease("2", "other", renewed), "me", at(29)), Move::Take);
        }
        let mut seen = Seen::default();
        assert_eq!(seen.look(&lease("1", "me", "2026-01-01T00:00:00Z"), "me", at(0)), Move::Take);
        assert_eq!(seen.look(&lease("1", "", "2026-01-01T00:00:00Z"), "me", at(0)), Move::Take, "given back");
        assert_eq!(seen.look(&Lease::default(), "me", at(0)), Move::Take, "made by hand");
    }

    #[test]
    fn who_leads_stops_before_another_one_may() {
        let settings = LeaseSettings::new("netcheck", "checks", "me");
        assert!(settings.every + ANSWER * 2 <= settings.deadline, "one look may fail");
        assert!(settings.deadline + ANSWER < settings.length);
        let now = Instant::now();
        let role = Role::Lead { term: 1, until: now + settings.deadline };
        assert!(role.leads(now) && !role.leads(now + settings.deadline));
        assert!(!Role::Unknown(None).leads(now));
    }

    #[test]
    fn what_is_written_counts_who_held_it() {
        let settings = LeaseSettings::new("netcheck", "checks", "me");
        let now: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
        let spec = |lease: Lease| lease.spec.unwrap();
        let made = spec(held(&settings, None, "me", now));
        assert_eq!((made.holder_identity.as_deref(), made.lease_transitions), (Some("me"), Some(1)));
        assert_eq!((made.lease_duration_seconds, made.acquire_time), (Some(15), Some(MicroTime(now))));
        let taken = held(&settings, Some(lease("7", "other", "2026-01-01T00:00:00Z")), "me", now);
        assert_eq!(taken.metadata.resource_version.as_deref(), Some("7"), "nobody was faster");
        let later: Timestamp = "2026-03-01T00:00:04Z".parse().unwrap();
        let renewed = spec(held(&settings, Some(taken), "me", later));
        assert_eq!((renewed.lease_transitions, renewed.acquire_time), (Some(4), Some(MicroTime(now))));
        assert_eq!(renewed.renew_time, Some(MicroTime(later)));
    }
}
