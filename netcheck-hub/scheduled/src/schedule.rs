//! When rounds are due. Pure: the time is given.

use std::fmt;

use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

use crate::spec::{ReachabilityCheckSpec, Schedule};

/// Rounds begin no more often than this: probing itself takes some seconds.
const SHORTEST: SignedDuration = SignedDuration::from_secs(10);
/// A round that is due is begun this much too late at the most; else it is left out. So a hub that was away for a day
/// does not make up for it.
const LATEST: SignedDuration = SignedDuration::from_secs(300);
/// Rounds that are counted as left out after a long absence. There may be more.
const SKIPPED_MAX: u64 = 1000;

/// What is wrong with a schedule.
#[derive(Debug, Error)]
pub enum ScheduleError {
    /// Not exactly one of them.
    #[error("spec.schedule: exactly one of cron, every and at")]
    NotOne,
    /// Not as in crontab(5).
    #[error("spec.schedule.cron: {cron:?}: {source}")]
    Cron {
        /// As it was written.
        cron: String,
        /// What is wrong.
        source: CronError,
    },
    /// Nobody knows it.
    #[error("spec.schedule.timeZone: {name:?} is not in the IANA database: as in Europe/Vienna")]
    TimeZone {
        /// As it was written.
        name: String,
    },
    /// It is not read as an instant.
    #[error("spec.schedule.at: {text:?} is no instant: as in 2027-01-31T03:00:00Z")]
    At {
        /// As it was written.
        text: String,
    },
    /// Too often.
    #[error("spec.schedule.every: {every} is less than {SHORTEST}")]
    Every {
        /// As it was written.
        every: crate::spec::Span,
    },
    /// More rounds than there are times for.
    #[error("spec.rounds: more than one round needs schedule.cron or schedule.every")]
    Rounds,
}

/// When rounds begin.
#[derive(Debug)]
pub struct Rounds {
    when: When,
    /// Rounds in all; None: without end.
    wanted: Option<i64>,
}

#[derive(Debug)]
enum When {
    /// At once, once.
    Now,
    /// Once.
    At(Timestamp),
    Every {
        every: SignedDuration,
        after: SignedDuration,
    },
    Cron {
        cron: Box<Cron>,
        zone: TimeZone,
        text: String,
    },
}

/// What is to be done about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Begin the round that was due then; so many before it were missed.
    Begin {
        /// When it was due.
        at: Timestamp,
        /// Rounds that nobody began in time.
        missed: u64,
    },
    /// Look again then.
    Wait {
        /// When the next round is due.
        until: Timestamp,
        /// Rounds that nobody began in time.
        missed: u64,
    },
    /// All rounds are done.
    Never,
}

impl Rounds {
    /// Reads what an object says.
    ///
    /// # Errors
    /// See [`ScheduleError`].
    pub fn read(spec: &ReachabilityCheckSpec) -> Result<Self, ScheduleError> {
        let when = spec.schedule.as_ref().map_or(Ok(When::Now), When::read)?;
        let repeats = matches!(when, When::Every { .. } | When::Cron { .. });
        let wanted = match spec.rounds {
            None if repeats => None,
            None => Some(1),
            Some(rounds) if !repeats && rounds != 1 => return Err(ScheduleError::Rounds),
            Some(rounds) => (rounds >= 0).then_some(rounds),
        };
        Ok(Self { when, wanted })
    }

    /// Rounds in all; -1: without end.
    #[must_use]
    pub fn wanted(&self) -> i64 {
        self.wanted.unwrap_or(-1)
    }

    /// What is to be done now, after so many rounds, of which the newest began (or was left out) at `last`.
    #[must_use]
    pub fn due(&self, created: Timestamp, (begun, last): (i64, Option<Timestamp>), now: Timestamp) -> Due {
        if self.wanted.is_some_and(|wanted| begun >= wanted) {
            return Due::Never;
        }
        let Some(first) = self.after(created, last) else { return Due::Never };
        if first > now {
            return Due::Wait { until: first, missed: 0 };
        }
        // Of all that were due since the last only the newest is begun; the rest was missed. A check that is wanted once is
        // wanted whenever the hub is there.
        let newest = self.newest(created, now).filter(|newest| *newest >= first).unwrap_or(first);
        let once = matches!(self.when, When::Now | When::At(_));
        let late = !once && now.duration_since(newest) > LATEST;
        let missed = self.count(created, first, newest) + u64::from(late);
        match (late, self.after(created, Some(now))) {
            (false, _) => Due::Begin { at: newest, missed },
            (true, Some(until)) => Due::Wait { until, missed },
            (true, None) => Due::Never,
        }
    }

    /// The newest time at which a round was due, now at the latest.
    fn newest(&self, created: Timestamp, now: Timestamp) -> Option<Timestamp> {
        match &self.when {
            When::Now | When::At(_) => None,
            When::Every { every, .. } => {
                self.after(created, Some(now)).and_then(|next| next.checked_sub(*every).ok())
            }
            When::Cron { cron, zone, .. } => {
                let now = now.to_zoned(zone.clone());
                cron.find_previous_occurrence(&now, true).ok().map(|due| due.timestamp())
            }
        }
    }

    /// How often a round was due from `first` on and before `newest`, up to [`SKIPPED_MAX`].
    fn count(&self, created: Timestamp, first: Timestamp, newest: Timestamp) -> u64 {
        let mut count = 0;
        let mut at = Some(first);
        while let Some(due) = at.filter(|due| *due < newest && count < SKIPPED_MAX) {
            count += 1;
            at = self.after(created, Some(due));
        }
        count
    }

    /// When the next round after one that was due at `last` is due.
    #[must_use]
    pub fn after(&self, created: Timestamp, last: Option<Timestamp>) -> Option<Timestamp> {
        match (&self.when, last) {
            (When::Now, None) => Some(created),
            (When::At(at), None) => Some(*at),
            (When::Now | When::At(_), Some(_)) => None,
            (When::Every { after, .. }, None) => created.checked_add(*after).ok(),
            (When::Every { every, after }, Some(last)) => {
                let first = created.checked_add(*after).ok()?;
                // On the grid that began with the first, so that late rounds do not move those after them.
                let steps = last.duration_since(first).as_nanos().div_euclid(every.as_nanos()) + 1;
                let steps = i64::try_from(steps.max(0)).ok()?;
                let offset = i128::from(steps) * every.as_nanos();
                first.checked_add(SignedDuration::from_nanos_i128(offset)).ok()
            }
            (When::Cron { cron, zone, .. }, last) => {
                let from = last.unwrap_or(created).to_zoned(zone.clone());
                cron.find_next_occurrence(&from, false).ok().map(|next| next.timestamp())
            }
        }
    }
}

impl When {
    fn read(schedule: &Schedule) -> Result<Self, ScheduleError> {
        let zone = schedule.time_zone.as_deref();
        match (&schedule.cron, schedule.every, &schedule.at) {
            (Some(text), None, None) => {
                let parser = CronParser::builder().seconds(Seconds::Disallowed).build();
                let cron = parser
                    .parse(text)
                    .map_err(|source| ScheduleError::Cron { cron: text.clone(), source })?;
                let zone = zone.map_or(Ok(TimeZone::UTC), |name| {
                    TimeZone::get(name).map_err(|_unknown| ScheduleError::TimeZone { name: name.to_owned() })
                })?;
                Ok(Self::Cron { cron: Box::new(cron), zone, text: text.clone() })
            }
            (None, Some(every), None) => {
                let nanoseconds =
                    |span: crate::spec::Span| SignedDuration::try_from(span.0).unwrap_or(SignedDuration::MAX);
                let length = nanoseconds(every);
                if length < SHORTEST {
                    return Err(ScheduleError::Every { every });
                }
                let after = schedule.start_after.map_or(SignedDuration::ZERO, nanoseconds);
                Ok(Self::Every { every: length, after })
            }
            (None, None, Some(text)) => {
                text.parse().map(Self::At).map_err(|_unread| ScheduleError::At { text: text.clone() })
            }
            _ => Err(ScheduleError::NotOne),
        }
    }
}

impl fmt::Display for Rounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.when {
            When::Now => f.write_str("now"),
            When::At(at) => write!(f, "at {at}"),
            When::Every { every, .. } => write!(f, "every {every:#}"),
            When::Cron { text, zone, .. } => write!(f, "{text} {}", zone.iana_name().unwrap_or("UTC")),
        }
    }
}

#[cfg(test)]
mod tests;
