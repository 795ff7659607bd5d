//! Measurements out of observations, without any I/O: samples and windows, sizes, source ports, backends.

pub(crate) mod backends;
pub(crate) mod merge;
pub(crate) mod new_flows;
pub(crate) mod numbers;
pub(crate) mod ports;
pub(crate) mod sizes;
