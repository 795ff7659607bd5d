//! Samples of one path over one reporting interval, merged.

use crate::domain::{Outcome, PathId};
use crate::sketch::Sketch;

/// Parts of exchanges over TCP, one after the other, and the certificates that were seen in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// Looking the server's name up.
    pub dns: Sketch,
    /// Until the connection stands.
    pub connect: Sketch,
    /// The TLS handshake.
    pub tls: Sketch,
    /// From the request to the head of the answer.
    pub first_byte: Sketch,
    /// When the first of the servers' certificates expires, unix seconds.
    pub not_after: Option<i64>,
}

impl Steps {
    /// Adds others. Commutative and associative.
    pub fn merge(&mut self, other: &Self) {
        self.dns.merge(&other.dns);
        self.connect.merge(&other.connect);
        self.tls.merge(&other.tls);
        self.first_byte.merge(&other.first_byte);
        self.expires(other.not_after);
    }

    /// A certificate was seen.
    pub fn expires(&mut self, not_after: Option<i64>) {
        self.not_after = self.not_after.into_iter().chain(not_after).min();
    }
}

/// What became of the probes that one path sent in one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathWindow {
    /// Whose.
    pub path: PathId,
    /// Probes that ended with a reply.
    pub reply: u32,
    /// Probes that ended otherwise, indexed as [`Outcome::FAILURES`].
    pub failed: [u32; Outcome::FAILURES.len()],
    /// Probes that the agent was too starved to judge; in none of the other counts.
    pub suspect: u32,
    /// Probes beside these, each with a flow of its own, that ended with a reply; of ICMP and UDP alone.
    pub new_reply: u32,
    /// The same that ended otherwise.
    pub new_lost: u32,
    /// t5 − t0, or t4 − t0 where user space did not stamp the reception.
    pub round_trip: Sketch,
    /// (t4 − t1) − (t3 − t2), or t4 − t1 where the target's kernel does not reflect.
    pub network: Sketch,
    /// (t1 − t0) + (t5 − t4).
    pub host: Sketch,
    /// t3 − t2.
    pub responder: Sketch,
    /// Of exchanges over TCP.
    pub steps: Option<Box<Steps>>,
}

impl PathWindow {
    /// A window in which nothing happened.
    #[must_use]
    pub const fn empty(path: PathId) -> Self {
        Self {
            path,
            reply: 0,
            failed: [0; Outcome::FAILURES.len()],
            suspect: 0,
            new_reply: 0,
            new_lost: 0,
            round_trip: Sketch::new(),
            network: Sketch::new(),
            host: Sketch::new(),
            responder: Sketch::new(),
            steps: None,
        }
    }

    /// Counts one judged probe.
    pub fn count(&mut self, outcome: Outcome) {
        match outcome.failure_index() {
            None => self.reply += 1,
            Some(index) => self.failed[index] += 1,
        }
    }

    /// Probes that could be judged.
    #[must_use]
    pub fn sent(&self) -> u32 {
        self.failed.iter().fold(self.reply, |sum, &count| sum.saturating_add(count))
    }

    /// Probes that ended with `outcome`.
    #[must_use]
    pub fn outcome(&self, outcome: Outcome) -> u32 {
        outcome.failure_index().map_or(self.reply, |index| self.failed[index])
    }

    /// Adds another window of the same path. Commutative and associative; counts saturate.
    pub fn merge(&mut self, other: &Self) {
        debug_assert_eq!(self.path, other.path, "windows of two paths");
        self.reply = self.reply.saturating_add(other.reply);
        for (mine, theirs) in self.failed.iter_mut().zip(other.failed) {
            *mine = mine.saturating_add(theirs);
        }
        self.suspect = self.suspect.saturating_add(other.suspect);
        self.new_reply = self.new_reply.saturating_add(other.new_reply);
        self.new_lost = self.new_lost.saturating_add(other.new_lost);
        self.round_trip.merge(&other.round_trip);
        self.network.merge(&other.network);
        self.host.merge(&other.host);
        self.responder.merge(&other.responder);
        if let Some(steps) = &other.steps {
            self.steps.get_or_insert_default().merge(steps);
        }
    }
}
