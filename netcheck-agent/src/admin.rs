//! What the agent shows on its node: metrics, health and status over HTTP, and the table of `netcheck-agent status`.

pub(crate) mod http;
pub(crate) mod metrics;
pub(crate) mod show;
