//! The hub: what the cluster consists of, what each agent shall probe, and what their samples say.
//!
//! What is pure is the crate [`netcheck_analysis`]. Here, in data order, a folder imports those before it:
//! [`inventory`] reads the cluster's objects from a file or from the API, [`state`] is the one shared state, [`view`]
//! explains it to readers, [`metrics`] counts it for scrapers, and [`serve`] talks to agents and readers. [`config`] reads the flags; [`app`] wires the
//! tasks.

pub mod app;
pub mod config;
pub mod deliver;
pub mod inventory;
pub mod metrics;
pub mod scheduled;
pub mod serve;
pub mod state;
pub mod telemetry;
pub mod view;

// What reads bytes of others, for whoever tries bytes on it.
#[cfg(any(test, feature = "fuzz"))]
pub mod foreign;
