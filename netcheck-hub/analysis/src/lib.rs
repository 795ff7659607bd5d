//! The hub's pure part: what the cluster consists of, what each agent shall probe, and what their samples say.
//!
//! In data order, a folder imports those before it: [`model`] holds the terms of all, [`words`] says what things are
//! called, [`cluster`] reads the cluster's objects, [`plan`] turns them into paths, [`evidence`] places lost probes,
//! [`matrix`] keeps a row per path, [`meter`] counts for metrics, [`incident`] finds causes, and [`wire`] reads and writes messages of all of
//! these. Nothing here has a clock, a task or a connection.

pub mod cluster;
pub mod evidence;
pub mod incident;
pub mod matrix;
pub mod meter;
pub mod model;
pub mod plan;
pub mod wire;
pub mod words;
