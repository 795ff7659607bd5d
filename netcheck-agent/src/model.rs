//! What is known of probes and of the node, as plain data: what was observed, what is reported, what is counted.

pub(crate) mod counters;
pub(crate) mod evidence;
pub mod observation;
pub(crate) mod report;
pub(crate) mod sample;
pub(crate) mod status;
