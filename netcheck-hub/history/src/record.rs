//! What the hub gives to history. All times are unix nanoseconds on the hub's own axis.

use crate::path::PathNumber;
use crate::window::Window;

/// Windows of ten seconds, of some paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    /// Begin of the ten seconds; what is not a multiple of ten seconds is rounded down.
    pub start_ns: i64,
    /// What became of these paths' probes in them.
    pub windows: Vec<(PathNumber, Window)>,
    /// It came late: it is added to what was given of them before. Else it is all, and replaces that.
    pub late: bool,
}

/// Added to a verdict's number: it stood last, and nobody can say now whether it still does. It keeps its time until it is
/// recorded again without this.
pub const UNJUDGED: u8 = 0x80;
/// Added to a verdict's number: the path is not measured now, as others have their turn. It, too, leaves the time as it is.
pub const INACTIVE: u8 = 0x40;

/// The verdict alone.
#[must_use]
pub const fn plain(verdict: u8) -> u8 {
    verdict & !(UNJUDGED | INACTIVE)
}

/// Verdicts that changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// When: they stand since then.
    pub at_ns: i64,
    /// The hub's own number for the new verdict, with [`UNJUDGED`] or not; none where the path is not shown any more. A
    /// verdict that is recorded again keeps its time.
    pub changes: Vec<(PathNumber, Option<u8>)>,
}

/// Paths that are not shown any more, as far as they are [`INACTIVE`]: of all others nothing changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Since when.
    pub at_ns: i64,
    /// Which.
    pub paths: Vec<PathNumber>,
}

/// An incident as it was recorded at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IncidentRevision {
    /// The incident's id.
    pub id: String,
    /// When it was recorded so.
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

/// What a path lets through, as it changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// When.
    pub at_ns: i64,
    /// What stands from then on, in the hub's own encoding; empty: nothing is known.
    pub changes: Vec<(PathNumber, Vec<u8>)>,
}

/// What a remark is about. Of each topic the remark that was made last stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Paths that are not measured now, as others have their turn: how many there are of which verdict.
    Rotation,
    /// What may be wrong with the measurement.
    Caveats,
}

/// Something that is said as a whole, and anew where it changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// When.
    pub at_ns: i64,
    /// What it is about.
    pub topic: Topic,
    /// The remark, in the hub's own encoding.
    pub body: Vec<u8>,
}

/// Lost probes by where they were lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Begin of the time in which they were sent.
    pub at_ns: i64,
    /// Path, place in the hub's own encoding, and how many.
    pub counts: Vec<(PathNumber, Vec<u8>, u64)>,
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
    /// What is expected to be absent, and why.
    ExpectedAbsent,
    /// What the hub notes about itself.
    Hub,
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
#[expect(missing_docs, reason = "each is described at its type")]
pub enum Record {
    Windows(Windows),
    Verdicts(Verdicts),
    Left(Left),
    Incident(IncidentRevision),
    Limits(Limits),
    Remark(Remark),
    Losses(Losses),
    Drops(Drops),
    Event(Event),
    Check(CheckResult),
    Fact(Fact),
}
