//! What all stages speak of: the time axis, a node's number, what agents report of lost probes, where packets die and for
//! which reason, the verdict of a path, responders that are away for a moment. Pure; imports no other folder.

pub mod clock;
pub mod culprit;
pub mod evidence;
pub mod incident;
pub mod leave;
pub mod location;
pub mod meter;
pub mod ports;
pub mod reason;
pub mod target;
pub mod verdict;

/// Number of a node in this hub's memory; `node_id` of the probe header is one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIx(pub usize);

/// What the losses of a path have in common, beyond their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pattern {
    /// Nothing.
    Any,
    /// Only packets of some sizes are lost.
    Size,
    /// Only packets from some source ports are lost.
    Port,
}
