//! The hub: what the cluster consists of, what each agent shall probe, and what their samples say.
//!
//! In data order, a folder imports those before it: [`model`] holds the terms of all, [`words`] says what things are called,
//! [`cluster`] reads the cluster's objects, [`plan`] turns them into paths, [`evidence`] places lost probes, [`matrix`] keeps a row per path,
//! [`incident`] finds causes, [`state`] is the one shared state of all of them, [`view`] explains it to readers, and
//! [`serve`] talks to agents and readers. [`config`] reads the flags; [`app`] wires the tasks. `kubectl-netcheck` is
//! [`cli`].

pub mod app;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod evidence;
pub mod incident;
pub mod inventory;
pub mod matrix;
pub mod model;
pub mod plan;
pub mod serve;
pub mod state;
pub mod telemetry;
pub mod view;
pub mod words;
