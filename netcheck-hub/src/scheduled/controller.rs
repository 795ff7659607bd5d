//! The objects, when their rounds are due, and what becomes of them: as long as this hub leads.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use kube::api::Api;
use kube::runtime::events::{EventType, Recorder, Reporter};
use kube::runtime::watcher::{self, Event as Change};
use kube::{Client, Resource as _, ResourceExt as _};
use netcheck_scheduled::round::{Rate, RoundFacts, RoundReport, RoundStatus};
use netcheck_scheduled::schedule::{Due, Rounds, ScheduleError};
use netcheck_scheduled::spec::{ConcurrencyPolicy, ReachabilityCheckSpec};
use netcheck_scheduled::{ReachabilityCheck, ReachabilityCheckStatus};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use self::writing::Written;
use super::leader::Role;
use super::requested::{self, TargetsError};
use super::round::{self, PaceError};
use super::secrets::{Secrets, TextError, Texts};
use crate::inventory::kubernetes::innermost;
use crate::serve::check::Checks;
use crate::state::Hub;
use crate::state::scheduled::{CHECKS_MAX, Scheduled};

mod writing;

/// Rounds that run at a time; all of them share the agents' budgets.
const ROUNDS_AT_ONCE: usize = 4;
/// The longest that nothing is looked at: for statuses that could not be written, and clocks that are set.
const LOOK: Duration = Duration::from_secs(5);
/// A watch is begun anew after this long: shorter than the client waits for a word (seconds).
const WATCH_SECONDS: u32 = 50;
/// Who writes.
const MANAGER: &str = "netcheck-hub";

/// Why an object is not accepted, with the field that is wrong.
#[derive(Debug, thiserror::Error)]
enum ObjectError {
    #[error(transparent)]
    Targets(#[from] TargetsError),
    #[error(transparent)]
    Text(#[from] TextError),
    #[error(transparent)]
    Pace(#[from] PaceError),
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
}

/// One object.
struct Entry {
    object: ReachabilityCheck,
    /// Why it is not accepted.
    rounds: Result<Rounds, ObjectError>,
    status: ReachabilityCheckStatus,
    /// When the newest round was due.
    last: Option<Timestamp>,
    running: Option<(i64, AbortHandle)>,
    /// The status is not what the API has.
    unwritten: bool,
}

/// A round that ended: of whom, which, and what is known of it.
type Ended = (String, RoundFacts);

/// All objects, and the rounds that run.
pub(super) struct Controller {
    hub: Arc<Hub>,
    checks: Arc<Checks>,
    api: Api<ReachabilityCheck>,
    secrets: Secrets,
    recorder: Recorder,
    entries: BTreeMap<String, Entry>,
    rounds: JoinSet<Ended>,
    /// Names of a list that is not complete yet.
    listed: Option<Vec<String>>,
    /// None: there is no other hub.
    role: Option<watch::Receiver<Role>>,
    elected: bool,
}

impl Controller {
    /// A controller that knows nothing yet. `elected`: there may be others, and what they do must be seen.
    pub(super) fn new(
        hub: Arc<Hub>,
        checks: Arc<Checks>,
        client: Client,
        secrets: Secrets,
        role: Option<watch::Receiver<Role>>,
    ) -> Self {
        Self {
            checks,
            secrets,
            recorder: Recorder::new(client.clone(), Reporter::from(MANAGER)),
            hub,
            api: Api::all(client),
            entries: BTreeMap::new(),
            rounds: JoinSet::new(),
            listed: Some(Vec::new()),
            elected: role.is_some(),
            role,
        }
    }

    /// Works until another hub leads; rounds that run then are ended, and none of the checks is shown any more.
    pub(super) async fn lead(mut self) {
        let changes = watcher::watcher(self.api.clone(), watcher::Config::default().timeout(WATCH_SECONDS));
        let mut changes = pin!(changes);
        let mut resume = Instant::now();
        let mut role = self.role.clone();
        let term = role.as_ref().and_then(|role| role.borrow().term());
        loop {
            let now = Timestamp::now();
            let next = self.step(now).await;
            let wait = next.map_or(LOOK, |next| {
                Duration::try_from(next.duration_since(now)).unwrap_or_default().min(LOOK)
            });
            let change = async {
                tokio::time::sleep_until(resume).await;
                changes.next().await
            };
            tokio::select! {
                () = lost(&mut role, term) => break,
                change = change => resume = Instant::now() + self.change(change),
                Some(ended) = self.rounds.join_next() => {
                    // One that was aborted was ended where it was aborted.
                    if let Ok((name, facts)) = ended {
                        self.ended(&name, facts).await;
                    }
                }
                () = tokio::time::sleep(wait) => {}
            }
        }
        let all: Vec<String> = self.entries.keys().cloned().collect();
        all.iter().for_each(|name| self.forget(name));
    }

    /// Whether this hub may begin rounds now, and write what they came to.
    fn leads(&self) -> bool {
        self.role.as_ref().is_none_or(|role| role.borrow().leads(std::time::Instant::now()))
    }

    /// Takes news of the API; how long to wait before the next.
    fn change(&mut self, change: Option<Result<Change<ReachabilityCheck>, watcher::Error>>) -> Duration {
        match change {
            Some(Ok(Change::Init)) => self.listed = Some(Vec::new()),
            Some(Ok(Change::InitApply(object))) => {
                if let Some(listed) = &mut self.listed {
                    listed.push(object.name_any());
                }
                self.take(object);
            }
            Some(Ok(Change::InitDone)) => {
                let listed = self.listed.take().unwrap_or_default();
                let gone: Vec<String> =
                    self.entries.keys().filter(|name| !listed.contains(name)).cloned().collect();
                gone.iter().for_each(|name| self.forget(name));
                self.trouble(None);
            }
            Some(Ok(Change::Apply(object))) => self.take(object),
            Some(Ok(Change::Delete(object))) => self.forget(&object.name_any()),
            Some(Err(error)) => {
                self.trouble(Some(innermost(&error)));
                return LOOK;
            }
            None => return LOOK,
        }
        Duration::ZERO
    }

    fn trouble(&self, why: Option<String>) {
        let trouble = why.map(|why| {
            format!(
                "scheduled checks can't be read: {why}; the chart installs their definition and the right to list them \
                 (hub.scheduledChecks)"
            )
        });
        let (_, was) = self.hub.scheduled.all();
        if let Some(trouble) = trouble.as_ref().filter(|trouble| was.as_ref() != Some(trouble)) {
            tracing::warn!("{trouble}");
        }
        self.hub.scheduled.set_trouble(trouble);
    }

    fn take(&mut self, object: ReachabilityCheck) {
        let name = object.name_any();
        if !self.entries.contains_key(&name) && self.entries.len() >= CHECKS_MAX {
            tracing::warn!("more than {CHECKS_MAX} scheduled checks: {name} is left out");
            return;
        }
        let rounds = self.read(&name, &object.spec);
        match self.entries.get_mut(&name) {
            Some(entry) => {
                // Its status is what this hub wrote; the object may have another spec.
                entry.rounds = rounds;
                entry.object = object;
            }
            None => {
                let status = object.status.clone().unwrap_or_default();
                let last = status.last_schedule_time.as_deref().and_then(|at| at.parse().ok());
                let entry = Entry { object, rounds, status, last, running: None, unwritten: false };
                self.entries.insert(name, entry);
            }
        }
    }

    /// When the rounds of an object are due, if this hub can run them at all.
    fn read(&self, name: &str, spec: &ReachabilityCheckSpec) -> Result<Rounds, ObjectError> {
        let vouched = !self.hub.settings.http.authorities.is_empty();
        requested::read(name, spec, &Texts::default(), vouched)?;
        self.secrets.allow(spec)?;
        round::fits(spec, &self.hub.settings)?;
        Ok(Rounds::read(spec)?)
    }

    fn forget(&mut self, name: &str) {
        if let Some((_, round)) = self.entries.remove(name).and_then(|entry| entry.running) {
            round.abort();
        }
        self.hub.scheduled.remove(name);
    }

    /// Begins what is due and writes what is not written. When the next round is due.
    async fn step(&mut self, now: Timestamp) -> Option<Timestamp> {
        if self.listed.is_some() || !self.leads() {
            return None;
        }
        let names: Vec<String> = self.entries.keys().cloned().collect();
        let mut next = None::<Timestamp>;
        let mut answers = true;
        for name in names {
            let due = self.look(&name, now).await;
            next = next.into_iter().chain(due).min();
            // An API that is silent is waited for once, not for each object.
            answers = answers && self.write(&name).await != Written::Unanswered;
        }
        next
    }

    /// Looks whether a round of one is due, and begins it. When the next one is.
    async fn look(&mut self, name: &str, now: Timestamp) -> Option<Timestamp> {
        let entry = self.entries.get_mut(name)?;
        let was = entry.status.clone();
        let generation = entry.object.meta().generation.unwrap_or_default();
        let (due, accepted) = match &entry.rounds {
            Err(why) => (Due::Never, Err(why.to_string())),
            Ok(_) if entry.object.spec.suspend => (Due::Never, Ok(())),
            Ok(rounds) => {
                let created = entry.object.meta().creation_timestamp.as_ref().map_or(now, |at| at.0);
                let begun = entry.status.done_round + i64::from(entry.running.is_some());
                (rounds.due(created, (begun, entry.last), now), Ok(()))
            }
        };
        entry.status.accept(generation, accepted.as_ref().copied().map_err(String::as_str), now);
        let next = match due {
            Due::Begin { at, .. } => Some(at),
            Due::Wait { until, .. } => Some(until),
            Due::Never => None,
        };
        if let Ok(rounds) = &entry.rounds {
            let (wanted, words) = (rounds.wanted(), rounds.to_string());
            entry.status.plan(wanted, &words, next);
        }
        entry.unwritten |= entry.status != was;
        self.show(name, next);
        let (missed, passed) = match due {
            // Right before the one that is due.
            Due::Begin { at, missed } => (missed, at - SignedDuration::from_secs(1)),
            Due::Wait { missed, .. } => (missed, now),
            Due::Never => return None,
        };
        if missed > 0 {
            // They are not counted again.
            if let Some(entry) = self.entries.get_mut(name) {
                entry.last = Some(passed);
            }
            let note = format!("{missed} rounds were due and not begun in time: the hub was away or busy");
            tracing::warn!("scheduled check {name}: {note}");
            self.event(name, EventType::Warning, ("RoundSkipped", note)).await;
        }
        let Due::Begin { at, .. } = due else { return next };
        self.begin(name, at).await;
        Some(now + LOOK)
    }

    fn show(&self, name: &str, next: Option<Timestamp>) {
        let Some(entry) = self.entries.get(name) else { return };
        let scheduled = Scheduled {
            schedule: entry.status.schedule.clone(),
            wanted: entry.status.expected_round,
            done: entry.status.done_round,
            next,
            running: entry.running.is_some(),
            invalid: entry.rounds.as_ref().err().map(ToString::to_string),
            ..Scheduled::default()
        };
        self.hub.scheduled.set(name, scheduled);
    }

    async fn begin(&mut self, name: &str, at: Timestamp) {
        let busy = self.rounds.len() >= ROUNDS_AT_ONCE;
        let Some(entry) = self.entries.get_mut(name) else { return };
        let policy = entry.object.spec.concurrency_policy;
        match (&entry.running, policy) {
            (Some(_), ConcurrencyPolicy::Forbid) => {
                entry.last = Some(at);
                let note = format!("a round was due at {at} while the one before it ran: left out");
                self.event(name, EventType::Warning, ("RoundSkipped", note)).await;
                return;
            }
            (Some((number, round)), ConcurrencyPolicy::Replace) => {
                round.abort();
                let (number, started_at) = (*number, entry.last.unwrap_or(at));
                let facts = RoundFacts {
                    round: number,
                    started_at,
                    ended_at: Timestamp::now(),
                    ended_early: Some("the next round was due".to_owned()),
                    ..RoundFacts::default()
                };
                self.ended(name, facts).await;
            }
            (None, _) => {}
        }
        if busy {
            // The next look begins it, if it is not too late by then.
            return;
        }
        let Some(entry) = self.entries.get_mut(name) else { return };
        let number = entry.status.done_round + 1;
        let before = (entry.last, entry.status.clone());
        entry.last = Some(at);
        entry.status.begin(at);
        entry.unwritten = true;
        // Whoever begins rounds after this hub sees that this one was begun.
        let written = self.write(name).await;
        let begins = !self.elected || (written != Written::Unanswered && self.leads());
        let Some(entry) = self.entries.get_mut(name) else { return };
        if !begins {
            (entry.last, entry.status) = before;
            return;
        }
        let (hub, checks) = (Arc::clone(&self.hub), Arc::clone(&self.checks));
        let secrets = self.secrets.clone();
        let (owner, spec) = (name.to_owned(), entry.object.spec.clone());
        let round = async move {
            let facts = round::run(hub, checks, secrets, (&owner, spec), number).await;
            (owner, facts)
        };
        let round = self.rounds.spawn(round);
        entry.running = Some((number, round));
        tracing::info!("scheduled check {name}: round {number} begins");
        self.event(name, EventType::Normal, ("RoundStarted", format!("round {number} begins"))).await;
    }

    async fn ended(&mut self, name: &str, facts: RoundFacts) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        // What was replaced may still have ended by itself.
        if entry.running.as_ref().is_none_or(|(number, _)| *number != facts.round) {
            return;
        }
        entry.running = None;
        let report = RoundReport::judge(&entry.object.spec.expect, facts);
        entry.status.end(&entry.object.spec, &report);
        entry.unwritten = true;
        let limit = entry.object.spec.history_limit as usize;
        let headline = report.headline();
        let slow = report.rate.as_ref().and_then(Rate::shortfall);
        let (type_, reason) = match report.status {
            RoundStatus::Succeeded => (EventType::Normal, "RoundSucceeded"),
            RoundStatus::Incomplete => (EventType::Warning, "RoundIncomplete"),
            RoundStatus::Failed | RoundStatus::Running => (EventType::Warning, "RoundFailed"),
        };
        tracing::info!("scheduled check {name}: {}: {headline}", report.status.name());
        self.hub.scheduled.ended(name, Arc::new(report), limit);
        self.event(name, type_, (reason, headline)).await;
        if let Some(slow) = slow {
            self.event(name, EventType::Warning, ("RateNotReached", slow)).await;
        }
        self.write(name).await;
    }
}

/// Until this term is over: another hub leads, or did meanwhile. For ever where there is no other.
async fn lost(role: &mut Option<watch::Receiver<Role>>, term: Option<i32>) {
    match role {
        // The sender lives longer than this.
        Some(role) => drop(role.wait_for(|role| role.term() != term).await),
        None => std::future::pending().await,
    }
}
