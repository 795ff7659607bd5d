//! The hub: what the cluster consists of, what each agent shall probe, and what their samples say.
//!
//! In data order: [`inventory`] reads the cluster's objects, [`roster`] normalises them, [`selection`] tells what of them is
//! probed, [`plan`] turns them into
//! paths, [`accept`] takes connections ([`tls`]), [`session`] talks to the agents that [`identity`] admits, [`ingest`]
//! applies their batches to the [`matrix`] and to the [`evidence`], [`verdict`] judges, [`incident`] finds causes, [`report`] explains; [`reachability`], [`check`] and
//! [`http`] answer readers.
//! [`hub`] is the one shared state; [`app`] wires the tasks.

pub mod accept;
pub mod agent;
pub mod app;
pub mod backends;
pub mod certificates;
pub mod check;
pub mod clock;
pub mod config;
pub mod coverage;
pub mod evidence;
pub mod http;
pub mod hub;
pub mod identity;
pub mod incident;
pub mod ingest;
pub mod inventory;
pub mod matrix;
pub mod metrics;
pub mod plan;
pub mod ports;
pub mod query;
pub mod reachability;
pub mod readers;
pub mod report;
pub mod roster;
pub mod search;
pub mod selection;
pub mod server;
pub mod session;
pub mod sizes;
pub mod telemetry;
pub mod tls;
pub mod verdict;
