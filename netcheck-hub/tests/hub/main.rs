//! The hub over gRPC in memory, with scripted agents.
#![expect(clippy::unwrap_used, reason = "a test that finds something missing has failed")]

mod agents;
mod alerts;
mod checks;
mod culprits;
mod deliver;
mod evidence;
mod history;
mod hostile;
mod identity;
mod incidents;
mod learning;
mod leaves;
mod metrics;
mod past;
mod ports;
mod reached;
mod readers;
mod relays;
mod rig;
mod rogues;
mod roster;
mod rounds;
mod scheduled;
mod sessions;
mod sizes;
mod tls;
mod turned;
mod vantage;
