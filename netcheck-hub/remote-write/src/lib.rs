//! Remote write: the hub's metrics in other databases, by Prometheus' protocol, versions 1.0 and 2.0.
//!
//! Knows nothing of the hub. In: families of samples, from a [`Source`], every so often. Out: requests to one receiver.
//!
//! ```text
//! Source ─▶ TakerTask ─▶ Cutter ─blocks─▶ Queue (disk, else memory) ─▶ SenderTask ─▶ receiver
//!             every 15 s   │ labels, one time for all, stale markers      │ oldest first, one at a time
//!                          └ in order, or not at all                      └ version, patience, what was taken
//! ```
//!
//! What holds: a block leaves the queue when the receiver took it or refused it for good, and not before; blocks are sent in
//! the order of their times, one after the other; the queue is bounded, and what it has no room for is counted, oldest
//! first. A block that was taken just before the process was killed is sent again, which receivers take for the same samples.

pub mod message;
pub mod queue;

mod cutter;
mod sample;
mod sender;
mod taker;
mod version;

pub use cutter::{Block, Cutter, Labels};
pub use queue::Queue;
pub use sample::{Family, Kind, Series, Source};
pub use sender::SenderTask;
pub use taker::TakerTask;
pub use version::{Version, Wanted};
