//! What the hub gives to history. All times are unix nanoseconds on the hub's own axis.

use crate::path::PathNumber;
use crate::window::Window;

/// Windows of ten seconds, of some paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    /// Begin of the ten seconds; what is not a multiple of ten seconds is rounded down.
    pub start_ns: i64,
    /// All that became of these paths' probes in them. Given twice, the later one replaces the earlier.
    pub windows: Vec<(PathNumber, Window)>,
}

/// Verdicts that changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// When: they stand since then.
    pub at_ns: i64,
    /// The hub's own number for the new verdict; none where the path is not shown any more.
    pub changes: Vec<(PathNumber, Option<u8>)>,
}

/// An incident as it was told at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IncidentRevision {
    /// The incident's id.
    pub id: String,
    /// When it was told so.
    pub at_ns: i64,
    /// When the incident began.
    pub first_seen_ns: i64,
    /// When it ended; none while it is open.
    pub closed_ns: Option<i64>,
    /// Names and values that incidents are searched by.
    pub fields: Vec<(String, String)>,
    /// The incident, in the hub's own encoding.
    pub body: Vec<u8>,
}

/// Lost probes by where they were lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Begin of the time in which they were sent.
    pub at_ns: i64,
    /// Path, place in the hub's own words, and how many.
    pub counts: Vec<(PathNumber, String, u64)>,
}

/// Packets that a node's kernel dropped, of whatever traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// Begin of the time in which they were dropped.
    pub at_ns: i64,
    /// The node.
    pub node: String,
    /// Interface, the kernel's reason, and how many.
    pub counts: Vec<(String, String, u64)>,
}

/// Something that changed in the cluster: roster, plan, an agent that came or went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at_ns: i64,
    /// The hub's own word for what it is.
    pub kind: String,
    /// Whom it is about.
    pub subject: String,
    /// The event, in the hub's own encoding.
    pub body: Vec<u8>,
}

/// What came of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckResult {
    /// When.
    pub at_ns: i64,
    /// Which check.
    pub check: String,
    /// The result, in the hub's own encoding.
    pub body: Vec<u8>,
}

/// What facts are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FactKind {
    /// What was sent to a notifier.
    Sent,
    /// What is expected to be absent, and why.
    ExpectedAbsent,
}

/// Something that stands until it is replaced or taken back. It doesn't grow old.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What it is about.
    pub kind: FactKind,
    /// Whose.
    pub key: String,
    /// What stands; none takes it back.
    pub value: Option<Vec<u8>>,
}

/// One thing to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is told at its type")]
pub enum Record {
    Windows(Windows),
    Verdicts(Verdicts),
    Incident(IncidentRevision),
    Losses(Losses),
    Drops(Drops),
    Event(Event),
    Check(CheckResult),
    Fact(Fact),
}
