//! What the hub serves at `/metrics`, and hands to other databases: the state of the moment, and counts since its start.
//!
//! [`collect`] makes a [`Snapshot`] of the hub, plain data; [`text`] and [`protobuf`] write it in the formats of scrapes,
//! and [`pages`] keeps what was written until the hub's next tick. A series of a node or service that is gone is gone from
//! the next snapshot, too. Series grow with nodes and, within a bound, with zones, services and networks
//! ([`netcheck_analysis::meter::bounds`]), never with pairs of nodes unless that is asked for.

pub mod agents;
pub mod collect;
pub mod deliveries;
pub mod family;
pub mod history;
pub mod hub;
pub mod measured;
pub mod pages;
pub mod paths;
pub mod protobuf;
pub mod text;

pub use collect::snapshot;
pub use family::{Exemplar, Family, Histogram, Kind, Native, Series, Snapshot, Value};

use crate::state::Hub;

/// All metrics as OpenMetrics.
#[must_use]
pub fn render(hub: &Hub) -> String {
    text::write(&snapshot(hub), text::Format::OpenMetrics)
}
