//! The hub over gRPC in memory, with scripted agents.
#![expect(clippy::unwrap_used, reason = "a test that finds something missing has failed")]

mod agents;
mod checks;
mod culprits;
mod evidence;
mod identity;
mod incidents;
mod learning;
mod leaves;
mod ports;
mod readers;
mod relays;
mod rig;
mod rogues;
mod roster;
mod sessions;
mod sizes;
mod tls;
mod vantage;
