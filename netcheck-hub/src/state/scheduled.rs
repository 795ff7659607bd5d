//! Checks that Kubernetes objects ask for, as their controller left them: for readers and for the report.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use netcheck_scheduled::round::RoundReport;
use parking_lot::Mutex;

/// Checks that are kept; the API server may have more.
pub const CHECKS_MAX: usize = 500;
/// Rounds of one check that are kept, whatever its own limit.
const ROUNDS_MAX: usize = 50;

/// One check.
#[derive(Clone, Debug, Default)]
pub struct Scheduled {
    /// When its rounds begin, in a few words.
    pub schedule: String,
    /// Rounds wanted; -1: without end.
    pub wanted: i64,
    /// Rounds that ended.
    pub done: i64,
    /// When the next one begins; None where none will.
    pub next: Option<Timestamp>,
    /// A round runs.
    pub running: bool,
    /// Why it is not accepted.
    pub invalid: Option<String>,
    /// Its newest rounds, newest first.
    pub rounds: VecDeque<Arc<RoundReport>>,
}

/// All of them, by name.
#[derive(Debug, Default)]
pub struct Board {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    checks: BTreeMap<String, Scheduled>,
    trouble: Option<String>,
}

impl Board {
    /// What is known of each, and why none can be known.
    #[must_use]
    pub fn all(&self) -> (Vec<(String, Scheduled)>, Option<String>) {
        let inner = self.inner.lock();
        let checks = inner.checks.iter().map(|(name, check)| (name.clone(), check.clone())).collect();
        (checks, inner.trouble.clone())
    }

    /// What is known of one.
    #[must_use]
    pub fn one(&self, name: &str) -> Option<Scheduled> {
        self.inner.lock().checks.get(name).cloned()
    }

    /// What its controller knows of one now; its rounds stay.
    pub fn set(&self, name: &str, check: Scheduled) {
        let mut inner = self.inner.lock();
        if !inner.checks.contains_key(name) && inner.checks.len() >= CHECKS_MAX {
            return;
        }
        let kept = inner.checks.entry(name.to_owned()).or_default();
        *kept = Scheduled { rounds: std::mem::take(&mut kept.rounds), ..check };
    }

    /// A round of one ended; so many of its rounds are kept.
    pub fn ended(&self, name: &str, report: Arc<RoundReport>, limit: usize) {
        if let Some(check) = self.inner.lock().checks.get_mut(name) {
            check.rounds.push_front(report);
            check.rounds.truncate(limit.clamp(1, ROUNDS_MAX));
        }
    }

    /// It is gone.
    pub fn remove(&self, name: &str) {
        self.inner.lock().checks.remove(name);
    }

    /// Why none can be known; None: they can.
    pub fn set_trouble(&self, trouble: Option<String>) {
        self.inner.lock().trouble = trouble;
    }
}
