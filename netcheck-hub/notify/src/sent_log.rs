//! What one receiver was sent, and so what it is to be sent next. Pure; takes `now`.
//!
//! ```text
//!            due: Opened          due: Changed, Repeated
//! unknown ───────────────▶ open ◀──────────────────────┐
//!    │                      │ └─────────────────────────┘
//!    │ opened and closed    │ due: Closed, also of one that the hub does not know
//!    │ in between: Closed   ▼ any more once it has had time to find it again
//!    └──────────────────▶ over
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::notice::Notice;

/// Incidents that are followed. More than a cluster has at a time by far; the rest is counted and not sent.
pub(crate) const FOLLOWED: usize = 4096;
/// How long after a start a hub may take to find again what was open before. Agents come back within seconds, verdicts
/// need a few more, and the hub's memory is two minutes long.
pub(crate) const SETTLE: Duration = Duration::from_secs(120);

/// What a receiver wants to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// What is open again and again, what is over once if it was sent when it was open.
    Repeated {
        /// How often.
        every: Duration,
    },
    /// Every change once.
    Once,
}

/// Why a receiver is notified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is sent for the first time.
    Opened,
    /// Its cause is another one, or got worse or better.
    Changed,
    /// It is as it was sent before.
    Repeated,
    /// It is over.
    Closed,
}

/// What was sent of an incident and taken by the receiver. Kept over restarts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// The id under which the receiver knows it: the first one that the incident had.
    pub alert: String,
    /// What kind of thing it was when it was sent first, and how bad. Labels are made of these, so they stay.
    pub kind: String,
    /// See above.
    pub verdict: String,
    /// When it began, as it was sent first (unix nanoseconds).
    pub starts_ns: i64,
    /// The cause that was sent last.
    pub essence: String,
    /// Messages so far, repetitions not among them.
    pub sequence: u64,
    /// The incident as it was sent last.
    pub notice: Notice,
}

/// Something to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Why.
    pub event: Event,
    /// What will have been sent then.
    pub sent: Sent,
}

impl Message {
    /// The same for every attempt to send this, and for nothing else.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}", self.sent.alert, self.sent.sequence)
    }
}

/// Something to be kept, or not any more: the incident's id, and what was sent of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The incident.
    pub key: String,
    /// None: nothing is to be kept of it.
    pub sent: Option<Sent>,
}

/// What one receiver was sent.
#[derive(Debug)]
pub struct SentLog {
    style: Style,
    began_ns: i64,
    open: BTreeMap<String, Open>,
    /// Sent as over, as long as the hub still lists them.
    over: BTreeSet<String>,
    left_out: BTreeSet<String>,
    dropped: u64,
}

#[derive(Debug)]
struct Open {
    sent: Sent,
    /// When it was sent last; none since a restart.
    at_ns: Option<i64>,
    /// The hub of this run knows it.
    found: bool,
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

impl SentLog {
    /// With what was kept of an earlier run. What closed before `now_ns` and was never sent stays unsent.
    #[must_use]
    pub fn new(style: Style, kept: Vec<(String, Sent)>, now_ns: i64) -> Self {
        let open =
            kept.into_iter().map(|(key, sent)| (key, Open { sent, at_ns: None, found: false })).collect();
        Self { style, began_ns: now_ns, open, over: BTreeSet::new(), left_out: BTreeSet::new(), dropped: 0 }
    }

    /// Incidents that are not sent for want of room.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes the incidents as they are now. One that a hub without memory found again after its restart goes on under the
    /// name that the receiver knows.
    pub fn look(&mut self, notices: &[Notice], now_ns: i64) -> Vec<Change> {
        let listed: BTreeSet<&str> = notices.iter().map(|notice| &*notice.id).collect();
        self.over.retain(|id| listed.contains(&**id));
        self.left_out.retain(|id| listed.contains(&**id));
        for (id, open) in &mut self.open {
            open.found |= listed.contains(&**id);
        }
        let mut changes = Vec::new();
        if !self.has_settled(now_ns) {
            let orphans = self.open.iter().filter(|(_, open)| !open.found);
            let mut orphans: BTreeMap<String, String> =
                orphans.map(|(id, open)| (open.sent.notice.cause.clone(), id.clone())).collect();
            let new = notices.iter().filter(|notice| notice.is_open() && !self.open.contains_key(&notice.id));
            let found: Vec<(String, String)> =
                new.filter_map(|notice| Some((orphans.remove(&notice.cause)?, notice.id.clone()))).collect();
            for (before, id) in found {
                let Some(mut open) = self.open.remove(&before) else { continue };
                open.found = true;
                open.sent.notice.id.clone_from(&id);
                changes.push(Change { key: before, sent: None });
                changes.push(Change { key: id.clone(), sent: Some(open.sent.clone()) });
                self.open.insert(id, open);
            }
        }
        for notice in notices.iter().filter(|notice| notice.is_open()) {
            let known = self.open.contains_key(&notice.id) || self.left_out.contains(&notice.id);
            if !known && self.open.len() >= FOLLOWED && self.left_out.len() < FOLLOWED {
                self.left_out.insert(notice.id.clone());
                self.dropped += 1;
            }
        }
        changes
    }

    fn has_settled(&self, now_ns: i64) -> bool {
        now_ns - self.began_ns >= nanos(SETTLE)
    }

    /// What is to be sent now, oldest first.
    #[must_use]
    pub fn due(&self, notices: &[Notice], now_ns: i64) -> Vec<Message> {
        let mut due: Vec<Message> = notices.iter().filter_map(|notice| self.due_of(notice, now_ns)).collect();
        let listed: BTreeSet<&str> = notices.iter().map(|notice| &*notice.id).collect();
        let lost = self.open.iter().filter(|(id, _)| !listed.contains(&***id));
        due.extend(lost.filter_map(|(_, open)| {
            if !open.found && !self.has_settled(now_ns) {
                return self.is_due(open, now_ns).then(|| open.repeated(open.sent.notice.clone()));
            }
            Some(open.closed(Notice { closed_ns: Some(now_ns), ..open.sent.notice.clone() }))
        }));
        due.sort_by(|a, b| (a.sent.starts_ns, &a.sent.alert).cmp(&(b.sent.starts_ns, &b.sent.alert)));
        due
    }

    fn due_of(&self, notice: &Notice, now_ns: i64) -> Option<Message> {
        let open = self.open.get(&notice.id);
        match (open, notice.closed_ns) {
            (Some(open), Some(_)) => Some(open.closed(notice.clone())),
            (Some(open), None) if open.sent.essence != notice.essence() => Some(open.changed(notice.clone())),
            (Some(open), None) => self.is_due(open, now_ns).then(|| open.repeated(notice.clone())),
            (None, None) if self.open.len() < FOLLOWED => Some(first(Event::Opened, notice)),
            (None, None) => None,
            // Whoever wants to hear of everything hears of what came and went while nothing could be sent.
            (None, Some(closed_ns)) => {
                let missed = self.style == Style::Once && closed_ns >= self.began_ns;
                (missed && !self.over.contains(&notice.id) && !self.left_out.contains(&notice.id))
                    .then(|| first(Event::Closed, notice))
            }
        }
    }

    fn is_due(&self, open: &Open, now_ns: i64) -> bool {
        match self.style {
            Style::Once => false,
            Style::Repeated { every } => open.at_ns.is_none_or(|at_ns| now_ns - at_ns >= nanos(every)),
        }
    }

    /// The receiver has these, or will never take them: either way they are done.
    pub fn done(&mut self, messages: &[Message], now_ns: i64) -> Vec<Change> {
        let mut changes = Vec::new();
        for Message { event, sent } in messages {
            let key = sent.notice.id.clone();
            if *event == Event::Closed {
                self.open.remove(&key);
                self.over.insert(key.clone());
                changes.push(Change { key, sent: None });
                continue;
            }
            let found = self.open.get(&key).is_none_or(|open| open.found);
            let now = Open { sent: sent.clone(), at_ns: Some(now_ns), found };
            let known = self.open.insert(key.clone(), now);
            // A repetition changes nothing that a restart would need.
            if known.is_none_or(|known| known.sent.essence != sent.essence) {
                changes.push(Change { key, sent: Some(sent.clone()) });
            }
        }
        changes
    }
}

fn first(event: Event, notice: &Notice) -> Message {
    let sent = Sent {
        alert: notice.id.clone(),
        kind: notice.kind.clone(),
        verdict: notice.verdict.clone(),
        starts_ns: notice.first_seen_ns,
        essence: notice.essence(),
        sequence: 1,
        notice: notice.clone(),
    };
    Message { event, sent }
}

impl Open {
    fn next(&self, event: Event, notice: Notice, sequence: u64) -> Message {
        let essence = notice.essence();
        Message { event, sent: Sent { essence, sequence, notice, ..self.sent.clone() } }
    }

    fn changed(&self, notice: Notice) -> Message {
        self.next(Event::Changed, notice, self.sent.sequence + 1)
    }

    fn repeated(&self, notice: Notice) -> Message {
        self.next(Event::Repeated, notice, self.sent.sequence)
    }

    fn closed(&self, notice: Notice) -> Message {
        self.next(Event::Closed, notice, self.sent.sequence + 1)
    }
}
