//! Scheduled checks: the Kubernetes object `ReachabilityCheck`, when its rounds are due, what a round came to, and its
//! status. Also the conversion of kdoctor's tasks.
//!
//! Pure: every call that needs the time is given it. The hub's controller reads objects, runs rounds and writes what is
//! concluded here.
//!
//! ```text
//! object ─▶ spec ─▶ schedule: due? ─▶ (the hub probes) ─▶ round: expectations ─▶ status ─▶ object
//! ```

pub mod convert;
pub mod round;
pub mod schedule;
pub mod spec;
pub mod status;

pub use spec::{ReachabilityCheck, ReachabilityCheckSpec};
pub use status::ReachabilityCheckStatus;
